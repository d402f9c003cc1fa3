"""Photos of any size, and parts of them cut out anew in every step: for a network that restores photos as they are."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf

from recipes.data import draws, images, notes
from recipes.data import splits as split_data

MEMORY = 4e9  # bytes of all photos


@dataclass(frozen=True)
class PhotoSet:
    """Photos in memory, each in its own size.

    Attributes:
        name: Name of the folder.
        splits: Split name to (photos, zeros): a list of uint8 (height, width, channels), and a number each.
        channels: 1 or 3.
        skipped: Files that could not be read.
        left_out: Suffix to number of the files that are no images by their suffix.
    """

    name: str
    splits: dict
    channels: int
    version: str = ""
    licence: str = ""
    skipped: tuple = field(default=())
    left_out: dict = field(default_factory=dict)

    @property
    def image_shape(self):
        return None, None, self.channels

    def split(self, name):
        """(list of photos, zeros) of "train", "validation" (also "val"), "test" or "all"."""
        name = {"val": "validation"}.get(name, name)
        if name == "all":
            photos = [photo for part, _ in self.splits.values() for photo in part]
            return photos, np.zeros(len(photos), np.int32)
        if name not in self.splits:
            raise ValueError(f"the split must be one of {', '.join(self.splits)}, all; got {name!r}")
        return self.splits[name]

    @property
    def measured(self):
        """The split that says how good a model is: "test" where there is one."""
        return next(name for name in ("test", "validation", "train") if name in self.splits)


def load(folder, channels=3, complete=True, smallest=1):
    """Reads a folder of photos; "validation" and "test" are cut from "train" where there are none.

    Args:
        folder: Photos, in folders below it or not, or inside train/, validation/ and test/ or other words for them.
        channels: 3 for colour, 1 for grey.
        complete: Whether to cut the splits that are missing.
        smallest: Pixels of the shorter side that a photo needs; smaller ones are skipped.

    Returns:
        A `PhotoSet`.

    Raises:
        ValueError: If there is no such folder, no photo in it that can be read, or more than fits into memory.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: whole photos come from a folder of them")
    roots = split_data.roots(folder, lambda path: any(images.files(path)), classes=False)
    everything = [path for parts in roots.values() for root in parts for path in split_data.walk(root)]
    other = notes.left_out(folder, [path for path in everything if not images.is_image(path)], "images")
    splits, skipped = {}, []

    def read(path):
        try:
            picture = images.open_image(path).convert("L" if channels == 1 else "RGB")
            if min(picture.size) < smallest:
                raise ValueError(f"{path} has {picture.width}x{picture.height} pixels, at least {smallest} are needed")
            return np.asarray(picture).reshape(picture.height, picture.width, channels)
        except ValueError as error:
            print(f"skipped: {error}", file=sys.stderr)
            return None

    for split, parts in roots.items():
        paths = [path for root in parts for path in images.files(root)]
        with notes.gathered(), ThreadPoolExecutor() as pool:
            photos = list(pool.map(read, paths))
        skipped += [str(path) for path, photo in zip(paths, photos, strict=True) if photo is None]
        good = [photo for photo in photos if photo is not None]
        if good:
            splits[split] = good, np.zeros(len(good), np.int32)
    if not splits:
        raise ValueError(f"{folder} has no images ({images.KINDS})")
    held = sum(photo.size for photos, _ in splits.values() for photo in photos)
    if held > MEMORY:
        raise ValueError(
            f"{folder} needs {held / 1e9:.1f} GB of memory, at most {MEMORY / 1e9:.0f} are used: take fewer"
        )
    missing = {} if "validation" in splits else {"validation": 0.1}
    if missing and "test" not in splits:
        missing["test"] = 0.2
    if complete and "train" in splits and missing:
        photos = splits["train"][0]
        if len(photos) <= len(missing):
            raise ValueError(f"{folder} has {len(photos)} photos that can be read: the splits need {1 + len(missing)}")
        parts = images.cut(np.zeros(len(photos), int), list(missing.values()))
        for name, part in zip(("train", *missing), parts, strict=True):
            splits[name] = [photos[index] for index in part], np.zeros(len(part), np.int32)
    splits = {name: splits[name] for name in split_data.ORDER if name in splits}
    return PhotoSet(folder.resolve().name, splits, channels, skipped=tuple(skipped), left_out=other)


