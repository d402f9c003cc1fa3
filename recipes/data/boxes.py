"""Images with boxes: folders in Pascal VOC, COCO JSON or YOLO form, tensorflow-datasets, and embedded drawn scenes.

A split is held as uint8 images whose longest side fits the network, so nothing is decoded twice. A training batch is
made from them by one bilinear look-up per mosaic tile: mosaic, scale, translation and flips are one transform, and the
boxes go through the same numbers.
"""

import atexit
import functools
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf
from PIL import Image

from recipes.checks import chosen
from recipes.data import box_folders, box_tfds, draws, figure_scenes, photos
from recipes.data import images as image_data
from recipes.data.mosaic import compose, jitter
from zoo.letterbox import GREY, letterbox, shrink

SPLITS = image_data.SPLITS
Unlabelled = Literal["refuse", "background", "skip"]
IN_MEMORY = 4 << 30  # bytes of images; more of them lie in a temporary file


@dataclass(frozen=True)
class Split:
    """Images and boxes of one split.

    Attributes:
        images: uint8 (count, height, width, 3): each image in the upper left corner, its longest side fitted.
        sizes: int32 (count, 2): height and width of that image there.
        originals: int32 (count, 2): height and width of the image as it came.
        boxes: One float32 array (boxes, 5) per image: left, top, right, lower in pixels of `images`, and the class.
        files: Names of the images.
        holes: One float32 array (rows, 6) per image for what is labelled with holes: boxes that another detector found,
            with its score last, and regions of the class -2 - c, with 0 for a crowd and 1 for an image in which nobody
            labelled class c; see `zoo.losses.Detection`. Measuring counts none of them. None: there are none.
    """

    images: np.ndarray
    sizes: np.ndarray
    originals: np.ndarray
    boxes: list
    files: list
    holes: list = None

    def __post_init__(self):
        if self.holes is None:
            object.__setattr__(self, "holes", [np.zeros((0, 6), np.float32) for _ in self.boxes])

    def __len__(self):
        return len(self.images)

    def take(self, chosen):
        """The images of these indices."""
        chosen = [int(index) for index in chosen]
        parts = [[values[index] for index in chosen] for values in (self.boxes, self.files, self.holes)]
        return Split(self.images[chosen], self.sizes[chosen], self.originals[chosen], *parts)

    def targets(self):
        """What `zoo.losses.Detection` wants to know of each image: its boxes alone, or all with weights if there are
        holes.
        """
        if not any(map(len, self.holes)):
            return self.boxes
        weights = [np.ones((len(rows), 1), np.float32) for rows in self.boxes]
        full = [np.concatenate(pair, axis=1) for pair in zip(self.boxes, weights, strict=True)]
        return [np.concatenate(pair) for pair in zip(full, self.holes, strict=True)]


