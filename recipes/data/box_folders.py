"""Readers of boxes: folders in Pascal VOC, COCO JSON or YOLO form, and tensorflow-datasets.

They say which images there are and what is on them; `recipes.data.boxes` reads the images and checks the boxes.
"""

import json
import os
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recipes.data import images
from recipes.data.splits import Finder, folder_split, pair, split_of, split_word, walk


@dataclass
class Source:
    """A data set as it is found: which images there are and what is on them.

    Attributes:
        name, class_names, version, licence, form: As in `BoxDataset`.
        splits: Split name to a list of (file, read, rows): `read` gives the PIL image, and rows are boxes
            (left, top, right, lower, class name) in its pixels, or in shares of its sides where `relative`.
        relative: Whether boxes are given in shares of the image's sides.
        faults: Boxes that were dropped already, by kind.
        stated: File to the (width, height) that its boxes are meant for, where the labels say it.
        holes: File to (rows, names): boxes with a weight as a sixth entry, that of an object which another detector
            found, or 0 for a region in which its class does not count, such as a crowd; and the classes that nobody
            looked for in the image.
    """

    name: str
    class_names: tuple
    splits: dict
    version: str = ""
    licence: str = ""
    form: str = ""
    relative: bool = False
    faults: dict = field(default_factory=dict)
    stated: dict = field(default_factory=dict)
    holes: dict = field(default_factory=dict)


def read(folder, unlabelled, wanted):
    """The `Source` of a folder, whose form its files tell."""
    paths = walk(folder)
    pictures = [path for path in paths if images.is_image(path)]
    if not pictures:
        raise ValueError(f"{folder} has no images ({images.KINDS})")
    xml = [path for path in paths if path.suffix.lower() == ".xml"]
    collections = [path for path in paths if path.suffix.lower() == ".json"]
    stems = {path.stem for path in pictures}
    texts = [path for path in paths if path.suffix.lower() == ".txt" and _is_labels(path, stems)]
    if xml:
        return _voc(folder, pictures, xml, paths, wanted)
    collections = {path: _read_json(path) for path in collections}  # one that does not parse is named
    collections = {path: value for path, value in collections.items() if _is_coco(value)}
    if collections:
        return _coco(folder, pictures, collections)
    if texts:
        return _yolo(folder, pictures, texts, paths, unlabelled)
    raise ValueError(
        f"{folder} has images but no boxes: Pascal VOC has Annotations/*.xml, COCO a .json with images, annotations "
        "and categories, YOLO labels/*.txt beside images/"
    )


def _voc(folder, pictures, xml, paths, wanted):
    of = pair(xml, pictures, folder)
    roots = {}
    for path in paths:
        word = "trainval" if path.stem == "trainval" else split_word(path.stem)
        if word and path.suffix == ".txt" and path.parts[-3:-1] == ("ImageSets", "Main"):
            roots.setdefault(path.parents[2], {})[word] = path
    pairs = {}
    for root, lists in roots.items():  # one for each year
        find = Finder([path.with_suffix("") for path in xml if path.is_relative_to(root)], root)
        both = lists.pop("trainval", None)  # the two together
        if both and "train" not in lists:
            lists["train"] = both
        here = {}
        for split, path in lists.items():
            if split not in needed(wanted, lists):  # the files of a split that nobody asked for may be elsewhere
                continue
            names = [line.split()[0] for line in _text(path).splitlines() if line.strip()]
            for name in names:
                found = find(name, root, path) or find(str(Path(name).with_suffix("")), root, path)  # or with a suffix
                if found is None:
                    raise ValueError(f"{path} names {name}, which has no annotation {name}.xml")
                found = found.with_name(found.name + ".xml")
                if found not in of:
                    raise ValueError(f"{found} has no image {found.stem}.* in {folder}")
                here.setdefault(split, []).append((of[found], found))
        if "train" in here and lists["train"] == both:  # what is validated on is not trained on
            here["train"] = [pair for pair in here["train"] if pair not in here.get("validation", ())]
        for split, found in here.items():
            pairs.setdefault(split, []).extend(found)
    if not roots:
        for path in xml:
            if path not in of:
                raise ValueError(f"{path} has no image {path.stem}.* in {folder}")
            split = folder_split(path, folder) or folder_split(of[path], folder) or "train"
            pairs.setdefault(split, []).append((of[path], path))
        without = sorted(set(pictures) - set(of.values()))
        if without:
            raise ValueError(f"{without[0]} has no annotation {without[0].stem}.xml in {folder}")
    splits, names, stated = {}, set(), {}
    for split, entries in pairs.items():
        splits[split] = []
        for picture, annotation in entries:
            rows, size = _read_xml(annotation)
            names.update(row[4] for row in rows)
            stated[picture] = (*size, annotation)
            splits[split].append((picture, _reader(picture), rows))
    source = Source(folder.resolve().name, tuple(sorted(names)), splits, form="Pascal VOC", licence=_licence(folder))
    source.stated = stated
    return source


