"""What every recipe's `export` does: write each wanted file, measure it, and keep the card of the folder."""

import numpy as np

from recipes import cards, results
from recipes.forward import on_jax
from zoo import export as exporting
from zoo import pretrained

FILES = {"saved_model": "saved_model", "tflite": "model.tflite", "onnx": "model.onnx"}


def plan(formats, quantizations, batch=1):
    """The files to write, as a list of (file name, format, quantization), from the options of a command.

    Raises:
        ValueError: If one of the two is empty, a quantization is asked for without TFLite, or the batch is empty.
    """
    if on_jax():
        reason = "export needs the TensorFlow backend: KERAS_BACKEND=tensorflow zoo export ..."
        raise ValueError(f"{reason} (a model trained on JAX is the same .keras file)")
    if batch < 1:
        raise ValueError(f"batch must be 1 or more, got {batch}")
    if not formats or not quantizations:
        raise ValueError("--format and --quantize need a value each")
    if "tflite" not in formats and set(quantizations) != {"none"}:
        raise ValueError(f"quantize={' '.join(quantizations)} is for the format tflite, got format={' '.join(formats)}")
    wanted = [(name, level) for name in formats for level in (quantizations if name == "tflite" else ("none",))]
    wanted = list(dict.fromkeys(wanted))
    several = len(wanted) > 1
    return [
        (f"model_{level}.tflite" if several and level != "none" else FILES[name], name, level) for name, level in wanted
    ]


def write_all(
    folder,
    files,
    opened,
    *,
    measured,
    network=None,
    endpoints=None,
    metadata=None,
    representative_data=None,
    card=None,
    batch=1,
):
    """Writes a model to files, measures each, prints their table, writes the card beside them, and gives its entries.

    Other files of the same training stay in the folder's card; those of another model do not belong to it.

    Args:
        folder: Where to write.
        files: The `plan`.
        opened: The `models.TrainedModel`; its labels and licence go into every file.
        measured: Function (path) that gives what the card says of a file: "metrics" (the task's own first),
            "measured_on", "max_abs_difference" (from Keras) and "latency_ms".
        network: The Keras model to write; None takes the opened one.
        endpoints: The signatures, see `zoo.export.export`, or a function of the format that gives them.
        metadata: What the files say besides name, task, data, licence and quantization, or a function of the format.
        representative_data: Raw inputs, for int8.
        card: What the card says of a model that has none; by default name, task and classes.
        batch: Examples that a file takes at a time.
    """
    card = opened.card or card or {"name": opened.name, "task": opened.task, "dataset": {"classes": opened.labels}}
    entries, rows = [], []
    for file, format, quantization in files:
        path = folder / file
        exporting.export(
            opened.model if network is None else network,
            path,
            format=format,
            quantize=quantization,
            endpoints=endpoints(format) if callable(endpoints) else endpoints,
            labels=opened.labels,
            metadata=exporting.described(
                opened.name,
                opened.task,
                (metadata(format) if callable(metadata) else metadata) or {},
                opened.card,
                quantization,
            ),
            representative_data=representative_data if quantization == "int8" else None,
            batch=batch,
        )
        entry = cards.file_entry(path, quantize=quantization, **measured(path))
        operations = exporting.operations(path) if format == "tflite" else []
        entries.append(entry | ({"operations": sorted(set(operations))} if operations else {}))
        metric, value = next(iter(entry["metrics"].items()))
        rows.append(
            {
                "file": file,
                "quantize": quantization,
                "bytes": entry["bytes"],
                "ops": len(operations) or "-",
                "max difference": entry["max_abs_difference"],
                metric: value,
                "ms": entry["latency_ms"],
            }
        )
    former = pretrained.beside(folder / "card.json")
    same = former.get("files", []) if former.get("training") == card.get("training") else []
    written = {file for file, *_ in files}
    kept = [entry for entry in same if entry["file"] not in written and (folder / entry["file"]).exists()]
    cards.write(folder, card | {"files": kept + entries})
    print(results.table(rows))
    return entries


def some_of(images, count, seed=0):
    """Up to `count` of an array of examples, in random order: representative data."""
    return images[np.random.default_rng(seed).permutation(len(images))[:count]]
