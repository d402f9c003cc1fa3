"""Images with a class for each pixel: drawn road scenes, folders, CamVid, Cityscapes and tensorflow-datasets.

A split is held in memory as uint8, all images of one size: the pipeline then costs a gather and one affine transform
per batch, for image and mask alike. A mask holds the number of the class, or `IGNORE` where a pixel does not count.
"""

import csv
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from recipes.data import images as image_data
from recipes.data import notes
from recipes.data import splits as split_data

IGNORE = 255
ORIENTATIONS = {  # of EXIF, those that change more than nothing
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SPLITS = split_data.ORDER
MEMORY = 3e9  # bytes of a split above which large images are halved, unless a size is given
LICENCES = {"camvid": "CC BY-NC 4.0", "cityscapes": "Cityscapes terms of use", "oxford_iiit_pet": "CC BY-SA 4.0"}

# the 19 classes of Cityscapes with the palette of its authors, and which of its 34 label ids each one is
CITYSCAPES = {
    "road": ((128, 64, 128), 7),
    "sidewalk": ((244, 35, 232), 8),
    "building": ((70, 70, 70), 11),
    "wall": ((102, 102, 156), 12),
    "fence": ((190, 153, 153), 13),
    "pole": ((153, 153, 153), 17),
    "traffic light": ((250, 170, 30), 19),
    "traffic sign": ((220, 220, 0), 20),
    "vegetation": ((107, 142, 35), 21),
    "terrain": ((152, 251, 152), 22),
    "sky": ((70, 130, 180), 23),
    "person": ((220, 20, 60), 24),
    "rider": ((255, 0, 0), 25),
    "car": ((0, 0, 142), 26),
    "truck": ((0, 0, 70), 27),
    "bus": ((0, 60, 100), 28),
    "train": ((0, 80, 100), 31),
    "motorcycle": ((0, 0, 230), 32),
    "bicycle": ((119, 11, 32), 33),
}
# CamVid's 11 classes in the order of its labels, each with the colour of the class of Cityscapes that is most like it
CAMVID = {
    "Sky": "sky",
    "Building": "building",
    "Pole": "pole",
    "Road": "road",
    "Pavement": "sidewalk",
    "Tree": "vegetation",
    "SignSymbol": "traffic sign",
    "Fence": "fence",
    "Car": "car",
    "Pedestrian": "person",
    "Bicyclist": "bicycle",
}
LAYOUTS = (
    "train/ and trainannot/ (CamVid), leftImg8bit/ and gtFine/ (Cityscapes), or images/, masks/ and classes.csv, these "
    "two also inside train/, validation/ and test/"
)


@dataclass(frozen=True)
class Classes:
    """What the values of a mask file mean.

    Attributes:
        names: One name per class.
        colours: One (red, green, blue) per class, 0 to 255.
        lookup: uint8 (256,): the class of each value in a file, `IGNORE` where it does not count.
        known: The values that a file may hold.
        by_colour: Colours of an RGB mask to class or `IGNORE`.
        coloured: Whether the colours are those of the user, so that a palette of them speaks of classes.
    """

    names: tuple
    colours: tuple
    lookup: np.ndarray
    known: frozenset
    by_colour: dict = field(default_factory=dict)
    coloured: bool = False


@dataclass(frozen=True)
class MaskDataset:
    """A data set in memory.

    Attributes:
        name: Its name, or the name of its folder.
        class_names: One name per class, in the order of the labels.
        colours: One (red, green, blue) per class.
        splits: Split name to (images, masks): uint8 (count, height, width, channels) and uint8 (count, height, width).
        names: Split name to the names of the images.
        version: Version as its publisher gives it, or "".
        licence: Licence as its publisher gives it, or "".
        skipped: Nothing: a data set with a bad file is refused.
    """

    name: str
    class_names: tuple
    colours: tuple
    splits: dict
    names: dict
    version: str = ""
    licence: str = ""
    skipped: tuple = ()

    @property
    def image_shape(self):
        return next(iter(self.splits.values()))[0].shape[1:]

    def split(self, name):
        """(images, masks) of "train", "validation" (or "val"), "test" or "all"."""
        if name == "all":
            images, masks = zip(*self.splits.values(), strict=True)
            return np.concatenate(images), np.concatenate(masks)
        name = {"val": "validation"}.get(name, name)
        if name not in self.splits:
            raise ValueError(f"{self.name} has no split {name!r}; accepted: {', '.join(self.splits)}, all")
        return self.splits[name]

    def names_of(self, name):
        """Names of the images of a split."""
        if name == "all":
            return [one for names in self.names.values() for one in names]
        return self.names[{"val": "validation"}.get(name, name)]

    @property
    def measured(self):
        """The split that says how good a model is: "test" where there is one."""
        return next(name for name in ("test", "validation", "train") if name in self.splits)


def load(dataset, *, size=None, channels=3, data_dir=None, manual_dir=None, only=None):
    """Loads a data set.

    Args:
        dataset: "scenes" (embedded), "camvid" (with `data_dir`), "cityscapes" (with `data_dir`, or with the archives
            in `manual_dir`), a folder in one of the `LAYOUTS`, or a set of tensorflow-datasets with masks.
        size: (height, width) to bring images and masks to, with a border that does not count where the proportions
            differ. None keeps their own, where they have one size; a set too large for memory is halved.
        channels: 3 for colour, 1 for grey.
        data_dir: Folder of camvid or cityscapes, else where tensorflow-datasets keeps its files.
        manual_dir: Folder with the original files of a set of tensorflow-datasets.
        only: The one split that is needed, to save reading the others; None for all.

    Returns:
        A `MaskDataset`. Where a set is not divided, "validation" and "test" are cut from it in the same way each time.

    Raises:
        ValueError: If there is no such data set, or an image and its mask do not go together; it names the file.
    """
    if size is not None and (len(size) != 2 or min(size) < 8):
        raise ValueError(f"size is height and width, 8 or more, got {tuple(size)}")
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    if manual_dir is not None and not Path(manual_dir).is_dir():
        raise ValueError(f"there is no folder {manual_dir} (manual_dir)")
    only = {"val": "validation", "all": None}.get(only, only)
    if dataset == "scenes":
        return _load_scenes(size, channels, only)
    if dataset == "camvid" and data_dir is None:
        raise ValueError(
            "camvid needs --data-dir FOLDER, which holds train/ trainannot/ val/ valannot/ or some of them"
        )
    if dataset == "camvid" and not Path(data_dir).is_dir():
        raise ValueError(f"there is no folder {data_dir} (data_dir)")
    if dataset == "camvid" or (dataset == "cityscapes" and data_dir and Path(data_dir, "leftImg8bit").is_dir()):
        return _load_folder(Path(data_dir), dataset, size, channels, only)
    if Path(dataset).is_dir():
        return _load_folder(Path(dataset), None, size, channels, only)
    if dataset.startswith((".", "/", "~")) or dataset.endswith("/"):
        raise ValueError(f"there is no folder {dataset}")
    return _load_tfds(dataset, size, channels, data_dir, manual_dir, only)


# Folders


def _load_folder(folder, name, size, channels, only):
    kind, pairs = _pairs(folder, only)
    if name == "camvid" and kind != "camvid":
        raise ValueError(f"{folder} has not the layout of camvid: train/ trainannot/ val/ valannot/ test/ testannot/")
    if not any(pairs.values()):
        wanted = f" for the split {only}" if only else ""
        raise ValueError(f"{folder} has no images{wanted}: accepted are {LAYOUTS}")
    if kind == "cityscapes":
        name = name or "cityscapes"
        classes = cityscapes_classes()
    elif kind == "camvid" and not (folder / "classes.csv").is_file():
        classes = camvid_classes()
    else:
        classes = read_classes(folder / "classes.csv")
        classes = _two_values([pair for found in pairs.values() for pair in found], classes)
    name = name or folder.resolve().name
    size = size or _common_size([image for split in pairs.values() for image, _ in split], channels)
    splits, names = {}, {}
    for split, found in pairs.items():
        with notes.gathered(), ThreadPoolExecutor() as pool:
            read = list(pool.map(lambda pair: fit(*read_pair(*pair, classes, channels), size), found))
        splits[split] = np.stack([image for image, _ in read]), np.stack([mask for _, mask in read])
        names[split] = [image.name for image, _ in found]
    splits, names = _complete(splits, names, only)
    if "train" in splits:
        absent = np.flatnonzero(np.bincount(splits["train"][1].ravel(), minlength=256)[: len(classes.names)] == 0)
        if len(absent):
            listed = ", ".join(classes.names[index] for index in absent)
            print(f"warning: {name} has no pixel of {listed} in its training split", file=sys.stderr)
    return MaskDataset(name, classes.names, classes.colours, splits, names, licence=LICENCES.get(name, ""))


def _pairs(folder, only):
    """(layout, split name to [(image, mask)]) of a folder."""
    wanted = [split for split in SPLITS if only in (None, split)]
    pairs = {}
    if (folder / "leftImg8bit").is_dir():
        for split in wanted:
            for part in sorted((folder / "leftImg8bit").iterdir()):
                if split_data.split_word(part.name) == split:
                    _add(pairs, split, _pair_cityscapes(folder, part.name))
        return "cityscapes", pairs
    below = sorted(path for path in folder.iterdir() if path.is_dir())
    splits = [(split_data.split_word(path.name), path) for path in below]
    if any(path.name.endswith("annot") and split_data.split_word(path.name.removesuffix("annot")) for path in below):
        for split, path in splits:
            if split in wanted:
                _add(pairs, split, _pair_by_name(path, folder / f"{path.name}annot"))
        for path in below:
            alone = path.name.removesuffix("annot")
            if alone != path.name and split_data.split_word(alone) and not (folder / alone).is_dir():
                raise ValueError(f"there is no folder {folder / alone}: images and masks are two folders side by side")
        return "camvid", pairs
    if any(split and (path / "images").is_dir() for split, path in splits):
        for split, path in splits:
            if split in wanted:
                _add(pairs, split, _pair_by_name(path / "images", path / "masks"))
        return "folders", pairs
    if (folder / "images").is_dir():
        found = _pair_by_name(folder / "images", folder / "masks")
        inside = {image: split_data.folder_split(image, folder / "images") for image, _ in found}
        if set(inside.values()) == {None}:
            return "folders", {"train": found}
        if None in inside.values():
            stray = next(image for image, split in inside.items() if split is None)
            raise ValueError(f"{stray} is in no split, others of {folder / 'images'} are: put it into one of them")
        for split in wanted:
            _add(pairs, split, [pair for pair in found if inside[pair[0]] == split])
        return "folders", pairs
    raise ValueError(f"{folder} has no images with masks: accepted are {LAYOUTS}")


def _add(pairs, split, found):
    if found:
        pairs[split] = pairs.get(split, []) + found


def _pair_by_name(image_folder, mask_folder):
    for folder in (image_folder, mask_folder):
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}: images and masks are two folders side by side")
    found = image_data.files(image_folder)
    if not found:
        raise ValueError(f"{image_folder} has no images ({image_data.KINDS})")
    masks = {path.relative_to(mask_folder).with_suffix("").as_posix(): path for path in image_data.files(mask_folder)}
    pairs = []
    for image in found:
        mask = masks.pop(image.relative_to(image_folder).with_suffix("").as_posix(), None)
        if mask is None:
            raise ValueError(f"{image} has no mask: {mask_folder / image.stem}.png is missing")
        pairs.append((image, mask))
    if masks:
        raise ValueError(f"{next(iter(masks.values()))} has no image of that name in {image_folder}")
    return pairs


