"""Diffusion: new images of a chosen class, and old ones completed, enlarged, varied or blended.

Data: the 1,797 digits of scikit-learn, which need no network; `--dataset mnist`, `fashion_mnist`, `cifar10`, `celeb_a`
(cropped to 64x64) or any images of tensorflow-datasets; or a folder of images, with classes or without.

    zoo train diffusion --dataset mnist --precision mixed_bfloat16

and then three times more, each time from the weights before,

    zoo train diffusion --dataset mnist --precision mixed_bfloat16 --shift 2 --epochs 22 --weights RUN/model.keras

train a network of 1,643,585 parameters in 14, 22, 20 and 24 epochs of 3 to 6 minutes on 2 cores of a shared CPU; after
the first, most levels are very noisy, where it was wrong. The last two have `--guidance-scale 1.5 --guidance-interval 0
0.6`. On 10,000 images (20 steps of dpm_solver++, the digits as often as in the training split), in the features of the
published digit classifier: Fréchet distance 0.353 to the test split (real training images: 0.321, the published DCGAN:
0.726), precision 0.74 and recall 0.82 (0.80 and 0.83), 99.2 % of the images taken for the digit asked for. One chain of
trainings; the guidance was chosen against the training split. No weights are published for other data: cifar10 and
celeb_a need a GPU. The card has the whole of each command.
"""

import math
import time
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from tyro.conf import OmitArgPrefixes

import zoo
from recipes import cards, checkpoints, exports, generation, models, plots, results, runs, timing, training
from recipes.data import images as image_data
from recipes.data.splits import Split
from recipes.generation import Judge
from recipes.pictures import diffusion as pictures
from recipes.samples import drawing
from zoo import export as exporting
from zoo.kinds import Sampler
from zoo.metrics import frechet_distance, kernel_distance
from zoo.photos import border

TASK = "image generation"
METRICS = ("frechet_distance", "label_accuracy")  # that stand beside a file
ABOUT = {"name": "diffusion", "builder": "diffusion", "task": TASK}


datasets = generation.datasets


