"""Shared fixtures. Real data is looked for in the folder that ZOO_TEST_DATA names; tests that need it skip without."""

import fcntl
import gc
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line has it
# Tiny models run for a moment: what XLA would spend on making them faster never pays.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

# Two logical CPU devices, so that a mirrored strategy has something to mirror; must come before anything runs.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

# Models are many small objects: by default a tenth of the time goes into looking them over.
gc.set_threshold(50_000, 50, 100)

SMALL = {
    "filters": (4, 8),
    "convolutions": 1,
    "global_pooling": False,
    "augment": 0.0,
    "dropout": 0.1,
    "batch_size": 32,
    "learning_rate": 0.01,
}


@pytest.fixture(scope="session")
def real_data():
    folder = os.environ.get("ZOO_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set ZOO_TEST_DATA to its folder")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def short_timings():
    """How fast anything is is of no interest to a test, so it is measured over a moment only."""
    from recipes import timing

    timing.latency.__kwdefaults__["seconds"] = 0.01
    timing.latencies.__kwdefaults__.update(rounds=1, seconds=0.01)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, real_data):
    """Function of a data set's name: a folder of tensorflow-datasets with it, made once for all processes."""
    from recipes.data import images

    parallel = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp().parent if parallel else tmp_path_factory.mktemp("data")

    def prepare(name):
        folder = base / f"tensorflow_datasets_{name}"
        folder.mkdir(exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / name).exists():
                images.load(name, data_dir=folder, manual_dir=real_data / name)
        return folder

    return prepare


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """The folder of a short training on the embedded digits."""
    from recipes import mnist_cnn

    folder = tmp_path_factory.mktemp("run")
    mnist_cnn.train(epochs=12, output=folder, **SMALL)
    return folder


@pytest.fixture
def image_folder(tmp_path):
    """A folder `class/*.png` of two classes, bright and dark, 12 images each."""
    random = np.random.default_rng(0)
    for name, level in (("bright", 200), ("dark", 40)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(12):
            pixels = random.integers(level - 40, level + 40, (20, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index:02}.png")
    return tmp_path / "photos"
