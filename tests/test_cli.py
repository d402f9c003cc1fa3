"""The command `zoo`: each verb on real input, and each wrong input answered with one clear line."""

import functools
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from commands import refused, run_json
from PIL import Image

import zoo
from recipes.__main__ import APART, _parse, main, recipes
from recipes.benchmarks import backends, time_to_accuracy
from recipes.data import images

IMAGES = Path(__file__).parent / "images"
ROOT = str(Path(__file__).parent.parent)


def test_help_and_list_need_no_tensorflow():
    code = """
import contextlib, io, sys
from recipes.__main__ import main
with contextlib.redirect_stdout(io.StringIO()) as out:
    assert main(["--help"]) == 0 and main(["list"]) == 0 and main(["train", "--help"]) == 0
assert "mnist_cnn" in out.getvalue() and "evaluate" in out.getvalue()
print(sorted({"tensorflow", "keras", "numpy", "matplotlib", "tyro"} & set(sys.modules)))
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


def test_list(capfd):
    status, answer, _ = run_json(capfd, "list")
    assert status == 0 and set(answer) == {"recipes", "published"}
    assert set(answer["published"]) == set(zoo.pretrained.names())
    assert main(["list"]) == 0
    out = capfd.readouterr().out
    assert all(name in out for name in (*answer["recipes"], *answer["published"]))


def test_help_of_a_verb_shows_the_arguments_of_the_recipe(capfd):
    assert main(["train", "mnist_cnn", "--help"]) == 0
    out = capfd.readouterr().out
    assert "--learning-rate" in out and "Highest learning rate" in out and "{auto,cpu,gpu,mirrored,tpu,hosts}" in out


def test_json_is_one_object_and_all_else_goes_to_standard_error(tmp_path):
    command = [sys.executable, "-m", "recipes", "train", "mnist_cnn", "--epochs", "1", "--filters", "4", "--json"]
    child = subprocess.run([*command, "--output", tmp_path / "run"], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    answer = json.loads(child.stdout)
    assert 0 <= answer["metrics"]["accuracy"] <= 1 and answer["baselines"]
    assert Path(answer["model"]).is_file()
    assert "images for training" in child.stderr and "cuda" not in child.stderr.lower()


def test_train_with_default_output_makes_a_new_run_folder(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--epochs", "1", "--filters", "4", "--convolutions", "1")
    status, answer, _ = run_json(capfd, "train", "mnist_cnn", *options)
    assert status == 0
    (folder,) = (tmp_path / "runs" / "mnist_cnn").iterdir()
    assert folder.name.endswith("-digits") and Path(answer["output"]).resolve() == folder


def test_evaluate_every_form_of_a_model(capfd, digits_run, tmp_path):
    status, answer, _ = run_json(
        capfd, "export", "mnist_cnn", "--model", digits_run, "--format", "saved_model", "tflite", "onnx",
        "--quantize", "none", "int8", "--output", tmp_path / "files",
    )  # fmt: skip
    assert status == 0
    names = {entry["file"] for entry in answer["files"]}
    assert names == {"saved_model", "model.tflite", "model_int8.tflite", "model.onnx"}
    card = json.loads((tmp_path / "files" / "card.json").read_text())
    assert {entry["file"] for entry in card["files"]} == names
    figures = {}
    for model in (digits_run, *(tmp_path / "files" / name for name in sorted(names))):
        status, measured, _ = run_json(
            capfd, "evaluate", "mnist_cnn", "--model", model, "--output", tmp_path / "measured"
        )
        assert status == 0 and measured["split"] == "test" and measured["images"] == 359
        figures[Path(model).name] = measured["metrics"]["accuracy"]
    for entry in answer["files"]:
        assert entry["metrics"]["accuracy"] == figures[entry["file"]]
        assert entry["latency_ms"] > 0 and entry["max_abs_difference"] < (0.2 if "int8" in entry["file"] else 1e-4)
    assert figures[digits_run.name] == answer["metrics"]["accuracy"] == figures["model.tflite"]
    assert abs(figures["model_int8.tflite"] - figures["model.tflite"]) < 0.02
    written = {path.name for path in (tmp_path / "measured").iterdir()}
    assert written == {"evaluation.json", "confusion_matrix.png", "calibration.png", "mistakes.png", "grad_cam.png"}
    for path in (tmp_path / "measured").glob("*.png"):
        assert np.asarray(Image.open(path).convert("L")).std() > 5  # something is drawn


def test_evaluate_a_folder_by_class_names(capfd, digits_run, tmp_path):
    data = images.load("digits")
    pixels, labels = data.split("test")
    for name in ("3", "8"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in np.flatnonzero(labels == int(name))[:10]:
            Image.fromarray(pixels[index, ..., 0]).save(tmp_path / "photos" / name / f"{index}.png")
    (tmp_path / "photos" / "3" / "broken.png").write_text("no image")
    arguments = ("--dataset", tmp_path / "photos", "--split", "all", "--output", tmp_path / "out")
    status, answer, err = run_json(capfd, "evaluate", "mnist_cnn", "--model", digits_run, *arguments)
    assert status == 0 and answer["images"] == 20 and answer["skipped_files"] == 1 and "broken.png" in err
    assert answer["metrics"]["accuracy"] > 0.8


def test_predict_files_and_folders(capfd, digits_run, tmp_path):
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "text.png").write_text("no image")
    (tmp_path / "mixed" / "five.png").write_bytes((IMAGES / "five.png").read_bytes())
    status, answer, err = run_json(
        capfd,
        "predict",
        "mnist_cnn",
        IMAGES / "five.png",
        tmp_path / "mixed",
        "--model",
        digits_run,
        "--output",
        tmp_path / "out",
    )
    assert status == 0 and [Path(row["file"]).name for row in answer["predictions"]] == ["five.png"] * 2
    assert [Path(path).name for path in answer["skipped"]] == ["text.png"] and "text.png" in err
    for row in answer["predictions"]:
        assert row["inverted"] and sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert row["probabilities"][row["label"]] == row["confidence"] == max(row["probabilities"].values())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "predictions.csv",
        "predictions.json",
        "predictions.png",
    }


def test_the_published_model_reads_the_drawn_digits(capfd, tmp_path):
    status, answer, _ = run_json(capfd, "predict", "mnist_cnn", IMAGES, "--output", tmp_path)
    names = {"two": "2", "three": "3", "five": "5", "seven": "7"}
    assert status == 0 and len(answer["predictions"]) == 4
    for row in answer["predictions"]:
        assert row["label"] == names[Path(row["file"]).stem] and row["confidence"] > 0.6


def test_benchmark(capfd, digits_run, tmp_path, monkeypatch):
    shorter = functools.partial(time_to_accuracy._fast_training, epochs=1, share=1.0, augment=1.0)
    monkeypatch.setattr(time_to_accuracy, "_longer_cycle", shorter)
    status, answer, _ = run_json(
        capfd,
        "benchmark",
        "mnist_cnn",
        "--model",
        digits_run,
        "--rounds",
        "1",
        "--targets",
        "0.5",
        "1.0",
        "--output",
        tmp_path,
    )
    assert status == 0 and json.loads((tmp_path / "benchmark.json").read_text())["bytes"] == answer["bytes"]
    low, high = answer["time_to_accuracy"]
    assert low["classic"] > 0 and low["ours / classic"] > 0 and low["accuracy"] == 0.5 and high["accuracy"] == 1.0
    assert answer["bytes"]["model_int8.tflite"] < answer["bytes"]["model.tflite"]
    assert set(answer["start_seconds"]) == {"import keras", "import zoo over it", "zoo --help"}
    assert all(value > 0 for value in answer["latency_ms"].values()) and len(answer["latency_ms"]) == 8


def test_the_recipes_are_the_files_with_verbs():
    assert {"mnist_cnn", "image_classifier", "yolo"} <= set(recipes()) and "checkpoints" not in recipes()


def documented_commands():
    root = Path(__file__).parent.parent
    text = "\n".join(path.read_text(encoding="utf-8") for path in [root / "README.md", *sorted(root.glob("docs/*.md"))])
    lines = [line.split("#")[0].split() for line in text.splitlines() if line.strip().startswith("zoo ")]
    return [list(line) for line in dict.fromkeys(map(tuple, lines)) if "$seed" not in " ".join(line)]


@pytest.mark.parametrize("command", documented_commands(), ids=" ".join)
def test_the_documented_commands_are_understood(command):
    _, verb, *rest = command
    if verb != "list":
        recipe, *options = rest
        apart = f"recipes.{APART[verb]}.{recipe}" if verb in APART else None
        there = apart and importlib.util.find_spec(apart)
        module = importlib.import_module(apart if there else f"recipes.{recipe}")
        function = backends.of(recipe) if "--backends" in options else getattr(module, verb)
        assert _parse(function, options, "zoo") is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian", "mnist_cnn"], ["trian", "did you mean train"]),
        (["train"], ["needs a recipe", "mnist_cnn"]),
        (["train", "mnist"], ["unknown recipe", "mnist_cnn"]),
        (["benchmark", "unet", "--backends", "torch"], ["torch", "tensorflow", "jax"]),
        (["benchmark", "unet", "--backends", "jax", "--epochs", "1"], ["epochs must be 2 or more", "1"]),
        (["benchmark", "unet", "--backends", "jax", "jax"], ["different backends", "jax jax"]),
        (["sample", "mnist_cnn"], ["no verb 'sample'", "train"]),
        (["list", "--all"], ["--all"]),
        (["train", "mnist_cnn", "--epochz", "3"], ["--epochz", "--epochs"]),
        (["train", "mnist_cnn", "--epochs", "three"], ["--epochs", "three"]),
        (["train", "mnist_cnn", "--epochs", "0"], ["epochs", "positive", "0"]),
        (["train", "mnist_cnn", "--learning-rate", "-1"], ["learning_rate", "-1"]),
        (["train", "mnist_cnn", "--dropout", "1"], ["dropout", "1"]),
        (["train", "mnist_cnn", "--patience", "0"], ["patience", "0"]),
        (["train", "mnist_cnn", "--augment", "nan"], ["augment", "nan"]),
        (["train", "mnist_cnn", "--seed", "-1"], ["seed", "-1"]),
        (["train", "mnist_cnn", "--device", "gpux"], ["gpux", "mirrored"]),
        (["train", "mnist_cnn", "--dataset", "mnistt"], ["mnistt", "did you mean 'mnist'"]),
        (["train", "mnist_cnn", "--resume", "nowhere"], ["nothing to resume", "nowhere"]),
        (["train", "mnist_cnn", "--output", "/proc/nothing"], ["cannot write to", "/proc/nothing"]),
        (["evaluate", "mnist_cnn", "--model", "lion"], ["lion", "mnist_cnn"]),
        (["evaluate", "mnist_cnn", "--model", "lion.keras"], ["lion.keras"]),
        (["evaluate", "mnist_cnn", "--split", "half"], ["half", "validation"]),
        (["predict", "mnist_cnn", "lion.png"], ["no image lion.png"]),
        (["predict", "mnist_cnn"], ["no image given"]),
        (["export", "mnist_cnn", "--format", "coreml"], ["coreml", "tflite"]),
        (["export", "mnist_cnn", "--quantize", "int4"], ["int4", "int8"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_wrong_input_is_one_clear_line(capfd, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    line = refused(capfd, *arguments)
    assert all(word in line for word in words), line
    assert not list(tmp_path.rglob("*.*"))  # nothing half-written


def test_wrong_files_are_one_clear_line(capfd, digits_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("this is text")
    Path("text.keras").write_text("this is text")
    Path("text.tflite").write_text("this is text")
    Path("empty").mkdir()
    zoo.mnist_cnn((20, 20, 1), 4, filters=(4,)).save("four.keras")
    zoo.mnist_cnn((28, 28, 1), 11, filters=(4,)).save("eleven.keras")
    keras.Sequential([keras.Input((7,)), keras.layers.Dense(10)]).save("vector.keras")
    keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Conv2D(10, 1)]).save("map.keras")
    Path("cut.keras").write_bytes((digits_run / "model.keras").read_bytes()[:2000])
    (Path("one") / "cats").mkdir(parents=True)
    Image.new("L", (9, 9)).save("one/cats/a.png")
    for arguments, words in (
        (["predict", "mnist_cnn", "text.png", "--model", digits_run], ["text.png is not an image"]),
        (["predict", "mnist_cnn", "empty", "--model", digits_run], ["empty has no images"]),
        (["evaluate", "mnist_cnn", "--model", "text.keras"], ["text.keras is not a Keras model"]),
        (["evaluate", "mnist_cnn", "--model", "cut.keras"], ["cut.keras is not a Keras model"]),
        (["evaluate", "mnist_cnn", "--model", "text.tflite"], ["text.tflite is not a model"]),
        (["evaluate", "mnist_cnn", "--model", "empty"], ["empty is a folder without a model"]),
        (["evaluate", "mnist_cnn", "--model", "four.keras"], ["(20, 20, 1)", "(28, 28, 1)"]),
        (["evaluate", "mnist_cnn", "--model", "vector.keras"], ["inputs of shape (None, 7)"]),
        (["evaluate", "mnist_cnn", "--model", "map.keras"], ["outputs of shape (None, 28, 28, 10)"]),
        (["benchmark", "mnist_cnn", "--model", "text.tflite"], ["text.tflite"]),
        (
            ["export", "mnist_cnn", "--format", "onnx", "--quantize", "int8", "--model", "eleven.keras"],
            ["int8", "onnx"],
        ),
        (["train", "mnist_cnn", "--dataset", "one", "--input-shape", "9", "9", "4"], ["(9, 9, 4)"]),
        (["train", "mnist_cnn", "--dataset", "kmnist", "--manual-dir", "nowhere"], ["no folder nowhere"]),
        (["export", "mnist_cnn", "--model", "text.tflite"], ["text.tflite"]),
        (["train", "mnist_cnn", "--dataset", "empty"], ["empty has no images"]),
        (["train", "mnist_cnn", "--dataset", "one"], ["one class, cats"]),
        (["train", "mnist_cnn", "--weights", "four.keras"], ["(20, 20, 1)", "(28, 28, 1)"]),
    ):
        line = refused(capfd, *arguments)
        assert all(word in line for word in words), line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_cannot_be_written(capfd, tmp_path):
    tmp_path.chmod(0o500)
    assert "cannot write" in refused(capfd, "train", "mnist_cnn", "--output", tmp_path / "run")


def test_an_error_with_json_is_an_object_too(capfd):
    status, answer, err = run_json(capfd, "train", "lion")
    assert status == 2 and "lion" in answer["error"] and "zoo: " in err


def test_a_mistake_in_a_fresh_process_is_really_one_line(tmp_path):
    for arguments in (["train", "mnist_cnn", "--epochz", "3"], ["predict", "mnist_cnn", "lion.png"]):
        command = [sys.executable, "-m", "recipes", *arguments]
        child = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT}
        )
        assert child.returncode == 2 and child.stdout == ""
        assert len(child.stderr.splitlines()) == 1, child.stderr


def test_a_processor_trains_with_onednn_unless_it_was_switched_off():
    code = "import os; from recipes.__main__ import main; main(['list']); print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    bare = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"} | {"PYTHONPATH": ROOT}
    for given, expected in (({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")):
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=bare | given)
        assert child.stdout.splitlines()[-1] == expected, child.stderr


def test_an_exported_file_without_labels_names_classes_by_number(capfd, tmp_path):
    path = zoo.export.export(zoo.mnist_cnn(filters=(4,)), tmp_path / "bare.tflite")
    status, answer, _ = run_json(capfd, "predict", "mnist_cnn", IMAGES, "--model", path, "--output", tmp_path / "out")
    assert status == 0 and set(answer["predictions"][0]["probabilities"]) == set("0123456789")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_is_missing_is_named_on_any_terminal(encoding):
    command = [sys.executable, "-m", "recipes", "evaluate", "image_classifier"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    child = subprocess.run(command, capture_output=True, text=True, env=environment)
    (said,) = [line for line in child.stderr.splitlines() if line.startswith("zoo: ")]
    assert child.returncode == 2
    assert said.startswith("zoo: zoo evaluate image_classifier needs --dataset STR A folder of class/*.jpg, or a name")