def _pair_cityscapes(folder, split):
    found = sorted((folder / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
    pairs = []
    for image in found:
        name = image.name.replace("_leftImg8bit", "_gtFine_labelIds")
        mask = folder / "gtFine" / split / image.parent.name / name
        if not mask.is_file():
            raise ValueError(f"{image} has no mask: {mask} is missing")
        pairs.append((image, mask))
    return pairs


def _common_size(paths, channels):
    """Height and width of all images, halved until the split fits into memory; (256, 256) where they vary."""
    sizes = set()
    for path in paths:
        try:
            with Image.open(path) as image:
                sizes.add(image_data.upright_size(image))
        except OSError:
            continue  # reading it says what is wrong
    if len(sizes) != 1:
        if sizes:
            print(f"the images have {len(sizes)} sizes: they are brought to 256 x 256 (--size)", file=sys.stderr)
        return 256, 256
    ((width, height),) = sizes
    while len(paths) * height * width * (channels + 1) > MEMORY:
        height, width = height // 2, width // 2
        print(f"{len(paths):,} images are halved to {height} x {width} to fit into memory (--size)", file=sys.stderr)
    return height, width


def read_pair(image_path, mask_path, classes, channels=3):
    """Reads an image and its mask: uint8 (height, width, channels) and uint8 (height, width) with class numbers.

    Raises:
        ValueError: If one cannot be read, their sizes differ, the image is grey where colour is wanted, or the mask
            holds a value that is no class. It names the file.
    """
    image, mask = read_image(image_path, channels), read_mask(mask_path, classes)
    turn = _turn(image_path)
    if turn and image.shape[:2] != mask.shape and image.shape[:2] == mask.T.shape:
        mask = np.asarray(Image.fromarray(mask).transpose(turn))
        notes.tell(image_path, "is turned upright by its EXIF orientation, and its mask with it")
    elif turn:
        notes.tell(image_path, "is turned upright by its EXIF orientation; its mask is taken as it is")
    if image.shape[:2] != mask.shape:
        raise ValueError(
            f"{image_path} is {image.shape[1]} x {image.shape[0]}, its mask {mask_path} {mask.shape[1]} x "
            f"{mask.shape[0]}: they must have one size"
        )
    return image, mask


def _turn(path):
    """How the EXIF orientation of a file turns it, for `Image.transpose`, or None."""
    with Image.open(path) as image:
        return ORIENTATIONS.get(image.getexif().get(0x0112))


def read_image(path, channels=3):
    """Reads an image file, uint8 (height, width, channels), turned upright.

    Raises:
        ValueError: If it cannot be read, or is grey where colour is wanted.
    """
    image = image_data.open_image(path)
    if channels == 3 and image.mode in ("1", "L", "LA", "I", "F"):
        raise ValueError(f"{path} is a grey image, colour is wanted (3 channels)")
    pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(*pixels.shape[:2], channels)


def read_mask(path, classes):
    """Reads a mask file, indexed, grey or in the colours of the classes: uint8 (height, width) with class numbers.

    Raises:
        ValueError: If it cannot be read, or holds a value or colour that is no class.
    """
    try:
        with Image.open(path) as image:
            palette = image.mode in ("P", "PA")
            colours = np.reshape(image.getpalette("RGB"), (-1, 3)) if palette else None
            image = image.convert({"1": "L", "LA": "L", "PA": "P"}.get(image.mode, image.mode))  # no alpha
            values = np.asarray(image)
    except FileNotFoundError:
        raise ValueError(f"there is no mask {path}") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large a mask: {error}") from None
    except Exception as error:  # a damaged file meets its reader anywhere
        raise ValueError(f"{path} is not a mask that can be read (PNG, BMP, TIFF)") from error
    if values.ndim == 3:
        return _from_colours(values[..., :3].astype(np.int64), path, classes)
    if values.dtype.kind == "f" and not (values == np.rint(values)).all():
        raise ValueError(
            f"{path} holds {values[values != np.rint(values)][0]:g}, which is no class: classes are integers"
        )
    values = values.astype(np.int64)
    found = np.unique(values)
    if palette and classes.coloured and found.max(initial=0) < len(colours):
        used = {tuple(colour) for colour in colours[found].tolist()}
        if used <= set(classes.by_colour):  # the palette says which class each number is
            return _from_colours(colours[values].astype(np.int64), path, classes)
    unknown = sorted(set(found.tolist()) - {*classes.known, IGNORE})
    if unknown:
        raise ValueError(
            f"{path} holds {unknown[0]}, which is no class: accepted are {_ranges(classes.known)} "
            f"and {IGNORE} for pixels that do not count"
        )
    return classes.lookup[values]


def _two_values(pairs, classes):
    """Classes for masks that hold nothing but 0 and 255, as many tools write those of one object: 255 is class 1.

    Raises:
        ValueError: If there are not exactly two classes.
    """
    if IGNORE in classes.known or not pairs:
        return classes

    def values(pair):
        try:
            with Image.open(pair[1]) as image:
                return (
                    set(np.unique(np.asarray(image.convert("L"))).tolist()) if image.mode in ("1", "L", "LA") else {1}
                )
        except Exception:  # told when it is read
            return set()

    found = set()
    with ThreadPoolExecutor() as pool:
        for one in pool.map(values, pairs):
            found |= one
            if not found <= {0, IGNORE}:
                return classes
    if IGNORE not in found:
        return classes
    if len(classes.names) != 2 or classes.lookup[:2].tolist() != [0, 1]:
        raise ValueError(
            f"the masks hold only 0 and {IGNORE}, and classes.csv names {len(classes.names)} classes: for two classes "
            f"{IGNORE} is read as the second one, else give each its value in the column label of classes.csv"
        )
    print(f"the masks hold only 0 and {IGNORE}: {IGNORE} is read as class 1, {classes.names[1]}", file=sys.stderr)
    lookup = classes.lookup.copy()
    lookup[IGNORE] = 1
    return replace(classes, lookup=lookup, known=classes.known | {IGNORE})


def _from_colours(values, path, classes):
    codes = values[..., 0] << 16 | values[..., 1] << 8 | values[..., 2]
    mask = np.full(codes.shape, IGNORE, np.uint8)
    by_code = {red << 16 | green << 8 | blue: label for (red, green, blue), label in classes.by_colour.items()}
    for code in np.unique(codes).tolist():
        if code not in by_code:
            colour = code >> 16, code >> 8 & 255, code & 255
            raise ValueError(f"{path} has the colour {colour}, which no class in classes.csv has")
        mask[codes == code] = by_code[code]
    return mask


def _ranges(values):
    values = sorted(values)
    if values == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values))


