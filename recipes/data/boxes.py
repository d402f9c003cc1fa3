"""Images with boxes: folders in Pascal VOC, COCO JSON or YOLO form, tensorflow-datasets, and embedded drawn scenes.

A split is held as uint8 images whose longest side fits the network, so nothing is decoded twice. A training batch is
made from them by one bilinear look-up per mosaic tile: mosaic, scale, translation and flips are one transform, and the
boxes go through the same numbers.
"""

import atexit
import json
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf
from PIL import Image

from recipes.data import images as data

SPLITS = data.SPLITS
GREY = 114  # what is outside an image
OFFLINE = "without a network: --dataset scenes, or --dataset FOLDER in the form of Pascal VOC, COCO or YOLO"
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
    """

    images: np.ndarray
    sizes: np.ndarray
    originals: np.ndarray
    boxes: list
    files: list

    def __len__(self):
        return len(self.images)

    def take(self, chosen):
        """The images of these indices."""
        chosen = [int(index) for index in chosen]
        parts = [[values[index] for index in chosen] for values in (self.boxes, self.files)]
        return Split(self.images[chosen], self.sizes[chosen], self.originals[chosen], *parts)


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
            boxes = [np.concatenate([b[:, :4], places[b[:, 4].astype(int), None]], axis=1) for b in split.boxes]
            splits[name] = replace(split, boxes=[b[b[:, 4] >= 0] for b in boxes])
        unknown = [name for name in self.class_names if name not in class_names]
        if unknown:
            left_out = before - sum(len(b) for split in splits.values() for b in split.boxes)
            faults[f"left out: the model does not know {', '.join(unknown)}"] = left_out
        return replace(self, class_names=tuple(class_names), splits=splits, faults=faults)

    def split(self, name):
        """The `Split` named "train", "validation" (also "val"), "test" or "all"."""
        name = {"val": "validation"}.get(name, name)
        if name == "all":
            parts = list(self.splits.values())
            arrays = [np.concatenate([getattr(one, key) for one in parts]) for key in ("images", "sizes", "originals")]
            lists = ([item for one in parts for item in getattr(one, key)] for key in ("boxes", "files"))
            return Split(*arrays, *lists)
        if name == "validation" and list(self.splits) == ["train"] and len(self.splits["train"]) == 1:
            raise ValueError(f"{self.name} has 1 image to train on: 2 are needed, one of them for validation")
        if name not in self.splits:
            raise ValueError(f"{self.name} has no split {name!r}: there are {', '.join(self.splits)}, all")
        return self.splits[name]


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
        from recipes.data import figures

        source = figures.source(_needed(splits, figures.COUNTS))
    elif Path(dataset).is_dir():
        source = _folder(Path(dataset), unlabelled, splits)
    elif dataset.startswith((".", "/", "~")) or dataset.endswith("/"):
        raise ValueError(f"there is no folder {dataset}")
    else:
        source = _tfds(dataset, data_dir, manual_dir)
    return _prepare(source, image_size if len(image_size) == 2 else _shape(source, *image_size), classes, splits)


@dataclass
class Source:
    """A data set as it is found: which images there are and what is on them.

    Attributes:
        name, class_names, version, licence, form: As in `BoxDataset`.
        splits: Split name to a list of (file, read, rows): `read` gives the PIL image, and rows are boxes
            (left, top, right, lower, class name) in its pixels, or in shares of its sides where `relative`.
        relative: Whether boxes are given in shares of the image's sides.
        faults: Boxes that were dropped already, by kind.
    """

    name: str
    class_names: tuple
    splits: dict
    version: str = ""
    licence: str = ""
    form: str = ""
    relative: bool = False
    faults: dict = field(default_factory=dict)


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
        name: _read(rows, image_size, class_names, set(source.class_names), source.relative, faults)
        for name, rows in entries.items()
    }
    if not any(len(boxes) for split in found.values() for boxes in split.boxes):
        raise ValueError(f"{source.name} has no box of the classes {', '.join(class_names)}")
    ordered = {name: found[name] for name in SPLITS if name in found}
    return BoxDataset(source.name, class_names, ordered, source.version, source.licence, faults, source.form)


def chosen(names, known):
    """Names of classes as people give them, one by one or with commas between them."""
    return tuple(part for name in names for part in ([name] if name in known else name.split(",")))


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


def _read(rows, image_size, class_names, known, relative, faults):
    """Reads and shrinks images, and brings their boxes along."""
    shape = (len(rows), *image_size, 3)
    if np.prod(shape) > IN_MEMORY:
        folder = tempfile.mkdtemp(prefix="zoo-images-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        pixels = np.memmap(Path(folder, "images"), np.uint8, "w+", shape=shape)
    else:
        pixels = np.full(shape, GREY, np.uint8)
    sizes, originals = np.zeros((len(rows), 2), np.int32), np.zeros((len(rows), 2), np.int32)
    boxes = [None] * len(rows)

    def one(index):
        _, read, objects = rows[index]
        image = read()
        originals[index] = image.height, image.width
        small = shrink(image, image_size)
        sizes[index] = small.shape[:2]
        pixels[index, : small.shape[0], : small.shape[1]] = small
        unit = (1, 1) if not relative else (image.width, image.height)
        rows_in_pixels = [(x1 * unit[0], y1 * unit[1], x2 * unit[0], y2 * unit[1], n) for x1, y1, x2, y2, n in objects]
        kept, wrong = clean(rows_in_pixels, (image.height, image.width), class_names, known)
        scale = np.array([small.shape[1] / image.width, small.shape[0] / image.height] * 2 + [1], np.float32)
        boxes[index] = kept * scale
        return wrong

    with ThreadPoolExecutor() as pool:
        for wrong in pool.map(one, range(len(rows))):
            for kind, count in wrong.items():
                faults[kind] = faults.get(kind, 0) + count
    return Split(pixels, sizes, originals, boxes, [str(file) for file, _, _ in rows])


def clean(rows, size, class_names, known):
    """Boxes that can be used: (float32 (boxes, 5), how many were clipped or dropped by kind).

    Args:
        rows: (left, top, right, lower, class name) in pixels.
        size: (height, width) of the image.
        class_names: Classes to keep; the class becomes its place among them.
        known: All classes of the data set; another one is a fault.
    """
    height, width = size
    faults, kept = {}, []
    for left, top, right, lower, name in rows:
        kind = None
        inside = [min(max(left, 0), width), min(max(top, 0), height), min(max(right, 0), width)]
        inside.append(min(max(lower, 0), height))
        if name not in known:
            kind = "dropped: unknown class"
        elif not (np.isfinite([left, top, right, lower]).all() and right > left and lower > top):
            kind = "dropped: no area"
        elif inside[2] - inside[0] < 1 or inside[3] - inside[1] < 1:
            kind = "dropped: outside the image"
        else:
            # the edge may be counted from 1: a pixel too far is no fault
            if max(-left, -top, right - width, lower - height) > 1:
                kind = "clipped to the image"
            if name in class_names:
                kept.append([*inside, class_names.index(name)])
        if kind:
            faults[kind] = faults.get(kind, 0) + 1
    return np.array(kept, np.float32).reshape(-1, 5), faults


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
    page = np.full((*image_size, 3), GREY, np.uint8)
    page[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return page, (left, top)


def letterboxed(split):
    """A split as a detector sees it: uint8 images with each in the middle, and boxes (boxes, 5) in their pixels."""
    pages, boxes = [], []
    for pixels, (height, width), rows in zip(split.images, split.sizes, split.boxes, strict=True):
        page, (left, top) = letterbox(pixels[:height, :width], split.images.shape[1:3])
        pages.append(page)
        boxes.append(rows + np.float32([left, top, left, top, 0]))
    return np.stack(pages), boxes


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


# Folders


def _folder(folder, unlabelled, wanted):
    """Tells the form of a folder by its files."""
    paths = sorted(path for path in folder.rglob("*") if not any(p[0] == "." for p in path.relative_to(folder).parts))
    pictures = [path for path in paths if path.suffix.lower() in data.SUFFIXES]
    if not pictures:
        raise ValueError(f"{folder} has no images (PNG, JPEG, BMP, GIF, WebP, TIFF)")
    xml = [path for path in paths if path.suffix.lower() == ".xml"]
    collections = [path for path in paths if path.suffix.lower() == ".json"]
    texts = [path for path in paths if path.suffix.lower() == ".txt" and _is_labels(path)]
    if xml:
        return _voc(folder, pictures, xml, wanted)
    collections = {path: _read_json(path) for path in collections}  # one that does not parse is named
    collections = {path: value for path, value in collections.items() if _is_coco(value)}
    if collections:
        return _coco(folder, pictures, collections)
    if texts:
        return _yolo(folder, pictures, texts, unlabelled)
    raise ValueError(
        f"{folder} has images but no boxes: Pascal VOC has Annotations/*.xml, COCO a .json with images, annotations "
        "and categories, YOLO labels/*.txt beside images/"
    )


def _split_of(path, folder):
    """The split that a path's folders speak of, or None."""
    names = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
    for part in reversed(path.relative_to(folder).parts):
        word = "".join(mark for mark in Path(part).stem.lower() if mark.isalpha() or mark == "_")
        for token in word.split("_"):
            if token in names:
                return names[token]
    return None


