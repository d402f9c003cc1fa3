"""Photo classifier: a network pretrained on ImageNet, fitted to one's own classes of photos.

Data: a folder `class/*.jpg` (also `train/class/*.jpg`, `val/class/*.jpg`, `test/class/*.jpg`), or an image
classification set of tensorflow-datasets (`tf_flowers`, `oxford_iiit_pet`, `cats_vs_dogs`).

    zoo train image_classifier --dataset flowers

Training has two phases: the new last layer alone, on features that are computed once, then the whole network. Without
any training, `zoo predict image_classifier photo.jpg` names the 1,000 classes of ImageNet.
"""

from pathlib import Path
from typing import Literal

import keras
import numpy as np
from tyro.conf import OmitArgPrefixes

import zoo
from recipes import cards, checkpoints, classification, exports, plots, results, runs, timing, training
from recipes.classification import TASK, evaluated, exported, measure
from recipes.data import images as image_data
from recipes.data import photo_batches
from recipes.data.splits import Split
from recipes.forward import compiled, in_parts
from zoo.imagenet import CLASSES

USUAL = (224, 224, 3)  # for data without a size of its own


class Classifier(classification.Classifier):
    """A photo classifier of any form; "imagenet" is that of the backbone's own 1,000 classes."""

    name = "image_classifier"

    def __init__(self, model, *, card=None, flip=False):
        if str(model) == "imagenet":
            model, card = zoo.image_classifier(weights="imagenet", name="imagenet"), {"dataset": {"classes": CLASSES}}
        super().__init__(model, card=card, flip=flip)


def datasets(dataset, input_shape=None, data_dir=None, manual_dir=None):
    """Loads a folder or a set of tensorflow-datasets in its own size, if it has one of up to 320 pixels a side, else in
    224 x 224; see `recipes.data.images.load`."""
    own = {"usual": USUAL, "largest": 320, "cut_test": False}
    return image_data.load(str(dataset), input_shape=input_shape, data_dir=data_dir, manual_dir=manual_dir, **own)