def read_classes(path):
    """Classes from a CSV file with the columns name and, if wanted, label, red, green, blue.

    Without labels, they are numbered as they stand. Classes keep the order of their labels; a class named void or
    ignore does not count. Without colours, those of Cityscapes are taken one after the other.

    Raises:
        ValueError: If there is no such file, or it cannot be understood.
    """
    if not path.is_file():
        raise ValueError(
            f"{path} is missing: a CSV file with the columns name, label, red, green, blue (only name is needed)"
        )
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            rows = [
                {key.strip().lower(): (value or "").strip() for key, value in row.items() if key}
                for row in csv.DictReader(stream)
            ]
        rows = [row for row in rows if any(row.values())]
        rows = [{**row, "label": int(row.get("label") or index)} for index, row in enumerate(rows)]
        palette = distinct_colours(len(rows))
        for row, colour in zip(rows, palette, strict=True):
            own = tuple(int(row[part]) for part in ("red", "green", "blue") if row.get(part))
            row["own"], row["colour"] = len(own) == 3, own if len(own) == 3 else colour
        coloured = all(row["own"] for row in rows)
        rows.sort(key=lambda row: row["label"])
        labels, names = [row["label"] for row in rows], [row["name"] for row in rows]
        assert all(names) and all(0 <= label <= 255 for label in labels) and len(set(labels)) == len(labels)
        assert all(0 <= part <= 255 for row in rows for part in row["colour"])
    except (KeyError, ValueError, AssertionError, AttributeError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not a list of classes: the first line is name,label,red,green,blue (only name is needed), the "
            "others one class each, labels and colours 0 to 255, no label twice"
        ) from error
    counting = [
        row for row in rows if row["name"].lower() not in ("void", "ignore", "ignored", "unlabeled", "unlabelled")
    ]
    if not counting:
        raise ValueError(f"{path} names no class")
    return _classes(
        [row["name"] for row in counting],
        [row["colour"] for row in counting],
        [row["label"] for row in counting],
        ignored=[(row["label"], row["colour"]) for row in rows if row not in counting],
        coloured=coloured,
    )


