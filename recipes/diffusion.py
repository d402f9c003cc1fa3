"""Diffusion: new images of a chosen class, and old ones completed, enlarged, varied or blended.

Data: the 1,797 digits of scikit-learn, which need no network; `--dataset mnist`, `fashion_mnist`, `cifar10`, `celeb_a`
(cropped to 64x64) or any images of tensorflow-datasets; or a folder of images, with classes or without.

    zoo train diffusion --dataset mnist --precision mixed_bfloat16
"""

import math
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import zoo
from recipes import cards, generation, plots, training
from recipes.data import images as data
from recipes.generation import Judge
from zoo import export as exporting
from zoo.metrics import kernel_distance

TASK = "image generation"
SHAPES = {"celeb_a": (64, 64, 3)}  # whose own size is not one to generate
ABOUT = {"name": "diffusion", "builder": "diffusion", "task": TASK}

SamplerName = Literal["dpm_solver++", "ddim", "ddpm"]


def datasets(dataset="digits", image_shape=None, data_dir=None, manual_dir=None):
    """Loads images, with labels where there are; see `recipes.data.images.load`."""
    shape = image_shape or SHAPES.get(str(dataset))
    return data.load(
        str(dataset), input_shape=shape, data_dir=data_dir, manual_dir=manual_dir, labelled=False, fit="crop"
    )