def needed(wanted, present):
    """The splits to read for those that are wanted."""
    names = {name.rstrip("?") for name in wanted or present}
    if "validation" in names and "validation" not in present:
        names.add("train")  # it is cut from there
    elif "train" in names:
        names.add("validation")  # or it would be cut from there
    return names if names & set(present) else set(present)


def _reader(path):
    return lambda: images.open_image(path)


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
    return rows, tuple(_size(root.findtext(f"size/{key}")) for key in ("width", "height"))


def _size(value):
    """A stated width or height; 0 where it says nothing."""
    return float(value) if value is not None and _is_number(value) else 0


def _read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON that can be read: {error}") from None


def _is_coco(value):
    return isinstance(value, dict) and all(
        isinstance(value.get(key), list) for key in ("images", "annotations", "categories")
    )


def _coco(folder, pictures, collections):
    find, splits, names, stated, merged, holes = Finder(pictures, folder), {}, [], {}, set(), {}
    for path, value in collections.items():
        try:
            for key in ("images", "categories"):
                if twice := [number for number, n in Counter(item["id"] for item in value[key]).items() if n > 1]:
                    raise ValueError(f"{path}: the id {twice[0]} is that of several {key}, and has to be that of one")
            labels = {item["id"]: str(item["name"]) for item in value["categories"]}
            rows = {item["id"]: [] for item in value["images"]}
            weighted = {item["id"]: [] for item in value["images"]}
            for item in value["annotations"]:
                if item["image_id"] not in rows:
                    raise ValueError(f"{path}: an annotation is of the image {item['image_id']}, which is not listed")
                left, top, width, height = _numbers(item["bbox"], path)
                label = labels.get(item["category_id"], f"category {item['category_id']}")
                row = (left, top, left + width, top + height, label)
                if item.get("iscrowd"):  # a region with many of them, not one object
                    weighted[item["image_id"]].append((*row, 0.0))
                elif "score" in item:
                    weighted[item["image_id"]].append((*row, _score(item["score"], path)))
                else:
                    rows[item["image_id"]].append(row)
            listed = [
                (item["id"], str(item["file_name"]), _size(item.get("width")), _size(item.get("height")))
                for item in value["images"]
            ]
            missing = {item["id"]: _unlabelled(item, labels.values(), path) for item in value["images"]}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not COCO: an entry lacks {error}") from None
        used = {row[4] for found in (*rows.values(), *weighted.values()) for row in found}
        names += [name for name in labels.values() if name not in names and name in used]
        own = split_of((*path.relative_to(folder).parts[:-1], path.stem))
        mine = {}
        for number, file, *size in listed:
            picture = find(file, path.parent, path, own)
            if picture is None:
                raise ValueError(f"{path} lists the image {file}, which is not in {folder}")
            if picture in mine:
                raise ValueError(f"{path} lists {mine[picture]} and {file}, and both are {picture}")
            mine[picture] = file
            if picture in stated and all(stated[picture][:2]) and stated[picture][:2] != tuple(size):
                raise ValueError(f"{picture} has another width and height in {path} than in {stated[picture][2]}")
            stated[picture] = (*size, path)
            entries = splits.setdefault(own or folder_split(picture, folder) or "train", {})
            before_holes, before_missing = holes.get(picture, ((), missing[number]))
            holes[picture] = [*before_holes, *weighted[number]], [n for n in missing[number] if n in before_missing]
            if picture in entries:
                merged.add(picture)
            before = entries.setdefault(picture, [])
            before += [row for row in rows[number] if row not in before] if before else rows[number]
    unlisted = len(set(pictures) - set(stated))
    if unlisted:
        print(f"{unlisted} images of {folder} are in no COCO file: left out", file=sys.stderr)
    if merged:
        print(f"{len(merged)} images are in more than one COCO file: merged by box and class", file=sys.stderr)
    splits = {split: [(one, _reader(one), rows) for one, rows in found.items()] for split, found in splits.items()}
    licence = _licence(folder)
    return Source(folder.resolve().name, tuple(names), splits, form="COCO", licence=licence, stated=stated, holes=holes)


