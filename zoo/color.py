"""Colour casts: put on an image, taken off again, and guessed by the classical methods.

A cast is three numbers, red, green and blue. "shift" is added to the channels, in 0-255 (60 makes a channel brighter by
60 of 255); "gains" multiplies them, 1 changes nothing (von Kries).
"""

from typing import Literal

import numpy as np

from zoo.kinds import Array

KINDS = ("shift", "gains")


def apply_cast(images: Array, cast: Array, kind: Literal["shift", "gains"] = "shift") -> Array:
    """Puts a colour cast on images, clipped to their range.

    Args:
        images: (..., height, width, 3): uint8, or float in [0, 1].
        cast: (..., 3), in 0-255 for "shift" whatever the type of the images; one for all images or one for each.
        kind: "shift" or "gains".

    Returns:
        Same shape, type and kind of array as `images`: an array of NumPy, else a tensor of Keras's backend.

    Raises:
        ValueError: If `kind` is another one, or the images have not three channels.
    """
    return _change(images, cast, kind, undo=False)


def correct_color(images: Array, cast: Array, kind: Literal["shift", "gains"] = "shift") -> Array:
    """Takes a colour cast off images: the inverse of `apply_cast` but for what was clipped or rounded.

    Args and returns are those of `apply_cast`.
    """
    return _change(images, cast, kind, undo=True)


def _change(images, cast, kind, undo):
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if len(images.shape) < 3 or images.shape[-1] != 3:
        raise ValueError(f"images are (..., height, width, 3), got {tuple(images.shape)}")
    if isinstance(images, np.ndarray):
        xp = np
    else:
        from keras import ops

        xp = ops
    dtype = np.dtype(images.dtype) if xp is np else images.dtype
    whole = "uint8" in str(dtype)
    cast = np.asarray(cast, "float32") if xp is np else ops.cast(cast, "float32")
    cast = cast[..., None, None, :]
    values = xp.asarray(images, "float32") if xp is np else ops.cast(images, "float32")
    if kind == "gains":
        values = values / cast if undo else values * cast
    else:
        step = cast if whole else cast / 255.0
        values = values - step if undo else values + step
    values = xp.clip(values, 0.0, 255.0 if whole else 1.0)
    values = xp.round(values) if whole else values
    return values.astype(dtype) if xp is np else ops.cast(values, dtype)


def gray_world(images: Array, kind: Literal["shift", "gains"] = "shift") -> Array:
    """The cast of uint8 images (count, height, width, 3) if the mean of each channel should be the same (count, 3).

    Reference: Buchsbaum, "A spatial processor model for object colour perception", 1980.
    """
    return _from_levels(_minkowski(images, 1), kind)


def shades_of_gray(images: Array, kind: Literal["shift", "gains"] = "shift", p: int = 6) -> Array:
    """Likewise, if the Minkowski mean of power `p` of each channel should be the same.

    Reference: Finlayson and Trezzi, "Shades of gray and colour constancy", 2004.
    """
    return _from_levels(_minkowski(images, p), kind)


def white_patch(images: Array, kind: Literal["shift", "gains"] = "shift") -> Array:
    """Likewise, if the largest value of each channel should be the same: something in the picture is white.

    Reference: Land, "The retinex theory of color vision", 1977.
    """
    return _from_levels(images.max(axis=(1, 2)).astype(np.float64), kind)


def _minkowski(images, p):
    return np.stack([np.mean((image / 255.0) ** p, axis=(0, 1)) ** (1 / p) for image in images]) * 255


def _from_levels(levels, kind):
    """The cast that leaves the mean of the three levels as it is: none of these methods tells the brightness."""
    mean = levels.mean(axis=1, keepdims=True)
    return levels / np.maximum(mean, 1e-6) if kind == "gains" else levels - mean


def angular_error(cast: Array, estimate: Array, kind: Literal["shift", "gains"] = "shift") -> Array:
    """Angle between the colours that a grey surface has under the true and under the estimated cast.

    Args:
        cast: (count, 3).
        estimate: (count, 3).
        kind: "shift", where the surface is the middle grey (128, 128, 128), or "gains", where its level cancels out.

    Returns:
        Degrees (count,). The error of the brightness does not count.
    """
    grey = 128.0 if kind == "shift" else 0.0
    one, other = np.asarray(cast, np.float64) + grey, np.asarray(estimate, np.float64) + grey
    cosine = (one * other).sum(axis=-1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1) + 1e-12)
    return np.degrees(np.arccos(cosine.clip(-1, 1)))
