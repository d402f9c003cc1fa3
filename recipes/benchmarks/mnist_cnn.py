"""Speed of the digit classifier: training to an accuracy beside the classic code, forms of a model, the start."""

import json
import math
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import zoo
from recipes import cards, runs, timing, training
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
    contenders = {
        "classic": _classic_training,
        "short cycle": _short_cycle,
        "longer cycle": _longer_cycle,
    }
    courses = {name: [] for name in contenders}
    for turn in range(rounds):
        for name, contender in contenders.items():
            keras.utils.set_random_seed(turn)
            courses[name].append(contender(images, turn))
            seconds, accuracy = courses[name][-1][-1]
            print(f"round {turn + 1}: {name}: {seconds:.1f} s of training, accuracy {accuracy:.4f}")

    def seconds_to(name, target):
        reached = [next((s for s, accuracy in course if accuracy >= target), math.inf) for course in courses[name]]
        return float(np.median(reached))

    rows = []
    for target in targets:
        classic, short, longer = (seconds_to(name, target) for name in contenders)
        ratio = min(short, longer) / classic
        row = {"accuracy": target, "classic": classic, "short cycle": short, "longer cycle": longer}
        row = {name: value if math.isfinite(value) else None for name, value in row.items()}
        rows.append(row | {"ours / classic": ratio if ratio and math.isfinite(ratio) else None})
    speeds = _training_speed(images, rounds)
    image = datasets(dataset, classifier.input_shape, data_dir, manual_dir).split("validation")[0][:200]
    with tempfile.TemporaryDirectory() as scratch:
        ready, raw = image[:1] / np.float32(255), {"image": image[:1]}
        milliseconds, sizes = timing.forms(classifier.model, ready, raw, Path(scratch), representative_data=image)
    start = timing.start_up(rounds=rounds)
    result = {
        "metrics": {"accuracy": float(np.median([course[-1][1] for course in courses["longer cycle"]]))},
        "baselines": {"classic": {"accuracy": float(np.median([course[-1][1] for course in courses["classic"]]))}},
        "time_to_accuracy": rows,
        "images_per_second": speeds,
        "latency_ms": milliseconds,
        "bytes": sizes,
        "start_seconds": start,
        **cards.environment(),
    }
    cards.write_text(folder / "benchmark.json", json.dumps(result, indent=1))
    print(f"\nseconds of training to a test accuracy on {images.name}, median of {rounds} rounds")
    print(cards.table(rows))
    print("\ntraining, the classic network at batch 64, images/s")
    print(cards.table([speeds]))
    timing.print_forms(milliseconds, sizes)
    print("\nstart")
    print(cards.table([{"what": name, "seconds": value} for name, value in start.items()]))
    return {**result, "output": folder}


def _classic_training(images, seed, epochs=5):
    """The code that tutorials show: the default network, Adam, plain `fit` on NumPy arrays with batch 64."""
    x, y = images.split("train")
    x, y = x / np.float32(255), keras.utils.to_categorical(y)
    model = zoo.mnist_cnn(images.image_shape, y.shape[1])
    model.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
    watch = timing.Stopwatch(lambda: _accuracy(model, images))
    model.fit(x, y, epochs=epochs, batch_size=64, callbacks=[watch], verbose=0)
    return watch.course


def _short_cycle(images, seed):
    return _fast_training(images, seed, epochs=1, share=0.85, augment=0.0)


def _longer_cycle(images, seed):
    return _fast_training(images, seed, epochs=6, share=1.0, augment=1.0)


def _fast_training(images, seed, *, epochs, share, augment):
    """A small normalised network, one cycle of a high learning rate, our pipeline; `share` of the images per epoch."""
    x, y = images.split("train")
    num_classes = len(images.class_names)
    batch_size = min(128, max(1, len(y) // 32))
    batch_size, steps, steps_per_execution = training.execution_plan(int(share * len(y)), batch_size)
    epochs = max(epochs, epochs * 200 // steps)
    model = zoo.mnist_cnn(
        images.image_shape, num_classes, filters=(16, 32, 64), padding="same", batch_normalization=True, dense_units=0
    )
    warm_up = steps * epochs // 4
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-3, steps * epochs - warm_up, warmup_target=0.01, warmup_steps=warm_up
    )
    model.compile(
        keras.optimizers.Adam(schedule), loss="categorical_crossentropy", steps_per_execution=steps_per_execution
    )
    watch = timing.Stopwatch(lambda: _accuracy(model, images))
    stream = image_data.training_batches(
        x, y, num_classes=num_classes, batch_size=batch_size, steps=steps, epochs=epochs, seed=seed, augment=augment
    )
    model.fit(stream, epochs=epochs, steps_per_epoch=steps, callbacks=[watch], shuffle=False, verbose=0)
    return watch.course


def _accuracy(model, images):
    x, y = images.split("test")
    parts = np.array_split(x, math.ceil(len(x) / 500))
    return float((np.concatenate([model(part / np.float32(255)) for part in parts]).argmax(axis=1) == y).mean())


def _training_speed(images, rounds, batch_size=64, at_most=12_800):
    """Images per second of the default network: plain `fit` on NumPy arrays, and our pipeline with augmentation."""
    x, y = images.split("train")
    x, y = x[:at_most], y[:at_most]
    arrays = x / np.float32(255), keras.utils.to_categorical(y, len(images.class_names))
    batch_size, steps, steps_per_execution = training.execution_plan(len(y), batch_size)
    speeds = {"classic": [], "ours": []}
    models = {}
    for name in speeds:
        models[name] = zoo.mnist_cnn(images.image_shape, len(images.class_names))
        models[name].compile(
            "adam", "categorical_crossentropy", steps_per_execution=steps_per_execution if name == "ours" else 1
        )
    epochs = max(1, 12_800 // len(y))
    for turn in range(rounds + 1):
        for name, model in models.items():
            start = time.perf_counter()
            if name == "classic":
                model.fit(*arrays, batch_size=batch_size, epochs=epochs, verbose=0)
            else:
                stream = image_data.training_batches(
                    x,
                    y,
                    num_classes=len(images.class_names),
                    batch_size=batch_size,
                    steps=steps,
                    epochs=epochs,
                    augment=1.0,
                )
                model.fit(stream, epochs=epochs, steps_per_epoch=steps, shuffle=False, verbose=0)
            if turn:  # the first round traces the graph
                speeds[name].append(
                    epochs * (steps * batch_size if name == "ours" else len(y)) / (time.perf_counter() - start)
                )
    medians = {name: float(np.median(values)) for name, values in speeds.items()}
    ratios = [ours / classic for ours, classic in zip(speeds["ours"], speeds["classic"], strict=True)]
    return medians | {"ours / classic": float(np.median(ratios))}
