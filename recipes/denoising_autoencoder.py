"""Denoising autoencoder: noisy images, or photos of any size, to clean ones; small photos to larger ones.

Data: the 1,797 digits of scikit-learn, which need no network; `--dataset mnist`, `fashion_mnist`, `cifar10` or any set
of tensorflow-datasets with images; or a folder of images, which is cut into tiles (`--input-shape 64 64 3`). The noise
is drawn anew in every epoch, at a level of its own for each image, so one network serves a range of levels.

    zoo train denoising_autoencoder --dataset mnist

reaches 21.49 dB on the test split of MNIST under Gaussian noise of 0.5 (seed 0; noisy 9.38 dB, 3x3 median 14.19) with
183,841 parameters, in 15 epochs of 150 seconds on one core of a shared CPU. The classic network, 19,393 parameters,
reaches 18.76 dB in 5 epochs with

    zoo train denoising_autoencoder --dataset mnist --epochs 5 --learning-rate 0.001 --filters 32 64 --convolutions 1 \\
        --decoder-convolutions 0 --no-batch-normalization --no-skip-connections

Super-resolution is the same with photos made smaller instead of noisy: `--task super_resolve --factor 2`.
"""

import functools
import importlib.util
import math
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from scipy import ndimage
from skimage import restoration
from tyro.conf import OmitArgPrefixes

import zoo
from recipes import cards, checkpoints, enlarging, exports, models, plots, results, runs, timing, training
from recipes.data import crops, reduction
from recipes.data import images as image_data
from recipes.data import noise as noises
from recipes.data.splits import Split
from recipes.forward import compiled, in_parts
from recipes.pictures import denoising_autoencoder as pictures
from zoo import export as exporting
from zoo import losses, metrics
from zoo.denoising_autoencoder import factor_of, resized, stride_of
from zoo.tiles import Augmentation, by_channels, by_tiles, by_views

LOSSES = {"mse": "mse", "l1": "mae", "charbonnier": losses.Charbonnier, "ssim": losses.SSIMWeighted}
CURVE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
CURVE_OF_JPEG = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
SIDE = 256  # of a tile of a photo, as an exported file gives it
CURVE_OF_PHOTOS = (5, 15, 25, 35, 50, 75)  # of 255


def datasets(dataset="digits", input_shape=None, data_dir=None, manual_dir=None):
    """Loads "digits", a set of tensorflow-datasets or a folder, in tiles; see `recipes.data.images.load`."""
    return image_data.load(
        str(dataset), input_shape=input_shape, data_dir=data_dir, manual_dir=manual_dir, labelled=False, fit="tiles"
    )


