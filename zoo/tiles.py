"""Images of any size by a network of one size: overlapping tiles, blended without a seam (NumPy and Pillow)."""

import math
from typing import Literal

import numpy as np
from PIL import Image

Augmentation = Literal["none", "flip", "rotate"]
VIEWS = {  # quarter turns, and whether it is mirrored then
    "none": [(0, False)],
    "flip": [(0, False), (0, True)],
    "rotate": [(turns, mirrored) for turns in range(4) for mirrored in (False, True)],
}


def by_tiles(restore, image, tile, overlaps=4, *, factor=1, at_once=512, progress=None):
    """Restores an image of any size by overlapping tiles that are blended without a seam; its edges are mirrored.

    Besides the image and the result it holds a band of one tile's height, so a large photo needs little memory.

    Args:
        restore: Function from tiles, uint8 (count, *tile, channels), to restored ones, `factor` times as high and wide.
        image: uint8 (height, width, channels).
        tile: (height, width) of a tile. Where the image is no larger, there is one tile and nothing to blend.
        overlaps: Tiles that see the same pixel, along an axis; with 1, which is the fastest, two do so in a narrow
            strip where they meet: for a network that sees no further than a seventh of a tile.
        factor: How many times as high and wide the result is.
        at_once: Tiles per call.
        progress: Function called with the number of tiles done and of all.

    Returns:
        The restored image, uint8 (factor * height, factor * width, channels).
    """
    (rows, above, window_down), (columns, left, window_across) = (
        _tiling(size, side, overlaps) for size, side in zip(image.shape, tile, strict=False)
    )
    padded = np.pad(image, (above, left, (0, 0)), mode="reflect")
    window = np.repeat(window_down, factor)[:, None, None] * np.repeat(window_across, factor)[:, None]
    large = padded.shape[0] * factor, padded.shape[1] * factor, image.shape[2]
    result = np.empty(large, np.uint8)
    total, weight = np.zeros((factor * tile[0], *large[1:]), np.float32), np.zeros((factor * tile[0], large[1], 1), "f")
    for number, y in enumerate(rows):
        for first in range(0, len(columns), at_once):
            chosen = columns[first : first + at_once]
            pieces = np.stack([padded[y : y + tile[0], x : x + tile[1]] for x in chosen])
            for x, restored in zip(chosen, restore(pieces), strict=True):
                place = slice(factor * x, factor * (x + tile[1]))
                total[:, place] += window * restored
                weight[:, place] += window
            if progress is not None:
                progress(number * len(columns) + first + len(chosen), len(rows) * len(columns))
        # what no later row reaches is done
        done = factor * (rows[number + 1] - y) if number + 1 < len(rows) else len(total)
        # of the margin that is cut off below, nothing was seen
        ready = total[:done] / np.maximum(weight[:done], 1e-12)
        result[factor * y : factor * y + done] = np.rint(ready)
        total[:-done], weight[:-done] = total[done:].copy(), weight[done:].copy()
        total[len(total) - done :], weight[len(weight) - done :] = 0, 0
    inside = [
        slice(factor * pad[0], factor * (pad[0] + size)) for pad, size in zip((above, left), image.shape, strict=False)
    ]
    return result[inside[0], inside[1]]


