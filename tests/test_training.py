"""Training: killed, interrupted and resumed; devices; precision; what a run leaves behind."""

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL

import zoo
from recipes import checkpoints, mnist_cnn, training

EPOCHS = 6
BEFORE = Path(__file__).parent / "configs_of_before.json"  # each recipe's config.json when its arguments were flat
COMMAND = [
    "train", "mnist_cnn", "--epochs", str(EPOCHS), "--filters", "4", "8", "--convolutions", "1", "--dropout", "0.3",
    "--augment", "1", "--batch-size", "16", "--learning-rate", "0.01",
]  # fmt: skip


def start(folder, *options):
    """Starts `zoo` in a child process."""
    with (Path(folder).parent / f"{Path(folder).name}.log").open("a") as log:
        return subprocess.Popen([sys.executable, "-m", "recipes", *options], stdout=log, stderr=log)


def wait_for(condition, child, seconds=120):
    end = time.time() + seconds
    while not condition():
        assert child.poll() is None, f"the child ended with {child.returncode}"
        assert time.time() < end
        time.sleep(0.002)


def epochs_done(folder):
    history = folder / "history.csv"
    return max(0, len(history.read_text().splitlines()) - 1) if history.is_file() else 0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert start(folder, *COMMAND, "--output", str(folder)).wait() == 0
    return folder


def assert_same_weights(folder, other):
    left, right = (keras.saving.load_model(run / "model.keras").get_weights() for run in (folder, other))
    for one, another in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, another)


