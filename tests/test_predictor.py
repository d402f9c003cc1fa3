"""Predictors: the answers of the recipes' own classes, from photos of any form, without TensorFlow or Keras."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage import data

import zoo
from recipes import alexnet, denoising_autoencoder, mnist_cnn, unet, yolo
from zoo import pretrained
from zoo.photos import as_trained, fit_one
from zoo.predictor import as_photo

ROOT = Path(__file__).parent.parent


def file(name):
    return pretrained.file(name, "model.tflite")


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(data.astronaut()).resize((200, 160))


def test_detections_are_those_of_the_recipe(photo):
    answer = zoo.predict("yolo_scenes", photo)
    found = yolo.Finder(file("yolo_scenes")).on_image(photo)
    assert len(answer.detections) == len(found["boxes"]) > 0
    for one, box, score, label in zip(
        answer.detections, found["boxes"], found["scores"], found["classes"], strict=True
    ):
        assert one.box == pytest.approx(box) and one.confidence == pytest.approx(score)
        assert one.class_name == answer.class_names[label]
    plot = np.asarray(answer.plot())
    assert plot.shape == (160, 200, 3) and (plot != np.asarray(photo)).any()
    sure = zoo.predict("yolo_scenes", photo, confidence=0.5).detections
    assert sure == tuple(one for one in answer.detections if one.confidence >= 0.5)
    assert json.loads(json.dumps(answer.to_dict()))["detections"][0]["box"] == pytest.approx(answer.detections[0].box)


def test_masks_are_those_of_the_recipe(photo):
    recipe = unet.Segmenter(file("unet_scenes"))
    longest = max(recipe.card["image"]["size"])
    small = photo.resize((longest, 96), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(zoo.predict("unet_scenes", small).mask, recipe(np.asarray(small)))
    # a larger photo is seen as large as in training, as by the recipe
    answer = zoo.predict("unet_scenes", photo)
    np.testing.assert_array_equal(answer.mask, recipe.any_size(np.asarray(photo), longest))
    seen = np.asarray(photo.resize((longest, round(longest * 0.8)), Image.Resampling.BILINEAR))
    oracle = tf.image.resize(recipe.probabilities(seen), (160, 200)).numpy()
    second, first = np.sort(oracle, axis=-1)[..., -2:].transpose(2, 0, 1)
    clear = first - second > 1e-3  # elsewhere rounding decides
    assert clear.mean() > 0.5 and (answer.mask == oracle.argmax(axis=-1))[clear].all()
    assert sum(answer.share.values()) == pytest.approx(1) and answer.plot().size == photo.size
    assert answer.share["sky"] == (answer.mask == answer.class_names.index("sky")).mean()


def test_labels_are_those_of_the_recipe():
    ink = Image.new("L", (60, 90), 230)  # dark on light
    ink.paste(20, (26, 10, 34, 80))
    answer = zoo.predict("mnist_cnn", ink)
    recipe = mnist_cnn.Classifier(file("mnist_cnn"))
    pixels, turned = as_trained(fit_one(ink, (28, 28, 1)), recipe.border)
    assert turned and answer.inverted and answer.label == "1"
    np.testing.assert_allclose(list(answer.probabilities.values()), recipe(pixels[None])[0], atol=1e-7)


@pytest.mark.parametrize(
    ("name", "mode"), [("denoising_photos", "RGB"), ("denoising_autoencoder", "RGB"), ("denoising_autoencoder", "L")]
)
def test_restored_photos_are_those_of_the_recipe(photo, name, mode):
    picture = photo.convert(mode)
    answer = zoo.predict(name, picture)
    pixels = np.asarray(picture).reshape(160, 200, -1)
    expected = denoising_autoencoder.Restorer(file(name)).any_size(pixels)
    np.testing.assert_array_equal(np.asarray(answer.image).reshape(pixels.shape), expected)


def test_corrected_photos_are_those_of_the_recipe(photo):
    answer = zoo.predict("alexnet", photo)
    recipe = alexnet.Estimator(file("alexnet"))
    (values,) = recipe(fit_one(photo, (recipe.side, recipe.side, 3), "stretch")[None])
    assert list(answer.cast.values()) == pytest.approx(list(values)) and list(answer.cast) == ["red", "green", "blue"]
    np.testing.assert_array_equal(np.asarray(answer.image), recipe.correct(np.asarray(photo), values))


def test_photos_of_every_form_give_the_same_answer(photo, tmp_path, capfd):
    predictor = zoo.Predictor("yolo_scenes")
    photo.save(tmp_path / "photo.png")
    content = (tmp_path / "photo.png").read_bytes()
    pixels = np.asarray(photo)
    forms = [tmp_path / "photo.png", str(tmp_path / "photo.png"), content, io.BytesIO(content), photo, pixels]
    forms.append(pixels / 255.0)
    answers = predictor.batch(forms, progress=True)
    assert len({answer.detections for answer in answers}) == 1 and len(answers) == 7
    assert capfd.readouterr().err.endswith("7 of 7 photos\n")
    deep, clear = Image.fromarray(np.uint16(pixels[..., 0]) * 257), photo.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    for image in (deep, clear):
        image.save(tmp_path / "other.png")
        found = [zoo.predict("mnist_cnn", one).probabilities for one in (image, tmp_path / "other.png")]
        assert found[0] == found[1]
    grey = [zoo.predict("mnist_cnn", one).probabilities for one in (pixels[..., 0], pixels[..., :1])]
    assert grey[0] == grey[1]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (3, "got int"),
        (np.zeros((4, 4, 2), np.uint8), r"\(height, width\) or \(height, width, 1 or 3\), got \(4, 4, 2\)"),
        (np.full((4, 4, 3), 200.0), r"float photo is in \[0, 1\], got 200 to 200"),
        (np.full((4, 4, 3), np.nan), "got nan to nan"),
        (np.zeros((4, 4, 3), np.int64), "uint8, or float in .*got int64"),
        ("nothing.png", "there is no image nothing.png"),
        (b"text", "is not an image that can be read"),
    ],
)
def test_what_is_no_photo_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        as_photo(wrong)


def test_what_is_no_model_of_photos_is_refused(tmp_path):
    with pytest.raises(ValueError, match="dcgan is for image generation"):
        zoo.Predictor("dcgan")
    with pytest.raises(ValueError, match="did you mean 'yolo_scenes'"):
        zoo.Predictor("yolo_scene")
    with pytest.raises(ValueError, match=r"runs exported files, got .*\.keras"):
        zoo.Predictor(pretrained.file("yolo_scenes"))
    with pytest.raises(ValueError, match=r"confidence must be in \[0, 1\], got 2"):
        zoo.Predictor("yolo_scenes", confidence=2)
    (tmp_path / "a.tflite").write_text("no model")
    with pytest.raises(ValueError, match="is not a model that can be run"):
        zoo.Predictor(tmp_path / "a.tflite")


def in_a_child(code, *arguments):
    end = "; print([m for m in ('tensorflow', 'keras', 'jax', 'matplotlib', 'sklearn') if m in sys.modules])"
    command = [sys.executable, "-c", f"import sys; {code}{end}", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


def test_an_answer_needs_neither_tensorflow_nor_keras(photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    code = "import zoo; print(len(zoo.predict('yolo_scenes', sys.argv[1]).detections))"
    count, modules = in_a_child(code, tmp_path / "photo.png")
    assert modules == "[]" and int(count) > 0
    code = "from recipes.__main__ import main; print(main(sys.argv[1:]))"
    arguments = ("predict", "yolo", tmp_path / "photo.png", "--model", "yolo_scenes", "--output", tmp_path / "out")
    *said, status, modules = in_a_child(code, *arguments)
    assert (status, modules) == ("0", "[]") and said[0] == "the model finds animal, car, person"
    assert (tmp_path / "out" / "photo.png").is_file()


def test_builders_have_the_names_of_their_files():
    code = "import zoo.unet, zoo.yolo; from zoo.mnist_cnn import mnist_cnn; import zoo"
    (line, _) = in_a_child(f"{code}; print(callable(zoo.unet), callable(zoo.yolo), zoo.mnist_cnn is mnist_cnn)")
    assert line == "True True True"
    assert set(zoo.__all__) <= set(dir(zoo)) and "importlib" not in dir(zoo)


def test_keras_opens_a_file_by_itself(tmp_path):
    zoo_model = tmp_path / "model.keras"
    code = (
        "import keras, zoo; model = zoo.mnist_cnn(); detector = zoo.yolo((32, 32, 3), 2, size=(0.1, 0.1));"
        "detector.compile('adam', zoo.losses.Detection((32, 32)), jit_compile=False); detector.save(sys.argv[1])"
    )
    in_a_child(code, zoo_model)
    again = "import keras, zoo; print(type(keras.models.load_model(sys.argv[1]).loss).__name__)"
    assert in_a_child(again, zoo_model)[0] == "Detection"


def test_all_classes_of_ours_are_registered_at_once():
    files = [path for path in (ROOT / "zoo").glob("*.py") if "register_keras_serializable" in path.read_text("utf-8")]
    code = "import keras, zoo; print([name for name in sys.argv[1:] if f'zoo.{name}' not in sys.modules])"
    assert len(files) > 5 and in_a_child(code, *(path.stem for path in files))[0] == "[]"
