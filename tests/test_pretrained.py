"""Published models: whole, as small and as good as their cards say, and refused when damaged."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from commands import refused, run_json

import zoo
from recipes import mnist_cnn
from zoo import export, pretrained

ROOT = Path(__file__).parent.parent
IMAGES = Path(__file__).parent / "images"
NAMES = pretrained.names()


@pytest.mark.parametrize("name", NAMES)
def test_published_model_is_what_its_card_says(name):
    card = pretrained.card(name)
    model = zoo.load(name)
    assert isinstance(model, keras.Model) and model.count_params() == card["parameters"]
    browsers = {"model_web.tflite"} if card["builder"] == "spectrogram_cnn" else set()
    assert {entry["file"] for entry in card["files"]} == {"model.keras", "model.tflite"} | browsers
    for entry in card["files"]:
        path = pretrained.file(name, entry["file"])
        assert path.stat().st_size == entry["bytes"]
    assert (
        card["licence"]["weights"] and card["licence"]["data"] and card["training"]["command"].startswith("zoo train")
    )
    endpoint = {"diffusion": "generate"}.get(card["builder"], export.ENDPOINT)
    run = export.load(pretrained.file(name, "model.tflite"), endpoint=endpoint)
    assert run.labels == card["dataset"].get("classes", [])  # a regression has none


@pytest.mark.parametrize("name", [name for name in NAMES if pretrained.card(name)["builder"] == "mnist_cnn"])
def test_published_figures_are_reproduced(name, prepared, tmp_path):
    card = pretrained.card(name)
    dataset = card["dataset"]["name"]
    for entry in card["files"]:
        answer = mnist_cnn.evaluate(
            model=pretrained.file(name, entry["file"]),
            dataset=dataset,
            data_dir=prepared(dataset),
            output=tmp_path,
        )
        assert answer["images"] == 10_000
        assert answer["metrics"]["accuracy"] == pytest.approx(entry["metrics"]["accuracy"], abs=2e-4)
    target = {"mnist": 0.996, "fashion_mnist": 0.93}[dataset]
    assert card["metrics"]["accuracy"] >= target and np.mean(list(card["seeds"].values())) >= target


def test_small_enough_for_a_phone():
    card = pretrained.card("mnist_cnn")
    assert card["parameters"] <= 100_000
    keras_file, int8_file = card["files"]
    assert int8_file["bytes"] <= 120_000
    assert abs(int8_file["metrics"]["accuracy"] - keras_file["metrics"]["accuracy"]) <= 0.001


def test_weights_argument():
    pixels = np.random.default_rng(0).random((4, 28, 28, 1), dtype=np.float32)
    np.testing.assert_array_equal(zoo.mnist_cnn(weights="mnist")(pixels), zoo.load("mnist_cnn")(pixels))
    path = pretrained.file("mnist_cnn")
    np.testing.assert_array_equal(zoo.mnist_cnn(weights=path)(pixels), zoo.load("mnist_cnn")(pixels))


@pytest.fixture
def copy_of_published(tmp_path, monkeypatch):
    shutil.copytree(pretrained.directory(), tmp_path / "saved_models")
    monkeypatch.setattr(pretrained, "directory", lambda: tmp_path / "saved_models")
    return tmp_path / "saved_models"


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_a_damaged_file_is_refused_in_one_line(damage, copy_of_published):
    path = copy_of_published / "mnist_cnn" / "model.keras"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage == "changed" else content[:1000])
    with pytest.raises(ValueError, match="is damaged: its sha256") as caught:
        zoo.load("mnist_cnn")
    assert "\n" not in str(caught.value)


def test_unknown_names():
    with pytest.raises(ValueError, match="did you mean 'mnist_cnn'"):
        zoo.load("mnist_cn")
    with pytest.raises(ValueError, match=r"no model file .*lion\.keras"):
        zoo.load("lion.keras")
    with pytest.raises(ValueError, match=r"there are model\.keras, model\.tflite"):
        pretrained.file("mnist_cnn", "model.onnx")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_an_installed_wheel_loads_them_from_an_empty_folder(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    code = "import zoo; print(zoo.__file__); print([zoo.load(name).count_params() for name in zoo.pretrained.names()])"
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "empty", env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    file, counts = child.stdout.splitlines()
    assert Path(file).is_relative_to(tmp_path / "site")
    assert counts == str([pretrained.card(name)["parameters"] for name in NAMES])


def test_the_wheel_alone_answers_in_an_empty_environment(wheel, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "KERAS_BACKEND")}

    def run(*command):
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert run(sys.executable, "-m", "venv", "alone").returncode == 0
    (binaries,) = (path for path in (tmp_path / "alone/bin", tmp_path / "alone/Scripts") if path.is_dir())
    installed = run(binaries / "python", "-m", "pip", "install", "--quiet", wheel)
    if installed.returncode and "No matching distribution" in installed.stderr:
        pytest.skip("there is no package index here to install numpy, pillow, ai-edge-litert and keras from")
    assert installed.returncode == 0, installed.stderr
    (packages,) = (tmp_path / "alone").rglob("site-packages")
    megabytes = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file()) / 1e6
    assert megabytes < 350 and not (packages / "tensorflow").exists()
    code = f"import zoo; print(zoo.predict('mnist_cnn', {str(IMAGES / 'three.png')!r}).label)"
    assert run(binaries / "python", "-c", code).stdout == "3\n"
    answer = run(binaries / "zoo", "predict", "yolo", IMAGES / "three.png", "--json", "--output", "found")
    assert answer.returncode == 0 and json.loads(answer.stdout)["output"] == "found", answer.stderr
    assert run(binaries / "zoo", "sample", "diffusion", "--count", "1", "--output", "new.png").returncode == 0
    refused = run(binaries / "zoo", "train", "mnist_cnn")
    assert refused.returncode == 2 and "pip install 'image-zoo[train]'" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_model_is_compiled_as_it_was_trained_or_it_is_said_that_it_cannot(tmp_path):
    model = zoo.mnist_cnn((12, 12, 1), 3, filters=(4,))
    model.save(tmp_path / "bare.keras")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "compiled.keras")
    assert zoo.load(tmp_path / "compiled.keras", compile=True).compiled
    with pytest.raises(ValueError, match=r"bare.keras does not say how it was trained"):
        zoo.load(tmp_path / "bare.keras", compile=True)


def test_a_folder_named_like_a_published_model_is_not_taken_for_it(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    options = ["--epochs", "1", "--filters", "4", "8", "--convolutions", "1"]
    status, answer, _ = run_json(capfd, "train", "mnist_cnn", *options, "--output", "mnist_cnn")
    card = json.loads(Path("mnist_cnn/card.json").read_text())
    own = mnist_cnn.evaluate(model="./mnist_cnn", dataset="digits", output=tmp_path / "own")
    assert status == 0 and card["metrics"] == own["metrics"] == answer["metrics"]
    assert own["metrics"]["accuracy"] < 0.9  # of one epoch: the published one has 0.99
    for command in (["evaluate", "mnist_cnn"], ["predict", "mnist_cnn", str(IMAGES / "three.png")]):
        words = "mnist_cnn is a published model, and there is a folder of that name here: ./mnist_cnn means the folder"
        assert words in refused(capfd, *command, "--output", "out")
    with pytest.raises(ValueError, match=r"\./mnist_cnn means the folder"):
        zoo.load("mnist_cnn")
    monkeypatch.chdir(pretrained.directory())  # the folder is the published one
    assert zoo.load("mnist_cnn").count_params() > 50_000
