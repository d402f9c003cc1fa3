"""Folders of boxes as people have them."""

import json

import numpy as np
import pytest
from PIL import Image

from recipes.data import boxes as data


def picture(path, size=(64, 64), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "grey").save(path, **options)


def text(path, content, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)


def load(folder, **options):
    return data.load(folder, image_size=(64, 64), **options)


def by_camera(split):
    return {
        f.split("/")[-2]: (int(b[0, 4]), round(float(b[0, 0]))) for f, b in zip(split.files, split.boxes, strict=True)
    }


def coco(path, entries, names=("a", "b")):
    """`entries`: (file, width, height, class, box)."""
    value = {"images": [], "annotations": [], "categories": [{"id": n, "name": name} for n, name in enumerate(names)]}
    for n, (file, width, height, label, box) in enumerate(entries):
        value["images"].append({"id": n, "file_name": file, "width": width, "height": height})
        value["annotations"].append({"id": n, "image_id": n, "category_id": label, "bbox": box})
    text(path, json.dumps(value), "utf-8-sig")


def voc(path, width, height, box, name="a"):
    sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    text(path, f"<annotation>{size}<object><name>{name}</name><bndbox>{sides}</bndbox></object></annotation>")


def test_pairs_are_made_by_relative_path(tmp_path):
    for form in ("yolo", "coco", "voc"):
        for camera in (1, 2):
            picture(tmp_path / form / "images" / f"cam{camera}" / "0000.png")
    for camera in (1, 2):
        text(tmp_path / f"yolo/labels/cam{camera}/0000.txt", f"{camera - 1} 0.5 0.5 {0.25 * camera} 0.5\n")
        voc(tmp_path / f"voc/Annotations/cam{camera}/0000.xml", 64, 64, (32 - 8 * camera, 8, 50, 50), "ab"[camera - 1])
    entries = [(f"cam{c}\\0000.png", 64, 64, c - 1, [32 - 8 * c, 8, 20, 20]) for c in (1, 2)]
    coco(tmp_path / "coco/all.json", entries)
    for form in ("yolo", "coco", "voc"):
        assert by_camera(load(tmp_path / form).split("all")) == {"cam1": (0, 24), "cam2": (1, 16)}, form
    coco(tmp_path / "coco/all.json", [("0000.png", 64, 64, 0, [8, 8, 20, 20])])
    with pytest.raises(ValueError, match=r"which may be .*cam1.*cam2.*: give its folder too"):
        load(tmp_path / "coco")
    (tmp_path / "yolo/labels/cam1/0000.txt").rename(tmp_path / "yolo/labels/0000.txt")
    (tmp_path / "yolo/labels/cam2/0000.txt").unlink()
    with pytest.raises(ValueError, match=r"may be of .*: accepted are labels/X/Y"):
        load(tmp_path / "yolo")


def test_folders_decide_the_split(tmp_path):
    for split, stem in (("train", "test_0"), ("train", "val_1"), ("valid", "train_0"), ("Testing", "x")):
        picture(tmp_path / split / "images" / f"{stem}.png")
        text(tmp_path / split / "labels" / f"{stem}.txt", "0 0.5 0.5 0.5 0.5\n")
    splits = load(tmp_path).splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 2, "validation": 1, "test": 1}


def test_stated_sizes(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "voc/0.jpg", (96, 64), exif=exif)
    voc(tmp_path / "voc/0.xml", 96, 64, (0, 0, 48, 16))
    split = load(tmp_path / "voc").split("train")  # 64 x 96: turned clockwise, the upper left becomes the upper right
    factor = 64 / 96
    np.testing.assert_allclose(split.boxes[0][0, :4], np.array([48, 0, 64, 48]) * factor, atol=1)
    picture(tmp_path / "coco/0.png", (64, 32))
    coco(tmp_path / "coco/a.json", [("0.png", 128, 64, 0, [64, 0, 64, 32])])
    np.testing.assert_allclose(load(tmp_path / "coco").split("train").boxes[0][0, :4], [32, 0, 64, 16], atol=0.01)
    coco(tmp_path / "coco/a.json", [("0.png", 128, 128, 0, [64, 0, 64, 32])])
    with pytest.raises(ValueError, match=r"0.png is 128 x 128, but it is 64 x 32: accepted"):
        load(tmp_path / "coco")


