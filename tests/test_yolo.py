"""Detection: boxes, assignment, loss and metric against other implementations, data in every form, every verb."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage
import tensorflow as tf
from commands import refused, run_json
from PIL import Image, ImageDraw

import zoo
from recipes import checkpoints, films, runs
from recipes import yolo as recipe
from recipes.__main__ import main
from recipes.data import boxes as data
from recipes.data import figure_scenes, video
from zoo import export
from zoo.boxes import anchors, complete_iou, decode, detect, iou, non_maximum_suppression
from zoo.letterbox import unletterbox
from zoo.losses import Detection, assign
from zoo.metrics import MeanAveragePrecision, best_confidence, detection_confusion
from zoo.yolo import Detector, fitted

ROOT = Path(__file__).parent.parent
TINY = (0.1, 0.0625)  # depth and width


def some_boxes(random, count, size=100.0):
    corners = random.uniform(0, size, (count, 2, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1) + 1], axis=1)


def plain_iou(one, other):
    """By the definition, for two boxes."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    inner = max(wide, 0) * max(tall, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return inner / (sum(areas) - inner)


# The library


def test_points_and_decoding_by_hand():
    points, strides = anchors((64, 96))
    assert len(points) == 8 * 12 + 4 * 6 + 2 * 3 and set(strides) == {8, 16, 32}
    assert points[0].tolist() == [4, 4] and points[1].tolist() == [12, 4] and points[-1].tolist() == [80, 48]
    logits = np.full((1, len(points), 4, 16), -50, np.float32)
    logits[0, 13, [0, 1, 2, 3], [1, 2, 3, 4]] = 50  # certain
    logits[0, 14, 0, [2, 3]] = 50  # between two bins
    logits[0, 14, [1, 2, 3], 0] = 50
    found = np.asarray(decode(logits.reshape(1, -1, 64), (64, 96)))[0]
    np.testing.assert_allclose(found[13], [12 - 8, 12 - 16, 12 + 24, 12 + 32], atol=1e-4)
    np.testing.assert_allclose(found[14], [20 - 20, 12, 20, 12], atol=1e-4)


def test_overlaps_against_keras_and_the_definition():
    random = np.random.default_rng(0)
    left, right = np.float32(some_boxes(random, 40)), np.float32(some_boxes(random, 40))
    from keras.utils import bounding_boxes

    expected = bounding_boxes.compute_ciou(left, right, "xyxy")
    np.testing.assert_allclose(complete_iou(left, right), expected, atol=2e-5)
    by_hand = [[plain_iou(one, other) for other in right] for one in left]
    np.testing.assert_allclose(iou(left[:, None], right[None]), by_hand, atol=1e-5)
    np.testing.assert_allclose(complete_iou(left, left), 1, atol=1e-5)
    nothing = np.zeros((1, 4), np.float32)
    assert float(iou(nothing, nothing)[0]) == 0 and np.isfinite(complete_iou(nothing, nothing)).all()


def slow_suppression(boxes, scores, classes, threshold):
    kept = []
    for index in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        same = [other for other in kept if classes[other] == classes[index]]
        if all(plain_iou(boxes[index], boxes[other]) <= threshold for other in same):
            kept.append(index)
    return kept


def test_suppression_against_loops_and_tensorflow():
    random = np.random.default_rng(1)
    boxes, scores, classes = some_boxes(random, 60), random.random(60), random.integers(0, 3, 60)
    found = non_maximum_suppression(boxes, scores, classes, iou_threshold=0.3)
    assert found.tolist() == slow_suppression(boxes, scores, classes, 0.3)
    one_class = non_maximum_suppression(boxes, scores, np.zeros(60), iou_threshold=0.4, max_detections=9)
    by_tensorflow = tf.image.non_max_suppression(np.float32(boxes), np.float32(scores), 9, 0.4)
    assert one_class.tolist() == by_tensorflow.numpy().tolist()
    assert len(non_maximum_suppression(np.zeros((0, 4)), [], [])) == 0


def slow_assignment(targets, found, scores, points, candidates):
    """Task-aligned assignment of one image, in loops."""
    aligned, overlaps = {}, {}
    for o, (*box, label) in enumerate(targets):
        if label < 0:
            continue
        inside = [p for p, (x, y) in enumerate(points) if box[0] < x < box[2] and box[1] < y < box[3]]
        rows = {p: plain_iou(box, found[p]) for p in inside}
        metric = {p: scores[p, int(label)] ** 0.5 * rows[p] ** 6 for p in inside}
        for p in sorted(inside, key=lambda p: -metric[p])[:candidates]:
            if metric[p] > 0:
                aligned[o, p], overlaps[o, p] = metric[p], rows[p]
    owner = {}
    for o, p in overlaps:
        if p not in owner or overlaps[o, p] > overlaps[owner[p], p]:
            owner[p] = o
    wanted = np.zeros(scores.shape)
    for p, o in owner.items():
        mine = [other for other, own in owner.items() if own == o]
        best, largest = max(aligned[o, q] for q in mine), max(overlaps[o, q] for q in mine)
        wanted[p, int(targets[o, 4])] = aligned[o, p] / best * largest
    return owner, wanted


def test_assignment_against_loops():
    random = np.random.default_rng(2)
    points, _ = anchors((64, 64))
    targets = np.full((3, 6, 5), -1, np.float32)
    targets[0, :6, :4], targets[0, :, 4] = some_boxes(random, 6, 60), [0, 1, 2, 1, -1, 2]
    targets[1, :2, :4], targets[1, :2, 4] = [[0, 0, 40, 40], [4, 4, 44, 44]], [1, 1]  # two that compete
    centres = np.concatenate([points, points], axis=1)  # the third image is empty
    found = np.float32(centres + random.uniform(2, 25, (3, len(points), 4)) * [-1, -1, 1, 1])
    scores = np.float32(random.uniform(0.01, 0.9, (3, len(points), 3)))
    boxes, wanted = (np.asarray(part) for part in assign(targets, found, scores, points, candidates=4))
    for image in range(3):
        owner, expected = slow_assignment(targets[image], found[image], scores[image], points, 4)
        np.testing.assert_allclose(wanted[image], expected, atol=1e-5)
        assert set(np.flatnonzero(wanted[image].sum(axis=1))) == set(owner)
        for p, o in owner.items():
            np.testing.assert_allclose(boxes[image, p], targets[image, o, :4], rtol=1e-6)
    assert len(np.unique(wanted[1].sum(axis=1))) > 4 and wanted[2].sum() == 0


def outputs_for(targets, size, classes, sure=12.0):
    """Predictions that say the targets exactly: (1, points, 64 + classes)."""
    points, strides = anchors(size)
    y = np.full((1, len(points), 64 + classes), -sure, np.float32)
    for *box, label in targets:
        sides = np.abs(np.array([*points.T, *points.T]).T - box) / strides[:, None]
        inside = (points > box[:2]).all(axis=1) & (points < box[2:]).all(axis=1) & (sides.max(axis=1) < 14)
        for p in np.flatnonzero(inside):
            low = np.floor(sides[p]).astype(int)
            for side in range(4):
                share = sides[p, side] - low[side]
                logits = np.full(16, -30.0)
                logits[low[side]], logits[low[side] + 1] = np.log(1 - share + 1e-9), np.log(share + 1e-9)
                y[0, p, 16 * side : 16 * side + 16] = logits
            y[0, p, 64 + int(label)] = sure
    return y


