"""Road scenes: network, losses and metrics against NumPy and scikit-learn, data, and every verb of the recipe."""

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import refused, run_json
from PIL import Image
from scipy import ndimage
from sklearn.metrics import confusion_matrix, jaccard_score
from sklearn.neighbors import KNeighborsClassifier

import zoo
from recipes import plots, timing
from recipes import unet as recipe
from recipes.data import masks, road_scenes, video
from recipes.pictures import class_colours
from zoo import export, pretrained
from zoo.losses import Segmentation
from zoo.metrics import MeanIoU, boundary_f1, intersection_over_union, label_confusion
from zoo.tiles import starts
from zoo.unet import resized, stride_of, without_supervision

SMALL = {"filters": (8, 16), "stem_stride": 2, "convolutions": 1, "residual": False, "learning_rate": 0.03}
SMALL |= {"batch_size": 4, "class_balance": 0.0, "scale": (0.9, 1.1), "jitter": 0.0}
SIZE = (32, 48)


@pytest.fixture(scope="session")
def few_scenes():
    """Fewer and smaller scenes, which are enough to see that everything works."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(road_scenes, "COUNTS", {"train": 24, "validation": 5, "test": 6})
        patch.setattr(road_scenes, "SIZE", SIZE)
        yield


@pytest.fixture(scope="session")
def scene_run(few_scenes, tmp_path_factory):
    """The folder and the answer of a short training on the embedded scenes."""
    folder = tmp_path_factory.mktemp("unet")
    return folder, recipe.train(epochs=12, output=folder, **SMALL)


@pytest.fixture
def no_pictures(monkeypatch):
    for name in ("masks", "bars", "shares"):
        monkeypatch.setattr(recipe.pictures, name, lambda *arguments, **options: None)
    monkeypatch.setattr(plots, "curves", lambda *arguments, **options: None)


def write_pairs(folder, image_folder="images", mask_folder="masks", count=6, size=(20, 30), labels=3, mode=None):
    """Random images and masks; returns the masks."""
    random = np.random.default_rng(0)
    values = random.integers(0, labels, (count, *size)).astype(np.uint8)
    for name in (image_folder, mask_folder):
        (folder / name).mkdir(parents=True)
    for index, mask in enumerate(values):
        pixels = random.integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / image_folder / f"{index}.png")
        Image.fromarray(mask).save(folder / mask_folder / f"{index}.png")
    return values


@pytest.fixture
def pairs(tmp_path):
    """A folder images/ masks/ classes.csv with three classes."""
    folder = tmp_path / "pairs"
    write_pairs(folder)
    (folder / "classes.csv").write_text("name,red,green,blue\nroad,128,64,128\ncar,0,0,142\nsky,70,130,180\n")
    return folder


# The network


@pytest.mark.parametrize(
    "arguments",
    [
        {"normalization": "group", "groups": 2, "separable": True, "upsampling": "transposed"},
        {"filters": (4, 6, 8), "stem_stride": 4, "normalization": "batch", "dropout": 0.1},
        {"filters": (4,), "residual": True},
        {"deep_supervision": True, "attention": True, "filters": (4, 6, 8)},
    ],
)
def test_variants_learn_and_keep_to_their_stride(arguments):
    model = zoo.unet((32, 48, 3), 4, **{"filters": (4, 6), **arguments})
    assert model.output_names[0] == "mask"
    for output in model.outputs:
        assert output.shape == (None, 32, 48, 4)
    image = np.random.default_rng(0).random((2, 32, 48, 3), dtype=np.float32)
    labels = np.random.default_rng(0).integers(0, 4, (2, 32, 48))
    with tf.GradientTape() as tape:
        outputs = keras.tree.flatten(model(image, training=True))
        loss = sum(Segmentation()(labels, output) for output in outputs)
    for output in outputs:
        np.testing.assert_allclose(np.sum(output, axis=-1), 1, atol=1e-5)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    stride = stride_of(model)
    assert stride == arguments.get("stem_stride", 1) * 2 ** (len(arguments.get("filters", (4, 6))) - 1)
    assert stride == stride_of(resized(model, None, None))
    if stride > 1:
        with pytest.raises(ValueError, match=f"multiples of {stride}, .* got {stride + 1} x {stride}"):
            zoo.unet((stride + 1, stride, 3), 4, **{"filters": (4, 6), **arguments})


def test_deep_supervision_guesses_from_each_resolution_and_is_gone_after_training():
    model = zoo.unet((32, 32, 3), 3, filters=(4, 6, 8, 8), deep_supervision=True)
    assert model.output_names == ["mask", "mask_2", "mask_4"]
    single = without_supervision(model)
    assert single.output_names == ["mask"] and single.count_params() < model.count_params()
    image = np.random.default_rng(0).random((1, 32, 32, 3), dtype=np.float32)
    np.testing.assert_array_equal(single(image), model(image)[0])
    # what is guessed from a quarter of the resolution is smooth: bilinear between every fourth pixel
    rows = np.log(np.asarray(model(image)[2])[0, 2:-2, :, 0] / np.asarray(model(image)[2])[0, 2:-2, :, 1])
    np.testing.assert_allclose(np.diff(rows, 2, axis=0)[1::4], 0, atol=1e-4)


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "efficientnet_b0", "efficientnet_lite0"])
def test_encoders_have_skips_at_the_right_strides(encoder):
    model = zoo.unet((64, 96, 3), 5, encoder=encoder, filters=(4, 4, 8, 8, 8), normalization="batch")
    skips = [model.get_layer(f"decoder{level}_skip").input[1].shape[1:3] for level in (2, 3, 4, 5)]
    assert skips == [(32, 48), (16, 24), (8, 12), (4, 6)]
    assert model.output_shape == (None, 64, 96, 5) and stride_of(model) == 32
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    seen = np.array(keras.Model(model.input, first.input)(np.full((1, 64, 96, 3), 0.5, np.float32)))
    expected = {"mobilenet_v2": 0.0, "efficientnet_b0": 0.5, "efficientnet_lite0": 0.5 / 128}[encoder]
    np.testing.assert_allclose(seen[0, 20, 20], expected, atol=1e-4)


def test_the_highest_level_sees_the_image_itself():
    options = {"encoder": "efficientnet_lite0", "filters": (4, 4, 8, 8, 8), "convolutions": 2, "residual": True}
    model = zoo.unet((64, 96, 3), 5, **options, image_skip=True)
    assert model.get_layer("decoder1_skip").input[1].shape[1:] == (64, 96, 4)
    plain = zoo.unet((64, 96, 3), 5, **options)
    images = np.zeros((2, 64, 96, 3), np.float32)
    images[1, 20:22, 30] = 1  # too thin for the first features of the encoder to know its place
    for layer in model.layers:  # all that comes from the encoder is constant
        if layer.name.startswith("stem"):
            layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    first, second = np.array(model(images))
    changed = np.argwhere(np.abs(first - second).max(-1) > 0)
    assert changed.min(0).tolist() == [16, 26] and changed.max(0).tolist() == [25, 34]
    assert model.count_params() > plain.count_params()
    with pytest.raises(ValueError, match="for an encoder by name, got encoder=None"):
        zoo.unet((64, 96, 3), 5, image_skip=True)


def test_weights_fit_any_size_and_for_other_classes_all_but_the_last_layer(tmp_path):
    model = zoo.unet((32, 32, 3), 4, filters=(4, 6), normalization="batch")
    model.save(tmp_path / "model.keras")
    other = zoo.unet((16, 64, 3), 4, weights=tmp_path / "model.keras")
    assert other.input_shape == (None, 16, 64, 3)
    for left, right in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    for classes in (1, 5):
        fitted = zoo.unet((32, 32, 3), classes, weights=tmp_path / "model.keras")
        assert fitted.output_shape == (None, 32, 32, classes)
        for left, right in zip(model.get_weights()[:-2], fitted.get_weights()[:-2], strict=True):
            np.testing.assert_array_equal(left, right)
        total = np.array(fitted(np.zeros((1, 32, 32, 3), np.float32))).sum(axis=-1)
        assert classes == 1 or np.allclose(total, 1, atol=1e-5)
    with pytest.raises(ValueError, match="3 channels, asked for 1"):
        zoo.unet((32, 32, 1), 4, weights=tmp_path / "model.keras")
    with pytest.raises(ValueError, match="multiples of 2"):
        zoo.unet((33, 32, 3), 4, weights=tmp_path / "model.keras")


# Losses and metrics


def random_masks(classes=4, shape=(2, 9, 11), absent=None, seed=0):
    """Labels with 255 among them, and probabilities."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, shape)
    if absent is not None:
        labels[labels == absent] = (absent + 1) % classes
    labels[random.random(shape) < 0.2] = 255
    probabilities = random.dirichlet(np.ones(classes), shape).astype(np.float32)
    return labels, probabilities


