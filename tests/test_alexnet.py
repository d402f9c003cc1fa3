"""Image regression: the networks, the photos with casts and angles, the recipe's verbs, the published network."""

import csv
import json
import re
import shutil
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import refused, run_json
from PIL import Image, ImageOps
from skimage.color import deltaE_ciede2000, rgb2lab

import zoo
from recipes import alexnet as recipe
from recipes import checkpoints, timing
from recipes.benchmarks import full_alexnet
from recipes.data import photos as data
from zoo import color, photos, pretrained
from zoo.alexnet import LocalResponseNormalization
from zoo.backbones import freeze

SMALL = {"side": 67, "width": 0.1, "units": 16, "crops": 4, "batch_size": 16, "augment": 0.5}
OPTIONS = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]


@pytest.fixture(scope="session")
def cast_run(tmp_path_factory):
    """The folder of a short training on grey photos, where three numbers are easily read off, and its answer."""
    folder = tmp_path_factory.mktemp("cast")
    (folder / "grey").mkdir()
    for index in range(6):
        Image.new("RGB", (80, 80), (128,) * 3).save(folder / "grey" / f"{index}.png")
    options = SMALL | {"crops": 32, "augment": 0.0, "learning_rate": 5e-3, "patience": None}
    answer = recipe.train(dataset=str(folder / "grey"), epochs=8, output=folder / "run", **options)
    return folder / "run", answer


@pytest.fixture
def photo_folder(tmp_path):
    """Twelve noisy photos of different size, some in sub-folders."""
    random = np.random.default_rng(0)
    for index in range(12):
        file = tmp_path / "album" / ("" if index < 5 else "deep/er") / f"{index:02}.{'jpg' if index % 2 else 'png'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((90 + index, 70), Image.Resampling.BICUBIC).save(file, quality=95)
    return tmp_path / "album"


# The networks


def test_local_response_normalization_against_the_formula():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 7)).astype(np.float32) * 20
    expected = np.empty_like(x)
    for i in range(7):
        near = x[..., max(0, i - 2) : i + 3]
        expected[..., i] = x[..., i] / (2 + 1e-4 * (near**2).sum(axis=-1)) ** 0.75
    np.testing.assert_allclose(LocalResponseNormalization()(x), expected, rtol=1e-5)
    np.testing.assert_allclose(tf.nn.local_response_normalization(x, 2, 2.0, 1e-4, 0.75), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="odd number, got 4"):
        LocalResponseNormalization(4)


def test_the_single_column_has_torchvisions_count():
    assert zoo.alexnet(variant="single").count_params() == 61_100_840
    assert zoo.alexnet(include_top=False).output_shape == (None, 6, 6, 256)


def test_groups_see_their_own_half():
    model = zoo.alexnet((67, 67, 3), 2, width=0.1, include_top=False)
    layer = model.get_layer("conv2")
    x = np.random.default_rng(0).random((1, 7, 7, 10), np.float32)
    other = x.copy()
    other[..., 5:] = 0
    half = layer.filters // 2
    one, two = np.asarray(layer(x)), np.asarray(layer(other))
    np.testing.assert_array_equal(one[..., :half], two[..., :half])
    assert np.abs(one[..., half:] - two[..., half:]).max() > 0.01


def test_scale_and_offset_are_the_unit_of_the_outputs():
    plain = zoo.alexnet_regressor(("angle",), input_shape=(67, 67, 3), width=0.05)
    scaled = zoo.alexnet_regressor(("angle",), input_shape=(67, 67, 3), width=0.05, scale=20, offset=5)
    scaled.set_weights(plain.get_weights())
    image = np.random.default_rng(0).random((3, 67, 67, 3), np.float32)
    np.testing.assert_allclose(scaled(image), 20 * np.asarray(plain(image)) + 5, rtol=1e-5)


def test_freezing_until_a_layer(tmp_path):
    model = zoo.alexnet_regressor(input_shape=(67, 67, 3), width=0.05, freeze_until="conv3")
    trained = [layer.name for layer in model.layers if layer.trainable_weights]
    assert trained == ["conv4", "conv5", "fc6", "fc7", "red_dense", "green_dense", "blue_dense"]
    model.save(tmp_path / "model.keras")
    again = zoo.alexnet_regressor(input_shape=(67, 67, 3), weights=tmp_path / "model.keras")
    assert len(again.trainable_weights) == len(again.weights)


