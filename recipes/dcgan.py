"""DCGAN: new images like those of a data set, of a chosen class where the data has classes.

Data: the 1,797 digits of scikit-learn, which need no network; `--dataset mnist`, `fashion_mnist`, `cifar10`, `celeb_a`
(cropped to 64x64) or any images of tensorflow-datasets; or a folder of images, with classes or without.

    zoo train dcgan --dataset mnist

trains a generator of 505,441 parameters, with classes, in 20 epochs of 166 seconds on one core of a shared CPU.
On 10,000 images (seed 0, the digits as often as in the training split), in the features of the published digit
classifier: Fréchet distance 0.73 to the test split (real training images: 0.32), mean confidence of the classifier
0.931 (real test images: 0.946), 98.1 % of the images taken for the digit asked for. Asked for each digit equally often
it gives them at 98 to 102 % of an equal share. One seed; the settings were chosen on the validation split.
"""

import math
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from tyro.conf import OmitArgPrefixes

import zoo
from recipes import cards, checkpoints, exports, generation, models, plots, results, runs, timing, training
from recipes.data import images as image_data
from recipes.data.splits import Split
from recipes.forward import compiled
from recipes.generation import Judge
from recipes.samples import drawing
from zoo import export as exporting
from zoo.metrics import frechet_distance, kernel_distance

TASK = "image generation"
ABOUT = {"name": "dcgan", "builder": "dcgan", "task": TASK}


datasets = generation.datasets