@pytest.mark.parametrize("absent", [None, 2])
def test_losses_against_numpy(absent):
    labels, found = random_masks(absent=absent)
    weights = [0.5, 1.0, 2.0, 3.0]
    counts = labels != 255
    true = found[counts][np.arange(counts.sum()), labels[counts]]
    own = np.array(weights)[labels[counts]]

    def loss(**shares):
        shares = {"cross_entropy": 0.0, "dice": 0.0} | shares
        return float(Segmentation(**shares)(labels, found))

    entropy = loss(cross_entropy=1.0, class_weights=weights)
    assert entropy == pytest.approx((own * -np.log(true)).sum() / own.sum(), rel=1e-4)
    assert loss(focal=1.0, gamma=2.0) == pytest.approx(((1 - true) ** 2 * -np.log(true)).mean(), rel=1e-4)
    dice, tversky = [], []
    for label in range(4):
        if label != absent:
            target, guess = labels[counts] == label, found[counts][:, label]
            both = (target * guess).sum()
            dice.append(1 - 2 * both / (target.sum() + guess.sum()))
            missed, false = (target * (1 - guess)).sum(), (~target * guess).sum()
            tversky.append(1 - both / (both + 0.3 * false + 0.7 * missed))
    assert loss(dice=1.0) == pytest.approx(np.mean(dice), rel=1e-4)
    assert loss(tversky=1.0, alpha=0.3, beta=0.7) == pytest.approx(np.mean(tversky), rel=1e-4)
    both = loss(cross_entropy=1.0, dice=0.5, class_weights=weights)
    assert both == pytest.approx(entropy + 0.5 * np.mean(dice), rel=1e-4)
    with_axis = Segmentation(dice=0.5, class_weights=weights)(labels[..., None], found)
    assert both == pytest.approx(float(with_axis), rel=1e-5)