@runs.resumable
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
    shift: float = 1.0,
    min_snr_gamma: float | None = None,
    label_dropout: float = 0.1,
    ema_decay: float = 0.999,
    image_shape: tuple[int, int, int] | None = None,
    weights: str | None = None,
    steps: int = 20,
    sampler: Sampler = "dpm_solver++",
    guidance_scale: float | None = None,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
    count: int = 10_000,
    judge: str = "auto",
    setup: OmitArgPrefixes[training.Setup] = training.Setup(),
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
        shift: Factor of noise over image at each level; above 1 for more very noisy levels.
        min_snr_gamma: Weighs each image by min(SNR, gamma); by default all count the same.
        label_dropout: Share of labels hidden in training, so that guidance is possible.
        ema_decay: Decay per step of the average of the weights, in [0, 1).
        image_shape: Height, width and channels; by default those of the data set.
        weights: Model whose weights to start from: a published data set's name or a .keras file, of the same network.
        steps: Steps per image when the images are measured.
        sampler: Sampler when the images are measured.
        guidance_scale: Guidance when the images are measured; by default 1, none.
        guidance_interval: Shares of the levels, from 0 to 1, between which guidance applies; the model keeps them. Near
            noise, above 0.5 or so, guidance costs variety.
        count: Images to generate when they are measured.
        judge: Classifier whose features and answers measure the images: a published name, a .keras file, inception (if
            its weights can be downloaded), or auto for the one of the same classes, else mnist_cnn.
        setup: Seed, machine and folders.
    """
    arguments = dict(locals())
    training.check_positive(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    training.check_positive(blocks=blocks, patch_size=patch_size, timesteps=timesteps, shift=shift)
    training.check_range("[0, 1)", dropout=dropout, label_dropout=label_dropout, ema_decay=ema_decay)
    drawing.check_count(count, 2)
    zoo.samplers.levels(timesteps, steps)
    strategy = training.prepare(setup)

    # data
    images = datasets(dataset, image_shape, setup.data_dir, setup.manual_dir)
    x, y = images.split("train")
    num_classes = len(images.class_names) if conditional and images.class_names else None
    sampling = {"steps": steps, "sampler": sampler, "guidance_scale": drawing.guidance(guidance_scale, num_classes)}
    # a small set still gets 20 steps per epoch, but no batch of fewer than 8 images
    plan = training.plan(len(x), batch_size or min(64, max(8, len(x) // 20)), strategy)
    batch_size, steps_per_epoch, steps_per_execution = plan
    epochs = epochs or max(14, math.ceil(3000 / steps_per_epoch))

    def scaled(image, label):
        return (2 * image - 1, label) if num_classes else 2 * image - 1

    def batches(first_epoch):
        settings = {"batch_size": batch_size, "steps": steps_per_epoch, "epochs": epochs, "seed": setup.seed}
        return image_data.training_batches(x, y, num_classes=None, first_epoch=first_epoch, **settings).map(scaled)

    judge = Judge(judge, images, "train", "validation", "test")

    with strategy.scope(), training.precision(setup.precision):
        # network
        network = _network(images.image_shape, num_classes, arguments)
        model = zoo.Diffusion(
            network,
            schedule=schedule,
            timesteps=timesteps,
            shift=shift,
            objective=objective,
            min_snr_gamma=min_snr_gamma,
            label_dropout=label_dropout if num_classes else 0.0,
            ema_decay=ema_decay,
            guidance_interval=guidance_interval,
            seed=setup.seed,
        )
        # optimiser
        model.compile(_adam(learning_rate, steps_per_epoch * epochs), steps_per_execution=steps_per_execution)

    # machine: a run folder, and a fit that can be killed and resumed
    run = runs.start("diffusion", train, arguments)
    card = _card(images, x, model, num_classes) | runs.environment()
    print(f"{images.name}: {len(x):,} images for training, {card['parameters']:,} parameters, {epochs} epochs")

    validation = _validation_batches(images, batch_size, strategy.num_replicas_in_sync).map(scaled)
    validation = image_data.without_autotune(validation)
    options = {"epochs": epochs, "steps": steps_per_epoch, "validation": validation, "monitor": None}
    options |= {"callbacks": [Watch(run, judge, images)], "keep": lambda: _averaged(model)}
    trained = training.fit(model, batches, run=run, card=card, **options)
    checkpoints.save_compact(trained, run.folder / "model.keras")
    generation.animate(run.folder)
    return _finish(run, card, judge, images, sampling, count, batch_size)


def _network(image_shape, num_classes, arguments):
    """The network that the arguments of `train` describe, with the weights to start from if they name some."""
    network = zoo.diffusion_unet(
        tuple(image_shape),
        num_classes,
        widths=tuple(arguments["widths"]),
        blocks=arguments["blocks"],
        attention_resolutions=tuple(arguments["attention_resolutions"]),
        patch_size=arguments["patch_size"],
        dropout=arguments["dropout"],
    )
    if arguments["weights"] is not None:
        _start_from(network, arguments["weights"])
    return network


def _adam(learning_rate, total):
    """Adam over `total` steps: a warm-up, then a cosine to a hundredth; the norm of each gradient is clipped."""
    warm_up = min(500, total // 10)  # a tenth, but a long training needs no more than 500 steps
    rate = keras.optimizers.schedules.CosineDecay(0.0, total, 0.01, warmup_target=learning_rate, warmup_steps=warm_up)
    return keras.optimizers.Adam(rate, clipnorm=1.0)


def _card(images, x, model, num_classes):
    """What is known of the model before it is trained."""
    return {
        **ABOUT,
        "dataset": cards.dataset_entry(images) | {"classes": images.class_names, "border": border(x)},
        "parameters": model.network.count_params(),
        "conditional": num_classes is not None,
        "licence": cards.licence(images.licence),
    }


def _averaged(model):
    """What is kept after training: the averaged network in float32."""
    averaged = model.averaged()
    return averaged.with_network(exporting.float32_copy(averaged.network))


def _validation_batches(images, batch_size, replicas):
    """(images in [0, 1], labels) of the validation split in batches that all replicas share evenly."""
    split = images.split("validation")
    size = max(replicas, min(batch_size, len(split[0])) // replicas * replicas)
    batches = tf.data.Dataset.from_tensor_slices(split).batch(size, drop_remainder=True)
    return batches.map(lambda image, label: (tf.cast(image, tf.float32) / 255.0, label))


def _finish(run, card, judge, images, sampling, count, batch_size):
    """Measures and draws a trained model, writes its card, and gives what `train` gives back."""
    columns = {
        "loss": {"loss": "training", "val_loss": "validation, averaged weights"},
        f"kernel distance, {judge.name}": {"kernel_distance": "to the validation split"},
    }
    plots.history(run.history, columns, run.folder / "curves.png")
    generator = Generator(run.folder, card=card)
    pictures.trajectory(generator.model, run.folder / "trajectory.gif", count=16, **sampling)
    pictures.trajectory(generator.model, run.folder / "trajectory.png", count=4, **sampling)
    figures = measure(generator, judge, images, "test", run.folder, count=count, **sampling)
    validated = _distances(generator, judge, images, "validation", count, **sampling)
    card |= figures | {"sampling": sampling | {"guidance_interval": list(run.arguments["guidance_interval"])}}
    return results.trained(
        run,
        card,
        figures,
        metrics=[name for name in METRICS if name in figures["metrics"]],
        measured_on=figures["measured_on"],
        latency_ms=timing.latency(lambda: generator(1, seed=0, **sampling)),
        message=figures["measured_on"],
        shown=generation.rows(figures),
        batch_size=batch_size,
        validation=validated,
    )


def evaluate(
    *,
    model: str = "diffusion",
    dataset: str = "digits",
    split: Split = "test",
    count: int = 10_000,
    steps: int | None = None,
    sampler: Sampler = "dpm_solver++",
    guidance_scale: float | None = None,
    sweep: tuple[int, ...] = (),
    sweep_count: int = 1000,
    restore: int = 0,
    seed: int = 0,
    judge: str = "auto",
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Measures a diffusion model: Fréchet and kernel distance, precision, recall, right classes, beside real images.

    Args:
        model: A published model, a run folder, or a .keras or .tflite file or SavedModel folder.
        dataset: digits, a folder of images, or a name of tensorflow-datasets (mnist, fashion_mnist, ...).
        split: Part of the data set to compare with.
        count: Images to generate, at least 2; the distances compare as many as there are real ones, at most this.
        steps: Steps per image; by default 20, or what an exported file is made for.
        sampler: dpm_solver++, ddim or ddpm.
        guidance_scale: Guidance towards the class; by default that of the model's card, else 1 (none).
        sweep: Also measure every sampler at these numbers of steps, and plot quality over steps and over seconds.
        sweep_count: Images for each point of the sweep.
        restore: Also complete the covered half of so many test images and enlarge them from a quarter of their size.
        seed: Seed of the noise.
        judge: Classifier whose features and answers measure: a published name, a .keras file, inception, or auto.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the pictures and evaluation.json; by default a new one under runs/diffusion.
    """
    drawing.check_count(count, 2)
    training.check_range(f"[0, {2**31})", seed=seed)
    generator = Generator(model)
    sampling = generator.sampling(steps, sampler, guidance_scale)
    if sweep or restore:
        generator.keras_only()
        for number in sweep:
            generator.check(number, sampler)
        drawing.check_count(sweep_count, 2)
    images = datasets(dataset, generator.image_shape, data_dir, manual_dir)
    judge = Judge(judge, images, split)
    folder = runs.output_folder("diffusion", f"evaluate-{images.name}", output)
    figures = {
        "model": generator.path,
        "dataset": images.name,
        "split": split,
        "sampling": sampling,
        **measure(generator, judge, images, split, folder, count=count, seed=seed, verbose=1, **sampling),
    }
    if restore:
        figures["restored"] = _restore(generator, judge, images, split, folder, restore, seed)
    if sweep:
        rows, floor = _sweep(generator, judge, images, split, sweep, sweep_count, sampling["guidance_scale"], seed)
        figures |= {"sweep": rows, "sweep_real_images": floor}
        pictures.quality(rows, floor, folder / "sweep.png")
    tables = [results.table(figures[name]) for name in ("restored", "sweep") if name in figures]
    message = "\n\n".join([*tables, figures["measured_on"]])
    return results.evaluated(folder, figures, generation.rows(figures), message)


