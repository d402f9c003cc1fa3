"""Masks of classes as pictures (Pillow alone, so that a command that answers at once starts no Matplotlib)."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from recipes import plots
from zoo.atomic import atomic


def in_colours(mask, colours):
    """A mask of class numbers (height, width) in the colours of the classes, uint8; what is no class is black."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = colours
    return palette[mask]


def legend(class_names, colours, path):
    """The names of the classes beside their colours."""
    font, line = ImageFont.load_default(16), 28
    width = max(round(font.getlength(str(name))) for name in class_names)
    picture = Image.new("RGB", (width + 64, line * len(class_names) + 12), "white")
    pen = ImageDraw.Draw(picture)
    for index, (name, colour) in enumerate(zip(class_names, colours, strict=True)):
        top = 6 + line * index
        pen.rectangle((10, top + 3, 38, top + line - 4), fill=tuple(colour), outline=plots.GREY)
        pen.text((50, top + line / 2), str(name), fill="black", anchor="lm", font=font)
    plots.save_image(np.asarray(picture), path)


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
