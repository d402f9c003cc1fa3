"""Speed of the diffusion model: training beside the plain form, sampling beside a Python loop and a long chain."""

import json
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import zoo
from recipes import cards, runs, timing, training
from recipes.data import images as image_data
from recipes.diffusion import Generator, datasets
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
    result = {
        "metrics": {"images_per_second": count / seconds["compiled loop"]},
        "baselines": {
            name: {"images_per_second": count / seconds[name]} for name in ("python loop", "ddpm, all steps")
        },
        "sampling_seconds": seconds,
        "training_images_per_second": speeds,
        "latency_ms": latencies,
        "peak_memory_mb": _peak_memory(),
        **cards.environment(),
    }
    cards.write_text(folder / "benchmark.json", json.dumps(result, indent=1))
    print(f"{count} images by {steps} steps of dpm_solver++, seconds, median of {rounds} rounds")
    print(cards.table([seconds]))
    print(f"\ntraining on {images.name} at batch {batch_size}, images/s, median of {rounds} rounds")
    print(cards.table([speeds]))
    print(f"\none image by {steps} steps, ms")
    print(cards.table([latencies]))
    if result["peak_memory_mb"]:
        print(f"\npeak memory of this process {result['peak_memory_mb']:.0f} MB")
    print(f"\nfigures are in {folder}")
    return {**result, "output": folder}


def _sampling_speed(model, count, steps, rounds):
    """Seconds for `count` images: our loop, the same steps one `predict` at a time, and every step of DDPM."""
    labels = None if model.num_classes is None else np.arange(count, dtype=np.int32) % model.num_classes
    network, path = model.averaged().network, zoo.samplers.levels(model.timesteps, steps)

    def python_loop():
        image = np.random.default_rng(0).standard_normal((count, *model.image_shape)).astype(np.float32)
        table = zoo.samplers.coefficients(model.signal[path], model.noise[path], "ddim").astype(np.float32)
        for row, level in zip(table, path[:-1], strict=True):
            inputs = [image, np.full(count, level / model.timesteps, np.float32)]
            prediction = network.predict([*inputs, *([] if labels is None else [labels])], verbose=0)
            signal, noise = np.float32(model.signal[level]), np.float32(model.noise[level])
            guess = {
                "noise": lambda p=prediction, s=signal, n=noise, x=image: (x - n * p) / s,
                "x0": lambda p=prediction: p,
                "v": lambda p=prediction, s=signal, n=noise, x=image: s * x - n * p,
            }[model.objective]()
            image = row[0] * image + row[1] * guess.clip(-1, 1)
        return image

    sides = {"compiled loop": lambda: model.generate(count, labels, steps=steps, seed=0), "python loop": python_loop}
    turns = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if turn:  # the first round traces the graph
                turns[name].append(time.perf_counter() - start)
    seconds = {name: float(np.median(values)) for name, values in turns.items()}
    model.generate(count, labels, steps=2, sampler="ddpm", seed=0)  # traces
    start = time.perf_counter()
    model.generate(count, labels, steps=model.timesteps, sampler="ddpm", seed=0)
    seconds["ddpm, all steps"] = time.perf_counter() - start
    pairs = zip(turns["python loop"], turns["compiled loop"], strict=True)
    return seconds | {
        "python loop / ours": float(np.median([slow / fast for slow, fast in pairs])),
        "all steps / ours": seconds["ddpm, all steps"] / seconds["compiled loop"],
    }


class _PlainNormalization(keras.layers.GroupNormalization):
    """Keras's own, with the embedding's factor and offset applied after it."""

    def call(self, inputs, factor=None, offset=None):
        x = super().call(inputs)
        return x if factor is None else x * factor[:, None, None] + offset[:, None, None]


class _PlainDiffusion(keras.Model):
    """The form of the Keras examples: a network and its averaged twin, updated layer by layer in `train_step`."""

    def __init__(self, network, model):
        super().__init__()
        self.network, self.twin = network, keras.models.clone_model(network)
        self.twin.set_weights(network.get_weights())
        self.signal, self.noise = (tf.constant(share, tf.float32) for share in (model.signal, model.noise))
        self.timesteps, self.objective, self.num_classes = model.timesteps, model.objective, model.num_classes
        self.built = True

    def train_step(self, data):
        images, labels = data if self.num_classes else (data, None)
        count = tf.shape(images)[0]
        level = tf.random.uniform((count,), 1, self.timesteps + 1, tf.int32)
        noise = tf.random.normal(tf.shape(images))
        signal, share = (tf.reshape(tf.gather(table, level), (-1, 1, 1, 1)) for table in (self.signal, self.noise))
        target = {"noise": noise, "x0": images, "v": signal * noise - share * images}[self.objective]
        inputs = [signal * images + share * noise, tf.cast(level, tf.float32) / self.timesteps]
        if self.num_classes:
            hidden = tf.random.uniform((count,)) < 0.1
            inputs.append(tf.where(hidden, self.num_classes, labels))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self.network(inputs, training=True) - target))
        gradients = tape.gradient(loss, self.network.trainable_weights)
        self.optimizer.apply(gradients, self.network.trainable_weights)
        for weight, average in zip(self.network.weights, self.twin.weights, strict=True):
            average.assign(0.999 * average + 0.001 * weight)
        return {"loss": loss}


def _training_speed(model, images, rounds, batch_size, steps):
    """Images per second of the network: the plain form, with Keras's layers on arrays, and our pipeline and step."""
    x, y = (np.resize(array, (steps * batch_size, *array.shape[1:])) for array in images.split("train"))
    y = np.int32(y % (model.num_classes or 1))
    batch_size, steps, steps_per_execution = training.execution_plan(len(x), batch_size)
    array = 2 * (x / np.float32(255)) - 1

    def plain_layer(layer):
        kind = _PlainNormalization if isinstance(layer, keras.layers.GroupNormalization) else type(layer)
        return kind.from_config(layer.get_config())

    plain = _PlainDiffusion(keras.models.clone_model(model.network, clone_function=plain_layer), model)
    settings = {name: getattr(model, name) for name in ("schedule", "timesteps", "shift", "objective", "min_snr_gamma")}
    ours = zoo.Diffusion(
        keras.models.clone_model(model.network), **settings, label_dropout=0.1 if model.num_classes else 0.0
    )
    plain.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    ours.compile(keras.optimizers.Adam(1e-3), steps_per_execution=steps_per_execution, jit_compile=False)
    speeds = {"plain": [], "ours": []}
    for turn in range(rounds + 1):
        for name, values in speeds.items():
            start = time.perf_counter()
            if name == "plain":
                plain.fit(array, y if model.num_classes else None, batch_size=batch_size, verbose=0)
            else:
                stream = image_data.training_batches(
                    x, y, num_classes=None, batch_size=batch_size, steps=steps, epochs=1, seed=turn
                )
                stream = stream.map(lambda image, label: (2 * image - 1, label) if model.num_classes else 2 * image - 1)
                ours.fit(stream, steps_per_epoch=steps, shuffle=False, verbose=0)
            if turn:  # the first round traces the graph
                values.append(steps * batch_size / (time.perf_counter() - start))
    ratios = [ours / plain for ours, plain in zip(speeds["ours"], speeds["plain"], strict=True)]
    return {name: float(np.median(values)) for name, values in speeds.items()} | {
        "ours / plain": float(np.median(ratios))
    }


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


def _peak_memory():
    """Most megabytes that this process has held, or None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