def test_class_names_keep_their_places(tmp_path):
    picture(tmp_path / "images/0.png")
    picture(tmp_path / "images/1.png")
    text(tmp_path / "labels/0.txt", "11 0.5 0.5 0.5 0.5\n")
    text(tmp_path / "labels/1.txt", "")  # an empty file is an empty image
    text(tmp_path / "data.yaml", 'names:\n  "0": a\n  "2": c\n  "11": l\n', "utf-8-sig")
    dataset = load(tmp_path)
    assert dataset.class_names[:3] == ("a", "class 1", "c") and dataset.class_names[11] == "l"
    assert sorted(len(rows) for rows in dataset.split("all").boxes) == [0, 1]
    (tmp_path / "data.yaml").unlink()
    text(tmp_path / "classes.txt", "cat\n\ndog\n" + "x\n" * 9, "utf-8-sig")
    assert load(tmp_path).class_names[:3] == ("cat", "class 1", "dog")


@pytest.mark.parametrize("form", ["folder", "list", "text", "darknet", "cvat"])
def test_splits_that_are_named(form, tmp_path, capfd):
    for time in ("day", "night", "dusk"):
        picture(tmp_path / "images" / time / "0.png")
        text(tmp_path / "labels" / time / "0.txt", "0 0.5 0.5 0.5 0.5\n")
    train, val = "data/images/day/0.png\n", "./images/night/0.png\n"
    if form in ("folder", "list"):
        value = {"folder": "images/day", "list": "[../images/day, images/dusk]"}[form]
        text(tmp_path / "data.yaml", f"train: {value}\nval: images/night\ntest: ../test/images\nnames: [a]\n")
    else:
        text(tmp_path / "train.txt", train)
        text(tmp_path / "valid.txt", val)
    if form == "text":
        text(tmp_path / "data.yaml", "train: train.txt\nval: valid.txt\nnames: [a]\n")
    if form == "cvat":
        text(tmp_path / "obj.data", "classes = 1\ntrain = data/train.txt\nvalid = data/valid.txt\n")
    splits = load(tmp_path).splits
    counts = {name: len(split) for name, split in splits.items()}
    assert counts == {"train": 2 if form == "list" else 1, "validation": 1}
    assert "night/0.png" in splits["validation"].files[0]
    assert ("1 images are in no split" in capfd.readouterr().err) == (form != "list")


def test_coco_files_of_the_same_images_are_merged(tmp_path):
    picture(tmp_path / "val2017/0.jpg")
    person, dog = ("0.jpg", 64, 64, 0, [8, 8, 20, 20]), ("0.jpg", 64, 64, 1, [30, 30, 20, 20])
    coco(tmp_path / "annotations/person_keypoints_val2017.json", [person])
    coco(tmp_path / "annotations/instances_val2017.json", [dog])
    assert [len(rows) for rows in load(tmp_path).split("validation").boxes] == [2]
    coco(tmp_path / "annotations/instances_val2017.json", [person])
    assert [len(rows) for rows in load(tmp_path).split("validation").boxes] == [1]


def test_links_and_other_texts(tmp_path):
    picture(tmp_path / "store/pictures/0.png")
    text(tmp_path / "store/boxes/0.txt", "0 0.5 0.5 0.5 0.5\n")
    folder = tmp_path / "my_labels"
    text(folder / "README.dataset.txt", "# cells\nexported\n")
    text(folder / "notes.txt", "by hand\n")
    (folder / "images").symlink_to(tmp_path / "store/pictures")
    (folder / "labels").symlink_to(tmp_path / "store/boxes")
    (folder / "circle").symlink_to(folder)
    assert len(load(folder).split("train")) == 1


def test_an_id_belongs_to_one_image_or_class(tmp_path):
    picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    coco(tmp_path / "all.json", [("a.png", 64, 64, 0, [8, 8, 20, 20]), ("b.png", 64, 64, 1, [8, 8, 20, 20])])
    good = json.loads((tmp_path / "all.json").read_text("utf-8-sig"))
    for key in ("images", "categories"):
        value = json.loads(json.dumps(good))
        value[key][1]["id"] = value[key][0]["id"]
        text(tmp_path / "all.json", json.dumps(value))
        with pytest.raises(ValueError, match=f"all.json: the id 0 is that of several {key}"):
            load(tmp_path)


def test_the_number_of_classes_agrees_with_their_names(tmp_path):
    picture(tmp_path / "images/a.png"), picture(tmp_path / "images/b.png")
    for name in "ab":
        text(tmp_path / f"labels/{name}.txt", "1 0.5 0.5 0.5 0.5\n")
    text(tmp_path / "data.yaml", "nc: 2\nnames: [person]\n")
    with pytest.raises(ValueError, match=r"data.yaml has nc: 2, and names of 1 classes"):
        load(tmp_path)
    text(tmp_path / "data.yaml", "nc: 2\nnames: [person, dog]\n")
    assert load(tmp_path).class_names == ("person", "dog")
