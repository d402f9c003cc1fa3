"""Opening a model for the verb predict: its phone file where there is one, so that nothing heavy starts."""

import sys
from pathlib import Path
from typing import Literal

from recipes.quiet import silent_start
from zoo import pretrained
from zoo.predictor import Predictor

Backend = Literal["litert", "keras"]


def is_light(model, backend="litert"):
    """Whether a model can be opened without TensorFlow: a published one, or a `.tflite` or `.onnx` file."""
    path = Path(model)
    named = model in pretrained.names() or not (path.exists() or path.suffix)
    return backend == "litert" and (named or path.suffix in (".tflite", ".onnx") or (path / "model.tflite").is_file())


def opened(model, task, backend="litert"):
    """The `Predictor` of a published name, a run folder or a file of any format.

    Args:
        model: What `--model` says.
        task: What it has to be for.
        backend: "keras" takes the Keras model of a name or folder that has both.

    Raises:
        ValueError: If there is no such model, or it is for another task.
    """
    path = Path(model)
    named = model in pretrained.names() or not (path.exists() or path.suffix)
    file = path.suffix in (".tflite", ".onnx") or (path / "saved_model.pb").is_file()
    if not named and not path.exists():
        raise ValueError(
            f"there is no model {model}; accepted: {', '.join(pretrained.names())}, a run folder, "
            "or a .keras, .tflite or .onnx file or SavedModel folder"
        )
    if is_light(model, backend) or (backend == "litert" and file):
        predictor = Predictor(model)
    else:
        with silent_start():
            predictor = Predictor(model, backend=None if file else "keras")
    if predictor.task != task:
        raise ValueError(f"{model} is not for {task}: it is for {predictor.task}")
    return predictor


def warn_of(predictor, foreign):
    """Says which of the files named look like nothing that the model was trained on; `foreign` is their paths."""
    if foreign and predictor.knows:
        more = f" and {len(foreign) - 1:,} more look" if len(foreign) > 1 else " looks"
        print(f"{foreign[0]}{more} like a photo: the model knows {predictor.knows}", file=sys.stderr)
