"""Speed of the DCGAN: training beside the form of Keras's guide, and all forms of a generator."""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import zoo
from recipes import results, runs, timing, training
from recipes.data import images as image_data
from recipes.dcgan import Sampler, datasets, representative
from zoo import export as exporting


def benchmark(
    *,
    model: str = "dcgan",
    dataset: str = "digits",
    batch_size: int = 64,
    steps: int = 40,
    rounds: int = 3,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Compares the form of Keras's guide with ours in training, in turn, and times all forms of a generator.

    Both train the same two networks (the document's, 1,030,017 and 138,561 parameters for 28x28 images) at the same
    batch size; ours with the averaged weights, which the guide's form lacks. Figures are medians over the rounds.

    Args:
        model: Generator whose forms are timed on one image.
        dataset: Data to train on.
        batch_size: Images per step.
        steps: Steps of a turn.
        rounds: How often each side has its turn.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for benchmark.json; by default a new one under runs/dcgan.
    """
    training.check_positive(rounds=rounds, batch_size=batch_size, steps=steps)
    sampler = Sampler(model).keras_only()
    images = datasets(dataset, None, data_dir, manual_dir)
    folder = runs.output_folder("dcgan", f"benchmark-{images.name}", output)
    speeds = _training_speed(images, rounds, batch_size, steps)
    raw = representative(sampler)
    one = {name: array[:1] for name, array in raw.items()}
    with tempfile.TemporaryDirectory() as scratch:
        inputs = list(one.values())
        milliseconds, sizes = timing.forms(
            sampler.model,
            inputs if len(inputs) > 1 else inputs[0],
            one,
            Path(scratch),
            representative_data=raw,
            endpoints={exporting.ENDPOINT: exporting.latent_endpoint(sampler.model)},
        )
    result = {
        "metrics": {"images_per_second": speeds["ours"]},
        "baselines": {"guide": {"images_per_second": speeds["guide"]}},
        "images_per_second": speeds,
        "latency_ms": milliseconds,
        "bytes": sizes,
    }
    title = f"training on {images.name} at batch {batch_size}, images/s, median of {rounds} rounds"
    return results.benchmarked(folder, result, [(title, [speeds]), *timing.form_tables(milliseconds, sizes)])


class _GuideGAN(keras.Model):
    """The form of Keras's guide to `train_step`, with two optimizers: what the benchmark compares with."""

    def __init__(self, generator, discriminator, latent_dim):
        super().__init__()
        self.generator, self.discriminator, self.latent_dim = generator, discriminator, latent_dim
        self.loss_of = keras.losses.BinaryCrossentropy()
        self.seed_generator = keras.random.SeedGenerator(0)
        self.built = True

    def compile(self, generator_optimizer, discriminator_optimizer):
        super().compile()
        self.generator_optimizer, self.discriminator_optimizer = generator_optimizer, discriminator_optimizer

    def train_step(self, images):
        count = tf.shape(images)[0]
        latents = keras.random.normal((count, self.latent_dim), seed=self.seed_generator)
        both = tf.concat([self.generator(latents), images], axis=0)
        labels = tf.concat([tf.zeros((count, 1)), tf.ones((count, 1))], axis=0)
        with tf.GradientTape() as tape:
            discriminator_loss = self.loss_of(labels, self.discriminator(both))
        gradients = tape.gradient(discriminator_loss, self.discriminator.trainable_weights)
        self.discriminator_optimizer.apply(gradients, self.discriminator.trainable_weights)
        latents = keras.random.normal((count, self.latent_dim), seed=self.seed_generator)
        with tf.GradientTape() as tape:
            judged = self.discriminator(self.generator(latents))
            generator_loss = self.loss_of(tf.ones((count, 1)), judged)
        gradients = tape.gradient(generator_loss, self.generator.trainable_weights)
        self.generator_optimizer.apply(gradients, self.generator.trainable_weights)
        return {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}


def _training_speed(images, rounds, batch_size, steps):
    """Images per second of the document's networks: the guide's form on arrays, and our pipeline and step."""
    x, y = (np.resize(array, (steps * batch_size, *array.shape[1:])) for array in images.split("train"))
    batch_size, steps, steps_per_execution = training.execution_plan(len(x), batch_size)
    array = 2 * (x / np.float32(255)) - 1
    shape = tuple(images.image_shape)
    models = {}
    for name in ("guide", "ours"):
        keras.utils.set_random_seed(0)
        generator, discriminator = zoo.dcgan.generator(shape), zoo.dcgan.discriminator(shape)
        optimizers = [keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in range(2)]
        if name == "guide":
            models[name] = _GuideGAN(generator, discriminator, 100)
            models[name].compile(*optimizers)
        else:
            models[name] = zoo.DCGAN(generator, discriminator)
            models[name].compile(*optimizers, steps_per_execution=steps_per_execution)

    def pipeline(turn):
        stream = image_data.training_batches(
            x, y, num_classes=None, batch_size=batch_size, steps=steps, epochs=1, seed=turn
        )
        stream = stream.map(lambda image, label: 2 * image - 1)
        models["ours"].fit(stream, steps_per_epoch=steps, shuffle=False, verbose=0)

    guide = models["guide"]
    contenders = {"guide": lambda turn: guide.fit(array, batch_size=batch_size, verbose=0), "ours": pipeline}
    return timing.in_turn(contenders, rounds, amount=steps * batch_size, ratios=[("ours", "guide")])
