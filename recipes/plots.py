"""Pictures for a report: training curves, confusion matrix, calibration, sheets of images."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zoo.atomic import atomic
from zoo.drawing import montage  # noqa: F401 - asked for here

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#9ca3af"


def figure_of(**options):
    """A figure of Matplotlib, which is imported only where something is plotted."""
    from matplotlib.figure import Figure

    return Figure(**options)


def curves(rows, path, *, metric="accuracy"):
    """Loss and one metric over the epochs, training and validation; the rows are those of a training history."""
    history(rows, {name: {name: "training", f"val_{name}": "validation"} for name in ("loss", metric)}, path)


def history(rows, panels, path):
    """Columns of a training history over the epochs.

    Args:
        rows: One dictionary per epoch.
        panels: Dictionary of title to {column: label}, one panel each.
        path: Where to write the picture.
    """
    figure = figure_of(figsize=(5 * len(panels), 4), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    for axes, (title, columns) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for (column, label), colour in zip(columns.items(), (BLUE, ORANGE, GREY), strict=False):
            values = [row[column] for row in rows]
            axes.plot(epochs, values, color=colour, label=f"{label}, last {values[-1]:.4g}")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        clean(axes)
        axes.legend(frameon=False)
    save(figure, path)


def save_image(pixels, path, profile=None):
    """Writes a uint8 image (height, width, 1 or 3) as PNG, whole or not at all; `profile` is that of its colours."""
    with atomic(path) as partial:
        image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
        image.save(partial, format="PNG", icc_profile=profile)


def save_animation(frames, path, *, milliseconds=200):
    """Writes uint8 images of one size as a GIF that repeats, whole or not at all."""
    pictures = [Image.fromarray(frame.squeeze(-1) if frame.shape[-1] == 1 else frame) for frame in frames]
    with atomic(path) as partial:
        pictures[0].save(
            partial, format="GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0
        )


def confusion_matrix(matrix, class_names, path, *, what="images"):
    """Counts of predicted over true classes; the colour is the share of the true class, mistakes only."""
    count = len(class_names)
    figure = figure_of(figsize=(max(5, 0.5 * count + 1.5),) * 2, layout="constrained")
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
    axes.set(xlabel="predicted", ylabel="true", title=f"{matrix.sum():,} {what}, {wrong:,} wrong")
    save(figure, path)


def calibration(confidences, correct, error, path, *, bins=15, what="images"):
    """Accuracy over confidence, with the number of examples per bin: how far one may trust a probability."""
    figure = figure_of(figsize=(5, 5.5), layout="constrained")
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
    lower.set(xlabel="confidence", ylabel=what, yscale="log", xlim=(0, 1))
    for axes in (upper, lower):
        clean(axes)
    save(figure, path)


def sheet(images, captions, path, *, title="", columns=8, size=1.5):
    """A sheet of uint8 images (height, width, 1 or 3), `size` times 100 pixels wide, with a caption under each.

    By Pillow alone, so that a command that answers at once need not start Matplotlib.
    """
    side, line = round(100 * size), 15
    columns = min(columns, max(len(images), 4))
    rows = max(1, math.ceil(len(images) / columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    top, height = (30 if title else 6), side + line * lines + 12
    picture = Image.new("RGB", (columns * (side + 10) + 10, top + rows * height), "white")
    pen, small = ImageDraw.Draw(picture), ImageFont.load_default(11)
    pen.text((picture.width / 2, 8), title, fill="black", anchor="ma", font=ImageFont.load_default(15))
    for position, (image, caption) in enumerate(zip(images, captions, strict=True)):
        pixels = np.asarray(image)
        shown = Image.fromarray(pixels.squeeze(-1) if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)
        factor = min(side / shown.width, side / shown.height)
        wanted = max(1, round(shown.width * factor)), max(1, round(shown.height * factor))
        # enlarged pixels stay pixels
        shown = shown.resize(wanted, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS)
        left, above = 10 + position % columns * (side + 10), top + position // columns * height
        picture.paste(shown, (left + (side - shown.width) // 2, above + (side - shown.height) // 2))
        for number, text in enumerate(caption.split("\n")):
            place = left + side / 2, above + side + 3 + line * number
            pen.text(place, text, fill="black", anchor="ma", font=small)
    save_image(np.asarray(picture), path)


def thumbnail(picture, side=256):
    """A PIL image or uint8 array, no larger than `side` pixels: an array for a `sheet`."""
    picture = picture.copy() if isinstance(picture, Image.Image) else Image.fromarray(picture.squeeze())
    picture.thumbnail((side, side))
    return np.asarray(picture)


def clean(axes):
    """The look of all diagrams: two axes and a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def save(figure, path):
    """Writes a figure whole or not at all."""
    with atomic(path) as partial:
        figure.savefig(partial, dpi=110, facecolor="white")