def test_killed_between_and_during_epochs_ends_with_the_same_weights(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    # between: at the moment the first epoch's history stands, before or just after its backup
    child = start(folder, *COMMAND, "--output", str(folder))
    wait_for(lambda: epochs_done(folder) == 1, child)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (folder / "model.keras").exists() and not (folder / "card.json").exists()
    # during: some batches into an epoch
    child = start(folder, "train", "mnist_cnn", "--resume", str(folder))
    wait_for(lambda: epochs_done(folder) >= 2, child)
    time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert start(folder, "train", "mnist_cnn", "--resume", str(folder)).wait() == 0
    assert_same_weights(folder, uninterrupted)
    with (folder / "history.csv").open() as left, (uninterrupted / "history.csv").open() as right:
        for one, other in zip(csv.DictReader(left), csv.DictReader(right), strict=True):
            assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert not (folder / "backup").exists()


def test_ctrl_c_saves_exits_130_and_resumes(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    child = start(folder, *COMMAND, "--output", str(folder))
    wait_for(lambda: epochs_done(folder) >= 1, child)
    child.send_signal(signal.SIGINT)
    assert child.wait() == 130
    log = (tmp_path / "run.log").read_text()
    assert "Traceback" not in log and "--resume" in log
    assert np.isfinite(zoo.load(folder / "model.keras").get_weights()[0]).all()
    assert start(folder, "train", "mnist_cnn", "--resume", str(folder)).wait() == 0
    assert_same_weights(folder, uninterrupted)


def test_what_a_run_leaves_behind(digits_run):
    names = {path.name for path in digits_run.iterdir()}
    assert {"model.keras", "card.json", "config.json", "history.csv", "curves.png", "confusion_matrix.png"} <= names
    assert not any("partial" in name or name == "backup" for name in names)
    assert list((digits_run / "tensorboard" / "train").iterdir())
    card = json.loads((digits_run / "card.json").read_text())
    assert card["metrics"]["accuracy"] > 0.9 > card["baselines"]["most_frequent_class"]["accuracy"]
    assert card["dataset"]["splits"]["test"] == sum(row["images"] for row in card["per_class"])
    (entry,) = card["files"]
    assert entry["bytes"] == (digits_run / "model.keras").stat().st_size
    assert entry["sha256"] == zoo.pretrained.sha256(digits_run / "model.keras")
    model = zoo.load(digits_run / "model.keras")
    assert card["parameters"] == model.count_params() and not model.compiled


def test_best_weights_are_kept_and_patience_ends_training(tmp_path):
    result = mnist_cnn.train(output=tmp_path, epochs=30, patience=2, **SMALL | {"learning_rate": 0.3})
    with (tmp_path / "history.csv").open() as stream:
        scores = [float(row["val_accuracy"]) for row in csv.DictReader(stream)]
    assert len(scores) == result["epochs"] < 30
    assert len(scores) - 1 - scores.index(max(scores)) == 2
    x, y = mnist_cnn.datasets("digits").split("validation")
    found = (zoo.load(tmp_path / "model.keras").predict(x / 255.0, verbose=0).argmax(axis=1) == y).mean()
    assert found == pytest.approx(max(scores), abs=1e-6)


def test_nothing_to_resume(digits_run, tmp_path):
    with pytest.raises(ValueError, match="nothing to resume"):
        mnist_cnn.train(resume=tmp_path)
    with pytest.raises(ValueError, match="the run is finished"):
        mnist_cnn.train(resume=digits_run)
    (tmp_path / "config.json").write_text((digits_run / "config.json").read_text())
    (tmp_path / "backup").mkdir()
    with pytest.raises(ValueError, match="epochs=12, got epochs=13"):
        mnist_cnn.train(resume=tmp_path, epochs=13)


def test_a_run_started_before_the_setup_was_one_argument_resumes(tmp_path, monkeypatch):
    whole, begun = tmp_path / "whole", tmp_path / "begun"
    mnist_cnn.train(output=whole, epochs=2, **SMALL)
    end = checkpoints.Checkpoint.on_epoch_end

    def killed(self, epoch, logs=None):
        end(self, epoch, logs)
        raise InterruptedError

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(checkpoints.Checkpoint, "on_epoch_end", killed)
        mnist_cnn.train(output=begun, epochs=2, **SMALL)
    before = json.loads(BEFORE.read_text())["mnist_cnn"] | {"epochs": 2, "output": str(begun), **SMALL}
    del before["patience"]  # and what was not there yet has its default
    (begun / "config.json").write_text(json.dumps(before))
    assert mnist_cnn.train(resume=begun)["epochs"] == 2
    assert_same_weights(begun, whole)


@pytest.mark.parametrize("name", json.loads(BEFORE.read_text()))
def test_every_recipe_takes_the_config_of_a_run_of_before(name):
    before = json.loads(BEFORE.read_text())[name]
    now = importlib.import_module(f"recipes.{name}").train.defaults
    assert set(before) <= set(now)
    if name == "yolo":  # null in the file of a run still means from scratch: tests/test_yolo.py
        assert before.pop("weights") is None and now["weights"] == "auto"
    # None: what is usual depends on other arguments
    assert {key: json.loads(json.dumps(now[key])) for key in before if now[key] is not None} == {
        key: value for key, value in before.items() if now[key] is not None
    }


def test_a_loss_that_became_nan_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"NaN.*learning rate"):
        mnist_cnn.train(output=tmp_path, epochs=2, **SMALL | {"learning_rate": 1e30, "batch_normalization": False})
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_trained_mixed_saved_float32(policy, tmp_path):
    result = mnist_cnn.train(output=tmp_path, epochs=6, precision=policy, **SMALL)
    assert result["metrics"]["accuracy"] > 0.5
    model = zoo.load(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_mirrored_over_two_devices_learns_what_one_device_learns():
    assert len(tf.config.list_logical_devices("CPU")) == 2
    x, y = mnist_cnn.datasets("digits").split("train")
    weights = {}
    for device in ("cpu", "mirrored"):
        keras.utils.set_random_seed(0)
        strategy = training.distribution(device)
        assert strategy.num_replicas_in_sync == {"cpu": 1, "mirrored": 2}[device]
        with strategy.scope():
            model = zoo.mnist_cnn(filters=(4,), dense_units=16)
            model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "categorical_crossentropy")
        stream = mnist_cnn.image_data.training_batches(
            x, y, num_classes=10, batch_size=64, steps=10, epochs=2, seed=1, augment=1.0
        )
        model.fit(stream, epochs=2, steps_per_epoch=10, shuffle=False, verbose=0)
        weights[device] = model.get_weights()
    for one, two in zip(*weights.values(), strict=True):
        np.testing.assert_allclose(one, two, atol=2e-4)


def test_mirrored_recipe_with_an_odd_batch_resumes(tmp_path, monkeypatch):
    options = {"epochs": 8, "device": "mirrored", **SMALL, "batch_size": 33}
    save = checkpoints.save_model

    def fail_after_three(model, path):
        save(model, path)
        if path.name == "epoch-0003.keras":
            raise MemoryError

    monkeypatch.setattr(checkpoints, "save_model", fail_after_three)
    with pytest.raises(MemoryError):
        mnist_cnn.train(output=tmp_path, **options)
    monkeypatch.setattr(checkpoints, "save_model", save)
    result = mnist_cnn.train(resume=tmp_path)
    assert result["epochs"] == 8 and result["metrics"]["accuracy"] > 0.8


def test_devices_that_are_not_there():
    if not tf.config.list_physical_devices("GPU"):
        with pytest.raises(ValueError, match="sees no GPU"):
            training.distribution("gpu")
    if not os.environ.get("TPU_NAME"):
        with pytest.raises(ValueError, match="no TPU"):
            training.distribution("tpu")


def test_same_seed_same_weights_other_seed_others(tmp_path):
    weights = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        mnist_cnn.train(output=tmp_path / name, epochs=1, seed=seed, **SMALL)
        weights.append(zoo.load(tmp_path / name / "model.keras").get_weights())
    assert all((one == other).all() for one, other in zip(weights[0], weights[1], strict=True))
    assert any((one != other).any() for one, other in zip(weights[0], weights[2], strict=True))


def test_transfer_from_own_weights(digits_run, tmp_path):
    start = zoo.load(digits_run / "model.keras")
    mnist_cnn.train(
        output=tmp_path, epochs=1, weights=str(digits_run / "model.keras"), **SMALL | {"learning_rate": 1e-9}
    )
    for one, other in zip(start.trainable_weights, zoo.load(tmp_path / "model.keras").trainable_weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-4)


def test_execution_plan():
    for count, batch in ((1259, 32), (55_000, 128), (10, 128), (23, 1)):
        size, steps, per_execution = training.execution_plan(count, batch)
        assert size == min(count, batch) and steps * size <= count and steps % per_execution == 0
        assert steps * size > 0.85 * count or steps == count // size
