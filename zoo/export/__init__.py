"""Export to SavedModel, TFLite and ONNX: raw input in, named answer out, builtin operations only.

    zoo.export.export(model, "digits.tflite", quantize="int8", representative_data=images)
    run = zoo.export.load("digits.tflite")
    probabilities = run(image=pixels)["probabilities"]

A file is written under a temporary name and moved when it is whole, so that a failure leaves the former file standing.
"""

import json
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import keras
import tensorflow as tf

from zoo.atomic import atomic
from zoo.export.detection import detection_endpoint, detection_metadata
from zoo.export.endpoints import (
    cast_endpoint,
    diffusion_endpoints,
    float32_copy,
    image_endpoint,
    latent_endpoint,
    mask_endpoint,
    pixels_endpoint,
    sound_endpoint,
    stream_endpoint,
    tensor_endpoint,
)
from zoo.export.usual import (
    cast_metadata,
    described,
    diffusion_metadata,
    image_metadata,
    latent_metadata,
    mask_metadata,
    pixels_metadata,
    sound_metadata,
    usual,
)
from zoo.export.writers import without_fourier, write_onnx, write_saved_model, write_tflite
from zoo.exported import ENDPOINT, Exported, load, operations
from zoo.kinds import Array, File

__all__ = [
    "ENDPOINT",
    "FORMATS",
    "QUANTIZATIONS",
    "Exported",
    "atomic",
    "cast_endpoint",
    "cast_metadata",
    "described",
    "detection_endpoint",
    "detection_metadata",
    "diffusion_endpoints",
    "diffusion_metadata",
    "export",
    "float32_copy",
    "image_endpoint",
    "image_metadata",
    "latent_endpoint",
    "latent_metadata",
    "load",
    "mask_endpoint",
    "mask_metadata",
    "operations",
    "pixels_endpoint",
    "pixels_metadata",
    "sound_endpoint",
    "sound_metadata",
    "stream_endpoint",
    "tensor_endpoint",
    "usual",
]

FORMATS = ("saved_model", "tflite", "onnx")
QUANTIZATIONS = ("none", "float16", "dynamic", "int8")


def export(
    model: keras.Model,
    path: File,
    *,
    format: Literal["saved_model", "tflite", "onnx", None] = None,
    quantize: Literal["none", "float16", "dynamic", "int8"] = "none",
    endpoints: dict[str, tuple[Callable, dict]] | None = None,
    representative_data: Array | dict | None = None,
    labels: Sequence[str] | None = None,
    metadata: dict | None = None,
    input_shape: tuple[int, int, int] | None = None,
    batch: int = 1,
) -> Path:
    """Writes a model to one file (TFLite, ONNX) or folder (SavedModel).

    Args:
        model: A built Keras model; one trained in mixed precision is exported in float32.
        path: Where to write. What stands there is replaced once the new one is whole.
        format: "saved_model", "tflite" or "onnx"; None takes it from the name: `.tflite`, `.onnx`, else SavedModel.
        quantize: For TFLite: "none", "float16" (half the bytes), "dynamic" (int8 weights) or "int8" (weights and
            activations, needs `representative_data`).
        endpoints: Dictionary of signature name to (function, inputs), where the function maps tensors to a
            dictionary of tensors and inputs map names to `tf.TensorSpec` of static shape. None: what the command line
            gives a model of that kind, such as final detections for a YOLO and class numbers for a U-Net; for any
            other model one signature "serving_default" that takes uint8 pixels and gives its outputs.
        representative_data: For "int8": typical raw inputs of the first endpoint, as an array (count, ...) or a
            dictionary of such arrays by input name. A few hundred are enough. For several endpoints, a dictionary of
            these by signature name.
        labels: Names of the classes, stored in the file; None takes those in the card beside the model's file.
        metadata: JSON-serialisable dictionary, stored in the file; None takes it from that card.
        input_shape: (height, width, channels) for a model whose size is open; None takes the card's.
        batch: Examples that the file takes at a time, fixed; `load` runs any number by it.

    Returns:
        `path` as a `pathlib.Path`.

    Raises:
        ValueError: If an argument is out of range, or the model needs operations that are not TFLite builtins
            (the message lists them).
    """
    path = Path(path)
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"export runs on the tensorflow backend, not on {keras.backend.backend()}: save the model as .keras and "
            "export it with KERAS_BACKEND=tensorflow"
        )
    format = format or {".tflite": "tflite", ".onnx": "onnx"}.get(path.suffix, "saved_model")
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"quantize must be one of {', '.join(QUANTIZATIONS)}, got {quantize!r}")
    if quantize != "none" and format != "tflite":
        raise ValueError(f"quantize={quantize!r} is for the format tflite, got format={format!r}")
    if format != "saved_model" and path.suffix != f".{format}":
        raise ValueError(f"a {format} file is named *.{format}, got {path}")
    if quantize == "int8" and representative_data is None:
        raise ValueError(
            "quantize='int8' needs representative_data: a few hundred typical raw inputs, as an array (count, ...)"
        )
    if quantize != "int8" and representative_data is not None:
        raise ValueError(f"representative_data is for quantize='int8', got {quantize=}")

    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch must be 1 or more, got {batch!r}")

    if endpoints is None:
        model, endpoints, own_labels, own_metadata = usual(model, input_shape)
        labels = own_labels if labels is None else labels
        metadata = own_metadata(quantize) if metadata is None else metadata
    elif input_shape is not None:
        raise ValueError("input_shape is for the usual endpoints, these have shapes of their own")
    if batch > 1:
        endpoints = {name: (serve, _batched(inputs, batch)) for name, (serve, inputs) in endpoints.items()}
    notes = {"labels.txt": "\n".join(labels or []), "metadata.json": json.dumps(metadata or {}, indent=1)}
    with atomic(path) as partial:
        if format == "onnx":
            with without_fourier(model):
                write_onnx(endpoints, partial, notes)
        elif format == "saved_model":
            write_saved_model(model, endpoints, partial, notes)
        else:
            with tempfile.TemporaryDirectory() as folder:
                write_saved_model(model, endpoints, Path(folder, "model"), {})
                in_float = [layer.name for layer in model.layers if getattr(layer, "keep_float", False)]
                named = [layer.name for layer in model.layers if getattr(layer, "float_after", False) is True]
                after = [*getattr(model, "float_after", ()), *named]
                write_tflite(Path(folder), partial, quantize, endpoints, representative_data, in_float, after, batch)
            with zipfile.ZipFile(partial, "a") as archive:  # behind the model, where interpreters do not look
                for name, text in notes.items():  # of no time, so that the same model gives the same bytes
                    archive.writestr(zipfile.ZipInfo(name), text)
    return path


def _batched(inputs, batch):
    """The inputs of an endpoint for more than one example."""
    shapes = {name: (batch, *spec.shape[1:]) for name, spec in inputs.items() if spec.shape.rank and spec.shape[0] == 1}
    return inputs | {name: tf.TensorSpec(shape, inputs[name].dtype, name=name) for name, shape in shapes.items()}
