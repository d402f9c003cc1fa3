"""Labels with holes: crowds, boxes that another detector found, and classes that nobody looked for in an image."""

import json

import keras
import numpy as np
import pytest
from test_yolo import by_pycocotools, drawing, outputs_for, random_scene, some_boxes

from recipes import yolo as recipe
from recipes.data import boxes as data
from zoo.boxes import anchors
from zoo.losses import Detection
from zoo.metrics import MeanAveragePrecision, detection_confusion

SIZE = (64, 96)
OBJECT = [8, 10, 50, 40, 1]  # of two classes
POINTS, _ = anchors(SIZE)


def loss_of(targets, found):
    return float(Detection(SIZE)(np.float32([targets]), found))


def gradient(targets, found):
    import tensorflow as tf

    found = tf.Variable(found)
    with tf.GradientTape() as tape:
        loss = Detection(SIZE)(np.float32([targets]), found)
    return tape.gradient(loss, found).numpy()


def test_a_class_that_is_not_labelled_is_no_background():
    loud = outputs_for([OBJECT, [60, 20, 90, 60, 0]], SIZE, 2)  # it sees another object, of class 0
    complete = [[*OBJECT, 1]]
    with_hole = [*complete, [0, 0, 96, 64, -2, 0]]
    quiet = loss_of(with_hole, outputs_for([OBJECT], SIZE, 2))
    assert loss_of(with_hole, loud) == pytest.approx(quiet, abs=1e-3) and loss_of(complete, loud) > 2 * quiet
    # class 0 is nowhere pushed, class 1 as before
    pushed, before = gradient(with_hole, loud)[..., 64:], gradient(complete, loud)[..., 64:]
    assert not pushed[..., 0].any() and before[..., 0].any()
    np.testing.assert_allclose(pushed[..., 1], before[..., 1], atol=1e-7)
    # a region is where it is: outside of it the class counts
    part = gradient([*complete, [0, 0, 48, 64, -2, 0]], loud)[0, :, 64]
    assert not part[POINTS[:, 0] < 48].any() and part[POINTS[:, 0] > 48].any()