def test_losses_of_one_class_and_of_nothing_that_counts():
    labels = np.random.default_rng(0).integers(0, 2, (2, 5, 5))
    found = np.random.default_rng(1).uniform(0.1, 0.9, (2, 5, 5, 1)).astype(np.float32)
    entropy = Segmentation(dice=0.0)(labels, found)
    assert float(entropy) == pytest.approx(float(keras.losses.BinaryCrossentropy()(labels[..., None], found)), rel=1e-4)
    assert float(Segmentation()(np.full((2, 5, 5), 255), found)) == 0
    loss = Segmentation(dice=0.3, focal=0.2, class_weights=(1, 2), ignore_label=None, gamma=1.5)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert copy.get_config() == loss.get_config()
    assert float(copy(labels, found)) == float(loss(labels, found))
    for bad in ({"dice": -1.0}, {"cross_entropy": 0.0, "dice": 0.0}, {"class_weights": (-1, 2)}):
        with pytest.raises(ValueError, match="0 or more"):
            Segmentation(**bad)
    with pytest.raises(ValueError, match="2 classes, but 3 class_weights"):
        Segmentation(class_weights=(1, 2, 3))(labels, found)


@pytest.mark.parametrize("absent", [None, 2])
def test_iou_against_scikit_learn(absent):
    labels, probabilities = random_masks(absent=absent)
    found = probabilities.argmax(axis=-1)
    found[found == absent] = 0
    counts = labels != 255
    matrix = label_confusion(labels, found, 4)
    np.testing.assert_array_equal(matrix, confusion_matrix(labels[counts], found[counts], labels=range(4)))
    iou = intersection_over_union(matrix)
    present = [label for label in range(4) if label != absent]
    expected = jaccard_score(labels[counts], found[counts], labels=present, average=None)
    np.testing.assert_allclose(iou[present], expected)
    assert np.isnan(iou).sum() == (absent is not None)
    metric = MeanIoU(4)
    for part in range(2):  # by batches
        metric.update_state(labels[part : part + 1, ..., None], np.eye(4)[found[part : part + 1]])
    assert float(metric.result()) == pytest.approx(expected.mean(), rel=1e-5)
    theirs = keras.metrics.MeanIoU(4, ignore_class=255)
    theirs.update_state(labels, found)
    assert float(metric.result()) == pytest.approx(float(theirs.result()), rel=1e-5)
    copy = MeanIoU.from_config(metric.get_config())
    assert float(copy.result()) == 0


def test_iou_of_one_class_and_refusals():
    labels = np.array([[0, 1, 1, 255]])
    metric = MeanIoU(1)
    metric.update_state(labels, np.array([[[0.2], [0.7], [0.4], [0.9]]]))
    assert float(metric.result()) == pytest.approx((1 / 2 + 1 / 2) / 2)
    with pytest.raises(ValueError, match="one shape"):
        label_confusion(labels, labels[0], 2)
    with pytest.raises(ValueError, match="a label is 0 to 1, got 0 to 3"):
        label_confusion([0, 3], [0, 1], 2)
    with pytest.raises(ValueError, match="a prediction is 0 to 1, got 0 to 2"):
        label_confusion([0, 1], [0, 2], 2)


def outline_by_hand(mask, label, counts):
    points = set()
    for row, column in np.argwhere((mask == label) & counts):
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            place = row + down, column + right
            inside = 0 <= place[0] < mask.shape[0] and 0 <= place[1] < mask.shape[1]
            if inside and counts[place] and mask[place] != label:
                points.add((row, column))
    return np.array(sorted(points)).reshape(-1, 2)


def test_boundary_f1_against_all_distances():
    random = np.random.default_rng(2)
    true, found = (ndimage.zoom(random.integers(0, 3, (4, 5)), 5, order=0) for _ in range(2))
    found = np.where(random.random(true.shape) < 0.8, true, found)
    true = np.where(random.random(true.shape) < 0.1, 255, true)
    counts, reach = true != 255, 0.05 * np.hypot(*true.shape)
    for label, score in enumerate(boundary_f1(true, found, 3, tolerance=0.05)):
        one, other = (outline_by_hand(mask, label, counts) for mask in (true, found))
        distances = np.linalg.norm(one[:, None] - other[None], axis=-1)
        precision, recall = (distances.min(axis=0) <= reach).mean(), (distances.min(axis=1) <= reach).mean()
        assert score == pytest.approx(2 * precision * recall / (precision + recall))


def test_boundary_f1_of_equal_moved_and_absent_outlines():
    true = np.zeros((40, 40), int)
    true[10:20, 10:20] = 1
    assert boundary_f1(true, true, 3)[:2].tolist() == [1, 1] and np.isnan(boundary_f1(true, true, 3)[2])
    assert boundary_f1(true, np.roll(true, 1, axis=0), 2, tolerance=0.03).tolist() == [1, 1]
    assert boundary_f1(true, np.roll(true, 17, axis=(0, 1)), 2, tolerance=0.03)[1] < 0.2
    assert boundary_f1(true, 0 * true, 2).tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"\(height, width\)"):
        boundary_f1(true[None], true[None], 2)


# Data


