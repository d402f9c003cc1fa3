"""Measuring speed on a shared machine: paired, alternating runs and medians, reported as ratios."""

import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from zoo import export


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
    """Median milliseconds of several functions by name, measured in turn, each for so many seconds a round."""
    turns = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            turns[name].append(latency(function, seconds=seconds))
    return {name: float(np.median(values)) for name, values in turns.items()}


def in_turn(contenders, rounds, *, amount=None, ratios=()):
    """Speeds of contenders that take their turn in every round, so that a drifting machine hits all alike.

    Args:
        contenders: Functions of the round by name; round 0 warms up. Every second round goes in the opposite order.
        rounds: How often each has its turn.
        amount: What one call works through, as a number or one per name; without it the figures are seconds.
        ratios: Pairs of names.

    Returns:
        Medians by name (amount per second, or seconds), and by "ONE / OTHER" those of the ratios within a round.
    """
    turns = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name in sorted(contenders, key=list(contenders).index, reverse=turn % 2):
            start = time.perf_counter()
            contenders[name](turn)
            seconds = time.perf_counter() - start
            if turn:
                own = amount[name] if isinstance(amount, dict) else amount
                turns[name].append(own / seconds if own else seconds)
    medians = {name: float(np.median(values)) for name, values in turns.items()}
    pairs = {f"{one} / {other}": np.array(turns[one]) / np.array(turns[other]) for one, other in ratios}
    return medians | {name: float(np.median(values)) for name, values in pairs.items()}


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


def form_tables(milliseconds, sizes):
    """What `forms` measured as two tables with their titles."""
    base = milliseconds["saved_model"]
    rows = [{"form": name, "ms": ms, "times as fast as SavedModel": base / ms} for name, ms in milliseconds.items()]
    return [("one example", rows), ("files", [{"file": name, "bytes": value} for name, value in sizes.items()])]


def latencies_at(sides, build, quantize, images):
    """Milliseconds of a TFLite file for square images of several sizes, on one and two threads, as a card has them.

    Args:
        sides: Pixels a side.
        build: Function of a side that gives (Keras model, endpoints).
        quantize: Precision of the file.
        images: uint8 (count, height, width, 3), which show int8 the range of the activations.

    Returns:
        Dictionary of "SIDE x SIDE" to milliseconds by "1 thread" and "2 threads".
    """
    found = {}
    for side in sides:
        network, endpoints = build(side)
        sized = np.stack([np.asarray(Image.fromarray(image).resize((side, side))) for image in images])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.tflite")
            data = sized if quantize == "int8" else None
            export.export(network, path, quantize=quantize, endpoints=endpoints, representative_data=data)
            own = found[f"{side} x {side}"] = {}
            for name, threads in (("1 thread", 1), ("2 threads", 2)):
                run = export.load(path, threads=threads)
                own[name] = round(latency(lambda run=run, sized=sized: run(image=sized[:1])), 4)
    return found
