"""Image regression: the colour cast of a photo and the photo without it, or the angle by which a picture is turned.

Data: crops of the photographs that come with scikit-learn and scikit-image, which need no network; a folder of photos;
any set of tensorflow-datasets with images; or a table (CSV) with the columns image, red, green and blue. Casts, crops,
flips and exposures are drawn anew in every step; photos are split before anything is cut out of them.

    zoo train alexnet --dataset FOLDER --epochs 70 --patience None --precision mixed_bfloat16

with 128 photos of COCO reaches an RMSE of 9.26 (of 255) on the 26 photos of the test split, under additive shifts
within 60 (seed 0): Shades-of-Gray 24.37, no correction 34.38; the mean angular error is 2.50 degrees. That takes 28
minutes on half a core of a shared CPU, with 397,971 parameters. The pooling "statistics" is what makes it fast: after
11,000 crops the RMSE was 14.1 with it and 18.0 with "flatten" or "average_max" (validation and test photos).
"""

import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from tyro.conf import Positional

import zoo
from recipes import cards, exports, plots, timing, training
from recipes.data import images
from recipes.data import photos as data
from zoo import color
from zoo import export as exporting
from zoo.alexnet import freeze

TASK = "image regression"
BASELINES = {"gray_world": color.gray_world, "shades_of_gray": color.shades_of_gray, "white_patch": color.white_patch}
SECOND_PHASE = "second_phase.txt"  # in the backup: the epochs of the first phase
Target = Literal["cast", "angle"]
Cast = Literal["shift", "gains"]