def test_scenes_are_the_same_each_time_and_hold_every_class():
    image, mask = road_scenes.draw(5)
    assert image.shape == (96, 128, 3) and mask.shape == (96, 128) and image.dtype == mask.dtype == np.uint8
    again = road_scenes.draw(5)
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(mask, again[1])
    assert (image != road_scenes.draw(6)[0]).any()
    drawn = [road_scenes.draw(seed)[1] for seed in range(30)]
    share = np.bincount(np.ravel(drawn), minlength=9) / np.size(drawn)
    assert len(share) == len(road_scenes.CLASSES) and share.min() > 0.003
    # the sky is above the road, and nothing of it below the horizon's lowest place
    rows = np.argwhere(np.array(drawn) == road_scenes.SKY)[:, 1]
    assert rows.max() < 52 and np.argwhere(np.array(drawn) == road_scenes.ROAD)[:, 1].min() > 25


def test_a_mask_meets_the_edges_of_its_picture():
    image, mask = road_scenes.draw(2, (192, 256))
    light = image.astype(float).mean(axis=-1)
    jump = np.abs(np.diff(ndimage.uniform_filter(light, (3, 1)), axis=1))
    edge = mask[:, 1:] != mask[:, :-1]
    assert jump[edge].mean() > 2 * jump[~edge].mean()


def test_colour_alone_does_not_tell_the_classes():
    pixels, labels = zip(*(road_scenes.draw(seed) for seed in range(40)), strict=True)
    random = np.random.default_rng(0)
    pixels, labels = (np.stack(values).reshape(40, -1, depth) for values, depth in ((pixels, 3), (labels, 1)))
    chosen = random.choice(pixels.shape[1], 300, replace=False)
    known, truth = pixels[:30, chosen].reshape(-1, 3), labels[:30, chosen].ravel()
    neighbours = KNeighborsClassifier(9).fit(known, truth)
    guesses = neighbours.predict(pixels[30:, chosen].reshape(-1, 3))
    iou = intersection_over_union(label_confusion(labels[30:, chosen].ravel(), guesses, 9))
    assert np.nanmean(iou) < 0.3


def test_folder_of_pairs_by_number_and_by_colour(pairs):
    known = masks.load(str(pairs))
    assert known.class_names == ("road", "car", "sky") and known.colours[1] == (0, 0, 142)
    assert {name: len(values) for name, (_, values) in known.splits.items()} == {
        "train": 4,
        "validation": 1,
        "test": 1,
    }
    expected = {path.name: np.asarray(Image.open(path)) for path in (pairs / "masks").iterdir()}
    for split in known.splits:
        for name, mask in zip(known.names_of(split), known.split(split)[1], strict=True):
            np.testing.assert_array_equal(mask, expected[name])
    palette = np.array(known.colours, np.uint8)
    for path in (pairs / "masks").iterdir():
        Image.fromarray(palette[expected[path.name]]).save(path)
    for split in known.splits:
        np.testing.assert_array_equal(masks.load(str(pairs)).split(split)[1], known.split(split)[1])
    (pairs / "classes.csv").write_text(
        "name,label,red,green,blue\ncar,7,0,0,142\nvoid,9,128,64,128\nsky,8,70,130,180\n"
    )
    found = masks.load(str(pairs))
    assert found.class_names == ("car", "sky")
    (mask,), (before,) = found.split("test")[1], known.split("test")[1]
    np.testing.assert_array_equal(mask, np.array([255, 0, 1])[before])


def test_camvid_layout_with_all_and_with_one_split(tmp_path):
    values = write_pairs(tmp_path / "camvid", "train", "trainannot", count=5, labels=12)
    write_pairs(tmp_path / "camvid", "val", "valannot", count=2, labels=12)
    known = masks.load("camvid", data_dir=tmp_path / "camvid")
    assert known.class_names[:4] == ("Sky", "Building", "Pole", "Road") and len(known.class_names) == 11
    assert known.measured == "validation" and set(known.splits) == {"train", "validation"}
    np.testing.assert_array_equal(known.split("train")[1], np.where(values == 11, 255, values))
    assert known.licence == "CC BY-NC 4.0"
    only = tmp_path / "held out"
    write_pairs(only, "test", "testannot", count=3, labels=12)
    held_out = masks.load("camvid", data_dir=only, only="test")
    assert set(held_out.splits) == {"test"} and len(held_out.split("test")[1]) == 3


def test_cityscapes_layout(real_data):
    known = masks.load(str(real_data / "cityscapes_sample"))
    assert known.class_names[0] == "road" and len(known.class_names) == 19
    ((image,), (mask,)) = known.split("validation")
    assert image.shape == (128, 256, 3)
    folder = real_data / "cityscapes_sample/gtFine/val/frankfurt"
    official = np.asarray(Image.open(next(folder.glob("*_labelTrainIds.png"))))
    assert (mask == official).mean() > 0.995  # the two files of the sample differ at some edges
    for label in np.unique(mask):
        assert (official[mask == label] == label).mean() > 0.95
    again = masks.load("cityscapes", data_dir=real_data / "cityscapes_sample", size=(64, 64))
    assert again.split("validation")[0].shape == (1, 64, 64, 3)
    assert (again.split("validation")[1][0, :16] == 255).all()  # what does not fit is not counted


