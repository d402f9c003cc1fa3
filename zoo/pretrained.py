"""Published models: names to files in `saved_models`, each checked against the sha256 in its card."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import json
import weakref
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `zoo list` imports neither
    import keras

    from zoo.kinds import File, Shape

SUFFIXES = (".keras", ".h5", ".tflite", ".onnx")
CLASSES = ("alexnet", "dcgan", "denoising_autoencoder", "diffusion", "losses", "spectrogram_cnn", "unet", "yolo")
_cards = weakref.WeakKeyDictionary()  # of the models that `load` gave


def directory() -> Path:
    """The folder of the published models: inside the installed package, or beside it in a checkout."""
    packaged = Path(__file__).parent / "saved_models"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "saved_models"


def names() -> tuple[str, ...]:
    """Names of the published models, sorted."""
    return sorted(path.parent.name for path in directory().glob("*/card.json"))


def list() -> dict[str, dict]:
    """What is published: dictionary of name to a dictionary of "task", "use" and "knows" (in words), "metrics" of the
    Keras model, "bytes" of the phone file and the "licence" of the weights."""
    found = {}
    for name in names():
        entry = card(name)
        (phone,) = (one for one in entry["files"] if one["file"] == "model.tflite")
        found[name] = {key: entry[key] for key in ("task", "use", "knows", "metrics")}
        found[name] |= {"bytes": phone["bytes"], "licence": entry["licence"]["weights"]}
    return found


def card(name: str) -> dict:
    """The card of a published model: task, data, metrics, files, licence.

    Raises:
        ValueError: If no model of that name is published.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no published model is named {name!r}: there are {', '.join(names())}{hint}")
    return json.loads((directory() / name / "card.json").read_text(encoding="utf-8"))


def file(name: str, file_name: str = "model.keras") -> Path:
    """Path of a file of a published model, after its sha256 was checked.

    Raises:
        ValueError: If the model or the file is not published, or the file is damaged.
    """
    files = {entry["file"]: entry for entry in card(name)["files"]}
    if file_name not in files:
        raise ValueError(f"{name} has no file {file_name!r}: there are {', '.join(files)}")
    path = directory() / name / file_name
    expected = files[file_name]["sha256"]
    found = sha256(path) if path.is_file() else "missing"
    if found != expected:
        raise ValueError(f"{path} is damaged: its sha256 is {found}, the card says {expected}; install it again")
    return path


def find(model: File, wanted: str = "model.keras") -> Path:
    """The file or folder that a name or path means.

    Args:
        model: A published name, a run folder, or a file of any format; a `pathlib.Path` is never a name.
        wanted: The file to take of a published model, and of a folder that has it.

    Raises:
        ValueError: If there is no such model, the file is of no such format, or the name of a published one is also
            that of a folder with a model.
    """
    path = Path(model)
    if is_name(model):
        if path.resolve() != (directory() / path).resolve() and any(path.glob("model.*")):
            means = f"./{model} means the folder, and from elsewhere {model} the published one"
            raise ValueError(f"{model} is a published model, and there is a folder of that name here: {means}")
        return file(str(model), wanted)
    if not path.is_dir() and not (path.exists() and path.suffix in SUFFIXES):
        wrong = f"{model} is no model" if path.exists() else f"there is no model {model}"
        raise ValueError(
            f"{wrong}; accepted: {', '.join(names())}, a run folder, "
            "or a .keras, .tflite or .onnx file or SavedModel folder"
        )
    if path.is_dir() and not any(any(path.glob(kind)) for kind in ("*.keras", "*.tflite", "saved_model.pb*")):
        raise ValueError(f"{model} is a folder without a model: there is no {wanted} in it, and it is no SavedModel")
    return path / wanted if (path / wanted).is_file() else path


def is_name(model: File) -> bool:
    """Whether a name or path means a published model, as far as one can tell; a `pathlib.Path` does not."""
    if isinstance(model, Path):
        return False
    return str(model) in names() or not (Path(str(model)).exists() or Path(str(model)).suffix)


def sha256(path: File) -> str:
    """Hexadecimal sha256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load(name: File, *, compile: bool = False) -> keras.Model:
    """Loads a published model by its name, or any Keras model by its path.

    Args:
        name: A name as in `zoo.pretrained.names()`, or the path of a `.keras` file.
        compile: Whether to compile it as it was trained.

    Returns:
        A `keras.Model` with its weights.

    Raises:
        ValueError: If there is no such model, its file is damaged or not a Keras model, or does not say how it was
            trained where that is asked for.
    """
    import keras

    register()
    path = find(name) if is_name(name) else Path(name)
    if not path.is_file():
        raise ValueError(f"there is no model file {path}")
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):  # Keras would say that there is no such file
        raise ValueError(f"{path} is not a Keras model file: it is no zip archive")
    try:
        model = keras.saving.load_model(path, compile=compile)
    except Exception as error:  # Keras answers a broken file with whatever its reader met first
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"{path} is not a Keras model file: {reason[0] if reason else type(error).__name__}"
        ) from error
    if compile and not getattr(model, "compiled", False):
        raise ValueError(f"{path} does not say how it was trained: load it without compile=True and compile it")
    _cards[model] = beside(path)
    return model


def card_of(model: keras.Model) -> dict:
    """The card beside the file that `load` read a model from, or an empty one."""
    return _cards.get(model, {})


def register() -> None:
    """Imports all classes of which a file may be made, so that Keras finds them."""
    for module in CLASSES:
        importlib.import_module(f"zoo.{module}")


def beside(path: File) -> dict:
    """The card beside a model file, or an empty one."""
    card = Path(path).parent / "card.json"
    return json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}


def published_or_path(builder: str, weights: File) -> keras.Model:
    """The model behind a builder's `weights` argument: the name of a data set with published weights (of several
    the first), or of a published model, or a path.

    Raises:
        ValueError: If no such weights are published, or the file is not a Keras model.
    """
    published = {}
    for name in names():
        entry = card(name)
        if entry["builder"] == builder:
            published |= {name: name, entry["dataset"]["name"]: published.get(entry["dataset"]["name"], name)}
    weights = str(weights)
    if weights not in published and not Path(weights).suffix:
        accepted = ", ".join(["None", *map(repr, published)])
        raise ValueError(f"weights must be {accepted} or a path, got {weights!r}")
    return load(published.get(weights, weights))


def from_weights(builder: str, weights: File, input_shape: Shape, num_classes: int | None = None) -> keras.Model:
    """The same for a network of images or sounds of one size; with another number of classes all but the last layer is
    kept.

    Raises:
        ValueError: If the model has another input shape, or no classes.
    """
    model = published_or_path(builder, weights)
    if model.input_shape[1:] != tuple(input_shape):
        raise ValueError(
            f"weights {str(weights)!r} have input shape {model.input_shape[1:]}, asked for {tuple(input_shape)}"
        )
    return model if num_classes is None else with_classes(model, num_classes)


def with_classes(model: keras.Model, num_classes: int) -> keras.Model:
    """A classifier for another number of classes: its last layer is new, all else is that of `model`.

    Raises:
        ValueError: If the model does not end in a fully connected layer.
    """
    from keras import Model, layers

    last = model.layers[-1]
    if model.output_shape == (None, num_classes):
        return model
    if not isinstance(last, layers.Dense):
        raise ValueError(f"the model {model.name} is no classifier: it ends in {last.name}, {model.output_shape[1:]}")
    new = layers.Dense.from_config(last.get_config() | {"units": num_classes})
    return Model(model.input, new(last.input), name=model.name)
