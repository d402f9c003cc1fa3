"""Pictures for a report: training curves, confusion matrix, calibration, sheets of images."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from zoo.export import atomic

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#9ca3af"


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
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    for axes, (title, columns) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for (column, label), colour in zip(columns.items(), (BLUE, ORANGE, GREY), strict=False):
            values = [row[column] for row in rows]
            axes.plot(epochs, values, color=colour, label=f"{label}, last {values[-1]:.4g}")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        _clean(axes)
        axes.legend(frameon=False)
    _save(figure, path)


def montage(images, *, columns=None, margin=2, scale=2):
    """Images (count, height, width, 1 or 3), uint8, side by side in one array, each pixel `scale` times as large."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    height, width, channels = images.shape[1:]
    page = np.full((rows * (height + margin) + margin, columns * (width + margin) + margin, channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = margin + index // columns * (height + margin), margin + index % columns * (width + margin)
        page[top : top + height, left : left + width] = image
    return page.repeat(scale, axis=0).repeat(scale, axis=1)


def save_image(pixels, path):
    """Writes a uint8 image (height, width, 1 or 3) as PNG, whole or not at all."""
    with atomic(path) as partial:
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(partial, format="PNG")


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
    axes.set(xlabel="predicted", ylabel="true", title=f"{matrix.sum():,} {what}, {wrong:,} wrong")
    _save(figure, path)


def calibration(confidences, correct, error, path, *, bins=15, what="images"):
    """Accuracy over confidence, with the number of examples per bin: how far one may trust a probability."""
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
    lower.set(xlabel="confidence", ylabel=what, yscale="log", xlim=(0, 1))
    for axes in (upper, lower):
        _clean(axes)
    _save(figure, path)


def sheet(images, captions, path, *, title="", columns=8, size=1.5):
    """A sheet of uint8 images (count, height, width, 1 or 3), `size` inches wide, with a caption under each."""
    count = len(images)
    columns = min(columns, max(count, 4))
    rows = max(1, math.ceil(count / columns))
    figure = Figure(figsize=(size * columns, (size + 0.4) * rows + 0.4), layout="constrained")
    figure.suptitle(title)
    for position, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if position < count:
            axes.imshow(images[position].squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_xlabel(captions[position], fontsize=9, parse_math=False)
    _save(figure, path)


def thumbnail(picture, side=256):
    """A PIL image or uint8 array, no larger than `side` pixels: an array for a `sheet`."""
    picture = picture.copy() if isinstance(picture, Image.Image) else Image.fromarray(picture.squeeze())
    picture.thumbnail((side, side))
    return np.asarray(picture)


def coloured(image):
    """A picture of one value in [0, 1] per pixel, (height, width), in colours: uint8 (height, width, 3)."""
    return np.uint8(255 * colormaps["magma"](image)[..., :3])


def spectrogram(image, seconds, frequencies, path):
    """A spectrogram (bins, frames) in [0, 1] with axes; `frequencies` are those of its rows from below, in hertz."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    figure.colorbar(_spectrogram(axes, image, seconds, frequencies), label="1 is the loudest point, 0 is 45 dB below")
    _save(figure, path)


def sound(waveform, rate, path, *, title, spectrum, peaks, spectrogram, seen, frequencies, heat=None, timeline=None):
    """All that is to be seen of a sound, on one page.

    Args:
        waveform: (samples, channels) in [-1, 1].
        rate: Samples per second.
        path: Where to write the picture.
        title: Headline.
        spectrum: (hertz, decibels) of the whole.
        peaks: Its strongest frequencies, dictionaries with "hertz" and "decibels".
        spectrogram: The whole as an image (bins, frames) in [0, 1], low frequencies below.
        seen: The window that was classified, likewise.
        frequencies: Hertz of the rows of both, from below.
        heat: Where the class was seen, (any, any) in [0, 1], laid over the window; None leaves it out.
        timeline: (rows with "start" and "end", probabilities (count, classes), class names), or None.
    """
    seconds, channels = len(waveform) / rate, waveform.shape[1]
    figure = Figure(figsize=(11, 2 * channels + 6 + 3 * bool(timeline)), layout="constrained")
    figure.suptitle(title, parse_math=False)
    panels = [[f"channel {n + 1}"] * 2 for n in range(channels)] + [["spectrum", "seen"], ["spectrogram"] * 2]
    heights = [1] * channels + [1.6, 1.6]
    if timeline:
        panels, heights = [*panels, ["timeline"] * 2], [*heights, 1.6]
    axes = figure.subplot_mosaic(panels, height_ratios=heights)
    for n in range(channels):
        panel = axes[f"channel {n + 1}"]
        step = 1 + len(waveform) // 20_000  # of a long sound the lowest and highest sample of each stretch
        parts = np.pad(waveform[:, n], (0, -len(waveform) % step), mode="edge").reshape(-1, step)
        levels = np.stack([parts.min(axis=1), parts.max(axis=1)], axis=1).ravel() if step > 1 else parts[:, 0]
        panel.plot(np.linspace(0, seconds, len(levels)), levels, color=BLUE, linewidth=0.6)
        panel.set(title=f"channel {n + 1}", xlabel="seconds", xlim=(0, seconds))
        _clean(panel)
    panel = axes["spectrum"]
    panel.plot(*spectrum, color=BLUE, linewidth=0.8)
    for rank, peak in enumerate(peaks, start=1):
        panel.plot(peak["hertz"], peak["decibels"], "o", color=ORANGE, markersize=4)
        panel.annotate(str(rank), (peak["hertz"], peak["decibels"]), (2, 3), textcoords="offset points", fontsize=8)
    names = "\n".join(f"{rank}  {peak['hertz']:,.0f} Hz" for rank, peak in enumerate(peaks, start=1))
    panel.text(0.98, 0.97, names, transform=panel.transAxes, ha="right", va="top", fontsize=9)
    panel.set(title="spectrum", xlabel="hertz", ylabel="decibels", ylim=(max(spectrum[1]) - 80, max(spectrum[1]) + 25))
    _clean(panel)
    _spectrogram(axes["spectrogram"], spectrogram, seconds, frequencies)
    panel = axes["seen"]
    panel.imshow(seen, cmap="gray", aspect="auto", vmin=0, vmax=1, extent=(0, 1, 0, 1))
    panel.set(xticks=[], yticks=[], title="what the model saw")
    if heat is not None:
        panel.imshow(heat, cmap="inferno", aspect="auto", alpha=0.45, extent=(0, 1, 0, 1), interpolation="bilinear")
        panel.set(title="what the model saw, and where it looked")
    if timeline:
        rows, levels, names = timeline
        middles = np.array([(row["start"] + row["end"]) / 2 for row in rows])
        edges = np.concatenate([[0], (middles[1:] + middles[:-1]) / 2, [seconds]])
        panel = axes["timeline"]
        panel.pcolormesh(edges, np.arange(len(names) + 1), levels.T, cmap="Blues", vmin=0, vmax=1)
        panel.set(title="timeline", xlabel="seconds", xlim=(0, seconds))
        panel.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=7, parse_math=False)
    _save(figure, path)


def _spectrogram(axes, image, seconds, frequencies):
    picture = axes.imshow(image, cmap="magma", aspect="auto", vmin=0, vmax=1, extent=(0, seconds, 0, len(frequencies)))
    ticks = np.linspace(0, len(frequencies) - 1, 7).round().astype(int)
    axes.set_yticks(ticks + 0.5, [f"{frequencies[tick]:.0f}" for tick in ticks])
    axes.set(title="spectrogram", xlabel="seconds", ylabel="hertz")
    return picture


def lines(rows, key, path, *, xlabel, ylabel, highlight="restored"):
    """One line per column of a table over the column `key`; the highlighted one is drawn thick."""
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name in rows[0]:
        if name != key:
            style = {"color": BLUE, "linewidth": 3} if name == highlight else {"linewidth": 1.2}
            values = [row[name] for row in rows]
            axes.plot([row[key] for row in rows], values, marker="o", label=name.replace("_", " "), **style)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    _clean(axes)
    axes.legend(frameon=False)
    _save(figure, path)


def quality(rows, floor, path):
    """Fréchet distance of samplers over steps and over seconds: rows with "sampler", "steps", "frechet_distance" and
    "seconds_per_image"; dashed the `floor`, the distance of real images."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key, label in ((left, "steps", "steps"), (right, "seconds_per_image", "seconds per image")):
        for name, colour in zip(dict.fromkeys(row["sampler"] for row in rows), (BLUE, ORANGE, GREY), strict=False):
            own = sorted((row[key], row["frechet_distance"]) for row in rows if row["sampler"] == name)
            axes.plot(*zip(*own, strict=True), marker="o", color=colour, label=name)
        axes.axhline(floor, linestyle="--", color="black", linewidth=1, label="real images")
        axes.set(xlabel=label, xscale="log", ylim=(0, None))
        _clean(axes)
    left.set_ylabel("Fréchet distance")
    left.legend(frameon=False)
    _save(figure, path)


def regression(true, found, names, path):
    """Found over true values of each output, (count, outputs), and under them the histograms of the errors."""
    figure = Figure(figsize=(4 * len(names), 6.5), layout="constrained")
    upper, lower = figure.subplots(2, len(names), height_ratios=(2, 1), squeeze=False)
    widest = max(float(np.abs(found - true).max()), 1e-9)
    for index, name in enumerate(names):
        x, y = true[:, index], found[:, index]
        ends = min(x.min(), y.min()), max(x.max(), y.max())
        upper[index].plot(ends, ends, "--", color=GREY)
        upper[index].plot(x, y, "o", color=BLUE, markersize=3, alpha=0.5, markeredgewidth=0)
        upper[index].set(title=name, xlabel="true", ylabel="found")
        error = y - x
        lower[index].hist(error, 41, range=(-widest, widest), color=BLUE)
        rmse, mean = np.sqrt(np.mean(error**2)), np.mean(error)
        lower[index].set(title=f"RMSE {rmse:.3g}, mean error {mean:.2g}", xlabel="found - true", ylabel="images")
        for axes in (upper[index], lower[index]):
            _clean(axes)
    _save(figure, path)


def draw_boxes(image, found, class_names, *, colour=None):
    """A uint8 image (height, width, 3) with boxes, each in the colour of its class, with its name and confidence.

    Args:
        image: The image.
        found: Dictionary of "boxes" (count, 4) in pixels, "classes" (count,) and, if known, "scores" (count,).
        class_names: Names of the classes.
        colour: One colour for all, without names; None takes the classes' own.
    """
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    width = max(1, round(max(picture.size) / 300))
    font = ImageFont.load_default(max(9, round(max(picture.size) / 45)))
    scores = found.get("scores", [None] * len(found["boxes"]))
    for box, label, score in sorted(
        zip(found["boxes"], found["classes"], scores, strict=True), key=lambda row: row[2] or 0
    ):
        left, top, right, lower = (float(side) for side in box)
        own = colour or to_hex(colormaps["tab10"](int(label) % 10))
        pen.rectangle((left, top, max(left, right), max(top, lower)), outline=own, width=width)
        if colour is None:
            text = f"{class_names[label]} {score:.2f}" if score is not None else str(class_names[label])
            corner = pen.textbbox((left, top), text, font=font, anchor="lb")
            down = max(0, -corner[1])  # at the upper edge the name goes inside the box
            back = max(0, corner[2] - picture.width)
            pen.rectangle((corner[0] - back, corner[1] + down, corner[2] - back, corner[3] + down), fill=own)
            pen.text((left - back, top + down), text, fill="white", font=font, anchor="lb")
    return np.asarray(picture)


def detection_curves(curves, path):
    """Precision over recall, and F1 over confidence, of each class: {name: (scores, precision, recall)}."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, (scores, precision, recall) in curves.items():
        left.plot(recall, precision, linewidth=1.2, label=name)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        right.plot(scores, f1, linewidth=1.2, label=name)
    left.set(title="at IoU 0.5", xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    right.set(title="at IoU 0.5", xlabel="confidence", ylabel="F1", xlim=(0, 1), ylim=(0, 1.02))
    for axes in (left, right):
        _clean(axes)
    if len(curves) <= 20:
        left.legend(frameon=False, fontsize=8)
    _save(figure, path)


def _clean(axes):
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _save(figure, path):
    with atomic(path) as partial:
        figure.savefig(partial, dpi=110, facecolor="white")


def in_colours(mask, colours):
    """A mask of class numbers (height, width) in the colours of the classes, uint8; what is no class is black."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = colours
    return palette[mask]


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
    _save(figure, path)


def _class_legend(figure, class_names, colours):
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=np.array(colour) / 255, edgecolor=GREY, label=name)
        for name, colour in zip(class_names, colours, strict=True)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 8), frameon=False)