@runs.resumable
def train(
    *,
    dataset: str = "digits",
    conditional: bool = True,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float = 2e-4,
    discriminator_learning_rate: float = 2e-4,
    discriminator_steps: int = 1,
    label_smoothing: float = 0.0,
    spectral_normalization: bool = False,
    r1_gamma: float = 1.0,
    diff_augment: tuple[Literal["color", "translation", "cutout"], ...] = (),
    ema_decay: float = 0.999,
    latent_dim: int = 64,
    filters: int = 32,
    discriminator_filters: int = 32,
    batch_normalization: bool = True,
    image_shape: tuple[int, int, int] | None = None,
    judge: str = "auto",
    setup: OmitArgPrefixes[training.Setup] = training.Setup(),
):
    """Trains a DCGAN (two Adams, R1 penalty, averaged generator) and measures its images against the test split.

    Args:
        dataset: digits, a folder of images, or a name of tensorflow-datasets (mnist, fashion_mnist, celeb_a, ...).
        conditional: Whether the networks get the labels, where the data has some.
        epochs: Passes over the data; by default 20, and more for a small set, until 4,000 steps are done.
        batch_size: Images per step; by default 64, and less for a small set.
        learning_rate: Learning rate of the generator; it falls to a tenth along a cosine.
        discriminator_learning_rate: Learning rate of the discriminator, likewise.
        discriminator_steps: Steps of the discriminator per step of the generator.
        label_smoothing: How far below 1 the target of real images is, in [0, 0.5).
        spectral_normalization: Whether to keep the largest singular value of the discriminator's kernels at 1.
        r1_gamma: Weight of the R1 penalty, computed in every 16th step; 0 for none.
        diff_augment: Random changes to all images before the discriminator, for small data sets.
        ema_decay: Decay per step of the average of the generator's weights, in [0, 1).
        latent_dim: Length of the latent vector.
        filters: Filters of the generator's last stage; each one before has twice as many.
        discriminator_filters: Filters of the discriminator's first stage; each further one has twice as many.
        batch_normalization: Whether the generator normalises after each stage.
        image_shape: Height, width and channels; by default those of the data set.
        judge: Classifier whose features and answers measure the images: a published name, a .keras file, inception (if
            its weights can be downloaded), or auto for the one of the same classes, else mnist_cnn.
        setup: Seed, machine and folders.
    """
    arguments = dict(locals())
    _check(arguments)
    strategy = training.prepare(setup)

    # data
    images = datasets(dataset, image_shape, setup.data_dir, setup.manual_dir)
    x, y = images.split("train")
    num_classes = len(images.class_names) if conditional and images.class_names else None
    # a small set still gets 32 steps per epoch, but no batch of fewer than 8 images
    plan = training.plan(len(x), batch_size or min(64, max(8, len(x) // 32)), strategy)
    batch_size, steps, steps_per_execution = plan
    epochs = epochs or max(20, math.ceil(4000 / steps))

    def batches(first_epoch):
        settings = {"batch_size": batch_size, "steps": steps, "epochs": epochs, "seed": setup.seed}
        stream = image_data.training_batches(x, y, num_classes=None, first_epoch=first_epoch, **settings)
        # the generator ends in tanh: its images are in [-1, 1]
        return stream.map(lambda image, label: (2 * image - 1, label) if num_classes else 2 * image - 1)

    judge = Judge(judge, images, "train", "validation", "test")

    with strategy.scope(), training.precision(setup.precision):
        # network
        networks = {"image_shape": tuple(images.image_shape), "num_classes": num_classes}
        gan = zoo.DCGAN(
            zoo.dcgan.generator(
                **networks, latent_dim=latent_dim, filters=filters, batch_normalization=batch_normalization
            ),
            zoo.dcgan.discriminator(
                **networks,
                filters=discriminator_filters,
                spectral_normalization=spectral_normalization,
                activation=None,
            ),
            discriminator_steps=discriminator_steps,
            label_smoothing=label_smoothing,
            r1_gamma=r1_gamma,
            diff_augment=diff_augment,
            ema_decay=ema_decay,
            seed=setup.seed,
        )
        # optimiser: one for each network; beta_1 of 0.5, as the momentum of 0.9 makes the two of them oscillate
        gan.compile(
            *(
                keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps * epochs, 0.1), beta_1=0.5)
                for rate in (learning_rate, discriminator_learning_rate)
            ),
            steps_per_execution=steps_per_execution,
        )

    # machine: a run folder, and a fit that can be killed and resumed
    run = runs.start("dcgan", train, arguments)
    card = _card(images, gan, num_classes) | runs.environment()
    print(
        f"{images.name}: {len(x):,} images for training, {gan.generator.count_params():,} parameters of the generator, "
        f"{gan.discriminator.count_params():,} of the discriminator, {epochs} epochs"
    )

    watch = Watch(run, judge, images)
    options = {"epochs": epochs, "steps": steps, "monitor": None, "callbacks": [watch]}
    generator = training.fit(
        gan, batches, run=run, card=card, **options, keep=lambda: exporting.float32_copy(gan.averaged_generator())
    )
    checkpoints.save_model(generator, run.folder / "model.keras")
    checkpoints.save_model(gan, run.folder / "dcgan.keras")
    generation.animate(run.folder)
    return _finish(run, card, judge, images, batch_size)


def _check(arguments):
    """Refuses arguments of `train` that make no sense."""
    training.check_positive(
        **training.named(arguments, "epochs", "batch_size", "learning_rate", "discriminator_learning_rate")
    )
    training.check_positive(
        **training.named(arguments, "latent_dim", "filters", "discriminator_filters", "discriminator_steps")
    )
    training.check_range("[0, 0.5)", **training.named(arguments, "label_smoothing"))
    training.check_range("[0, 1)", **training.named(arguments, "ema_decay"))
    training.check_range("[0, inf)", **training.named(arguments, "r1_gamma"))


def _card(images, gan, num_classes):
    """What is known of the model before it is trained."""
    return {
        **ABOUT,
        "dataset": cards.dataset_entry(images) | {"classes": images.class_names},
        "parameters": gan.generator.count_params(),
        "discriminator_parameters": gan.discriminator.count_params(),
        "conditional": num_classes is not None,
        "licence": cards.licence(images.licence),
    }


def _finish(run, card, judge, images, batch_size):
    """Measures and draws a trained generator, writes its card, and gives what `train` gives back."""
    columns = {
        "loss": {"discriminator_loss": "discriminator", "generator_loss": "generator"},
        "discriminator's accuracy": {"discriminator_accuracy": "real and generated told apart"},
        f"kernel distance, {judge.name}": {"kernel_distance": "to the validation split"},
    }
    plots.history(run.history, columns, run.folder / "curves.png")
    sampler = Sampler(run.folder, card=card)
    figures = measure(sampler, judge, images, "test", run.folder)
    validated = _distances(sampler, judge, images, "validation")
    one = sampler.draw(1, 0)
    return results.trained(
        run,
        card,
        figures,
        metrics=["frechet_distance"],
        measured_on=figures["measured_on"],
        latency_ms=timing.latency(lambda: sampler(*one)),
        message=figures["measured_on"],
        shown=generation.rows(figures),
        kept="generator",
        batch_size=batch_size,
        validation=validated,
    )


def evaluate(
    *,
    model: str = "dcgan",
    dataset: str = "digits",
    split: Split = "test",
    count: int = 10_000,
    seed: int = 0,
    judge: str = "auto",
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Measures a generator: Fréchet and kernel distance, precision, recall, classes covered, each beside real images.

    Args:
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        dataset: digits, a folder of images, or a name of tensorflow-datasets (mnist, fashion_mnist, ...).
        split: Part of the data set to compare with.
        count: Images to generate, at least 2; the distances compare as many as there are real ones, at most this.
        seed: Seed of the latents.
        judge: Classifier whose features and answers measure: a published name, a .keras file, inception, or auto.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the pictures and evaluation.json; by default a new one under runs/dcgan.
    """
    drawing.check_count(count, 2)
    sampler = Sampler(model)
    images = datasets(dataset, sampler.image_shape, data_dir, manual_dir)
    judge = Judge(judge, images, split)
    folder = runs.output_folder("dcgan", f"evaluate-{images.name}", output)
    figures = {
        "model": sampler.path,
        "dataset": images.name,
        "split": split,
        **measure(sampler, judge, images, split, folder, count=count, seed=seed),
    }
    return results.evaluated(folder, figures, generation.rows(figures), figures["measured_on"])


def export(
    *,
    model: str = "dcgan",
    format: tuple[Literal["saved_model", "tflite", "onnx"], ...] = ("tflite",),
    quantize: tuple[Literal["none", "float16", "dynamic", "int8"], ...] = ("none",),
    batch: int = 1,
    dataset: str = "digits",
    split: Split = "test",
    count: int = 10_000,
    judge: str = "auto",
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Exports a generator (latent in, uint8 image out) and measures every file that it wrote.

    Args:
        model: A published model, a run folder or a .keras file.
        format: One or more formats.
        quantize: One or more precisions of the TFLite files.
        batch: Examples that a file takes at a time.
        dataset: Data whose images those of each file are compared with.
        split: Part of the data set to compare with.
        count: Images to generate; the distances compare as many as there are real ones, at most this.
        judge: Classifier whose features measure: a published name, a .keras file, inception, or auto.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the files and their card; by default a new one under runs/dcgan.
    """
    files = exports.plan(format, quantize, batch)
    drawing.check_count(count, 2)
    sampler = Sampler(model).keras_only()
    images = datasets(dataset, sampler.image_shape, data_dir, manual_dir)
    judge = Judge(judge, images, split)
    folder = runs.output_folder("dcgan", "export", output)
    reference, one = sampler(*sampler.draw(100, 1)), sampler.draw(1, 0)

    def measured(path):
        exported = Sampler(path)
        found = exported(*exported.draw(100, 1)).astype(int)
        metrics = _distances(exported, judge, images, split, count)
        return {
            "metrics": {"frechet_distance": metrics["frechet_distance"]},
            "measured_on": generation.measured_on(judge, images, split, count),
            "max_abs_difference": float(np.abs(found - reference).max() / 255),
            "latency_ms": round(timing.latency(lambda: exported(*one)), 4),
        }

    entries = exports.write_all(
        folder,
        files,
        sampler,
        batch=batch,
        endpoints={exporting.ENDPOINT: exporting.latent_endpoint(sampler.model)},
        metadata=exporting.latent_metadata(sampler.model),
        representative_data=representative(sampler),
        card={**ABOUT, "dataset": {"classes": sampler.labels}},
        measured=measured,
    )
    metrics = _distances(sampler, judge, images, split, count)
    print(f"\nKeras: Fréchet distance {metrics['frechet_distance']:.4f}; files are in {folder}")
    return {"output": folder, "dataset": images.name, "split": split, "metrics": metrics, "files": entries}


class Sampler(drawing.Latent, models.TrainedModel):
    """Any form of a trained generator: latents, and labels if it has classes, to uint8 images.

    Attributes:
        image_shape: (height, width, channels).
        latent_dim: Length of the latent vector.
        num_classes: Number of classes, or None.
        labels: Names of the classes, or an empty list.
    """

    name, task = "dcgan", TASK

    def __init__(self, model, *, card=None):
        super().__init__(model, card=card)
        if self.exported:
            shapes = {name: shape[1:] for name, (shape, _) in self.model.inputs.items()}
        else:
            if isinstance(self.model, zoo.DCGAN):
                self.model = self.model.averaged_generator()
            shapes = {tensor.name: tuple(tensor.shape[1:]) for tensor in self.model.inputs}
            self._run = compiled(self.model)
            self.image_shape = tuple(self.model.output_shape[1:])
            self.labels = [str(label) for label in self.labels or ()]
        if set(shapes) not in ({"latent"}, {"latent", "label"}):
            raise ValueError(f"{self.path} does not generate images: its inputs are {', '.join(shapes)}")
        self.latent_dim = shapes["latent"][0]
        self.num_classes = None
        if "label" in shapes:
            self.num_classes = len(self.labels) if self.exported else zoo.dcgan.classes(self.model)
            self.labels = self.labels or [str(number) for number in range(self.num_classes)]
        if self.exported:
            self.image_shape = self(*self.draw(1, 0))[0].shape

    def __call__(self, latents, labels=None):
        if not self.exported:
            inputs = [latents] if labels is None else [latents, labels]
            parts = [[one[start : start + 256] for one in inputs] for start in range(0, len(latents), 256)]
            return drawing.pixels(np.concatenate([self._run(*part) for part in parts]))
        return self.model(latent=latents, **({} if labels is None else {"label": labels}))["image"]


class Watch(keras.callbacks.Callback):
    """After each epoch: a grid from fixed latents, the distance to real images, and a word if the images collapse."""

    def __init__(self, run, judge, images, count=1000):
        super().__init__()
        self.run, self.judge, self.count = run, judge, count
        self.real = images.split("validation")[0][:count]
        self.features = judge(self.real)[0]

    def on_epoch_end(self, epoch, logs=None):
        pixels = drawing.pixels(self.model.generate(self.count, seed=1))
        features, probabilities = self.judge(pixels)
        logs["kernel_distance"] = kernel_distance(self.features, features, subsets=5)[0]
        logs["variety"] = generation.variety(pixels[:64], self.real[:64])
        generation.keep_grid(pixels, self.run.folder, epoch)
        text = f"epoch {epoch + 1}: kernel distance {logs['kernel_distance']:.3f}"
        if probabilities is not None:
            share = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1]) / self.count
            logs["least_class"] = float(share.min() * len(share))
            text += (
                f", least class {logs['least_class']:.0%} and greatest {share.max() * len(share):.0%} of an equal share"
            )
        print(text)
        if logs["variety"] < 0.25:
            print(
                f"warning: images of the grid nearly coincide (variety {logs['variety']:.2f}): the generator collapses"
            )


def measure(sampler, judge, images, split, folder, *, count=10_000, seed=0):
    """Figures and pictures of a generator against one split of real images, the pictures written into `folder`."""
    generated, labels = _generate(sampler, images, count, seed)
    labels = labels if sampler.labels == judge.labels else None
    return generation.measure(generated, labels, judge, images, split, folder)


def _distances(sampler, judge, images, split, count=10_000):
    real = images.split(split)[0][:count]
    features = judge(_generate(sampler, images, len(real), 0)[0])[0]
    return {"frechet_distance": frechet_distance(judge(real)[0], features)}


def _generate(sampler, images, count, seed):
    latents, labels = sampler.draw(count, seed, generation.usual_labels(images, sampler.labels, count))
    return sampler(latents, labels), labels


def representative(sampler, count=300):
    latents, labels = sampler.draw(count, 2)
    return {"latent": latents} | ({} if labels is None else {"label": labels})