def _by_stem(paths):
    """Files by their name without suffix; the same name may occur in several folders."""
    found = {}
    for path in paths:
        found.setdefault(path.stem, []).append(path)
    return found


def _nearest(found, path, folder):
    """Of the files with a path's stem, the one whose split is the same."""
    candidates = found.get(path.stem, [])
    same = [one for one in candidates if _split_of(one, folder) == _split_of(path, folder)]
    return (same or candidates or [None])[0]


def _voc(folder, pictures, xml, wanted):
    by_stem = _by_stem(pictures)
    labels = _by_stem(xml)
    lists = sorted(folder.rglob("ImageSets/Main/*.txt"))
    lists = {path.stem: path for path in lists if path.stem in ("train", "val", "trainval", "test")}
    if "train" in lists and "trainval" in lists:
        lists.pop("trainval")  # the two together
    pairs = {}
    if lists:
        lists = {{"val": "validation", "trainval": "train"}.get(stem, stem): path for stem, path in lists.items()}
        for split, path in lists.items():
            if split not in _needed(wanted, lists):  # the files of a split that nobody asked for may be elsewhere
                continue
            names = [line.split()[0] for line in _text(path).splitlines() if line.strip()]
            names = [name if name in labels else Path(name).stem for name in names]  # some write the suffix
            for name in names:
                if name not in labels:
                    raise ValueError(f"{path} names {name}, which has no annotation {name}.xml")
                if name not in by_stem:
                    raise ValueError(f"{labels[name][0]} has no image {name}.* in {folder}")
            pairs[split] = [(by_stem[name][0], labels[name][0]) for name in names]
        if "train" in pairs and lists["train"].stem == "trainval":  # what is validated on is not trained on
            pairs["train"] = [pair for pair in pairs["train"] if pair not in pairs.get("validation", ())]
    else:
        for path in xml:
            picture = _nearest(by_stem, path, folder)
            if picture is None:
                raise ValueError(f"{path} has no image {path.stem}.* in {folder}")
            pairs.setdefault(_split_of(path, folder) or "train", []).append((picture, path))
        without = [path for path in pictures if path.stem not in labels]
        if without:
            raise ValueError(f"{without[0]} has no annotation {without[0].stem}.xml in {folder}")
    splits, names = {}, set()
    for split, entries in pairs.items():
        splits[split] = []
        for picture, annotation in entries:
            rows = _read_xml(annotation)
            names.update(row[4] for row in rows)
            splits[split].append((picture, _reader(picture), rows))
    return Source(folder.resolve().name, tuple(sorted(names)), splits, form="Pascal VOC", licence=_licence(folder))