def test_a_network_of_keras_applications(backbone="MobileNetV2"):
    keras.utils.set_random_seed(0)
    model = zoo.alexnet_regressor(("angle",), backbone=backbone, input_shape=(64, 64, 3), units=8)
    image = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    build = getattr(keras.applications, backbone)
    network = build(include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg")
    network.set_weights(model.get_weights()[: len(network.weights)])
    features = keras.Model(model.input, model.get_layer("average").output)
    np.testing.assert_allclose(features(image), network(image * 2 - 1), atol=1e-4)
    name = network.layers[20].name
    freeze(model, name)
    frozen = [layer.name for layer in model.layers if not layer.trainable]
    assert frozen[-1] == name and {"fc6", "fc7"}.isdisjoint(frozen)


def test_published_weights_must_fit_the_outputs(cast_run):
    path = cast_run[0] / "model.keras"
    assert zoo.alexnet_regressor(weights=path, input_shape=(67, 67, 3)).output_names == ["red", "green", "blue"]
    with pytest.raises(ValueError, match="give red, green, blue, asked for angle"):
        zoo.alexnet_regressor("angle", weights=path, input_shape=(67, 67, 3))
    with pytest.raises(ValueError, match="67, 67"):
        zoo.alexnet_regressor(weights=path)


# Photos with casts and angles


def test_no_photo_stands_in_two_splits(photo_folder):
    for dataset in ("photos", str(photo_folder)):
        found = data.load(dataset)
        names = [set(found.sources[split]) for split in ("train", "validation", "test")]
        assert all(names) and not (names[0] & names[1] | names[0] & names[2] | names[1] & names[2])
    assert sum(len(part) for part in found.splits.values()) == 12 == len(found.split("all")[0])
    again = data.load(str(photo_folder))
    assert again.sources == found.sources


def test_a_folder_with_splits_keeps_them(photo_folder):
    (photo_folder / "deep").rename(photo_folder / "test")
    (photo_folder / "train").mkdir()
    for file in list(photo_folder.glob("0*")):
        file.rename(photo_folder / "train" / file.name)
    (photo_folder / "test" / "notes.jpg").write_text("no photo")
    found = data.load(str(photo_folder))
    assert {name: len(part) for name, part in found.splits.items()} == {"train": 4, "validation": 1, "test": 7}
    assert [Path(path).name for path in found.skipped] == ["notes.jpg"]


def test_casts_are_drawn_from_the_seed():
    shifts = data.draw(20_000, "shift", 60, seed=3)
    assert np.abs(shifts).max() <= 60 and shifts.std() == pytest.approx(60 / np.sqrt(3), rel=0.02)
    np.testing.assert_array_equal(shifts, data.draw(20_000, "shift", 60, seed=3))
    assert np.abs(shifts[:100] - data.draw(100, "shift", 60, seed=4)).max() > 1
    gains = data.draw(20_000, "gains", 0.5, seed=3)
    assert gains.min() >= 1 / 1.5 and gains.max() <= 1.5 and np.median(gains) == pytest.approx(1, abs=0.02)
    x = data.load("photos").split("test")[0][:2]
    pixels, clean, values = data.pairs(x, "shift", 60, seed=5, each=3, side=100)
    assert pixels.shape == clean.shape == (6, 100, 100, 3) and values.shape == (6, 3)
    np.testing.assert_array_equal(clean[0], clean[2])
    np.testing.assert_array_equal(pixels[3], data.resize(color.apply_cast(x[1], values[3])[None], 100)[0])


def test_training_batches_hold_the_casts_that_they_name():
    level = np.full((3, data.SIDE, data.SIDE, 3), 127, np.uint8)
    for target, strength in (("shift", 60.0), ("gains", 0.5)):
        options = {"target": target, "strength": strength, "batch_size": 8, "steps": 2, "crops": 8, "side": 67}
        batches = list(data.training_batches(level, epochs=2, augment=0.0, **options))
        assert len(batches) == 4
        for image, values in batches:
            values = np.concatenate(values, axis=1)
            expected = 127 * values if target == "gains" else 127 + values
            found = np.asarray(image) * 255
            np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None].round(), found.shape), atol=1e-3)
        resumed = list(data.training_batches(level, epochs=2, first_epoch=1, augment=0.0, **options))
        for one, other in zip(batches[2:], resumed, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])


