"""Boxes drawn on a photo, and images side by side (Pillow)."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# ten colours that are told apart, those of Matplotlib's "tab10"
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")


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
        left, top, right, bottom = (float(side) for side in box)
        own = colour or COLOURS[int(label) % len(COLOURS)]
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=own, width=width)
        if colour is None:
            text = f"{class_names[label]} {score:.2f}" if score is not None else str(class_names[label])
            corner = pen.textbbox((left, top), text, font=font, anchor="lb")
            down = max(0, -corner[1])  # at the upper edge the name goes inside the box
            back = max(0, corner[2] - picture.width)
            pen.rectangle((corner[0] - back, corner[1] + down, corner[2] - back, corner[3] + down), fill=own)
            pen.text((left - back, top + down), text, fill="white", font=font, anchor="lb")
    return np.asarray(picture)


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