@dataclass(frozen=True)
class BoxDataset:
    """A data set of boxes.

    Attributes:
        name: Its name, or the name of its folder.
        class_names: One name per class.
        splits: Split name to `Split`.
        version: Version as its publisher gives it, or "".
        licence: Licence as its publisher gives it, or "".
        faults: What was wrong with boxes, by kind, with how many there were: clipped or dropped.
        form: How it is stored: "Pascal VOC", "COCO", "YOLO", "tensorflow-datasets" or "drawn".
    """

    name: str
    class_names: tuple
    splits: dict
    version: str = ""
    licence: str = ""
    faults: dict = field(default_factory=dict)
    form: str = ""

    def renumbered(self, class_names):
        """The same data set, its classes numbered as in another list of names; boxes of classes not in it are left out,
        and counted among the faults.
        """
        places = np.array([class_names.index(n) if n in class_names else -1 for n in self.class_names], np.float32)
        splits, faults, before = {}, dict(self.faults), 0
        for name, split in self.splits.items():
            before += sum(map(len, split.boxes))
            boxes, holes = ([_renumbered(rows, places) for rows in part] for part in (split.boxes, split.holes))
            splits[name] = replace(split, boxes=boxes, holes=holes)
        unknown = [name for name in self.class_names if name not in class_names]
        if unknown:
            left_out = before - sum(len(b) for split in splits.values() for b in split.boxes)
            faults[f"left out: the model does not know {', '.join(unknown)}"] = left_out
        return replace(self, class_names=tuple(class_names), splits=splits, faults=faults)

    def holes(self):
        """What is labelled with holes, by kind, with how many there are."""
        found = {"crowds": 0, "boxes_of_another_detector": 0, "images_in_which_some_classes_are_not_labelled": 0}
        for split in self.splits.values():
            for rows in split.holes:
                whole = rows[rows[:, 4] < -1, 5] == 1
                found_by = (rows[:, 4] >= 0).sum()
                counts = int((~whole).sum()), int(found_by), int(whole.any())
                for kind, count in zip(found, counts, strict=True):
                    found[kind] += count
        return {kind: count for kind, count in found.items() if count}

    def split(self, name):
        """The `Split` named "train", "validation" (also "val"), "test" or "all"."""
        name = {"val": "validation"}.get(name, name)
        if name == "all":
            parts = list(self.splits.values())
            arrays = [np.concatenate([getattr(one, key) for one in parts]) for key in ("images", "sizes", "originals")]
            lists = ([item for one in parts for item in getattr(one, key)] for key in ("boxes", "files", "holes"))
            return Split(*arrays, *lists)
        if name == "validation" and list(self.splits) == ["train"] and len(self.splits["train"]) == 1:
            raise ValueError(f"{self.name} has 1 image to train on: 2 are needed, one of them for validation")
        if name not in self.splits:
            raise ValueError(f"{self.name} has no split {name!r}: there are {', '.join(self.splits)}, all")
        return self.splits[name]


def _renumbered(rows, places):
    """Rows with the classes at their new places, those without a place left out."""
    classes = rows[:, 4].astype(int)
    region = classes < -1
    found = places[np.where(region, -2 - classes, classes)]
    kept, rows = found >= 0, rows.copy()
    rows[:, 4] = np.where(region, -2 - found, found)
    return rows[kept]


def load(
    dataset,
    *,
    image_size=(416, 416),
    classes=None,
    splits=None,
    unlabelled="refuse",
    data_dir=None,
    manual_dir=None,
):
    """Loads a data set.

    Args:
        dataset: "scenes" (drawn), a folder in the form of Pascal VOC, COCO JSON or YOLO, or a name of
            tensorflow-datasets with boxes (voc/2007, voc/2012, coco/2017).
        image_size: (height, width) that the images are brought to; or (longest side,), where the other side follows
            the images if they are all alike, and is the same if not.
        classes: Names of the classes to keep, in this order; None keeps all.
        splits: The splits that are needed; None takes all. One with a question mark, "train?", is not missed.
        unlabelled: What becomes of an image of a YOLO folder that has no label file: "refuse", "background" (there is
            nothing on it) or "skip".
        data_dir: Where tensorflow-datasets keeps its files (its own default when None).
        manual_dir: Folder with the data set's original files, for a machine without a network.

    Returns:
        A `BoxDataset`. "validation" is cut from "train" where there is none, in the same way each time.

    Raises:
        ValueError: If there is no such data set, or one of its files is damaged or missing.
    """
    dataset, image_size = str(dataset), tuple(image_size)
    if len(image_size) not in (1, 2) or any(side < 32 or side % 32 for side in image_size):
        raise ValueError(f"image_size is height and width, or the longest side, multiples of 32, got {image_size}")
    if dataset == "scenes":
        source = figure_scenes.source(box_folders.needed(splits, figure_scenes.COUNTS))
    elif Path(dataset).is_dir():
        source = box_folders.read(Path(dataset), unlabelled, splits)
    elif dataset.startswith((".", "/", "~")) or dataset.endswith("/"):
        raise ValueError(f"there is no folder {dataset}")
    else:
        source = box_tfds.read_tfds(dataset, data_dir, manual_dir)
    return _prepare(source, image_size if len(image_size) == 2 else _shape(source, *image_size), classes, splits)