def _classes(names, colours, labels, ignored=(), coloured=False):
    lookup = np.full(256, IGNORE, np.uint8)
    lookup[list(labels)] = np.arange(len(labels))
    by_colour = {tuple(colour): index for index, colour in enumerate(colours)}
    by_colour |= {tuple(colour): IGNORE for _, colour in ignored}
    known = frozenset([*labels, *(label for label, _ in ignored)])
    return Classes(tuple(names), tuple(map(tuple, colours)), lookup, known, by_colour, coloured)


def distinct_colours(count):
    palette = [colour for colour, _ in CITYSCAPES.values()]
    random = np.random.default_rng(1)
    return (palette + [tuple(colour) for colour in random.integers(30, 226, (256, 3)).tolist()])[:count]


def camvid_classes():
    """The 11 classes of CamVid, labels 0 to 10; 11 is void."""
    colours = [CITYSCAPES[other][0] for other in CAMVID.values()]
    return _classes(CAMVID, colours, range(11), ignored=[(11, (0, 0, 0))])


def cityscapes_classes():
    """The 19 classes of Cityscapes from its 34 label ids; all others do not count."""
    colours, labels = zip(*CITYSCAPES.values(), strict=True)
    return _classes(
        CITYSCAPES, colours, labels, ignored=[(label, (0, 0, 0)) for label in range(34) if label not in labels]
    )


