"""Photos made smaller, as super-resolution learns from and is measured on: by bicubic interpolation that sees every
pixel (antialiased), as the literature's test pairs are made."""

import numpy as np
import tensorflow as tf
from PIL import Image


def whole(photos, factor):
    """Photos without the rows and columns below and on the right that make up no whole small pixel."""
    return [photo[: photo.shape[0] // factor * factor, : photo.shape[1] // factor * factor] for photo in photos]


def fixed(photos, factor):
    """Photos a factor smaller, uint8; their sides are multiples of it."""
    return [resized(photo, photo.shape[0] // factor, photo.shape[1] // factor) for photo in photos]


def resized(photo, height, width, resampling=Image.Resampling.BICUBIC):
    """A uint8 photo (height, width, channels) in another size."""
    image = Image.fromarray(photo[..., 0] if photo.shape[-1] == 1 else photo).resize((width, height), resampling)
    return np.asarray(image).reshape(height, width, photo.shape[-1])


def in_training(batch, seed, *, factor):
    """A batch, float32 (batch, height, width, channels) in [0, 1], a factor smaller, in 256 levels as a file has them;
    nothing is drawn with the seed."""
    height, width = batch.shape[1] // factor, batch.shape[2] // factor
    small = tf.image.resize(batch, (height, width), "bicubic", antialias=True)
    return tf.round(tf.clip_by_value(small, 0.0, 1.0) * 255.0) / 255.0
