"""What the whole AlexNet of 2012 needs, to be run in a process of its own: python -m recipes.benchmarks.full_alexnet"""

import json
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import zoo
from recipes.memory import peak_memory
from zoo import export as exporting


def measure(batch_size=16, **options):
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
        "memory bytes": peak_memory(),
        "converter memory bytes": peak_memory(children=True),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
