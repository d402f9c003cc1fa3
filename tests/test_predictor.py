"""Predictors: the answers of the recipes' own classes, from photos of any form, without TensorFlow or Keras."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from commands import run_json
from PIL import Image
from skimage import data

import zoo
from recipes import alexnet, dcgan, denoising_autoencoder, diffusion, mnist_cnn, spectrogram_cnn, unet, yolo
from recipes.data import audio, video
from zoo import pretrained, waveforms
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
        (b"text", "^this is not an image that can be read"),
    ],
)
def test_what_is_no_photo_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        as_photo(wrong)


def test_sounds_are_heard_as_by_the_recipe(tmp_path):
    rate = 11_025  # not the model's
    time = np.arange(3 * rate) / rate
    tone = np.float32(0.4 * np.sin(2 * np.pi * (300 + 200 * time) * time))
    soundfile.write(tmp_path / "chirp.wav", tone, rate)
    predictor = zoo.Predictor("spectrogram_cnn_sounds")
    answer = predictor(tmp_path / "chirp.wav")
    recipe = spectrogram_cnn.Classifier(file("spectrogram_cnn_sounds"))
    mono = audio.read(tmp_path / "chirp.wav", recipe.sample_rate)
    np.testing.assert_allclose(list(answer.probabilities.values()), recipe(waveforms.fit(mono, recipe.samples))[0])
    rows, _ = recipe.timeline(mono, recipe.seconds, recipe.seconds / 2)
    assert [(one.start, one.end, one.label) for one in answer.timeline] == [
        (row["start"], row["end"], row["label"]) for row in rows
    ]
    assert answer.seconds == pytest.approx(3, abs=1e-3) and answer.plot().size[1] > 8 * 20
    assert json.loads(json.dumps(answer.to_dict()))["timeline"][0]["label"] == answer.timeline[0].label
    content = (tmp_path / "chirp.wav").read_bytes()
    whole = np.rint(tone * 32768).clip(-32768, 32767).astype(np.int16)
    for form in (content, io.BytesIO(content), (tone, rate), (whole, rate), (np.stack([whole, whole], axis=1), rate)):
        same = predictor(form)
        assert same.label == answer.label and same.confidence == pytest.approx(answer.confidence, abs=0.02)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.zeros(8000), "a path, an open file, bytes, or .samples, samples per second., got ndarray"),
        ((np.full(8000, 3.0), 8000), r"float samples are in \[-1, 1\], got up to 3"),
        ((np.zeros(8000, np.int64), 8000), "int16, or float in .*got int64"),
        ((np.zeros(8000), 10), "the sound has 10 samples per second: accepted are 4,000 to 192,000"),
        ((np.zeros(8000), "8 kHz"), "samples per second., got str for the second"),
        ((["a", "b"], 8000), "int16, or float in .*got <U1"),
        ((np.zeros((4, 4, 4)), 8000), r"all finite, got \(4, 4, 4\)"),
        ("nothing.wav", "there is no sound nothing.wav"),
        (b"text", "this is not a sound that can be read"),
    ],
)
def test_what_is_no_sound_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        zoo.predict("spectrogram_cnn_sounds", wrong)


@pytest.mark.parametrize("name", ["dcgan", "diffusion"])
def test_generated_images_are_those_of_the_recipe(name):
    predictor = zoo.Predictor(name)
    answer = predictor.generate(6, labels=[3, "8"], seed=7)
    assert answer.labels == ("3", "8") * 3 and answer.images.shape == (6, 28, 28, 1)
    if name == "dcgan":
        recipe = dcgan.Sampler(file(name))
        expected = recipe(*recipe.draw(6, 7, [3, 8]))
    else:
        recipe = diffusion.Generator(file(name))
        expected, _ = recipe(6, [3, 8], seed=7, **recipe.sampling(None, "dpm_solver++", None))
    np.testing.assert_array_equal(answer.images, expected)
    assert answer.plot().size == (184, 124)
    unknown = {"dcgan": {"guidance_scale": 2.0}, "diffusion": {"steps": 50}}[name]
    with pytest.raises(ValueError, match="inside, got"):
        predictor.generate(1, **unknown)
    with pytest.raises(ValueError, match="takes no photos"):
        predictor("photo.png")
    with pytest.raises(ValueError, match="count must be 1 or more, got 0"):
        predictor.generate(0)
    with pytest.raises(ValueError, match=r"there is no label 'lion'; accepted: 0, 1"):
        predictor.generate(1, labels=["lion"])
    with pytest.raises(ValueError, match="generates nothing: it is for image classification"):
        zoo.Predictor("mnist_cnn").generate()


def test_the_keras_model_answers_like_its_file(photo, tmp_path):
    ink = Image.new("L", (60, 90), 230)
    ink.paste(20, (26, 10, 34, 80))
    exact, phone = zoo.Predictor("mnist_cnn", backend="keras")(ink), zoo.predict("mnist_cnn", ink)
    recipe = mnist_cnn.Classifier("mnist_cnn")
    pixels, _ = as_trained(fit_one(ink, (28, 28, 1)), recipe.border)
    assert exact.inverted and exact.label == phone.label == "1"
    np.testing.assert_allclose(list(exact.probabilities.values()), recipe(pixels[None])[0], atol=1e-6)
    # a folder with nothing but a Keras model, and the file itself
    for part in ("model.keras", "card.json"):
        shutil.copy(pretrained.directory() / "yolo_scenes" / part, tmp_path)
    answers = [zoo.predict(path, photo) for path in (tmp_path, tmp_path / "model.keras")]
    assert answers[0].detections == answers[1].detections and answers[0].class_names == ("animal", "car", "person")
    found = yolo.Finder("yolo_scenes").on_image(photo)
    assert {one.class_name for one in answers[0].detections} >= {
        answers[0].class_names[label]
        for label, score in zip(found["classes"], found["scores"], strict=True)
        if score > 0.5
    }
    with pytest.raises(ValueError, match=r"backend litert does not run .*model.keras"):
        zoo.Predictor(tmp_path / "model.keras", backend="litert")
    with pytest.raises(ValueError, match=r"backend must be .*got 'torch'"):
        zoo.Predictor("mnist_cnn", backend="torch")


@pytest.mark.parametrize("wrong", [{"guidance_scale": float("nan")}, {"guidance_scale": -1.0}, {"count": 0}])
def test_what_no_image_can_be_made_of_is_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=rf"{name} must be . or more, got {value}"):
        zoo.Predictor("diffusion").generate(**{"count": 1} | wrong)


def test_what_is_no_model_of_photos_is_refused(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'yolo_scenes'"):
        zoo.Predictor("yolo_scene")
    with pytest.raises(ValueError, match=r"confidence must be in \[0, 1\], got 2"):
        zoo.Predictor("yolo_scenes", confidence=2)
    (tmp_path / "interrupted").mkdir()
    with pytest.raises(ValueError, match="interrupted is a folder without a model"):
        zoo.Predictor(tmp_path / "interrupted")
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


HEAVY = ("tensorflow", "tensorflow_datasets", "scipy", "sklearn", "skimage", "matplotlib", "av", "tensorboard", "jax")


def without_extras(code, *arguments):
    """What a child says in which nothing of the extra `train` can be imported."""
    block = f"import sys; sys.modules.update(dict.fromkeys({HEAVY}))"
    result = subprocess.run(
        [sys.executable, "-c", f"{block}; {code}", *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return result.stdout + result.stderr


def test_the_bare_installation_predicts_and_names_the_extra_for_the_rest(photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    code = "import zoo; print(zoo.predict('mnist_cnn', sys.argv[1]).label, len(zoo.list()) > 10)"
    assert without_extras(code, ROOT / "tests" / "images" / "five.png").startswith("5 True")
    command = "from recipes.__main__ import main; print('status', main(sys.argv[1:]))"
    said = without_extras(command, "predict", "yolo", tmp_path / "photo.png", "--output", tmp_path / "out")
    assert "status 0" in said and (tmp_path / "out" / "photo.png").is_file()
    assert "status 0" in without_extras(command, "list")
    for recipe in ("mnist_cnn", "denoising_autoencoder"):
        digit = ROOT / "tests" / "images" / "five.png"
        said = without_extras(command, "predict", recipe, digit, "--output", tmp_path / recipe)
        assert "status 0" in said and (tmp_path / recipe / "predictions.png").is_file()
    for recipe, model in (("unet", "unet_scenes"), ("image_classifier", "image_classifier")):
        arguments = ("predict", recipe, tmp_path / "photo.png", "--model", model, "--output", tmp_path / recipe)
        assert "status 0" in without_extras(command, *arguments)
    for recipe in ("dcgan", "diffusion"):
        arguments = ("sample", recipe, "--count", "3", "--seed", "4", "--output", tmp_path / f"{recipe}.npz")
        assert "status 0" in without_extras(command, *arguments)
        with np.load(tmp_path / f"{recipe}.npz") as drawn:
            np.testing.assert_array_equal(drawn["images"], zoo.Predictor(recipe).generate(3, seed=4).images)
    said = without_extras(command, "predict", "spectrogram_cnn", ROOT / "web" / "examples" / "siren.wav")
    assert "status 2" in said and "this needs matplotlib: pip install 'image-zoo[train]'" in said
    for arguments in (["train", "mnist_cnn"], ["export", "yolo"]):
        said = without_extras(command, *arguments)
        assert "status 2" in said and "this needs tensorflow: pip install 'image-zoo[train]'" in said
    code = "import zoo\ntry:\n    zoo.unet()\nexcept ImportError as error:\n    print(error)"
    said = without_extras(f"exec({code!r})")
    assert "zoo.unet needs tensorflow: pip install 'image-zoo[train]'" in said


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


def test_what_the_model_does_not_know_is_told_once(photo, capfd):
    digits = zoo.Predictor("mnist_cnn")
    digits.batch([ROOT / "tests" / "images" / "five.png"])
    assert "knows" not in capfd.readouterr().err
    digits.batch([photo, photo])
    err = capfd.readouterr().err
    assert err.count("like a photo, not like what the model was trained on: the model knows single digits") == 1
    zoo.predict("denoising_autoencoder", photo)
    assert "the model knows the ten digits of MNIST" in capfd.readouterr().err
    zoo.predict("denoising_photos", photo)
    zoo.predict("yolo_everyday", photo)
    assert "knows" not in capfd.readouterr().err


def test_the_command_line_says_so_too(photo, tmp_path, capfd):
    photo.save(tmp_path / "photo.png")
    for recipe, words in (("mnist_cnn", "knows single digits"), ("denoising_autoencoder", "ten digits of MNIST")):
        command = ("predict", recipe, tmp_path / "photo.png", "--model", recipe, "--output", tmp_path / recipe)
        status, _, err = run_json(capfd, *command)
        assert status == 0 and err.count("photo.png looks like a photo: the model ") == 1 and words in err


def test_the_frames_of_a_film_one_by_one(photo, tmp_path):
    with video.Writer(tmp_path / "film.mp4", 10, photo.size) as film:
        for _ in range(3):
            film.write(np.asarray(photo))
    predictor = zoo.Predictor("yolo_scenes")
    answers = list(predictor.stream(tmp_path / "film.mp4"))
    assert len(answers) == 3 and all(answer.photo.size == photo.size for answer in answers)
    names = {one.class_name for one in predictor(photo).detections if one.confidence > 0.5}
    assert all(names <= {one.class_name for one in answer.detections} for answer in answers)
    assert [one.detections for one in predictor.stream([photo])] == [predictor(photo).detections]
    with pytest.raises(ValueError, match=r"there is no video nothing\.mp4"):
        next(predictor.stream("nothing.mp4"))


@pytest.mark.parametrize("name", ["spectrogram_cnn", "spectrogram_cnn_sounds"])
def test_the_files_for_browsers_hear_the_same(name):
    """They take the same samples as 32-bit integers."""
    siren = Path(__file__).parent.parent / "web" / "examples" / "siren.wav"
    folder = Path(zoo.pretrained.directory(), name)
    phone, web = (zoo.predict(folder / file, siren) for file in ("model.tflite", "model_web.tflite"))
    assert web.label == phone.label and len(web.timeline) == len(phone.timeline)
    np.testing.assert_allclose(list(web.probabilities.values()), list(phone.probabilities.values()), atol=0.02)


def test_a_tilted_photo_is_straightened(tmp_path):
    """By a network that says the same angle of everything."""
    model = zoo.alexnet_regressor("angle", input_shape=(67, 67, 3), width=0.05, pooling="statistics", units=4)
    model.get_layer("angle_dense").set_weights([np.zeros((4, 1)), np.float32([7.0])])
    metadata = {"task": "image regression", "target": {"kind": "angle", "outputs": ["angle"]}}
    endpoints = zoo.export.cast_endpoint(model, "angle")
    path = zoo.export.export(model, tmp_path / "m.tflite", metadata=metadata, endpoints=endpoints)
    photo = data.chelsea()
    found = zoo.predict(path, photo)
    assert found.angle == pytest.approx(7, abs=1e-4)
    wanted = Image.fromarray(photo).rotate(-7, Image.Resampling.BICUBIC)
    upper = (wanted.height - found.image.height) // 2
    left = (wanted.width - found.image.width) // 2
    middle = np.asarray(wanted)[upper : upper + found.image.height, left : left + found.image.width]
    assert np.abs(np.int16(middle) - np.asarray(found.image)).mean() < 1
    assert np.asarray(zoo.predict(path, np.full_like(photo, 255)).image).min() > 250  # no black corner
    assert found.to_dict() == {"angle": found.angle} and found.plot() is found.image
