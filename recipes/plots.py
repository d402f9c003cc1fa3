"""Pictures for a report: training curves, confusion matrix, calibration, sheets of images."""

import math

import numpy as np
from matplotlib.figure import Figure

from zoo.export import atomic

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#9ca3af"


def curves(history, path, *, metric="accuracy"):
    """Loss and one metric over the epochs, training and validation."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, name in zip(figure.subplots(1, 2), ("loss", metric), strict=True):
        for key, colour, label in ((name, BLUE, "training"), (f"val_{name}", ORANGE, "validation")):
            values = [row[key] for row in history]
            axes.plot(epochs, values, color=colour, label=f"{label}, last {values[-1]:.4f}")
        axes.set(title=name, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        _clean(axes)
        axes.legend(frameon=False)
    _save(figure, path)


def confusion_matrix(matrix, class_names, path):
    """Counts of predicted over true classes; the colour is the share of the true class, mistakes only."""
    count = len(class_names)
    figure = Figure(figsize=(max(5, 0.5 * count + 1.5),) * 2, layout="constrained")
    axes = figure.add_subplot()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    mistakes = np.where(np.eye(count, dtype=bool), np.nan, share)
    top = np.nanmax(mistakes) if np.nanmax(mistakes) > 0 else 1
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=top)
    if count <= 30:
        for (row, column), value in np.ndenumerate(matrix):
            if value:
                colour = "white" if row != column and share[row, column] > 0.6 * top else "black"
                axes.text(
                    column,
                    row,
                    str(value),
                    ha="center",
                    va="center",
                    color=colour,
                    fontweight="bold" if row == column else "normal",
                    fontsize=9,
                )
    ticks = range(0, count, math.ceil(count / 50))
    rotation = 90 if max(map(len, class_names)) > 3 else 0
    axes.set_xticks(ticks, [class_names[tick] for tick in ticks], rotation=rotation, parse_math=False)
    axes.set_yticks(ticks, [class_names[tick] for tick in ticks], parse_math=False)
    wrong = int(matrix.sum() - np.trace(matrix))
    axes.set(xlabel="predicted", ylabel="true", title=f"{matrix.sum():,} images, {wrong:,} wrong")
    _save(figure, path)


def calibration(confidences, correct, error, path, *, bins=15):
    """Accuracy over confidence, with the number of images per bin: how far one may trust a probability."""
    figure = Figure(figsize=(5, 5.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.digitize(confidences, edges[1:-1], right=True), 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    accuracy = np.bincount(index, weights=correct, minlength=bins) / np.maximum(counts, 1)
    upper.bar(
        edges[:-1], np.where(counts > 0, accuracy, 0), width=1 / bins, align="edge", color=BLUE, edgecolor="white"
    )
    upper.plot([0, 1], [0, 1], "--", color=GREY, label="perfectly calibrated")
    upper.set(ylabel="accuracy", ylim=(0, 1), title=f"expected calibration error {error:.4f}")
    upper.legend(frameon=False, loc="upper left")
    lower.bar(edges[:-1], counts, width=1 / bins, align="edge", color=GREY, edgecolor="white")
    lower.set(xlabel="confidence", ylabel="images", yscale="log", xlim=(0, 1))
    for axes in (upper, lower):
        _clean(axes)
    _save(figure, path)


def sheet(images, captions, path, *, title="", columns=8):
    """A sheet of uint8 images (count, height, width, 1 or 3) with a caption under each."""
    count = len(images)
    columns = min(columns, max(count, 4))
    rows = max(1, math.ceil(count / columns))
    figure = Figure(figsize=(1.5 * columns, 1.9 * rows + 0.4), layout="constrained")
    figure.suptitle(title)
    for position, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if position < count:
            axes.imshow(images[position].squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_xlabel(captions[position], fontsize=9, parse_math=False)
    _save(figure, path)


def _clean(axes):
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _save(figure, path):
    with atomic(path) as partial:
        figure.savefig(partial, dpi=110, facecolor="white")
