"""Cards: what a model is, what it was trained on and what it reached, as `card.json` beside its files.

python -m recipes.cards readme README.md   # the table of the published models, and a README.md for each of them
"""

import json
import math
import re
import sys
from pathlib import Path

import numpy as np

from zoo import pretrained
from zoo.atomic import atomic

TABLE = ("<!-- table of the published models: make readme -->", "<!-- end of table -->")
# what a person writes into the card of a published model; it stays when other weights are published
WRITTEN = ("use", "knows", "reference", "limits", "python")
RESTORATION = {"denoise": "image denoising", "super_resolve": "image super-resolution"}  # by --task
TASKS = ("object detection", "semantic segmentation", "image classification", *RESTORATION.values(), "image regression")
LESS = ("rmse", "distance")  # metrics of which less is better
NAMES = {"psnr": "PSNR", "rmse": "RMSE", "mean_iou": "mean IoU", "frechet_distance": "Fréchet distance"}
SHARES = ("accuracy", "mean_iou", "mAP50")


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


def licence(data):
    """What a card says of licences: that of the data, one for the weights, and why it is this one.

    Args:
        data: Licence of the data as its publisher gives it, or "".
    """
    if not data:
        reason = "the data says no licence: the weights may be used as the data may"
        return {"weights": "that of the data", "data": "none stated", "reason": reason}
    if re.search(r"\bNC\b|non-?commercial|research", data, re.IGNORECASE):
        reason = "the data is not for commercial use, so the weights made of it are not either"
        return {"weights": "CC BY-NC 4.0", "data": data, "reason": reason}
    reason = "the data may be used for any purpose; the weights hold none"
    return {"weights": "Apache-2.0", "data": data, "reason": reason}


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
    """The README's table of the published models, as Markdown: which model for which job."""
    lines = [
        "| I want to | model | its weights know | quality of the phone file | size, one answer | may I sell it |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(pretrained.names(), key=_place):
        card = pretrained.card(name)
        phone = _phone(card)
        cells = [card["use"], f"[`{name}`](saved_models/{name}/README.md)", card["knows"]]
        cells += [f"{_figure(card, phone)} ({card['reference']})", f"{_size(phone)}, {_milliseconds(phone)}"]
        cells += ["yes" if card["licence"]["weights"] == "Apache-2.0" else f"no, {card['licence']['weights']}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def model_readme(name):
    """The card of a published model for people, as Markdown."""
    card = pretrained.card(name)
    training, about = card["training"], card["dataset"]
    counts = ", ".join(f"{count:,} for {split}" for split, count in about.get("splits", {}).items())
    version = f" {about['version']}" if about.get("version") else ""
    lines = [f"# {name}", "", f"To {card['use']}. It knows {card['knows']}.", ""]
    folder = pretrained.directory() / name
    for picture in sorted(path.name for path in folder.glob("*.png")):
        lines += [f"![{card['use']}]({picture})", ""]
    lines += ["```python", "import zoo", "", *card["python"], "```", ""]
    lines += ["## Figures", "", "| file | size | quality | measured on | one answer |", "|---|---|---|---|---|"]
    for entry in card["files"]:
        cells = [f"`{entry['file']}`", _size(entry), _figure(card, entry), entry.get("measured_on", "")]
        lines.append("| " + " | ".join([*cells, _milliseconds(entry)]) + " |")
    lines += ["", f"For comparison: {card['reference']}. Times are those of {card['hardware']}."]
    for metric, (low, high) in card.get("intervals", {}).items():
        figure = NAMES.get(metric, metric)
        lines += [
            "",
            f"95 % interval of the Keras model's {figure} over the items (bootstrap): {low:.3f} to {high:.3f}.",
        ]
    if card.get("per_class"):
        rows = card["per_class"]
        shown = [key for key in rows[0] if key != "class"][:3]
        lines += ["", "| class | " + " | ".join(key.replace("_", " ") for key in shown) + " |"]
        lines += ["|---" * (1 + len(shown)) + "|"]
        lines += [f"| {row['class']} | " + " | ".join(_number(row[key]) for key in shown) + " |" for row in rows]
    seeds = card.get("seeds", {})
    if len(seeds) > 1:
        values = ", ".join(f"{value:.4g}" for value in seeds.values())
        lines += ["", f"All seeds, of which the validation split chose one: {values}."]
    lines += ["", "## Limits", "", card["limits"], "", "## Data and training", ""]
    lines += [f"Trained on {about['name']}{version} ({counts}), {card['parameters']:,} parameters, with", ""]
    lines += ["```", training["command"], "```", ""]
    lines += [f"{training['epochs']:,} epochs in {training['seconds'] / 60:,.0f} minutes on {card['hardware']}."]
    if start := card.get("start", training.get("start")):  # of weights that were trained on
        lines += ["", f"It started from earlier weights: {start}."]
    own = card["licence"]
    lines += ["", "## Licence", "", f"Weights: {own['weights']}. Data: {own['data']}. Why: {own['reason']}."]
    lines += ["", "This page is made from `card.json`, which has all figures."]
    return "\n".join(lines) + "\n"


def _place(name):
    """By task; what is drawn by formula last."""
    task = pretrained.card(name)["task"]
    return TASKS.index(task) if task in TASKS else len(TASKS), name.endswith(("scenes", "sounds")), name


def _phone(card):
    return next(entry for entry in card["files"] if entry["file"] == "model.tflite")


def _figure(card, entry):
    """The task's own metric of a file, its direction, and for a share of counted items its interval."""
    metric = next(iter(card["metrics"]))
    value = entry["metrics"][metric]
    name = NAMES.get(metric, metric.replace("_", " "))
    arrow = "↓" if metric.endswith(LESS) else "↑"
    shown = f"{value:.3f}" if metric in SHARES else f"{value:.1f} dB" if metric == "psnr" else f"{value:.3g}"
    if metric == "accuracy":
        count = next(card["dataset"]["splits"][part] for part in ("test", "validation") if part in entry["measured_on"])
        low, high = wilson(value, count)
        shown += f" of {count:,} (95 %: {low:.3f} to {high:.3f})"
    return f"{name} {arrow} {shown}"


def wilson(share, count, z=1.96):
    """The 95 % interval of a share of `count` independent items (Wilson, 1927): (lower, upper) end."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def _milliseconds(entry):
    time = entry["latency_ms"]
    return f"{time:,.0f} ms" if time >= 10 else f"{time:.2g} ms"


def _size(entry):
    size = entry["bytes"]
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _number(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}" if np.isfinite(value) else "-"


def render_readme(path):
    """Writes the table of the published models between its two marks in the README."""
    text = Path(path).read_text(encoding="utf-8")
    before, rest = text.split(TABLE[0])
    after = rest.split(TABLE[1])[1]
    Path(path).write_text(f"{before}{TABLE[0]}\n{readme_table()}\n{TABLE[1]}{after}", encoding="utf-8")


def render_models():
    """Writes the README.md of each published model."""
    for name in pretrained.names():
        Path(pretrained.directory(), name, "README.md").write_text(model_readme(name), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] != ["readme"] or len(sys.argv) != 3:
        sys.exit("usage: python -m recipes.cards readme README.md")
    render_readme(sys.argv[2])
    render_models()
