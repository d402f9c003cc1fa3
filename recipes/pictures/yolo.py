"""Pictures of detections: boxes, curves of precision and recall, the worst images."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from recipes import plots


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
        plots.clean(axes)
    if len(curves) <= 20:
        left.legend(frameon=False, fontsize=8)
    plots.save(figure, path)


def worst(files, images, targets, found, wrong, class_names, threshold, folder):
    """The images with most mistakes: what is there in white, what was found at the threshold's confidence in colours.

    Args:
        files: Names of the images.
        images: uint8 (count, height, width, 3).
        targets: One array (objects, 5) per image: left, top, right, lower, class.
        found: One dictionary "boxes", "scores" and "classes" per image.
        wrong: Mistakes of each image.
        class_names: Names of the classes.
        threshold: Dictionary with "confidence", the least of a detection that is shown.
        folder: Where worst.png is written.
    """
    chosen = [index for index in np.argsort([-count for count in wrong], kind="stable") if wrong[index]][:8]
    shown, captions = [], []
    for index in chosen:
        sure = found[index]["scores"] >= threshold["confidence"]
        true = {"boxes": targets[index][:, :4], "classes": targets[index][:, 4].astype(int)}
        picture = draw_boxes(images[index], true, class_names, colour="#ffffff")
        shown.append(draw_boxes(picture, {name: values[sure] for name, values in found[index].items()}, class_names))
        captions.append(f"{Path(files[index]).name[-24:]}\n{wrong[index]} mistakes")
    title = f"the worst of {len(images):,} images; what is there in white"
    plots.sheet(shown, captions, folder / "worst.png", title=title, columns=4, size=3.5)