@training.resumable
def train(
    *,
    dataset: str = "photos",
    target: Target = "cast",
    cast: Cast = "shift",
    strength: float | None = None,
    epochs: int = 40,
    crops: int = 16,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.01,
    loss: Literal["huber", "mse"] = "huber",
    augment: float = 1.0,
    backbone: str = "alexnet",
    variant: Literal["grouped", "single"] = "single",
    width: float = 0.25,
    pooling: Literal["flatten", "average_max", "statistics"] | None = None,
    units: int | None = 256,
    dropout: float = 0.0,
    side: int = 227,
    weights: str | None = None,
    freeze_until: str | None = None,
    fine_tuning_epochs: int = 0,
    fine_tuning_rate: float | None = None,
    patience: int | None = 20,
    seed: int = 0,
    deterministic: bool = True,
    precision: training.Precision = "float32",
    device: training.Device = "auto",
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
    resume: Path | None = None,
):
    """Trains a network that looks at a photo and gives numbers (AdamW, one warm-up and cosine cycle), and measures it.

    Args:
        dataset: photos (embedded), a folder of photos, a table NAME.csv, or a name of tensorflow-datasets.
        target: cast (red, green and blue) or angle (degrees by which the picture is turned counter-clockwise).
        cast: shift (added, in 0-255) or gains (multiplied).
        strength: Range of what is drawn: shifts and angles in -STRENGTH to STRENGTH, gains in 1 / (1 + STRENGTH) to
            1 + STRENGTH; by default 60, 15 degrees and 0.5.
        epochs: Passes over the data.
        crops: How often each photo is seen in an epoch, each time with another cast, part and exposure.
        batch_size: Images per step.
        learning_rate: Highest learning rate of the cycle.
        weight_decay: Decoupled weight decay of AdamW, of the kernels only.
        loss: huber (squared up to a quarter of the strength, linear above) or mse.
        augment: Strength of the random exposure, contrast, gamma, saturation and crops; 0 for none.
        backbone: alexnet, or a network of keras.applications (MobileNetV3Small, EfficientNetB0, ...).
        variant: Of AlexNet: grouped (2012) or single (one column, as in torchvision).
        width: Of AlexNet: factor of the filters and units of all layers but the last.
        pooling: flatten as in AlexNet; average_max: the average and the maximum over the image; statistics: those of
            every convolution and of the pixels themselves. By default statistics with alexnet, else flatten.
        units: Units of each of the two fully connected layers; AlexNet has 4096.
        dropout: Share of the inputs of the fully connected layers that is dropped in training.
        side: Pixels a side of the network's images.
        weights: imagenet (of the backbone), torchvision's alexnet-owt-7be5be79.pth, a published data set's name or a
            .keras file; the last two decide the network.
        freeze_until: Transfer learning: name of a layer; it and all before it keep their weights.
        fine_tuning_epochs: Transfer learning, second phase: further epochs in which all layers are trained.
        fine_tuning_rate: Its highest learning rate; by default a tenth of the first.
        patience: Epochs without a better validation RMSE after which training stops, of two phases the first; the best
            epoch is kept.
        seed: Seed of weights, order and all draws.
        deterministic: Whether the same seed gives the same weights to the bit (on the same machine).
        precision: Precision of the computation; the model is saved with weights of half precision.
        device: Where to train: auto, cpu, gpu, mirrored (all GPUs or CPU devices of this host) or tpu.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder of the run; by default a new one, runs/alexnet/TIME-DATASET.
        resume: Folder of a run that was interrupted; it goes on with its own arguments.
    """
    arguments = dict(locals())
    training.check_positive(
        strength=strength,
        epochs=epochs,
        crops=crops,
        batch_size=batch_size,
        learning_rate=learning_rate,
        fine_tuning_rate=fine_tuning_rate,
        patience=patience,
    )
    training.check_range(0, 1, dropout=dropout)
    training.check_between(0, 1, augment=augment)
    training.check_range(0, math.inf, weight_decay=weight_decay, fine_tuning_epochs=fine_tuning_epochs)
    training.check_range(0, 2**31, seed=seed)
    if fine_tuning_epochs and freeze_until is None:
        raise ValueError(f"fine_tuning_epochs={fine_tuning_epochs} goes with freeze_until: name the last frozen layer")
    if weights is not None and precision != "float32":
        raise ValueError(f"a model from weights keeps its float32: leave out precision={precision}")
    kind = "angle" if target == "angle" else cast
    strength = _strength(kind, strength)
    pooling = pooling or ("statistics" if backbone == "alexnet" else "flatten")
    environment = cards.environment()
    training.seed_everything(seed, deterministic)
    strategy = training.distribution(device)
    replicas = strategy.num_replicas_in_sync

    with strategy.scope(), training.precision(precision):
        model = zoo.alexnet_regressor(
            data.OUTPUTS[kind],
            input_shape=(side, side, 3),
            backbone=backbone,
            variant=variant,
            width=width,
            pooling=pooling,
            units=units,
            dropout=dropout,
            scale=_scale(kind, strength),
            offset=1.0 if kind == "gains" else 0.0,
            weights=weights,
            freeze_until=freeze_until,
        )
    photos = data.load(str(dataset), target=kind, data_dir=data_dir, manual_dir=manual_dir)
    x, known = photos.split("train")
    batch_size = math.ceil(min(batch_size, len(x) * crops) / replicas) * replicas
    batch_size, steps, steps_per_execution = training.execution_plan(len(x) * crops, batch_size)

    def compile_model(rate, count):
        warm_up = max(1, steps * count // 10)
        schedule = keras.optimizers.schedules.CosineDecay(
            rate / 20, max(1, steps * count - warm_up), warmup_target=rate, warmup_steps=warm_up
        )
        with strategy.scope():
            optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
            optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
            model.compile(
                optimizer,
                loss=keras.losses.Huber(_scale(kind, strength) / 4) if loss == "huber" else "mse",
                metrics=[[keras.metrics.RootMeanSquaredError(name="rmse")] for _ in model.outputs],
                # a mirrored loop of several steps fails in TensorFlow 2.21
                steps_per_execution=1 if replicas > 1 else steps_per_execution,
            )

    run = training.start("alexnet", train, arguments)
    card = {
        "name": "alexnet",
        "builder": "alexnet",
        "task": TASK,
        "dataset": {
            "name": photos.name,
            "version": photos.version,
            "licence": photos.licence,
            "splits": {name: len(part) for name, part in photos.splits.items()},
            "skipped_files": len(photos.skipped),
            "test_photos": photos.sources["test"],
        },
        "target": {"kind": kind, "strength": strength, "outputs": list(data.OUTPUTS[kind])},
        "parameters": model.count_params(),
        "licence": {"weights": "Apache-2.0", "data": photos.licence},
        **environment,
    }
    print(f"{photos.name}: {len(x):,} photos for training, {model.count_params():,} parameters, {epochs} epochs")

    pixels, _, values = _examples(photos, "validation", kind, strength, seed=seed + 1, casts=8, side=side)
    validation = data.evaluation_batches(pixels, values)

    def fit(first, count, patience):
        def batches(first_epoch):
            return data.training_batches(
                x,
                known,
                target=kind,
                strength=strength,
                batch_size=batch_size,
                steps=steps,
                epochs=first + count,
                crops=crops,
                augment=augment,
                side=side,
                first_epoch=first_epoch,
                seed=seed,
            )

        training.fit(
            model,
            batches,
            run=run,
            epochs=first + count,
            steps=steps,
            validation=validation,
            monitor="val_rmse",
            patience=patience,
            callbacks=[_OverallRMSE(model.output_names)],
        )

    try:
        if not (run.backup / SECOND_PHASE).is_file():
            compile_model(learning_rate, epochs)
            fit(0, epochs, patience)
        if fine_tuning_epochs:
            freeze(model, None)
            compile_model(fine_tuning_rate or learning_rate / 10, fine_tuning_epochs)
            fit(_begin_second_phase(model, run), fine_tuning_epochs, None)
    except KeyboardInterrupt:
        training.keep_interrupted(run, exporting.float32_copy(model), card)
        raise
    training.save_compact(exporting.float32_copy(model), run.folder / "model.keras")
    cards.write(run.folder, card)
    estimator = Estimator(run.folder)
    figures = measure(estimator, photos, "test", strength=strength, seed=seed, casts=8, folder=run.folder)
    plots.history(
        run.history,
        {name: {name: "training", f"val_{name}": "validation"} for name in ("loss", "rmse")},
        run.folder / "curves.png",
    )
    one = pixels[:1]
    card |= figures | {
        "files": [
            cards.file_entry(
                run.folder / "model.keras",
                metrics=figures["metrics"],
                measured_on=_measured_on(photos, "test", kind, strength, 8, seed),
                latency_ms=round(timing.latency(lambda: estimator(one)), 4),
            )
        ],
        "training": cards.training_entry(
            run,
            batch_size=batch_size,
            validation={"rmse": min(row["val_rmse"] for row in run.history)},
        ),
    }
    cards.write(run.folder, card)
    training.finish(run)
    print(cards.table(_rows(figures)))
    print(f"\n{_measured_on(photos, 'test', kind, strength, 8, seed)}; model, card and pictures are in {run.folder}")
    return {
        "output": run.folder,
        "model": run.folder / "model.keras",
        "epochs": len(run.history),
        **_flat(figures),
        "parameters": card["parameters"],
        "seconds": card["training"]["seconds"],
    }


def evaluate(
    *,
    model: str = "alexnet",
    dataset: str = "photos",
    split: Literal["train", "validation", "test", "all"] | None = None,
    strength: float | None = None,
    casts: int = 8,
    seed: int = 0,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Measures a model beside the classical methods: RMSE, angular error, colour difference, and pictures of them.

    Args:
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        dataset: photos (embedded), a folder of photos, a table NAME.csv, or a name of tensorflow-datasets.
        split: Part of the data set to measure on; by default test, and all of a folder or table that has no test split
            and that the model was not trained on.
        strength: Range of the casts or angles that are drawn, see training; by default that of the model.
        casts: Different casts or angles for each photo; those of a table are its own.
        seed: Seed of the casts.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the pictures and evaluation.json; by default a new one under runs/alexnet.
    """
    training.check_positive(strength=strength, casts=casts)
    training.check_range(0, 2**31, seed=seed)
    estimator = Estimator(model)
    strength = _strength(estimator.kind, strength or estimator.strength)
    photos, split = estimator.datasets(dataset, split, data_dir, manual_dir)
    folder = training.output_folder("alexnet", f"evaluate-{photos.name}", output)
    found = measure(estimator, photos, split, strength=strength, seed=seed, casts=casts, folder=folder)
    figures = {
        "model": estimator.path,
        "dataset": photos.name,
        "split": split,
        "photos": len(photos.split(split)[0]),
        "skipped_files": len(photos.skipped),
        "target": {"kind": estimator.kind, "strength": strength, "seed": seed, "casts": casts},
        **_flat(found),
    }
    training.write_text(folder / "evaluation.json", json.dumps(figures, indent=1, default=str))
    print(cards.table(_rows(found)))
    print(f"\n{_measured_on(photos, split, estimator.kind, strength, casts, seed)}; pictures are in {folder}")
    return {**figures, "output": folder}


def predict(
    paths: Positional[tuple[Path, ...]],
    *,
    model: str = "alexnet",
    output: Path | None = None,
):
    """Takes the cast off photos, or straightens them, at their full size; the numbers also as CSV and JSON.

    Args:
        paths: Photos and folders of photos.
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        output: Folder for the results; by default a new one under runs/alexnet.
    """
    if not paths:
        raise ValueError("no photo given: name image files or folders of images")
    estimator = Estimator(model)
    found, skipped = _read_all(paths)
    folder = training.output_folder("alexnet", "predict", output)
    rows, shown = [], []
    for path, photo in found:
        pixels = np.asarray(photo)
        small = images._fit(
            photo, (estimator.side, estimator.side, 3), "crop" if estimator.kind == "angle" else "stretch"
        )
        (values,) = estimator(small[None])
        result = Image.fromarray(estimator.correct(pixels, values))
        target = _new_name(folder, path, rows)
        options = {"quality": 95, "subsampling": 0} if target.suffix == ".jpg" else {}
        with exporting.atomic(target) as partial:
            profile = photo.info.get("icc_profile")
            result.save(partial, format="JPEG" if options else "PNG", icc_profile=profile, **options)
        row = {"file": str(path), **dict(zip(estimator.outputs, map(float, values), strict=True))}
        rows.append(row | {"corrected": str(target), "width": result.width, "height": result.height})
        if len(shown) < 64:
            shown += [_thumbnail(photo), _thumbnail(result)]
    _write_rows(rows, folder)
    captions = [text for row in rows for text in (Path(row["file"]).name[-18:], _caption(row, estimator))]
    plots.sheet(shown, captions[: len(shown)], folder / "predictions.png")
    print(cards.table(rows))
    print(f"\ntable, sheet and photos are in {folder}")
    return {"predictions": rows, "skipped": skipped, "output": folder}


def export(
    *,
    model: str = "alexnet",
    format: tuple[Literal["saved_model", "tflite", "onnx"], ...] = ("tflite",),
    quantize: tuple[Literal["none", "float16", "dynamic", "int8"], ...] = ("none",),
    dataset: str = "photos",
    split: Literal["train", "validation", "test", "all"] | None = None,
    casts: int = 4,
    seed: int = 0,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Exports a Keras model (uint8 photo in; the cast and the corrected photo out) and measures every file it wrote.

    Args:
        model: A published model, a run folder or a .keras file.
        format: One or more formats.
        quantize: One or more precisions of the TFLite files.
        dataset: Data to measure on; its training split shows int8 the range of the activations.
        split: Part of the data set to measure on, see evaluate.
        casts: Different casts or angles for each photo.
        seed: Seed of the casts.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the files and their card; by default a new one under runs/alexnet.
    """
    training.check_positive(casts=casts)
    files = exports.plan(format, quantize)
    estimator = Estimator(model).keras_only()
    kind, strength = estimator.kind, estimator.strength
    photos, split = estimator.datasets(dataset, split, data_dir, manual_dir)
    pixels, clean, values = _examples(photos, split, kind, strength, seed=seed, casts=casts, side=estimator.side)
    reference = estimator(pixels)
    folder = training.output_folder("alexnet", "export", output)
    unit = {"shift": "added to the channels, 0-255", "gains": "factors of the channels", "angle": "degrees"}[kind]
    metadata = {
        "name": "alexnet",
        "task": TASK,
        "input": "uint8 pixels, 0 to 255",
        "output": f"{', '.join(estimator.outputs)}: {unit}",
        "target": {"kind": kind, "strength": strength, "outputs": list(estimator.outputs)},
        "dataset": estimator.card.get("dataset", {}).get("name"),
        "licence": estimator.card.get("licence"),
    }
    typical = representative(photos, split, kind, strength, estimator.side)

    def write(path, format, quantization):
        exporting.export(
            estimator.model,
            path,
            format=format,
            quantize=quantization,
            endpoints=exporting.cast_endpoint(estimator.model, kind),
            metadata=metadata | {"quantize": quantization},
            representative_data=typical if quantization == "int8" else None,
        )

    def measured(path):
        exported = Estimator(path)
        found = exported(pixels)
        return {
            "metrics": _figures(values, found, kind, pixels, clean),
            "measured_on": _measured_on(photos, split, kind, strength, casts, seed),
            "max_abs_difference": float(np.abs(found - reference).max()),
            "latency_ms": round(timing.latency(lambda: exported(pixels[:1])), 4),
        }

    card = estimator.card or {"name": "alexnet", "task": TASK, "target": metadata["target"]}
    entries = exports.write(folder, files, card=card, export=write, measure=measured)
    figures = _figures(values, reference, kind, pixels, clean)
    about = _measured_on(photos, split, kind, strength, casts, seed)
    print(f"\nKeras: RMSE {figures['rmse']:.4g}, {about}; files are in {folder}")
    return {"output": folder, "dataset": photos.name, "split": split, "metrics": figures, "files": entries}


class Estimator:
    """Any form of a trained network: uint8 images (count, side, side, 3) to numbers (count, outputs).

    Attributes:
        path: The file or folder.
        model: The Keras model or the `zoo.export.Exported`.
        card: The card beside it, or an empty dictionary.
        kind: "shift", "gains" or "angle".
        strength: Range of the numbers that it was trained for.
        outputs: Names of the numbers.
        side: Pixels a side of its images.
    """

    def __init__(self, model):
        self.path = cards.find(str(model))
        self.card = cards.beside(self.path)
        if self.path.suffix in (".keras", ".h5"):
            self.model = zoo.load(self.path)
            self.outputs, shape = tuple(getattr(self.model, "output_names", ())), self.model.input_shape
            about = self.card.get("target", {})
            if self.outputs in data.OUTPUTS.values() and isinstance(shape, tuple):
                signature = [tf.TensorSpec((None, *shape[1:]), tf.float32)]  # any count without tracing again
                self._run = tf.function(lambda image: tf.concat(self._list(image), axis=1), signature)
        else:
            self.model = exporting.load(self.path)
            about = self.model.metadata.get("target", {})
            self.outputs, shape = tuple(about.get("outputs", ())), self.model.inputs.get("image", ((), ""))[0]
        if self.outputs not in data.OUTPUTS.values() or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
            raise ValueError(
                f"{self.path} is no network of colour casts or angles: it gives {self.outputs or 'others'}"
            )
        self.kind = about.get("kind") or ("angle" if self.outputs == ("angle",) else "shift")
        self.strength = _strength(self.kind, about.get("strength"))
        self.side = shape[1]

    def _list(self, image):
        found = self.model(image, training=False)
        return found if isinstance(found, list | tuple) else [found]

    def keras_only(self):
        """This network, if it is a Keras model."""
        if not isinstance(self.model, keras.Model):
            raise ValueError(f"{self.path} is exported already: give a .keras file or a published model")
        return self

    def datasets(self, dataset, split, data_dir, manual_dir):
        """(a data set for this network, the split to measure on)."""
        path = Path(dataset)
        if split is None:
            heard = self.card.get("dataset", {})  # a folder has no version
            known = heard.get("name") in (path.resolve().name, path.stem) and not heard.get("version")
            own = path.suffix.lower() == ".csv" or (path.is_dir() and not images.files(path / "test"))
            split = "all" if own and not known else "test"
        options = {"target": self.kind, "data_dir": data_dir, "manual_dir": manual_dir}
        return data.load(str(dataset), **options, complete=split != "all"), split

    def __call__(self, pixels):
        if isinstance(self.model, keras.Model):
            parts = range(0, len(pixels), 64)
            return np.concatenate([self._run(pixels[start : start + 64] / np.float32(255)) for start in parts])
        name = "angle" if self.kind == "angle" else "cast"
        return np.concatenate([self.model(image=image[None])[name] for image in pixels])

    def correct(self, photo, values):
        """A uint8 photo of any size without its cast, or straightened and cut to what has no black corner."""
        if self.kind == "angle":
            return data.inside(data.turn(photo, -values[0]), values[0])
        return color.correct_color(photo, values, self.kind)


def measure(estimator, photos, split, *, strength, seed, casts, folder):
    """Figures of a network and of the classical methods on one split, the pictures written into `folder`."""
    kind = estimator.kind
    pixels, clean, values = _examples(photos, split, kind, strength, seed=seed, casts=casts, side=estimator.side)
    found = estimator(pixels)
    guesses = {"zero": np.full_like(values, 1.0 if kind == "gains" else 0.0)}
    if kind != "angle":
        guesses |= {name: method(pixels, kind) for name, method in BASELINES.items()}
    unit = {"shift": " (0-255)", "gains": "", "angle": " (degrees)"}[kind]
    plots.regression(values, found, [f"{name}{unit}" for name in estimator.outputs], folder / "predictions.png")
    few = np.linspace(0, len(pixels) - 1, min(12, len(pixels))).astype(int)
    shown, captions = [], []
    for index in few:
        error = _rmse(found[index] - values[index])
        shown += [pixels[index], estimator.correct(pixels[index], found[index]), clean[index]]
        captions += [_numbers(values[index], kind), f"{_numbers(found[index], kind)}\noff by {error:.3g}", "original"]
    title = "turned, straightened, original" if kind == "angle" else "cast, corrected, original, with true and found"
    plots.sheet(shown, captions, folder / "examples.png", title=title, columns=6)
    return {
        "metrics": _figures(values, found, kind, pixels, clean),
        "baselines": {name: _figures(values, guess, kind, pixels, clean) for name, guess in guesses.items()},
    }


def _examples(photos, split, kind, strength, *, seed, casts, side):
    """(pixels, the same without their cast, values) of a split; a table's photos have their own values."""
    x, known = photos.split(split)
    if known is None:
        return data.pairs(x, kind, strength, seed=seed, each=casts, side=side)
    pixels = data.resize(x, side)
    if kind == "angle":
        clean = np.stack([data.turn(photo, -angle) for photo, (angle,) in zip(pixels, known, strict=True)])
    else:
        clean = color.correct_color(pixels, known, kind)
    return pixels, clean, known


def _figures(values, found, kind, pixels, clean, at_most=400):
    """RMSE over all and by output; for casts also the angular error in degrees and the colour difference (Delta E 2000)
    that is left after the correction, as means over the images (of a part of their pixels, and `at_most` images)."""
    error = np.float64(found) - values
    names = data.OUTPUTS[kind]
    figures = {"rmse": _rmse(error)}
    if len(names) > 1:
        figures |= {f"rmse_{name}": _rmse(error[:, index]) for index, name in enumerate(names)}
    if kind == "angle":
        return figures | {"mean_absolute_error": float(np.abs(error).mean())}
    angles = np.sort(color.angular_error(values, found, kind))
    figures["mean_angular_error"] = float(angles.mean())
    figures["median_angular_error"] = float(np.median(angles))
    figures["worst_quarter_angular_error"] = float(angles[-math.ceil(len(angles) / 4) :].mean())
    chosen = np.linspace(0, len(pixels) - 1, min(at_most, len(pixels))).astype(int)
    few = slice(None, None, 5)
    corrected = color.correct_color(pixels[chosen][:, few, few], found[chosen], kind)
    difference = deltaE_ciede2000(rgb2lab(clean[chosen][:, few, few]), rgb2lab(corrected))
    return figures | {"delta_e_2000": float(difference.mean())}


def _rmse(error):
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))


