"""Cards: what a model is, what it was trained on and what it reached, as `card.json` beside its files.

python -m recipes.cards readme README.md   # render the table of the published models into the README
"""

import json
import sys
from pathlib import Path

import numpy as np

from zoo import pretrained
from zoo.atomic import atomic

TABLE = ("<!-- table of the published models: python -m recipes.cards readme README.md -->", "<!-- end of table -->")


def dataset_entry(data):
    """What a card says of an image data set."""
    return {
        "name": data.name,
        "version": data.version,
        "licence": data.licence,
        "splits": {name: len(labels) for name, (_, labels) in data.splits.items()},
        "skipped_files": len(data.skipped),
        **({"left_out_files": data.left_out} if getattr(data, "left_out", None) else {}),
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