def _needed(wanted, present):
    """The splits to read for those that are wanted."""
    needed = {name.rstrip("?") for name in wanted or present}
    if "validation" in needed and "validation" not in present:
        needed.add("train")  # it is cut from there
    elif "train" in needed:
        needed.add("validation")  # or it would be cut from there
    return needed if needed & set(present) else set(present)


def _reader(path):
    return lambda: data.open_image(path)


def _read_xml(path):
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not XML that can be read: {error}") from None
    rows = []
    for item in root.iter("object"):
        name, box = item.findtext("name"), item.find("bndbox")
        try:
            sides = [float(box.findtext(key)) for key in ("xmin", "ymin", "xmax", "ymax")]
        except (AttributeError, TypeError, ValueError):
            raise ValueError(
                f"{path}: an object needs a bndbox with xmin, ymin, xmax and ymax as numbers, object {len(rows) + 1} "
                "has none"
            ) from None
        if not (name or "").strip():
            raise ValueError(f"{path}: object {len(rows) + 1} has no name")
        rows.append((*sides, name.strip()))
    return rows


def _read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON that can be read: {error}") from None


def _is_coco(value):
    return isinstance(value, dict) and all(
        isinstance(value.get(key), list) for key in ("images", "annotations", "categories")
    )


def _coco(folder, pictures, collections):
    by_name = {}
    for path in pictures:
        by_name.setdefault(path.name, []).append(path)
    splits, names, crowds = {}, [], 0
    for path, value in collections.items():
        try:
            labels = {item["id"]: str(item["name"]) for item in value["categories"]}
            rows = {item["id"]: [] for item in value["images"]}
            for item in value["annotations"]:
                if item.get("iscrowd"):  # a region with many of them, not one object
                    crowds += 1
                    continue
                if item["image_id"] not in rows:
                    raise ValueError(f"{path}: an annotation is of the image {item['image_id']}, which is not listed")
                left, top, width, height = _numbers(item["bbox"], path)
                label = labels.get(item["category_id"], f"category {item['category_id']}")
                rows[item["image_id"]].append((left, top, left + width, top + height, label))
            listed = [(item["id"], Path(item["file_name"]).name) for item in value["images"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not COCO: an entry lacks {error}") from None
        used = {name for found in rows.values() for *_, name in found}
        names += [name for name in labels.values() if name not in names and name in used]
        entries = splits.setdefault(_split_of(path, folder) or "train", [])
        for number, file in listed:
            if file not in by_name:
                raise ValueError(f"{path} lists the image {file}, which is not in {folder}")
            near = [one for one in by_name[file] if _split_of(one, folder) == _split_of(path, folder)]
            picture = (near or by_name[file])[0]
            entries.append((picture, _reader(picture), rows[number]))
    return Source(
        folder.resolve().name,
        tuple(names),
        splits,
        form="COCO",
        licence=_licence(folder),
        faults={"dropped: crowd": crowds} if crowds else {},
    )


def _numbers(box, path):
    try:
        left, top, width, height = map(float, box)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: a bbox is left, top, width and height as numbers, got {str(box)[:60]}") from None
    return left, top, width, height


def _is_labels(path):
    """Whether a text file lies where labels of the YOLO form lie, or begins like one."""
    if path.stem.lower() in ("classes", "obj", "names", "train", "val", "test", "trainval", "readme", "requirements"):
        return False
    if any("label" in part.lower() for part in path.parts[:-1]):
        return True
    first = path.read_text(encoding="utf-8", errors="replace").split("\n")[0].split()
    return len(first) == 5 and all(_is_number(word) for word in first)


def _is_number(word):
    try:
        return np.isfinite(float(word))
    except ValueError:
        return False


def _yolo(folder, pictures, texts, unlabelled):
    by_stem, labels = _by_stem(pictures), _by_stem(texts)
    names = _yolo_names(folder)
    splits, top = {}, -1
    for path in texts:
        if path.stem not in by_stem:
            raise ValueError(f"{path} has no image {path.stem}.* in {folder}")
    without = []
    for picture in pictures:
        path = _nearest(labels, picture, folder)
        rows = []
        if path is None:
            without.append(picture)
            if unlabelled == "skip":
                continue
        else:
            rows = _read_yolo(path)
            top = max([top, *(row[4] for row in rows)])
        splits.setdefault(_split_of(picture, folder) or "train", []).append((picture, _reader(picture), rows))
    if without and unlabelled == "refuse":
        raise ValueError(
            f"{without[0]} has no label file {without[0].stem}.txt ({len(without)} images have none): where nothing is "
            "on them, --unlabelled background, else --unlabelled skip"
        )
    if without:
        print(f"{len(without)} images have no label file and are {unlabelled}: {without[0]} ...", file=sys.stderr)
    names = names or tuple(f"class {number}" for number in range(top + 1))
    for rows in splits.values():
        for index, (picture, read, boxes) in enumerate(rows):
            named = [(*box, names[n] if 0 <= n < len(names) else f"class {n}") for *box, n in boxes]
            rows[index] = picture, read, named
    source = Source(folder.resolve().name, tuple(names), splits, form="YOLO", relative=True)
    source.licence = _licence(folder)
    return source


def _read_yolo(path):
    """Boxes of one label file: (left, top, right, lower, class) in shares of the image's sides."""
    rows = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 5 or not all(map(_is_number, words)) or float(words[0]) % 1:
            raise ValueError(f"{path}, line {number}: expected class, x, y, width and height, got {line[:60]!r}")
        label, x, y, width, height = map(float, words)
        rows.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2, int(label)))
    return rows


