"""Photographs with a known number to each: colour casts or rotations drawn from a seed, or a table of measured values.

A photo is held in memory once, as uint8 of `SIDE` x `SIDE` pixels; casts, rotations, crops, flips and exposures are
drawn anew in every step of the training. Photos are split before anything is cut out of them, so no photo stands in two
splits. The data set "photos" are crops of the photographs that come with scikit-learn and scikit-image.
"""

import csv
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from recipes.data import draws, files, images, notes
from recipes.data import splits as split_data
from zoo import color
from zoo.photos import inside, turn

Target = Literal["shift", "gains", "angle"]
SIDE = 256  # pixels a side in memory: above the network's 227, so that a cast is clipped before the image is made small
OUTPUTS = {"shift": ("red", "green", "blue"), "gains": ("red", "green", "blue"), "angle": ("angle",)}
STRENGTH = {"shift": 60.0, "gains": 0.5, "angle": 15.0}
PLACES = {"red": ("red", "r"), "green": ("green", "g"), "blue": ("blue", "b"), "angle": ("angle", "degrees")}
IMAGE = ("image", "path", "file", "filename", "image_path")
OFFLINE = "without a network: --dataset photos, or --dataset FOLDER of photos"
EMBEDDED = {  # split by photo: the last two belong to the other splits
    "train": ("china.jpg", "flower.jpg", "coffee.png", "rocket.jpg", "motorcycle_left.png"),
    "validation": ("chelsea.png",),
    "test": ("astronaut.png",),
}


@dataclass(frozen=True)
class PhotoDataset:
    """Photos in memory.

    Attributes:
        name: Its name, or the name of its folder or table.
        splits: Split name to uint8 (count, SIDE, SIDE, 3).
        sources: Split name to the file (or number) of each photo.
        targets: Split name to float32 (count, outputs) where a table gives them, else None.
        version: Version as its publisher gives it, or "".
        licence: Licence as its publisher gives it, or "".
        skipped: Files that could not be read.
        left_out: Suffix to number of the files of a folder that are no images by their suffix.
    """

    name: str
    splits: dict
    sources: dict
    targets: dict | None = None
    version: str = ""
    licence: str = ""
    skipped: tuple = field(default=())
    left_out: dict = field(default_factory=dict)

    def split(self, name):
        """(photos, targets or None) of "train", "validation" (also "val"), "test" or "all"."""
        name = {"val": "validation"}.get(name, name)
        if name == "all":
            photos = np.concatenate(list(self.splits.values()))
            return photos, None if self.targets is None else np.concatenate(list(self.targets.values()))
        if name not in self.splits:
            raise ValueError(f"the split must be one of {', '.join(self.splits)}, all; got {name!r}")
        return self.splits[name], None if self.targets is None else self.targets[name]


def load(dataset, *, target="shift", data_dir=None, manual_dir=None, complete=True):
    """Loads photos.

    Args:
        dataset: "photos" (embedded); a folder of photos, with sub-folders or not, or with train, validation and test in
            it; a table NAME.csv with the columns image, red, green and blue (or angle); or the name of any set of
            tensorflow-datasets with images.
        target: What is to be found; decides the columns of a table and how a photo becomes square: whole but stretched
            for casts, cropped for angles.
        data_dir: Where tensorflow-datasets keeps its files (its own default when None).
        manual_dir: Folder with the original files of the set, got by hand, for a machine without a network.
        complete: Whether splits that are missing are cut from "train", by photo, in the same way each time.

    Raises:
        ValueError: If there is no such data set, or a photo or a value of the table is missing or cannot be read.
    """
    fit = "crop" if target == "angle" else "stretch"
    if manual_dir is not None and not Path(manual_dir).is_dir():
        raise ValueError(f"there is no folder {manual_dir} (manual_dir)")
    path = Path(dataset)
    if dataset == "photos":
        return _embedded(fit)
    if path.suffix.lower() == ".csv":
        return _table(path, OUTPUTS[target], fit, complete)
    if path.is_dir():
        return _folder(path, fit, complete)
    if dataset.startswith((".", "/", "~")) or dataset.endswith("/"):
        raise ValueError(f"there is no folder {dataset}")
    images.tfds_builder(dataset, data_dir, embedded="photos")
    found = images.load(
        dataset, input_shape=(SIDE, SIDE, 3), data_dir=data_dir, manual_dir=manual_dir, labelled=False, fit=fit
    )
    splits = {name: photos for name, (photos, _) in found.splits.items()}
    sources = {name: [f"{name} {index}" for index in range(len(photos))] for name, photos in splits.items()}
    return PhotoDataset(found.name, splits, sources, version=found.version, licence=found.licence)