def _flat(figures):
    """The metrics once more at the top, where a program looks for them."""
    return {**figures["metrics"], **figures}


def _rows(figures):
    """The table of a measurement, the network last."""
    parts = {**figures["baselines"], "network": figures["metrics"]}
    return [{"method": name} | part for name, part in parts.items()]


def _measured_on(photos, split, kind, strength, casts, seed):
    count = len(photos.split(split)[0])
    if photos.targets is not None:
        return f"{photos.name}, {split}: {count:,} photos with the values of the table"
    what = {"shift": f"shifts within {strength:g}", "gains": f"gains within {1 + strength:g}", "angle": "turns"}[kind]
    what = f"{what} within {strength:g} degrees" if kind == "angle" else what
    return f"{photos.name}, {split}: {count:,} photos, {casts} {what} each, seed {seed}"


def _strength(kind, strength):
    """What is given, or the usual one of that kind.

    Raises:
        ValueError: If it makes no sense.
    """
    strength = data.STRENGTH[kind] if strength is None else strength
    highest = {"shift": 128, "gains": 3, "angle": 45}[kind]
    if not 0 < strength <= highest:
        raise ValueError(f"strength of {kind} must be in (0, {highest}], got {strength:g}")
    return strength


def _scale(kind, strength):
    """The unit of the last layer: about the spread of the values."""
    return strength if kind != "gains" else strength * 0.8


