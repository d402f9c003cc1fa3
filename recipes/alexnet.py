"""Image regression: the colour cast of a photo and the photo without it, or the angle by which a picture is turned.

Data: crops of the photographs that come with scikit-learn and scikit-image, which need no network; a folder of photos;
any set of tensorflow-datasets with images; or a table (CSV) with the columns image, red, green and blue. Casts, crops,
flips and exposures are drawn anew in every step; photos are split before anything is cut out of them.

    zoo train alexnet --dataset FOLDER --epochs 30 --crops 2 --patience None

with 4,340 photos of everyday things reaches an RMSE of 7.60 (of 255) on 26 photos of COCO that it has not seen, under
additive shifts within 60 (seed 0), where the same network had 9.26 after 89 photos: Shades-of-Gray 24.37, no correction
34.38; the mean angular error is 2.02 degrees. That takes 82 minutes on one thread of a busy CPU, with 397,971
parameters. The pooling "statistics" is what makes it fast: after 11,000 crops the RMSE was 14.1 with it and 18.0 with
"flatten" or "average_max" (validation and test photos).
"""

import math
from pathlib import Path
from typing import Literal, NamedTuple

import keras
import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab
from tyro.conf import OmitArgPrefixes

import zoo
from recipes import cards, checkpoints, exports, models, plots, results, runs, timing, training
from recipes.data import photos as photo_data
from recipes.data.splits import Split, has_test
from recipes.forward import compiled
from recipes.pictures import alexnet as pictures
from zoo import color
from zoo import export as exporting
from zoo.backbones import unfreeze
from zoo.photos import straightened, turn

TASK = "image regression"
BASELINES = {"gray_world": color.gray_world, "shades_of_gray": color.shades_of_gray, "white_patch": color.white_patch}
SECOND_PHASE = "second_phase.txt"  # in the backup: the epochs of the first phase
Target = Literal["cast", "angle"]
Cast = Literal["shift", "gains"]