def read(path, fit="stretch", side=SIDE):
    """Reads a photo as uint8 (side, side, 3).

    Raises:
        ValueError: If the file is not an image.
    """
    return files.read_fitted(path, (side, side, 3), fit)


def resize(photos, side):
    """Square uint8 images in another size, (count, side, side, 3)."""
    return images.fit_all(photos, (side, side, 3), "stretch")


def draw(count, target, strength, seed):
    """Values to be found, float32 (count, outputs), uniform: shifts and angles in -strength to strength, gains from
    1 / (1 + strength) to 1 + strength, as often below 1 as above."""
    draws = np.random.default_rng(seed).uniform(-1, 1, (count, len(OUTPUTS[target])))
    return np.float32((1 + strength) ** draws if target == "gains" else strength * draws)


def pairs(photos, target, strength, *, seed, each=4, side=227):
    """Each photo with `each` different casts or rotations: (uint8 (count * each, side, side, 3), the same without them,
    float32 (count * each, outputs)). The same seed gives the same."""
    values = draw(len(photos) * each, target, strength, seed)
    changed, clean = [], []
    for photo, value in zip(np.repeat(photos, each, axis=0), values, strict=True):
        if target == "angle":
            changed.append(inside(turn(photo, value[0]), strength))
            clean.append(inside(photo, strength))
        else:
            changed.append(color.apply_cast(photo, value, target))
            clean.append(photo)
    changed, clean = (np.concatenate([resize(one[None], side) for one in group]) for group in (changed, clean))
    return changed, clean, values


def training_batches(
    photos,
    targets=None,
    *,
    target,
    strength,
    batch_size,
    steps,
    epochs,
    crops=1,
    augment=1.0,
    side=227,
    first_epoch=0,
    seed=0,
):
    """One stream over all epochs of (float32 images (batch, side, side, 3) in [0, 1], tuple of (batch, 1) per output).

    What is drawn for a batch depends on nothing but the seed, the epoch and its number, so a resumed training sees what
    an uninterrupted one would have seen.

    Args:
        photos: uint8 (count, SIDE, SIDE, 3).
        targets: float32 (count, outputs) of a table; None draws them.
        target: "shift", "gains" or "angle".
        strength: Range of what is drawn, see `draw`.
        batch_size: Images per batch.
        steps: Batches per epoch, at most count * crops // batch_size.
        epochs: Number of epochs of the whole training.
        crops: How often each photo is seen in an epoch.
        augment: Strength of the random exposure, contrast, gamma and saturation of the photo before its cast, and of
            the crops; 0 leaves all of it out.
        side: Pixels a side of the network's images.
        first_epoch: Where a resumed training goes on.
        seed: Seed of order and draws.
    """
    with tf.device("cpu"):
        photos = tf.constant(photos)
        values = None if targets is None else tf.constant(targets, tf.float32)
    count, outputs = photos.shape[0], len(OUTPUTS[target])

    def batch(step, chosen):
        chosen = chosen % count
        seeds = tf.unstack(tf.random.split(tf.stack([seed, step]), 4))
        x = tf.cast(tf.gather(photos, chosen), tf.float32)
        draw = draws.uniform((chosen.shape[0], outputs), seeds[0], -1.0, 1.0)
        if values is not None:
            y = tf.gather(values, chosen)
        elif target == "angle":
            x = expose(x, seeds[1], augment)
            y = strength * draw
        else:
            x = expose(x, seeds[1], augment)
            y = (1 + strength) ** draw if target == "gains" else strength * draw
            cast = y[:, None, None, :]
            x = tf.round(tf.clip_by_value(x * cast if target == "gains" else x + cast, 0.0, 255.0))
        if target == "angle" and values is None:
            x = turned_crop(x, y[:, 0], seeds[2], side=side, room=strength, strength=augment)
        else:
            x = crop(x, seeds[2], side=side, strength=augment, flip=target != "angle", stretch=target != "angle")
        return x / 255.0, tuple(tf.unstack(y[..., None], axis=1))

    return images.stream(
        batch, count * crops, batch_size=batch_size, steps=steps, epochs=epochs, first_epoch=first_epoch, seed=seed
    )