@runs.resumable
def train(
    *,
    dataset: str | None = None,
    image_size: tuple[int, int] | None = None,
    share: float = 1.0,
    backbone: str = "efficientnet_lite0",
    backbone_weights: Literal["imagenet"] | None = "imagenet",
    train_statistics: bool = False,
    freeze_until: str | None = None,
    dropout: float = 0.2,
    head_epochs: int = 30,
    epochs: int = 15,
    batch_size: int = 32,
    learning_rate: float = 5e-4,
    weight_decay: float = 0.02,
    label_smoothing: float = 0.1,
    augment: float = 0.3,
    mixup: float = 0.2,
    class_balance: float = 0.0,
    weights: str | None = None,
    patience: int | None = None,
    setup: OmitArgPrefixes[training.Setup] = training.Setup(),
):
    """Fits a photo classifier in two phases and measures it on the test split, or on the validation split where there
    is no other.

    Args:
        dataset: A folder of class/*.jpg, or a name of tensorflow-datasets (tf_flowers, oxford_iiit_pet, ...); needed
            unless a run is resumed.
        image_size: Height and width of the network's images; by default those of the data, if they are all the same,
            else 224 224.
        share: Share of the training images that is used, of each class alike, in (0, 1].
        backbone: efficientnet_lite0, or another name of keras.applications (MobileNetV3Small, ...).
        backbone_weights: imagenet, or none: from scratch.
        train_statistics: Whether the batch normalisation of the pretrained network is trained: for many photos unlike
            those of ImageNet, at a batch size of 32 or more.
        freeze_until: Last layer that keeps its weights (of efficientnet_lite0 stage3, say; features: all but the last).
        dropout: Share of the features dropped in training.
        head_epochs: Passes of the first phase, of the last layer alone; 0 leaves it out.
        epochs: Passes of the second phase.
        batch_size: Images per step.
        learning_rate: Highest learning rate of the second phase.
        weight_decay: Decoupled weight decay of AdamW, of the kernels only.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        augment: Strength of RandAugment, in [0, 1]; 0 for no augmentation but mirroring.
        mixup: Alpha of MixUp, which blends two images and their labels; 0 for none.
        class_balance: Exponent of the class weights from their frequencies; 0 weighs all images alike.
        weights: Model to start from: a published data set's name or a .keras file; it decides the network, and with
            other classes all but its last layer is kept.
        patience: Epochs without a better validation accuracy after which to stop; by default never early.
        setup: Seed, machine and folders.
    """
    arguments = dict(locals())
    if dataset is None:
        raise ValueError("zoo train image_classifier needs --dataset: a folder of class/*.jpg, or a name (tf_flowers)")
    training.check_positive(**training.named(arguments, "epochs", "batch_size", "learning_rate", "patience", "share"))
    training.check_range("[0, 1)", label_smoothing=label_smoothing, dropout=dropout)
    training.check_range("[0, 1]", share=share, augment=augment)
    training.check_range("[0, inf)", **training.named(arguments, "weight_decay", "mixup", "head_epochs"))
    training.check_range("[0, 2]", class_balance=class_balance)
    strategy = training.prepare(setup, weights)
    shape = None if image_size is None else (*image_size, 3)
    if weights is None:  # what is wrong with the network is said before minutes of reading data
        options = {"backbone": backbone, "backbone_weights": backbone_weights, "dropout": dropout}
        options["train_statistics"] = train_statistics
        zoo.image_classifier(shape or USUAL, 2, backbone=backbone, freeze_until=freeze_until)

    # data
    images = datasets(dataset, shape, setup.data_dir, setup.manual_dir)
    x, y = images.split("train")
    if share < 1:
        y = y[kept := image_data.cut(y, [share])[1]]
        x = x[kept]
    num_classes = len(images.class_names)
    batch_size, steps, per_execution = training.plan(len(y), batch_size, strategy)
    sizes = {"batch_size": batch_size, "steps": steps, "epochs": epochs, "seed": setup.seed}
    balance = np.bincount(y, minlength=num_classes).clip(1) ** -float(class_balance)
    balance *= len(y) / balance[y].sum()

    def batches(first_epoch):
        drawn = {"augment": augment, "mixup": mixup, "class_weights": balance}
        return photo_batches.training_batches(x, y, num_classes=num_classes, first_epoch=first_epoch, **sizes, **drawn)

    with strategy.scope(), training.precision(setup.precision):
        # network
        options = {"weights": weights} if weights else options
        model = zoo.image_classifier(images.image_shape, num_classes, **options, freeze_until=freeze_until)
        # optimiser
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)
        model.compile(
            training.adamw(learning_rate, weight_decay, steps=steps * epochs, warm_up=steps * epochs // 10),
            loss=loss,
            metrics=["accuracy"],
            steps_per_execution=per_execution,
        )

    # machine: a run folder, and a fit that can be killed and resumed
    run = runs.start(Classifier.name, train, arguments)
    card = _card(images, model, share) | runs.environment()
    size = " x ".join(map(str, images.image_shape[:2]))
    print(
        f"{images.name}: {len(y):,} images of {size} for training, {num_classes} classes, "
        f"{model.count_params():,} parameters, {epochs} epochs of {steps} steps"
    )
    if head_epochs and not run.first_epoch:
        _fit_head(model, x, y, head_epochs, loss, images.split("validation"))
    validation = image_data.evaluation_batches(*images.split("validation"), num_classes=num_classes, batch_size=128)
    best = {"monitor": "val_accuracy", "mode": "max", "patience": patience}
    trained = training.fit(
        model, batches, run=run, card=card, epochs=epochs, steps=steps, validation=validation, **best
    )
    checkpoints.save_compact(trained, run.folder / "model.keras", bits=5)  # a byte per weight, once compressed
    return _measured(run, card, images, batch_size)


def _fit_head(model, x, y, epochs, loss, validation):
    """The first phase: the last layer alone, on features of the images as they are."""
    last = model.get_layer("probabilities")
    features = compiled(keras.Model(model.input, model.get_layer("features").output))
    found = in_parts(features, x)
    head = keras.Sequential([keras.Input(found.shape[1:]), last])
    head.compile(keras.optimizers.AdamW(2e-3), loss)
    head.fit(found, keras.utils.to_categorical(y, last.units), batch_size=64, epochs=epochs, verbose=0)
    seen = in_parts(features, validation[0])
    accuracy = float((np.argmax(head.predict(seen, verbose=0), axis=1) == validation[1]).mean())
    print(f"the last layer alone: validation accuracy {accuracy:.4f} after {epochs} epochs")


def _card(images, model, share):
    """What the card says before anything is measured."""
    return {
        "name": Classifier.name,
        "builder": Classifier.name,
        "task": TASK,
        "dataset": cards.dataset_entry(images)
        | {"classes": images.class_names}
        | ({} if share == 1 else {"share_of_training_images": share}),
        "parameters": model.count_params(),
        "licence": cards.licence(images.licence),
    }


def _measured(run, card, images, batch_size):
    """Measures what a run wrote, and gives what `train` gives back."""
    split = images.measured
    classifier = Classifier(run.folder, card=card)
    x, y = images.split(split)
    figures = measure(classifier, x, y, images.class_names, run.folder)
    plots.curves(run.history, run.folder / "curves.png")
    return results.trained(
        run,
        card,
        figures,
        metrics=["accuracy"],
        measured_on=f"{images.name}, {split}",
        latency_ms=timing.latency(lambda: classifier(x[:1])),
        message=f"{split} accuracy {figures['metrics']['accuracy']:.4f}",
        batch_size=batch_size,
        validation={"accuracy": max(row["val_accuracy"] for row in run.history)},
    )


def evaluate(
    *,
    model: str = "image_classifier",
    dataset: str,
    split: Split | None = None,
    test_time_augmentation: Literal["none", "flip"] = "none",
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Measures a model: accuracy, per-class table, confusion matrix, calibration, a sheet of its worst mistakes, and
    where it looks (Grad-CAM).

    Args:
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        dataset: A folder of class/*.jpg, or a name of tensorflow-datasets.
        split: Part of the data set to measure on; by default test, where there is one, else validation.
        test_time_augmentation: flip also asks the model about the mirror image, and takes the mean.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the pictures and evaluation.json; by default a new one under runs/image_classifier.
    """
    classifier = Classifier(model, flip=test_time_augmentation == "flip")
    images = classifier.fitting(lambda shape: datasets(dataset, shape, data_dir, manual_dir), dataset)
    return evaluated(classifier, images, split or images.measured, output)


def export(
    *,
    model: str = "image_classifier",
    format: tuple[Literal["saved_model", "tflite", "onnx"], ...] = ("tflite",),
    quantize: tuple[Literal["none", "float16", "dynamic", "int8"], ...] = ("none",),
    batch: int = 1,
    dataset: str,
    split: Split | None = None,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Exports a Keras model (uint8 pixels in, probabilities out) and measures every file that it wrote.

    Args:
        model: A published model, a run folder or a .keras file.
        format: One or more formats.
        quantize: One or more precisions of the TFLite files.
        batch: Examples that a file takes at a time.
        dataset: Data to measure the accuracy on; its training split shows int8 the range of the activations.
        split: Part of the data set to measure on; by default test, where there is one, else validation.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the files and their card; by default a new one under runs/image_classifier.
    """
    files = exports.plan(format, quantize, batch)
    classifier = Classifier(model).keras_only()
    images = classifier.fitting(lambda shape: datasets(dataset, shape, data_dir, manual_dir), dataset)
    return exported(classifier, files, images, split or images.measured, output, batch=batch)