def representative(photos, split, kind, strength, side, count=200):
    """Images with casts that show int8 the range of the activations."""
    known = "train" if "train" in photos.splits else split
    each = 2 if len(photos.split(known)[0]) * 2 < count else 1
    pixels = _examples(photos, known, kind, strength, seed=2**31, casts=each, side=side)[0]
    return pixels[np.random.default_rng(0).permutation(len(pixels))[:count]]


def _numbers(values, kind):
    return " ".join(
        f"{value:.2f}" if kind == "gains" else f"{value:.1f}" if kind == "angle" else f"{value:+.0f}"
        for value in values
    )


def _caption(row, estimator):
    return _numbers([row[name] for name in estimator.outputs], estimator.kind)


def _read_all(paths):
    """Readable photos as (path, PIL image), and the files of folders that are not."""
    found, skipped = [], []
    for path in paths:
        listed = images.files(path) if path.is_dir() else [path]
        if not listed:
            raise ValueError(f"{path} has no images (PNG, JPEG, BMP, GIF, WebP, TIFF)")
        for file in listed:
            try:
                found.append((file, images.open_image(file).convert("RGB")))
            except ValueError as error:
                if not path.is_dir():
                    raise
                skipped.append(str(file))
                print(f"skipped: {error}", file=sys.stderr)
    if not found:
        raise ValueError(f"none of the {len(skipped)} files is an image that can be read")
    return found, skipped