def expose(x, seed, strength):
    """Other photos of the same things: float32 (batch, height, width, 3) in 0 to 255 with another gamma, exposure,
    contrast and saturation, clipped and rounded as a camera would.

    At strength 1 the gamma is up to 1.5 or its inverse, the exposure and the contrast change by up to a fifth, and the
    saturation is 0.5 to 1.3 times its own; each photo in five stays as it is.
    """
    if not strength:
        return x
    draw = draws.uniform((5, tf.shape(x)[0], 1, 1, 1), seed, -1.0, 1.0, axis=1)
    gamma, exposure = tf.exp(0.4 * strength * draw[0]), 1 + 0.2 * strength * draw[1]
    contrast, saturation = 1 + 0.2 * strength * draw[2], 1 + strength * (0.4 * draw[3] - 0.1)
    y = 255.0 * exposure * tf.exp(gamma * tf.math.log(x / 255.0 + 1e-6))  # six times as fast as a power
    y = 127.5 + contrast * (y - 127.5)
    grey = tf.reduce_mean(y, axis=-1, keepdims=True)
    y = grey + saturation * (y - grey)
    return tf.where(draw[4] < -0.6, x, tf.round(tf.clip_by_value(y, 0.0, 255.0)))


def crop(x, seed, *, side, strength=1.0, flip=True, stretch=True):
    """A random part of each of a batch of square images, resized: float32 (batch, side, side, 3), bilinear.

    Args:
        x: float32 (batch, height, width, 3).
        seed: Two integers.
        side: Pixels a side of the result.
        strength: At 1 a part has 0.5 to 1 times the sides.
        flip: Whether to mirror half of them.
        stretch: Whether the proportions may change, by up to a quarter.
    """
    draw = draws.uniform((5, tf.shape(x)[0]), seed, axis=1)
    scale, aspect = 1 - 0.5 * strength * draw[0], tf.exp(0.22 * strength * stretch * (2 * draw[1] - 1))
    width, height = tf.minimum(scale * aspect, 1.0), tf.minimum(scale / aspect, 1.0)
    left, top = draw[2] * (1 - width), draw[3] * (1 - height)
    mirror = draw[4] < (0.5 if flip else 0.0)
    near, far = tf.where(mirror, left + width, left), tf.where(mirror, left, left + width)
    boxes = tf.stack([top, near, top + height, far], axis=1)
    return tf.image.crop_and_resize(x, boxes, tf.range(tf.shape(x)[0]), (side, side))