@runs.resumable
def train(
    *,
    dataset: str = "digits",
    task: Literal["denoise", "super_resolve"] = "denoise",
    factor: Literal[2, 3, 4] = 2,
    noise: noises.Kind = "gaussian",
    noise_level: tuple[float, ...] | None = None,
    test_level: float | None = None,
    loss: Literal["mse", "l1", "charbonnier", "ssim"] = "mse",
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float = 0.05,
    architecture: Literal["classic", "residual_unet"] = "classic",
    filters: tuple[int, ...] | None = None,
    blocks: tuple[int, ...] | None = None,
    convolutions: int = 2,
    decoder_convolutions: int = 2,
    batch_normalization: bool = True,
    skip_connections: bool = True,
    residual: bool = False,
    input_shape: tuple[int, int, int] | None = None,
    crop: int | None = None,
    crops_per_photo: int = 32,
    weights: str | None = None,
    patience: int | None = None,
    setup: OmitArgPrefixes[training.Setup] = training.Setup(),
):
    """Trains a denoiser or a network that enlarges (AdamW, one warm-up and cosine cycle), and measures it.

    Args:
        dataset: digits, a folder of images, or a name of tensorflow-datasets (mnist, fashion_mnist, cifar10, ...).
        task: denoise, or super_resolve: photos of a folder, made smaller by `factor`, to what they were.
        factor: Of super_resolve: 2, 3 or 4 times as high and wide.
        noise: Of denoise: gaussian, poisson, salt_and_pepper (share of pixels), speckle (multiplied), camera (photon
            and read noise in linear light) or jpeg.
        noise_level: One level, where white is 1 (from 2 on: 255; of jpeg the quality, 1 to 100); or LOW HIGH, between
            which each image gets its own; by default 0.05 0.6, of jpeg 10 90.
        test_level: Level of the test pairs; by default 0.5, or the nearest one in the range.
        loss: mse, l1 (absolute error), charbonnier (a smooth one) or ssim (structural dissimilarity and l1).
        epochs: Passes over the data; by default 15, and more for a small set, until 1,000 steps are done.
        batch_size: Images per step; by default 64, and less for a small set, so that an epoch has 32 steps.
        learning_rate: Highest learning rate of the cycle; by default 0.01, without batch normalisation 0.001.
        weight_decay: Decoupled weight decay of AdamW, of the kernels only.
        architecture: Of denoise: classic, or residual_unet for photos; what is not of the one chosen has no effect.
        filters: Filters of each level of the network; by default 16 32 96, of super_resolve 40.
        blocks: Of residual_unet: blocks of each level, one number or one per level, by default 1; of super_resolve 6.
        convolutions: Convolutions per level of the encoder.
        decoder_convolutions: Convolutions per level of the decoder before the last one.
        batch_normalization: Whether to normalise after each convolution.
        skip_connections: Whether the decoder sees the encoder's features.
        residual: Whether to predict the noise and subtract it.
        input_shape: Height, width and channels of the network; by default those of the data set.
        crop: Learn from a folder of photos by parts of so many pixels a side, cut out anew in every step; the network
            then takes photos of any size, and is measured on whole ones. super_resolve always does, by default 96.
        crops_per_photo: With --crop: parts of each photo in an epoch.
        weights: Model to start from: a published data set's name or a .keras file; it decides the network.
        patience: Epochs without a better validation PSNR after which to stop; by default never early.
        setup: Seed, machine and folders.
    """
    arguments = dict(locals())
    training.check_positive(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, patience=patience)
    training.check_range("[0, inf)", weight_decay=weight_decay)
    enlarges = task == "super_resolve"
    if enlarges:
        if noise != "gaussian" or noise_level or test_level is not None:
            raise ValueError("super_resolve makes photos smaller and adds no noise: leave out noise and its levels")
        crop = arguments["crop"] = crop or 96
        if crop % factor:
            raise ValueError(f"crop must be a multiple of the factor {factor}, got {crop}")
    normalized = architecture == "classic" and batch_normalization and not enlarges
    learning_rate = learning_rate or (0.01 if normalized else 0.001)
    low, high = noises.level_range(noise_level or noises.USUAL.get(noise, (0.05, 0.6)), kind=noise)
    level = min(max(0.5, low), high)
    if test_level is not None:
        level = noises.level_range(test_level, "test_level", noise)[1]
    strategy = training.prepare(setup)

    # data
    damage = {"kind": noise, "low": low, "high": high}
    images, stream, count = _training_data(arguments, damage)
    if loss == "ssim" and min(filter(None, images.image_shape[:2]), default=11) < 11:
        raise ValueError(f"the loss ssim needs images of at least 11x11 pixels, got {images.image_shape}")
    # a small set still gets 32 steps per epoch
    batch_size, steps, steps_per_execution = training.plan(count, batch_size or min(64, max(1, count // 32)), strategy)
    epochs = epochs or max(15, math.ceil(1000 / steps))
    sizes = {"batch_size": batch_size, "steps": steps, "epochs": epochs, "seed": setup.seed}

    def batches(first_epoch):
        return stream(first_epoch=first_epoch, **sizes)

    with strategy.scope(), training.precision(setup.precision):
        # network
        model = zoo.denoising_autoencoder(images.image_shape, **_network_options(arguments))
        if (found := factor_of(model)) != (factor if enlarges else 1):
            raise ValueError(f"the weights {weights} enlarge by {found}, asked for {factor if enlarges else 1}")
        # optimiser; a fifth of warm-up lets so high a learning rate hold
        model.compile(
            training.adamw(learning_rate, weight_decay, steps=steps * epochs, warm_up=steps * epochs // 5),
            loss=LOSSES[loss] if isinstance(LOSSES[loss], str) else LOSSES[loss](),
            metrics=[metrics.PSNR()],
            steps_per_execution=steps_per_execution,
        )

    # machine: a run folder, and a fit that can be killed and resumed
    run = runs.start("denoising_autoencoder", train, arguments)
    about = {"kind": noise, "trained": [low, high], "level": level}
    if enlarges:
        about = {"kind": "reduced", "factor": factor}
    card = _card(images, model, about) | {"task": cards.RESTORATION[task]} | runs.environment()
    print(f"{images.name}: {count:,} images for training, {model.count_params():,} parameters, {epochs} epochs")
    held_out = images.split("validation")[0]
    held_out = crops.centres(held_out, (2 * crop, 2 * crop)) if crop else held_out
    if enlarges:
        given = np.stack(reduction.fixed(list(held_out), factor))
    else:
        given = noises.fixed(held_out, kind=noise, level=(low, high))
    validation = noises.evaluation_batches(given, held_out)
    best = {"monitor": "val_psnr", "mode": "max", "patience": patience}
    length = {"epochs": epochs, "steps": steps}
    trained = training.fit(model, batches, run=run, card=card, **length, validation=validation, **best)
    # half precision costs photos nothing: their noise is larger
    (checkpoints.save_compact if crop else checkpoints.save_model)(trained, run.folder / "model.keras")
    restorer, split = Restorer(run.folder, card=card), getattr(images, "measured", "test")
    figures, measured_on = restorer.measured(images, split, noise, level, folder=run.folder)
    plots.curves(run.history, run.folder / "curves.png", metric="psnr")
    return results.trained(
        run,
        card,
        figures,
        measured_on=measured_on,
        latency_ms=timing.latency(lambda: restorer(images.split(split)[0][:1])),
        message=measured_on,
        shown=_rows(figures),
        batch_size=batch_size,
        validation={"psnr": max(row["val_psnr"] for row in run.history)},
    )


def _training_data(arguments, damage):
    """(data set, function that gives the stream of its batches, number of examples in an epoch)."""
    setup, shape, crop = arguments["setup"], arguments["input_shape"], arguments["crop"]
    if crop is None:
        images = datasets(arguments["dataset"], shape, setup.data_dir, setup.manual_dir)
        clean = images.split("train")[0]
        return images, functools.partial(noises.training_batches, clean, **damage), len(clean)
    training.check_positive(crop=crop, crops_per_photo=arguments["crops_per_photo"])
    images = crops.load(arguments["dataset"], shape[2] if shape else 3)
    clean = images.split("train")[0]
    parts = {"crop": (crop, crop), "crops_per_photo": arguments["crops_per_photo"]}
    parts["degrade"] = functools.partial(noises.add, **damage)
    if arguments["task"] == "super_resolve":
        parts["degrade"] = functools.partial(reduction.in_training, factor=arguments["factor"])
    return images, functools.partial(crops.training_batches, clean, **parts), len(clean) * parts["crops_per_photo"]


def _network_options(arguments):
    """What `zoo.denoising_autoencoder` is given of the arguments of `train`."""
    names = ("architecture", "convolutions", "decoder_convolutions", "batch_normalization", "skip_connections")
    options = {name: arguments[name] for name in (*names, "residual", "factor", "weights")}
    enlarges = arguments["task"] == "super_resolve"
    blocks = arguments["blocks"] or ((6,) if enlarges else (1,))
    return options | {
        "architecture": "sub_pixel" if enlarges else arguments["architecture"],
        "filters": tuple(arguments["filters"] or ((40,) if enlarges else (16, 32, 96))),
        "blocks": blocks[0] if len(blocks) == 1 else tuple(blocks),
    }


def _card(images, model, noise):
    """What the card says before anything is measured."""
    return {
        "name": "denoising_autoencoder",
        "builder": "denoising_autoencoder",
        "dataset": cards.dataset_entry(images) | {"classes": []},
        "noise": noise,
        "parameters": model.count_params(),
        "licence": cards.licence(images.licence),
    }


def evaluate(
    *,
    model: str = "denoising_autoencoder",
    dataset: str = "digits",
    split: Split | None = None,
    noise: noises.Kind | None = None,
    noise_level: float | None = None,
    curve: tuple[float, ...] | None = None,
    test_time_augmentation: Augmentation = "none",
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Measures a model beside classical filters: PSNR, SSIM, MSE, a curve over noise levels, a sheet of examples.

    The noise of the test pairs has a fixed seed, so that runs and files compare. The parameters of the classical
    filters are the best on a part of the validation split, at each level anew.

    Args:
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        dataset: digits, a folder of images, or a name of tensorflow-datasets (mnist, fashion_mnist, cifar10, ...).
        split: Part of the data set to measure on; by default test, or for photos without one validation.
        noise: gaussian, poisson, salt_and_pepper, speckle, camera or jpeg; by default the model's own.
        noise_level: Its level, in (0, 1], or from 2 on of 255, of jpeg the quality; by default the one in the card.
        curve: Levels of the curve, by default 0.1 to 0.8 or for photos 5 to 75 of 255; it is measured on the first
            images of the split.
        test_time_augmentation: flip takes the mean over the image and its mirror image, rotate over all eight mirror
            images and quarter turns: better, and as many times slower.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the pictures and evaluation.json; by default a new one under runs/denoising_autoencoder.
    """
    restorer = Restorer(model, test_time_augmentation=test_time_augmentation)
    kind, level = restorer.noise(noise, noise_level)
    curve = None if curve is None else [noises.level_range(point, "curve", kind)[1] for point in curve]
    images = restorer.datasets(dataset, data_dir, manual_dir, split)
    split = split or getattr(images, "measured", "test")
    count = len(images.split(split)[0])
    folder = runs.output_folder("denoising_autoencoder", f"evaluate-{images.name}", output)
    found, measured_on = restorer.measured(images, split, kind, level, curve=curve, folder=folder)
    figures = {
        "model": restorer.path,
        "dataset": images.name,
        "split": split,
        "noise": restorer.about if restorer.factor > 1 else {"kind": kind, "level": level},
        "test_time_augmentation": test_time_augmentation,
        "images": count,
        "skipped_files": len(images.skipped),
        **found,
    }
    return results.evaluated(folder, figures, _rows(figures), f"{count:,} images: {measured_on}")


def export(
    *,
    model: str = "denoising_autoencoder",
    format: tuple[Literal["saved_model", "tflite", "onnx"], ...] = ("tflite",),
    quantize: tuple[Literal["none", "float16", "dynamic", "int8"], ...] = ("none",),
    batch: int = 1,
    dataset: str = "digits",
    split: Split | None = None,
    noise: noises.Kind | None = None,
    noise_level: float | None = None,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Exports a Keras model (uint8 pixels in, restored uint8 pixels out) and measures every file that it wrote.

    Args:
        model: A published model, a run folder or a .keras file.
        format: One or more formats.
        quantize: One or more precisions of the TFLite files.
        batch: Examples that a file takes at a time.
        dataset: Data to measure the PSNR on; its training split shows int8 the range of the activations.
        split: Part of the data set to measure on; by default test, or for photos without one validation.
        noise: gaussian, poisson, salt_and_pepper, speckle, camera or jpeg; by default the model's own.
        noise_level: Its level, in (0, 1], or from 2 on of 255, of jpeg the quality; by default the one in the card.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the files and their card; by default a new one under runs/denoising_autoencoder.
    """
    files = exports.plan(format, quantize, batch)
    restorer = Restorer(model).keras_only()
    kind, level = restorer.noise(noise, noise_level)
    images = restorer.datasets(dataset, data_dir, manual_dir, split)
    split = split or getattr(images, "measured", "test")
    clean, given = restorer.pairs(images, split, kind, level)
    photos = isinstance(images, crops.PhotoSet)
    side = SIDE // restorer.factor
    one = crops.centres(given[:1], (side, side)) if photos else given[:1]
    network = resized(restorer.model, side, side) if photos else restorer.model
    folder = runs.output_folder("denoising_autoencoder", "export", output)
    about = restorer.about if restorer.factor > 1 else restorer.about | {"kind": kind, "level": level}
    reference = restorer(given)
    measured_on = restorer.words(images, split, kind, level)

    def measured(path):
        exported = Restorer(path)
        found = exported(given)
        gaps = [np.abs(one / 255 - other / 255).max() for one, other in zip(found, reference, strict=True)]
        return {
            "metrics": restorer.quality(clean, found),
            "measured_on": measured_on,
            "max_abs_difference": float(max(gaps)),
            "latency_ms": round(timing.latency(lambda: exported(one)), 4),
        }

    if restorer.factor > 1:
        shown = enlarging.representative(images, split, restorer.factor, side)
    else:
        shown = representative(images, split, kind, restorer.about.get("trained", (level, level)))
    entries = exports.write_all(
        folder,
        files,
        restorer,
        batch=batch,
        network=network,
        endpoints=exporting.pixels_endpoint(network),
        metadata=exporting.pixels_metadata(about, restorer.stride, restorer.overlaps, restorer.factor),
        representative_data=shown,
        card={"name": restorer.name, "task": restorer.task, "noise": about},
        measured=measured,
    )
    figures = restorer.quality(clean, reference)
    print(f"\nKeras: PSNR {figures['psnr']:.2f} dB, {measured_on}; files are in {folder}")
    return {"output": folder, "dataset": images.name, "split": split, "metrics": figures, "files": entries}


class Restorer(models.TrainedModel):
    """Any form of a trained denoiser: uint8 images (count, height, width, channels) to restored ones, uint8.

    Attributes:
        factor: How many times as high and wide what it gives is: 1, or more where it is for super-resolution.
        about: The noise it was trained for: "kind", "trained" (range of levels) and "level" (of the test), where known.
        input_shape: (height, width, channels).
        stride: The smallest side that the network makes sense of.
        overlaps: How tiles meet, see `zoo.tiles.by_tiles`: 1 for a network that learnt from photos, else 4.
    """

    name = "denoising_autoencoder"

    def __init__(self, model, *, card=None, test_time_augmentation="none"):
        super().__init__(model, card=card)
        self.augmentation = test_time_augmentation
        if self.exported:
            shape, dtype = self.model.inputs.get("image", ((), ""))
            if len(shape) != 4 or dtype != "uint8":
                raise ValueError(f"{self.path} does not restore images: its inputs are {self.model.inputs}")
            outputs = self.model(image=np.zeros(shape, np.uint8)).get("restored", np.zeros(())).shape
            self.factor = self.model.metadata.get("factor", 1)
            self.stride, self.overlaps = self.model.metadata.get("stride", 1), self.model.metadata.get("overlaps", 4)
        else:
            shape, outputs = self.model.input_shape, self.model.output_shape
            self.stride, self.factor = stride_of(self.model), factor_of(self.model)
            self.overlaps = 1 if None in shape[1:3] else 4
        if (
            not isinstance(shape, tuple)
            or len(shape) != 4
            or shape[-1] not in (1, 3)
            or (shape[1] is None) != (shape[2] is None)
        ):
            raise ValueError(f"{self.path} takes inputs of shape {shape}, not images (height, width, 1 or 3)")
        sides = tuple(side and self.factor * side for side in shape[1:3])
        if outputs != (shape[0], *sides, shape[3]):
            raise ValueError(f"{self.path} does not restore images: from {shape} it makes {outputs}")
        self.input_shape = tuple(shape[1:])
        self.task = cards.RESTORATION["denoise" if self.factor == 1 else "super_resolve"]
        self.about = (self.model.metadata if self.exported else self.card).get("noise", {})
        if not self.exported:
            self._run = compiled(self.model, self.input_shape)

    @property
    def channels(self):
        return self.input_shape[-1]

    def noise(self, kind, level):
        """(kind, level) of the test pairs: what is given, else the model's own, else Gaussian at 0.5.

        Raises:
            ValueError: If the level is out of range, or a noise is given to a model that enlarges.
        """
        if self.factor > 1:
            if kind is not None or level is not None:
                raise ValueError(f"{self.path} enlarges photos: leave out noise and noise_level")
            return "reduced", None
        own = self.about.get("kind", "gaussian")
        kind = kind or own
        if level is not None:
            return kind, noises.level_range(level, kind=kind)[1]
        return kind, 0.5 if "jpeg" in (kind, own) and kind != own else self.about.get("level", 0.5)

    def pairs(self, images, split, kind, level):
        """(clean images of a split, what the model is given instead)."""
        clean = images.split(split)[0]
        if self.factor == 1:
            return clean, noises.fixed(clean, kind=kind, level=level)
        clean = reduction.whole(clean, self.factor)
        return clean, reduction.fixed(clean, self.factor)

    def words(self, images, split, kind, level):
        """What is measured, in words."""
        return (
            enlarging.words(images, split, self.factor) if self.factor > 1 else _measured_on(images, split, kind, level)
        )

    def quality(self, clean, restored):
        """PSNR, SSIM and MSE as they are usual for the task: of an enlarged photo's luma, without the border."""
        if self.factor > 1:
            clean, restored = ([enlarging.luma(one, self.factor) for one in images] for images in (clean, restored))
        return quality(clean, restored)

    def measured(self, images, split, kind, level, *, folder, curve=None):
        """(figures on a split beside those of classical methods, what was measured in words)."""
        if self.factor > 1:
            figures = enlarging.measure(self, images, split, quality=quality, interval=psnr_interval, folder=folder)
        else:
            figures = measure(self, images, split, kind=kind, level=level, curve=curve, folder=folder)
        return figures, self.words(images, split, kind, level)

    def datasets(self, dataset, data_dir, manual_dir, split=None):
        """A data set in this model's input shape; whole photos where it has learnt from parts of them."""
        if self.overlaps < 4 or self.factor > 1:  # of an earlier file it was 2
            # what a border is cut off from leaves room for the window of the SSIM
            smallest = self.stride if self.factor == 1 else 11 * self.factor
            return crops.load(dataset, self.input_shape[-1], complete=split != "all", smallest=smallest)
        return datasets(dataset, self.input_shape, data_dir, manual_dir)

    def __call__(self, images):
        if isinstance(images, list):
            return [self.any_size(image) for image in images]
        return by_views(self._batch, images, self.augmentation)

    def _batch(self, images, progress=None):
        if isinstance(self.model, keras.Model):
            return _as_pixels(in_parts(self._run, images))
        restored = self.model(image=images)["restored"]
        return restored if restored.dtype == np.uint8 else _as_pixels(restored)  # exported by hand: in [0, 1]

    def any_size(self, image, progress=None):
        """Restores one uint8 image (height, width, 1 or 3), whatever the model's own size and number of channels;
        `progress` is called with the number of tiles done and of all, where there are tiles."""
        *tile, channels = self.input_shape

        def one(image, progress):
            if None in tile:
                return self._whole(image)
            return by_tiles(self._batch, image, tile, self.overlaps, factor=self.factor, progress=progress)

        def seen(image):
            return by_views(one, image, self.augmentation, progress)

        return by_channels(seen, image, channels)

    def _whole(self, image, side=768, margin=96):
        """Restores an image by a network of any size; a large one in parts, each seen with all that it depends on."""
        times = self.factor
        restored = np.empty((times * image.shape[0], times * image.shape[1], image.shape[2]), np.uint8)
        for top in range(0, image.shape[0], side):
            for left in range(0, image.shape[1], side):
                above, before = min(top, margin), min(left, margin)
                part = image[top - above : top + side + margin, left - before : left + side + margin]
                pads = [(0, -length % self.stride) for length in part.shape[:2]]
                padded = np.pad(part, (*pads, (0, 0)), mode="symmetric")
                found = _as_pixels(self._run(padded[None] / np.float32(255))[0])
                inside = found[times * above : times * part.shape[0], times * before : times * part.shape[1]]
                place = restored[times * top : times * (top + side), times * left : times * (left + side)]
                place[:] = inside[: place.shape[0], : place.shape[1]]
        return restored


def measure(restore, images, split, *, kind, level, folder, curve=None):
    """Figures of a denoiser and of the classical filters on one split, the pictures written into `folder`."""
    if curve is None and kind == "jpeg":
        curve = CURVE_OF_JPEG
    elif curve is None:
        curve = [point / 255 for point in CURVE_OF_PHOTOS] if isinstance(images, crops.PhotoSet) else CURVE
    clean = images.split(split)[0]
    held_out = images.split("validation" if "validation" in images.splits else split)[0]
    restored_by, baselines = _compare(restore, clean, held_out, kind, level)
    figures = {name: quality(clean[: len(picture)], picture) for name, picture in restored_by.items()}
    best = max(baselines, key=lambda name: figures[name]["psnr"])
    few = _share(clean, 160_000, 200)
    points = []
    for point in curve:
        restored = _compare(restore, few, held_out, kind, point)[0]
        points.append({"level": point} | {name: quality(few[: len(p)], p)["psnr"] for name, p in restored.items()})
    if points:
        pictures.lines(points, "level", folder / "curve.png", xlabel=f"level of the {kind} noise", ylabel="PSNR (dB)")
    _sheet(clean, restored_by, best, folder / "examples.png", f"{kind} noise, level {_level(images, kind, level)}")
    return {
        "metrics": figures["restored"],
        "intervals": {"psnr": psnr_interval(clean, restored_by["restored"])},
        "baselines": {name: figures[name] | parameters for name, parameters in baselines.items()},
        "curve": points,
    }


def _compare(restore, clean, held_out, kind, level):
    """Pictures by name (noisy, the classical filters', restored), and the parameters of the filters by name."""
    noisy = noises.fixed(clean, kind=kind, level=level)
    restored_by, about = {"noisy": noisy}, {"noisy": {}}
    few = crops.centres(held_out[:8], (128, 128)) if isinstance(held_out, list) else _share(held_out, 25_000, 32)
    for name, (function, parameters, at_most) in _filters(few, kind, level, isinstance(clean, list)).items():
        if isinstance(clean, list):
            restored_by[name] = [function(image[None], **parameters)[0] for image in noisy[:at_most]]
        else:
            restored_by[name] = function(noisy[:at_most], **parameters)
        about[name] = {"parameters": parameters} | ({"images": at_most} if at_most and at_most < len(noisy) else {})
    return restored_by | {"restored": restore(noisy)}, about


def _filters(held_out, kind, level, photos=False):
    """The classical filters by name: (function, its best parameters for this noise on `held_out`, images at most)."""
    noisy = noises.fixed(held_out, kind=kind, level=level)
    spread = round(float(np.std(noisy / 255 - held_out / 255)), 4)
    windows = [
        {"sigma": spread, "h": round(share * spread, 4), "patch_size": size}
        for share in (0.3, 0.45, 0.6, 0.9, 1.3)
        for size in (3, 5)
    ]
    grids = {
        "median_3x3": (_median, [{}], None),
        "gaussian_filter": (_gaussian, [{"sigma": sigma} for sigma in (0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0)], None),
        "non_local_means": (non_local_means, windows, 10 if photos else None),
    }
    if photos:
        grids["wavelet"] = (_wavelet, [{"sigma": round(share * spread, 4)} for share in (0.5, 0.7, 1.0)], 50)
    if importlib.util.find_spec("bm3d"):  # slow: a few images must do
        grids["bm3d"] = (
            bm3d_filter,
            [{"sigma_psd": round(share * spread, 4)} for share in (0.7, 1.0, 1.4)],
            5 if photos else 50,
        )

    def best(function, grid, at_most):
        count = max(1, at_most // 6) if at_most else len(held_out)
        return max(
            grid, key=lambda parameters: quality(held_out[:count], function(noisy[:count], **parameters))["psnr"]
        )

    return {name: (entry[0], best(*entry), entry[2]) for name, entry in grids.items()}


def _median(images):
    return ndimage.median_filter(images, (1, 3, 3, 1))


def _gaussian(images, sigma):
    return _as_pixels(ndimage.gaussian_filter(images / np.float32(255), (0, sigma, sigma, 0)))


def non_local_means(images, **parameters):
    restored = (
        restoration.denoise_nl_means(image / 255, patch_distance=6, channel_axis=-1, **parameters) for image in images
    )
    return _as_pixels(np.stack(list(restored)).reshape(images.shape))


def _wavelet(images, sigma):
    options = {"channel_axis": -1, "convert2ycbcr": images.shape[-1] == 3, "rescale_sigma": True}
    return _as_pixels(np.stack([restoration.denoise_wavelet(image / 255, sigma=sigma, **options) for image in images]))


def bm3d_filter(images, sigma_psd):
    from bm3d import bm3d, bm3d_rgb

    restore = bm3d_rgb if images.shape[-1] == 3 else bm3d  # colours together (CBM3D)
    return _as_pixels(np.stack([restore(image / 255, sigma_psd) for image in images]).reshape(images.shape))


def _as_pixels(images):
    return np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8)


def _share(images, pixels, at_most):
    """The first images of a set, few enough for slow filters."""
    if isinstance(images, list):
        return images[:6]
    return images[: max(4, min(at_most, pixels // (images.shape[1] * images.shape[2])))]


def psnr_interval(clean, restored):
    """The 95 % interval of the mean PSNR over the images."""
    errors = [np.mean((np.float64(one) - other) ** 2) for one, other in zip(clean, restored, strict=True)]
    decibels = -10 * np.log10(np.maximum(errors, 1e-10) / 255**2)
    return results.interval(decibels, lambda total: total / len(decibels))


def quality(clean, restored):
    """Means over the images of PSNR (dB), SSIM (None below 11x11 pixels, its window) and MSE (of values in [0, 1])."""
    if isinstance(clean, list):
        rows = [quality(one[None], other[None]) for one, other in zip(clean, restored, strict=True)]
        means = {name: np.mean([row[name] for row in rows if row[name] is not None] or [np.nan]) for name in rows[0]}
        return {name: float(mean) if np.isfinite(mean) else None for name, mean in means.items()}
    totals = {}
    for first in range(0, len(clean), 500):
        pair = [
            keras.ops.convert_to_tensor(images[first : first + 500] / np.float32(255)) for images in (clean, restored)
        ]
        values = {"psnr": metrics.peak_signal_to_noise_ratio(*pair)}
        if min(clean.shape[1:3]) >= 11:
            values["ssim"] = metrics.structural_similarity(*pair)
        values["mse"] = keras.ops.mean((pair[0] - pair[1]) ** 2, axis=(1, 2, 3))
        for name, value in values.items():
            totals[name] = totals.get(name, 0.0) + float(np.sum(value, dtype=np.float64))
    figures = {name: total / len(clean) for name, total in totals.items()}
    return {"psnr": figures["psnr"], "ssim": figures.get("ssim"), "mse": figures["mse"]}


def representative(images, split, kind, level, count=500):
    """Noisy images that show int8 the range of the activations."""
    clean = images.split("train" if "train" in images.splits else split)[0]
    if isinstance(images, crops.PhotoSet):
        clean, count = crops.centres(clean[:200], (SIDE, SIDE)), 200
    return noises.fixed(exports.some_of(clean, count), kind=kind, level=level, seed=noises.SEED + 1)


def _measured_on(images, split, kind, level):
    return f"{images.name}, {split}, {kind} noise at {_level(images, kind, level)}"


def _level(images, kind, level):
    if kind == "jpeg":
        return f"quality {100 * level:g}"
    return f"{255 * level:g} of 255" if isinstance(images, crops.PhotoSet) else f"{level:g}"


def _rows(figures):
    """The table of a measurement, the denoiser last."""
    parts = {**figures["baselines"], "restored": figures["metrics"]}
    return [{"image": name} | {key: part[key] for key in ("psnr", "ssim", "mse")} for name, part in parts.items()]


def _sheet(clean, restored_by, best, path, title, count=12):
    """Rows of noisy, restored, clean, best classical filter, with the PSNR of each."""
    columns = {name: restored_by[name] for name in ("noisy", "restored")}
    columns |= {"clean": clean, best: restored_by[best]}
    if isinstance(clean, list):  # of a photo the middle, where one sees what became of it
        columns = {name: crops.centres(images[:count], (160, 160)) for name, images in columns.items()}
    shown, captions = [], []
    for index in range(min(count, *map(len, columns.values()))):
        for name, images in columns.items():
            value = quality(columns["clean"][index : index + 1], images[index : index + 1])["psnr"]
            shown.append(images[index])
            captions.append(name.replace("_", " ") + ("" if name == "clean" else f"\n{value:.1f} dB"))
    plots.sheet(shown, captions, path, title=title)