@training.resumable
def train(
    *,
    dataset: str = "digits",
    conditional: bool = True,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    widths: tuple[int, ...] = (64, 128),
    blocks: int = 1,
    attention_resolutions: tuple[int, ...] = (7, 8),
    patch_size: int = 2,
    dropout: float = 0.0,
    objective: Literal["v", "noise", "x0"] = "v",
    schedule: Literal["cosine", "linear"] = "cosine",
    timesteps: int = 1000,
    min_snr_gamma: float | None = None,
    label_dropout: float = 0.1,
    ema_decay: float = 0.999,
    image_shape: tuple[int, int, int] | None = None,
    steps: int = 20,
    sampler: SamplerName = "dpm_solver++",
    guidance_scale: float | None = None,
    count: int = 10_000,
    judge: str = "auto",
    seed: int = 0,
    deterministic: bool = True,
    precision: training.Precision = "float32",
    device: training.Device = "auto",
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
    resume: Path | None = None,
):
    """Trains a diffusion model (Adam with warm-up and cosine, averaged weights) and measures its images.

    Args:
        dataset: digits, a folder of images, or a name of tensorflow-datasets (mnist, fashion_mnist, cifar10, ...).
        conditional: Whether the network gets the labels, where the data has some.
        epochs: Passes over the data; by default 14, and more for a small set, until 3,000 steps are done.
        batch_size: Images per step; by default 64, and less for a small set.
        learning_rate: Highest learning rate; it rises over the first steps and falls to a hundredth along a cosine.
        widths: Filters at each resolution, each of half the sides of the one before; multiples of 8.
        blocks: Residual blocks at each resolution, on the way down and on the way up.
        attention_resolutions: Heights of the maps that get self-attention.
        patch_size: The network works on patches of so many pixels a side: 1, 2, 4, ...
        dropout: Dropout rate in each block.
        objective: What the network predicts: v, the noise, or the clean image (x0).
        schedule: Noise schedule, cosine or linear.
        timesteps: Levels of the schedule.
        min_snr_gamma: Weighs each image by min(SNR, gamma); by default all count the same.
        label_dropout: Share of labels hidden in training, so that guidance is possible.
        ema_decay: Decay per step of the average of the weights, in [0, 1).
        image_shape: Height, width and channels; by default those of the data set.
        steps: Steps per image when the images are measured.
        sampler: Sampler when the images are measured.
        guidance_scale: Guidance when the images are measured; by default 1, none.
        count: Images to generate when they are measured.
        judge: Classifier whose features and answers measure the images: a published name, a .keras file, inception (if
            its weights can be downloaded), or auto for the one of the same classes, else mnist_cnn.
        seed: Seed of weights, order, levels and noise.
        deterministic: Whether the same seed gives the same weights to the bit (on the same machine).
        precision: Precision of the computation; the model is saved in float32.
        device: Where to train: auto, cpu, gpu, mirrored (all GPUs or CPU devices of this host) or tpu.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder of the run; by default a new one, runs/diffusion/TIME-DATASET.
        resume: Folder of a run that was interrupted; it goes on with its own arguments.
    """
    training.check_positive(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        blocks=blocks,
        patch_size=patch_size,
        timesteps=timesteps,
    )
    training.check_range(0, 1, dropout=dropout, label_dropout=label_dropout, ema_decay=ema_decay)
    training.check_range(0, 2**31, seed=seed)
    generation.check_count(count, 2)
    zoo.samplers.levels(timesteps, steps)
    arguments, environment = dict(locals()), cards.environment()
    training.seed_everything(seed, deterministic)
    strategy = training.distribution(device)
    images = datasets(dataset, image_shape, data_dir, manual_dir)
    x, y = images.split("train")
    num_classes = len(images.class_names) if conditional and images.class_names else None
    guidance_scale = _guidance(guidance_scale, num_classes)
    replicas = strategy.num_replicas_in_sync
    batch_size = math.ceil((batch_size or min(64, max(8, len(x) // 20))) / replicas) * replicas
    batch_size, steps_per_epoch, steps_per_execution = training.execution_plan(len(x), batch_size)
    epochs = epochs or max(14, math.ceil(3000 / steps_per_epoch))
    expert = Judge(judge, images)

    with strategy.scope(), training.precision(precision):
        model = zoo.Diffusion(
            zoo.diffusion_unet(
                tuple(images.image_shape),
                num_classes,
                widths=tuple(widths),
                blocks=blocks,
                attention_resolutions=tuple(attention_resolutions),
                patch_size=patch_size,
                dropout=dropout,
            ),
            schedule=schedule,
            timesteps=timesteps,
            objective=objective,
            min_snr_gamma=min_snr_gamma,
            label_dropout=label_dropout if num_classes else 0.0,
            ema_decay=ema_decay,
            seed=seed,
        )
        total = steps_per_epoch * epochs
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, total, 0.01, warmup_target=learning_rate, warmup_steps=min(500, total // 10)
        )
        # a mirrored loop of several steps fails in TensorFlow 2.21
        model.compile(
            keras.optimizers.Adam(rate, clipnorm=1.0), steps_per_execution=1 if replicas > 1 else steps_per_execution
        )
    run = training.start("diffusion", arguments)
    card = {
        **ABOUT,
        "dataset": cards.dataset_entry(images) | {"classes": images.class_names},
        "parameters": model.network.count_params(),
        "conditional": num_classes is not None,
        "licence": {"weights": "Apache-2.0", "data": images.licence},
        **environment,
    }
    print(f"{images.name}: {len(x):,} images for training, {card['parameters']:,} parameters, {epochs} epochs")

    def scaled(image, label):
        return (2 * image - 1, label) if num_classes else 2 * image - 1

    def batches(first_epoch):
        return data.training_batches(
            x,
            y,
            num_classes=None,
            batch_size=batch_size,
            steps=steps_per_epoch,
            epochs=epochs,
            first_epoch=first_epoch,
            seed=seed,
        ).map(scaled)

    def finished():
        """What is kept of the model: the averaged network in float32."""
        averaged = model.averaged()
        return averaged.with_network(exporting.float32_copy(averaged.network))

    held_out = tf.data.Dataset.from_tensor_slices(images.split("validation")).batch(batch_size, drop_remainder=True)
    held_out = held_out.map(lambda image, label: scaled(tf.cast(image, tf.float32) / 255.0, label))
    watch = Watch(run, expert, images)
    try:
        training.fit(
            model,
            batches,
            run=run,
            epochs=epochs,
            steps=steps_per_epoch,
            validation=data.without_autotune(held_out),
            monitor=None,
            callbacks=[watch],
        )
    except KeyboardInterrupt:
        training.keep_interrupted(run, finished(), card)
        raise
    training.save_model(finished(), run.folder / "model.keras")
    cards.write(run.folder, card)  # with the names of the classes
    watch.animate()
    columns = {
        "loss": {"loss": "training", "val_loss": "validation, averaged weights"},
        f"kernel distance, {expert.name}": {"kernel_distance": "to the validation split"},
    }
    plots.history(run.history, columns, run.folder / "curves.png")
    return {"output": run.folder}


class Watch(keras.callbacks.Callback):
    """After each epoch: a grid from fixed noise, and its distance to real images, by 10 steps."""

    def __init__(self, run, judge, images, count=500):
        super().__init__()
        self.run, self.judge, self.count = run, judge, count
        self.features = judge(images.split("validation")[0][:count])[0]
        self.grids = run.folder / "grids"
        self.grids.mkdir(exist_ok=True)

    def on_epoch_end(self, epoch, logs=None):
        pixels = generation.pixels(self.model.generate(self.count, steps=10, seed=1))
        features, probabilities = self.judge(pixels)
        logs["kernel_distance"] = kernel_distance(self.features, features, subsets=5)[0]
        text = f"epoch {epoch + 1}: kernel distance {logs['kernel_distance']:.4f}"
        if probabilities is not None and self.model.num_classes:
            labels = np.arange(self.count) % self.model.num_classes
            logs["label_accuracy"] = float((probabilities.argmax(axis=1) == labels).mean())
            text += f", {logs['label_accuracy']:.1%} of the images are what was asked for"
        print(text)
        plots.save_image(plots.montage(pixels[:64]), self.grids / f"epoch-{epoch + 1:04}.png")

    def animate(self):
        """Writes the last grid and the animation of all."""
        frames = []
        for path in sorted(self.grids.glob("epoch-*.png")):
            with Image.open(path) as image:
                frames.append(np.atleast_3d(np.asarray(image)))
        if frames:
            plots.save_image(frames[-1], self.run.folder / "grid.png")
            plots.save_animation([*frames, *[frames[-1]] * 5], self.run.folder / "training.gif")


def _guidance(scale, num_classes):
    """The guidance scale to use: what was given, else 1."""
    if scale is not None and scale != 1 and num_classes is None:
        raise ValueError(f"guidance_scale={scale} needs a model with classes, and this one has none")
    return 1.0 if scale is None else scale
