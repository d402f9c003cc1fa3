"""Cards: what a model is, what it was trained on and what it reached, as `card.json` beside its files.

python -m recipes.cards readme README.md   # render the table of the published models into the README
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from zoo import pretrained
from zoo.export import atomic

PACKAGES = ("image-zoo", "tensorflow", "keras", "ai-edge-litert", "numpy")
FOLDERS = ("data_dir", "manual_dir", "output", "resume")
TABLE = ("<!-- table of the published models: python -m recipes.cards readme README.md -->", "<!-- end of table -->")


def environment():
    """Versions, hardware and commit of this run."""
    import tensorflow as tf

    hardware = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        hardware = names[0] if names else hardware
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    hardware = [f"{hardware}, {os.cpu_count()} cores", *(gpu.get("device_name", "GPU") for gpu in gpus)]
    commit = ""
    root = Path(__file__).parent.parent
    if (root / ".git").exists() and shutil.which("git"):
        git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # tensorflow may be tensorflow-cpu
            versions[name] = importlib.metadata.version(name)
    return {"versions": versions, "hardware": "; ".join(hardware), "commit": commit}


def command(name, defaults, arguments):
    """The command line that repeats a training: the options that differ from the defaults, folders left out."""
    words = ["zoo", "train", name]
    for option, default in defaults.items():
        value, flag = arguments[option], option.replace("_", "-")
        value = tuple(value) if isinstance(value, list) else value
        if option in FOLDERS or value == default:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [
                f"--{flag}",
                *(str(_local_name(part)) for part in (value if isinstance(value, tuple) else [value])),
            ]
    return " ".join(words)


def _local_name(value):
    """A file or folder of this machine by its last name only; any other value as it is."""
    return Path(value).name if isinstance(value, str | Path) and Path(value).exists() else value


def training_entry(run, **figures):
    """What a card says of a training: command, arguments and seconds; folders of this machine are nobody's business."""
    return {
        "command": command(run.name, run.defaults, run.arguments),
        "arguments": {key: _local_name(run.arguments[key]) for key in run.arguments if key not in FOLDERS},
        "epochs": len(run.history),
        "seconds": round(sum(row["seconds"] for row in run.history), 1),
        **figures,
    }


def dataset_entry(data):
    """What a card says of an image data set."""
    return {
        "name": data.name,
        "version": data.version,
        "licence": data.licence,
        "splits": {name: len(labels) for name, (_, labels) in data.splits.items()},
        "skipped_files": len(data.skipped),
    }


def file_entry(path, **figures):
    """What a card says of one file or folder: format, bytes, sha256, and the figures measured on it."""
    path = Path(path)
    entry = {"file": path.name, "format": path.suffix.lstrip(".") or "saved_model"}
    if path.is_dir():
        entry["bytes"] = sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
    else:
        entry |= {"bytes": path.stat().st_size, "sha256": pretrained.sha256(path)}
    return entry | figures


def write_text(path, text):
    """Writes a small file whole or not at all."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write(folder, card):
    """Writes `card.json` whole or not at all."""
    write_text(Path(folder, "card.json"), json.dumps(card, indent=1, ensure_ascii=False, default=str) + "\n")


def find(model):
    """The file or folder that a `--model` means: a published name, a run folder, or a file of any format."""
    model = str(model)
    path = Path(model)
    if model in pretrained.names() or not (path.exists() or path.suffix):
        return pretrained.file(model)
    if not path.exists():
        raise ValueError(
            f"there is no model {model}; accepted: {', '.join(pretrained.names())}, a run folder, "
            "or a .keras, .tflite or .onnx file or SavedModel folder"
        )
    return path / "model.keras" if (path / "model.keras").is_file() else path


def beside(path):
    """The card beside a model file, or an empty one."""
    card = Path(path).parent / "card.json"
    return json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}


def table(rows):
    """Text of a table with aligned columns; the rows are dictionaries with the same keys, floats get four digits."""
    cells = [[_cell(value) for value in row.values()] for row in rows]
    lines = [list(rows[0]), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(value):
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def readme_table():
    """The README's table of the published models, as Markdown: one row each, the figures of the exported file last."""
    lines = [
        "| model | task | data | metric on held-out data | parameters | `.keras` | `.tflite` | its metric | its ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in pretrained.names():
        card = pretrained.card(name)
        metric = next(iter(card["metrics"]))
        seeds = card.get("seeds", {})
        mean = f" (mean of {len(seeds)} seeds {np.mean(list(seeds.values())):.4f})" if len(seeds) > 1 else ""
        files = {entry["file"]: entry for entry in card["files"]}
        keras_file, phone = files["model.keras"], files["model.tflite"]
        cells = [f"`{name}`", card["task"], card["dataset"]["name"], f"{metric} {card['metrics'][metric]:.4f}{mean}"]
        cells += [f"{card['parameters']:,}", _kilobytes(keras_file), _kilobytes(phone)]
        cells += [f"{phone['metrics'][metric]:.4f}", f"{phone['latency_ms']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _kilobytes(entry):
    return f"{entry['bytes'] / 1000:,.0f} kB"


def render_readme(path):
    """Writes the table of the published models between its two marks in the README."""
    text = Path(path).read_text(encoding="utf-8")
    before, rest = text.split(TABLE[0])
    after = rest.split(TABLE[1])[1]
    Path(path).write_text(f"{before}{TABLE[0]}\n{readme_table()}\n{TABLE[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] != ["readme"] or len(sys.argv) != 3:
        sys.exit("usage: python -m recipes.cards readme README.md")
    render_readme(sys.argv[2])
