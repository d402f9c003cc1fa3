"""Object detection: where which things are in images, videos and from a camera, with a YOLO.

Data: drawn scenes of people, cars and animals, which need no network; folders in the form of Pascal VOC, COCO JSON or
YOLO, told apart by themselves; or voc/2007, voc/2012 and coco/2017 of tensorflow-datasets.

    zoo train yolo --dataset bccd --weights None --epochs 80 --flip both --validate-every 4 --compact

finds the blood cells of BCCD (205 images for training, from scratch); the figure it reached is in the card of the
published model. The validation split chose the epoch and nothing else.
"""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from PIL import Image
from tyro.conf import OmitArgPrefixes

import zoo
from recipes import cards, checkpoints, exports, models, plots, results, runs, timing, training
from recipes.data import boxes as box_data
from recipes.data.splits import Split
from recipes.forward import compiled
from recipes.pictures import yolo as pictures
from zoo import export as exporting
from zoo import pretrained
from zoo.letterbox import letterbox, letterboxed, unletterbox
from zoo.metrics import MeanAveragePrecision, best_confidence, detection_confusion
from zoo.suppression import IOU, of_file
from zoo.yolo import Detector, fitted

TASK = "object detection"
FEW = 500  # images, below which training starts from a trained detector
Size = Literal["nano", "small", "medium"] | tuple[float, float]


@dataclass(frozen=True)
class Setup(training.Setup):
    """What the training of a detector takes besides its task.

    Attributes:
        precision: Precision of the computation; by default mixed_bfloat16 where the processor computes with it, else
            float32, as where efficientnet_lite0 or everyday is the start. The model is saved in float32.
    """

    precision: training.Precision | None = None


def datasets(dataset="scenes", **options):
    """Loads "scenes", a set of tensorflow-datasets or a folder; the options are those of `recipes.data.boxes.load`."""
    return box_data.load(dataset, **options)


