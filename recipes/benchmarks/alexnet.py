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
from recipes import cards, runs, timing, training
from recipes.alexnet import Estimator, representative
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
    result |= cards.environment()
    cards.write_text(folder / "benchmark.json", json.dumps(result, indent=1))
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


def torch_alexnet(width, outputs):
    """The one-column AlexNet in PyTorch: names and order of its weights are those of torchvision's."""
    from torch import nn

    one, two, three, four, five = (max(2, 2 * round(count * width / 2)) for count in (64, 192, 384, 256, 256))
    units = max(2, 2 * round(2048 * width))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(3, one, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
                nn.Conv2d(one, two, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
                nn.Conv2d(two, three, 3, padding=1), nn.ReLU(inplace=True),
                nn.Conv2d(three, four, 3, padding=1), nn.ReLU(inplace=True),
                nn.Conv2d(four, five, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            )  # fmt: skip
            self.avgpool = nn.AdaptiveAvgPool2d(6)
            self.classifier = nn.Sequential(
                nn.Dropout(0.5), nn.Linear(36 * five, units), nn.ReLU(inplace=True),
                nn.Dropout(0.5), nn.Linear(units, units), nn.ReLU(inplace=True), nn.Linear(units, outputs),
            )  # fmt: skip

        def forward(self, x):
            return self.classifier(self.avgpool(self.features(x)).flatten(1))

    return Network()


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
    code = "import json; from recipes.benchmarks import alexnet; print(json.dumps(alexnet.measure_full_network()))"
    root = Path(__file__).parents[2]
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    if child.returncode:
        raise ValueError(f"the whole AlexNet could not be measured: {child.stderr.strip().splitlines()[-1:]}")
    return json.loads(child.stdout.splitlines()[-1])


def measure_full_network(batch_size=16, **options):
    """Builds AlexNet of 2012 with 1000 classes, trains one step, converts it to TFLite and runs that once.

    Returns:
        Seconds of each step, the bytes of the file, and the most memory in bytes of this process and its converter.
    """
    seconds = {}

    def timed(name, work):
        start = time.perf_counter()
        result = work()
        seconds[f"{name} seconds"] = round(time.perf_counter() - start, 2)
        return result

    random = np.random.default_rng(0)
    model = timed("build", lambda: zoo.alexnet(**options))
    x = random.random((batch_size, *model.input_shape[1:]), np.float32)
    y = np.eye(model.output_shape[-1], dtype=np.float32)[random.integers(0, model.output_shape[-1], batch_size)]
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "categorical_crossentropy", jit_compile=False)
    loss = timed(f"first step of {batch_size} images,", lambda: float(model.train_on_batch(x, y)))
    timed("next step,", lambda: model.train_on_batch(x, y))
    with tempfile.TemporaryDirectory() as folder:
        path = timed("conversion", lambda: exporting.export(model, Path(folder, "alexnet.tflite")))
        size, run = path.stat().st_size, exporting.load(path)
        pixels = np.uint8(255 * x[:1])
        found = timed("first run", lambda: run(image=pixels))["probabilities"]
        timed("next run", lambda: run(image=pixels))
    difference = float(np.abs(found - model(pixels / np.float32(255), training=False)).max())
    return {
        "parameters": model.count_params(),
        **seconds,
        "loss": loss,
        "max difference": difference,
        "tflite bytes": size,
        "memory bytes": _peak_memory("RUSAGE_SELF"),
        "converter memory bytes": _peak_memory("RUSAGE_CHILDREN"),
    }


def _peak_memory(whose):
    """Most bytes that this process or its children have held, or None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(getattr(resource, whose)).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
