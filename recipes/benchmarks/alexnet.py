"""Speed of the AlexNet regression: training beside plain `fit`, and all forms of a model."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import zoo
from recipes import results, runs, timing, training
from recipes.alexnet import Estimator, representative
from recipes.benchmarks.torch_alexnet import torch_works
from zoo import export as exporting


def benchmark(
    *,
    model: str = "alexnet",
    dataset: str = "photos",
    width: float = 1.0,
    batch_size: int = 16,
    rounds: int = 3,
    full: bool = False,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Times AlexNet beside PyTorch's, where torch is installed, and all forms of a model.

    Both sides have the same layers and shapes and take their turn in each round; the figures are medians.

    Args:
        model: Model whose forms are timed on one photo.
        dataset: Data that shows int8 the range of the activations.
        width: Factor of the filters and units of the networks that are compared; 1 is AlexNet.
        batch_size: Images per step of the training.
        rounds: How often each side has its turn.
        full: Whether to measure, in a process of its own, what the whole AlexNet needs to be built, trained one step,
            converted to TFLite and run: seconds and memory.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for benchmark.json; by default a new one under runs/alexnet.
    """
    training.check_positive(width=width, batch_size=batch_size, rounds=rounds)
    estimator = Estimator(model).keras_only()
    photos, split = estimator.datasets(dataset, None, data_dir, manual_dir)
    folder = runs.output_folder("alexnet", f"benchmark-{photos.name}", output)
    speeds = _speeds(width, batch_size, rounds)
    representative_data = representative(photos, split, estimator.kind, estimator.strength, estimator.side, count=100)
    with tempfile.TemporaryDirectory() as scratch:
        milliseconds, sizes = timing.forms(
            estimator.model,
            representative_data[:1] / np.float32(255),
            {"image": representative_data[:1]},
            Path(scratch),
            representative_data=representative_data,
            endpoints=exporting.cast_endpoint(estimator.model, estimator.kind),
        )
    result = {"alexnet": {"width": width, "batch_size": batch_size} | speeds}
    result |= {"latency_ms": milliseconds, "bytes": sizes}
    if full:
        result["full_network"] = _full_network()
    tables = [(f"AlexNet of width {width:g}, batch {batch_size}, median of {rounds} rounds", [speeds])]
    tables += timing.form_tables(milliseconds, sizes)
    if full:
        tables.append(("the whole AlexNet, in a process of its own", [result["full_network"]]))
    return results.benchmarked(folder, result, tables)


def _speeds(width, batch_size, rounds, outputs=3):
    """Images per second of training and milliseconds of one photo, of AlexNet here and in PyTorch."""
    random = np.random.default_rng(0)
    x, y = random.random((batch_size, 227, 227, 3), np.float32), random.random((batch_size, outputs), np.float32)
    ours = zoo.alexnet_regressor(width=width)
    ours.compile(keras.optimizers.SGD(0.001, momentum=0.9), "mse", jit_compile=False)
    targets = [column[:, None] for column in y.T]
    step = lambda: ours.train_on_batch(x, targets)  # noqa: E731
    compiled = tf.function(lambda image: ours(image, training=False))
    photo = tf.constant(x[:1])
    works = {"ours": (step, lambda: compiled(photo))}
    if importlib.util.find_spec("torch"):
        works["torch"] = torch_works(width, x, y)
    names = [("ours", "torch")] if "torch" in works else []
    contenders = {name: lambda turn, step=step: step() for name, (step, _) in works.items()}
    found = timing.in_turn(contenders, rounds, amount=batch_size, ratios=names)
    latency = timing.latencies({name: one for name, (_, one) in works.items()}, rounds=rounds)
    speeds = {f"{name} images/s": found[name] for name in works}
    speeds |= {f"{name} ms": value for name, value in latency.items()}
    if names:
        speeds["training, ours / torch"] = found["ours / torch"]
        speeds["one photo, ours / torch"] = latency["torch"] / latency["ours"]
    return speeds


def _full_network():
    """Seconds and memory of the whole AlexNet, measured in a process of its own."""
    command = [sys.executable, "-m", "recipes.benchmarks.full_alexnet"]
    child = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if child.returncode:
        raise ValueError(f"the whole AlexNet could not be measured: {child.stderr.strip().splitlines()[-1:]}")
    return json.loads(child.stdout.splitlines()[-1])