def export(
    *,
    model: str = "diffusion",
    format: tuple[Literal["saved_model", "tflite"], ...] = ("tflite",),
    quantize: tuple[Literal["none", "float16", "dynamic"], ...] = ("none",),
    batch: int = 1,
    steps: int = 20,
    guidance_scale: float | None = None,
    dataset: str = "digits",
    split: Split = "test",
    count: int = 1000,
    judge: str = "auto",
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Exports the whole way from noise to a uint8 image, and one step of it, and measures every file that it wrote.

    A file has two signatures that share the weights: generate and denoise. In a SavedModel the number of steps is an
    input and so is the number of images; in a TFLite file both are fixed. Quantising the activations to 8 bits spoils a
    chain of steps, so int8 is not among the precisions; dynamic has weights of 8 bits.

    Args:
        model: A published model, a run folder or a .keras file.
        format: One or both formats.
        quantize: One or more precisions of the TFLite files.
        batch: Examples that a file takes at a time.
        steps: Steps of a TFLite file, and of the measurement.
        guidance_scale: Guidance of the measurement; by default that of the model's card, else 1 (none).
        dataset: Data that the images of each file are compared with.
        split: Part of the data set to compare with.
        count: Images to generate with each file.
        judge: Classifier whose features measure: a published name, a .keras file, inception, or auto.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the files and their card; by default a new one under runs/diffusion.
    """
    files = exports.plan(format, quantize, batch)
    drawing.check_count(count, 2)
    generator = Generator(model).keras_only()
    sampling = generator.sampling(steps, "dpm_solver++", guidance_scale)
    images = datasets(dataset, generator.image_shape, data_dir, manual_dir)
    judge = Judge(judge, images, split)
    folder = runs.output_folder("diffusion", "export", output)
    reference = generator(20, seed=1, **sampling)[0].astype(int)

    def endpoints(format):
        fixed = {"steps": steps} if format == "tflite" else {"batch": None}
        return exporting.diffusion_endpoints(generator.model, **fixed)

    def metadata(format):
        fixed = steps if format == "tflite" else None
        return exporting.diffusion_metadata(generator.model, fixed, sampling["guidance_scale"], generator.border)

    def measured(path):
        exported = Generator(path)
        metrics = _distances(exported, judge, images, split, count, **sampling)
        found = exported(20, seed=1, **sampling)[0]
        return {
            "metrics": {name: metrics[name] for name in METRICS if name in metrics},
            "measured_on": generation.measured_on(judge, images, split, count),
            "max_abs_difference": float(np.abs(found - reference).max() / 255),
            "latency_ms": round(timing.latency(lambda: exported(1, seed=0, **sampling)), 4),
        }

    card = {**ABOUT, "dataset": {"classes": generator.labels}}
    about = {"endpoints": endpoints, "metadata": metadata, "card": card}
    entries = exports.write_all(folder, files, generator, measured=measured, batch=batch, **about)
    metrics = _distances(generator, judge, images, split, count, **sampling)
    print(f"\nKeras on the same {count} images: {metrics}; files are in {folder}")
    return {"output": folder, "dataset": images.name, "split": split, "metrics": metrics, "files": entries}


class Generator(drawing.Diffusing, models.TrainedModel):
    """Any form of a trained diffusion model: labels to uint8 images.

    Attributes:
        image_shape: (height, width, channels).
        num_classes: Number of classes, or None.
        labels: Names of the classes, or an empty list.
        border: Mean brightness of the border of the training images, or None where it is not known.
        timesteps: Levels of the schedule.
        steps: Number of steps that a file is made for, or None for any.
        guidance_scale: Guidance that it was measured with, or None.
    """

    name, task = "diffusion", TASK

    def __init__(self, model, *, card=None):
        super().__init__(model, card=card, endpoint="generate")
        self.border = self.card.get("dataset", {}).get("border")
        if self.exported:
            self.image_shape = self.model.inputs["noise"][0][1:]
            self.num_classes = len(self.labels) or None
            self.timesteps = self.about.get("timesteps", 1000)
            self.steps = self.about.get("steps")
            self.guidance_scale = self.about.get("guidance_scale")
        else:
            if not isinstance(self.model, zoo.Diffusion):
                raise ValueError(f"{self.path} is not a diffusion model: it is {type(self.model).__name__}")
            self.image_shape, self.num_classes = self.model.image_shape, self.model.num_classes
            self.timesteps, self.steps = self.model.timesteps, None
            self.guidance_scale = self.card.get("sampling", {}).get("guidance_scale")
        self.labels = [str(label) for label in self.labels or range(self.num_classes or 0)]

    def check(self, steps, sampler="dpm_solver++", guidance_scale=1.0):
        """As of `drawing.Diffusing`; a file is measured as it is."""
        super().check(steps, sampler, guidance_scale)
        if self.exported and sampler != "dpm_solver++":
            raise ValueError(f"{self.path} has the sampler dpm_solver++ inside, got sampler {sampler}")
        if self.steps not in (None, steps):
            raise ValueError(f"{self.path} is made for {self.steps} steps, got steps {steps}")

    def __call__(self, count, labels=None, *, seed, steps, sampler, guidance_scale, verbose=0):
        """(uint8 images, labels or None); `labels` are taken in turn, by default all."""
        labels = drawing.in_turn(labels, self.num_classes, count)
        if not self.exported:
            options = {"sampler": sampler, "guidance_scale": guidance_scale, "seed": seed, "verbose": verbose}
            return drawing.pixels(self.model.generate(count, labels, steps=steps, **options)), labels
        noise = np.random.default_rng(seed).standard_normal((count, *self.image_shape)).astype(np.float32)
        size = self.model.inputs["noise"][0][0] or 128
        extra = {"guidance_scale": np.float32(guidance_scale), "steps": np.int32(steps)}
        extra = {name: value for name, value in extra.items() if name in self.model.inputs}
        images = []
        for start in range(0, count, size):
            part = {"noise": noise[start : start + size]}
            part |= {"label": labels[start : start + size]} if self.num_classes else {}
            images.append(self.model(**part, **extra)["image"])
        return np.concatenate(images), labels


class Watch(keras.callbacks.Callback):
    """After each epoch: a grid from fixed noise, and its distance to real images, by 10 steps."""

    def __init__(self, run, judge, images, count=500):
        super().__init__()
        self.run, self.judge, self.count = run, judge, count
        self.features = judge(images.split("validation")[0][:count])[0]

    def on_epoch_end(self, epoch, logs=None):
        pixels = drawing.pixels(self.model.generate(self.count, steps=min(10, self.model.timesteps), seed=1))
        features, probabilities = self.judge(pixels)
        logs["kernel_distance"] = kernel_distance(self.features, features, subsets=5)[0]
        text = f"epoch {epoch + 1}: kernel distance {logs['kernel_distance']:.4f}"
        if probabilities is not None and self.model.num_classes:
            labels = np.arange(self.count) % self.model.num_classes
            logs["label_accuracy"] = float((probabilities.argmax(axis=1) == labels).mean())
            text += f", {logs['label_accuracy']:.1%} of the images are what was asked for"
        print(text)
        generation.keep_grid(pixels, self.run.folder, epoch)


def _start_from(network, weights):
    """Gives a network the weights of another one like it."""
    trained = zoo.diffusion_unet(network.input_shape[0][1:], zoo.diffusion.classes(network), weights=weights)
    shapes = [[tuple(weight.shape) for weight in each.weights] for each in (network, trained)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the weights {weights} are of another network ({trained.count_params():,} parameters, asked for "
            f"{network.count_params():,}): give the widths, blocks and patch_size that it was trained with"
        )
    network.set_weights(trained.get_weights())


def measure(generator, judge, images, split, folder, *, count, seed=0, verbose=0, **sampling):
    """Figures and pictures of a model against one split of real images, the pictures written into `folder`."""
    labels = generation.usual_labels(images, generator.labels, count)
    generated, labels = generator(count, labels, seed=seed, verbose=verbose, **sampling)
    labels = labels if generator.labels == judge.labels else None
    return generation.measure(generated, labels, judge, images, split, folder)


def _distances(generator, judge, images, split, count, *, seed=0, reference=None, **sampling):
    """Distance to the first `count` real images, or to the features given as `reference`, and right answers."""
    real = images.split(split)[0][:count]
    generated, labels = generator(
        len(real), generation.usual_labels(images, generator.labels, len(real)), seed=seed, **sampling
    )
    features, probabilities = judge(generated)
    reference = judge(real)[0] if reference is None else reference
    figures = {
        "frechet_distance": frechet_distance(reference, features),
        "kernel_distance": kernel_distance(reference, features)[0],
    }
    if probabilities is not None and labels is not None:
        figures["label_accuracy"] = float((probabilities.argmax(axis=1) == labels).mean())
    return figures


def _sweep(generator, judge, images, split, numbers, count, guidance_scale, seed):
    """Distance to the whole split and seconds of every sampler at each number of steps: a table; and the distance of as
    many real images of the training split."""
    reference = judge(images.split(split)[0])[0]
    floor = frechet_distance(reference, judge(images.split("train")[0][:count])[0])
    rows = []
    for sampler in zoo.samplers.SAMPLERS:
        for steps in numbers:
            sampling = {"steps": steps, "sampler": sampler, "guidance_scale": guidance_scale}
            generator(2, seed=seed, **sampling)  # compiles
            start = time.perf_counter()
            figures = _distances(generator, judge, images, split, count, seed=seed, reference=reference, **sampling)
            seconds = time.perf_counter() - start
            rows.append({"sampler": sampler, "steps": steps, **figures, "seconds_per_image": seconds / count})
            print(results.table(rows[-1:]), flush=True)
    return rows, floor


def _restore(generator, judge, images, split, folder, count, seed):
    """The right half covered and completed, a quarter of the size enlarged: a table, and sheets of the first ones."""
    real, labels = (array[:count] for array in images.split(split))
    height, width, channels = generator.image_shape
    clean = np.float32(real) / 127.5 - 1
    mask = np.zeros((height, width), bool)
    mask[:, width // 2 :] = True
    small = clean.reshape(len(real), height // 4, 4, width // 4, 4, channels).mean(axis=(2, 4))
    small = np.float32(np.round((small + 1) * 127.5)) / 127.5 - 1  # as a file would hold it
    sources = drawing.pixels(small)
    bicubic = image_data.fit_all(sources, generator.image_shape)
    covered = np.where(mask[..., None], 128, real).astype(np.uint8)
    options = {"steps": min(50, generator.timesteps), "verbose": 1}
    filled = generator.model.inpaint(clean, mask, seed=seed, **options)
    tries = [generator.model.super_resolve(small, 4, seed=seed + number, **options) for number in range(4)]
    restored = {
        "inpainting, right half": drawing.pixels(filled),
        "super-resolution, 4 times": drawing.pixels(tries[0]),
        "super-resolution, mean of 4": drawing.pixels(np.mean(tries, axis=0)),
    }
    compared = {"the images themselves": real, "right half grey": covered, "bicubic, 4 times": bicubic, **restored}
    rows = []
    for name, pixels in compared.items():
        row = {"images": name}
        probabilities = judge(pixels)[1]
        if probabilities is not None:
            row["accuracy"] = float((probabilities.argmax(axis=1) == labels).mean())
        squared = np.mean((np.float32(pixels) / 255 - np.float32(real) / 255) ** 2, axis=(1, 2, 3))
        row["psnr"] = None if pixels is real else float(np.mean(-10 * np.log10(np.maximum(squared, 1e-10))))
        rows.append(row)
    inpainted, enlarged = list(restored.values())[:2]
    pictures.strips(folder / "inpainted.png", covered, inpainted, real)
    nearest = sources.repeat(4, axis=1).repeat(4, axis=2)
    mean = restored["super-resolution, mean of 4"]
    pictures.strips(folder / "enlarged.png", nearest, bicubic, enlarged, mean, real)
    return rows
