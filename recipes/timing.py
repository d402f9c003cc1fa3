"""Measuring speed on a shared machine: paired, alternating runs and medians, reported as ratios."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from recipes.cards import table
from zoo import export


class Stopwatch(keras.callbacks.Callback):
    """Seconds of training and a figure after each epoch, as `course`; the time of measuring it is not counted."""

    def __init__(self, measure):
        super().__init__()
        self.measure, self.course, self.paused = measure, [], 0.0
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter()
        self.course.append((now - self.begun - self.paused, self.measure()))
        self.paused += time.perf_counter() - now


def latency(function, *, seconds=0.5, warm_up=3):
    """Median milliseconds of one call, over as many calls as fit in `seconds` (at least 5)."""
    for _ in range(warm_up):
        function()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def latencies(functions, *, rounds=5, seconds=0.2):
    """Median milliseconds of each of several functions, measured in turn so that a drifting machine hits all alike.

    Args:
        functions: Dictionary of name to function without arguments.
        rounds: How often each has its turn.
        seconds: Length of a turn.
    """
    turns = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            turns[name].append(latency(function, seconds=seconds))
    return {name: float(np.median(values)) for name, values in turns.items()}


def forms(model, inputs, raw, folder, *, representative_data, endpoints=None):
    """Latency of every way to run a model on one example, and the bytes of every file.

    Args:
        model: A Keras model.
        inputs: One example as the Keras model takes it, an array (1, ...) or a list of arrays.
        raw: The same example as the exported file takes it: dictionary of input name to array.
        folder: Where to write the exported files.
        representative_data: Typical raw inputs, for int8.
        endpoints: What to export, see `zoo.export.export`.

    Returns:
        (milliseconds by form, bytes by file).
    """
    files = {
        "saved_model": export.export(model, folder / "saved_model", endpoints=endpoints),
        "tflite float32": export.export(model, folder / "model.tflite", endpoints=endpoints),
        "tflite int8": export.export(
            model,
            folder / "model_int8.tflite",
            quantize="int8",
            representative_data=representative_data,
            endpoints=endpoints,
        ),
    }
    compiled = tf.function(lambda values: model(values, training=False))
    constants = keras.tree.map_structure(tf.constant, inputs)
    functions = {
        "keras predict": lambda: model.predict(inputs, verbose=0),
        "keras model(x)": lambda: model(inputs, training=False),
        "tf.function": lambda: compiled(constants),
    }
    for name, path in files.items():
        for threads in (1, 2) if name.startswith("tflite") else (None,):
            run = export.load(path, threads=threads or 1)
            label = f"{name}, {threads} thread{'s' * (threads > 1)}" if threads else name
            functions[label] = lambda run=run: run(**raw)
    sizes = {
        path.name: sum(
            part.stat().st_size for part in ([path] if path.is_file() else path.rglob("*")) if part.is_file()
        )
        for path in files.values()
    }
    return latencies(functions), sizes


def print_forms(milliseconds, sizes):
    """Prints what `forms` measured, as two tables."""
    base = milliseconds["saved_model"]
    print("\none example")
    rows = [{"form": name, "ms": ms, "times as fast as SavedModel": base / ms} for name, ms in milliseconds.items()]
    print(table(rows))
    print("\nfiles")
    print(table([{"file": name, "bytes": value} for name, value in sizes.items()]))


def start_up(*, rounds=5):
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


def latencies_at(sides, build, quantize, images):
    """Milliseconds with two threads of a TFLite file for square images of several sizes, as a card has them.

    Args:
        sides: Pixels a side.
        build: Function of a side that gives (Keras model, endpoints).
        quantize: Precision of the file.
        images: uint8 (count, height, width, 3), which show int8 the range of the activations.

    Returns:
        Dictionary of "SIDE x SIDE" to milliseconds.
    """
    found = {}
    for side in sides:
        network, endpoints = build(side)
        sized = np.stack([np.asarray(Image.fromarray(image).resize((side, side))) for image in images])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.tflite")
            data = sized if quantize == "int8" else None
            export.export(network, path, quantize=quantize, endpoints=endpoints, representative_data=data)
            run = export.load(path, threads=2)
            found[f"{side} x {side}"] = round(latency(lambda run=run, sized=sized: run(image=sized[:1])), 4)
    return found