def legend(class_names, colours, path):
    """The names of the classes beside their colours."""
    figure = Figure(figsize=(2.6, 0.3 * len(class_names) + 0.2), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(np.array(colours, np.uint8)[:, None], aspect="auto", extent=(0, 1, len(class_names) - 0.5, -0.5))
    axes.set_yticks(range(len(class_names)), class_names, parse_math=False)
    axes.set(xticks=[])
    axes.yaxis.tick_right()
    _save(figure, path)


def bars(values, names, path, *, colours=None, title="", xlabel=""):
    """One horizontal bar per class with its value in [0, 1]; NaN is shown as absent."""
    figure = Figure(figsize=(7, 0.32 * len(names) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    known = np.nan_to_num(np.asarray(values, float))
    axes.barh(range(len(names)), known, color=[np.array(c) / 255 for c in colours] if colours else BLUE)
    for index, value in enumerate(values):
        text = "absent" if value is None or math.isnan(value) else f"{value:.3f}"
        axes.text(known[index] + 0.01, index, text, va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlim=(0, 1.08), title=title, xlabel=xlabel)
    axes.invert_yaxis()
    _clean(axes)
    _save(figure, path)


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
    _save(figure, path)


def save_indexed(mask, colours, path):
    """Writes a mask of class numbers (height, width) as PNG with a palette: the values are the numbers."""
    picture = Image.fromarray(mask)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = colours
    picture.putpalette(palette.ravel().tolist())
    with atomic(path) as partial:
        picture.save(partial, format="PNG")


def with_text(pixels, text):
    """A uint8 image (height, width, 3) with a line of text on a dark field in its upper left corner."""
    picture = Image.fromarray(pixels)
    canvas = ImageDraw.Draw(picture)
    size = max(10, pixels.shape[0] // 24)
    box = canvas.textbbox((size // 2, size // 3), text, font_size=size)
    canvas.rectangle([0, 0, box[2] + size // 2, box[3] + size // 3], fill=(0, 0, 0))
    canvas.text((size // 2, size // 3), text, fill=(255, 255, 255), font_size=size)
    return np.asarray(picture)