# Size and splits


def fit(image, mask, size):
    """An image and its mask in another size: as large as fits, the rest black and not counted."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image, mask
    scale = min(height / image.shape[0], width / image.shape[1])
    inner = max(1, round(scale * image.shape[0])), max(1, round(scale * image.shape[1]))
    channels = image.shape[-1]
    picture = Image.fromarray(image.squeeze(-1) if channels == 1 else image)
    small = np.asarray(picture.resize(inner[::-1], Image.Resampling.BILINEAR)).reshape(*inner, channels)
    labels = np.asarray(Image.fromarray(mask).resize(inner[::-1], Image.Resampling.NEAREST))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    canvas, other = np.zeros((height, width, channels), np.uint8), np.full((height, width), IGNORE, np.uint8)
    canvas[top : top + inner[0], left : left + inner[1]] = small
    other[top : top + inner[0], left : left + inner[1]] = labels
    return canvas, other


def _complete(splits, names, only=None):
    """Adds "validation", and where there was neither also "test", cut from "train"."""
    missing = {"validation": 0.1} if "validation" not in splits else {}
    if missing and "test" not in splits:
        missing["test"] = 0.2
    if "train" in splits and missing and only is None:
        images, masks = splits["train"]
        order = np.random.default_rng(0).permutation(len(masks))  # the cut belongs to the data set, not to a run
        if len(masks) <= len(missing):
            raise ValueError(f"{len(masks)} images cannot be divided: {1 + len(missing)} splits need one each at least")
        parts, all_names = {}, names["train"]
        for name, fraction in missing.items():
            count = max(1, round(fraction * len(masks)))
            parts[name], order = order[:count], order[count:]
        parts["train"] = order
        for name, chosen in parts.items():
            chosen = np.sort(chosen)
            splits[name], names[name] = (images[chosen], masks[chosen]), [all_names[index] for index in chosen]
    order = [name for name in SPLITS if name in splits]
    return {name: splits[name] for name in order}, {name: names[name] for name in order}


# The embedded set and tensorflow-datasets


def _load_scenes(size, channels, only):
    from recipes.data import road_scenes

    splits, names = {}, {}
    for split in (split for split in SPLITS if only in (None, split)):
        images, masks = road_scenes.draw_split(split, size or road_scenes.SIZE)
        if channels == 1:
            images = np.stack([np.asarray(Image.fromarray(image).convert("L"))[..., None] for image in images])
        splits[split], names[split] = (images, masks), [f"{split}-{index:04}.png" for index in range(len(masks))]
    return MaskDataset(
        "scenes", tuple(road_scenes.CLASSES), tuple(road_scenes.CLASSES.values()), splits, names, licence="Apache-2.0"
    )


def _load_tfds(dataset, size, channels, data_dir, manual_dir, only):
    import tensorflow_datasets as tfds

    name = "cityscapes/semantic_segmentation" if dataset == "cityscapes" else dataset
    builder = image_data.tfds_builder(name, data_dir, embedded="scenes")
    features = builder.info.features
    image = _feature(features, ("image", "image_left"))
    mask = _feature(features, ("segmentation_mask", "segmentation_label", "mask", "label_mask"))
    if not image or not mask:
        raise ValueError(f"{dataset} is not a set of images with masks: it has {', '.join(features or [])}")
    offline = "without a network: --dataset scenes, or --dataset FOLDER with images/, masks/ and classes.csv"
    if dataset == "cityscapes":
        offline = "its archives need an account: --data-dir FOLDER with leftImg8bit/ and gtFine/, or --manual-dir"
    image_data.download(builder, manual_dir, offline)
    classes = {"cityscapes": cityscapes_classes, "oxford_iiit_pet": _pet_classes}.get(builder.name, lambda: None)()
    splits, names = {}, {}
    for split in (name for name in SPLITS if name in builder.info.splits and only in (None, name)):
        pairs = []
        for index, example in enumerate(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))):
            pixels = example[image]
            if channels == 1 and pixels.shape[-1] == 3:
                pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
            if size is None:
                size = pixels.shape[:2] if None not in (features[image].shape or (None,))[:2] else (256, 256)
            found = (classes.lookup if classes else np.arange(256, dtype=np.uint8))[example[mask].squeeze(-1)]
            pairs.append((*fit(pixels, found, size), _name(example, index)))
        images, masks, names[split] = zip(*pairs, strict=True)
        splits[split], names[split] = (np.stack(images), np.stack(masks)), list(names[split])
    if not splits:
        raise ValueError(f"{dataset} has no split {only!r}: it has {', '.join(builder.info.splits)}")
    if classes is None:
        highest = max(int(masks[masks != IGNORE].max(initial=0)) for _, masks in splits.values())
        classes = _classes(
            [f"class {label}" for label in range(highest + 1)], distinct_colours(highest + 1), range(highest + 1)
        )
    splits, names = _complete(splits, names, only)
    return MaskDataset(
        builder.name,
        classes.names,
        classes.colours,
        splits,
        names,
        version=str(builder.info.version),
        licence=builder.info.redistribution_info.license or LICENCES.get(builder.name, ""),
    )


def _feature(features, accepted):
    return next((name for name in accepted if name in (features or ())), None)


def _name(example, index):
    for key in ("file_name", "image_id"):
        if key in example:
            return example[key].decode()
    return f"{index:06}"


def _pet_classes():
    """The trimaps of the Oxford-IIIT pets: 1 to 3."""
    return _classes(("pet", "background", "outline"), ((220, 20, 60), (70, 70, 70), (250, 170, 30)), (1, 2, 3))


# Pipelines


def class_weights(masks, num_classes, power=0.5):
    """Weight of each class, (1 / frequency) ** power, scaled so that a random pixel weighs 1 on average.

    Args:
        masks: uint8 (count, height, width).
        num_classes: Number of classes; one that never occurs has the weight 0.
        power: 0 weighs all alike, 1 gives each class the same total weight.
    """
    counts = np.bincount(masks.ravel(), minlength=256)[:num_classes].astype(float)
    share = counts / max(1, counts.sum())
    weights = np.where(share > 0, np.maximum(share, 1e-9) ** -power, 0.0)
    return (weights / max(1e-9, (weights * share).sum())).tolist()


def training_batches(
    images,
    masks,
    *,
    crop,
    batch_size,
    steps,
    epochs,
    first_epoch=0,
    seed=0,
    scale=(1.0, 1.0),
    rotation=0.0,
    flip="none",
    jitter=0.0,
):
    """One stream of all epochs, without an end between two: float32 images in [0, 1] and int32 labels, cut to `crop`.

    One affine transform cuts, scales, turns and flips an image (bilinear) and its mask (nearest: labels stay labels);
    what lies outside of the image is black and does not count. All draws depend on nothing but seed, epoch and step.

    Args:
        images: uint8 (count, height, width, channels).
        masks: uint8 (count, height, width).
        crop: (height, width) of what the network sees.
        batch_size: Images per batch.
        steps: Batches per epoch, at most count // batch_size.
        epochs: Number of epochs of the whole training.
        first_epoch: Where a resumed training goes on.
        seed: Seed of order and augmentation.
        scale: Smallest and largest factor of size, log-uniform.
        rotation: Largest angle in degrees, either way.
        flip: "none", "horizontal" or "both".
        jitter: Strength of the change of brightness, contrast, saturation and tint; 0 for none.
    """
    with tf.device("cpu"):
        images, masks = tf.constant(images), tf.constant(masks[..., None])

    def batch(step, chosen):
        x, y = tf.gather(images, chosen), tf.gather(masks, chosen)
        transforms = _transforms(x.shape[1:3], crop, batch_size, [seed, step], scale, rotation, flip)
        x = _transform(tf.cast(x, tf.float32) / 255.0, transforms, crop, "BILINEAR", 0.0)
        y = _transform(y, transforms, crop, "NEAREST", float(IGNORE))
        if jitter:
            x = _jitter(x, batch_size, [seed + 1, step], jitter)
        return x, tf.cast(y[..., 0], tf.int32)

    return image_data.stream(
        batch, len(masks), batch_size=batch_size, steps=steps, epochs=epochs, first_epoch=first_epoch, seed=seed
    )


def pieces(images, masks, crop, *, at_most=64):
    """One piece of the size `crop` out of each of `at_most` images, spread evenly and always the same: uint8 (count,
    height, width, channels) and uint8 (count, height, width); what an image lacks is black and does not count."""
    chosen = np.linspace(0, len(masks) - 1, min(at_most, len(masks))).round().astype(int)
    x = np.zeros((len(chosen), *crop, images.shape[-1]), np.uint8)
    y = np.full((len(chosen), *crop), IGNORE, np.uint8)
    random = np.random.default_rng(0)
    height, width = min(crop[0], images.shape[1]), min(crop[1], images.shape[2])
    for place, index in enumerate(chosen):
        top, left = random.integers(images.shape[1] - height + 1), random.integers(images.shape[2] - width + 1)
        x[place, :height, :width] = images[index, top : top + height, left : left + width]
        y[place, :height, :width] = masks[index, top : top + height, left : left + width]
    return x, y


def validation_batches(images, masks, crop, *, batch_size=8):
    """The `pieces` of a split, float32 in [0, 1] and int32."""
    x, y = pieces(images, masks, crop)
    batch_size = min(batch_size, 1 << (len(y).bit_length() - 1))  # that replicas share evenly
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size, drop_remainder=True)
    data = data.map(lambda x, y: (tf.cast(x, tf.float32) / 255.0, tf.cast(y, tf.int32)))
    return image_data.without_autotune(data.prefetch(2))


def _transforms(size, crop, count, seed, scale, rotation, flip):
    """From pixels of the crop to pixels of the image, (count, 8)."""
    draw = tf.unstack(tf.random.stateless_uniform((6, count), seed))
    low, high = np.log(scale[0]), np.log(scale[1])
    step = tf.exp(-(low + (high - low) * draw[0]))
    angle = (2 * draw[1] - 1) * (rotation * np.pi / 180)
    mirror_x = tf.where((draw[2] < 0.5) & (flip != "none"), -1.0, 1.0)
    mirror_y = tf.where((draw[3] < 0.5) & (flip == "both"), -1.0, 1.0)
    a, b = step * mirror_x * tf.cos(angle), -step * mirror_y * tf.sin(angle)
    c, d = step * mirror_x * tf.sin(angle), step * mirror_y * tf.cos(angle)

    def middle(side, cut, draw):  # anywhere that keeps the crop inside, or the image inside the crop
        half = step * (cut / 2)
        return tf.minimum(half, side - half) + tf.round(tf.abs(side - 2 * half) * draw) - 0.5

    x, y = middle(size[1], crop[1], draw[4]), middle(size[0], crop[0], draw[5])
    shift_x = x - a * ((crop[1] - 1) / 2) - b * ((crop[0] - 1) / 2)
    shift_y = y - c * ((crop[1] - 1) / 2) - d * ((crop[0] - 1) / 2)
    zero = tf.zeros_like(a)
    return tf.stack([a, b, shift_x, c, d, shift_y, zero, zero], axis=1)


def _transform(images, transforms, size, interpolation, fill):
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=size,
        fill_value=fill,
        interpolation=interpolation,
        fill_mode="CONSTANT",
    )


def _jitter(images, count, seed, strength):
    """Other light on each image: at strength 1 brightness within 0.2, contrast and saturation within 40 %, each
    channel within 10 %."""
    channels = images.shape[-1]
    draw = strength * tf.random.stateless_uniform((count, 1, 1, 3 + channels), seed, -1.0, 1.0)
    brightness, contrast, saturation, tint = tf.split(draw, [1, 1, 1, channels], axis=-1)
    if channels == 3:
        grey = tf.reduce_mean(images, axis=-1, keepdims=True)
        images = grey + (images - grey) * (1 + 0.4 * saturation)
    mean = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
    images = mean + (images - mean) * (1 + 0.4 * contrast)
    return tf.clip_by_value(images * (1 + 0.1 * tint) + 0.2 * brightness, 0.0, 1.0)