def test_the_loss_of_the_truth_is_small_and_each_mistake_costs():
    targets = np.array([[[8, 10, 50, 40, 1], [60, 20, 90, 60, 0], [0, 0, 0, 0, -1]]], np.float32)
    loss = Detection((64, 96))
    truth = outputs_for(targets[0, :2], (64, 96), 2)
    best = float(loss(targets, truth))
    for wrong in (targets[0, :1], targets[0, :2] + [6, 0, 6, 0, 0], targets[0, :2] * [1, 1, 1, 1, 0]):
        assert float(loss(targets, outputs_for(wrong, (64, 96), 2))) > best + 0.2
    (found,) = detect({"boxes": truth[..., :64], "scores": truth[..., 64:]}, (64, 96), confidence=0.5)
    assert found["classes"].tolist() == [1, 0] or found["classes"].tolist() == [0, 1]
    order = np.argsort(-found["classes"])
    np.testing.assert_allclose(found["boxes"][order], targets[0, :2, :4], atol=0.1)
    empty = np.full((2, 3, 5), -1, np.float32)
    quiet, loud = np.full((2, 126, 66), -9, np.float32), np.full((2, 126, 66), 9, np.float32)
    assert 0 < float(loss(empty, quiet)) < 1 < float(loss(empty, loud))
    with pytest.raises(ValueError, match=r"predictions \(batch, 126, 64 \+ num_classes\), got .*\(1, 126, 64\)"):
        loss(targets, truth[..., :64])
    assert Detection.from_config(loss.get_config()).get_config() == loss.get_config()


def toy(count=8, size=64):
    """Images of squares and discs: float32 (count, size, size, 3), targets (count, 4, 5); the first ones are empty."""
    random = np.random.default_rng(0)
    images, targets = [], np.full((count, 4, 5), -1, np.float32)
    for number in range(count):
        image, rows = drawing(random, size, size)
        if number < 2:
            image, rows = Image.new("RGB", image.size, "#90a0a0"), []
        for row, (*box, name) in enumerate(rows):
            targets[number, row] = [*box, NAMES.index(name)]
        images.append(np.asarray(image) / np.float32(255))
    return np.stack(images), targets


@pytest.fixture(scope="session")
def learnt(shapes, tmp_path_factory):
    """The folder, with a card, of a model that knows seven images of `shapes` and an empty one by heart."""
    keras.utils.set_random_seed(1)
    split = data.load(shapes, image_size=(96,), splits=("train",)).split("train")
    pages, boxes = data.letterboxed(split)
    x, y = np.concatenate([pages, pages[:1] * 0 + data.GREY]) / np.float32(255), data.pad([*boxes, boxes[0][:0]], 3)
    model = zoo.yolo((96, 96, 3), 2, size=(0.1, 0.2))
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 300)
    model.compile(keras.optimizers.Adam(schedule), loss=Detection((96, 96)), jit_compile=False)
    model.optimizer.build(model.trainable_variables)  # or the step is traced twice
    stream = tf.data.Dataset.from_tensors((x, y))
    first, _ = (model.fit(stream.repeat(n), shuffle=False, verbose=0).history["loss"][0] for n in (1, 299))
    folder = tmp_path_factory.mktemp("learnt")
    model.save(folder / "model.keras")
    (folder / "card.json").write_text(json.dumps({"name": "yolo", "dataset": {"classes": ["disc", "square"]}}))
    return folder, model, x, y, first


def test_eight_images_are_learnt_by_heart(learnt):
    folder, model, x, y, first = learnt
    metric = MeanAveragePrecision(2)
    metric.update_state(y, detect(model(x), (96, 96), confidence=0.001))
    assert metric.result()["mAP50"] > 0.95
    last = model.evaluate(x, y, batch_size=9, verbose=0)
    assert last < 0.3 * first
    assert len(detect(model(x[-1:]), (96, 96), confidence=0.3)[0]["scores"]) == 0  # the empty one
    again = keras.saving.load_model(folder / "model.keras")  # with its loss
    assert isinstance(again, Detector) and again.loss.get_config() == model.loss.get_config()
    assert float(again.compute_loss(x, y, again(x))) == pytest.approx(last, rel=1e-4)


def test_two_replicas_and_mixed_precision():
    x, y = toy()
    devices = [item.name for item in tf.config.list_logical_devices("CPU")][:2]
    strategy = tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = zoo.yolo((64, 64, 3), 2, size=TINY)
        finally:
            keras.config.set_dtype_policy("float32")
        optimizer = recipe._optimizer("sgd", 0.1, 0.0, 10.0, steps=1, epochs=2)
        model.compile(optimizer, loss=Detection((64, 64)), run_eagerly=True)  # for two steps tracing would not pay
    moved = []

    def take_averages(*_):
        trained = recipe._take_averages(model)
        moved.append(any((now != np.array(w)).any() for now, w in zip(trained, model.trainable_variables, strict=True)))

    watch = keras.callbacks.LambdaCallback(on_epoch_end=take_averages)
    stream = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    history = model.fit(stream, epochs=2, shuffle=False, verbose=0, callbacks=[watch])
    assert np.isfinite(history.history["loss"]).all()
    assert {output.dtype for output in model.outputs} == {"float32"}
    assert moved == [False, True]  # after one step the average is the weight itself