def _score(value, path):
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"{path}: the score of a box is a number above 0, up to 1, got {str(value)[:40]}")
    return float(value)


def _unlabelled(item, names, path):
    """Classes that an image's `labelled_classes` leaves out; without that all are labelled."""
    labelled = item.get("labelled_classes")
    if labelled is None:
        return []
    unknown = [name for name in labelled if name not in names] if isinstance(labelled, list) else [labelled]
    if unknown:
        raise ValueError(
            f"{path}: labelled_classes of an image is a list of names among {', '.join(names)}, got {unknown[0]!r}"
        )
    return [name for name in names if name not in labelled]


def _numbers(box, path):
    try:
        left, top, width, height = map(float, box)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: a bbox is left, top, width and height as numbers, got {str(box)[:60]}") from None
    return left, top, width, height


def _is_labels(path, stems):
    """Whether a text file is one of labels: named as a picture is, or with a line as labels have it."""
    if path.stem.lower() in ("classes", "obj", "names", "labels", "readme", "requirements"):
        return False
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    words = [line.split() for line in lines if line.strip()]
    if split_word(path.stem) and any(images.is_image(row[-1]) for row in words):
        return False  # a list of pictures
    return path.stem in stems or any(len(row) == 5 and all(map(_is_number, row)) for row in words)


def _is_number(word):
    try:
        return np.isfinite(float(word))
    except ValueError:
        return False


def _yolo(folder, pictures, texts, paths, unlabelled):
    of = pair(texts, pictures, folder)
    labels = {picture: path for path, picture in of.items()}
    given = _given_splits(folder, pictures, paths)
    if given:
        pictures = sorted({path for found in given.values() for path in found})
    names = _yolo_names(folder)
    splits, top = {}, -1
    for path in texts:
        if path not in of:
            raise ValueError(f"{path} has no image {path.stem}.* in {folder}")
    without = []
    for picture in pictures:
        path = labels.get(picture)
        rows = []
        if path is None:
            without.append(picture)
            if unlabelled == "skip":
                continue
        else:
            rows = _read_yolo(path)
            top = max([top, *(row[4] for row in rows)])
        own = folder_split(picture, folder) or (path and folder_split(path, folder)) or "train"
        for split in [split for split in given if picture in given[split]] or [own]:
            splits.setdefault(split, []).append((picture, _reader(picture), rows))
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