def _yolo_names(folder):
    """Names of the classes, from data.yaml, classes.txt, obj.names or the like; none where there is no such file."""
    for pattern in ("*.yaml", "*.yml"):
        for path in sorted(folder.glob(pattern)):
            import yaml

            try:
                value = yaml.safe_load(_text(path))
            except yaml.YAMLError as error:
                raise ValueError(f"{path} is not YAML that can be read: {' '.join(str(error).split())}") from None
            names = value.get("names") if isinstance(value, dict) else None
            if isinstance(names, dict):
                names = [names[key] for key in sorted(names)]
            if names:
                return tuple(map(str, names))
    for name in ("classes.txt", "obj.names", "labels.txt"):
        for path in sorted(folder.rglob(name)):
            return tuple(line.strip() for line in _text(path).splitlines() if line.strip())
    return ()


def _text(path):
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text") from None


def _licence(folder):
    """First line of the folder's licence file, or ""."""
    for path in sorted(folder.glob("LICEN[CS]E*")):
        if path.is_file():
            return (_text(path).strip().splitlines() or [""])[0].strip()
    return ""


def _tfds(dataset, data_dir, manual_dir):
    """A set of tensorflow-datasets with "objects" of boxes and labels."""
    import tensorflow_datasets as tfds

    builder = data.tfds_builder(dataset, data_dir, embedded="scenes")
    features = builder.info.features
    objects = features["objects"] if "objects" in features else None  # noqa: SIM401, it has no get
    objects = getattr(objects, "feature", objects)
    if "image" not in features or objects is None or "bbox" not in objects or "label" not in objects:
        raise ValueError(f"{dataset} is not a set of images with boxes: it has {', '.join(features)}")
    data.download(builder, manual_dir, OFFLINE)
    names, crowds = objects["label"].names, 0
    splits = {}
    for split in (name for name in SPLITS if name in builder.info.splits):
        examples = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
        rows = splits[split] = []
        for number, example in enumerate(tfds.as_numpy(examples)):
            found = example["objects"]
            crowd = found.get("is_crowd", np.zeros(len(found["label"]), bool))
            crowds += int(crowd.sum())
            boxes = [
                (left, top, right, lower, names[label])
                for (top, left, lower, right), label, many in zip(found["bbox"], found["label"], crowd, strict=True)
                if not many
            ]
            name = example.get("image/filename", str(number).encode()).decode()
            rows.append((name, _decoder(bytes(example["image"]), name), boxes))
        if split == "test" and not any(boxes for *_, boxes in rows):  # coco keeps its labels to itself
            splits.pop(split)
    return Source(
        dataset,
        tuple(names),
        splits,
        str(builder.info.version),
        builder.info.redistribution_info.license or "",
        "tensorflow-datasets",
        relative=True,
        faults={"dropped: crowd": crowds} if crowds else {},
    )