def line(angle=0.0, size=data.SIDE):
    """A photo of a white bar that is turned counter-clockwise by an angle in degrees from the horizontal."""
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * 1.0
    distance = y * np.cos(np.radians(angle)) + x * np.sin(np.radians(angle))
    return np.repeat(np.uint8(255 * np.exp(-((distance / 8) ** 2)))[..., None], 3, axis=-1)


def slope(image):
    """Angle of the bar, by the main axis of its brightness."""
    weight = np.float64(image[..., 0])
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    middle = (image.shape[1] - 1) / 2
    centre = [(weight[:, x[0] == c][:, 0] * y[:, 0]).sum() / weight[:, x[0] == c].sum() for c in x[0]]
    return -np.degrees(np.arctan(np.polyfit(x[0] - middle, centre, 1)[0]))


def test_the_sign_of_an_angle_is_the_same_everywhere():
    assert slope(line(12)) == pytest.approx(12, abs=0.3)
    assert slope(photos.inside(photos.turn(line(), 12), 12)) == pytest.approx(12, abs=0.5)
    options = {"target": "angle", "strength": 15.0, "batch_size": 8, "steps": 1, "epochs": 1, "side": 101}
    (image, (angles,)) = next(iter(data.training_batches(line()[None], crops=8, augment=0.0, **options)))
    for one, angle in zip(np.asarray(image), np.asarray(angles)[:, 0], strict=True):
        assert slope(one) == pytest.approx(angle, abs=1)
    assert np.abs(angles).max() > 5
    pixels, clean, values = data.pairs(line()[None], "angle", 15, seed=1, each=3, side=101)
    for one, other, (angle,) in zip(pixels, clean, values, strict=True):
        assert slope(one) == pytest.approx(angle, abs=0.7) and slope(other) == pytest.approx(0, abs=0.1)


def test_what_lies_inside_a_turned_photo_has_no_black_corner():
    for height, width in ((200, 300), (300, 200), (250, 250)):
        white = np.full((height, width, 3), 255, np.uint8)
        for angle in (-30, -7, 3, 15, 44):
            part = photos.inside(photos.turn(white, angle), angle)
            assert part[1:-1, 1:-1].min() > 250
            assert part.shape[0] / part.shape[1] == pytest.approx(height / width, rel=0.05)


# The recipe


def write_table(path, rows):
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_training_answers_with_figures_and_pictures(cast_run):
    folder, answer = cast_run
    assert answer["rmse"] < 12 < 30 < answer["baselines"]["zero"]["rmse"] and answer["mean_angular_error"] < 3
    written = {path.name for path in folder.iterdir()}
    pictures = {"curves.png", "predictions.png", "examples.png"}
    assert pictures | {"model.keras", "card.json", "history.csv", "config.json"} <= written and "backup" not in written
    for name in pictures:
        with Image.open(folder / name) as image:
            assert np.asarray(image.convert("L")).std() > 5
    history = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    for row in history:
        parts = [float(row[f"val_{name}_rmse"]) for name in ("red", "green", "blue")]
        assert float(row["val_rmse"]) == pytest.approx(np.sqrt(np.mean(np.square(parts))))
    assert set(answer["baselines"]) == {"zero", "gray_world", "shades_of_gray", "white_patch"}
    card = json.loads((folder / "card.json").read_text())
    assert card["target"] == {"kind": "shift", "strength": 60.0, "outputs": ["red", "green", "blue"]}
    assert len(card["dataset"]["test_photos"]) == 1 and card["dataset"]["splits"] == {
        "train": 4,
        "validation": 1,
        "test": 1,
    }
    size = card["files"][0]["bytes"]
    assert size < 2.6 * card["parameters"] + 60_000  # two bytes each, and the description of the network


def test_kernels_of_half_precision_load_in_float32(cast_run):
    model = zoo.load(cast_run[0] / "model.keras")
    for variable in model.weights:
        values = np.asarray(variable)
        assert values.dtype == np.float32
        if values.ndim > 1:
            np.testing.assert_array_equal(values, values.astype(np.float16))