def _given_splits(folder, pictures, paths):
    """Split to its pictures as data.yaml, obj.data or train.txt and valid.txt say it; {} where none does."""
    find, entries = Finder(pictures, folder), []
    for path in sorted(folder.glob("*.data")):  # darknet: train = data/train.txt
        pairs = [line.split("=", 1) for line in _text(path).splitlines() if "=" in line]
        entries += [(split_word(key.strip()), value.strip(), path, path.parent) for key, value in pairs]
    for path, value in _yamls(folder):
        base = path.parent / str(value.get("path") or ".")
        for key, given in value.items():
            given = given if isinstance(given, list) else [given]
            entries += [(split_word(key), str(one), path, base) for one in given if one and split_word(key)]
    entries = [entry for entry in entries if entry[0]]
    if not entries:
        lists = [path for path in paths if path.suffix == ".txt" and split_word(path.stem)]
        lists = [path for path in lists if images.is_image(_text(path).strip())]
        entries = [(split_word(path.stem), str(path.relative_to(folder)), path, folder) for path in lists]
    given = {}
    for split, name, where, base in entries:
        name = name.replace("\\", "/")
        bare = "/".join(part for part in name.split("/") if part not in ("", ".", ".."))  # Roboflow: ../train/images
        tried = [base / name, where.parent / name, folder / bare]
        if name.endswith(".txt"):
            tried.append(folder / bare.partition("/")[2])  # CVAT: data/train.txt
        place = next((one for one in tried if one.is_file() or _within(one, find.real, folder)), None)
        if name in (".", "./"):
            place = base if base.exists() else folder
        if place is None:
            print(f"{where} names {name} for {split}, which is not there: left out", file=sys.stderr)
            continue
        found = given.setdefault(split, set())
        if place.is_dir():
            real = os.path.realpath(place) + os.sep
            found.update(path for key, path in find.real.items() if key.startswith(real))
            continue
        for line in filter(str.strip, _text(place).splitlines()):
            picture = find(line, place.parent, place, split)
            if picture is None:
                raise ValueError(f"{place} names {line.strip()}, which is not in {folder}")
            found.add(picture)
    given = {split: found for split, found in given.items() if found}
    left = len(set(pictures).difference(*given.values())) if given else 0
    if left:
        print(f"{left} images are in no split that {entries[0][2]} names: left out", file=sys.stderr)
    return given


def _within(place, real, folder):
    """Whether a place is a folder below another one, with pictures."""
    start = os.path.realpath(place)
    return start != os.path.realpath(folder) and any(key.startswith(start + os.sep) for key in real)


def _yamls(folder):
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        import yaml

        try:
            value = yaml.safe_load(_text(path))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not YAML that can be read: {' '.join(str(error).split())}") from None
        if isinstance(value, dict):
            yield path, value


def _yolo_names(folder):
    """Names of the classes, from data.yaml, classes.txt, obj.names or the like; none where there is no such file."""
    for path, value in _yamls(folder):
        names = value.get("names")
        if isinstance(names, dict):
            try:
                names = {int(str(key)): name for key, name in names.items()}
            except ValueError:
                raise ValueError(f"{path}: the keys of names are numbers of classes, got {list(names)[:3]}") from None
            if names and not 0 <= min(names) <= max(names) < 100_000:
                raise ValueError(f"{path}: the keys of names are numbers of classes from 0, got {min(names)}")
            names = [names.get(number, "") for number in range(max(names, default=-1) + 1)]
        if names:
            if (count := value.get("nc")) not in (None, len(names)):
                raise ValueError(f"{path} has nc: {count}, and names of {len(names)} classes: they have to agree")
            return _named(names)
    for name in ("classes.txt", "obj.names", "labels.txt"):
        for path in [path for path in walk(folder) if path.name == name]:
            return _named(_text(path).rstrip().splitlines())
    return ()


def _named(names):
    """Names of classes; one left blank keeps its place."""
    return tuple(str(name).strip() or f"class {number}" for number, name in enumerate(names))


def _text(path):
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text") from None


def _licence(folder):
    """First line of the folder's licence file, or ""."""
    for path in sorted(folder.glob("LICEN[CS]E*")):
        if path.is_file():
            return (_text(path).strip().splitlines() or [""])[0].strip()
    return ""