def _thumbnail(photo, side=256):
    photo = photo.copy()
    photo.thumbnail((side, side))
    return np.asarray(photo)


def _new_name(folder, path, rows):
    """A name for the corrected photo that no former row has."""
    taken = {row["corrected"] for row in rows}
    suffix = ".jpg" if path.suffix.lower() in (".jpg", ".jpeg") else ".png"
    names = (folder / f"{path.stem}-corrected{end}{suffix}" for end in ("", *(f"-{n}" for n in range(2, 10**6))))
    return next(name for name in names if str(name) not in taken)


def _write_rows(rows, folder):
    training.write_text(folder / "predictions.json", json.dumps(rows, indent=1))
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    training.write_text(folder / "predictions.csv", text.getvalue())


class _OverallRMSE(keras.callbacks.Callback):
    """Adds the RMSE over all outputs to those of each, as "rmse" and "val_rmse"."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def on_epoch_end(self, epoch, logs=None):
        for start in ("", "val_"):
            parts = [logs[f"{start}{name}_rmse"] for name in self.outputs if f"{start}{name}_rmse" in logs]
            if parts:  # Keras gives the figure of a single output no name in front
                logs[f"{start}rmse"] = _rmse(parts)


def _begin_second_phase(model, run):
    """Lets the second phase of transfer learning begin with the best weights of the first and an optimizer of its own;
    returns the epochs of the first. To do it once more, after a kill, gives the same."""
    mark = run.backup / SECOND_PHASE
    if not mark.is_file():
        training.write_text(mark, str(run.first_epoch))
    first = int(mark.read_text(encoding="utf-8"))
    if run.first_epoch == first:
        model.set_weights(keras.saving.load_model(run.backup / "best.keras", compile=False).get_weights())
        model.optimizer.build(model.trainable_variables)
        for name in ("best.keras", f"epoch-{first:04}.keras"):
            training.save_model(model, run.backup / name)
    return first