def by_views(restore, images, augmentation, progress=None):
    """The mean of what is restored of images and of their mirror images and quarter turns, each turned back.

    A photo seen from another side is another example to a network, so its errors there differ (geometric
    self-ensemble; Lim et al., "Enhanced deep residual networks for single image super-resolution", 2017).

    Args:
        restore: Function from images and a progress function to restored ones, which may be larger.
        images: uint8 (..., height, width, channels). Of several that are not square only half turns are taken.
        augmentation: A name in `VIEWS`: none, flip (the mirror image too) or rotate (all eight).
        progress: Function called with the number of tiles done and of all.

    Returns:
        uint8 images.
    """
    views, axes = VIEWS[augmentation], (-3, -2)
    if images.ndim > 3 and images.shape[-3] != images.shape[-2]:
        views = [view for view in views if view[0] % 2 == 0]
    if len(views) == 1:
        return restore(images, progress)
    total = None
    for number, (turns, mirrored) in enumerate(views):
        view = np.rot90(images, turns, axes)
        view = view[..., ::-1, :] if mirrored else view
        part = progress and (lambda done, count, number=number: progress(number * count + done, len(views) * count))
        restored = restore(np.ascontiguousarray(view), part)
        restored = np.rot90(restored[..., ::-1, :] if mirrored else restored, -turns, axes)
        if total is None:
            total = np.full(restored.shape, len(views) // 2, np.uint16)  # so that the quotient is rounded
        total += restored  # in place: a large photo has no room for another one of these
    total //= len(views)
    return total.astype(np.uint8)


def _tiling(size, side, overlaps):
    """Where tiles begin along an axis, how far it is padded at both ends, and the weight of each place of a tile."""
    if size <= side:
        return [0], ((side - size) // 2, side - size - (side - size) // 2), np.ones(side, np.float32)
    # The network's own padding spoils the margin of a tile, so it has no weight. What is left of its influence repeats
    # with the step; at a quarter of a raised cosine that is less than a grey level.
    margin = side // 7
    inner = side - 2 * margin
    if overlaps == 1:
        blend = max(1, side // 16)
        step = inner - blend
        ramp = (np.arange(inner) + 0.5) / blend
        window = np.pad(np.minimum(np.minimum(ramp, ramp[::-1]), 1.0), margin)
    else:
        step = max(1, inner // overlaps)
        window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(inner) + 0.5) / inner), margin)
    before = side - margin - step  # so that the first pixel, too, is in as many tiles as any
    starts = [step * index for index in range(math.ceil((before + size - margin) / step))]
    return starts, (before, starts[-1] + side - before - size), window.astype(np.float32)


def by_windows(see, image, window, overlap):
    """What a network says of every pixel of an image that may be larger than its window; the windows are blended.

    Args:
        see: Function from a piece, uint8 (*window, channels), to float32 (*window, classes).
        image: uint8 (height, width, channels); a side smaller than the window's is mirrored.
        window: (height, width) of a piece.
        overlap: Least share of a piece that the next one sees as well.

    Returns:
        float32 (height, width, classes).
    """
    height, width = image.shape[:2]
    below, right = max(0, window[0] - height), max(0, window[1] - width)
    if below or right:  # what lies outside looks like what is inside
        image = np.pad(image, ((0, below), (0, right), (0, 0)), mode="symmetric")
    rows, columns = (starts(side, piece, overlap) for side, piece in zip(image.shape[:2], window, strict=True))
    if len(rows) == len(columns) == 1:
        return see(image)[:height, :width]
    taper = _taper(window)
    total, weight = 0.0, np.zeros((*image.shape[:2], 1), np.float32)
    for top in rows:
        for left in columns:
            place = slice(top, top + window[0]), slice(left, left + window[1])
            found = see(image[place])
            if isinstance(total, float):
                total = np.zeros((*image.shape[:2], found.shape[-1]), np.float32)
            total[place] += taper * found
            weight[place] += taper
    return (total / weight)[:height, :width]


def classes(probabilities, image, longest=None, *, up=False):
    """The class of each pixel of an image that a network sees at most `longest` pixels long (`up`: exactly so long).

    Args:
        probabilities: Function from an image, uint8 (height, width, channels), to float32 (height, width, classes).
        image: uint8 (height, width, channels).
        longest: Pixels of the longer side as the network sees it; None takes the image as it is.
        up: Whether a smaller image grows.

    Returns:
        uint8 (height, width).
    """
    height, width, channels = image.shape
    scale = longest / max(height, width) if longest else 1.0
    if scale == 1 or (scale > 1 and not up):
        return probabilities(image).argmax(axis=-1).astype(np.uint8)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    picture = Image.fromarray(image[..., 0] if channels == 1 else image).resize(size, Image.Resampling.BILINEAR)
    found = probabilities(np.asarray(picture).reshape(*size[::-1], channels))
    best, mask = np.full((height, width), -np.inf, np.float32), np.zeros((height, width), np.uint8)
    for label in range(found.shape[-1]):  # one by one: all of them at the size of a photo fill memory
        plane = Image.fromarray(np.ascontiguousarray(found[..., label], np.float32))
        plane = np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR))
        mask[plane > best] = label
        np.maximum(best, plane, out=best)
    return mask


def of_file(outputs, num_classes):
    """Probabilities float32 (height, width, 2 or more) in what an exported U-Net gave for one image, or its votes."""
    if "probabilities" not in outputs:
        return np.eye(max(2, num_classes), dtype=np.float32)[outputs["mask"][0]]
    return both(outputs["probabilities"][0])


def both(probabilities):
    """Probabilities of two classes where those of one class stand for both."""
    single = probabilities.shape[-1] == 1
    return np.concatenate([1 - probabilities, probabilities], axis=-1) if single else probabilities


def by_channels(restore, image, channels):
    """Restores a uint8 image by a function of images with another number of channels, 1 or 3."""
    if image.shape[-1] > channels:
        return np.concatenate([restore(image[..., index : index + 1]) for index in range(image.shape[-1])], axis=-1)
    if image.shape[-1] < channels:
        return np.rint(restore(np.repeat(image, channels, -1)).mean(-1, keepdims=True)).astype(np.uint8)
    return restore(image)


def starts(side, piece, overlap):
    """Where the pieces of a side begin: evenly spread, overlapping by the given share of a piece or more."""
    if side <= piece:
        return [0]
    count = 1 + math.ceil((side - piece) / max(1, piece * (1 - overlap)))
    return np.linspace(0, side - piece, count).round().astype(int).tolist()


def _taper(window):
    """Weight of each pixel of a piece, less towards its border, where the network knows less of what is around."""
    sides = [np.minimum(np.arange(side) + 1, side - np.arange(side)) / side for side in window]
    return np.float32(np.minimum(sides[0][:, None], sides[1][None]) + 1e-3)[..., None]