def test_background_of_a_class_that_nobody_labelled_is_where_the_network_sees_none():
    found = outputs_for([OBJECT, [60, 20, 90, 60, 0]], SIZE, 2, sure=1.5)
    complete = [[*OBJECT, 1]]
    pushed = gradient([*complete, [0, 0, 96, 64, -2, 1]], found)
    before = gradient(complete, found)
    probability = 1 / (1 + np.exp(-found[..., 64]))
    np.testing.assert_allclose(pushed[..., 64], before[..., 64] * (1 - probability) ** 2, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(pushed[..., 65], before[..., 65], atol=1e-7)
    assert 0.1 < probability.min() < 0.3 and probability.max() > 0.8  # both kinds of points are there


def test_an_object_in_a_region_of_its_class_is_still_learnt():
    quiet = outputs_for([], SIZE, 2, sure=4.0)
    alone, crowded = ([[*OBJECT, 1], *rows] for rows in ([], [[0, 0, 96, 64, -3, 0]]))
    pulled, before = gradient(crowded, quiet), gradient(alone, quiet)
    assert (pulled[..., 65] < 0).sum() == (before[..., 65] < 0).sum() > 0
    np.testing.assert_allclose(pulled[..., :64], before[..., :64], atol=1e-7)


def test_a_weight_is_how_far_an_object_counts():
    near = outputs_for([[10, 12, 54, 44, 1], [62, 18, 88, 58, 0]], SIZE, 2, sure=2.0)
    two = [OBJECT, [60, 20, 90, 60, 0]]
    full, half, none = (gradient([[*two[0], 1], [*two[1], weight]], near)[0] for weight in (1, 0.5, 1e-9))
    np.testing.assert_allclose(full, gradient(two, near)[0], atol=1e-7)  # weights of one are none
    sees = np.abs(full[:, :64]).sum(axis=1) > 1e-4  # who looks for the sides of an object
    first, second = (sees & (POINTS[:, 0] < 55), sees & (POINTS[:, 0] > 55))
    assert first.any() and second.any()
    assert np.abs(none[second, :64]).max() < 1e-7 and np.abs(none[second, 64]).max() < 1e-7
    # the second object counts half as much beside the first; what all is divided by has changed as well
    ratios = [np.abs(half[chosen, :64]).sum() / np.abs(full[chosen, :64]).sum() for chosen in (first, second)]
    assert ratios[1] / ratios[0] == pytest.approx(0.5, rel=1e-4) and 1 < ratios[0] < 2
    pulls = [
        np.abs(half[one, label]).sum() / np.abs(full[one, label]).sum() for one, label in ((first, 65), (second, 64))
    ]
    assert pulls == pytest.approx(ratios, rel=1e-4)


def test_the_metric_with_crowds_is_that_of_pycocotools(capfd):
    random = np.random.default_rng(7)
    targets, detections = random_scene(random, count=20)
    with_crowds = []
    for target, found in zip(targets, detections, strict=True):
        crowds = np.concatenate([some_boxes(random, 3), np.zeros((0, 4))]) * [1, 1, 1.4, 1.4]
        around = found["boxes"][:2] + np.array([-3, -3, 3, 3])
        crowds = np.concatenate([crowds, around])  # and some around what was found
        labels = -2 - np.concatenate([random.integers(0, 3, 3), found["classes"][:2]])
        with_crowds.append(np.concatenate([target, np.concatenate([crowds, labels[:, None]], axis=1)]))
    stats, precision = by_pycocotools(with_crowds, detections, 3, capfd)
    metric, without = MeanAveragePrecision(3), MeanAveragePrecision(3)
    metric.update_state(with_crowds, detections)
    without.update_state(targets, detections)
    assert metric.result()["mAP50-95"] == pytest.approx(stats[0], abs=1e-6)
    assert metric.result()["mAP50"] == pytest.approx(stats[1], abs=1e-6)
    np.testing.assert_allclose(metric.average_precisions(), precision.mean(axis=1), atol=1e-6)
    assert metric.result()["mAP50"] > without.result()["mAP50"] + 0.01


def test_confusions_leave_out_what_is_found_in_a_region():
    found = {"boxes": np.array([[0.0, 0, 10, 10], [40, 40, 50, 50]]), "scores": np.array([0.9, 0.8]), "classes": [0, 1]}
    found["classes"] = np.array(found["classes"])
    target = np.array([[0.0, 0, 10, 10, 0]])
    matrix, wrong = detection_confusion([target], [found], 2, 0.5)
    assert matrix[2, 1] == 1 and wrong == [1]
    region = np.concatenate([target, [[30, 30, 60, 60, -3]]])
    matrix, wrong = detection_confusion([region], [found], 2, 0.5)
    assert matrix.sum() == matrix[0, 0] == 1 and wrong == [0]
    matrix, wrong = detection_confusion([np.concatenate([target, [[30, 30, 60, 60, -2]]])], [found], 2, 0.5)
    assert matrix[2, 1] == 1 and wrong == [1]  # a region of another class


def coco(folder, spoil=None):
    """Six pictures in COCO's form: the first has a crowd, a box with a score, and nobody looked for squares in it."""
    (folder / "train").mkdir(parents=True)
    random, value = np.random.default_rng(3), {"images": [], "annotations": []}
    value["categories"] = [{"id": 7, "name": "disc"}, {"id": 8, "name": "square"}]
    for number in range(6):
        image, rows = drawing(random, 120, 90)
        image.save(folder / "train" / f"p{number}.png")
        value["images"].append({"id": number, "file_name": f"p{number}.png"})
        for a, b, c, d, name in rows:
            box = {"image_id": number, "category_id": 7 + (name == "square"), "bbox": [a, b, c - a, d - b]}
            value["annotations"].append(box)
    value["images"][0]["labelled_classes"] = ["disc"]
    value["annotations"] += [
        {"image_id": 0, "category_id": 7, "bbox": [30, 20, 60, 40], "iscrowd": 1},
        {"image_id": 0, "category_id": 8, "bbox": [0, 0, 30, 30], "score": 0.5},
    ]
    if spoil:
        spoil(value)
    (folder / "train.json").write_text(json.dumps(value))
    return folder


def test_coco_says_what_is_not_labelled(tmp_path):
    found = data.load(coco(tmp_path / "holes"), image_size=(64,), splits=("train",))
    split = found.split("train")
    first = split.files.index(next(name for name in split.files if name.endswith("p0.png")))
    scale = np.array([64 / 120, 48 / 90] * 2)
    expected = {(1, 0.5): [0, 0, 30, 30], (-2, 0): [30, 20, 90, 60], (-3, 1): [0, 0, 120, 90]}
    assert {(row[4], row[5]) for row in split.holes[first]} == set(expected)
    for row in split.holes[first]:
        np.testing.assert_allclose(row[:4], expected[row[4], row[5]] * scale, atol=1e-3)
    assert not any(len(rows) for index, rows in enumerate(split.holes) if index != first)
    kinds = {"crowds": 1, "boxes_of_another_detector": 1, "images_in_which_some_classes_are_not_labelled": 1}
    assert found.holes() == kinds and not found.faults
    # training sees all of it with weights, measuring sees regions
    targets = split.targets()
    assert {len(rows[0]) for rows in targets} == {6} and (targets[first - 1][:, 5] == 1).all()
    _, measured = data.letterboxed(split)
    assert sorted(row[4] for row in measured[first] if row[4] < -1) == [-3, -3, -2]
    # other classes than those of the file
    other = found.renumbered(("square", "cat")).split("train")
    assert {row[4] for row in other.holes[first]} == {0, -2}


def test_regions_follow_the_pixels_in_training(tmp_path):
    split = data.load(coco(tmp_path / "holes"), image_size=(64,), splits=("train",)).split("train")
    options = {"scale": 0.0, "translate": 0.0, "flip": "none", "mosaic": 0.0}
    batches = data.training_batches(split, batch_size=5, steps=1, epochs=1, seed=1, **options)
    _, targets = next(iter(batches))
    targets = np.asarray(targets)
    regions = targets[targets[..., 4] < -1]
    assert targets.shape[-1] == 6 and sorted(regions[:, 4]) == [-3, -2]
    whole = regions[regions[:, 4] == -3][0]
    np.testing.assert_allclose(whole[:4], [0, 8, 64, 56], atol=0.6)
    assert sorted(targets[(targets[..., 4] >= 0) & (targets[..., 5] < 1)][:, 5]) == [0.5]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda v: v["annotations"][-1].update(score=1.5), "score of a box is a number above 0, up to 1, got 1.5"),
        (lambda v: v["annotations"][-1].update(score="high"), "score of a box is a number above 0, up to 1, got high"),
        (lambda v: v["images"][0].update(labelled_classes=["cat"]), "names among disc, square, got 'cat'"),
        (lambda v: v["images"][0].update(labelled_classes="disc"), "is a list of names among disc, square, got 'disc'"),
    ],
)
def test_wrong_holes_are_one_line(spoil, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        data.load(coco(tmp_path / "holes", spoil), image_size=(64,))


def test_training_says_that_there_are_holes(tmp_path, capfd):
    keras.utils.set_random_seed(0)
    options = {
        "image_size": (64,),
        "size": (0.1, 0.1),
        "epochs": 1,
        "batch_size": 5,
        "setup": recipe.Setup(output=tmp_path / "run"),
    }
    recipe.train(dataset=str(coco(tmp_path / "holes")), **options)
    said = capfd.readouterr().out
    assert "labelled with holes: " in said and "boxes of another detector" in said
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["dataset"]["labelled_with_holes"]["boxes_of_another_detector"] == 1