def test_the_loss_on_jax_is_that_on_tensorflow(tmp_path):
    keras.utils.set_random_seed(2)
    x, y = toy()
    model = zoo.yolo((64, 64, 3), 2, size=TINY)
    model.save(tmp_path / "model.keras")
    outputs = model(x, training=True)
    expected = float(Detection((64, 64))(y, np.concatenate([outputs["boxes"], outputs["scores"]], axis=-1)))
    np.savez(tmp_path / "data.npz", x=x, y=y)
    code = """
import sys, keras, numpy as np, zoo
assert keras.backend.backend() == "jax"
data = np.load("data.npz")
model = keras.saving.load_model("model.keras")
model.compile(keras.optimizers.SGD(0.01, global_clipnorm=1.0), loss=zoo.losses.Detection((64, 64)))
losses = [float(model.train_on_batch(data["x"], data["y"])) for _ in range(3)]
assert "tensorflow" not in sys.modules
print(losses[0], losses[-1])
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    child = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    first, after = map(float, child.stdout.split()[-2:])
    assert first == pytest.approx(expected, rel=1e-4) and after < first


def test_a_number_of_classes_is_no_size_of_images():
    with pytest.raises(ValueError, match=r"image_size is \(height, width\) of the images in pixels, got 3; the number"):
        zoo.losses.Detection(3)


def test_the_medium_size_is_that_of_the_preset():
    assert zoo.yolo((64, 64, 3), 20, size="medium").count_params() == 25_901_004  # as keras-cv publishes it


def test_other_classes_and_sizes_keep_all_but_the_class_head(tmp_path):
    model = zoo.yolo((64, 64, 3), 3, size=TINY)
    model.save(tmp_path / "model.keras")
    wide = zoo.yolo((96, 64, 3), 3, size="medium", weights=tmp_path / "model.keras")  # the file decides the size
    for one, other in zip(model.get_weights(), wide.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    new = zoo.yolo((64, 64, 3), 5, weights=tmp_path / "model.keras")
    x = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    np.testing.assert_array_equal(model(x)["boxes"], new(x)["boxes"])
    assert new(x)["scores"].shape == (1, 84, 5)
    changed = {
        layer.name
        for layer in new.layers
        if layer.weights and layer.name.endswith("class_3_conv") and layer.kernel.shape[-1] == 5
    }
    assert len(changed) == 3
    with pytest.raises(ValueError, match="3 channels, asked for 1"):
        zoo.yolo((64, 64, 1), 3, weights=tmp_path / "model.keras")
    with pytest.raises(ValueError, match="is not a YOLO"):
        fitted(zoo.mnist_cnn(filters=(4,)), (64, 64, 3), 3)
    model.save_weights(tmp_path / "model.weights.h5")
    same = zoo.yolo((64, 64, 3), 3, size=TINY, weights=tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(model(x)["boxes"], same(x)["boxes"])
    with pytest.raises(ValueError, match="no weights of a YOLO of this size and 4 classes"):
        zoo.yolo((64, 64, 3), 4, size=TINY, weights=tmp_path / "model.weights.h5")


def test_keras_cv_detector_becomes_ours(tmp_path):
    keras_cv = pytest.importorskip("keras_cv", reason="needs the extra detection", exc_type=ImportError)
    from zoo.yolo import from_keras_cv

    x = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    backbone = keras_cv.models.YOLOV8Backbone([16, 32, 64, 128], [1, 2, 2, 1], True, input_shape=(64, 96, 3))
    theirs = keras_cv.models.YOLOV8Detector(backbone, 4, "xyxy", fpn_depth=1)
    for weight in theirs.weights:  # also the moving averages, which start at 0 and 1
        weight.assign(np.abs(np.random.default_rng(1).normal(0.1, 0.1, weight.shape)))
    ours = from_keras_cv(theirs, (64, 96, 3))
    expected, found = theirs(x), ours(x / 255)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(keras.ops.sigmoid(found["scores"]), expected["classes"], atol=1e-4)
    theirs.save(tmp_path / "theirs.keras")
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    for options in ({"weights": tmp_path / "theirs.keras"}, {"weights": tmp_path / "theirs.weights.h5"}):
        again = zoo.yolo((64, 96, 3), 4, size=(1 / 3, 0.125), **options)
        np.testing.assert_allclose(again(x / 255)["boxes"], expected["boxes"], rtol=1e-4, atol=1e-4)


# The metric


def random_scene(random, count=12, classes=3):
    """Objects and detections that find some of them: lists of one entry per image."""
    targets, detections = [], []
    for _ in range(count):
        objects = np.concatenate([some_boxes(random, random.integers(0, 7)), np.zeros((0, 4))])
        labels = random.integers(0, classes, len(objects))
        near = np.repeat(objects, 2, axis=0) + random.normal(0, 4, (2 * len(objects), 4))
        boxes = np.concatenate([near, some_boxes(random, 5)])
        guesses = np.concatenate([np.repeat(labels, 2), random.integers(0, classes, 5)])
        flips = random.random(len(guesses)) < 0.2
        guesses = np.where(flips, random.integers(0, classes, len(guesses)), guesses)
        scores = np.round(random.random(len(boxes)), 2)  # with ties
        boxes = np.concatenate(
            [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:]) + 0.1], 1
        )
        targets.append(np.concatenate([objects, labels[:, None]], axis=1))
        detections.append({"boxes": boxes, "scores": scores, "classes": guesses})
    return targets, detections


def by_pycocotools(targets, detections, classes, capfd):
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools", exc_type=ImportError)
    from pycocotools.cocoeval import COCOeval

    annotations, results = [], []
    for image, (target, found) in enumerate(zip(targets, detections, strict=True), start=1):
        for left, top, right, lower, label in target:
            box = [left, top, right - left, lower - top]
            category, crowd = (int(label), 0) if label >= 0 else (-2 - int(label), 1)
            annotations.append({"id": len(annotations) + 1, "image_id": image, "category_id": category, "bbox": box})
            annotations[-1] |= {"area": box[2] * box[3], "iscrowd": crowd}
        for (left, top, right, lower), score, label in zip(
            found["boxes"], found["scores"], found["classes"], strict=True
        ):
            box = [left, top, right - left, lower - top]
            results.append({"image_id": image, "category_id": int(label), "bbox": box, "score": float(score)})
    truth = coco.COCO()
    truth.dataset = {
        "images": [{"id": number} for number in range(1, len(targets) + 1)],
        "categories": [{"id": number} for number in range(classes)],
        "annotations": annotations,
    }
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capfd.readouterr()
    return evaluation.stats, evaluation.eval["precision"][:, :, :, 0, 2]  # all areas, 100 detections


def test_the_interval_of_a_mean_average_precision_is_that_of_images_drawn_anew():
    scenes = [random_scene(np.random.default_rng(seed)) for seed in range(12)]
    detections = [one for scene in scenes for one in scene[1]]
    random = np.random.default_rng(0)
    for one in detections:  # the order of equals would differ
        one["scores"] = one["scores"] + random.random(len(one["scores"])) / 1000
    whole = MeanAveragePrecision(3)
    for targets, found in scenes:
        whole.update_state(targets, found)
    targets = [one for scene in scenes for one in scene[0]]
    values = []
    for times in np.random.default_rng(0).multinomial(len(targets), np.full(len(targets), 1 / len(targets)), 40):
        drawn = MeanAveragePrecision(3)
        chosen = np.repeat(np.arange(len(targets)), times)
        drawn.update_state([targets[index] for index in chosen], [detections[index] for index in chosen])
        values.append(drawn.result()["mAP50"])
    np.testing.assert_allclose(whole.interval(rounds=40), np.quantile(values, (0.025, 0.975)))
    low, high = whole.interval()
    assert low < whole.result()["mAP50"] < high


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mean_average_precision_is_that_of_pycocotools(seed, capfd):
    targets, detections = random_scene(np.random.default_rng(seed))
    stats, precision = by_pycocotools(targets, detections, 3, capfd)
    metric = MeanAveragePrecision(3)
    metric.update_state(targets[:5], detections[:5])
    metric.update_state(targets[5:], detections[5:])
    result = metric.result()
    assert 0.05 < result["mAP50-95"] < 0.9
    assert result["mAP50-95"] == pytest.approx(stats[0], abs=1e-6)
    assert result["mAP50"] == pytest.approx(stats[1], abs=1e-6)
    np.testing.assert_allclose(metric.average_precisions(), precision.mean(axis=1), atol=1e-6)


def test_mean_average_precision_of_real_boxes_is_that_of_pycocotools(real_data, capfd):
    split = data.load(real_data / "bccd", image_size=(64,), splits=("validation",)).split("validation")
    random, targets, detections = np.random.default_rng(4), [], []
    for rows in split.boxes:
        rows = rows * [10, 10, 10, 10, 1]  # nearly the pixels of the photographs
        right, down = random.normal(0, 8, 2)
        moved = rows[random.random(len(rows)) < 0.9] + [right, down, right, down, 0]
        boxes, scores = np.concatenate([moved, moved - [9, 9, 9, 9, 0]]), random.random(2 * len(moved))
        targets.append(rows)
        detections.append({"boxes": boxes[:, :4], "scores": scores, "classes": boxes[:, 4].astype(int)})
    stats, precision = by_pycocotools(targets, detections, 3, capfd)
    metric = MeanAveragePrecision(3)
    metric.update_state(targets, detections)
    assert metric.result()["mAP50-95"] == pytest.approx(stats[0], abs=1e-6) and 0.1 < stats[0] < 0.9
    np.testing.assert_allclose(metric.average_precisions(), precision.mean(axis=1), atol=1e-6)


def test_mean_average_precision_by_hand():
    objects = np.array([[0, 0, 10, 10, 0], [20, 0, 30, 10, 0], [0, 0, 0, 0, -1]])
    found = {"boxes": [[0, 0, 10, 10], [50, 50, 60, 60], [20, 0, 30, 6]], "scores": [0.9, 0.8, 0.7], "classes": [0] * 3}
    metric = MeanAveragePrecision(2)
    metric.update_state([objects], [found])
    result = metric.result()
    # precision 1 up to recall 1/2, then 2/3: 51 and 50 of 101 points
    assert result["mAP50"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert result["per_class"][0]["objects"] == 2 and np.isnan(result["per_class"][1]["AP50"])
    assert metric.average_precisions()[3, 0] == pytest.approx(51 / 101)  # at 0.65 the last one is too far off
    metric.reset_state()
    assert metric.result()["mAP50"] == 0
    with pytest.raises(ValueError, match="class 2 is not one of the 2"):
        metric.update_state([objects], [found | {"classes": [0, 1, 2]}])
    with pytest.raises(ValueError, match="got 1 and 2"):
        metric.update_state([objects], [found, found])


# Data


NAMES = ("disc", "square")


def drawing(random, width, height):
    """A picture with one dark square and one bright disc: (PIL image, [(left, top, right, lower, name)])."""
    image = Image.new("RGB", (width, height), "#90a0a0")
    pen, rows = ImageDraw.Draw(image), []
    for name, place in (("square", 0), ("disc", 1)):
        side = int(random.integers(width // 6, width // 3))
        left = int(random.integers(0, width // 2 - side)) + place * width // 2
        top = int(random.integers(0, height - side))
        shape = pen.rectangle if name == "square" else pen.ellipse
        shape((left, top, left + side - 1, top + side - 1), fill="#101018" if name == "square" else "#f0e050")
        rows.append((left, top, left + side, top + side, name))
    return image, rows


def write_xml(path, rows):
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>"
        for a, b, c, d, name in rows
    )
    path.write_text(f"<annotation>{objects}</annotation>")


def write_voc(folder, pictures, splits):
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for number, (image, rows) in enumerate(pictures):
        image.save(folder / "JPEGImages" / f"p{number}.png")
        write_xml(folder / "Annotations" / f"p{number}.xml", rows)
    for split, numbers in splits.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"p{number}\n" for number in numbers))


def write_coco(folder, pictures, splits):
    (folder / "annotations").mkdir(parents=True)
    for split, numbers in splits.items():
        (folder / split).mkdir()
        value = {"images": [], "annotations": [], "categories": [{"id": 7 + i, "name": n} for i, n in enumerate(NAMES)]}
        for number in numbers:
            image, rows = pictures[number]
            image.save(folder / split / f"p{number}.png")
            value["images"].append({"id": number, "file_name": f"p{number}.png"})
            value["annotations"] += [
                {"image_id": number, "category_id": 7 + NAMES.index(name), "bbox": [a, b, c - a, d - b]}
                for a, b, c, d, name in rows
            ]
        value["annotations"].append({"image_id": numbers[0], "category_id": 7, "bbox": [0, 0, 9, 9], "iscrowd": 1})
        (folder / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(value))


def write_yolo(folder, pictures, splits):
    for split, numbers in splits.items():
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in numbers:
            image, rows = pictures[number]
            image.save(folder / "images" / split / f"p{number}.png")
            w, h = image.size
            lines = [
                f"{NAMES.index(name)} {(a + c) / 2 / w} {(b + d) / 2 / h} {(c - a) / w} {(d - b) / h}\n"
                for a, b, c, d, name in rows
            ]
            (folder / "labels" / split / f"p{number}.txt").write_text("".join(lines))
    (folder / "data.yaml").write_text("names:\n  0: disc\n  1: square\n")


@pytest.fixture(scope="session")
def pictures():
    random = np.random.default_rng(5)
    return [drawing(random, 120, 90) for _ in range(12)]


@pytest.mark.parametrize(
    ("write", "form"),
    [(write_voc, "Pascal VOC"), (write_coco, "COCO"), (write_yolo, "YOLO")],
    ids=["voc", "coco", "yolo"],
)
def test_every_form_of_folder(write, form, pictures, tmp_path):
    write(tmp_path / "things", pictures, {"train": [0, 1, 2, 3, 4, 5, 6], "val": [7, 8, 9], "test": [10, 11]})
    found = data.load(tmp_path / "things", image_size=(64,))
    assert found.form == form and found.class_names == NAMES and found.name == "things"
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 7, "validation": 3, "test": 2}
    test = found.split("test")
    assert test.images.shape == (2, 64, 64, 3) and test.sizes.tolist() == [[48, 64]] * 2
    for index, number in enumerate((10, 11)):
        expected = [[a, b, c, d, NAMES.index(name)] for a, b, c, d, name in pictures[number][1]]
        expected = np.array(expected) * [64 / 120, 48 / 90, 64 / 120, 48 / 90, 1]
        np.testing.assert_allclose(test.boxes[index], expected, atol=1e-3)
    pages, boxes = data.letterboxed(test)
    assert (pages[0, :8] == data.GREY).all() and (pages[0, 8:56] != data.GREY).any()
    boxes = boxes[0][boxes[0][:, 4] >= 0, :4]  # the others are regions
    back = unletterbox(boxes, test.sizes[0], test.originals[0], (64, 64))
    np.testing.assert_allclose(back, [row[:4] for row in pictures[10][1]], atol=1e-3)
    assert not found.faults and found.holes() == ({"crowds": 3} if form == "COCO" else {})
    one = data.load(tmp_path / "things", image_size=(64,), classes=("square",), splits=("test",))
    assert one.class_names == ("square",) and set(one.splits) == {"test"}
    assert data.chosen(("square,disc", "a,b"), ("disc", "square", "a,b")) == ("square", "disc", "a,b")
    assert [len(rows) for rows in one.split("test").boxes] == [1, 1]


def test_faulty_boxes_are_clipped_or_dropped_and_counted():
    known = {"a", "b"}
    rows = [
        (10, 10, 20, 20, "a"),
        (-8, 5, 20, 20, "b"),  # clipped
        (0, 0, 101, 51, "a"),  # one pixel too far, as some tools count
        (30, 30, 30, 40, "a"),  # no area
        (40, 40, 30, 45, "a"),
        (200, 5, 250, 20, "a"),  # outside
        (5, 5, 20, 20, "c"),  # unknown
        (5, 5, float("nan"), 20, "a"),
    ]
    kept, faults = data.clean(rows, (50, 100), ("a", "b"), known)
    assert kept.tolist() == [[10, 10, 20, 20, 0], [0, 5, 20, 20, 1], [0, 0, 100, 50, 0]]
    assert faults == {
        "clipped to the image": 1,
        "dropped: no area": 3,
        "dropped: outside the image": 1,
        "dropped: unknown class": 1,
    }
    kept, faults = data.clean(rows, (50, 100), ("b",), known)
    assert kept.tolist() == [[0, 5, 20, 20, 0]] and sum(faults.values()) == 6


def extent(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_boxes_follow_the_pixels_through_every_augmentation(mosaic):
    random, count = np.random.default_rng(3), 24
    images = np.full((count, 96, 128, 3), 40, np.uint8)
    sizes, boxes = np.zeros((count, 2), np.int32), []
    colours = [(250, 60, 60), (60, 250, 60), (60, 60, 250)]
    for number in range(count):  # one coloured box in each image, which knows its class
        sizes[number] = random.integers(60, 97), random.integers(80, 129)
        height, width = sizes[number]
        left, top = random.integers(0, width - 40), random.integers(0, height - 30)
        right, lower = left + random.integers(12, 38), top + random.integers(12, 28)
        images[number, height:] = images[number, :, width:] = data.GREY
        label = number % 3
        images[number, top:lower, left:right] = colours[label]
        boxes.append(np.array([[left, top, right, lower, label]], np.float32))
    split = data.Split(images, sizes, sizes, boxes, [str(number) for number in range(count)])
    options = {"mosaic": mosaic, "close_mosaic": 0, "flip": "both", "hue": 0.0, "saturation": 0.0, "brightness": 0.0}
    batches = data.training_batches(split, batch_size=8, steps=3, epochs=2, scale=0.5, translate=0.2, **options)
    seen = 0
    for x, y in batches:
        assert x.shape == (8, 96, 128, 3) and y.shape == (8, 4 if mosaic else 1, 5)
        for image, rows in zip(x.numpy() * 255, y.numpy(), strict=True):
            for left, top, right, lower, label in rows[rows[:, 4] >= 0]:
                mask = np.abs(image - colours[int(label)]).max(axis=-1) < 100
                corner = max(0, int(left) - 4), max(0, int(top) - 4)
                inside = mask[corner[1] : int(lower) + 5, corner[0] : int(right) + 5]
                rest = mask.copy()
                rest[corner[1] : int(lower) + 5, corner[0] : int(right) + 5] = False
                near = rest[max(0, corner[1] - 6) : int(lower) + 11, max(0, corner[0] - 6) : int(right) + 11]
                if near.any() or not inside.any():  # another one of this colour touches it
                    assert inside.any()
                    continue
                found = np.add(extent(inside), (*corner, *corner))
                np.testing.assert_allclose([left, top, right, lower], found, atol=1.6)
                seen += 1
    assert seen > 30
    # and the same again: nothing but seed, epoch and step decides
    again = data.training_batches(
        split, batch_size=8, steps=3, epochs=2, first_epoch=1, scale=0.5, translate=0.2, **options
    )
    later = list(batches)[3:]
    for (x, y), (x2, y2) in zip(later, again, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)


def test_the_mosaic_is_closed_at_the_end_and_colours_change():
    images = np.repeat(np.arange(40, 200, 20, dtype=np.uint8), 64 * 64 * 3).reshape(8, 64, 64, 3)
    sizes = np.full((8, 2), 64, np.int32)
    split = data.Split(images, sizes, sizes, [np.zeros((0, 5), np.float32)] * 8, ["x"] * 8)
    plain = {"scale": 0.0, "translate": 0.0, "flip": "none"}
    batches = data.training_batches(
        split, batch_size=8, steps=1, epochs=4, close_mosaic=2, hue=0, saturation=0, brightness=0, **plain
    )
    levels = [[len(np.unique(np.round(image * 255))) for image in x.numpy()] for x, _ in batches]
    assert all(max(epoch) > 1 for epoch in levels[:2]) and all(max(epoch) == 1 for epoch in levels[2:])
    x = np.random.default_rng(0).uniform(0.1, 0.7, (4, 8, 8, 3)).astype(np.float32)
    same = data.jitter(x, tf.constant([1, 2]), 0.0, 0.0, 0.0)
    np.testing.assert_allclose(same, x, atol=1e-5)
    darker = data.jitter(x, tf.constant([1, 2]), 0.0, 0.0, 0.4).numpy()
    factors = (darker / x).reshape(4, -1)
    assert factors.min() >= 0.6 and factors.max() <= 1.4 and np.ptp(factors[:, 0]) > 0.01
    np.testing.assert_allclose(factors, factors[:, :1].repeat(192, axis=1), rtol=1e-3)


def test_scenes_are_the_same_each_time_and_their_boxes_are_exact():
    image, objects = figure_scenes.draw([0, 3])
    again, same = figure_scenes.draw([0, 3])
    assert objects == same and (np.asarray(image) == np.asarray(again)).all() and image.size == (320, 256)
    found = [row for seed in range(12) for row in figure_scenes.draw([1, seed])[1]]
    assert {row[4] for row in found} == set(figure_scenes.CLASSES)
    assert all(0 <= a < c <= 320 and 0 <= b < d <= 256 for a, b, c, d, _ in found)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "Annotations" / "p1.xml").write_text("<annotation><object>"), ["p1.xml", "not XML"]),
        (lambda f: (f / "Annotations" / "p1.xml").unlink(), ["train.txt", "p1", "no annotation"]),
        (lambda f: (f / "JPEGImages" / "p1.png").unlink(), ["p1.xml", "has no image"]),
        (lambda f: (f / "JPEGImages" / "p1.png").write_text("text"), ["p1.png", "not an image"]),
        (lambda f: write_xml(f / "Annotations" / "p1.xml", [("x", 1, 2, 3, "disc")]), ["p1.xml", "object 1"]),
        (lambda f: (f / "Annotations" / "p1.xml").write_text("<a><object/></a>"), ["p1.xml", "bndbox"]),
    ],
    ids=["broken", "no label", "no image", "no picture", "no number", "no box"],
)
def test_a_faulty_voc_folder_is_one_line(spoil, words, pictures, tmp_path):
    write_voc(tmp_path / "things", pictures[:4], {"train": [0, 1, 2], "val": [3]})
    spoil(tmp_path / "things")
    with pytest.raises(ValueError) as caught:
        data.load(tmp_path / "things", image_size=(64,))
    assert all(word in str(caught.value) for word in words), caught.value
    data.load(tmp_path / "things", image_size=(64,), splits=("validation",))  # the other split is not asked


def test_faulty_coco_and_yolo_folders_are_one_line(pictures, tmp_path):
    def complaint(folder, **options):
        with pytest.raises(ValueError) as caught:
            data.load(folder, image_size=(64,), **options)
        return str(caught.value)

    write_coco(tmp_path / "coco", pictures, {"train": [0, 1, 2]})
    collection = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    whole = collection.read_text()
    collection.write_text(whole[:-5])
    assert "instances_train2017.json is not JSON" in complaint(tmp_path / "coco")
    collection.write_text(whole.replace('"category_id"', '"kind"'))
    assert "not COCO: an entry lacks 'category_id'" in complaint(tmp_path / "coco")
    collection.write_text(whole)
    value = json.loads(whole)
    value["annotations"][0]["bbox"] = [1, 2, "wide", 4]
    collection.write_text(json.dumps(value))
    assert "instances_train2017.json: a bbox is left, top, width and height" in complaint(tmp_path / "coco")
    collection.write_text(whole)
    (tmp_path / "coco" / "train" / "p1.png").unlink()
    assert "lists the image p1.png, which is not in" in complaint(tmp_path / "coco")

    write_yolo(tmp_path / "single", pictures, {"train": [0]})
    with pytest.raises(ValueError, match="single has 1 image to train on: 2 are needed"):
        data.load(tmp_path / "single", image_size=(64,)).split("validation")
    write_yolo(tmp_path / "yolo", pictures, {"train": [0, 1, 2]})
    label = tmp_path / "yolo" / "labels" / "train" / "p1.txt"
    label.write_text("0 0.5 0.5\n")
    assert "p1.txt, line 1: expected class" in complaint(tmp_path / "yolo")
    label.unlink()
    assert "p1.png has no label file p1.txt" in complaint(tmp_path / "yolo")
    kept = data.load(tmp_path / "yolo", image_size=(64,), unlabelled="background", splits=("train",))
    assert sorted(map(len, kept.split("train").boxes))[0] == 0 or len(kept.split("train")) == 2
    label.with_name("p77.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    assert "p77.txt has no image" in complaint(tmp_path / "yolo")

    (tmp_path / "bare").mkdir()
    assert "bare has no images" in complaint(tmp_path / "bare")
    pictures[0][0].save(tmp_path / "bare" / "a.png")
    assert "bare has images but no boxes" in complaint(tmp_path / "bare")
    assert "no folder /nowhere/at/all" in complaint("/nowhere/at/all")
    with pytest.raises(ValueError, match=r"multiples of 32, got \(60,\)"):
        data.load("scenes", image_size=(60,))


def test_a_set_of_tensorflow_datasets(pictures, monkeypatch):
    import io

    import tensorflow_datasets as tfds

    def encoded(image):
        stream = io.BytesIO()
        image.save(stream, "PNG")
        return stream.getvalue()

    def examples(split, decoders):
        assert split in ("train", "test") and set(decoders) == {"image"}
        for number, (image, rows) in enumerate(pictures[:4] if split == "train" else pictures[4:6]):
            boxes = np.float32([[b / 90, a / 120, d / 90, c / 120] for a, b, c, d, _ in rows])
            labels = [NAMES.index(name) for *_, name in rows]
            yield {
                "image": encoded(image),
                "image/filename": f"{number}.png".encode(),
                "objects": {
                    "bbox": boxes,
                    "label": np.array(labels),
                    "is_crowd": np.array([False, number == 0 and split == "train"]),
                },
            }

    class Builder:
        name = "things"
        info = type("Info", (), {})()
        as_dataset = staticmethod(lambda split, decoders: examples(split, decoders))

    label = tfds.features.ClassLabel(names=list(NAMES))
    objects = {"bbox": tfds.features.BBoxFeature(), "label": label, "is_crowd": np.bool_}
    Builder.info.features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(), "objects": tfds.features.Sequence(objects)}
    )
    Builder.info.splits = {"train": None, "test": None}
    Builder.info.version = "1.0.0"
    Builder.info.redistribution_info = type("R", (), {"license": "CC0"})()
    monkeypatch.setattr(data.image_data, "tfds_builder", lambda *_, **__: Builder)
    monkeypatch.setattr(data.image_data, "download", lambda *_: None)
    monkeypatch.setattr(tfds, "as_numpy", lambda dataset: dataset)
    found = data.load("things", image_size=(64,))
    assert found.class_names == NAMES and found.licence == "CC0" and found.form == "tensorflow-datasets"
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 3, "validation": 1, "test": 2}
    assert not found.faults and found.holes() == {"crowds": 1}
    expected = [[a * 64 / 120, b * 48 / 90, c * 64 / 120, d * 48 / 90] for a, b, c, d, _ in pictures[4][1]]
    np.testing.assert_allclose(found.split("test").boxes[0][:, :4], expected, atol=0.01)


# The command


@pytest.fixture(scope="session")
def shapes(pictures, tmp_path_factory):
    """A folder in the form of Pascal VOC."""
    folder = tmp_path_factory.mktemp("shapes") / "shapes"
    write_voc(folder, pictures, {"train": range(7), "val": [8, 9, 10, 11]})
    return folder


class Built(Exception):
    """Ends a training where its network is built."""


@pytest.mark.parametrize(
    "few, options, expected",
    [
        (8, {}, ("everyday", "stage3")),
        (8, {"freeze_until": "stage2"}, ("everyday", "stage2")),
        (7, {}, (None, None)),  # the folder has 7
        (8, {"weights": None}, (None, None)),
        (8, {"size": "small"}, (None, None)),
        (8, {"backbone": "MobileNetV3Small"}, (None, None)),
        (8, {"weights": "bccd"}, ("bccd", None)),
    ],
)
def test_a_small_folder_starts_from_a_trained_detector(few, options, expected, shapes, tmp_path, monkeypatch, capsys):
    def built(*_, weights, freeze_until, **__):
        raise Built(weights, freeze_until)

    monkeypatch.setattr(recipe, "FEW", few)
    monkeypatch.setattr(recipe.zoo, "yolo", built)
    with pytest.raises(Built) as error:
        recipe.train(dataset=str(shapes), image_size=(64,), output=tmp_path / "run", **options)
    assert error.value.args == expected
    assert ("starts from the weights of everyday" in capsys.readouterr().out) == (expected[0] == "everyday")


def test_a_run_that_started_by_itself_goes_on_from_what_it_chose(shapes, tmp_path, monkeypatch):
    def stop(model, *_, **__):
        np.testing.assert_array_equal(model.get_weights()[0], zoo.load("yolo_everyday").get_weights()[0])
        assert not model.layers[1].trainable
        raise KeyboardInterrupt

    def built(*_, weights, freeze_until, **__):
        raise Built(weights, freeze_until)

    monkeypatch.setattr(recipe.training, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(dataset=str(shapes), image_size=(32,), output=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["weights"], config["freeze_until"]) == ("everyday", "stage3")
    assert config["epochs"] == 300  # as many as may be, of one step
    monkeypatch.setattr(recipe, "FEW", 0)  # another version may choose otherwise
    monkeypatch.setattr(recipe.zoo, "yolo", built)
    with pytest.raises(Built) as error:
        recipe.train(resume=tmp_path / "run")
    assert error.value.args == ("everyday", "stage3")
    # a run of before there was such a choice: None meant from scratch, and does
    monkeypatch.setattr(recipe, "FEW", 500)
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"weights": None, "freeze_until": None}))
    with pytest.raises(Built) as error:
        recipe.train(resume=tmp_path / "run")
    assert error.value.args == (None, None)


def test_training_leaves_model_card_and_pictures(shapes, learnt, tmp_path):
    options = {"dataset": str(shapes), "image_size": (96,), "size": (0.1, 0.125), "mosaic": 0.3, "precision": "float32"}
    start = str(learnt[0] / "model.keras")
    answer = recipe.train(epochs=2, validate_every=2, learning_rate=1e-4, weights=start, output=tmp_path, **options)
    assert answer["metrics"]["mAP50"] > 0.3 and answer["split"] == "validation"  # it goes on where it was
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["builder"] == "yolo" and card["dataset"]["form"] == "Pascal VOC" and card["image_size"] == [96, 96]
    assert card["dataset"]["splits"] == {"train": 7, "validation": 4}
    assert next(iter(card["metrics"])) == "mAP50" and card["files"][0]["metrics"] == card["metrics"]
    history = (tmp_path / "history.csv").read_text().splitlines()
    assert history[0] == "epoch,loss,val_mAP50,val_mAP50-95,seconds" and len(history) == 3
    assert "nan" in history[1] and "nan" not in history[2]
    assert card["training"]["validation"]["mAP50"] == pytest.approx(float(history[2].split(",")[2]))
    assert answer["metrics"]["mAP50"] == pytest.approx(float(history[2].split(",")[2]), abs=0.02)
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    pictures = {
        "curves.png",
        "curves_validation.png",
        "curves_precision_recall.png",
        "confusion_matrix.png",
        "worst.png",
    }
    assert written == {"model.keras", "card.json", "history.csv", "config.json"} | pictures


def test_evaluate_and_export_agree_on_every_file(shapes, learnt, capfd, tmp_path):
    options = ("--model", learnt[0], "--dataset", shapes, "--split", "train", "--output", tmp_path)
    status, measured, _ = run_json(capfd, "evaluate", "yolo", *options)
    assert status == 0 and measured["metrics"]["mAP50"] > 0.95
    assert measured["images"] == 7 and measured["boxes"] > 7
    assert json.loads((tmp_path / "evaluation.json").read_text())["split"] == "train"
    status, files, _ = run_json(capfd, "export", "yolo", *options, "--quantize", "none", "int8")
    assert status == 0 and [entry["file"] for entry in files["files"]] == ["model.tflite", "model_int8.tflite"]
    plain, small = files["files"]
    assert plain["metrics"]["mAP50"] == pytest.approx(measured["metrics"]["mAP50"], abs=0.01)
    assert plain["max_abs_difference"] < 1e-3 and small["bytes"] < 0.6 * plain["bytes"]
    assert small["metrics"]["mAP50"] > 0.85
    assert "NON_MAX_SUPPRESSION_V4" in plain["operations"]
    finder = recipe.Finder(tmp_path / "model.tflite")
    assert finder.labels == ["disc", "square"] and finder.model.metadata["letterbox"].startswith("outside")


def test_classes_that_the_model_did_not_learn_are_left_out(learnt, pictures, capfd, tmp_path, monkeypatch):
    renamed = [(image, [(*row[:4], "star" if row[0] < 30 else row[4]) for row in rows]) for image, rows in pictures]
    names = [row[4] for _, rows in renamed[:7] for row in rows]
    assert set(names) == {"disc", "square", "star"}
    write_voc(tmp_path / "more", renamed, {"test": range(7)})
    options = ("--model", learnt[0], "--dataset", tmp_path / "more")
    status, found, _ = run_json(capfd, "evaluate", "yolo", *options, "--output", tmp_path / "out")
    left_out = {"left out: the model does not know star": names.count("star")}
    assert status == 0 and found["images"] == 7 and found["faulty_boxes"] == left_out
    assert found["boxes"] == len(names) - names.count("star")
    assert [row["class"] for row in found["per_class"]] == ["disc", "square"]
    monkeypatch.setattr(recipe.exports, "write_all", lambda *args, **kwargs: [])  # slow, and the same as in other tests
    status, files, said = run_json(capfd, "export", "yolo", *options, "--output", tmp_path / "phone")
    assert status == 0 and files["faulty_boxes"] == left_out
    assert "left out: the model does not know star" in said


def test_a_final_file_gives_a_box_for_each_class_that_is_as_sure(tmp_path):
    """As the metric counts them, and as `zoo.boxes.detect` does."""
    keras.utils.set_random_seed(3)
    model = zoo.yolo((64, 64, 3), 4, size=(0.1, 0.0625), reg_max=4)
    for layer in model.layers:
        if layer.name.endswith("class_3_conv"):  # scores of all sizes
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * 30, bias * 0 - 1])
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    run = zoo.export.load(zoo.export.export(model, tmp_path / "model.tflite"))
    found = {name: values[0] for name, values in run(image=image).items()}
    (expected,) = zoo.boxes.detect(model.predict(image / np.float32(255), verbose=0), (64, 64), confidence=0.01)
    count = min(found["count"].item(), 100)
    assert count > 20 and len(set(map(tuple, found["boxes"][:count].round(4)))) < count  # some boxes have two classes
    np.testing.assert_allclose(found["scores"][:count], expected["scores"][:count], atol=1e-5)
    np.testing.assert_array_equal(found["classes"][:count], expected["classes"][:count])
    np.testing.assert_allclose(found["boxes"][:count] * 64, expected["boxes"][:count], atol=1e-3)


def test_an_exported_file_may_be_raw_and_fit_the_image_itself(learnt, pictures, tmp_path):
    finder = recipe.Finder(learnt[0])
    image = pictures[2][0]
    expected = finder.on_image(image, confidence=0.3)
    assert len(expected["scores"]) == 2
    path = export.export(
        finder.model,
        tmp_path / "raw",
        endpoints={export.ENDPOINT: export.detection_endpoint(finder.model, detections="raw", input_size=(90, 120))},
        labels=finder.labels,
        metadata={"detections": "raw"},
    )
    inside = recipe.Finder(path)
    found = inside.on_image(image, confidence=0.3)
    assert inside.image_size == (90, 120) and set(found["classes"]) == set(expected["classes"])
    for box, label in zip(found["boxes"], found["classes"], strict=True):
        (same,) = np.flatnonzero(expected["classes"] == label)
        np.testing.assert_allclose(box, expected["boxes"][same], atol=3)  # the image is shrunk in another way
    with pytest.raises(ValueError, match="final or raw, got 'some'"):
        export.detection_endpoint(finder.model, detections="some")


def test_predict_images_folders_and_videos(learnt, pictures, capfd, tmp_path):
    (tmp_path / "in").mkdir()
    for number in (0, 1):
        pictures[number][0].save(tmp_path / "in" / f"p{number}.png")
    (tmp_path / "in" / "text.jpg").write_text("no image")
    large = pictures[0][0].resize((360, 270))
    large.save(tmp_path / "large.png")
    with video.Writer(tmp_path / "film.mp4", 10, (120, 90)) as film:
        for number in (0, 1, 2):
            film.write(np.asarray(pictures[number][0]))
    status, answer, err = run_json(
        capfd, "predict", "yolo", tmp_path / "in", tmp_path / "large.png", tmp_path / "film.mp4",
        "--model", learnt[0], "--output", tmp_path / "out", "--confidence", "0.3",
    )  # fmt: skip
    assert status == 0 and "text.jpg" in err and len(answer["skipped"]) == 1
    first, second, third, film = answer["predictions"]
    assert first["size"] == [120, 90] and third["size"] == [360, 270] and film["frames"] == 3
    assert film["frames_per_second"] > 0 and len(film["detections"]) == 3
    for one, number, factor in ((first, 0, 1), (second, 1, 1), (third, 0, 3)):
        for *box, name in pictures[number][1]:
            (row,) = (row for row in one["detections"] if row["class"] == name)
            sides = [row[side] / factor for side in ("left", "top", "right", "bottom")]
            assert plain_iou(sides, box) > 0.6
    lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    total = sum(len(one["detections"]) for one in (first, second, third)) + sum(map(len, film["detections"]))
    assert lines[0] == "file,frame,seconds,class,confidence,left,top,right,bottom" and len(lines) == 1 + total
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"p0.png", "p1.png", "large.png", "film.mp4", "predictions.json", "predictions.csv"}
    drawn = np.asarray(Image.open(tmp_path / "out" / "large.png"))
    assert drawn.shape == (270, 360, 3) and (drawn != np.asarray(large)).any()
    with video.Reader(tmp_path / "out" / "film.mp4") as frames:
        assert frames.size == (120, 90) and len(list(frames)) == 3
    status, answer, _ = run_json(
        capfd, "predict", "yolo", tmp_path / "large.png", "--model", learnt[0], "--classes", "disc",
        "--output", tmp_path / "discs", "--confidence", "0.05",
    )  # fmt: skip
    assert status == 0 and {row["class"] for row in answer["predictions"][0]["detections"]} == {"disc"}


@pytest.fixture
def film(pictures, tmp_path):
    """Ten frames in which the picture stands still for five, is grey for one, and stands still again."""
    image = np.asarray(pictures[0][0])
    with video.Writer(tmp_path / "film.mp4", 10, (120, 90)) as out:
        for number in range(10):
            out.write(np.full_like(image, 150) if number == 5 else image)
    return tmp_path / "film.mp4"


def test_a_film_has_a_table_of_tracks(learnt, film, capfd, tmp_path):
    options = ("--model", learnt[0], "--confidence", "0.3")
    status, answer, _ = run_json(capfd, "predict", "yolo", film, *options, "--track", "--output", tmp_path / "out")
    (one,) = answer["predictions"]
    assert status == 0 and one["frames"] == one["frames_looked_at"] == 10
    assert {(row["class"], row["first_frame"], row["last_frame"], row["detections"]) for row in one["tracks"]} == {
        ("disc", 0, 9, 9), ("square", 0, 9, 9),
    }  # fmt: skip
    parts = one["milliseconds_per_frame"]
    assert set(parts) == {"decoding", "finding", "drawing", "encoding"} and min(parts.values()) > 0
    with open(tmp_path / "out" / "tracks.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["track"] for row in rows] == ["1", "2"] and {row["last_seconds"] for row in rows} == {"0.9"}
    assert (tmp_path / "out" / "predictions.csv").read_text().splitlines()[0].endswith("bottom,track")
    assert films.counted([*one["tracks"], {"class": "disc"}]) == "2 disc, 1 square"


def test_every_third_frame(learnt, film, capfd, tmp_path):
    options = ("--model", learnt[0], "--confidence", "0.3", "--every", "3")
    status, answer, _ = run_json(capfd, "predict", "yolo", film, *options, "--output", tmp_path / "out")
    (one,) = answer["predictions"]
    assert status == 0 and one["frames"] == 10 and one["frame_numbers"] == [0, 3, 6, 9]
    assert [len(found) for found in one["detections"]] == [2, 2, 2, 2]
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()[1:]
    assert sorted({int(row.split(",")[1]) for row in rows}) == [0, 3, 6, 9]
    with video.Reader(film) as before, video.Reader(tmp_path / "out" / "film.mp4") as after:
        changed = [np.abs(a.astype(int) - b).max() > 60 for a, b in zip(before, after, strict=True)]
    assert all(changed)  # frames between are drawn on as well
    assert "every must be positive, got 0" in refused(capfd, "predict", "yolo", film, "--every", "0")


def test_confusions_and_the_best_confidence_by_hand():
    targets = [np.array([[0, 0, 10, 10, 0], [20, 0, 30, 10, 1], [40, 0, 50, 10, 0]], np.float32)]
    found = [
        {
            "boxes": np.float32([[0, 0, 10, 10], [20, 0, 30, 9], [60, 0, 70, 10], [40, 0, 50, 10]]),
            "scores": np.float32([0.9, 0.8, 0.7, 0.1]),
            "classes": np.array([0, 0, 1, 0]),
        }
    ]
    matrix, wrong = detection_confusion(targets, found, 2, 0.5)
    assert matrix.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]] and wrong == [3]
    scores = np.array([0.9, 0.6, 0.3])
    best = best_confidence([(scores, np.array([1, 1, 2 / 3]), np.array([0.5, 1, 1]))])
    assert 0.3 < best["confidence"] <= 0.6 and best["F1"] == 1 and best["precision"] == best["recall"] == 1


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """The folder of a model that knows nothing, with a card."""
    folder = tmp_path_factory.mktemp("untrained")
    zoo.yolo((64, 64, 3), 2, size=TINY).save(folder / "model.keras")
    (folder / "card.json").write_text(json.dumps({"name": "yolo", "dataset": {"classes": ["disc", "square"]}}))
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--dataset", "pascal"], ["pascal", "scenes"]),
        (["train", "--image-size", "300"], ["multiples of 32", "300"]),
        (["train", "--size", "huge"], ["huge"]),
        (["train", "--scale", "1"], ["scale", "1"]),
        (["train", "--epochs", "0"], ["epochs", "0"]),
        (["predict"], ["no image given"]),
        (["predict", "lion.png"], ["no image lion.png"]),
        (["predict", "lion.mp4"], ["no video lion.mp4"]),
        (["predict", "7"], ["no camera 7"]),
        (["predict", "a.png", "--confidence", "2"], ["confidence", "2"]),
        (["evaluate", "--split", "half"], ["half"]),
        (["export", "--detections", "some"], ["some"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_wrong_input_is_one_clear_line(arguments, words, untrained, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    verb, *rest = arguments
    model = ["--model", untrained] if verb == "predict" else []
    line = refused(capfd, verb, "yolo", *rest, *model)
    assert all(word in line for word in words), line
    assert not list(tmp_path.rglob("*.*"))  # nothing half-written


def test_wrong_files_are_one_clear_line(untrained, shapes, pictures, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zoo.mnist_cnn(filters=(4,)).save("digits.keras")
    write_voc(
        tmp_path / "other",
        [(image, [(*row[:4], "star") for row in rows]) for image, rows in pictures],
        {"test": [0, 1]},
    )
    with video.Writer(tmp_path / "film.mp4", 10, (120, 90)) as film:
        for _ in range(40):
            film.write(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8))
    model = ("--model", untrained)
    for arguments, words in (
        (["predict", "digits.keras", *model], ["digits.keras is not an image"]),
        (["predict", "other/JPEGImages/p0.png", "--model", "digits.keras"], ["digits.keras is not a detector"]),
        (["predict", "other/JPEGImages/p0.png", *model, "--classes", "lion"], ["no class 'lion'", "disc, square"]),
        (["evaluate", "--dataset", "other", *model], ["the classes differ", "disc, square", "other has star"]),
        (["evaluate", "--dataset", shapes, "--split", "test", *model], ["no split 'test'", "train, validation"]),
        (["train", "--dataset", "other"], ["other has no split 'train'"]),
        (["train", "--dataset", shapes, "--classes", "lion"], ["no class 'lion'", "disc, square"]),
    ):
        verb, *rest = arguments
        line = refused(capfd, verb, "yolo", *rest)
        assert all(word in line for word in words), line
    whole = Path("film.mp4").read_bytes()
    Path("cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert "cut.mp4" in refused(capfd, "predict", "yolo", "cut.mp4", *model)


def test_a_compact_file_is_a_third_and_nearly_the_same(tmp_path):
    model = zoo.yolo((32, 32, 3), 2, size=(0.1, 0.125))
    model.save(tmp_path / "plain.keras")
    checkpoints.save_compact(model, tmp_path / "compact.keras", bits=5)
    sizes = [(tmp_path / name).stat().st_size for name in ("compact.keras", "plain.keras")]
    assert sizes[0] < 0.5 * sizes[1]  # most of so small a model is its names
    for one, other in zip(
        model.get_weights(), keras.saving.load_model(tmp_path / "compact.keras").get_weights(), strict=True
    ):
        assert other.dtype == "float32" and (np.abs(one - other) <= np.abs(one) / 64 + 1e-6).all()
    with pytest.raises(ValueError, match="bits must be in 1 to 10, got 0"):
        checkpoints.save_compact(model, tmp_path / "none.keras", bits=0)


def test_an_epoch_without_a_figure_is_never_the_best(tmp_path):
    run = runs.Run("x", tmp_path, {}, {}, [{"figure": value} for value in (math.nan, 0.5, math.nan)])
    checkpoint = checkpoints.Checkpoint(run, "figure", "max", 3)
    assert not checkpoint.is_best() and not checkpoint.out_of_patience()
    run.history += [{"figure": 0.6}]
    assert checkpoint.is_best()
    run.history += [{"figure": value} for value in (math.nan, 0.55, math.nan)]
    assert not checkpoint.is_best() and checkpoint.out_of_patience()


# Published


def test_the_published_model_finds_blood_cells(real_data, capfd, tmp_path):
    options = ("--model", "yolo_bccd", "--dataset", real_data / "bccd", "--split", "val", "--output", tmp_path)
    status, answer, _ = run_json(capfd, "evaluate", "yolo", *options)
    card = zoo.pretrained.card("yolo_bccd")
    assert status == 0 and answer["images"] == 87 and answer["metrics"]["mAP50"] >= 0.85
    assert answer["metrics"]["mAP50"] == pytest.approx(card["metrics"]["mAP50"], abs=0.005)
    assert card["licence"]["data"] == "MIT" and card["training"]["command"].startswith("zoo train yolo --dataset bccd")
    small = next(entry for entry in card["files"] if entry["file"] == "model.tflite")
    assert small["quantize"] == "int8" and small["bytes"] <= 4_000_000
    assert small["metrics"]["mAP50"] > card["metrics"]["mAP50"] - 0.02
    assert set(small["latency_ms_at"]) == {"320 x 320", "416 x 416"}


def test_the_published_default_finds_people_and_cats(capfd, tmp_path):
    folder = Path(skimage.__file__).parent / "data"
    options = ("--confidence", "0.3", "--output", tmp_path / "out")
    status, answer, _ = run_json(capfd, "predict", "yolo", folder / "astronaut.png", folder / "chelsea.png", *options)
    first, second = answer["predictions"]
    assert status == 0
    person = next(row for row in first["detections"] if row["class"] == "person")
    assert [row["class"] for row in second["detections"]][:1] == ["cat"]
    card = zoo.pretrained.card("yolo_everyday")
    small = next(entry for entry in card["files"] if entry["file"] == "model.tflite")
    assert small["quantize"] == "int8" and small["bytes"] <= 6_000_000
    assert small["metrics"]["mAP50"] > card["metrics"]["mAP50"] - 0.02
    # the Keras model sees the same
    status, answer, _ = run_json(
        capfd, "predict", "yolo", folder / "astronaut.png", "--backend", "keras", "--output", tmp_path / "keras"
    )
    (again,) = answer["predictions"]
    same = next(row for row in again["detections"] if row["class"] == "person")
    sides = [[row[side] for side in ("left", "top", "right", "bottom")] for row in (person, same)]
    assert plain_iou(*sides) > 0.8
    # nothing found is said, with what could have been
    Image.new("RGB", (64, 64), "white").save(tmp_path / "white.png")
    arguments = ("--confidence", "0.99", "--output", str(tmp_path / "white"))
    assert main(["predict", "yolo", str(tmp_path / "white.png"), *arguments]) == 0
    assert "nothing found at confidence 0.99: the model finds person, bicycle" in capfd.readouterr().out


def test_the_published_default_is_as_good_as_its_card_says(real_data, capfd, tmp_path):
    options = ("--dataset", real_data / "everyday", "--split", "val", "--output", tmp_path)
    status, answer, _ = run_json(capfd, "evaluate", "yolo", *options)
    card = zoo.pretrained.card("yolo_everyday")
    assert status == 0 and answer["images"] == 189
    assert answer["metrics"]["mAP50"] == pytest.approx(card["metrics"]["mAP50"], abs=0.005)
