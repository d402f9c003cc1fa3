"""Folders of images with masks: the layouts of CamVid and Cityscapes, and images/, masks/ and classes.csv."""

import csv
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from recipes.data import images as image_data
from recipes.data import notes
from recipes.data import splits as split_data
from recipes.data.files import read_image

IGNORE = 255
MEMORY = 3e9  # bytes of a split above which large images are halved, unless a size is given
ORIENTATIONS = {  # of EXIF, those that change more than nothing
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

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


def read_folder(folder, name, size, channels, only):
    """(name, `Classes`, {split: (images, masks)}, {split: names of the images}) of a folder in one of the `LAYOUTS`."""
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
    return name, classes, splits, names


def _pairs(folder, only):
    """(layout, split name to [(image, mask)]) of a folder."""
    wanted = [split for split in split_data.ORDER if only in (None, split)]
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
    return make_classes(
        [row["name"] for row in counting],
        [row["colour"] for row in counting],
        [row["label"] for row in counting],
        ignored=[(row["label"], row["colour"]) for row in rows if row not in counting],
        coloured=coloured,
    )


def make_classes(names, colours, labels, ignored=(), coloured=False):
    """`Classes` with their values in a file; those that are `ignored` are (value, colour)."""
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
    return make_classes(CAMVID, colours, range(11), ignored=[(11, (0, 0, 0))])


def cityscapes_classes():
    """The 19 classes of Cityscapes from its 34 label ids; all others do not count."""
    colours, labels = zip(*CITYSCAPES.values(), strict=True)
    return make_classes(
        CITYSCAPES, colours, labels, ignored=[(label, (0, 0, 0)) for label in range(34) if label not in labels]
    )


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