@runs.resumable
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
    setup: OmitArgPrefixes[training.Setup] = training.Setup(),
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
        backbone: alexnet, efficientnet_lite0, or a network of keras.applications (MobileNetV3Small, ...).
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
        setup: Seed, machine and folders; the model is saved with weights of half precision.
    """
    arguments = dict(locals())
    _check(arguments)
    kind = "angle" if target == "angle" else cast
    strength = _strength(kind, strength)
    strategy = training.prepare(setup, weights)

    # network: before the data, so that weights that do not fit are told of at once
    with strategy.scope(), training.precision(setup.precision):
        model = _network(arguments, kind, strength)

    # data
    photos = photo_data.load(str(dataset), target=kind, data_dir=setup.data_dir, manual_dir=setup.manual_dir)
    x, y = photos.split("train")
    batch_size, steps, per_execution = training.plan(len(x) * crops, batch_size, strategy)
    drawn = {"target": kind, "strength": strength, "crops": crops, "augment": augment, "side": side, "seed": setup.seed}
    held_out = examples(photos, "validation", kind, strength, side=side, seed=setup.seed + 1)

    # optimiser
    def compile_model(rate, epochs):
        with strategy.scope():
            model.compile(
                training.adamw(rate, weight_decay, steps=steps * epochs, warm_up=steps * epochs // 10),
                # squared up to a quarter of the range: most errors late in training, few of a first guess
                loss=keras.losses.Huber(_scale(kind, strength) / 4) if loss == "huber" else "mse",
                metrics=[[keras.metrics.RootMeanSquaredError(name="rmse")] for _ in model.outputs],
                steps_per_execution=per_execution,
            )

    # machine: a run folder, and two phases that can be killed and resumed
    run = runs.start("alexnet", train, arguments)
    card = _card(photos, model, kind, strength) | runs.environment()
    print(f"{photos.name}: {len(x):,} photos for training, {model.count_params():,} parameters, {epochs} epochs")

    def fit(epochs, patience):
        def batches(first_epoch):
            sizes = {"batch_size": batch_size, "steps": steps, "epochs": epochs, "first_epoch": first_epoch}
            return photo_data.training_batches(x, y, **sizes, **drawn)

        validation = photo_data.evaluation_batches(held_out.pixels, held_out.values)
        options = {"epochs": epochs, "steps": steps, "validation": validation, "patience": patience}
        options |= {"monitor": "val_rmse", "callbacks": [_OverallRMSE(model.output_names)]}
        return training.fit(model, batches, run=run, card=card, **options)

    if not (run.backup / SECOND_PHASE).is_file():
        compile_model(learning_rate, epochs)
        trained = fit(epochs, patience)
    if fine_tuning_epochs:
        unfreeze(model)
        compile_model(fine_tuning_rate or learning_rate / 10, fine_tuning_epochs)
        trained = fit(_begin_second_phase(model, run) + fine_tuning_epochs, None)
    checkpoints.save_compact(trained, run.folder / "model.keras")
    return _measured(run, card, photos, batch_size)


def _check(arguments):
    """Refuses arguments of `train` that make no sense."""
    training.check_positive(
        **training.named(arguments, "strength", "epochs", "crops", "batch_size", "learning_rate", "patience")
    )
    training.check_positive(**training.named(arguments, "fine_tuning_rate"))
    training.check_range("[0, 1)", **training.named(arguments, "dropout"))
    training.check_range("[0, 1]", **training.named(arguments, "augment"))
    training.check_range("[0, inf)", **training.named(arguments, "weight_decay", "fine_tuning_epochs"))
    epochs = arguments["fine_tuning_epochs"]
    if epochs and arguments["freeze_until"] is None:
        raise ValueError(f"fine_tuning_epochs={epochs} goes with freeze_until: name the last frozen layer")


def _network(arguments, kind, strength):
    """The network that the arguments of `train` describe."""
    names = ("backbone", "variant", "width", "units", "dropout", "weights", "freeze_until")
    return zoo.alexnet_regressor(
        photo_data.OUTPUTS[kind],
        input_shape=(arguments["side"], arguments["side"], 3),
        pooling=arguments["pooling"] or ("statistics" if arguments["backbone"] == "alexnet" else "flatten"),
        scale=_scale(kind, strength),
        offset=1.0 if kind == "gains" else 0.0,
        **{name: arguments[name] for name in names},
    )


def _card(photos, model, kind, strength):
    """What the card says before anything is measured."""
    return {
        "name": "alexnet",
        "builder": "alexnet",
        "task": TASK,
        "dataset": {
            "name": photos.name,
            "version": photos.version,
            "licence": photos.licence,
            "splits": {name: len(part) for name, part in photos.splits.items()},
            "skipped_files": len(photos.skipped),
            **({"left_out_files": photos.left_out} if photos.left_out else {}),
            "test_photos": photos.sources["test"],
        },
        "target": {"kind": kind, "strength": strength, "outputs": list(photo_data.OUTPUTS[kind])},
        "parameters": model.count_params(),
        "licence": cards.licence(photos.licence),
    }


def _measured(run, card, photos, batch_size):
    """Measures what a run wrote, and gives what `train` gives back."""
    estimator = Estimator(run.folder, card=card)
    tests = examples(
        photos, "test", estimator.kind, estimator.strength, side=estimator.side, seed=run.arguments["seed"]
    )
    figures = measure(estimator, tests, run.folder)
    plots.history(
        run.history,
        {name: {name: "training", f"val_{name}": "validation"} for name in ("loss", "rmse")},
        run.folder / "curves.png",
    )
    answer = results.trained(
        run,
        card,
        figures,
        measured_on=tests.about,
        latency_ms=timing.latency(lambda: estimator(tests.pixels[:1])),
        message=tests.about,
        shown=_rows(figures),
        batch_size=batch_size,
        validation={"rmse": min(row["val_rmse"] for row in run.history)},
    )
    return answer | figures["metrics"]


def evaluate(
    *,
    model: str = "alexnet",
    dataset: str = "photos",
    split: Split | None = None,
    strength: float | None = None,
    casts: int = 8,
    seed: int = 0,
    test_time_augmentation: Literal["none", "flip"] = "none",
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
        test_time_augmentation: flip also asks the model about the mirror image, and takes the mean (of angles, which
            are the other way round there, half of the difference).
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the pictures and evaluation.json; by default a new one under runs/alexnet.
    """
    training.check_positive(strength=strength, casts=casts)
    training.check_range(f"[0, {2**31})", seed=seed)
    estimator = Estimator(model, flip=test_time_augmentation == "flip")
    strength = _strength(estimator.kind, strength or estimator.strength)
    photos, split = estimator.datasets(dataset, split, data_dir, manual_dir)
    folder = runs.output_folder("alexnet", f"evaluate-{photos.name}", output)
    tests = examples(photos, split, estimator.kind, strength, side=estimator.side, seed=seed, casts=casts)
    found = measure(estimator, tests, folder)
    figures = {
        "model": estimator.path,
        "dataset": photos.name,
        "split": split,
        "photos": len(photos.split(split)[0]),
        "skipped_files": len(photos.skipped),
        "test_time_augmentation": test_time_augmentation,
        "target": {"kind": estimator.kind, "strength": strength, "seed": seed, "casts": casts},
        **found["metrics"],
        **found,
    }
    return results.evaluated(folder, figures, _rows(found), tests.about)


