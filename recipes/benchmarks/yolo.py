"""Speed of the detector: pipeline, training and all forms of a model, beside the YOLOv8 of keras-cv and of kyolo."""

import contextlib
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


def benchmark(
    *,
    model: str = "yolo_everyday",
    dataset: str = "scenes",
    rounds: int = 5,
    batch_size: int = 4,
    data_dir: Path | None = None,
    output: Path | None = None,
):
    """Times the pipeline, training and all forms of a model, beside the YOLOv8 of keras-cv and of kyolo if installed.

    All sides take their turn in each round, on the same batch with the same optimizer; the figures are medians over the
    rounds. "nano" is our YOLOv8 nano, which is the network of keras-cv and kyolo as well.

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
    contenders = _contenders(finder.model)
    speeds = _training_speed(contenders, training_split, rounds, batch_size)
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
    constant = tf.constant(x)
    compiled = {name: tf.function(functools.partial(side[0], training=False)) for name, side in contenders.items()}
    answers = timing.latencies({name: functools.partial(run, constant) for name, run in compiled.items()})
    milliseconds |= {f"{name}, untrained, tf.function": value for name, value in answers.items()}
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
        "parameters": {name: side[0].count_params() for name, side in contenders.items()},
    }
    missing = "" if "keras-cv nano" in contenders else " (keras-cv is not installed: image-zoo[detection])"
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


def _contenders(model):
    """Untrained detectors of as many classes on images of the same size, by name: (network, loss, its targets).

    The given network as it is; YOLOv8 nano as we build it, as keras-cv does and as kyolo does, three times the same
    network; and where keras-cv is installed the small MobileNetV3 under our neck and head and under theirs. Those of
    packages that are not installed are left out.
    """
    shape, classes = model.input_shape[1:], model.output_shape[1][-1]
    loss = zoo.losses.Detection(shape[:2])
    nano = zoo.yolo(shape, classes, size="nano")
    found = {"this network": (exporting.float32_copy(model), loss, _ours), "nano": (nano, loss, _ours)}
    with contextlib.suppress(ImportError):
        import keras_cv

        options = {"box_loss": "ciou", "classification_loss": "binary_crossentropy"}
        filters = [nano.get_layer(f"stack{stage}_c2f_output_conv").filters for stage in (1, 2, 3, 4)]
        csp = keras_cv.models.YOLOV8Backbone(filters, [1, 2, 2, 1], False, input_shape=shape)
        small = keras_cv.models.MobileNetV3Backbone(input_shape=shape, **_MOBILENET_V3_SMALL)
        found["MobileNetV3"] = zoo.yolo(shape, classes, backbone="MobileNetV3Small"), loss, _ours
        for name, backbone in {"keras-cv nano": csp, "keras-cv MobileNetV3": small}.items():
            detector = keras_cv.models.YOLOV8Detector(backbone, classes, "xyxy", fpn_depth=1)
            found[name] = detector, options, lambda y: {"boxes": y[..., :4], "classes": y[..., 4]}
    with contextlib.suppress(ImportError):
        import kyolo

        detector = kyolo.training.YOLODetector(kyolo.models.yolov8n(nc=classes, input_shape=shape, weights=None))
        found["kyolo nano"] = detector, None, _for_kyolo
    return found


# Table 2 of Howard et al., "Searching for MobileNetV3", 2019; keras-cv's own preset of it wants the network
_MOBILENET_V3_SMALL = {
    "stackwise_expansion": [1, 72 / 16, 88 / 24, 4, 6, 6, 3, 3, 6, 6, 6],
    "stackwise_filters": [16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96],
    "stackwise_kernel_size": [3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5],
    "stackwise_stride": [2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1],
    "stackwise_se_ratio": [0.25, None, None, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25],
    "stackwise_activation": ["relu"] * 3 + ["hard_swish"] * 8,
    "include_rescaling": False,
}


def _ours(y):
    return y


def _for_kyolo(y):
    present = y[..., 4] >= 0
    return {"boxes": y[..., :4], "labels": np.where(present, y[..., 4], 0).astype("int32"), "mask": present}


def _training_speed(contenders, split, rounds, batch_size, steps=8):
    """Images per second of training steps in float32 on one batch, and the ratios of the sides."""
    stream = box_data.training_batches(split, batch_size=batch_size, steps=1, epochs=1, mosaic=1.0, close_mosaic=0)
    x, y = (np.array(part) for part in next(iter(stream)))
    classes = contenders["this network"][0].output_shape[1][-1]
    y = y[..., :5]  # the speed is that of any objects
    y[..., 4] = np.where(y[..., 4] < 0, -1, y[..., 4] % classes)
    batches, networks = {}, {}
    for name, (network, loss, targets) in contenders.items():
        losses = loss if isinstance(loss, dict) else {"loss": loss}
        network.compile(optimizer=keras.optimizers.AdamW(1e-4), **losses, jit_compile=False)
        stream = tf.data.Dataset.from_tensors((x, targets(y))).cache().repeat(steps)
        batches[name], networks[name] = images.without_autotune(stream), network

    def fit(name):
        return lambda turn: networks[name].fit(batches[name], shuffle=False, verbose=0)

    pairs = [("nano", "keras-cv nano"), ("nano", "kyolo nano"), ("MobileNetV3", "keras-cv MobileNetV3")]
    pairs = [("this network", "nano"), *(pair for pair in pairs if pair[1] in networks)]
    return timing.in_turn({name: fit(name) for name in networks}, rounds, amount=steps * batch_size, ratios=pairs)
