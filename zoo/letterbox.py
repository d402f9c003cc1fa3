"""How a photo of any shape comes to a detector of one size, and how boxes come back (NumPy and Pillow)."""

import numpy as np
from PIL import Image

GREY = 114  # what is outside an image


def shrink(image, image_size):
    """A PIL image with its longest side fitted into (height, width), as uint8 (h, w, 3); small images grow."""
    height, width = image_size
    factor = min(height / image.height, width / image.width)
    size = max(1, min(width, round(image.width * factor))), max(1, min(height, round(image.height * factor)))
    image = image.convert("RGB")
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image)


def letterbox(pixels, image_size):
    """An image (h, w, 3) in the middle of grey, (height, width, 3), and its (left, top) corner there."""
    top, left = (image_size[0] - pixels.shape[0]) // 2, (image_size[1] - pixels.shape[1]) // 2
    canvas = np.full((*image_size, 3), GREY, np.uint8)
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas, (left, top)


def unletterbox(boxes, size, original, image_size):
    """Boxes (boxes, 4) on a letterboxed image in the pixels of the original, clipped to it.

    Args:
        boxes: In pixels of the letterboxed image.
        size: (height, width) of the image inside it.
        original: (height, width) of the original.
        image_size: (height, width) of the letterboxed image.
    """
    top, left = (image_size[0] - size[0]) // 2, (image_size[1] - size[1]) // 2
    scale = np.array([original[1] / size[1], original[0] / size[0]] * 2)
    boxes = (np.asarray(boxes, "float64").reshape(-1, 4) - [left, top, left, top]) * scale
    return boxes.clip(0, [original[1], original[0]] * 2)


def letterboxed(image, image_size):
    """A PIL image as a detector takes it, uint8 (height, width, 3), and a function that brings boxes to its pixels."""
    small, original = shrink(image, image_size), (image.height, image.width)
    return letterbox(small, image_size)[0], lambda boxes: unletterbox(boxes, small.shape[:2], original, image_size)
