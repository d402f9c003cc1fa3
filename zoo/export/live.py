"""A Keras model that runs like an exported file: raw input in, answer out."""

import json

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
    compiled = tf.function(serve, input_signature=list(specs.values()))
    inputs = {name: (tuple(spec.shape), spec.dtype.name) for name, spec in specs.items()}
    notes = {"labels.txt": "\n".join(labels), "metadata.json": json.dumps(metadata("none"))}

    def run(values, keep=model):  # the weights die with the model
        found = compiled(*(tf.constant(values[name]) for name in specs))
        return {name: np.asarray(value) for name, value in found.items()}

    return Exported(run, inputs, notes)
