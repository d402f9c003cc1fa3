"""Speed of the digit classifier: training to an accuracy beside the classic code, forms of a model, the start."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import zoo
from recipes import results, runs, timing, training
from recipes.benchmarks import time_to_accuracy as accuracy
from recipes.data import images as image_data
from recipes.mnist_cnn import Classifier, datasets


def benchmark(
    *,
    model: str = "mnist_cnn",
    dataset: str = "digits",
    targets: tuple[float, ...] = (0.988, 0.994),
    rounds: int = 3,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Compares the classic code (plain fit on NumPy arrays) with ours, in turn, and times all forms of a model.

    Times are medians over the rounds; time to accuracy counts training only and looks at the test accuracy after every
    epoch, the same way for both. Ours are two cycles made for speed, with a small network: a short one over 85 %
    of the images, and one of six epochs with augmentation.

    Args:
        model: Model whose forms are timed on one image.
        dataset: Data to train on.
        targets: Test accuracies to reach.
        rounds: How often each side has its turn, each time with another seed.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for benchmark.json; by default a new one under runs/mnist_cnn.
    """
    training.check_positive(rounds=rounds)
    if not targets:
        raise ValueError("--targets needs one accuracy or more, in (0, 1]")
    classifier = Classifier(model).keras_only()
    images = datasets(dataset, None, data_dir, manual_dir)
    all_training = [
        np.concatenate(parts) for parts in zip(images.split("train"), images.split("validation"), strict=True)
    ]
    images.splits["train"] = tuple(all_training)  # as tutorials do: nothing is held out but the test split
    folder = runs.output_folder("mnist_cnn", f"benchmark-{images.name}", output)
    courses = accuracy.race(images, rounds)
    rows = accuracy.table(courses, targets)
    speeds = _training_speed(images, rounds)
    image = datasets(dataset, classifier.input_shape, data_dir, manual_dir).split("validation")[0][:200]
    with tempfile.TemporaryDirectory() as scratch:
        ready, raw = image[:1] / np.float32(255), {"image": image[:1]}
        milliseconds, sizes = timing.forms(classifier.model, ready, raw, Path(scratch), representative_data=image)
    start = _start_up(rounds=rounds)
    result = {
        "metrics": {"accuracy": float(np.median([course[-1][1] for course in courses["longer cycle"]]))},
        "baselines": {"classic": {"accuracy": float(np.median([course[-1][1] for course in courses["classic"]]))}},
        "time_to_accuracy": rows,
        "images_per_second": speeds,
        "latency_ms": milliseconds,
        "bytes": sizes,
        "start_seconds": start,
    }
    tables = [
        (f"seconds of training to a test accuracy on {images.name}, median of {rounds} rounds", rows),
        ("training, the classic network at batch 64, images/s", [speeds]),
        *timing.form_tables(milliseconds, sizes),
        ("start", [{"what": name, "seconds": value} for name, value in start.items()]),
    ]
    return results.benchmarked(folder, result, tables)


def _training_speed(images, rounds, batch_size=64, at_most=12_800):
    """Images per second of the default network: plain `fit` on NumPy arrays, and our pipeline with augmentation."""
    x, y = images.split("train")
    x, y = x[:at_most], y[:at_most]
    arrays = x / np.float32(255), keras.utils.to_categorical(y, len(images.class_names))
    batch_size, steps, steps_per_execution = training.execution_plan(len(y), batch_size)
    classic, ours = (zoo.mnist_cnn(images.image_shape, len(images.class_names)) for _ in range(2))
    classic.compile("adam", "categorical_crossentropy")
    ours.compile("adam", "categorical_crossentropy", steps_per_execution=steps_per_execution)
    epochs = max(1, 12_800 // len(y))
    sizes = {"batch_size": batch_size, "steps": steps, "epochs": epochs}

    def pipeline(turn):
        stream = image_data.training_batches(x, y, num_classes=len(images.class_names), **sizes, augment=1.0)
        ours.fit(stream, epochs=epochs, steps_per_epoch=steps, shuffle=False, verbose=0)

    contenders = {
        "classic": lambda turn: classic.fit(*arrays, batch_size=batch_size, epochs=epochs, verbose=0),
        "ours": pipeline,
    }
    amount = {"classic": epochs * len(y), "ours": epochs * steps * batch_size}
    return timing.in_turn(contenders, rounds, amount=amount, ratios=[("ours", "classic")])


def _start_up(*, rounds=5):
    """Median seconds of `import keras`, of `import zoo` on top of it, and of the whole command `zoo --help`."""
    code = (
        "import time; a = time.perf_counter(); import keras; b = time.perf_counter(); import zoo; "
        "print(b - a, time.perf_counter() - b)"
    )
    imports, helps = [], []
    for _ in range(rounds):
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        imports.append([float(value) for value in child.stdout.split()])
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "recipes", "--help"], capture_output=True, check=True)
        helps.append(time.perf_counter() - start)
    keras_seconds, zoo_seconds = np.median(imports, axis=0)
    return {
        "import keras": float(keras_seconds),
        "import zoo over it": float(zoo_seconds),
        "zoo --help": float(np.median(helps)),
    }
