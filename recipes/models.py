"""Opening a trained model, whatever its form: what every recipe's own class of models begins with."""

from pathlib import Path

import keras
import numpy as np

import zoo
from zoo import export as exporting
from zoo import pretrained


class TrainedModel:
    """A published name, a run folder, a `.keras`, `.tflite` or `.onnx` file or a SavedModel, opened; or a Keras model.

    A recipe's class adds what it checks and how it is called; it sets `name` and `task`.

    Attributes:
        path: The file or folder.
        model: The Keras model or the `zoo.export.Exported`.
        card: The card beside it, or an empty dictionary.
        given: The same as it was asked for.
        exported: Whether it is an exported file and no Keras model.
        about: What is known of its data: the card's entry of the data set, or the metadata in an exported file.
        labels: Names of the classes as the card or the file has them, or nothing.
    """

    name = task = ""

    def __init__(self, model, *, card=None, threads=1, endpoint=exporting.ENDPOINT):
        built = isinstance(model, keras.Model)
        self.path = Path(model.name) if built else pretrained.find(model)
        self.given = model.name if built else str(model)
        self.card = pretrained.beside(self.path) if card is None else card
        self.exported = not built and self.path.suffix not in (".keras", ".h5")
        if self.exported:
            self.model = exporting.load(self.path, endpoint=endpoint, threads=threads)
            self.about, self.labels = self.model.metadata, self.model.labels
        else:
            self.model = model if built else zoo.load(self.path)
            self.about = self.card.get("dataset", {})
            self.labels = self.about.get("classes")

    @property
    def knows(self):
        """What it was trained on, in words."""
        return self.card.get("knows") or ", ".join(map(str, self.labels or ()))

    def keras_only(self):
        """This model, if it is a Keras model.

        Raises:
            ValueError: If it is exported already.
        """
        if not isinstance(self.model, keras.Model):
            raise ValueError(f"{self.path} is exported already: give a .keras file or a published model")
        return self

    def match_labels(self, class_names, labels):
        """Labels of a data set in the order of this model's classes.

        Raises:
            ValueError: If the data set has a class that the model does not know.
        """
        if set(class_names) - set(self.labels):
            known, given = (", ".join(names) for names in (self.labels, class_names))
            raise ValueError(f"the classes differ: the model {self.given} knows {known}; the data set has {given}")
        return np.array([self.labels.index(name) for name in class_names])[labels]
