"""Noise for images, with one meaning of its level on the scale from black (0) to white (1), and clipped to that.

- gaussian: added; the level is its standard deviation.
- poisson: photon noise; the level is the standard deviation at white, which is met by 1 / level ** 2 photons.
- salt_and_pepper: the level is the share of pixels that turn white or black, each as often.
- speckle: multiplied, x * (1 + noise); the level is the standard deviation of that noise, so of a white pixel.
- camera: photon noise and a tenth as much read noise, added in linear light (sRGB taken back) and then encoded again
  (Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting", 2008); the level is the deviation at white.
- jpeg: a JPEG file in between; the level is its quality, 1 to 100, in here as a share of 100.

Training draws it anew in every epoch, inside the pipeline; test pairs are drawn once, with a fixed seed, and rounded to
uint8 as any file would hold them.
"""

import io
from typing import Literal, get_args

import numpy as np
import tensorflow as tf
from PIL import Image

from recipes.data import draws
from recipes.data.images import stream, without_autotune

Kind = Literal["gaussian", "poisson", "salt_and_pepper", "speckle", "camera", "jpeg"]
KINDS = get_args(Kind)
USUAL = {"jpeg": (10, 90)}  # what to train on where nothing is said
READ = 0.1  # read noise of a camera, as a share of its photon noise at white
SEED = 20_260_101  # of the test pairs, so that runs and files compare


def level_range(level, name="noise_level", kind="gaussian"):
    """(low, high) of one level, or of a range given by two, from 2 on as of 255, of JPEG files of 100; `name` is the
    argument's.

    Raises:
        ValueError: If a level is in neither range, the range given is empty, or there is no noise in it.
    """
    levels = tuple(level) if isinstance(level, tuple | list) else (level,)
    if len(levels) not in (1, 2):
        raise ValueError(f"{name} is one level or a range of two, got {len(levels)}: {levels}")
    if kind == "jpeg":
        for value in levels:
            if not (1 <= value <= 100 and value == int(value)):
                raise ValueError(f"{name} of jpeg is a quality, a whole number in 1 to 100, got {value}")
        if levels[0] > levels[-1]:
            raise ValueError(f"{name} is LOW HIGH, got {levels[0]} > {levels[-1]}")
        return levels[0] / 100, levels[-1] / 100
    of_255 = any(2 <= value <= 255 for value in levels)
    for value in levels:
        # between 1 and 2 nobody can tell which of the two is meant, and a share beside numbers of 255 is neither
        if not (value == 0 or 1 <= value <= 255 if of_255 else 0 <= value <= 1):
            raise ValueError(f"{name} must be in [0, 1], or 2 to 255 as of the values of a file, got {value}")
    if of_255:
        levels = tuple(value / 255 for value in levels)
    low, high = levels[0], levels[-1]
    if low > high:
        raise ValueError(f"{name} is LOW HIGH, got {low} > {high}")
    if high == 0:
        raise ValueError(f"{name} 0 is no noise at all: give more than 0")
    return float(low), float(high)


def add(images, seed, *, kind, low, high):
    """Adds noise to a batch, in TensorFlow; the same seed gives the same noise.

    Args:
        images: float32 (batch, height, width, channels) in [0, 1].
        seed: Two integers.
        kind: One of `KINDS`.
        low: Lowest level.
        high: Highest level; each image gets its own, uniform in [low, high].

    Returns:
        float32, same shape, in [0, 1].
    """
    _check(kind)
    shape = tf.shape(images)
    level_seed, noise_seed = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), 2))
    level = draws.uniform((shape[0], 1, 1, 1), level_seed, low, high)
    if kind == "salt_and_pepper":
        draw = draws.uniform((shape[0], shape[1], shape[2], 1), noise_seed)
        return tf.where(draw < level / 2, 0.0, tf.where(draw < level, 1.0, images))
    if kind == "jpeg":
        quality = tf.cast(tf.round(100 * level[:, 0, 0, 0]), tf.int32)
        pixels = tf.cast(tf.round(255 * images), tf.uint8)

        def through_a_file(pair):
            file = tf.raw_ops.EncodeJpegVariableQuality(images=pair[0], quality=tf.clip_by_value(pair[1], 1, 100))
            return tf.io.decode_jpeg(file)

        found = tf.map_fn(through_a_file, (pixels, quality), fn_output_signature=tf.uint8)
        return tf.reshape(tf.cast(found, tf.float32), shape) / 255.0
    if kind == "camera":
        return _camera(images, level, draws.normal(shape, noise_seed), tf)
    if kind == "poisson":
        photons = 1 / tf.maximum(level, 1e-3) ** 2  # below that nothing is left of it in eight bits
        noisy = draws.poisson(images * photons, noise_seed) / photons
    else:
        noise = level * draws.normal(shape, noise_seed)
        noisy = images * (1 + noise) if kind == "speckle" else images + noise
    return tf.clip_by_value(noisy, 0.0, 1.0)