def _decoder(content, name):
    import io

    return lambda: data.open_image(io.BytesIO(content))


# Batches


def most_boxes(split, mosaic):
    """Rows of boxes that a batch needs: the most of one image, or of the four of a mosaic (as far as drawn here)."""
    counts = np.array([len(rows) for rows in split.boxes])
    if not mosaic:
        return max(1, int(counts.max()))
    draws = np.random.default_rng(0).choice(counts, (20_000, 4))
    return max(1, int(counts.max()), int(draws.sum(axis=1).max()))


def pad(boxes, rows):
    """Boxes of several images as one array (images, rows, 5), the class of the rest -1."""
    padded = np.full((len(boxes), rows, 5), -1, np.float32)
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
    """One endless-looking stream over all epochs: float32 images in [0, 1] and targets (batch, boxes, 5).

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
    targets = pad(split.boxes, max(1, max(len(one) for one in split.boxes)))
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
        others = tf.random.stateless_uniform((batch_size, 3), [seed + 1, step], 0, count, tf.int32)
        alone = tf.random.stateless_uniform((batch_size,), [seed + 2, step]) >= mosaic
        alone = tf.logical_or(alone, step >= (epochs - close_mosaic) * steps)
        four = tf.concat([tf.cast(chosen, tf.int32)[:, None], others], axis=1)
        pixels, sizes, found = picked(tf.reshape(four, (-1,)))
        options = {"scale": scale, "translate": translate, "flip": flip, "rows": rows}
        x, y = compose(pixels, sizes, found, alone, key, image_size, **options)
        if hue or saturation or brightness:
            x = jitter(x, [seed + 3, step], hue, saturation, brightness)
        return x, y

    return data.stream(
        batch, count, batch_size=batch_size, steps=steps, epochs=epochs, first_epoch=first_epoch, seed=seed
    )


def compose(pixels, sizes, boxes, alone, key, image_size, *, scale, translate, flip, rows, least=0.1):
    """Images put together from four each, or one alone, scaled, shifted and flipped, and their boxes.

    Args:
        pixels: uint8 (4 * batch, height, width, 3), each image in the upper left corner.
        sizes: int32 (4 * batch, 2), height and width of each image there.
        boxes: float32 (4 * batch, boxes, 5).
        alone: bool (batch,): whether only the first of four is shown.
        key: Seed, int32 (2,).
        image_size: (height, width) of the result.
        scale, translate, flip: See `training_batches`.
        rows: Boxes of the result.
        least: Share of its area that must be left of a box, or it is dropped.

    Returns:
        (float32 (batch, height, width, 3) in [0, 1], float32 (batch, rows, 5), class -1 where there is no box).
    """
    side = tf.constant([image_size[1], image_size[0]], tf.float32)  # x, y
    batch = tf.shape(alone)[0]
    draw = tf.random.stateless_uniform((batch, 7), key)
    # the mosaic's centre on a page of twice the size, in shares; an image alone is all to the left of and above it
    centre = tf.where(alone[:, None], 1e6, (0.5 + draw[:, :2]) * side)
    factor = 1 + scale * (2 * draw[:, 2:3] - 1)
    turned = {"none": [0.0, 0.0], "horizontal": [0.5, 0.0], "both": [0.5, 0.5]}[flip]
    sign = tf.where(draw[:, 5:7] < turned, -1.0, 1.0)
    per_pixel = sign / factor  # page pixels per pixel of the result
    sizes = tf.cast(tf.reshape(sizes, (batch, 4, 2)), tf.float32)[..., ::-1]  # x, y
    middle = tf.where(alone[:, None], sizes[:, 0] / 2, side)  # what comes to the centre of the result
    shift = middle - per_pixel * (side / 2 + translate * (2 * draw[:, 3:5] - 1) * side)
    # where each tile begins on the page: left above, right above, left below, right below of the centre
    right, below = tf.constant([0.0, 1, 0, 1]), tf.constant([0.0, 0, 1, 1])
    outer = tf.stack([1 - right, 1 - below], axis=-1)
    origin = tf.where(alone[:, None, None], 0.0, centre[:, None] - outer * sizes)

    # the look-up leads from the centres of the result's pixels to those of the tile
    offset = shift[:, None] - origin + (0.5 * per_pixel - 0.5)[:, None]
    zero = tf.zeros((batch, 4))
    a, e = (tf.broadcast_to(per_pixel[:, None, axis], (batch, 4)) for axis in (0, 1))
    transforms = tf.stack([a, zero, offset[..., 0], zero, e, offset[..., 1], zero, zero], axis=-1)
    tiles = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pixels, tf.float32),
        transforms=tf.reshape(transforms, (-1, 8)),
        output_shape=image_size,
        fill_value=float(GREY),
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    tiles = tf.reshape(tiles, (batch, 4, *image_size, 3))
    inside = []
    for axis, length in ((0, image_size[1]), (1, image_size[0])):
        place = tf.range(length, dtype=tf.float32) + 0.5
        on_tile = place * per_pixel[:, None, axis, None] + shift[:, None, axis, None] - origin[..., axis, None]
        inside.append(tf.logical_and(on_tile >= 0, on_tile < sizes[..., axis, None]))
    show = tf.logical_and(inside[1][..., :, None], inside[0][..., None, :])
    show = tf.logical_and(show, tf.logical_or(tf.range(4) == 0, ~alone[:, None])[..., None, None])
    image = tf.reduce_max(tf.where(show[..., None], tiles, 0.0), axis=1)  # each pixel is on one tile at most
    image = tf.where(tf.reduce_any(show, axis=1)[..., None], image, float(GREY))

    # boxes: from the tile to the page to the result
    boxes = tf.reshape(boxes, (batch, 4, -1, 5))
    label = tf.where(tf.logical_and(alone[:, None], tf.range(4) > 0)[..., None], -1.0, boxes[..., 4])
    corners = tf.reshape(boxes[..., :4], (batch, 4, -1, 2, 2)) + origin[:, :, None, None]
    corners = (corners - shift[:, None, None, None]) / per_pixel[:, None, None, None]
    low, high = tf.reduce_min(corners, axis=3), tf.reduce_max(corners, axis=3)
    seen_low, seen_high = tf.clip_by_value(low, 0.0, side), tf.clip_by_value(high, 0.0, side)
    area = tf.reduce_prod(high - low, axis=-1)
    left = tf.reduce_prod(seen_high - seen_low, axis=-1)
    large = tf.reduce_min(seen_high - seen_low, axis=-1) >= 2
    keep = (label >= 0) & large & (left >= least * area)
    result = tf.concat([seen_low, seen_high, tf.where(keep, label, -1.0)[..., None]], axis=-1)
    result = tf.reshape(result, (batch, -1, 5))
    order = tf.argsort(tf.cast(result[..., 4] < 0, tf.int32), axis=1, stable=True)[:, :rows]
    result = tf.gather(result, order, batch_dims=1)
    result = tf.pad(result, [[0, 0], [0, tf.maximum(0, rows - tf.shape(result)[1])], [0, 0]], constant_values=-1.0)
    return image / 255.0, tf.ensure_shape(result, (None, rows, 5))


def jitter(images, key, hue, saturation, brightness):
    """Each image of a batch in other colours: hue turned, saturation and brightness times a factor."""
    draw = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1, 3), key, -1.0, 1.0)
    h, s, v = tf.split(tf.image.rgb_to_hsv(images), 3, axis=-1)
    h = tf.math.floormod(h + hue * draw[..., :1], 1.0)
    s = tf.clip_by_value(s * (1 + saturation * draw[..., 1:2]), 0.0, 1.0)
    v = tf.clip_by_value(v * (1 + brightness * draw[..., 2:]), 0.0, 1.0)
    return tf.image.hsv_to_rgb(tf.concat([h, s, v], axis=-1))