def export(
    *,
    model: str = "alexnet",
    format: tuple[Literal["saved_model", "tflite", "onnx"], ...] = ("tflite",),
    quantize: tuple[Literal["none", "float16", "dynamic", "int8"], ...] = ("none",),
    batch: int = 1,
    dataset: str = "photos",
    split: Split | None = None,
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
        batch: Examples that a file takes at a time.
        dataset: Data to measure on; its training split shows int8 the range of the activations.
        split: Part of the data set to measure on, see evaluate.
        casts: Different casts or angles for each photo.
        seed: Seed of the casts.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the files and their card; by default a new one under runs/alexnet.
    """
    training.check_positive(casts=casts)
    files = exports.plan(format, quantize, batch)
    estimator = Estimator(model).keras_only()
    kind, strength = estimator.kind, estimator.strength
    photos, split = estimator.datasets(dataset, split, data_dir, manual_dir)
    tests = examples(photos, split, kind, strength, side=estimator.side, seed=seed, casts=casts)
    reference = estimator(tests.pixels)
    folder = runs.output_folder("alexnet", "export", output)
    target = {"kind": kind, "strength": strength, "outputs": list(estimator.outputs)}

    def measured(path):
        exported = Estimator(path)
        found = exported(tests.pixels)
        return {
            "metrics": _figures(tests, found, kind),
            "measured_on": tests.about,
            "max_abs_difference": float(np.abs(found - reference).max()),
            "latency_ms": round(timing.latency(lambda: exported(tests.pixels[:1])), 4),
        }

    entries = exports.write_all(
        folder,
        files,
        estimator,
        batch=batch,
        endpoints=exporting.cast_endpoint(estimator.model, kind),
        metadata=exporting.cast_metadata(target),
        representative_data=representative(photos, split, kind, strength, estimator.side),
        measured=measured,
        card={"name": "alexnet", "task": TASK, "target": target},
    )
    figures = _figures(tests, reference, kind)
    print(f"\nKeras: RMSE {figures['rmse']:.4g}, {tests.about}; files are in {folder}")
    return {"output": folder, "dataset": photos.name, "split": split, "metrics": figures, "files": entries}


class Estimator(models.TrainedModel):
    """Any form of a trained network: uint8 images (count, side, side, 3) to numbers (count, outputs).

    Attributes:
        kind: "shift", "gains" or "angle".
        strength: Range of the numbers that it was trained for.
        outputs: Names of the numbers.
        side: Pixels a side of its images.
    """

    name, task = "alexnet", TASK

    def __init__(self, model, *, card=None, flip=False):
        super().__init__(model, card=card)
        self.flip = flip
        self.about = (self.model.metadata if self.exported else self.card).get("target", {})
        if self.exported:
            self.outputs, shape = tuple(self.about.get("outputs", ())), self.model.inputs.get("image", ((), ""))[0]
        else:
            self.outputs, shape = tuple(getattr(self.model, "output_names", ())), self.model.input_shape
            if self.outputs in photo_data.OUTPUTS.values() and isinstance(shape, tuple):
                self._run = compiled(self.model, shape[1:])
        if self.outputs not in photo_data.OUTPUTS.values() or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
            raise ValueError(
                f"{self.path} is no network of colour casts or angles: it gives {self.outputs or 'others'}"
            )
        self.kind = self.about.get("kind") or ("angle" if self.outputs == ("angle",) else "shift")
        self.strength = _strength(self.kind, self.about.get("strength"))
        self.side = shape[1]

    def datasets(self, dataset, split, data_dir, manual_dir):
        """(a data set for this network, the split to measure on)."""
        path = Path(dataset)
        if split is None:
            trained = self.card.get("dataset", {})  # a folder has no version
            seen = trained.get("name") in (path.resolve().name, path.stem) and not trained.get("version")
            own = path.suffix.lower() == ".csv" or (path.is_dir() and not has_test(path))
            split = "all" if own and not seen else "test"
        options = {"target": self.kind, "data_dir": data_dir, "manual_dir": manual_dir}
        return photo_data.load(str(dataset), **options, complete=split != "all"), split

    def __call__(self, pixels):
        found = self._ask(pixels)
        if not self.flip:
            return found
        mirrored = self._ask(np.ascontiguousarray(pixels[:, :, ::-1]))
        return (found - mirrored if self.kind == "angle" else found + mirrored) / 2

    def _ask(self, pixels):
        if isinstance(self.model, keras.Model):
            parts = [self._run(pixels[start : start + 64] / np.float32(255)) for start in range(0, len(pixels), 64)]
            return np.concatenate([np.concatenate(keras.tree.flatten(part), axis=1) for part in parts])
        name = "angle" if self.kind == "angle" else "cast"
        return self.model(image=pixels)[name]

    def correct(self, photo, values):
        """A uint8 photo of any size without its cast, or straightened and cut to what has no black corner."""
        if self.kind == "angle":
            return straightened(photo, values[0])
        return color.correct_color(photo, values, self.kind)


class Examples(NamedTuple):
    """What a network is measured on.

    Attributes:
        pixels: uint8 (count, side, side, 3) with casts or turned.
        clean: The same without.
        values: float32 (count, outputs), what is to be found.
        about: All of that in words.
        each: Examples of the same photo, which follow each other.
    """

    pixels: np.ndarray
    clean: np.ndarray
    values: np.ndarray
    about: str
    each: int = 1


def examples(photos, split, kind, strength, *, side, seed=0, casts=8):
    """Examples of a split, `casts` of each photo drawn with `seed`; a table's photos have their own values."""
    x, targets = photos.split(split)
    count = f"{photos.name}, {split}: {len(x):,} photos"
    if targets is None:
        what = {"shift": "shifts within {}", "gains": "gains within {}", "angle": "turns within {} degrees"}[kind]
        what = what.format(f"{1 + strength if kind == 'gains' else strength:g}")
        drawn = photo_data.pairs(x, kind, strength, seed=seed, each=casts, side=side)
        return Examples(*drawn, f"{count}, {casts} {what} each, seed {seed}", casts)
    pixels = photo_data.resize(x, side)
    if kind == "angle":
        clean = np.stack([turn(photo, -angle) for photo, (angle,) in zip(pixels, targets, strict=True)])
    else:
        clean = color.correct_color(pixels, targets, kind)
    return Examples(pixels, clean, targets, f"{count} with the values of the table")


def measure(estimator, tests, folder):
    """Figures of a network and of the classical methods on `Examples`, the pictures written into `folder`."""
    kind = estimator.kind
    pixels, clean, values, *_ = tests
    found = estimator(pixels)
    guesses = {"zero": np.full_like(values, 1.0 if kind == "gains" else 0.0)}
    if kind != "angle":
        guesses |= {name: method(pixels, kind) for name, method in BASELINES.items()}
    unit = {"shift": " (0-255)", "gains": "", "angle": " (degrees)"}[kind]
    pictures.regression(values, found, [f"{name}{unit}" for name in estimator.outputs], folder / "predictions.png")
    shown, captions = [], []
    for index in np.linspace(0, len(pixels) - 1, min(12, len(pixels))).astype(int):
        error = _rmse(found[index] - values[index])
        shown += [pixels[index], estimator.correct(pixels[index], found[index]), clean[index]]
        captions += [
            results.numbers(values[index], kind),
            f"{results.numbers(found[index], kind)}\noff by {error:.3g}",
            "original",
        ]
    title = "turned, straightened, original" if kind == "angle" else "cast, corrected, original, with true and found"
    plots.sheet(shown, captions, folder / "examples.png", title=title, columns=6)
    # photos are what is independent, not the casts of one
    squares = np.square(np.float64(found) - values).reshape(-1, tests.each * values.shape[1]).mean(axis=1)
    return {
        "metrics": _figures(tests, found, kind),
        "intervals": {"rmse": results.interval(squares, lambda total: math.sqrt(total / len(squares)))},
        "baselines": {name: _figures(tests, guess, kind) for name, guess in guesses.items()},
    }


def _figures(tests, found, kind, at_most=400):
    """RMSE over all and by output; for casts also the angular error in degrees and the colour difference (Delta E 2000)
    that is left after the correction, as means over the images (of a part of their pixels, and `at_most` images)."""
    pixels, clean, values, *_ = tests
    error = np.float64(found) - values
    names = photo_data.OUTPUTS[kind]
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


def _rows(figures):
    """The table of a measurement, the network last."""
    parts = {**figures["baselines"], "network": figures["metrics"]}
    return [{"method": name} | part for name, part in parts.items()]


def _strength(kind, strength):
    """What is given, or the usual one of that kind.

    Raises:
        ValueError: If it makes no sense.
    """
    strength = photo_data.STRENGTH[kind] if strength is None else strength
    highest = {"shift": 128, "gains": 3, "angle": 45}[kind]
    if not 0 < strength <= highest:
        raise ValueError(f"strength of {kind} must be in (0, {highest}], got {strength:g}")
    return strength


def _scale(kind, strength):
    """The unit of the last layer: about the spread of the values."""
    return strength if kind != "gains" else strength * 0.8


def representative(photos, split, kind, strength, side, count=200):
    """Images with casts that show int8 the range of the activations."""
    training_split = "train" if "train" in photos.splits else split
    each = 2 if len(photos.split(training_split)[0]) * 2 < count else 1
    drawn = examples(photos, training_split, kind, strength, side=side, seed=2**31, casts=each)
    return exports.some_of(drawn.pixels, count)


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
        cards.write_text(mark, str(run.first_epoch))
    first = int(mark.read_text(encoding="utf-8"))
    if run.first_epoch == first:
        model.set_weights(keras.saving.load_model(run.backup / "best.keras", compile=False).get_weights())
        model.optimizer.build(model.trainable_variables)
        for name in ("best.keras", f"epoch-{first:04}.keras"):
            checkpoints.save_model(model, run.backup / name)
    return first