def photographs(image_size):
    """Parts of the photographs of scikit-image and scikit-learn as one split "test", of which nobody says what is on
    them: to measure how far a file finds what its model finds, and to show int8 what photos are like.
    """
    pieces = [piece for part in photos.embedded_pieces().values() for piece in part]
    rows = [(name, functools.partial(lambda piece: piece, piece), []) for name, piece in pieces]
    source = box_folders.Source("photos", (), {"test": rows}, licence="CC0 and CC BY 2.0", form="embedded")
    splits = {"test": _read(rows, image_size, (), set(), source, {})}
    return BoxDataset("photos", (), splits, "", source.licence, {}, source.form)


def _prepare(source, image_size, wanted, splits):
    class_names = tuple(source.class_names)
    if wanted:
        wanted = chosen(wanted, class_names)
        unknown = [name for name in wanted if name not in class_names]
        if unknown:
            raise ValueError(f"{source.name} has no class {unknown[0]!r}: there are {', '.join(class_names)}")
        class_names = wanted
    entries = dict(source.splits)
    if "validation" not in entries and len(entries.get("train", ())) > 1:
        entries = _cut(entries)
    if splits:
        missing = [name for name in splits if name not in entries and not name.endswith("?")]
        if missing:
            raise ValueError(f"{source.name} has no split {missing[0]!r}: there are {', '.join(entries)}, all")
        entries = {name: entries[name] for name in (name.rstrip("?") for name in splits) if name in entries}
    faults = dict(source.faults)
    found = {
        name: _read(rows, image_size, class_names, set(source.class_names), source, faults)
        for name, rows in entries.items()
    }
    if not any(len(boxes) for split in found.values() for boxes in split.boxes):
        raise ValueError(f"{source.name} has no box of the classes {', '.join(class_names)}")
    ordered = {name: found[name] for name in SPLITS if name in found}
    return BoxDataset(source.name, class_names, ordered, source.version, source.licence, faults, source.form)


def _shape(source, longest):
    """(height, width) for the images of a data set, by the first hundred of them."""
    rows = next(iter(source.splits.values()))[:100]
    ratios = [image.height / image.width for image in (read() for _, read, _ in rows)]
    middle = float(np.median(ratios))
    if any(abs(np.log(ratio / middle)) > 0.1 for ratio in ratios):
        return longest, longest
    sides = (longest, longest / middle) if middle > 1 else (longest * middle, longest)
    return tuple(32 * int(np.ceil(side / 32 - 0.1)) for side in sides)


def _cut(entries):
    """Cuts "validation" from "train": a sixth of the images, at most 2,000, the same ones each time."""
    rows = entries["train"]
    count = max(1, min(2000, round(len(rows) / 6)))
    chosen = set(np.random.default_rng(0).permutation(len(rows))[:count].tolist())
    parts = [[row for index, row in enumerate(rows) if (index in chosen) == inside] for inside in (False, True)]
    return entries | dict(zip(("train", "validation"), parts, strict=True))


