"""Speed of the diffusion model: training beside the plain form, sampling beside a Python loop and a long chain."""

import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import zoo
from recipes import results, runs, timing, training
from recipes.benchmarks.plain_diffusion import PlainDiffusion, PlainNormalization, python_loop
from recipes.data import images as image_data
from recipes.diffusion import Generator, datasets
from recipes.memory import peak_memory
from zoo import export as exporting


def benchmark(
    *,
    model: str = "diffusion",
    dataset: str = "digits",
    count: int = 64,
    steps: int = 20,
    batch_size: int = 64,
    training_steps: int = 60,
    rounds: int = 3,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Compares our compiled loop with a Python loop over `predict` and with all steps of DDPM, and training with the
    plain form of the Keras examples; each side in turn, medians over the rounds.

    Args:
        model: Model that generates.
        dataset: Data to train on.
        count: Images to generate.
        steps: Steps per image.
        batch_size: Images per training step.
        training_steps: Training steps of a turn.
        rounds: How often each side has its turn (1000-step DDPM: once).
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for benchmark.json; by default a new one under runs/diffusion.
    """
    training.check_positive(
        rounds=rounds, batch_size=batch_size, training_steps=training_steps, count=count, steps=steps
    )
    generator = Generator(model).keras_only()
    generator.check(steps)
    images = datasets(dataset, generator.image_shape, data_dir, manual_dir)
    folder = runs.output_folder("diffusion", f"benchmark-{images.name}", output)
    seconds = _sampling_speed(generator.model, count, steps, rounds)
    speeds = _training_speed(generator.model, images, rounds, batch_size, training_steps)
    latencies = _latencies(generator, steps)
    memory = peak_memory()
    result = {
        "metrics": {"images_per_second": count / seconds["compiled loop"]},
        "baselines": {
            name: {"images_per_second": count / seconds[name]} for name in ("python loop", "ddpm, all steps")
        },
        "sampling_seconds": seconds,
        "training_images_per_second": speeds,
        "latency_ms": latencies,
        "peak_memory_mb": memory and memory / 1024**2,
    }
    tables = [
        (f"{count} images by {steps} steps of dpm_solver++, seconds, median of {rounds} rounds", [seconds]),
        (f"training on {images.name} at batch {batch_size}, images/s, median of {rounds} rounds", [speeds]),
        (f"one image by {steps} steps, ms", [latencies]),
    ]
    if memory:
        tables.append(("memory", [{"peak of this process, MB": round(result["peak_memory_mb"])}]))
    return results.benchmarked(folder, result, tables)


def _sampling_speed(model, count, steps, rounds):
    """Seconds for `count` images: our loop, the same steps one `predict` at a time, and every step of DDPM."""
    labels = None if model.num_classes is None else np.arange(count, dtype=np.int32) % model.num_classes
    sides = {
        "compiled loop": lambda turn: model.generate(count, labels, steps=steps, seed=0),
        "python loop": lambda turn: python_loop(model, count, labels, steps),
    }
    seconds = timing.in_turn(sides, rounds, ratios=[("python loop", "compiled loop")])
    seconds["python loop / ours"] = seconds.pop("python loop / compiled loop")
    model.generate(count, labels, steps=2, sampler="ddpm", seed=0)  # traces
    start = time.perf_counter()
    model.generate(count, labels, steps=model.timesteps, sampler="ddpm", seed=0)
    seconds["ddpm, all steps"] = time.perf_counter() - start
    return seconds | {"all steps / ours": seconds["ddpm, all steps"] / seconds["compiled loop"]}


def _training_speed(model, images, rounds, batch_size, steps):
    """Images per second of the network: the plain form, with Keras's layers on arrays, and our pipeline and step."""
    x, y = (np.resize(array, (steps * batch_size, *array.shape[1:])) for array in images.split("train"))
    y = np.int32(y % (model.num_classes or 1))
    batch_size, steps, steps_per_execution = training.execution_plan(len(x), batch_size)
    array = 2 * (x / np.float32(255)) - 1

    def plain_layer(layer):
        kind = PlainNormalization if isinstance(layer, keras.layers.GroupNormalization) else type(layer)
        return kind.from_config(layer.get_config())

    plain = PlainDiffusion(keras.models.clone_model(model.network, clone_function=plain_layer), model)
    settings = {name: getattr(model, name) for name in ("schedule", "timesteps", "shift", "objective", "min_snr_gamma")}
    ours = zoo.Diffusion(
        keras.models.clone_model(model.network), **settings, label_dropout=0.1 if model.num_classes else 0.0
    )
    plain.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    ours.compile(keras.optimizers.Adam(1e-3), steps_per_execution=steps_per_execution, jit_compile=False)

    def pipeline(turn):
        stream = image_data.training_batches(
            x, y, num_classes=None, batch_size=batch_size, steps=steps, epochs=1, seed=turn
        )
        stream = stream.map(lambda image, label: (2 * image - 1, label) if model.num_classes else 2 * image - 1)
        ours.fit(stream, steps_per_epoch=steps, shuffle=False, verbose=0)

    target = y if model.num_classes else None
    contenders = {"plain": lambda turn: plain.fit(array, target, batch_size=batch_size, verbose=0), "ours": pipeline}
    return timing.in_turn(contenders, rounds, amount=steps * batch_size, ratios=[("ours", "plain")])


def _latencies(generator, steps):
    """Median milliseconds of one image, with guidance in the exported files, by every form of the model."""
    sampling = {"steps": steps, "sampler": "dpm_solver++", "guidance_scale": 2.0 if generator.num_classes else 1.0}
    functions = {"keras": lambda: generator(1, seed=0, **sampling)}
    with tempfile.TemporaryDirectory() as scratch:
        for name, fixed in (
            ("saved_model", {"batch": None}),
            ("float32.tflite", {"steps": steps}),
            ("dynamic.tflite", {"steps": steps}),
        ):
            path = exporting.export(
                generator.model,
                Path(scratch, name),
                quantize="dynamic" if name.startswith("dynamic") else "none",
                endpoints={"generate": exporting.diffusion_endpoints(generator.model, **fixed)["generate"]},
                labels=generator.labels,
            )
            form = Generator(path)
            functions[name.replace(".", " ")] = lambda form=form: form(1, seed=0, **sampling)
        return timing.latencies(functions, rounds=3)