def test_tensorflow_datasets_with_masks(tmp_path):
    import tensorflow_datasets as tfds

    class TinyTrimaps(tfds.core.GeneratorBasedBuilder):
        """Photos of several sizes with masks, in the form of oxford_iiit_pet."""

        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path

        def _info(self):
            image, mask = tfds.features.Image(), tfds.features.Image(shape=(None, None, 1))
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {"image": image, "segmentation_mask": mask, "file_name": tfds.features.Text()}
                ),
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples(10), "test": self._generate_examples(4)}

        def _generate_examples(self, count):
            for index in range(count):
                mask = np.full((20 + index, 30, 1), 1, np.uint8)
                mask[: 10 + index // 2] = 2
                image = np.repeat(np.uint8(100 * mask), 3, axis=-1)
                yield index, {"image": image, "segmentation_mask": mask, "file_name": f"{index}.jpg"}

    found = masks.load("tiny_trimaps", data_dir=tmp_path, size=(24, 24))
    assert {name: len(values) for name, (_, values) in found.splits.items()} == {"train": 9, "validation": 1, "test": 4}
    first = found.names_of("test").index("0.jpg")
    image, mask = (values[first] for values in found.split("test"))
    assert mask[4:20].min() >= 1 and (mask[:4] == 255).all()  # 20 x 30 in 24 x 24
    np.testing.assert_array_equal(image[5:11, :, 0], 200)
    assert found.class_names == ("class 0", "class 1", "class 2") and sorted(found.names_of("test")) == [
        f"{index}.jpg" for index in range(4)
    ]
    pets = masks._pet_classes()
    assert pets.lookup[[1, 2, 3]].tolist() == [0, 1, 2] and pets.names[0] == "pet"


def test_class_weights():
    mask = np.repeat(np.uint8([0, 0, 0, 0, 0, 0, 0, 0, 1, 255]), 10)
    share = np.array([8, 1]) / 9
    for power in (0.0, 0.5, 1.0):
        weights = np.array(masks.class_weights(mask[None, None], 3, power))
        assert weights[2] == 0 and (weights[:2] * share).sum() == pytest.approx(1)
        assert weights[1] / weights[0] == pytest.approx(8**power)


def test_augmentation_moves_image_and_mask_together_and_labels_stay_labels():
    random = np.random.default_rng(0)
    coarse = ndimage.zoom(random.integers(0, 5, (4, 6, 8)), (1, 10, 10), order=0).astype(np.uint8)
    coarse[coarse == 3] = 255
    pixels = np.repeat((coarse // 2)[..., None], 3, axis=-1)  # the mask as a picture
    options = {"crop": (32, 48), "batch_size": 4, "steps": 1, "scale": (0.6, 1.6), "rotation": 30, "flip": "both"}
    stream = masks.training_batches(pixels, coarse, epochs=3, **options)
    for x, y in stream:
        assert y.dtype == "int32" and set(np.unique(y)) <= {0, 1, 2, 4, 255}
        shown = np.round(np.asarray(x)[..., 0] * 255)
        y = np.asarray(y)
        inner = ndimage.minimum_filter(y, (1, 5, 5)) == ndimage.maximum_filter(y, (1, 5, 5))
        inner &= y != 255
        assert inner.mean() > 0.15
        assert (shown[inner] != y[inner] // 2).mean() < 0.002  # a corner may lie between the pixels of the crop
    again = masks.training_batches(pixels, coarse, epochs=3, first_epoch=2, **options)
    (last,) = list(again)
    np.testing.assert_array_equal(last[0], x)
    np.testing.assert_array_equal(last[1], y)


def test_without_augmentation_a_crop_is_a_part_of_the_image():
    random = np.random.default_rng(0)
    image, mask = random.integers(0, 256, (1, 20, 30, 3)).astype(np.uint8), random.integers(0, 9, (1, 20, 30))
    options = {"crop": (8, 8), "batch_size": 1, "steps": 1, "epochs": 4}
    for x, y in masks.training_batches(image, mask.astype(np.uint8), **options):
        windows = np.lib.stride_tricks.sliding_window_view(mask[0], (8, 8))
        ((top, left),) = np.argwhere((windows == np.asarray(y)[0]).all(axis=(2, 3)))
        np.testing.assert_allclose(np.asarray(x)[0] * 255, image[0, top : top + 8, left : left + 8], atol=1e-3)


def test_colour_jitter_changes_the_light_only():
    image, mask = np.full((8, 16, 16, 3), 120, np.uint8), np.zeros((8, 16, 16), np.uint8)
    ((x, y),) = masks.training_batches(image, mask, crop=(16, 16), batch_size=8, steps=1, epochs=1, jitter=1.0)
    means = np.asarray(x).mean(axis=(1, 2, 3))
    assert means.std() > 0.02 and np.abs(means - 120 / 255).max() < 0.26 and not np.asarray(y).any()


# The recipe


def test_training_learns_and_writes_everything(scene_run):
    folder, answer = scene_run
    assert {path.name for path in folder.iterdir()} >= {
        "model.keras",
        "card.json",
        "history.csv",
        "curves.png",
        "iou.png",
        "confusion_matrix.png",
        "legend.png",
        "predictions.png",
    }
    assert not (folder / "backup").exists()
    card = json.loads((folder / "card.json").read_text())
    assert card["builder"] == "unet" and next(iter(card["metrics"])) == "mean_iou"
    assert answer["metrics"]["pixel_accuracy"] > 0.45 and answer["measured_split"] == "test"
    assert len(card["per_class"]) == 9 and card["files"][0]["metrics"]["mean_iou"] == card["metrics"]["mean_iou"]
    with open(folder / "history.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) and "val_mean_iou" in rows[0]
    model = zoo.load(folder / "model.keras")
    assert model.input_shape == (None, None, None, 3) and model.output_shape[-1] == 9


def test_evaluation_agrees_with_scikit_learn(scene_run, tmp_path, capfd, no_pictures):
    folder, _ = scene_run
    status, found, _ = run_json(capfd, "evaluate", "unet", "--model", folder, "--output", tmp_path / "e")
    assert status == 0 and found["metrics"] == json.loads((folder / "card.json").read_text())["metrics"]
    images, truth = masks.load("scenes").split("test")
    segmenter = recipe.Segmenter(folder)
    guesses = np.stack([segmenter(image) for image in images])
    labels = np.unique([truth, guesses])
    expected = jaccard_score(truth.ravel(), guesses.ravel(), labels=labels, average="macro")
    assert found["metrics"]["mean_iou"] == pytest.approx(expected)
    assert found["metrics"]["pixel_accuracy"] == pytest.approx((truth == guesses).mean())
    flip = ("--test-time-augmentation", "flip", "--split", "val")
    status, flipped, _ = run_json(capfd, "evaluate", "unet", "--model", folder, *flip, "--output", tmp_path / "f")
    assert status == 0 and flipped["images"] == 5 and flipped["split"] == "validation"


def test_flip_is_the_mean_of_the_image_and_its_mirror_image(scene_run):
    plain_one, flipped = recipe.Segmenter(scene_run[0]), recipe.Segmenter(scene_run[0], flip=True)
    image = road_scenes.draw(3, SIZE)[0]
    mean = (plain_one.probabilities(image) + plain_one.probabilities(image[:, ::-1])[:, ::-1]) / 2
    np.testing.assert_allclose(flipped.probabilities(image), mean, atol=1e-6)
    mirrored = flipped.probabilities(image[:, ::-1])[:, ::-1]
    np.testing.assert_allclose(mirrored, flipped.probabilities(image), atol=1e-6)


def test_sliding_windows_of_a_pointwise_network_give_the_whole(tmp_path):
    model = zoo.unet((None, None, 3), 3, filters=(4,))
    kernel, bias = model.get_layer("encoder1_convolution1").get_weights()
    kernel[[0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0  # sees the pixel itself only
    model.get_layer("encoder1_convolution1").set_weights([kernel, bias])
    model.save(tmp_path / "model.keras")
    image = np.random.default_rng(0).integers(0, 256, (37, 50, 3)).astype(np.uint8)
    whole = recipe.Segmenter(tmp_path / "model.keras").probabilities(image)
    np.testing.assert_allclose(whole, model(image[None] / np.float32(255))[0], atol=1e-5)
    for window, overlap in (((16, 20), 0.25), ((64, 20), 0.0), ((10, 10), 0.6)):
        pieces = recipe.Segmenter(tmp_path / "model.keras", window=window, overlap=overlap).probabilities(image)
        assert pieces.shape == whole.shape
        np.testing.assert_allclose(pieces, whole, atol=1e-5)
    places = starts(100, 30, 0.5)
    assert places[0] == 0 and places[-1] == 70 and max(np.diff(places)) <= 15


def test_deep_supervision_and_several_devices(few_scenes, tmp_path, no_pictures):
    deep = SMALL | {"filters": (4, 6, 8), "deep_supervision": True, "device": "mirrored", "normalization": "none"}
    deep |= {"residual": False}
    answer = recipe.train(epochs=1, output=tmp_path / "deep", **deep)
    model = zoo.load(answer["model"])
    assert model.output_names == ["mask"] and answer["parameters"] == model.count_params()


def test_a_resumed_training_gives_the_same_weights(scene_run, tmp_path, monkeypatch, no_pictures):
    save = recipe.checkpoints.Checkpoint.on_epoch_end

    def save_and_stop(self, epoch, logs=None):
        save(self, epoch, logs)
        if epoch == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recipe.checkpoints.Checkpoint, "on_epoch_end", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            recipe.train(epochs=12, output=tmp_path / "parts", **SMALL)
    assert (tmp_path / "parts/model.keras").is_file()
    parts = recipe.train(resume=tmp_path / "parts")
    whole = zoo.load(scene_run[0] / "model.keras").get_weights()
    for left, right in zip(whole, zoo.load(parts["model"]).get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_prediction_of_photos_of_any_size_and_of_a_video(scene_run, tmp_path, capfd):
    folder, _ = scene_run
    (tmp_path / "in").mkdir()
    for name, size in (("small", (21, 33)), ("large", (90, 130))):
        Image.fromarray(road_scenes.draw(7, size)[0]).save(tmp_path / "in" / f"{name}.png")
    Image.new("L", (20, 20)).save(tmp_path / "in" / "grey.png")
    with video.Writer(tmp_path / "in" / "drive.mp4", 10, (48, 32)) as out:
        for seed in range(4):
            out.write(road_scenes.draw(seed, SIZE)[0])
    arguments = ("predict", "unet", tmp_path / "in", "--model", folder, "--output", tmp_path / "out")
    status, found, err = run_json(capfd, *arguments)
    assert status == 0 and found["skipped"] == [str(tmp_path / "in" / "grey.png")] and "grey image" in err
    rows = {Path(row["file"]).name: row for row in found["predictions"]}
    for name, size in (("small.png", (21, 33)), ("large.png", (90, 130))):
        with Image.open(rows[name]["mask"]) as picture:
            assert picture.mode == "P" and picture.size == size[::-1]
            assert tuple(picture.getpalette()[:3]) == road_scenes.CLASSES["sky"]
            mask = np.asarray(picture)
        with Image.open(rows[name]["overlay"]) as picture:
            assert picture.size == size[::-1]
        share = np.bincount(mask.ravel(), minlength=9) / mask.size
        np.testing.assert_allclose(list(rows[name]["area"].values()), share)
    clip = rows["drive.mp4"]
    assert clip["frames"] == 4 and clip["frames_per_second"] > 0
    with video.Reader(clip["overlay"]) as frames:
        assert frames.size == (48, 32) and len(list(frames)) == 4
    with open(tmp_path / "out/predictions.csv", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 3
    assert (tmp_path / "out/legend.png").is_file()


def test_overlay_and_indexed_mask(tmp_path):
    mask = np.uint8([[0, 1], [2, 255]])
    colours = [(10, 20, 30), (200, 0, 0), (0, 0, 255)]
    class_colours.save_indexed(mask, colours, tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), mask)
        assert picture.convert("RGB").getpixel((1, 0)) == (200, 0, 0)
    assert class_colours.in_colours(mask, colours)[1, 1].tolist() == [0, 0, 0]
    text = class_colours.with_text(np.full((48, 96, 3), 128, np.uint8), "12.5 frames/s")
    assert (text[:3, :3] == 0).all() and (text[-10:] == 128).all() and text.max() > 200


def test_export_measures_each_file(scene_run, tmp_path, capfd):
    folder, answer = scene_run
    options = ("--format", "saved_model", "tflite", "--quantize", "int8", "--probabilities", "--size", 32, 32)
    arguments = ("export", "unet", "--model", folder, *options, "--output", tmp_path / "x")
    status, found, _ = run_json(capfd, *arguments)
    assert status == 0 and found["metrics"]["mean_iou"] == pytest.approx(answer["metrics"]["mean_iou"])
    float32, int8 = found["files"]
    assert float32["max_abs_difference"] < 1e-4 and float32["size"] == [32, 32]
    assert int8["bytes"] < float32["bytes"] and "ARG_MAX" in int8["operations"] and int8["latency_ms_2_threads"] > 0
    assert int8["agreement"] > 0.9
    run = export.load(tmp_path / "x" / "saved_model")
    assert run.inputs == {"image": ((1, 32, 32, 3), "uint8")} and run.labels == list(road_scenes.CLASSES)
    image = road_scenes.draw(4, (32, 32))[0]
    outputs = run(image=image[None])
    assert outputs["mask"].dtype == np.uint8 and outputs["mask"].shape == (1, 32, 32)
    assert (outputs["mask"] == outputs["probabilities"].argmax(axis=-1)).mean() > 0.999
    whole = recipe.Segmenter(folder, window=(32, 32))
    image = road_scenes.draw(4, SIZE)[0]
    assert (recipe.Segmenter(tmp_path / "x" / "saved_model")(image) == whole(image)).mean() > 0.999
    status, found, _ = run_json(
        capfd, "evaluate", "unet", "--model", tmp_path / "x/model_int8.tflite", "--output", tmp_path / "y"
    )
    assert status == 0 and found["metrics"]["mean_iou"] == pytest.approx(int8["metrics"]["mean_iou"])


def test_one_class_is_exported_as_object_and_background(tmp_path):
    model = zoo.unet((16, 16, 1), 1, filters=(4, 6))
    endpoints = {export.ENDPOINT: export.mask_endpoint(model)}
    path = export.export(
        model, tmp_path / "saved_model", endpoints=endpoints, metadata={"task": recipe.TASK, "num_classes": 1}
    )
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 1)).astype(np.uint8)
    expected = np.asarray(model(pixels[None] / np.float32(255)))[0, ..., 0] > 0.5
    np.testing.assert_array_equal(export.load(path)(image=pixels[None])["mask"][0], expected)
    np.testing.assert_array_equal(recipe.Segmenter(path)(pixels), expected)


def test_benchmark_has_all_sides(scene_run, tmp_path, capfd, monkeypatch):
    def forms(model, inputs, raw, folder, *, representative_data, endpoints):
        np.testing.assert_allclose(inputs * 255, raw["image"], atol=1e-3)
        assert inputs.shape[1:] == model.input_shape[1:] == representative_data.shape[1:] == (360, 480, 3)
        ((serve, inputs),) = endpoints.values()
        assert serve(raw["image"])["mask"].shape == (1, 360, 480) and list(inputs) == ["image"]
        return {"saved_model": 2.0}, {"saved_model": 10}

    monkeypatch.setattr(timing, "forms", forms)  # which has tests of its own
    options = ("--rounds", 1, "--images", 8, "--batch-size", 4, "--output", tmp_path)
    status, found, _ = run_json(capfd, "benchmark", "unet", "--model", scene_run[0], *options)
    assert status == 0 and found["frame"] == [360, 480] and found["latency_ms"] == {"saved_model": 2.0}
    speeds = found["images_per_second"]
    assert set(speeds) >= {"document's network, arrays", "document's network, our pipeline", "pipeline / arrays"}
    assert min(speeds.values()) > 0 and json.loads((tmp_path / "benchmark.json").read_text())["bytes"]


# What is refused


def test_bad_pairs_are_named(pairs, tmp_path, capfd):
    def load():
        with pytest.raises(ValueError) as caught:
            masks.load(str(pairs))
        return str(caught.value)

    spoiled, saved = pairs / "masks/3.png", (pairs / "masks/3.png").read_bytes()
    Image.fromarray(np.zeros((20, 31), np.uint8)).save(spoiled)
    assert "3.png is 30 x 20, its mask" in load() and "31 x 20" in load()
    Image.fromarray(np.full((20, 30), 3, np.uint8)).save(spoiled)
    assert "masks/3.png holds 3, which is no class: accepted are 0 to 2" in load()
    Image.fromarray(np.full((20, 30, 3), 9, np.uint8)).save(spoiled)
    assert "masks/3.png has the colour (9, 9, 9), which no class" in load()
    spoiled.write_bytes(saved[:40])
    assert "masks/3.png is not a mask that can be read" in load()
    spoiled.unlink()
    assert "images/3.png has no mask" in load()
    spoiled.write_bytes(saved)
    (pairs / "masks/extra.png").write_bytes(saved)
    assert "masks/extra.png has no image" in load()
    (pairs / "masks/extra.png").unlink()
    (pairs / "images/3.png").write_bytes(b"no picture")
    assert "images/3.png is not an image that can be read" in load()
    Image.new("L", (30, 20)).save(pairs / "images/3.png")
    assert "images/3.png is a grey image, colour is wanted" in load()
    (pairs / "classes.csv").write_text("title\nroad\n")
    assert "classes.csv is not a list of classes" in load()
    (pairs / "classes.csv").unlink()
    assert "classes.csv is missing" in load()
    for path in (pairs / "images").iterdir():
        path.unlink()
    assert "images has no images" in load()
    (tmp_path / "empty").mkdir()
    message = refused(capfd, "train", "unet", "--dataset", tmp_path / "empty", "--filters", 4, 4)
    assert "has no images with masks" in message and "trainannot" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "unet", "--dataset", "camvid"), "--data-dir FOLDER"),
        (
            ("train", "unet", "--dataset", "camvid", "--data-dir", "/no/where"),
            "there is no folder /no/where (data_dir)",
        ),
        (("train", "unet", "--dataset", "/no/where"), "there is no folder /no/where"),
        (("train", "unet", "--crop", 33, 48), "multiples of 32"),
        (("train", "unet", "--scale", 2, 1), "smallest and a largest"),
        (("train", "unet", "--size", 2, 2), "8 or more"),
        (("train", "unet", "--channels", 2), "channels must be 1 or 3"),
        (("train", "unet", "--encoder", "vgg"), "mobilenet_v2"),
        (("train", "unet", "--image-skip"), "is for an encoder by name"),
        (("evaluate", "unet", "--model", "mnist_cnn"), "gives no mask"),
        (("evaluate", "unet", "--dataset", "scenez"), "did you mean 'scenes'"),
        (("predict", "unet"), "no image given"),
        (("predict", "unet", "nothing.png"), "there is no image nothing.png"),
        (("predict", "unet", "nothing.mp4"), "there is no video nothing.mp4"),
    ],
)
def test_bad_arguments_are_one_line(arguments, words, few_scenes, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in refused(capfd, *arguments)
    assert not any(tmp_path.rglob("*.png"))


def test_other_classes_and_broken_videos_are_refused(scene_run, pairs, tmp_path, capfd):
    folder, _ = scene_run
    message = refused(capfd, "evaluate", "unet", "--model", folder, "--dataset", pairs, "--output", tmp_path / "e")
    assert "the classes differ" in message and "road, car, sky" in message
    broken = tmp_path / "drive.mp4"
    broken.write_bytes(b"no video")
    message = refused(capfd, "predict", "unet", broken, "--model", folder, "--output", tmp_path / "p")
    assert "drive.mp4 is not a video that can be decoded" in message and not (tmp_path / "p").exists()
    grey = tmp_path / "grey.png"
    Image.new("L", (40, 40)).save(grey)
    assert "grey.png is a grey image" in refused(capfd, "predict", "unet", grey, "--model", folder)


# What is published


@pytest.mark.parametrize("name", ["unet", "unet_scenes"])
def test_published_cards_keep_what_was_promised(name):
    card = pretrained.card(name)
    assert card["parameters"] <= 4_500_000 and card["builder"] == "unet"
    model = zoo.load(name)
    assert model.count_params() == card["parameters"] and model.output_shape[-1] == len(card["dataset"]["classes"])
    whole, small = card["files"][0], next(entry for entry in card["files"] if entry.get("quantize") == "int8")
    assert small["bytes"] <= 5_000_000 and small["metrics"]["mean_iou"] > whole["metrics"]["mean_iou"] - 0.01
    assert small["latency_ms_2_threads"] > 0 and card["licence"]["data"]


def test_published_model_on_real_photos(real_data):
    known = masks.load("camvid", data_dir=real_data / "camvid", only="validation")
    segmenter = recipe.Segmenter("unet")
    images, truth = (values[::12] for values in known.split("val"))
    found = [segmenter(image) for image in images]
    # of nine images rare classes are a matter of luck
    assert recipe._mean_iou(truth, found, 11) > pretrained.card("unet")["metrics"]["mean_iou"] - 0.1
