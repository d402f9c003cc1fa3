"""Speed of the AlexNet regression: training beside plain `fit`, and all forms of a model."""

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import zoo
from recipes import cards, timing, training
from recipes.alexnet import Estimator, representative, torch_alexnet
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
    folder = training.output_folder("alexnet", f"benchmark-{photos.name}", output)
    speeds = _speeds(width, batch_size, rounds)
    typical = representative(photos, split, estimator.kind, estimator.strength, estimator.side, count=100)
    with tempfile.TemporaryDirectory() as scratch:
        milliseconds, sizes = timing.forms(
            estimator.model,
            typical[:1] / np.float32(255),
            {"image": typical[:1]},
            Path(scratch),
            representative_data=typical,
            endpoints=exporting.cast_endpoint(estimator.model, estimator.kind),
        )
    result = {"alexnet": {"width": width, "batch_size": batch_size} | speeds}
    result |= {"latency_ms": milliseconds, "bytes": sizes}
    if full:
        result["full_network"] = _full_network()
    result |= cards.environment()
    training.write_text(folder / "benchmark.json", json.dumps(result, indent=1))
    print(f"AlexNet of width {width:g}, batch {batch_size}, median of {rounds} rounds")
    print(cards.table([speeds]))
    timing.print_forms(milliseconds, sizes)
    if full:
        print("\nthe whole AlexNet, in a process of its own")
        print(cards.table([result["full_network"]]))
    return {**result, "output": folder}


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
        works["torch"] = _torch_works(width, x, y)
    turns = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, (train_step, _) in works.items():
            start = time.perf_counter()
            train_step()
            if turn:  # the first round traces the graph
                turns[name].append(batch_size / (time.perf_counter() - start))
    latency = timing.latencies({name: one for name, (_, one) in works.items()}, rounds=rounds)
    speeds = {f"{name} images/s": float(np.median(values)) for name, values in turns.items()}
    speeds |= {f"{name} ms": value for name, value in latency.items()}
    if "torch" in works:
        ratios = [own / other for own, other in zip(turns["ours"], turns["torch"], strict=True)]
        speeds["training, ours / torch"] = float(np.median(ratios))
        speeds["one photo, ours / torch"] = latency["torch"] / latency["ours"]
    return speeds


def _torch_works(width, x, y):
    """(one step of training, one photo) of the same network in PyTorch."""
    import torch
    from torch import nn

    network = torch_alexnet(width, y.shape[1])
    optimizer = torch.optim.SGD(network.parameters(), 0.001, momentum=0.9)
    images, targets = torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(y)
    one = images[:1].clone()

    def step():
        network.train()
        optimizer.zero_grad()
        nn.functional.mse_loss(network(images), targets).backward()
        optimizer.step()

    def photo():
        network.eval()
        with torch.no_grad():
            network(one)

    return step, photo


def _full_network():
    """Seconds and memory of the whole AlexNet, measured in a process of its own."""
    code = "import json; from recipes import alexnet; print(json.dumps(alexnet.measure_full_network()))"
    root = Path(__file__).parent.parent
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    if child.returncode:
        raise ValueError(f"the whole AlexNet could not be measured: {child.stderr.strip().splitlines()[-1:]}")
    return json.loads(child.stdout.splitlines()[-1])