def test_figures_against_numpy():
    random = np.random.default_rng(0)
    clean = random.integers(60, 190, (6, 20, 20, 3)).astype(np.uint8)
    values, found = random.uniform(-50, 50, (6, 3)), random.uniform(-50, 50, (6, 3))
    pixels = color.apply_cast(clean, values)
    figures = recipe._figures(recipe.Examples(pixels, clean, values, ""), found, "shift")
    assert figures["rmse"] == pytest.approx(np.sqrt(np.mean((values - found) ** 2)))
    for index, name in enumerate(("red", "green", "blue")):
        assert figures[f"rmse_{name}"] == pytest.approx(np.sqrt(np.mean((values - found)[:, index] ** 2)))
    angles = np.sort(color.angular_error(values, found))
    assert figures["mean_angular_error"] == pytest.approx(angles.mean())
    assert figures["median_angular_error"] == pytest.approx(np.median(angles))
    assert figures["worst_quarter_angular_error"] == pytest.approx(angles[-2:].mean())
    exact = recipe._figures(recipe.Examples(pixels, clean, values, ""), values, "shift")
    assert exact["rmse"] == 0 and exact["delta_e_2000"] < 1  # rounding
    corrected = color.correct_color(pixels, found)[:, ::5, ::5]
    expected = deltaE_ciede2000(rgb2lab(clean[:, ::5, ::5]), rgb2lab(corrected)).mean()
    assert figures["delta_e_2000"] == pytest.approx(expected)
    # one pair of Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula", 2005
    assert deltaE_ciede2000([50, 2.6772, -79.7751], [50, 0, -82.7485]) == pytest.approx(2.0425, abs=1e-4)


def test_evaluate_a_folder_never_seen(capfd, cast_run, photo_folder, tmp_path):
    command = ("evaluate", "alexnet", "--model", cast_run[0], "--dataset", photo_folder, "--casts", 2)
    status, answer, _ = run_json(capfd, *command, "--seed", 7, "--output", tmp_path / "out")
    assert status == 0 and answer["split"] == "all" and answer["photos"] == 12
    names = {"rmse", "rmse_red", "rmse_green", "rmse_blue", "mean_angular_error"}
    assert names <= set(answer) and all(names <= set(part) for part in answer["baselines"].values())
    values = data.draw(24, "shift", 60, 7)
    assert answer["baselines"]["zero"]["rmse"] == pytest.approx(np.sqrt(np.mean(values**2)), rel=1e-5)
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["metrics"] == answer["metrics"]


def test_a_table_of_measured_casts(capfd, cast_run, photo_folder, tmp_path):
    random = np.random.default_rng(1)
    rows = [
        {"Image": file.relative_to(tmp_path), "R": random.uniform(-40, 40), "G": 3, "B": -7, "split": split}
        for file, split in zip(
            sorted(photo_folder.rglob("*.*g")), ["train"] * 8 + ["validation"] * 2 + ["test"] * 2, strict=True
        )
    ]
    write_table(tmp_path / "casts.csv", rows)
    found = data.load(str(tmp_path / "casts.csv"))
    assert {name: len(part) for name, part in found.splits.items()} == {"train": 8, "validation": 2, "test": 2}
    np.testing.assert_allclose(found.targets["test"], [[row["R"], 3, -7] for row in rows[-2:]], rtol=1e-6)
    command = ("evaluate", "alexnet", "--dataset", tmp_path / "casts.csv", "--split", "test", "--model", cast_run[0])
    status, answer, _ = run_json(capfd, *command, "--output", tmp_path / "out")
    assert status == 0 and answer["photos"] == 2
    expected = np.sqrt(np.mean(found.targets["test"] ** 2))
    assert answer["baselines"]["zero"]["rmse"] == pytest.approx(expected, rel=1e-5)
    options = {"target": "shift", "strength": 60.0, "batch_size": 8, "steps": 1, "epochs": 1, "side": 67}
    (_, values) = next(iter(data.training_batches(found.splits["train"], found.targets["train"], **options)))
    assert set(np.round(values[0][:, 0], 3)) == set(np.round(found.targets["train"][:, 0], 3))


