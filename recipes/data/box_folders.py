"""Readers of boxes: folders in Pascal VOC, COCO JSON or YOLO form, and tensorflow-datasets.

They say which images there are and what is on them; `recipes.data.boxes` reads the images and checks the boxes.
"""

import io
import json
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recipes.data import images

OFFLINE = "without a network: --dataset scenes, or --dataset FOLDER in the form of Pascal VOC, COCO or YOLO"


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


def read(folder, unlabelled, wanted):
    """The `Source` of a folder, whose form its files tell."""
    paths = sorted(path for path in folder.rglob("*") if not any(p[0] == "." for p in path.relative_to(folder).parts))
    pictures = [path for path in paths if path.suffix.lower() in images.SUFFIXES]
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
            if split not in needed(wanted, lists):  # the files of a split that nobody asked for may be elsewhere
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


def read_tfds(dataset, data_dir):
    """A set of tensorflow-datasets with "objects" of boxes and labels."""
    import tensorflow_datasets as tfds

    builder = images.tfds_builder(dataset, data_dir, embedded="scenes")
    features = builder.info.features
    objects = features["objects"] if "objects" in features else None  # noqa: SIM401, it has no get
    objects = getattr(objects, "feature", objects)
    if "image" not in features or objects is None or "bbox" not in objects or "label" not in objects:
        raise ValueError(f"{dataset} is not a set of images with boxes: it has {', '.join(features)}")
    images.download(builder, None, OFFLINE)
    names, crowds = objects["label"].names, 0
    splits = {}
    for split in (name for name in images.SPLITS if name in builder.info.splits):
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
    return lambda: images.open_image(io.BytesIO(content))