def fixed(images, *, kind, level, seed=SEED):
    """Adds the same noise to the same images every time, in NumPy; the first ones do not depend on the later.

    Args:
        images: uint8 (count, height, width, channels), or a list of images of any size.
        kind: One of `KINDS`.
        level: One level, or the range (low, high) that each image's is drawn from.
        seed: Seed of the noise.

    Returns:
        uint8, same shape.
    """
    _check(kind)
    low, high = level_range(level)
    levels = np.random.default_rng([seed, 1]).uniform(low, high, len(images))
    random = np.random.default_rng(seed)
    noisy = (_one(image / 255.0, random, kind, level) for image, level in zip(images, levels, strict=True))
    pixels = [np.rint(255 * image.clip(0, 1)).astype(np.uint8) for image in noisy]
    return pixels if isinstance(images, list) else np.stack(pixels)


def training_batches(images, *, kind, low, high, batch_size, steps, epochs, first_epoch=0, seed=0):
    """One stream over all epochs of (noisy, clean), float32 in [0, 1]; the order and the noise of a batch depend on
    nothing but the seed, the epoch and its number, so a resumed training sees what an uninterrupted one would have.

    Args:
        images: uint8 (count, height, width, channels).
        kind: One of `KINDS`.
        low: Lowest level.
        high: Highest level.
        batch_size: Images per batch.
        steps: Batches per epoch, at most count // batch_size.
        epochs: Number of epochs of the whole training.
        first_epoch: Where a resumed training goes on.
        seed: Seed of order and noise.
    """
    with tf.device("cpu"):
        images = tf.constant(images)

    def batch(step, chosen):
        clean = tf.cast(tf.gather(images, chosen), tf.float32) / 255.0
        return add(clean, [seed, step], kind=kind, low=low, high=high), clean

    return stream(
        batch, len(images), batch_size=batch_size, steps=steps, epochs=epochs, first_epoch=first_epoch, seed=seed
    )


def evaluation_batches(noisy, clean, batch_size=512):
    """Fixed pairs of uint8 images in order: (noisy, clean), float32 in [0, 1]."""
    # a first batch that replicas share evenly: Keras averages it over them to build the model
    batch_size = min(batch_size, 1 << (len(clean).bit_length() - 1))
    pairs = tf.data.Dataset.from_tensor_slices((noisy, clean)).batch(batch_size)
    pairs = pairs.map(lambda x, y: (tf.cast(x, tf.float32) / 255.0, tf.cast(y, tf.float32) / 255.0))
    return without_autotune(pairs.prefetch(2))


def _check(kind):
    if kind not in KINDS:
        raise ValueError(f"noise must be one of {', '.join(KINDS)}, got {kind!r}")


def _camera(images, level, normal, xp):
    """The noise of a camera, made of standard normal numbers; `xp` is NumPy or TensorFlow."""
    light = xp.where(images <= 0.04045, images / 12.92, ((images + 0.055) / 1.055) ** 2.4)
    light = xp.minimum(xp.maximum(light + level * xp.sqrt(light + READ**2) * normal, 0.0), 1.0)
    return xp.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _one(image, random, kind, level):
    if kind == "salt_and_pepper":
        draw = random.random((*image.shape[:2], 1))
        return np.where(draw < level / 2, 0.0, np.where(draw < level, 1.0, image))
    if kind == "jpeg":
        pixels = np.rint(255 * image).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if image.shape[-1] == 1 else pixels).save(
            file, "JPEG", quality=max(1, round(100 * level))
        )
        return np.asarray(Image.open(file)).reshape(image.shape) / 255
    if kind == "camera":
        return _camera(image, level, random.standard_normal(image.shape), np)
    if kind == "poisson":
        photons = 1 / max(level, 1e-3) ** 2
        return random.poisson(image * photons) / photons
    noise = level * random.standard_normal(image.shape)
    return image * (1 + noise) if kind == "speckle" else image + noise
