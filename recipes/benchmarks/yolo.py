"""Speed of the detector: pipeline, training and all forms of a model, beside keras-cv's YOLOV8 of the same size."""

import functools
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import zoo
from recipes import results, runs, timing, training
from recipes.data import boxes as box_data
from recipes.data import images
from recipes.yolo import Finder, datasets
from zoo import export as exporting
from zoo.yolo import from_keras_cv


def benchmark(
    *,
    model: str = "yolo",
    dataset: str = "scenes",
    rounds: int = 5,
    batch_size: int = 4,
    data_dir: Path | None = None,
    output: Path | None = None,
):
    """Times the pipeline, training and all forms of a model, beside keras-cv's YOLOV8 of the same size if it is there.

    Both sides take their turn in each round; the figures are medians over the rounds. Beside keras-cv's training
    stands that of the very same network, weight by weight, on the same batch with the same optimizer.

    Args:
        model: A published model, a run folder or a .keras file.
        dataset: Data to train on.
        rounds: How often each side has its turn.
        batch_size: Images per step of the training.
        data_dir: Folder of tensorflow-datasets.
        output: Folder for benchmark.json; by default a new one under runs/yolo.
    """
    training.check_positive(rounds=rounds, batch_size=batch_size)
    finder = Finder(model).keras_only()
    boxes = datasets(dataset, image_size=finder.image_size, splits=("train",), data_dir=data_dir)
    training_split = boxes.split("train")
    folder = runs.output_folder("yolo", f"benchmark-{boxes.name}", output)
    pipeline = _pipeline_speed(training_split, rounds, batch_size)
    other = _keras_cv_like(finder.model)
    twin = exporting.float32_copy(finder.model) if other is None else from_keras_cv(other, finder.model.input_shape[1:])
    speeds = _training_speed(twin, other, training_split, rounds, batch_size)
    letterboxed, _ = box_data.letterboxed(training_split.take(range(min(50, len(training_split)))))
    x = letterboxed[:1] / np.float32(255)
    with tempfile.TemporaryDirectory() as scratch:
        network = exporting.float32_copy(finder.model)
        milliseconds, sizes = timing.forms(
            network,
            x,
            {"image": letterboxed[:1]},
            Path(scratch),
            representative_data=letterboxed,
            endpoints={exporting.ENDPOINT: exporting.detection_endpoint(network)},
        )
    if other is not None:
        constant = tf.constant(x)
        sides = {"keras-cv, tf.function": other, "ours": twin}
        compiled = {name: tf.function(functools.partial(side, training=False)) for name, side in sides.items()}
        pair = timing.latencies({name: functools.partial(run, constant) for name, run in compiled.items()})
        milliseconds["keras-cv, tf.function"] = pair["keras-cv, tf.function"]
        speeds["one image, ours / keras-cv"] = pair["keras-cv, tf.function"] / pair["ours"]
    frames = {form: 1000 / value for form, value in milliseconds.items()}
    result = {
        "pipeline_images_per_second": pipeline,
        "training_images_per_second": speeds,
        "latency_ms": milliseconds,
        "frames_per_second": frames,
        "bytes": sizes,
        "image_size": list(finder.image_size),
        "batch_size": batch_size,
        "rounds": rounds,
        "parameters": {"model": finder.model.count_params(), "beside keras-cv": twin.count_params()},
    }
    missing = "" if other is not None else " (keras-cv is not installed: image-zoo[detection])"
    tables = [
        (f"pipeline on {boxes.name}, images/s, median of {rounds} rounds", [pipeline]),
        (f"training, images/s{missing}", [speeds]),
        *timing.form_tables(milliseconds, sizes),
        ("frames per second", [{"form": form, "frames/s": value} for form, value in frames.items()]),
    ]
    return results.benchmarked(folder, result, tables)


def _pipeline_speed(split, rounds, batch_size, count=96):
    """Images per second of the pipeline, with mosaic and without."""
    batch_size, steps, _ = training.execution_plan(len(split), batch_size)
    epochs = max(1, count // (steps * batch_size))
    steps = min(steps, max(1, count // batch_size))

    def run(mosaic):
        sizes = {"batch_size": batch_size, "steps": steps, "epochs": epochs}
        for _ in box_data.training_batches(split, **sizes, mosaic=mosaic, close_mosaic=0):
            pass

    contenders = {"with mosaic": lambda turn: run(1.0), "without": lambda turn: run(0.0)}
    return timing.in_turn(contenders, rounds, amount=epochs * steps * batch_size)


def _training_speed(ours, other, split, rounds, batch_size, steps=8):
    """Images per second of training steps in float32 on one batch, and the ratio of the two sides."""
    batch = next(
        iter(box_data.training_batches(split, batch_size=batch_size, steps=1, epochs=1, mosaic=1.0, close_mosaic=0))
    )
    x, y = (np.array(part) for part in batch)
    y[..., 4] = np.where(y[..., 4] < 0, -1, y[..., 4] % ours.output_shape[1][-1])  # the speed is that of any objects
    compiled = {"jit_compile": False}
    ours.compile(keras.optimizers.AdamW(1e-4), loss=zoo.losses.Detection(ours.input_shape[1:3]), **compiled)
    sides = {"ours": (ours, y)}
    if other is not None:
        losses = {"box_loss": "ciou", "classification_loss": "binary_crossentropy"}
        other.compile(optimizer=keras.optimizers.AdamW(1e-4), **losses, **compiled)
        sides["keras-cv"] = (other, {"boxes": y[..., :4], "classes": y[..., 4]})
    batches = {
        name: images.without_autotune(tf.data.Dataset.from_tensors((x, target)).cache().repeat(steps))
        for name, (_, target) in sides.items()
    }

    def fit(name):
        return lambda turn: sides[name][0].fit(batches[name], shuffle=False, verbose=0)

    ratios = [] if other is None else [("ours", "keras-cv")]
    contenders = {name: fit(name) for name in sides}
    return timing.in_turn(contenders, rounds, amount=steps * batch_size, ratios=ratios)


def _keras_cv_like(model):
    """keras-cv's detector of the same size, untrained; None where it is not installed."""
    try:
        import keras_cv
    except ImportError:
        return None
    filters = {layer.name: layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
    channels = [filters[f"stack{stage}_c2f_output_conv"] for stage in (1, 2, 3, 4)]
    depths = [
        sum(name.startswith(f"stack{stage}_c2f_pre_") and name.endswith("_1_conv") for name in filters)
        for stage in (1, 2, 3, 4)
    ]
    backbone = keras_cv.models.YOLOV8Backbone(channels, depths, False, input_shape=model.input_shape[1:])
    return keras_cv.models.YOLOV8Detector(backbone, model.output_shape[1][-1], "xyxy", fpn_depth=depths[0])