def test_rows_of_one_photo_stay_together(photo_folder, tmp_path):
    files = sorted(photo_folder.rglob("*.*g"))
    rows = [{"path": file, "red": 1, "green": 2, "blue": index} for file in files for index in range(3)]
    write_table(tmp_path / "casts.csv", rows)
    found = data.load(str(tmp_path / "casts.csv"))
    parts = [set(found.sources[split]) for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 12 and len(found.split("all")[0]) == 36
    for split, names in found.sources.items():
        assert found.targets[split][:, 2].tolist() == [0, 1, 2] * (len(names) // 3)


def test_gains_are_measured_and_corrected(capfd, cast_run, photo_folder, tmp_path):
    shutil.copytree(cast_run[0], tmp_path / "run")
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    card["target"] |= {"kind": "gains", "strength": 0.5}
    (tmp_path / "run" / "card.json").write_text(json.dumps(card))
    model = zoo.load(tmp_path / "run" / "model.keras")
    for layer in model.layers:
        if isinstance(layer, keras.layers.Rescaling) and layer.name != "scaled":
            layer.scale, layer.offset = 0.001, 1.25
    model.save(tmp_path / "run" / "model.keras")
    command = ("--model", tmp_path / "run", "--output", tmp_path / "out")
    status, answer, _ = run_json(capfd, "evaluate", "alexnet", *command, "--casts", 1)
    values = data.draw(9, "gains", 0.5, 0)
    assert status == 0 and answer["rmse"] == pytest.approx(np.sqrt(np.mean((values - 1.25) ** 2)), rel=0.1)
    assert answer["baselines"]["zero"]["rmse"] == pytest.approx(np.sqrt(np.mean((values - 1) ** 2)))
    photo = next(photo_folder.glob("*.png"))
    (row,) = run_json(capfd, "predict", "alexnet", photo, *command)[1]["predictions"]
    with Image.open(photo) as original, Image.open(row["corrected"]) as result:
        expected = color.correct_color(np.asarray(original), [row[name] for name in ("red", "green", "blue")], "gains")
        np.testing.assert_array_equal(result, expected)


def test_a_mirror_image_has_the_same_cast_and_the_opposite_angle(capfd, photo_folder, tmp_path):
    with Image.open(next(photo_folder.glob("*.png"))) as image:
        photo = image.convert("RGB")
    for name, one in (("one", photo), ("mirrored", ImageOps.mirror(photo))):
        one.save(tmp_path / f"{name}.png")
    command = ("predict", "alexnet", tmp_path / "one.png", tmp_path / "mirrored.png", "--output", tmp_path / "out")
    channels = ("red", "green", "blue")
    plain, both = (
        [[row[name] for name in channels] for row in run_json(capfd, *command, *way)[1]["predictions"]]
        for way in ((), ("--test-time-augmentation", "flip"))
    )
    np.testing.assert_allclose(both[0], np.mean(plain, axis=0), rtol=1e-5)
    np.testing.assert_allclose(both[0], both[1], rtol=1e-5)
    with Image.open(tmp_path / "out/one-corrected.png") as corrected:
        np.testing.assert_array_equal(corrected, color.correct_color(np.asarray(photo), both[0]))
    network = zoo.alexnet_regressor("angle", input_shape=(67, 67, 3), width=0.05, pooling="statistics")
    network.save(tmp_path / "angle.keras")
    pixels = data.resize(np.asarray(photo)[None], 67)
    one, other = (recipe.Estimator(tmp_path / "angle.keras", flip=True)(x) for x in (pixels, pixels[:, :, ::-1]))
    np.testing.assert_allclose(one, -other, rtol=1e-5)
    assert one != 0


def test_the_exported_signature_of_gains_and_angles():
    options = {"input_shape": (67, 67, 3), "width": 0.05}
    x = np.random.default_rng(0).integers(0, 256, (1, 67, 67, 3)).astype(np.uint8)
    for kind, network in (
        ("gains", zoo.alexnet_regressor(offset=1.2, **options)),
        ("angle", zoo.alexnet_regressor("angle", **options)),
    ):
        function, inputs = zoo.export.cast_endpoint(network, kind)[zoo.export.ENDPOINT]
        found, expected = function(tf.constant(x)), np.concatenate(keras.tree.flatten(network(x / np.float32(255))), 1)
        assert inputs["image"].shape == x.shape
        np.testing.assert_allclose(found["angle" if kind == "angle" else "cast"], expected, rtol=1e-5)
        if kind == "gains":
            difference = np.int16(found["corrected"]) - color.correct_color(x, expected, "gains")
            assert np.abs(difference).max() <= 1


def test_predict_corrects_at_full_size(capfd, cast_run, photo_folder, tmp_path):
    (photo_folder / "broken.jpg").write_text("no photo")
    Image.new("L", (40, 50), 100).save(tmp_path / "grey.png")
    command = ("predict", "alexnet", tmp_path / "grey.png", photo_folder, "--model", cast_run[0])
    status, answer, err = run_json(capfd, *command, "--output", tmp_path / "out")
    assert status == 0 and len(answer["predictions"]) == 13 and len(answer["skipped"]) == 1 and "broken.jpg" in err
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == answer["predictions"]
    for row, one in zip(rows, answer["predictions"], strict=True):
        with Image.open(row["file"]) as before, Image.open(row["corrected"]) as after:
            assert before.size == after.size == (one["width"], one["height"])
            assert after.format == ("JPEG" if row["file"].endswith("jpg") else "PNG")
            cast = [float(row[name]) for name in ("red", "green", "blue")]
            expected = np.int16(color.correct_color(np.asarray(before.convert("RGB")), cast))
            assert np.abs(np.asarray(after.convert("RGB")) - expected).mean() < (3 if after.format == "JPEG" else 0.1)
    assert (tmp_path / "out" / "predictions.png").is_file()


def test_an_int8_file_gives_the_cast_and_the_corrected_photo(capfd, cast_run, tmp_path):
    command = ("export", "alexnet", "--model", cast_run[0], "--casts", 2, "--output", tmp_path, "--quantize", "int8")
    status, answer, _ = run_json(capfd, *command)
    (entry,) = answer["files"]
    assert status == 0 and entry["metrics"]["rmse"] == pytest.approx(answer["metrics"]["rmse"], rel=0.1)
    run = zoo.export.load(tmp_path / "model.tflite")
    x = data.resize(data.load("photos").split("test")[0][:1], 67)
    found = run(image=x)
    assert found["cast"].shape == (1, 3) and found["corrected"].dtype == np.uint8
    assert run.metadata["target"]["kind"] == "shift"
    assert np.abs(found["corrected"] - np.int16(color.correct_color(x, found["cast"]))).max() <= 4


def test_an_angle_in_two_phases_of_transfer_learning_with_a_kill_between_them(
    capfd, photo_folder, tmp_path, monkeypatch
):
    options = SMALL | {"dataset": str(photo_folder), "freeze_until": "conv4", "epochs": 1, "target": "angle"}
    options |= {"fine_tuning_epochs": 1, "fine_tuning_rate": 1e-2}
    keep, seen, killed = checkpoints.save_model, {}, []

    def watch(model, path, **extra):
        keep(model, path, **extra)
        seen[Path(path).name] = [np.array(model.get_layer(name).kernel) for name in ("conv3", "conv5")]
        if Path(path).name == "epoch-0001.keras" and not killed:
            killed.append(True)
            raise RuntimeError("killed")

    monkeypatch.setattr(checkpoints, "save_model", watch)
    with pytest.raises(RuntimeError, match="killed"):
        recipe.train(output=tmp_path / "run", **options)
    first = seen.copy()
    answer = recipe.train(resume=tmp_path / "run")
    assert answer["epochs"] == 2 and answer["rmse"] > 0 and list(answer["baselines"]) == ["zero"]
    keras.utils.set_random_seed(0)
    network = {"width": 0.1, "units": 16, "pooling": "statistics", "dropout": 0.0, "scale": 15.0}
    fresh = zoo.alexnet_regressor("angle", input_shape=(67, 67, 3), **network)
    frozen, free = first["epoch-0001.keras"]
    np.testing.assert_array_equal(frozen, fresh.get_layer("conv3").kernel)  # in the first phase
    assert np.abs(free - fresh.get_layer("conv5").kernel).max() > 1e-4
    assert np.abs(seen["epoch-0002.keras"][0] - frozen).max() > 1e-3  # free in the second

    photo = next(photo_folder.glob("*.png"))
    command = ("predict", "alexnet", photo, "--model", tmp_path / "run", "--output", tmp_path / "out")
    capfd.readouterr()  # what the trainings said
    (row,) = run_json(capfd, *command)[1]["predictions"]
    with Image.open(photo) as original, Image.open(row["corrected"]) as result:
        expected = photos.inside(photos.turn(np.asarray(original), -row["angle"]), row["angle"])
        np.testing.assert_array_equal(result, expected)


def test_benchmark(capfd, cast_run, tmp_path, monkeypatch):
    def forms(model, inputs, raw, folder, *, representative_data, endpoints):  # those of files are tested elsewhere
        assert raw["image"].dtype == np.uint8 and len(representative_data)
        (function, _) = endpoints[zoo.export.ENDPOINT]
        np.testing.assert_allclose(
            function(tf.constant(raw["image"]))["cast"], np.concatenate(model(inputs), axis=1), rtol=1e-4
        )
        return {"saved_model": 4.0, "tflite int8, 1 thread": 0.5}, {"model.tflite": 1000}

    monkeypatch.setattr(timing, "forms", forms)
    command = ("benchmark", "alexnet", "--model", cast_run[0], "--width", 0.05, "--rounds", 1, "--batch-size", 2)
    status, answer, _ = run_json(capfd, *command, "--output", tmp_path)
    assert status == 0 and json.loads((tmp_path / "benchmark.json").read_text())["bytes"] == answer["bytes"]
    assert answer["alexnet"]["ours images/s"] > 0 and answer["alexnet"]["ours ms"] > 0


def test_measuring_the_whole_network(monkeypatch):
    export = zoo.export.export  # the converter is tested elsewhere
    monkeypatch.setattr(zoo.export, "export", lambda model, path: export(model, path.with_suffix("")))
    small = {"input_shape": (67, 67, 3), "num_classes": 4, "width": 0.05}
    start = time.perf_counter()
    found = full_alexnet.measure(2, **small)
    assert found["parameters"] == zoo.alexnet(**small).count_params() and found["max difference"] < 1e-4
    assert 0 < found["conversion seconds"] < time.perf_counter() - start
    assert found["memory bytes"] > 100e6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "--model", "run"], ["no photo given"]),
        (["predict", "lion.jpg", "--model", "run"], ["there is no image lion.jpg"]),
        (["predict", "text.jpg", "--model", "run"], ["text.jpg is not an image", "PNG"]),
        (["predict", "empty", "--model", "run"], ["empty has no images"]),
        (
            ["predict", "good.png", "--model", "digits.keras"],
            ["digits.keras is not for image regression: it is for image classification"],
        ),
        (["evaluate", "--model", "lion"], ["lion"]),
        (["evaluate", "--model", "run", "--dataset", "empty"], ["empty has no images"]),
        (["evaluate", "--model", "run", "--dataset", "./nowhere"], ["no folder ./nowhere"]),
        (["evaluate", "--model", "run", "--strength", "200"], ["strength of shift must be in (0, 128], got 200"]),
        (["evaluate", "--model", "run", "--casts", "0"], ["casts must be positive, got 0"]),
        (["evaluate", "--model", "run", "--seed", "-1"], ["seed must be in [0,"]),
        (["evaluate", "--model", "run", "--dataset", "photoss"], ["photoss", "photos"]),
        (["train", "--dataset", "none.csv"], ["there is no table none.csv"]),
        (["train", "--dataset", "missing.csv"], ["missing.csv, line 2", "no image lion.png"]),
        (["train", "--dataset", "column.csv"], ["no column blue (or b)", "image, red, green"]),
        (["train", "--dataset", "word.csv"], ["word.csv, line 3", "green is not a number: 'much'"]),
        (["train", "--dataset", "unread.csv"], ["unread.csv, line 2", "text.jpg is not an image"]),
        (["train", "--dataset", "split.csv"], ["split.csv, line 2", "got 'fold'"]),
        (["train", "--dataset", "few.csv"], ["few.csv has 1 photos", "need 3"]),
        (["train", "--dataset", "good.csv", "--target", "angle"], ["no column angle (or degrees)"]),
        (["train", "--dataset", "binary.csv"], ["binary.csv"]),
        (["train", "--freeze-until", "conv9"], ["no layer 'conv9'", "conv1, conv2"]),
        (["train", "--fine-tuning-epochs", "2"], ["freeze_until"]),
        (["train", "--backbone", "LeNet"], ["alexnet, efficientnet_lite0", "MobileNetV2"]),
        (["train", "--weights", "alexnet-0123abcd.pth", "--width", "1"], ["sha256", "0123abcd"]),
        (["train", "--weights", "imagenet", "--width", "0.5"], ['variant="single" at width=1', "width=0.5"]),
        (["train", "--strength", "-1"], ["strength must be positive"]),
        (["train", "--strength", "50", "--target", "angle"], ["strength of angle must be in (0, 45]"]),
        (["train", "--augment", "2"], ["augment", "2"]),
        (["train", "--dropout", "1"], ["dropout", "1"]),
        (["train", "--side", "40"], ["63 or more"]),
        (["export", "--model", "run", "--format", "onnx", "--quantize", "int8"], ["int8", "onnx"]),
        (["benchmark", "--model", "run", "--rounds", "0"], ["rounds must be positive"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_wrong_input_is_one_clear_line(capfd, cast_run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("run").symlink_to(cast_run[0])
    Path("empty").mkdir()
    Path("text.jpg").write_text("this is text")
    Path("binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    Path("alexnet-0123abcd.pth").write_text("this is text")
    Image.new("RGB", (20, 20), (9, 99, 199)).save("good.png")
    good = {"image": "good.png", "red": 1, "green": 2, "blue": 3}
    write_table("good.csv", [good] * 3)
    write_table("few.csv", [good])
    write_table("missing.csv", [good | {"image": "lion.png"}])
    write_table("column.csv", [{name: good[name] for name in ("image", "red", "green")}])
    write_table("word.csv", [good, good | {"green": "much"}])
    write_table("unread.csv", [good | {"image": "text.jpg"}])
    write_table("split.csv", [good | {"split": "fold"}])
    if "digits.keras" in arguments:
        zoo.mnist_cnn(filters=(2,), dense_units=0).save("digits.keras")
    before = set(tmp_path.rglob("*"))
    line = refused(capfd, arguments[0], "alexnet", *arguments[1:])
    assert all(word in line for word in words), line
    assert not [path for path in set(tmp_path.rglob("*")) - before if path.is_file()]  # nothing half-written


# The published network


def published():
    if "alexnet" not in pretrained.names():
        pytest.skip("not published yet")
    return pretrained.card("alexnet")


def test_published_card_meets_the_target():
    card = published()
    best = min(part["rmse"] for part in card["baselines"].values())
    assert card["metrics"]["rmse"] <= best / 2 and card["metrics"]["mean_angular_error"] < 3
    for name in ("red", "green", "blue"):
        best = min(part[f"rmse_{name}"] for part in card["baselines"].values())
        assert card["metrics"][f"rmse_{name}"] <= best / 2
    keras_file, int8_file = card["files"]
    assert keras_file["bytes"] < 4e6 and int8_file["quantize"] == "int8" and int8_file["bytes"] < 4e6
    assert int8_file["metrics"]["rmse"] <= 1.1 * keras_file["metrics"]["rmse"]
    assert card["full_network"]["parameters"] == 60_965_224


def test_published_figures_are_reproduced(real_data):
    card = published()
    photos = data.load(str(real_data / "coco_train"))
    names = [[Path(name).name for name in one] for one in (photos.sources["test"], card["dataset"]["test_photos"])]
    assert names[0] == names[1]  # the same photos, which were in another folder
    for entry in card["files"]:
        estimator = recipe.Estimator(pretrained.file("alexnet", entry["file"]))
        casts, seed = (int(re.search(words, entry["measured_on"])[1]) for words in (r"(\d+) shifts", r"seed (\d+)"))
        pixels, _, values, *_ = recipe.examples(photos, "test", "shift", 60.0, seed=seed, casts=casts, side=227)
        rmse = float(np.sqrt(np.mean((estimator(pixels) - values) ** 2)))
        assert rmse == pytest.approx(entry["metrics"]["rmse"], rel=0.02)
