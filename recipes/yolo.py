"""Object detection: where which things are in images, videos and from a camera, with a YOLO.

Data: drawn scenes of people, cars and animals, which need no network; folders in the form of Pascal VOC, COCO JSON or
YOLO, told apart by themselves; or voc/2007, voc/2012 and coco/2017 of tensorflow-datasets.
"""

import json
import math
import time
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

import zoo
from recipes import benchmark as timing
from recipes import cards, plots, training
from recipes.data import boxes as data
from zoo import export as exporting
from zoo import pretrained
from zoo.metrics import MeanAveragePrecision

TASK = "object detection"
Size = Literal["nano", "small", "medium"]


def datasets(dataset="scenes", **options):
    """Loads "scenes", a set of tensorflow-datasets or a folder; the options are those of `recipes.data.boxes.load`."""
    return data.load(dataset, **options)


@training.resumable
def train(
    *,
    dataset: str = "scenes",
    classes: tuple[str, ...] = (),
    image_size: tuple[int, ...] = (320,),
    size: Size = "nano",
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: Literal["adamw", "sgd"] = "adamw",
    learning_rate: float | None = None,
    weight_decay: float = 0.05,
    gradient_clip: float = 10.0,
    mosaic: float = 1.0,
    close_mosaic: int | None = None,
    scale: float = 0.5,
    translate: float = 0.1,
    flip: Literal["none", "horizontal", "both"] = "horizontal",
    hue: float = 0.015,
    saturation: float = 0.7,
    brightness: float = 0.4,
    weights: str | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    unlabelled: data.Unlabelled = "refuse",
    seed: int = 0,
    deterministic: bool = True,
    precision: training.Precision | None = None,
    device: training.Device = "auto",
    data_dir: Path | None = None,
    output: Path | None = None,
    resume: Path | None = None,
):
    """Trains a detector and measures it on the test split, or on the validation split where there is no other.

    What is kept are the averaged weights of the epoch with the best mAP50 on the validation split.

    Args:
        dataset: scenes, a folder in the form of Pascal VOC, COCO or YOLO, or a name of tensorflow-datasets (voc/2007).
        classes: Classes to learn; by default all of the data set.
        image_size: Height and width of the model's images, multiples of 32; or one number, the longest side, where
            the other one is that of the data set's images.
        size: nano (3 million parameters), small (11) or medium (26).
        epochs: Passes over the data; by default 12,000 images in all, in 40 to 300 epochs.
        batch_size: Images per step; by default 16, and less for a small set, so that an epoch has 4 steps.
        optimizer: adamw or sgd (with Nesterov momentum 0.937).
        learning_rate: Highest learning rate, after a warm-up and before a cosine; by default 0.002, of sgd 0.01.
        weight_decay: Decoupled weight decay, of the kernels only.
        gradient_clip: Largest norm of all gradients together.
        mosaic: Share of the images that are put together from four.
        close_mosaic: Last epochs without mosaic; by default a tenth.
        scale: Images are drawn by a factor of 1 - scale to 1 + scale.
        translate: Images are shifted by up to this share of their sides.
        flip: none, horizontal (left and right) or both.
        hue: Largest turn of the hue, as a share of the circle.
        saturation: Largest relative change of the saturation.
        brightness: Largest relative change of the brightness.
        weights: Model to start from: the name of a published data set (bccd, scenes), pascalvoc, coco_backbone, or a
            .keras or .h5 file; with other classes all but the class head is kept.
        validate_every: Epochs from one measurement on the validation split to the next; by default so that there are
            30 of them.
        patience: Epochs without a better mAP50 after which training stops; by default never.
        unlabelled: What becomes of an image of a YOLO folder without a label file: refuse, background or skip.
        seed: Seed of weights, order and augmentation.
        deterministic: Whether the same seed gives the same weights to the bit (on the same machine).
        precision: Precision of the computation; by default mixed_bfloat16 where the processor computes with it, else
            float32. The model is saved in float32.
        device: Where to train: auto, cpu, gpu, mirrored (all GPUs or CPU devices of this host) or tpu.
        data_dir: Folder of tensorflow-datasets.
        output: Folder of the run; by default a new one, runs/yolo/TIME-DATASET.
        resume: Folder of a run that was interrupted; it goes on with its own arguments.
    """
    arguments = dict(locals())
    training.check_positive(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        gradient_clip=gradient_clip,
        validate_every=validate_every,
        patience=patience,
    )
    training.check_range(0, 1.0001, mosaic=mosaic, saturation=saturation, brightness=brightness)
    training.check_range(0, 0.91, scale=scale, translate=translate)
    training.check_range(0, 0.51, hue=hue)
    training.check_range(0, math.inf, weight_decay=weight_decay, close_mosaic=close_mosaic or 0)
    training.check_range(0, 2**31, seed=seed)
    environment = cards.environment()
    training.seed_everything(seed, deterministic)
    strategy = training.distribution(device)
    boxes = datasets(
        dataset, image_size=tuple(image_size), classes=tuple(classes), unlabelled=unlabelled, data_dir=data_dir
    )
    known, validation = boxes.split("train"), boxes.split("validation")
    _report(boxes)
    replicas = strategy.num_replicas_in_sync
    batch_size = math.ceil((batch_size or min(16, max(4, len(known) // 4))) / replicas) * replicas
    batch_size, steps, _ = training.execution_plan(len(known), batch_size)
    epochs = epochs or min(300, max(40, round(12_000 / len(known))))
    close_mosaic = epochs // 10 if close_mosaic is None else close_mosaic
    validate_every = validate_every or max(1, epochs // 30)
    precision = precision or _fast_precision()
    image_size = known.images.shape[1:3]

    with strategy.scope(), training.precision(precision):
        model = zoo.yolo((*image_size, 3), len(boxes.class_names), size=size, weights=weights)
        model.compile(
            _optimizer(optimizer, learning_rate, weight_decay, gradient_clip, steps, epochs),
            loss=zoo.losses.Detection(image_size, model.output_shape[0][-1] // 4),
        )
    run = training.start("yolo", arguments)
    card = {
        "name": "yolo",
        "builder": "yolo",
        "task": TASK,
        "dataset": dataset_entry(boxes),
        "image_size": list(image_size),
        "parameters": model.count_params(),
        "licence": {"weights": "Apache-2.0", "data": boxes.licence},
        **environment,
    }
    print(
        f"{boxes.name}: {len(known):,} images of {image_size[0]} x {image_size[1]} for training, "
        f"{model.count_params():,} parameters, {epochs} epochs in {precision}"
    )

    def batches(first_epoch):
        return data.training_batches(
            known,
            batch_size=batch_size,
            steps=steps,
            epochs=epochs,
            first_epoch=first_epoch,
            seed=seed,
            mosaic=mosaic,
            close_mosaic=close_mosaic,
            scale=scale,
            translate=translate,
            flip=flip,
            hue=hue,
            saturation=saturation,
            brightness=brightness,
        )

    averages = _Averages(validation, len(boxes.class_names), every=validate_every, epochs=epochs)
    try:
        training.fit(
            model,
            batches,
            run=run,
            epochs=epochs,
            steps=steps,
            monitor="val_mAP50",
            mode="max",
            patience=patience,
            callbacks=[averages],
        )
    except KeyboardInterrupt:
        _take_averages(model)
        training.keep_interrupted(run, exporting.float32_copy(model), card)
        raise
    _take_averages(model)
    training.save_model(exporting.float32_copy(model), run.folder / "model.keras")
    cards.write(run.folder, card)
    split = "test" if "test" in boxes.splits else "validation"
    finder = Finder(run.folder)
    figures = measure(finder, boxes.split(split), boxes.class_names, run.folder)
    measured = [row for row in run.history if np.isfinite(row["val_mAP50"])]
    plots.history(run.history, {"loss": {"loss": "training"}}, run.folder / "curves.png")
    best = max(measured, key=lambda row: row["val_mAP50"])
    page = data.letterbox(boxes.split(split).images[0], image_size)[0][None]
    card |= figures | {
        "files": [
            cards.file_entry(
                run.folder / "model.keras",
                metrics=figures["metrics"],
                measured_on=f"{boxes.name}, {split}",
                latency_ms=round(timing.latency(lambda: finder(page)), 4),
            )
        ],
        "training": cards.training_entry(
            "yolo",
            train,
            run,
            batch_size=batch_size,
            precision=precision,
            best_epoch=best["epoch"],
            validation={"mAP50": best["val_mAP50"], "mAP50-95": best["val_mAP50-95"]},
        ),
    }
    cards.write(run.folder, card)
    training.finish(run)
    print(f"mAP50 {figures['metrics']['mAP50']:.4f} on {split}; model, card and pictures are in {run.folder}")
    return {
        "output": run.folder,
        "model": run.folder / "model.keras",
        "epochs": len(run.history),
        "split": split,
        **figures,
        "parameters": card["parameters"],
        "seconds": card["training"]["seconds"],
    }


# Training


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
    }


def _report(boxes):
    for kind, count in boxes.faults.items():
        print(f"{boxes.name}: {count:,} box{'es' * (count > 1)} {kind}")


def _fast_precision():
    """mixed_bfloat16 where this machine has instructions for it."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.is_file() else []
    native = "avx512_bf16" in flags or "amx_bf16" in flags
    return "mixed_bfloat16" if native or tf.config.list_logical_devices("GPU") else "float32"


def _optimizer(kind, learning_rate, weight_decay, clip, steps, epochs):
    """AdamW or SGD with warm-up, cosine, clipped gradients and averaged weights."""
    learning_rate = learning_rate or {"adamw": 2e-3, "sgd": 1e-2}[kind]
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


def _take_averages(model):
    """Sets the weights to their averages; gives those that stood there."""
    former = [np.array(variable) for variable in model.trainable_variables]
    if model.optimizer.built and int(model.optimizer.iterations):
        model.optimizer.finalize_variable_values(model.trainable_variables)
    return former


class _Averages(keras.callbacks.Callback):
    """Measures the averaged weights on the validation split, each few epochs; NaN between."""

    def __init__(self, split, num_classes, *, every, epochs):
        super().__init__()
        self.pages, self.targets = data.letterboxed(split)
        self.num_classes, self.every, self.epochs = num_classes, every, epochs
        self.run = None

    def on_epoch_end(self, epoch, logs=None):
        logs |= {"val_mAP50": math.nan, "val_mAP50-95": math.nan}
        if (epoch + 1) % self.every and epoch + 1 < self.epochs:
            return
        if self.run is None:
            self.run = tf.function(
                lambda x: self.model(tf.cast(x, tf.float32) / 255.0, training=False),
                [tf.TensorSpec((None, *self.pages.shape[1:]), tf.uint8)],
            )
        former = _take_averages(self.model)
        metric = MeanAveragePrecision(self.num_classes)
        for start in range(0, len(self.pages), 16):
            outputs = self.run(self.pages[start : start + 16])
            found = zoo.boxes.detect(outputs, self.pages.shape[1:3], confidence=0.001)
            metric.update_state(self.targets[start : start + 16], found)
        for variable, value in zip(self.model.trainable_variables, former, strict=True):
            variable.assign(value)
        result = metric.result()
        logs |= {f"val_{name}": result[name] for name in ("mAP50", "mAP50-95")}
        print(f" - val_mAP50: {result['mAP50']:.4f} - val_mAP50-95: {result['mAP50-95']:.4f}")


class Finder:
    """Any form of a trained detector: uint8 images in its size, (count, height, width, 3), to detections.

    Attributes:
        path: The file or folder.
        model: The Keras model or the `zoo.export.Exported`.
        card: The card beside it, or an empty dictionary.
        image_size: (height, width).
        labels: Names of the classes.
    """

    def __init__(self, model):
        self.path = cards.find(str(model))
        self.card = cards.beside(self.path)
        self.model = pretrained.load(self.path)
        self.image_size = self.model.input_shape[1:3]
        self.labels = self.card.get("dataset", {}).get("classes") or list(range(self.model.output_shape[1][-1]))
        signature = [tf.TensorSpec((None, *self.image_size, 3), tf.uint8)]
        self._run = tf.function(lambda x: self.model(tf.cast(x, tf.float32) / 255.0, training=False), signature)

    def __call__(self, pages, *, confidence=0.25, iou_threshold=0.6):
        found = []
        for start in range(0, len(pages), 16):
            outputs = self._run(pages[start : start + 16])
            found += zoo.boxes.detect(outputs, self.image_size, confidence=confidence, iou_threshold=iou_threshold)
        return found


def measure(finder, split, class_names, folder):
    """Figures and pictures of a detector on one split, the pictures written into `folder`."""
    pages, _ = data.letterboxed(split)
    start = time.perf_counter()
    found = finder(pages, confidence=0.001)
    seconds = time.perf_counter() - start
    metric = MeanAveragePrecision(len(class_names))
    metric.update_state(split.boxes, [
        one | {"boxes": data.unletterbox(one["boxes"], size, size, finder.image_size)}
        for one, size in zip(found, split.sizes, strict=True)
    ])
    result = metric.result()
    return {
        "metrics": {name: result[name] for name in ("mAP50", "mAP50-95")},
        "per_class": [
            {"class": name, **row} for name, row in zip(class_names, result["per_class"], strict=True)
        ],
        "images_per_second": len(pages) / seconds,
    }