def turned_crop(x, angle, seed, *, side, room, strength=1.0):
    """A random part of each of a batch of square images, mirrored half the time, then turned.

    Args:
        x: float32 (batch, height, width, 3).
        angle: (batch,) degrees, counter-clockwise.
        seed: Two integers.
        side: Pixels a side of the result.
        room: Largest angle; the parts are small enough that no corner is black.
        strength: At 1 a part has 0.5 to 1 times the side of the largest one.
    """
    size, batch = x.shape[1], tf.shape(x)[0]
    draw = draws.uniform((4, batch), seed, axis=1)
    largest = 1 / (np.cos(np.radians(room)) + np.sin(np.radians(room)))
    scale = 1 - 0.5 * strength * draw[0]
    mirror = tf.where(draw[3] < 0.5, -1.0, 1.0)
    across, down = (largest * size * (1 - scale) * (draw[index] - 0.5) for index in (1, 2))
    radians, step = angle * (np.pi / 180), largest * scale * (size - 1) / (side - 1)
    # from output to input pixels, about the centres: the part, the turn, and the mirror
    cos, sin, middle, centre = tf.cos(radians), tf.sin(radians), (side - 1) / 2, (size - 1) / 2
    a, b, c, d = cos * step, -sin * step, sin * step, cos * step
    x0 = centre + mirror * (cos * across - sin * down - (a + b) * middle)
    y0 = centre + sin * across + cos * down - (c + d) * middle
    zero = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=x,
        transforms=tf.stack([mirror * a, mirror * b, x0, c, d, y0, zero, zero], axis=1),
        output_shape=(side, side),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )


def evaluation_batches(pixels, values, batch_size=32):
    """Images in order: (float32 in [0, 1], tuple of (batch, 1) per output)."""
    targets = tuple(np.float32(column)[:, None] for column in values.T)
    # a first batch that replicas share evenly: Keras averages it over them to build the model
    batch_size = min(batch_size, 1 << (len(values).bit_length() - 1))
    examples = tf.data.Dataset.from_tensor_slices((pixels, targets)).batch(batch_size)
    examples = examples.map(lambda x, y: (tf.cast(x, tf.float32) / 255.0, y))
    return images.without_autotune(examples.prefetch(2))


def embedded_pieces():
    """Nine crops of each photograph of scikit-image and scikit-learn, whole ones first: split to (name, PIL image)."""
    import skimage
    import sklearn.datasets

    folders = [Path(sklearn.datasets.__file__).parent / "images", Path(skimage.__file__).parent / "data"]
    parts = [(0, 0, 1, 1)] + [(x, y, x + 0.5, y + 0.5) for y in (0, 0.25, 0.5) for x in (0, 0.25, 0.5)]
    found = {}
    for split, names in EMBEDDED.items():
        for name in names:
            (path,) = (folder / name for folder in folders if (folder / name).is_file())
            photo = images.open_image(path).convert("RGB")
            width, height = photo.size
            for left, top, right, bottom in parts[:-1]:
                piece = photo.crop((left * width, top * height, right * width, bottom * height))
                found.setdefault(split, []).append((name, piece))
    return found


def _embedded(fit):
    found = embedded_pieces()
    splits = {
        split: np.stack([images.fit_one(piece, (SIDE, SIDE, 3), fit) for _, piece in pieces])
        for split, pieces in found.items()
    }
    sources = {split: [name for name, _ in pieces] for split, pieces in found.items()}
    return PhotoDataset("photos", splits, sources, version="scikit-image, scikit-learn", licence="CC0 and CC BY 2.0")


def _read_all(paths, fit):
    """(photos, their paths, the paths of files that are no images)."""

    def read_or_none(path):
        try:
            return read(path, fit)
        except ValueError:
            return None

    with notes.gathered(), ThreadPoolExecutor() as pool:
        found = list(pool.map(read_or_none, paths))
    good = [(photo, path) for photo, path in zip(found, paths, strict=True) if photo is not None]
    skipped = [str(path) for photo, path in zip(found, paths, strict=True) if photo is None]
    for path in skipped:
        print(f"skipped {path}: not an image that can be read", file=sys.stderr)
    return [photo for photo, _ in good], [path for _, path in good], skipped


