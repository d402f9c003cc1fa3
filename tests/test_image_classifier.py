"""The photo classifier: fitting it to folders of photos, its augmentation, where it looks, the classes of ImageNet."""

import keras
import numpy as np
import pytest
import skimage.data
from commands import refused, run_json
from PIL import Image

import zoo
from recipes.data import photo_batches
from recipes.pictures import grad_cam

PHOTOS = {"cat": skimage.data.chelsea, "coffee": skimage.data.coffee, "rocket": skimage.data.rocket}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Crops of three photographs as three classes, in splits for training and validation."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for name, photo in PHOTOS.items():
            pixels = photo()
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                top, left = (random.integers(side - 160) for side in pixels.shape[:2])
                crop = Image.fromarray(pixels[top : top + 160, left : left + 160]).resize((64, 64))
                crop.save(root / split / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A short training, from the ImageNet weights."""
    from recipes import image_classifier

    output = tmp_path_factory.mktemp("run")
    options = {"epochs": 1, "batch_size": 12, "head_epochs": 10, "learning_rate": 1e-4}
    image_classifier.train(dataset=str(folder), setup=image_classifier.training.Setup(output=output), **options)
    return output


def test_a_folder_of_photos_from_training_to_the_phone(capfd, folder, run, tmp_path):
    status, answer, _ = run_json(
        capfd, "evaluate", "image_classifier", "--model", run, "--dataset", folder, "--output", tmp_path / "measured"
    )
    assert status == 0 and answer["split"] == "validation" and answer["images"] == 18
    assert answer["metrics"]["accuracy"] > 0.8  # a third by chance
    pictures = {path.name for path in (tmp_path / "measured").glob("*.png")}
    assert pictures == {"confusion_matrix.png", "calibration.png", "mistakes.png", "grad_cam.png"}
    status, exported, _ = run_json(
        capfd, "export", "image_classifier", "--model", run, "--dataset", folder, "--quantize", "int8",
        "--output", tmp_path / "files",
    )  # fmt: skip
    assert status == 0 and exported["files"][0]["metrics"]["accuracy"] >= answer["metrics"]["accuracy"] - 0.12
    photo = next((folder / "val" / "rocket").iterdir())
    options = ["--top", "2", "--output", tmp_path / "predicted"]
    status, predicted, _ = run_json(capfd, "predict", "image_classifier", photo, "--model", run, *options)
    (row,) = predicted["predictions"]
    assert row["label"] == "rocket" and len(row["probabilities"]) == 2
    file = zoo.predict(tmp_path / "files" / "model.tflite", photo)
    assert file.label == "rocket" and file.confidence == pytest.approx(row["confidence"], abs=0.2)


def test_the_mean_of_an_image_and_its_mirror_image(folder, run):
    from recipes.image_classifier import Classifier, datasets

    images = datasets(folder).split("validation")[0]
    once, both = Classifier(run)(images), Classifier(run, flip=True)(images)
    np.testing.assert_allclose(both, (once + Classifier(run)(images[:, :, ::-1].copy())) / 2, atol=1e-6)
    assert not np.allclose(once, both, atol=1e-4)


def test_names_of_the_thousand_classes(capfd, tmp_path):
    """Photographs of which everybody can say what is on them."""
    wanted = {"cat": "Egyptian cat", "coffee": "espresso", "rocket": "missile"}
    for name, photo in PHOTOS.items():
        Image.fromarray(photo()).save(tmp_path / f"{name}.png")
    status, answer, _ = run_json(capfd, "predict", "image_classifier", tmp_path, "--output", tmp_path / "found")
    found = {row["file"].split("/")[-1][:-4]: list(row["probabilities"]) for row in answer["predictions"]}
    assert status == 0 and all(len(names) == 5 for names in found.values())
    assert all(wanted[name] in found[name] for name in PHOTOS), found


def test_other_classes_keep_all_but_the_last_layer(tmp_path):
    model = zoo.image_classifier((64, 64, 3), 3, backbone="MobileNetV3Small")
    model.save(tmp_path / "model.keras")
    fitted = zoo.image_classifier((96, 64, 3), 5, weights=tmp_path / "model.keras")
    assert fitted.input_shape == (None, 96, 64, 3) and fitted.output_shape == (None, 5)
    for left, right in zip(model.get_weights()[:-2], fitted.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(left, right)
    zoo.mnist_cnn((32, 32, 3), 3, filters=(4,)).save(tmp_path / "digits.keras")
    with pytest.raises(ValueError, match="of a mnist_cnn, not of an image classifier"):
        zoo.image_classifier((32, 32, 3), 3, weights=tmp_path / "digits.keras")


def batches(images, **options):
    labels = np.arange(len(images)) % 3
    about = {"num_classes": 3, "batch_size": 4, "steps": 2, "epochs": 3, "class_weights": [1.0, 2.0, 3.0]}
    return list(photo_batches.training_batches(images, labels, **about | {"augment": 0.0, "mixup": 0.0} | options))


def test_batches_without_augmentation_are_the_images_or_their_mirror_images():
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 12, 3)).astype(np.uint8)
    originals = images / np.float32(255)
    mirrored = 0
    for x, y, weights in batches(images):
        for one, label, weight in zip(x.numpy(), y.numpy(), weights.numpy(), strict=True):
            same = [i for i in range(8) if np.allclose(one, originals[i]) or np.allclose(one, originals[i, :, ::-1])]
            (index,) = same
            mirrored += not np.allclose(one, originals[index])
            assert label.argmax() == index % 3 and label.sum() == 1 and weight == 1 + index % 3
    assert 4 < mirrored < 20  # of 24


def test_augmented_batches_are_those_of_an_uninterrupted_training():
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    whole = batches(images, augment=0.5, mixup=0.3)
    resumed = batches(images, augment=0.5, mixup=0.3, first_epoch=1)
    for left, right in zip(whole[2:], resumed, strict=True):
        for one, other in zip(left, right, strict=True):
            np.testing.assert_array_equal(one, other)
    for x, y, weights in whole:
        assert float(np.min(x)) >= 0 and float(np.max(x)) <= 1
        np.testing.assert_allclose(np.sum(y, axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(weights, y.numpy() @ [1.0, 2.0, 3.0], atol=1e-6)
    other_seed = batches(images, augment=0.5, mixup=0.3, seed=1)
    assert not np.allclose(other_seed[0][0], whole[0][0])


def test_grad_cam_of_averaged_features_is_their_weighted_sum():
    """Behind an average and one layer, the gradient of a logit is that layer's column over the number of places."""
    image = keras.Input((8, 12, 3))
    maps = keras.layers.Conv2D(5, 3, padding="same", activation="relu")(image)
    output = keras.layers.Dense(4, activation="softmax")(keras.layers.GlobalAveragePooling2D()(maps))
    model = keras.Model(image, output)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3)).astype(np.uint8)
    classes = np.array([2, 0, 3])
    features = np.array(keras.Model(image, maps)(images / np.float32(255)))
    expected = np.einsum("nhwc,cn->nhw", features, model.layers[-1].get_weights()[0][:, classes]).clip(0)
    expected /= np.maximum(expected.max(axis=(1, 2), keepdims=True), 1e-9)
    np.testing.assert_allclose(grad_cam.heat(model, images, classes), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], ["zoo train image_classifier needs --dataset: a folder of class/*.jpg, or a name"]),
        (["train", "--dataset", "nowhere/"], ["no folder nowhere/"]),
        (["train", "--resume", "nowhere"], ["nothing to resume in nowhere"]),
        (["train", "--dataset", "PHOTOS", "--backbone", "LeNet"], ["no backbone 'LeNet'"]),
        (["train", "--dataset", "PHOTOS", "--share", "0"], ["share", "positive"]),
        (["train", "--dataset", "PHOTOS", "--mixup", "-1"], ["mixup", "-1"]),
        (["train", "--dataset", "PHOTOS", "--image-size", "16", "16"], ["32 or more, got (16, 16, 3)"]),
        (["train", "--dataset", "PHOTOS", "--freeze-until", "stage99"], ["no layer 'stage99'"]),
        (["train", "--dataset", "PHOTOS", "--image-size", "90000", "90000"], ["GB", "smaller"]),
        (["evaluate", "--dataset", "PHOTOS", "--model", "mnist_cnn"], ["classes differ"]),
        (["predict", "nothing.jpg"], ["no image nothing.jpg"]),
        (["predict", "nothing.jpg", "--top", "0"], ["top", "positive"]),
    ],
)
def test_bad_input_is_one_line(capfd, folder, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    arguments = [str(folder) if argument == "PHOTOS" else argument for argument in arguments]
    line = refused(capfd, arguments[0], "image_classifier", *arguments[1:])
    assert all(word in line for word in words), line
    assert not (tmp_path / "runs").exists()