def centres(photos, crop):
    """The middle of each photo, uint8 (count, *crop, channels); a smaller one is mirrored at its edges."""
    cut = []
    for photo in photos:
        photo = _enlarged(photo, crop)
        top, left = ((side - wanted) // 2 for side, wanted in zip(photo.shape, crop, strict=False))
        cut.append(photo[top : top + crop[0], left : left + crop[1]])
    return np.stack(cut)


def training_batches(photos, *, crop, crops_per_photo, degrade, batch_size, steps, epochs, first_epoch=0, seed=0):
    """One stream of all epochs of (degraded, clean), float32 in [0, 1]: parts cut out anywhere, flipped and turned.

    Place, flip, turn and damage depend on nothing but the seed, the epoch and the step.

    Args:
        photos: List of uint8 (height, width, channels).
        crop: (height, width) of a part; parts are turned by 90 degrees as well where the two are equal.
        crops_per_photo: Parts of each photo in an epoch.
        degrade: Function of a clean batch and a seed (two integers) that gives the damaged one.
        batch_size: Parts per batch.
        steps: Batches per epoch.
        epochs: Number of epochs of the whole training.
        first_epoch: Where a resumed training goes on.
        seed: Seed of all draws.
    """
    photos = [_enlarged(photo, crop) for photo in photos]
    channels = photos[0].shape[-1]
    sizes = np.array([photo.size for photo in photos], np.int64)
    with tf.device("cpu"):  # one row of numbers, for photos of any size in any order
        flat = tf.constant(np.concatenate([photo.ravel() for photo in photos]))
        starts = tf.constant(np.concatenate([[0], np.cumsum(sizes)[:-1]]))
        shapes = tf.constant(np.array([photo.shape[:2] for photo in photos], np.int64))
    line = tf.range(crop[1] * channels, dtype=tf.int64)

    def batch(step, chosen):
        chosen = chosen % len(photos)
        place, turn, noise_seed = tf.unstack(tf.random.split(tf.stack([seed, step]), 3))
        height, width = tf.unstack(tf.gather(shapes, chosen), axis=1)
        draw = draws.uniform((2, chosen.shape[0]), place, axis=1)
        top = tf.cast(draw[0] * tf.cast(height - crop[0] + 1, tf.float32), tf.int64)
        left = tf.cast(draw[1] * tf.cast(width - crop[1] + 1, tf.float32), tf.int64)
        rows = (top[:, None] + tf.range(crop[0], dtype=tf.int64)) * width[:, None] + left[:, None]
        begin = tf.gather(starts, chosen)[:, None] + rows * channels
        clean = tf.reshape(tf.gather(flat, begin[..., None] + line), (chosen.shape[0], *crop, channels))
        clean = _turned(tf.cast(clean, tf.float32) / 255.0, turn, crop[0] == crop[1])
        return degrade(clean, noise_seed), clean

    return images.stream(
        batch,
        len(photos) * crops_per_photo,
        batch_size=batch_size,
        steps=steps,
        epochs=epochs,
        first_epoch=first_epoch,
        seed=seed,
    )


def _enlarged(photo, crop):
    """A photo that is no smaller than a crop, mirrored at its edges if it has to be."""
    lacks = [max(0, wanted - side) for wanted, side in zip(crop, photo.shape, strict=False)]
    return np.pad(photo, (*((lack // 2, lack - lack // 2) for lack in lacks), (0, 0)), mode="symmetric")


def _turned(batch, seed, square):
    """Each image of a batch in one of the eight ways in which it can lie, of four where it is not square."""
    draw = draws.uniform((3, tf.shape(batch)[0], 1, 1, 1), seed, axis=1)
    batch = tf.where(draw[0] < 0.5, batch, tf.reverse(batch, [1]))
    batch = tf.where(draw[1] < 0.5, batch, tf.reverse(batch, [2]))
    return tf.where(draw[2] < 0.5, batch, tf.transpose(batch, (0, 2, 1, 3))) if square else batch
