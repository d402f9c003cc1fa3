"""Opening a model for the verb predict: its phone file where there is one, so that nothing heavy starts."""

import sys
from pathlib import Path
from typing import Literal

from recipes.quiet import silent, silent_start
from zoo import pretrained
from zoo.predictor import Predictor

Backend = Literal["litert", "keras"]


def is_light(model, backend="litert"):
    """Whether a model has an exported file to run: a published one, a folder with one, or such a file itself."""
    path = Path(model)
    exported = path.suffix in (".tflite", ".onnx") or (path / "saved_model.pb").is_file()
    return exported or (backend == "litert" and (pretrained.is_name(model) or (path / "model.tflite").is_file()))


def opened(model, task, backend="litert"):
    """The `Predictor` of a published name, a run folder or a file of any format.

    Args:
        model: What `--model` says.
        task: What it has to be for.
        backend: "keras" takes the Keras model of a name or folder that has both.

    Raises:
        ValueError: If there is no such model, or it is for another task.
    """
    if is_light(model, backend):
        with silent():  # LiteRT tells which code it runs
            predictor = Predictor(model)
    else:
        with silent_start():
            predictor = Predictor(model, backend="keras")
    if predictor.task != task:
        raise ValueError(f"{model} is not for {task}: it is for {predictor.task}")
    return predictor


def warn_of(model, foreign):
    """Says which of the files named look like nothing that the model was trained on; `foreign` is their paths."""
    if foreign and model.knows:
        more = f" and {len(foreign) - 1:,} more look" if len(foreign) > 1 else " looks"
        print(f"{foreign[0]}{more} like a photo: the model knows {model.knows}", file=sys.stderr)
