"""Speed of the U-Net: training beside the classic network in plain `fit`, and all forms of a model on one frame."""

import math
import tempfile
from pathlib import Path

import keras
import numpy as np
from PIL import Image

import zoo
from recipes import results, runs, timing, training
from recipes.data import masks as mask_data
from recipes.unet import Segmenter, datasets, piece
from zoo import export as exporting
from zoo.losses import Segmentation
from zoo.unet import resized

FRAME = (360, 480)  # height and width of what the benchmark predicts


def benchmark(
    *,
    model: str = "unet",
    dataset: str = "scenes",
    rounds: int = 3,
    images: int = 32,
    batch_size: int = 8,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Compares training of the document's network in plain fit on arrays with ours, and times all forms of a model.

    All train at equal batch and in float32, in turn in one process: the document's network on NumPy arrays; the same
    network with our pipeline, every augmentation on; and the model's own network with it. Figures are medians over the
    rounds. The forms of the model are timed on one frame of 480 x 360.

    Args:
        model: Model whose network is trained and whose forms are timed.
        dataset: Data to train on.
        rounds: How often each side has its turn.
        images: Images that each side is trained on in a turn.
        batch_size: Images per step.
        data_dir: Folder of camvid or cityscapes, or of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for benchmark.json; by default a new one under runs/unet.
    """
    training.check_positive(rounds=rounds, images=images, batch_size=batch_size)
    segmenter = Segmenter(model).keras_only()
    scenes = datasets(dataset, channels=segmenter.channels, data_dir=data_dir, manual_dir=manual_dir, only="train")
    folder = runs.output_folder("unet", f"benchmark-{scenes.name}", output)
    speeds = _training_speeds(segmenter, scenes, rounds, images, batch_size)
    frame = _frame(segmenter, scenes)
    network = segmenter.model if segmenter.fixed else resized(segmenter.model, *frame.shape[1:3])
    representative_data = mask_data.pieces(*scenes.split("train"), frame.shape[1:3], at_most=50)[0]
    with tempfile.TemporaryDirectory() as scratch:
        milliseconds, sizes = timing.forms(
            network,
            frame / np.float32(255),
            {"image": frame},
            Path(scratch),
            representative_data=representative_data,
            endpoints={exporting.ENDPOINT: exporting.mask_endpoint(network)},
        )
    result = {
        "images_per_second": speeds,
        "batch_size": batch_size,
        "frame": list(frame.shape[1:3]),
        "latency_ms": milliseconds,
        "bytes": sizes,
    }
    (_, forms), files = timing.form_tables(milliseconds, sizes)
    frame_title = f"a frame of {FRAME[1]} x {FRAME[0]}, for the network {frame.shape[2]} x {frame.shape[1]}"
    title = f"training on {scenes.name}, batch {batch_size}, images/s, median of {rounds} rounds"
    return results.benchmarked(folder, result, [(title, [speeds]), (frame_title, forms), files])


def _frame(segmenter, scenes):
    """A frame, padded to what the network takes: uint8 (1, height, width, channels)."""
    image = scenes.split("train")[0][0]
    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    height, width = segmenter.fixed or FRAME
    image = np.asarray(picture.resize((width, height))).reshape(height, width, -1)
    pads = [(0, -side % segmenter.stride) for side in (height, width)]
    return np.pad(image, (*pads, (0, 0)), mode="symmetric")[None]


def _training_speeds(segmenter, scenes, rounds, images, batch_size):
    """Images per second of the document's network on arrays, of it and of the model's own in our pipeline."""
    x, y = scenes.split("train")
    repeat = math.ceil(images / len(y))
    x, y = np.concatenate([x] * repeat)[:images], np.concatenate([y] * repeat)[:images]
    batch_size, steps, per_execution = training.execution_plan(len(y), batch_size)
    x, y = x[: steps * batch_size], y[: steps * batch_size]
    stride = segmenter.stride
    crop = segmenter.fixed or tuple(
        piece(side, most, stride) for side, most in zip(x.shape[1:3], (192, 256), strict=True)
    )
    count = len(scenes.class_names)
    floats, labels = x[:, : crop[0], : crop[1]] / np.float32(255), y[:, : crop[0], : crop[1]].astype(np.int32)
    shape = (*crop, segmenter.channels)
    own = keras.models.clone_model(segmenter.model if segmenter.fixed else resized(segmenter.model, *crop))
    networks = [zoo.unet(shape, count), zoo.unet(shape, count), own]
    ignored = keras.losses.SparseCategoricalCrossentropy(ignore_class=mask_data.IGNORE)
    networks[0].compile("adam", ignored)
    for network in networks[1:]:
        weights = [1.0] * max(2, network.output_shape[-1])
        network.compile(
            keras.optimizers.AdamW(1e-3), Segmentation(class_weights=weights), steps_per_execution=per_execution
        )

    def stream():
        return mask_data.training_batches(
            x,
            np.minimum(y, own.output_shape[-1] - 1),  # the speed is that of any labels
            crop=crop,
            batch_size=batch_size,
            steps=steps,
            epochs=1,
            scale=(0.5, 1.5),
            rotation=5.0,
            flip="horizontal",
            jitter=0.7,
        )

    streams = [stream() for _ in networks]

    def fit(index):
        if index == 0:
            return networks[0].fit(floats, labels, batch_size=batch_size, verbose=0)
        return networks[index].fit(streams[index], steps_per_epoch=steps, shuffle=False, verbose=0)

    names = ("document's network, arrays", "document's network, our pipeline", "this network, our pipeline")
    contenders = {name: lambda turn, index=index: fit(index) for index, name in enumerate(names)}
    ratios = [(names[1], names[0]), (names[2], names[0])]
    found = timing.in_turn(contenders, rounds, amount=len(y), ratios=ratios)
    shown = {name: found[name] for name in names}
    return shown | {
        "pipeline / arrays": found[f"{names[1]} / {names[0]}"],
        "this network / arrays": found[f"{names[2]} / {names[0]}"],
    }