def _folder(folder, fit, complete):
    roots = split_data.roots(folder, lambda path: any(images.files(path)), classes=False)
    everything = [path for parts in roots.values() for root in parts for path in split_data.walk(root)]
    other = notes.left_out(folder, [path for path in everything if not images.is_image(path)], "images")
    splits, sources, skipped = {}, {}, []
    for split, parts in roots.items():
        paths = [path for root in parts for path in images.files(root)]
        if not paths:
            raise ValueError(f"{folder} has no images ({images.KINDS})")
        photos, good, bad = _read_all(paths, fit)
        skipped += bad
        if photos:
            splits[split], sources[split] = np.stack(photos), [str(path.relative_to(folder)) for path in good]
    if not splits:
        raise ValueError(f"{folder} has no image that can be read: {len(skipped)} files were skipped")
    if complete and "train" in splits:
        splits, sources, _ = _cut(folder, splits, sources)
    return PhotoDataset(folder.resolve().name, splits, sources, skipped=tuple(skipped), left_out=other)


def _cut(path, splits, sources, targets=None):
    """Cuts the splits that are missing from "train", so that all rows of one file go to the same one."""
    fractions = {name: share for name, share in (("validation", 0.1), ("test", 0.2)) if name not in splits}
    names = np.array(sources["train"])
    different = np.unique(names)
    if len(different) < 1 + len(fractions):
        raise ValueError(f"{path} has {len(different)} photos that can be read: the splits need {1 + len(fractions)}")
    parts = images.cut(np.zeros(len(different), int), list(fractions.values()))
    for split, part in zip(("train", *fractions), parts, strict=True):
        rows = np.flatnonzero(np.isin(names, different[part]))
        if split != "train":
            splits[split], sources[split] = splits["train"][rows], [sources["train"][row] for row in rows]
            if targets:
                targets[split] = targets["train"][rows]
        else:
            kept = rows
    splits["train"], sources["train"] = splits["train"][kept], [sources["train"][row] for row in kept]
    if targets:
        targets["train"] = targets["train"][kept]
    order = [name for name in images.SPLITS if name in splits]
    return ({name: group[name] for name in order} if group else None for group in (splits, sources, targets))


def _table(path, outputs, fit, complete):
    """A table of images with their values; a column "split" may name the split of each row."""
    if not path.is_file():
        raise ValueError(f"there is no table {path}")
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = {str(name).strip().lower(): name for name in reader.fieldnames or []}
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a table in CSV (UTF-8): {error}") from None
    chosen = {}
    for name, accepted in (("image", IMAGE), *((one, PLACES[one]) for one in outputs)):
        found = [columns[one] for one in accepted if one in columns]
        if not found:
            has = ", ".join(columns.values()) or "none"
            raise ValueError(f"{path} has no column {name} (or {', '.join(accepted[1:])}): its columns are {has}")
        chosen[name] = found[0]
    if not rows:
        raise ValueError(f"{path} has no rows")
    splits, sources, targets = {}, {}, {}
    for line, row in enumerate(rows, start=2):
        name = (row[chosen["image"]] or "").strip()
        file = path.parent / name
        if not name or not file.is_file():
            raise ValueError(f"{path}, line {line}: there is no image {file if name else 'named'}")
        values = []
        for one in outputs:
            try:
                values.append(float(row[chosen[one]]))
            except (TypeError, ValueError):
                values.append(np.nan)
            if not np.isfinite(values[-1]):
                raise ValueError(f"{path}, line {line}: {chosen[one]} is not a number: {row[chosen[one]]!r}")
        word = (row[columns["split"]] or "").strip() if "split" in columns else "train"
        split = split_data.split_word(word)
        if split is None:
            raise ValueError(f"{path}, line {line}: split is one of {', '.join(split_data.WORDS)}, got {word!r}")
        try:
            splits.setdefault(split, []).append(read(file, fit))
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
        sources.setdefault(split, []).append(name)
        targets.setdefault(split, []).append(values)
    splits = {name: np.stack(photos) for name, photos in splits.items()}
    targets = {name: np.float32(values) for name, values in targets.items()}
    if complete and "train" in splits:
        splits, sources, targets = _cut(path, splits, sources, targets)
    return PhotoDataset(path.stem, splits, sources, targets)
