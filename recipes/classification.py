"""What the recipes of image classifiers share: a trained classifier of any form, its figures, its files."""

from pathlib import Path

import keras
import numpy as np
from sklearn.metrics import confusion_matrix

from recipes import exports, models, plots, results, runs, timing
from recipes.forward import compiled, in_parts
from recipes.pictures import grad_cam
from zoo import export as exporting
from zoo.metrics import expected_calibration_error

TASK = "image classification"


class Classifier(models.TrainedModel):
    """Any form of a trained classifier: uint8 images (count, height, width, channels) to probabilities.

    Attributes:
        input_shape: (height, width, channels).
        labels: Names of the classes.
        border: Mean brightness of the border of the training images, or None where it is not known.
        flip: Whether it sees each image and its mirror image, and gives the mean.
    """

    task = TASK

    def __init__(self, model, *, card=None, flip=False):
        self.flip = flip
        super().__init__(model, card=card)
        if self.exported:
            shape, dtype = self.model.inputs.get("image", ((), ""))
            if len(shape) != 4 or dtype != "uint8":
                raise ValueError(f"{self.path} does not classify images: its inputs are {self.model.inputs}")
            outputs = self.model(image=np.zeros(shape, np.uint8)).get("probabilities", np.zeros(())).shape
        else:
            shape, outputs = self.model.input_shape, self.model.output_shape
        if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] not in (1, 3) or None in shape[1:]:
            raise ValueError(f"{self.path} takes inputs of shape {shape}, not images (height, width, 1 or 3)")
        if not isinstance(outputs, tuple) or len(outputs) != 2:
            raise ValueError(f"{self.path} does not classify images: it gives outputs of shape {outputs}")
        self.known = bool(self.card or self.labels)
        self.input_shape = tuple(shape[1:])
        self.labels = [str(label) for label in self.labels or range(outputs[-1])]
        self.border = self.about.get("border")
        if not self.exported:
            self._run = compiled(self.model)

    def fitting(self, load, dataset):
        """A data set in this model's input shape; a model of unknown origin must fit the data set's own.

        Args:
            load: Function of an input shape, or None, that loads it.
            dataset: Its name, for the message.

        Raises:
            ValueError: If it does not fit.
        """
        images = load(self.input_shape if self.known or Path(dataset).is_dir() else None)
        if images.image_shape != self.input_shape:
            raise ValueError(f"{self.path} takes images {self.input_shape}, {dataset} has {images.image_shape}")
        return images

    def __call__(self, images):
        found = self._probabilities(images)
        return (found + self._probabilities(images[:, :, ::-1])) / 2 if self.flip else found

    def _probabilities(self, images):
        if isinstance(self.model, keras.Model):
            return in_parts(self._run, images)
        return self.model(image=np.ascontiguousarray(images))["probabilities"]


def measure(classify, images, labels, class_names, folder):
    """Figures and pictures of a classifier on one split, the pictures written into `folder`."""
    probabilities = classify(images)
    guesses, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
    correct = guesses == labels
    error = expected_calibration_error(probabilities, labels)
    true = np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1)

    plots.confusion_matrix(
        confusion_matrix(labels, guesses, labels=range(len(class_names))), class_names, folder / "confusion_matrix.png"
    )
    plots.calibration(confidences, correct, error, folder / "calibration.png")
    worst = [index for index in np.argsort(-confidences) if not correct[index]][:32]
    captions = [f"{class_names[labels[i]]}, not {class_names[guesses[i]]}\n{confidences[i]:.0%} sure" for i in worst]
    title = f"{int((~correct).sum()):,} mistakes on {len(labels):,} images, the most confident first"
    plots.sheet(images[worst], captions, folder / "mistakes.png", title=title)
    if isinstance(getattr(classify, "model", None), keras.Model):
        right = np.flatnonzero(correct)
        shown = [*worst[:8], *right[np.linspace(0, len(right) - 1, min(8, len(right))).astype(int)]]
        grad_cam.sheet(classify.model, images[shown], guesses[shown], class_names, folder / "grad_cam.png")
    return {
        "metrics": {
            "accuracy": float(correct.mean()),
            "cross_entropy": float(-np.log(true).mean()),
            "expected_calibration_error": error,
        },
        "baselines": {"most_frequent_class": {"accuracy": float(np.bincount(labels).max() / len(labels))}},
        "per_class": results.per_class(labels, guesses, class_names, "images"),
    }


def evaluated(classifier, images, split, output):
    """What `evaluate` of a recipe does once its classifier is open and its data is loaded."""
    x, y = images.split(split)
    y = classifier.match_labels(images.class_names, y)
    folder = runs.output_folder(classifier.name, f"evaluate-{images.name}", output)
    figures = measure(classifier, x, y, classifier.labels, folder)
    figures = {
        "model": classifier.path,
        "dataset": images.name,
        "split": split,
        "images": len(y),
        "skipped_files": len(images.skipped),
        **figures,
    }
    message = f"accuracy {figures['metrics']['accuracy']:.4f} on {len(y):,} images of {images.name} ({split})"
    return results.evaluated(folder, figures, figures["per_class"], message)


def exported(classifier, files, images, split, output, *, batch=1):
    """What `export` of a recipe does once its classifier is open and its data is loaded; `files` is the plan."""
    x, y = images.split(split)
    y = classifier.match_labels(images.class_names, y)
    folder = runs.output_folder(classifier.name, "export", output)
    training_images = images.split("train" if "train" in images.splits else split)[0]
    reference = classifier(x)

    def measured(path):
        file = type(classifier)(path)
        found = file(x)
        return {
            "metrics": {"accuracy": float((found.argmax(axis=1) == y).mean())},
            "measured_on": f"{images.name}, {split}",
            "max_abs_difference": float(np.abs(found - reference).max()),
            "latency_ms": round(timing.latency(lambda: file(x[:1])), 4),
        }

    entries = exports.write_all(
        folder,
        files,
        classifier,
        batch=batch,
        metadata=exporting.image_metadata(classifier.border),
        representative_data=exports.some_of(training_images, 500),
        measured=measured,
    )
    accuracy = float((reference.argmax(axis=1) == y).mean())
    print(f"\nKeras: accuracy {accuracy:.4f} on {len(y):,} images of {images.name} ({split}); files are in {folder}")
    return {
        "output": folder,
        "dataset": images.name,
        "split": split,
        "metrics": {"accuracy": accuracy},
        "files": entries,
    }
