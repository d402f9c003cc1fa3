"""Speed of the sound classifier: training beside plain `fit`, and all forms of a model on one sound."""

import tempfile
from pathlib import Path

import keras
import numpy as np

from recipes import results, runs, timing, training
from recipes.data import audio
from recipes.spectrogram_cnn import Classifier
from zoo import export as exporting
from zoo import waveforms


def benchmark(
    *,
    model: str = "spectrogram_cnn",
    dataset: str = "sounds",
    rounds: int = 5,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Times the pipeline, training beside the same network on spectrograms made beforehand, and all forms of a model.

    Both sides of the training take their turn in each round; the figures are medians over the rounds.

    Args:
        model: Model whose network is trained and whose forms are timed on one window of sound.
        dataset: Data to train on.
        rounds: How often each side has its turn.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for benchmark.json; by default a new one under runs/spectrogram_cnn.
    """
    training.check_positive(rounds=rounds)
    classifier = Classifier(model).keras_only()
    sounds = classifier.datasets(dataset, data_dir=data_dir, manual_dir=manual_dir)
    folder = runs.output_folder("spectrogram_cnn", f"benchmark-{sounds.name}", output)
    pipeline, speeds = _speeds(classifier, sounds, rounds)
    x = sounds.split("validation")[0][:100]
    with tempfile.TemporaryDirectory() as scratch:
        milliseconds, sizes = timing.forms(
            classifier.model,
            x[:1] / np.float32(32768),
            {"waveform": x[:1]},
            Path(scratch),
            representative_data=x,
            endpoints={exporting.ENDPOINT: exporting.sound_endpoint(classifier.model)},
        )
    factors = {form: 1000 * classifier.seconds / value for form, value in milliseconds.items()}
    result = {
        "pipeline_clips_per_second": pipeline,
        "training_clips_per_second": speeds,
        "latency_ms": milliseconds,
        "real_time_factor": factors,
        "bytes": sizes,
    }
    forms = [{"form": form, "real-time factor": value} for form, value in factors.items()]
    tables = [
        (f"pipeline on {sounds.name}, clips/s, median of {rounds} rounds", [pipeline]),
        ("training, clips/s, on spectrograms made beforehand in NumPy and with the front end inside", [speeds]),
        *timing.form_tables(milliseconds, sizes),
        ("seconds of sound per second of computing", forms),
    ]
    return results.benchmarked(folder, result, tables)


def _speeds(classifier, sounds, rounds, batch_size=64, at_most=2048):
    """Clips per second of the pipeline, and of training on spectrograms and on waveforms, with the ratio of the two."""
    x, y = sounds.split("train")
    names, config = classifier.model.output_shape[-1], classifier.model.get_config()
    y = y % names  # the speed is that of any sounds
    batch_size, steps, steps_per_execution = training.execution_plan(min(at_most, len(y)), batch_size)
    x, y = x[: steps * batch_size], y[: steps * batch_size]
    repeat = max(1, at_most // len(y))

    def stream(augment):
        return audio.training_batches(
            x,
            y,
            num_classes=names,
            sample_rate=sounds.sample_rate,
            batch_size=batch_size,
            steps=steps,
            epochs=repeat,
            augment=augment,
        )

    pictures = np.stack([waveforms.spectrogram(one / 32768, **classifier.settings) for one in x])[..., None]
    targets = keras.utils.to_categorical(y, names)
    whole = keras.Model.from_config(config)
    image = whole.get_layer("image").output
    inner = keras.Model(image, whole.output)
    for network in (whole, inner):
        network.compile(
            keras.optimizers.AdamW(1e-3), "categorical_crossentropy", steps_per_execution=steps_per_execution
        )

    def fit(network, *data, **options):
        return lambda turn: network.fit(*data, epochs=repeat, verbose=0, **options)

    ours = {"steps_per_epoch": steps, "shuffle": False}
    contenders = {
        "spectrograms beforehand": fit(inner, pictures, targets, batch_size=batch_size),
        "front end inside": lambda turn: fit(whole, stream(0.0), **ours)(turn),
        "with augmentation": lambda turn: fit(whole, stream(1.0), **ours)(turn),
        "plain": lambda turn: sum(1 for _ in stream(0.0)),
        "augmented": lambda turn: sum(1 for _ in stream(1.0)),
    }
    pair = ("front end inside", "spectrograms beforehand")
    found = timing.in_turn(contenders, rounds, amount=repeat * steps * batch_size, ratios=[pair])
    speeds = {name: found[name] for name in list(contenders)[:3]}
    speeds["inside / beforehand"] = found[" / ".join(pair)]
    return {name: found[name] for name in list(contenders)[3:]}, speeds