def _read(rows, image_size, class_names, known, source, faults):
    """Reads and shrinks images, and brings their boxes along."""
    shape = (len(rows), *image_size, 3)
    if np.prod(shape) > IN_MEMORY:
        folder = tempfile.mkdtemp(prefix="zoo-images-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        pixels = np.memmap(Path(folder, "images"), np.uint8, "w+", shape=shape)
    else:
        pixels = np.full(shape, GREY, np.uint8)
    sizes, originals = np.zeros((len(rows), 2), np.int32), np.zeros((len(rows), 2), np.int32)
    boxes, holes = [None] * len(rows), [None] * len(rows)

    def one(index):
        file, read, objects = rows[index]
        image = read()
        originals[index] = image.height, image.width
        small = shrink(image, image_size)
        sizes[index] = small.shape[:2]
        pixels[index, : small.shape[0], : small.shape[1]] = small
        unit = (1, 1) if not source.relative else (image.width, image.height)
        scale = np.array([small.shape[1] / image.width, small.shape[0] / image.height] * 2, np.float32)
        wrong, (weighted, missing) = {}, source.holes.get(file, ((), ()))

        def brought(rows, width, whole=()):
            if file in source.stated:
                rows = _as_shown(rows, image.size, file, *source.stated[file])
            rows = [(x1 * unit[0], y1 * unit[1], x2 * unit[0], y2 * unit[1], *rest) for x1, y1, x2, y2, *rest in rows]
            rows += [(0, 0, *image.size, name, -1.0) for name in whole]
            kept, found = clean(rows, (image.height, image.width), class_names, known, width)
            for kind, count in found.items():
                wrong[kind] = wrong.get(kind, 0) + count
            kept[:, :4] *= scale
            return kept

        boxes[index] = brought(objects, 5)
        holes[index] = brought(weighted, 6, missing)
        regions = holes[index][:, 5] <= 0
        holes[index][regions, 4] = -2 - holes[index][regions, 4]
        holes[index][regions, 5] = -holes[index][regions, 5]
        return wrong

    with ThreadPoolExecutor() as pool:
        for wrong in pool.map(one, range(len(rows))):
            for kind, count in wrong.items():
                faults[kind] = faults.get(kind, 0) + count
    return Split(pixels, sizes, originals, boxes, [str(file) for file, _, _ in rows], holes)


def _as_shown(rows, size, file, width, height, where):
    """Boxes meant for an image of a stated width and height on the image as it is shown: turned upright, of `size`."""
    if not (width > 0 and height > 0) or (width, height) == size:
        return rows

    def alike(shown):
        scale = shown[0] / width, shown[1] / height
        tolerance = max(1, *scale)  # sides are rounded
        return abs(width * scale[1] - shown[0]) <= tolerance or abs(height * scale[0] - shown[1]) <= tolerance

    with Image.open(file) as image:  # the head alone
        turn = image.getexif().get(0x0112, 1)
    turned = turn in (5, 6, 7, 8) and alike(size[::-1]) and not alike(size)
    if not turned and not alike(size):
        raise ValueError(
            f"{where} says that {file} is {width:g} x {height:g}, but it is {size[0]} x {size[1]}: accepted are its "
            "size, one in proportion, or that before EXIF turns it"
        )
    found = []
    for left, top, right, lower, *rest in rows:
        x, y = (left / width, right / width), (top / height, lower / height)
        if turned:
            x, y = y, x
            x = (1 - x[1], 1 - x[0]) if turn in (6, 7) else x
            y = (1 - y[1], 1 - y[0]) if turn in (7, 8) else y
        found.append((x[0] * size[0], y[0] * size[1], x[1] * size[0], y[1] * size[1], *rest))
    return found


def clean(rows, size, class_names, known, width=5):
    """Boxes that can be used: (float32 (boxes, width), how many were clipped or dropped by kind).

    Args:
        rows: (left, top, right, lower, class name) in pixels, and what else there is to them.
        size: (height, width) of the image.
        class_names: Classes to keep; the class becomes its place among them.
        known: All classes of the data set; another one is a fault.
        width: Numbers of a row.
    """
    height, across = size
    faults, kept = {}, []
    for left, top, right, lower, name, *rest in rows:
        kind = None
        inside = [min(max(left, 0), across), min(max(top, 0), height), min(max(right, 0), across)]
        inside.append(min(max(lower, 0), height))
        if name not in known:
            kind = "dropped: unknown class"
        elif not (np.isfinite([left, top, right, lower]).all() and right > left and lower > top):
            kind = "dropped: no area"
        elif inside[2] - inside[0] < 1 or inside[3] - inside[1] < 1:
            kind = "dropped: outside the image"
        else:
            # the edge may be counted from 1: a pixel too far is no fault
            if max(-left, -top, right - across, lower - height) > 1:
                kind = "clipped to the image"
            if name in class_names:
                kept.append([*inside, class_names.index(name), *rest])
        if kind:
            faults[kind] = faults.get(kind, 0) + 1
    return np.array(kept, np.float32).reshape(-1, width), faults


def letterboxed(split):
    """A split as a detector sees it: uint8 images with each in the middle, and boxes (boxes, 5) in their pixels, among
    them regions that do not count, as `zoo.metrics.MeanAveragePrecision` takes them.
    """
    letterboxed, boxes = [], []
    for pixels, (height, width), rows, holes in zip(split.images, split.sizes, split.boxes, split.holes, strict=True):
        canvas, (left, top) = letterbox(pixels[:height, :width], split.images.shape[1:3])
        letterboxed.append(canvas)
        regions = holes[:, :5].copy()  # what another detector found is none to measure by
        regions[:, 4] = np.where(regions[:, 4] >= 0, -2 - regions[:, 4], regions[:, 4])
        boxes.append(np.concatenate([rows, regions]) + np.float32([left, top, left, top, 0]))
    return np.stack(letterboxed), boxes


# Batches


def most_boxes(split, mosaic):
    """Rows of boxes that a batch needs: the most of one image, or of the four of a mosaic (as far as drawn here)."""
    counts = np.array([len(rows) for rows in split.targets()])
    if not mosaic:
        return max(1, int(counts.max()))
    draws = np.random.default_rng(0).choice(counts, (20_000, 4))
    return max(1, int(counts.max()), int(draws.sum(axis=1).max()))


def pad(boxes, rows):
    """Boxes of several images as one array (images, rows, 5 or 6), the class of the rest -1."""
    padded = np.full((len(boxes), rows, max([5, *(found.shape[-1] for found in boxes)])), -1, np.float32)
    for target, found in zip(padded, boxes, strict=True):
        target[: min(rows, len(found))] = found[:rows]
    return padded


def training_batches(
    split,
    *,
    batch_size,
    steps,
    epochs,
    first_epoch=0,
    seed=0,
    mosaic=1.0,
    close_mosaic=10,
    scale=0.5,
    translate=0.1,
    flip="horizontal",
    hue=0.015,
    saturation=0.7,
    brightness=0.4,
):
    """One stream of all epochs, without an end between two: float32 images in [0, 1], targets (batch, boxes, 5 or 6).

    The order and the augmentation of a batch depend on nothing but the seed, the epoch and its number.

    Args:
        split: The `Split`.
        batch_size: Images per batch.
        steps: Batches per epoch, at most count // batch_size.
        epochs: Number of epochs of the whole training.
        first_epoch: Where a resumed training goes on.
        seed: Seed of order and augmentation.
        mosaic: Share of the images that are put together from four.
        close_mosaic: Number of last epochs without mosaic.
        scale: Images are drawn by a factor of 1 - scale to 1 + scale.
        translate: Images are shifted by up to this share of their sides.
        flip: "none", "horizontal" or "both".
        hue, saturation, brightness: Largest relative change of each.
    """
    count, rows = len(split), most_boxes(split, mosaic > 0)
    targets = pad(split.targets(), max(1, max(len(one) for one in split.targets())))
    image_size = split.images.shape[1:3]

    def pick(chosen):
        return split.images[chosen], split.sizes[chosen], targets[chosen]

    def picked(chosen):
        pixels, sizes, found = tf.numpy_function(pick, [chosen], (tf.uint8, tf.int32, tf.float32), stateful=False)
        flat = tf.shape(chosen)[0]
        pixels = tf.reshape(pixels, (flat, *image_size, 3))
        return pixels, tf.reshape(sizes, (flat, 2)), tf.reshape(found, (flat, *targets.shape[1:]))

    def batch(step, chosen):
        key = tf.stack([seed, step])
        others = draws.uniform((chosen.shape[0], 3), [seed + 1, step], 0, count, tf.int32)
        alone = draws.uniform((chosen.shape[0],), [seed + 2, step]) >= mosaic
        alone = tf.logical_or(alone, step >= (epochs - close_mosaic) * steps)
        four = tf.concat([tf.cast(chosen, tf.int32)[:, None], others], axis=1)
        pixels, sizes, found = picked(tf.reshape(four, (-1,)))
        options = {"scale": scale, "translate": translate, "flip": flip, "rows": rows}
        x, y = compose(pixels, sizes, found, alone, key, image_size, **options)
        if hue or saturation or brightness:
            x = jitter(x, [seed + 3, step], hue, saturation, brightness)
        return x, y

    return image_data.stream(
        batch, count, batch_size=batch_size, steps=steps, epochs=epochs, first_epoch=first_epoch, seed=seed
    )
