"""Speed of the denoiser: training beside plain `fit`, and all forms of a model beside classical filters."""

import tempfile
from pathlib import Path

import keras
import numpy as np

import zoo
from recipes import results, runs, timing, training
from recipes.benchmarks import photo_restoration
from recipes.data import noise as noises
from recipes.denoising_autoencoder import Restorer, datasets, representative
from zoo import export as exporting


def benchmark(
    *,
    model: str = "denoising_autoencoder",
    dataset: str = "digits",
    rounds: int = 5,
    images: int = 12_800,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Compares the classic code (noise added once, plain fit on arrays) with ours, and times all forms of a model.

    Both train the classic network of 19,393 parameters at batch 64, in turn in one process; ours draws the noise anew
    for each batch. Figures are medians over the rounds. A model for photos (with `--dataset FOLDER`) is trained on
    parts of them instead; its phone file is timed per megapixel beside classical methods, and its memory measured.

    Args:
        model: Model whose forms are timed on one image.
        dataset: Data to train on.
        rounds: How often each side has its turn.
        images: Images that each side is trained on in a turn.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for benchmark.json; by default a new one under runs/denoising_autoencoder.
    """
    training.check_positive(rounds=rounds, images=images)
    restorer = Restorer(model).keras_only()
    if restorer.overlaps < 4:  # it has learnt from photos
        result, tables = photo_restoration.measure(restorer, dataset, rounds, images)
        folder = runs.output_folder("denoising_autoencoder", f"benchmark-{Path(dataset).name}", output)
        return results.benchmarked(folder, result, tables)
    clean = datasets(dataset, None, data_dir, manual_dir)
    folder = runs.output_folder("denoising_autoencoder", f"benchmark-{clean.name}", output)
    kind, level = restorer.noise(None, None)
    speeds = _training_speed(clean.split("train")[0], rounds, images)
    representative_data = representative(restorer.datasets(dataset, data_dir, manual_dir), "validation", kind, level)
    with tempfile.TemporaryDirectory() as scratch:
        milliseconds, sizes = timing.forms(
            restorer.model,
            representative_data[:1] / np.float32(255),
            {"image": representative_data[:1]},
            Path(scratch),
            representative_data=representative_data,
            endpoints=exporting.pixels_endpoint(restorer.model),
        )
    result = {"images_per_second": speeds, "latency_ms": milliseconds, "bytes": sizes}
    title = f"training on {clean.name}, the classic network at batch 64, images/s"
    return results.benchmarked(folder, result, [(title, [speeds]), *timing.form_tables(milliseconds, sizes)])


def _training_speed(clean, rounds, images, batch_size=64):
    """Images per second of the classic network: noise once and plain `fit` on arrays, and our pipeline."""
    clean = clean[:images]
    classic, ours = _classic_network(clean.shape[1:]), zoo.denoising_autoencoder(clean.shape[1:])
    classic.compile("adam", "mse")
    batch_size, steps, steps_per_execution = training.execution_plan(len(clean), batch_size)
    ours.compile("adam", "mse", steps_per_execution=steps_per_execution)
    epochs = max(1, images // len(clean))
    target = clean / np.float32(255)
    noisy = np.clip(target + 0.5 * np.random.default_rng(0).standard_normal(target.shape, np.float32), 0, 1)

    def pipeline(turn):
        stream = noises.training_batches(
            clean, kind="gaussian", low=0.05, high=0.6, batch_size=batch_size, steps=steps, epochs=epochs, seed=turn
        )
        ours.fit(stream, epochs=epochs, steps_per_epoch=steps, shuffle=False, verbose=0)

    contenders = {
        "classic": lambda turn: classic.fit(noisy, target, batch_size=batch_size, epochs=epochs, verbose=0),
        "ours": pipeline,
    }
    amount = {"classic": epochs * len(clean), "ours": epochs * steps * batch_size}
    return timing.in_turn(contenders, rounds, amount=amount, ratios=[("ours", "classic")])


def _classic_network(image_shape):
    """The network as tutorials write it, with the pooling that it needs to give back the size it was given."""
    return keras.Sequential(
        [
            keras.Input(image_shape),
            keras.layers.Conv2D(32, 3, activation="relu", padding="same"),
            keras.layers.MaxPooling2D(2, padding="same"),
            keras.layers.Conv2D(64, 3, activation="relu", padding="same"),
            keras.layers.UpSampling2D(2),
            keras.layers.Conv2D(image_shape[-1], 3, activation="sigmoid", padding="same"),
        ]
    )
