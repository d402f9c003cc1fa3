"""Diagrams of segmentations: sheets, bars and tables of classes."""

import math

import numpy as np
from matplotlib.figure import Figure

from recipes import plots
from recipes.pictures.class_colours import in_colours


def masks(rows, class_names, colours, path, *, title=""):
    """A sheet of image | truth | prediction | errors, with a legend of the classes.

    Args:
        rows: Tuples of image (height, width, 1 or 3), true labels (255 where they do not count), predicted labels, and
            a caption.
        class_names: One name per class.
        colours: One colour per class.
        path: Where to write the picture.
        title: Headline.
    """
    height, width = rows[0][1].shape
    size = 3.4 * height / width
    figure = Figure(figsize=(14, (size + 0.3) * len(rows) + 1.2), layout="constrained")
    figure.suptitle(title, parse_math=False)
    heads = ("image", "truth", "prediction", "errors (grey: does not count)")
    for index, panels in enumerate(figure.subplots(len(rows), 4, squeeze=False)):
        image, truth, found, caption = rows[index]
        errors = np.full((*truth.shape, 3), 255, np.uint8)
        errors[(found != truth) & (truth != 255)] = (220, 20, 60)
        errors[truth == 255] = 200
        shown = (image.squeeze(), in_colours(truth, colours), in_colours(found, colours), errors)
        for panel, picture, head in zip(panels, shown, heads, strict=True):
            panel.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            if index == 0:
                panel.set_title(head)
        panels[0].set_ylabel(caption, fontsize=8, parse_math=False)
    _class_legend(figure, class_names, colours)
    plots.save(figure, path)


def _class_legend(figure, class_names, colours):
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=np.array(colour) / 255, edgecolor=plots.GREY, label=name)
        for name, colour in zip(class_names, colours, strict=True)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 8), frameon=False)


def bars(values, names, path, *, colours=None, title="", xlabel=""):
    """One horizontal bar per class with its value in [0, 1]; NaN is shown as absent."""
    figure = Figure(figsize=(7, 0.32 * len(names) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    known = np.nan_to_num(np.asarray(values, float))
    axes.barh(range(len(names)), known, color=[np.array(c) / 255 for c in colours] if colours else plots.BLUE)
    for index, value in enumerate(values):
        text = "absent" if value is None or math.isnan(value) else f"{value:.3f}"
        axes.text(known[index] + 0.01, index, text, va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlim=(0, 1.08), title=title, xlabel=xlabel)
    axes.invert_yaxis()
    plots.clean(axes)
    plots.save(figure, path)


def shares(matrix, class_names, path, *, title=""):
    """A confusion matrix of pixels as shares of the true class."""
    count = len(class_names)
    figure = Figure(figsize=(max(5, 0.55 * count + 1.5),) * 2, layout="constrained")
    axes = figure.add_subplot()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        if value >= 0.005:
            axes.text(
                column,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                color="white" if value > 0.6 else "black",
                fontsize=8,
            )
    axes.set_xticks(range(count), class_names, rotation=90, parse_math=False)
    axes.set_yticks(range(count), class_names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title, fontsize=10)
    plots.save(figure, path)