@runs.resumable
def train(
    *,
    dataset: str = "scenes",
    classes: tuple[str, ...] = (),
    image_size: tuple[int, ...] = (320,),
    size: Size = "nano",
    backbone: str | None = None,
    freeze_until: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: Literal["adamw", "sgd"] = "adamw",
    learning_rate: float | None = None,
    weight_decay: float = 0.05,
    gradient_clip: float = 10.0,
    mosaic: float = 0.7,
    close_mosaic: int | None = None,
    scale: float = 0.4,
    translate: float = 0.1,
    flip: Literal["none", "horizontal", "both"] = "horizontal",
    hue: float = 0.015,
    saturation: float = 0.7,
    brightness: float = 0.4,
    weights: str | None = "auto",
    validate_every: int | None = None,
    patience: int | None = None,
    unlabelled: box_data.Unlabelled = "refuse",
    compact: bool = False,
    setup: OmitArgPrefixes[Setup] = Setup(),
):
    """Trains a detector and measures it on the test split, or on the validation split where there is no other.

    What is kept are the averaged weights of the epoch with the best mAP50 on the validation split.

    Args:
        dataset: scenes, a folder in the form of Pascal VOC, COCO or YOLO, or a name of tensorflow-datasets (voc/2007).
        classes: Classes to learn; by default all of the data set.
        image_size: Height and width of the model's images, multiples of 32; or one number, the longest side, where
            the other one is that of the data set's images.
        size: nano (3 million parameters), small (11) or medium (26); or two factors, of the depth and of the width.
        backbone: Network pretrained on ImageNet that looks first: efficientnet_lite0 (extra `pretrained`), or one of
            keras.applications (MobileNetV3Small, ...). None: a backbone of the given size, from scratch.
        freeze_until: Last layer that keeps its weights (of efficientnet_lite0 stage3, say, or stage7 for all of it),
            which makes steps cheaper; by default stage3 where `weights` are chosen by themselves.
        epochs: Passes over the data; by default as many as have 1,500 steps, but 40 to 300; where `weights` are chosen
            by themselves, as many as have 500.
        batch_size: Images per step; by default 8, for fewer than 100 images 4.
        optimizer: adamw or sgd (with Nesterov momentum 0.937).
        learning_rate: Highest learning rate, after a warm-up and before a cosine; by default 0.0015, of sgd 0.01.
        weight_decay: Decoupled weight decay, of the kernels only.
        gradient_clip: Largest norm of all gradients together.
        mosaic: Share of the images that are put together from four.
        close_mosaic: Last epochs without mosaic; by default a sixth.
        scale: Images are drawn by a factor of 1 - scale to 1 + scale.
        translate: Images are shifted by up to this share of their sides.
        flip: none, horizontal (left and right) or both.
        hue: Largest turn of the hue, as a share of the circle.
        saturation: Largest relative change of the saturation.
        brightness: Largest relative change of the brightness.
        weights: Model to start from: the name of a published data set (everyday, bccd, scenes), pascalvoc,
            coco_backbone, or a .keras or .h5 file; with other classes all but the class head is kept. auto: of fewer
            than 500 images, and where neither size nor backbone is given, everyday, else none. None: none.
        validate_every: Epochs from one measurement on the validation split to the next; by default so that there are
            30 of them.
        patience: Epochs without a better mAP50 after which training stops; by default never.
        unlabelled: What becomes of an image of a YOLO folder without a label file: refuse, background or skip.
        compact: Whether to write the model with a byte per weight instead of four; the figures are those of that file.
        setup: Seed, machine and folders.
    """
    arguments = dict(locals())
    _check(arguments)
    strategy = training.prepare(setup)

    # data
    folders = {"data_dir": setup.data_dir, "manual_dir": setup.manual_dir}
    boxes = datasets(dataset, image_size=tuple(image_size), classes=tuple(classes), unlabelled=unlabelled, **folders)
    split, validation = boxes.split("train"), boxes.split("validation")
    _report(boxes)
    # of a small set fewer at a time, for more steps
    batch_size, steps, _ = training.plan(len(split), batch_size or (8 if len(split) >= 100 else 4), strategy)
    start = {"weights": weights, "freeze_until": freeze_until}
    enough = 1500
    if weights == "auto":
        start["weights"] = None
        if len(split) < FEW and (size, backbone) == ("nano", None):
            start, enough = {"weights": "everyday", "freeze_until": freeze_until or "stage3"}, 500
            print(
                f"{boxes.name}: {len(split)} images, fewer than {FEW}, so it starts from the weights of everyday, "
                "which takes a fraction of the time; --weights None starts from scratch"
            )
    epochs = epochs or min(300, max(40, round(enough / steps)))
    arguments |= start | {"epochs": epochs}  # as a resumed run needs them
    validate_every = validate_every or max(1, epochs // 30)
    image_size = split.images.shape[1:3]
    sizes = {"batch_size": batch_size, "steps": steps, "epochs": epochs, "seed": setup.seed}
    drawn = {"scale": scale, "translate": translate, "flip": flip}
    drawn |= {"hue": hue, "saturation": saturation, "brightness": brightness}
    # the last epochs see whole images, as the test does
    drawn |= {"mosaic": mosaic, "close_mosaic": epochs // 6 if close_mosaic is None else close_mosaic}

    def batches(first_epoch):
        return box_data.training_batches(split, first_epoch=first_epoch, **sizes, **drawn)

    depthwise = backbone == "efficientnet_lite0" or start["weights"] == "everyday"
    precision = setup.precision or training.fast_precision(depthwise)
    with strategy.scope(), training.precision(precision):
        # network
        start |= {"backbone": backbone, "backbone_weights": backbone and "imagenet"}
        model = zoo.yolo((*image_size, 3), len(boxes.class_names), size=size, **start)
        # optimiser: it averages the weights as well
        model.compile(
            _optimizer(optimizer, learning_rate, weight_decay, gradient_clip, steps, epochs),
            loss=zoo.losses.Detection(image_size, model.output_shape[0][-1] // 4),
        )

    # machine: a run folder, and a fit that can be killed and resumed
    run = runs.start("yolo", train, arguments)
    card = _card(boxes, model, image_size) | runs.environment()
    print(
        f"{boxes.name}: {len(split):,} images of {image_size[0]} x {image_size[1]} for training, "
        f"{card['parameters']:,} parameters, {epochs} epochs of {steps} steps in {precision}; measured on "
        f"{len(validation):,} images each {validate_every} epochs"
    )
    averages = _Averages(validation, len(boxes.class_names), every=validate_every, epochs=epochs)
    options = {"epochs": epochs, "steps": steps, "callbacks": [averages], "keep": lambda: _averaged(model)}
    options |= {"monitor": "val_mAP50", "mode": "max", "patience": patience}
    trained = training.fit(model, batches, run=run, card=card, **options)
    if compact:  # with 5 bits a compressed file has a byte per weight
        checkpoints.save_compact(trained, run.folder / "model.keras", bits=5)
    else:
        checkpoints.save_model(trained, run.folder / "model.keras")
    return _measured(run, card, boxes, batch_size=batch_size, precision=precision)


def _check(arguments):
    """Refuses arguments of `train` that make no sense."""
    training.check_positive(**training.named(arguments, "epochs", "batch_size", "learning_rate", "gradient_clip"))
    training.check_positive(**training.named(arguments, "validate_every", "patience"))
    training.check_range("[0, 1]", **training.named(arguments, "mosaic", "saturation", "brightness"))
    training.check_range("[0, 0.9]", **training.named(arguments, "scale", "translate"))
    training.check_range("[0, 0.5]", **training.named(arguments, "hue"))
    training.check_range("[0, inf)", **training.named(arguments, "weight_decay", "close_mosaic"))


def _card(boxes, model, image_size):
    return {
        "name": "yolo",
        "builder": "yolo",
        "task": TASK,
        "dataset": dataset_entry(boxes),
        "image_size": list(image_size),
        "parameters": model.count_params(),
        "licence": cards.licence(boxes.licence),
    }


def _measured(run, card, boxes, **about):
    """Measures what a run wrote, and gives what `train` gives back."""
    split = "test" if "test" in boxes.splits else "validation"
    finder = Finder(run.folder, card=card)
    figures = measure(finder, boxes.split(split), boxes.class_names, run.folder)
    measured = [row for row in run.history if np.isfinite(row["val_mAP50"])]
    plots.history(run.history, {"loss": {"loss": "training"}}, run.folder / "curves.png")
    shown = {"mean average precision": {"val_mAP50": "mAP50, validation", "val_mAP50-95": "mAP50-95, validation"}}
    plots.history(measured, shown, run.folder / "curves_validation.png")
    best = max(measured, key=lambda row: row["val_mAP50"])
    letterboxed = letterbox(boxes.split(split).images[0], finder.image_size)[0][None]
    return results.trained(
        run,
        card,
        figures,
        measured_on=f"{boxes.name}, {split}",
        latency_ms=timing.latency(lambda: finder(letterboxed)),
        message=f"mAP50 {figures['metrics']['mAP50']:.4f} on {split}",
        **about,
        best_epoch=best["epoch"],
        validation={"mAP50": best["val_mAP50"], "mAP50-95": best["val_mAP50-95"]},
    ) | {"split": split}


def evaluate(
    *,
    model: str | None = None,
    dataset: str = "scenes",
    split: Split | None = None,
    unlabelled: box_data.Unlabelled = "refuse",
    data_dir: Path | None = None,
    output: Path | None = None,
):
    """Measures a model: mAP50 and mAP50-95, by class, curves, confusion matrix and a sheet of the worst images.

    Where the data set has all classes of the model and others, boxes of the others are left out and counted.

    Args:
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder; by default
            yolo_scenes for the drawn scenes, else yolo_everyday (people, vehicles, animals).
        dataset: scenes, a folder in the form of Pascal VOC, COCO or YOLO, or a name of tensorflow-datasets (voc/2007).
        split: Part of the data set to measure on; by default test, or validation where there is no test split.
        unlabelled: What becomes of an image of a YOLO folder without a label file: refuse, background or skip.
        data_dir: Folder of tensorflow-datasets.
        output: Folder for the pictures and evaluation.json; by default a new one under runs/yolo.
    """
    finder = Finder(model or ("yolo_scenes" if str(dataset) == "scenes" else "yolo_everyday"))
    boxes, split, part = _part(finder, dataset, split, unlabelled=unlabelled, data_dir=data_dir)
    _report(boxes)
    if not any(map(len, part.boxes)):
        raise ValueError(f"{boxes.name} ({split}) has no box of a class that the model finds: nothing can be measured")
    folder = runs.output_folder("yolo", f"evaluate-{boxes.name}", output)
    figures = {
        "model": finder.path,
        "dataset": boxes.name,
        "split": split,
        "images": len(part),
        "boxes": sum(map(len, part.boxes)),
        "faulty_boxes": boxes.faults,
        **measure(finder, part, finder.labels, folder),
    }
    best = figures["confidence"]
    message = (
        f"mAP50 {figures['metrics']['mAP50']:.4f}, mAP50-95 {figures['metrics']['mAP50-95']:.4f} on {len(part):,} "
        f"images of {boxes.name} ({split}); at confidence {best['confidence']:.2f}: precision {best['precision']:.3f}, "
        f"recall {best['recall']:.3f}"
    )
    return results.evaluated(folder, figures, figures["per_class"], message)


def export(
    *,
    model: str = "yolo_everyday",
    format: tuple[Literal["saved_model", "tflite", "onnx"], ...] = ("tflite",),
    quantize: tuple[Literal["none", "float16", "dynamic", "int8"], ...] = ("none",),
    batch: int = 1,
    detections: Literal["final", "raw"] = "final",
    input_size: tuple[int, int] | None = None,
    confidence: float = 0.01,
    iou: float = IOU,
    max_detections: int = 100,
    latency_at: tuple[int, ...] = (),
    dataset: str | None = None,
    split: Split | None = None,
    data_dir: Path | None = None,
    output: Path | None = None,
):
    """Exports a Keras model (uint8 image in, boxes, scores and classes out) and measures mAP50 of every file.

    Boxes are left, top, right and bottom as shares of the image, so that 1 is its right or bottom edge.

    Args:
        model: A published model, a run folder or a .keras file.
        format: One or more formats.
        quantize: One or more precisions of the TFLite files.
        batch: Examples that a file takes at a time.
        detections: final (non-maximum suppression inside: boxes, scores, classes and their count) or raw (boxes and
            scores of all points, for a suppression of one's own).
        input_size: Height and width of the images, such as those of a camera, where the file itself is to fit them
            into the model's size; by default the caller does so, with a grey border (114) and the image in the middle.
        confidence: Least confidence of a final detection.
        iou: Overlap above which two final boxes of a class mean the same thing.
        max_detections: Number of final detections, at most.
        latency_at: Sides of square images at which the latency of TFLite files is measured as well.
        dataset: Data to measure on, whose training split shows int8 the range of the activations; by default the
            photographs of scikit-image, for a model of the drawn scenes these.
        split: Part of the data set to measure on; by default test, or validation where there is no test split.
        data_dir: Folder of tensorflow-datasets.
        output: Folder for the files and their card; by default a new one under runs/yolo.
    """
    files = exports.plan(format, quantize, batch)
    training.check_range("[0, 1]", confidence=confidence, iou=iou)
    training.check_positive(max_detections=max_detections)
    if input_size is not None and min(input_size) < 1:
        raise ValueError(f"input_size is height and width in pixels, got {input_size}")
    finder = Finder(model).keras_only()
    if any(side < 32 or side % 32 for side in latency_at):
        raise ValueError(f"latency_at is multiples of 32, got {', '.join(map(str, latency_at))}")
    if dataset is None and finder.about.get("name") == "scenes":
        dataset = "scenes"
    boxes, split, part = _part(finder, dataset, split, foreign=True, representative=True, data_dir=data_dir)
    _report(boxes)
    same = finder.knows(boxes)
    if not same:
        why = "has other classes than the model" if boxes.class_names else "come without boxes"
        print(
            f"{boxes.name} {why}: measured is how far a file finds what the model finds; "
            "for int8 give the model's own data with --dataset"
        )
        part = _as_found(finder, part)
    reference = measure(finder, part, finder.labels)
    folder = runs.output_folder("yolo", "export", output)
    endpoint = exporting.detection_endpoint(
        exporting.float32_copy(finder.model),
        detections=detections,
        input_size=input_size,
        confidence=confidence,
        iou_threshold=iou,
        max_detections=max_detections,
    )
    sized, shown = part, boxes.splits.get("train", part)
    if input_size is not None:
        sized, shown = _at_size(part, input_size, dataset, split, splits=tuple(boxes.splits), data_dir=data_dir)
    # what shows int8 the range of the activations
    representative_data, _ = box_data.letterboxed(shown.take(exports.some_of(np.arange(len(shown)), 500)))
    letterboxed, _ = box_data.letterboxed(sized.take([0]))
    expected = finder.on_image(Image.fromarray(letterboxed[0]))["scores"]
    size = list(input_size or finder.image_size)

    def measured(path):
        exported = Finder(path, threads=2)
        return {
            "metrics": measure(exported, sized, finder.labels)["metrics"],
            "measured_on": f"{boxes.name}, {split}" + ("" if same else ", against what the Keras model finds"),
            "max_abs_difference": _gap(exported(letterboxed)[0]["scores"], expected),  # on the first image
            "latency_ms": round(timing.latency(lambda: exported.raw(letterboxed[0])), 4),
            "threads": 2 if path.suffix == ".tflite" else None,
            "detections": detections,
            "image_size": size,
            **_latencies(finder, path, latency_at, representative_data[:20]),
        }

    entries = exports.write_all(
        folder,
        files,
        finder,
        batch=batch,
        measured=measured,
        endpoints={exporting.ENDPOINT: endpoint},
        metadata=exporting.detection_metadata(
            size, detections=detections, inside=input_size is not None, confidence=confidence, iou_threshold=iou
        ),
        representative_data=representative_data,
    )
    value = reference["metrics"]["mAP50"]
    print(f"\nKeras: mAP50 {value:.4f} on {len(part):,} images of {boxes.name} ({split}); files are in {folder}")
    return {
        "output": folder,
        "dataset": boxes.name,
        "split": split,
        "faulty_boxes": boxes.faults,
        "metrics": reference["metrics"],
        "files": entries,
    }


# Using a model


def _part(finder, dataset, split, *, foreign=False, representative=False, **options):
    """(data set, name of the split, `Split`); only what is needed is read: with `representative` "train" as well.

    With `foreign` the data set may have other classes than the model, and is then given as it is.
    """
    wanted = None
    if split not in (None, "all"):
        split = {"val": "validation"}.get(split, split)
        wanted = (split, *(["train?"] if representative and split != "train" else []))
    if foreign:
        boxes = _read(dataset, finder.image_size, splits=wanted, **options)
        boxes = boxes.renumbered(finder.labels) if finder.knows(boxes) else boxes
    else:
        boxes = finder.datasets(dataset, splits=wanted, **options)
    split = split or next(name for name in ("test", "validation", "train") if name in boxes.splits)
    return boxes, split, boxes.split(split)


def _read(dataset, image_size, **options):
    """A data set; without a name the photographs that come along."""
    return datasets(dataset, image_size=image_size, **options) if dataset else box_data.photographs(image_size)


def _as_found(finder, split):
    """The same images with what the model finds on them as their objects."""
    found = finder(box_data.letterboxed(split)[0])
    objects = []
    for one, size in zip(found, split.sizes, strict=True):
        corners = unletterbox(one["boxes"], size, size, finder.image_size)
        objects.append(np.concatenate([corners, one["classes"][:, None]], axis=1).astype(np.float32))
    return replace(split, boxes=objects, holes=None)


def _at_size(part, input_size, dataset, split, **options):
    """(the measured split, the training split or else it) in another size, as a file that fits the image itself sees
    them; of `part` the boxes stay, which may be those that the model found.
    """
    wide = _read(dataset, input_size, **options)
    sized = wide.split(split)
    factors = sized.sizes[:, ::-1] / part.sizes[:, ::-1]
    scaled = [rows * np.float32([*f, *f, 1]) for rows, f in zip(part.boxes, factors, strict=True)]
    sized = replace(sized, boxes=scaled)
    return sized, wide.splits.get("train", sized)


def _gap(found, expected):
    """Largest difference of the confidences, by rank."""
    if not len(found):
        return float(expected.max(initial=0))
    count = max(1, min(len(found), len(expected)))
    return float(np.abs(np.resize(found, count) - np.resize(expected, count)).max())


def _latencies(finder, path, sides, images):
    """Milliseconds of a TFLite file of the same network for square images, as a card has them."""
    if path.suffix != ".tflite" or not sides:
        return {}

    def square(side):
        network = fitted(exporting.float32_copy(finder.model), (side, side, 3), len(finder.labels))
        return network, {exporting.ENDPOINT: exporting.detection_endpoint(network)}

    return {"latency_ms_at": timing.latencies_at(sides, square, exporting.load(path).metadata["quantize"], images)}


def dataset_entry(boxes):
    """What a card says of a data set of boxes."""
    return {
        "name": boxes.name,
        "version": boxes.version,
        "licence": boxes.licence,
        "form": boxes.form,
        "classes": list(boxes.class_names),
        "splits": {name: len(split) for name, split in boxes.splits.items()},
        "boxes": {name: sum(map(len, split.boxes)) for name, split in boxes.splits.items()},
        "faulty_boxes": boxes.faults,
        **({"labelled_with_holes": boxes.holes()} if boxes.holes() else {}),
    }


def _report(boxes):
    if boxes.holes():
        found = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in boxes.holes().items())
        print(f"{boxes.name} is labelled with holes: {found}; these weigh less in the loss and are not measured by")
    for kind, count in boxes.faults.items():
        print(f"{boxes.name}: {count:,} box{'es' * (count > 1)} {kind}")


def _optimizer(kind, learning_rate, weight_decay, clip, steps, epochs):
    """AdamW or SGD with warm-up, cosine, clipped gradients and averaged weights."""
    learning_rate = learning_rate or {"adamw": 1.5e-3, "sgd": 1e-2}[kind]
    total = steps * epochs
    warm_up = min(max(3 * steps, 50), total // 5 + 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 100, max(1, total - warm_up), 0.5, warmup_target=learning_rate, warmup_steps=warm_up
    )
    options = {"global_clipnorm": clip, "use_ema": True, "ema_momentum": 1 - min(0.1, max(1e-3, 20 / total))}
    if kind == "adamw":
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay, **options)
    else:
        # decoupled, so that the same decay means as much at a learning rate five times as high
        options["weight_decay"] = weight_decay / 5
        optimizer = keras.optimizers.SGD(schedule, momentum=0.937, nesterov=True, **options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _averaged(model):
    """What is kept after training: the averages of the weights, in float32."""
    _take_averages(model)
    return exporting.float32_copy(model)


def _take_averages(model):
    """Sets the weights to their averages; gives those that stood there."""
    former = [np.array(variable) for variable in model.trainable_variables]
    if model.optimizer.built and np.array(model.optimizer.iterations):  # of several replicas it is no int
        model.optimizer.finalize_variable_values(model.trainable_variables)
    return former


class _Averages(keras.callbacks.Callback):
    """Measures the averaged weights on the validation split, each few epochs; NaN between."""

    def __init__(self, split, num_classes, *, every, epochs):
        super().__init__()
        self.letterboxed, self.targets = box_data.letterboxed(split)
        self.num_classes, self.every, self.epochs = num_classes, every, epochs
        self.run = None

    def on_epoch_end(self, epoch, logs=None):
        logs |= {"val_mAP50": math.nan, "val_mAP50-95": math.nan}
        if (epoch + 1) % self.every and epoch + 1 < self.epochs:
            return
        if self.run is None:
            self.run = _compiled(self.model, self.letterboxed.shape[1:3])
        former = _take_averages(self.model)
        metric = MeanAveragePrecision(self.num_classes)
        for start in range(0, len(self.letterboxed), 16):
            outputs = self.run(self.letterboxed[start : start + 16])
            found = zoo.boxes.detect(outputs, self.letterboxed.shape[1:3], confidence=0.001)
            metric.update_state(self.targets[start : start + 16], found)
        for variable, value in zip(self.model.trainable_variables, former, strict=True):
            variable.assign(value)
        result = metric.result()
        logs |= {f"val_{name}": result[name] for name in ("mAP50", "mAP50-95")}
        print(f" - val_mAP50: {result['mAP50']:.4f} - val_mAP50-95: {result['mAP50-95']:.4f}")


def _compiled(model, image_size):
    """A model as a function of uint8 images."""
    run = compiled(model, (*image_size, 3))
    return lambda images: run(images / np.float32(255))


class Finder(models.TrainedModel):
    """Any form of a trained detector: uint8 images of its size, (count, height, width, 3), to detections.

    Attributes:
        image_size: (height, width) of the images that it takes.
        labels: Names of the classes.
    """

    name, task = "yolo", TASK

    def __init__(self, model, *, card=None, threads=1):
        super().__init__(model, card=card, threads=threads)
        if self.exported:
            shape, _ = self.model.inputs.get("image", ((), ""))
            if len(shape) != 4 or "detections" not in self.model.metadata:
                raise ValueError(f"{self.path} is not a detector: its inputs are {self.model.inputs}")
            self.image_size = shape[1:3]
            return
        if not isinstance(self.model, Detector):
            raise ValueError(f"{self.path} is not a detector: its outputs are {', '.join(self.model.output_names)}")
        self.image_size = self.model.input_shape[1:3]
        self.labels = list(self.labels or (f"class {number}" for number in range(self.model.output_shape[1][-1])))
        self._run = _compiled(self.model, self.image_size)

    def raw(self, image):
        """What the model itself gives for one image, for timing."""
        if self.exported:
            return self.model(image=image[None])
        return self._run(image[None])

    def __call__(self, images, *, confidence=0.25, iou_threshold=IOU):
        """One dictionary "boxes" (in pixels of these images), "scores" and "classes" each; see `zoo.boxes.detect`."""
        options = {"confidence": confidence, "iou_threshold": iou_threshold}
        if not self.exported:
            parts = [self._run(images[start : start + 16]) for start in range(0, len(images), 16)]
            return [one for part in parts for one in zoo.boxes.detect(part, self.image_size, **options)]
        return [of_file(self.model(image=image[None]), self.image_size, **options) for image in images]

    def on_image(self, image, **options):
        """Detections on one PIL image, boxes in its own pixels."""
        pixels, undo = letterboxed(image, self.image_size)
        (found,) = self(pixels[None], **options)
        return found | {"boxes": undo(found["boxes"])}

    def knows(self, boxes):
        """Whether a data set can be measured: the model knows all of its classes, or it has all of the model's."""
        known, there = set(self.labels), set(boxes.class_names)
        return bool(there) and (there <= known or known <= there)

    def datasets(self, dataset, **options):
        """A data set brought to this model's image size, with its classes numbered as the model's.

        Raises:
            ValueError: If the model does not know a class of the data set, unless the data set has all of the model's
                and others: these are left out, as when the model learnt with `--classes`.
        """
        boxes = datasets(dataset, **{"image_size": self.image_size} | options)
        if not self.knows(boxes):
            fitting = [name for name in pretrained.names() if set(boxes.class_names) <= set(_finds(name))]
            hint = f": give --model {fitting[0]}" if fitting else ""
            if boxes.form == "YOLO" and all(name == f"class {n}" for n, name in enumerate(boxes.class_names)):
                hint = ", since there is no data.yaml whose `names` says what they are"
            raise ValueError(
                f"the classes differ: the model {self.given} knows {', '.join(self.labels)}; "
                f"{boxes.name} has {', '.join(boxes.class_names)}{hint}"
            )
        return boxes.renumbered(self.labels)


def _finds(name):
    """The classes of a published detector; nothing for another model."""
    card = pretrained.card(name)
    return card["dataset"]["classes"] if card["task"] == TASK else ()


def measure(finder, split, class_names, folder=None):
    """Figures of a detector on one split, and pictures if there is a folder for them.

    Args:
        finder: The `Finder`.
        split: The `Split`, in the detector's size, classes numbered as the detector's.
        class_names: The detector's classes.
        folder: Where to write the pictures; None leaves them out.
    """
    letterboxed, targets = box_data.letterboxed(split)
    start = time.perf_counter()
    found = finder(letterboxed, confidence=0.001)
    seconds = time.perf_counter() - start
    metric = MeanAveragePrecision(len(class_names))
    metric.update_state(targets, found)
    result = metric.result()
    named = [{"class": name, **row} for name, row in zip(class_names, result["per_class"], strict=True)]
    figures = {
        "metrics": {name: result[name] for name in ("mAP50", "mAP50-95")},
        "intervals": {"mAP50": metric.interval()},
        "per_class": [row for row in named if row["objects"]],
        "images_per_second": round(len(letterboxed) / seconds, 2),
    }
    curves = {name: metric.curve(number) for number, name in enumerate(class_names) if metric.objects[number]}
    figures["confidence"] = best_confidence(curves.values())
    if folder is None:
        return figures
    pictures.detection_curves(curves, folder / "curves_precision_recall.png")
    matrix, wrong = detection_confusion(targets, found, len(class_names), figures["confidence"]["confidence"])
    names = [*class_names, "nothing"]
    plots.confusion_matrix(matrix, names, folder / "confusion_matrix.png", what="objects and detections")
    pictures.worst(split.files, letterboxed, targets, found, wrong, class_names, figures["confidence"], folder)
    return figures
