"""A Keras model that runs like an exported file: raw input in, answer out."""

import json

import keras
import numpy as np
import tensorflow as tf

from zoo import pretrained
from zoo.export.usual import usual
from zoo.exported import Exported


def running(path):
    """The Keras model of a file as an `Exported`, with the signature, labels and metadata that a file of it would have.

    Raises:
        ValueError: If the file is not a Keras model, or its size is open and the card beside it does not say one.
    """
    model, endpoints, labels, metadata = usual(pretrained.load(path))
    serve, specs = next(iter(endpoints.values()))
    # another backend's model is no part of a graph: there each operation runs as it comes
    there = keras.backend.backend() == "tensorflow"
    answer = tf.function(serve, input_signature=list(specs.values())) if there else serve
    inputs = {name: (tuple(spec.shape), spec.dtype.name) for name, spec in specs.items()}
    notes = {"labels.txt": "\n".join(labels), "metadata.json": json.dumps(metadata("none"))}

    def run(values, keep=model):  # the weights die with the model
        found = answer(*(np.asarray(values[name], spec.dtype.name) for name, spec in specs.items()))
        return {name: np.asarray(value) for name, value in found.items()}

    return Exported(run, inputs, notes)
