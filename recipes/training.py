"""What every recipe's `train` calls: seed, precision, device, a run folder, and a `fit` that can be killed and resumed.

A run writes into its folder: `config.json` at once, `history.csv` and `backup/` after each epoch, TensorBoard logs
under `tensorboard/`; the recipe adds `model.keras`, the card and the pictures, and `backup/` goes when it is done.
"""

import contextlib
import csv
import functools
import inspect
import io
import itertools
import json
import math
import os
import shutil
import signal
import sys
import threading
import time
import zipfile
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import h5py
import keras
import numpy as np
import tensorflow as tf

from recipes import cards
from recipes.cards import write_text
from zoo.export import atomic

Device = Literal["auto", "cpu", "gpu", "mirrored", "tpu"]
Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]


@dataclass(frozen=True)
class Setup:
    """What every training takes besides its task: seed, machine and folders.

    Attributes:
        seed: Seed of weights, order and all random draws.
        deterministic: Whether the same seed gives the same weights to the bit (on the same machine).
        precision: Precision of the computation; the model is saved in float32.
        device: Where to train: auto, cpu, gpu, mirrored (all GPUs or CPU devices of this host) or tpu.
        data_dir: Folder of tensorflow-datasets, or of a data set that has a layout of its own.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder of the run; by default a new one, runs/RECIPE/TIME-DATASET.
        resume: Folder of a run that was interrupted; it goes on with its own arguments.
    """

    seed: int = 0
    deterministic: bool = True
    precision: Precision = "float32"
    device: Device = "auto"
    data_dir: Path | None = None
    manual_dir: Path | None = None
    output: Path | None = None
    resume: Path | None = None


def flat(arguments):
    """Arguments of a `train` in one dictionary: those of its `setup` stand beside the others."""
    arguments = dict(arguments)
    return arguments | asdict(arguments.pop("setup")) if "setup" in arguments else arguments


def check_positive(**values):
    """Refuses an argument that is given and not positive."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def check_range(low, high, **values):
    """Refuses an argument outside [low, high)."""
    for name, value in values.items():
        if not low <= value < high:
            raise ValueError(f"{name} must be in [{low}, {high}), got {value}")


def check_between(low, high, **values):
    """Refuses an argument outside [low, high]."""
    for name, value in values.items():
        if not low <= value <= high:
            raise ValueError(f"{name} must be from {low} to {high}, got {value}")


def seed_everything(seed, deterministic=True):
    """Seeds Python, NumPy and TensorFlow; `deterministic` also picks operations that repeat to the bit."""
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def precision(policy):
    """Builds what is built inside under a dtype policy: "float32", "mixed_float16" or "mixed_bfloat16"."""
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(former)


def distribution(device):
    """The `tf.distribute` strategy of a device name; model and optimizer are built in its `scope()`.

    "auto" takes all GPUs of the host where there are any, else the CPU; "mirrored" copies the model to each GPU, or to
    each logical CPU device where there is no GPU.

    Raises:
        ValueError: If this machine has no such device.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if device == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        except Exception as error:  # each version fails in its own way where there is no TPU
            raise ValueError("device tpu: no TPU was found; accepted here: auto, cpu, mirrored") from error
        return tf.distribute.TPUStrategy(resolver)
    if device == "gpu" and not gpus:
        raise ValueError("device gpu: TensorFlow sees no GPU; accepted here: auto, cpu, mirrored")
    if device == "mirrored" or (device == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        # the collective reduction of CPU devices mixes up two strategies of one process
        reduction = None if gpus else tf.distribute.ReductionToOneDevice()
        return tf.distribute.MirroredStrategy([item.name for item in devices], cross_device_ops=reduction)
    return tf.distribute.OneDeviceStrategy("CPU:0") if device == "cpu" and gpus else tf.distribute.get_strategy()


def prepare(setup):
    """Seeds this process and gives the `tf.distribute` strategy of the setup's device."""
    check_range(0, 2**31, seed=setup.seed)
    seed_everything(setup.seed, setup.deterministic)
    return distribution(setup.device)


def plan(count, batch_size, strategy):
    """(batch size, steps per epoch, steps per execution) for `count` examples on the replicas of a strategy."""
    replicas = strategy.num_replicas_in_sync
    batch_size, steps, per_execution = execution_plan(count, math.ceil(batch_size / replicas) * replicas)
    # a mirrored loop of several steps fails in TensorFlow 2.21
    return batch_size, steps, 1 if replicas > 1 else per_execution


def adamw(learning_rate, weight_decay, *, steps, warm_up):
    """AdamW over one cycle: a linear warm-up, then a cosine to zero; weight decay of the kernels only.

    Args:
        learning_rate: Highest learning rate.
        weight_decay: Decoupled weight decay.
        steps: Steps of the whole training.
        warm_up: Steps of the warm-up among them, at least 1.
    """
    warm_up = max(1, warm_up)
    schedule = keras.optimizers.schedules.CosineDecay(
        # a twentieth to begin with: Adam's first steps have no averages to lean on
        learning_rate / 20,
        max(1, steps - warm_up),  # a training of one step has no cosine
        warmup_target=learning_rate,
        warmup_steps=warm_up,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def execution_plan(count, batch_size):
    """(batch size, steps per epoch, steps per execution) for `count` examples.

    Several steps in one execution save a tenth of a small network's time; steps are rounded down to a multiple.
    """
    batch_size = min(batch_size, count)
    steps = count // batch_size
    per_execution = max(1, min(16, steps // 10))
    return batch_size, steps - steps % per_execution, per_execution


@dataclass
class Run:
    """A training run: its folder, and where it stands.

    Attributes:
        name: Name of the recipe.
        folder: Folder of the run.
        arguments: The arguments of `train`, as saved in `config.json`.
        defaults: What they are where nothing is said.
        history: One dictionary per finished epoch.
    """

    name: str
    folder: Path
    arguments: dict
    defaults: dict
    history: list = field(default_factory=list)

    @property
    def first_epoch(self):
        return len(self.history)

    @property
    def backup(self):
        return self.folder / "backup"


def resumable(train):
    """Gives `train(..., resume=FOLDER)` its meaning: the run goes on with the arguments that it was started with.

    The fields of its `setup` may also be given as arguments of their own.
    """
    signature = inspect.signature(train)
    defaults = flat({name: parameter.default for name, parameter in signature.parameters.items()})
    names = {part.name for part in fields(Setup)} - set(signature.parameters)

    def call(arguments):
        given = {name: arguments.pop(name) for name in names & set(arguments)}
        if given:
            arguments["setup"] = replace(arguments.get("setup", signature.parameters["setup"].default), **given)
        return train(**arguments)

    @functools.wraps(train)
    def wrapper(**given):
        arguments = defaults | flat(given)
        if unknown := set(arguments) - set(defaults):
            raise TypeError(f"train() got an unexpected keyword argument {min(unknown)!r}")
        if arguments["resume"] is None:
            return call(arguments)
        folder = Path(arguments["resume"])
        config = folder / "config.json"
        if not config.is_file():
            raise ValueError(f"nothing to resume in {folder}: it is not the folder of a run (it has no config.json)")
        if not (folder / "backup").is_dir():
            raise ValueError(
                f"nothing to resume in {folder}: the run is finished, its model is {folder / 'model.keras'}"
            )
        # a run of an earlier version lacks what has been added since: it had the default
        saved = _plain(defaults) | json.loads(config.read_text(encoding="utf-8"))
        for name, default in defaults.items():
            value = _plain(arguments[name])
            if name not in ("resume", "output") and value not in (_plain(default), saved[name]):
                raise ValueError(f"{folder} was started with {name}={saved[name]}, got {name}={value}: leave it out")
        return call({**saved, "resume": folder, "output": folder})

    wrapper.defaults = defaults
    return wrapper


def start(name, train, arguments):
    """Makes the folder of a run, or finds the state of the one to resume.

    Args:
        name: Name of the recipe.
        train: The recipe's `train`.
        arguments: Its arguments, with `output`, `resume` and `dataset` among them.
    """
    arguments = flat(arguments)
    if arguments["resume"]:
        run = Run(name, Path(arguments["resume"]), arguments, train.defaults)
        epochs = [int(path.name.split("-")[1].split(".")[0]) for path in run.backup.glob("epoch-*.keras")]
        if epochs:
            with open(run.folder / "history.csv", newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
            rows = [{key: int(row[key]) if key == "epoch" else float(row[key]) for key in row} for row in rows]
            run.history = rows[: max(epochs)]
        print(f"resuming {run.folder} after epoch {run.first_epoch}")
        return run
    folder = output_folder(name, Path(str(arguments["dataset"])).name, arguments["output"])
    run = Run(name, folder, arguments, train.defaults)
    shutil.rmtree(run.backup, ignore_errors=True)
    run.backup.mkdir()
    write_text(
        run.folder / "config.json", json.dumps({key: _plain(value) for key, value in arguments.items()}, indent=1)
    )
    return run


def output_folder(name, label, output=None):
    """Makes the folder for what a command writes: `output`, or a new one under runs/NAME."""
    label = "".join(mark if mark.isalnum() else "_" for mark in label)
    folder = new = Path(output or Path("runs", name, f"{time.strftime('%Y%m%d-%H%M%S')}-{label}"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(2):  # another command may have started in the same second
            try:
                folder.mkdir(exist_ok=output is not None)
                break
            except FileExistsError:
                if output is not None:
                    raise
                folder = new.with_name(f"{new.name}-{number}")
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise ValueError(f"cannot write to {folder}: permission denied")
    return folder


def fit(
    model, batches, *, run, epochs, steps, validation=None, monitor="val_loss", mode="min", patience=None, callbacks=()
):
    """Fits a compiled model and leaves the weights of its best epoch in it.

    Args:
        model: A compiled Keras model.
        batches: Function of the first epoch that gives the stream of all batches from there on.
        run: The `Run`, which says where to go on.
        epochs: Number of epochs of the whole training.
        steps: Batches per epoch.
        validation: Data for `evaluate` after each epoch, or None.
        monitor: Name of the figure that says which epoch was the best; None keeps the last one. An epoch where it is
            NaN was not measured.
        mode: "min" or "max": whether less or more of it is better.
        patience: Epochs without improvement after which training stops; None never stops early.
        callbacks: Further callbacks; they run before the history is written, so what they add to `logs` is in it.

    Raises:
        KeyboardInterrupt: After Ctrl-C, when the best weights so far stand in the model.
        ValueError: If the loss became NaN.
    """
    checkpoint = _Checkpoint(run, monitor, mode, patience)
    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        *callbacks,
        keras.callbacks.TensorBoard(str(run.folder / "tensorboard"), write_graph=False),
        checkpoint,
    ]
    with model.distribute_strategy.scope():  # what an optimizer makes inside a step has TensorFlow trace the step twice
        if hasattr(model, "build_optimizers"):  # a model with several
            model.build_optimizers()
        else:
            model.optimizer.build(model.trainable_variables)
        if run.first_epoch:
            model.load_weights(checkpoint.path(run.first_epoch))
    try:
        if run.first_epoch < epochs and not checkpoint.out_of_patience():
            with _interruptible() as interruption:
                model.fit(
                    batches(run.first_epoch),
                    initial_epoch=run.first_epoch,
                    epochs=epochs,
                    steps_per_epoch=steps,
                    validation_data=validation,
                    callbacks=[*callbacks, interruption],
                    shuffle=False,
                    verbose=1 if sys.stdout.isatty() else 2,
                )
    finally:
        if checkpoint.best_path.is_file():
            model.load_weights(checkpoint.best_path)
    if checkpoint.diverged:
        raise ValueError(f"the loss became NaN in epoch {len(run.history) + 1}: lower the learning rate")


def finish(run):
    """Removes the backup of a run that is complete."""
    shutil.rmtree(run.backup, ignore_errors=True)


def keep_interrupted(run, model, card):
    """Writes the model so far and its card after Ctrl-C, and says how to go on."""
    save_model(model, run.folder / "model.keras")
    cards.write(run.folder, card | {"interrupted_after_epochs": len(run.history)})
    print(
        f"interrupted: {run.folder / 'model.keras'} holds the best so far; go on with\n"
        f"  zoo train {run.name} --resume {run.folder}"
    )


def save_model(model, path):
    """Writes a `.keras` file, optimizer included, whole or not at all."""
    with atomic(path) as partial:
        model.save(partial)


def save_compact(model, path, *, bits=10):
    """Writes a `.keras` file of two bytes per weight or less, whole or not at all.

    Kernels are stored in float16, with `bits` bits of the fraction: with 5 a compressed file has about a byte per
    weight. Biases and statistics stay in float32; the file opens like any other.

    Args:
        model: An uncompiled Keras model in float32.
        path: Where to write.
        bits: Bits of the fraction to keep, 1 to 10: a weight changes by at most 2 ** -(bits + 1) of itself.
    """
    if not 1 <= bits <= 10:
        raise ValueError(f"bits must be in 1 to 10, got {bits}")
    weights, name = io.BytesIO(), "model.weights.h5"

    def copy(key, value):
        if isinstance(value, h5py.Group):
            small.require_group(key).attrs.update(value.attrs)
            return
        array = value[()]
        options = {}
        if array.ndim > 1 and np.abs(array).max(initial=0) < 60_000:  # what float16 can hold
            fraction, exponent = np.frexp(array)
            array = np.ldexp(np.round(fraction * 2 ** (bits + 1)) / 2 ** (bits + 1), exponent).astype(np.float16)
            options = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
        small.create_dataset(key, data=array, **options).attrs.update(value.attrs)

    with atomic(path) as partial:
        model.save(partial)
        with zipfile.ZipFile(partial) as archive:
            files = {entry: archive.read(entry) for entry in archive.namelist()}
        with h5py.File(io.BytesIO(files[name]), "r") as whole, h5py.File(weights, "w") as small:
            small.attrs.update(whole.attrs)
            whole.visititems(copy)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, content in files.items():
                archive.writestr(entry, weights.getvalue() if entry == name else content)


class _Checkpoint(keras.callbacks.Callback):
    """History, best weights and backup after each epoch, in an order that a kill at any moment cannot spoil.

    Whole `.keras` files, which are made in memory: writing `.weights.h5` on a full disk crashes the process.
    """

    def __init__(self, run, monitor, mode, patience):
        super().__init__()
        self.run, self.monitor, self.sign, self.patience = run, monitor, 1 if mode == "min" else -1, patience
        self.best_path = run.backup / "best.keras"
        self.diverged = False

    def path(self, epoch):
        return self.run.backup / f"epoch-{epoch:04}.keras"

    def is_best(self):
        """Whether no epoch before the last one was better."""
        if self.monitor is None:
            return True
        scores = [self.sign * row[self.monitor] for row in self.run.history]
        return scores[-1] == min(filter(math.isfinite, scores), default=None)

    def out_of_patience(self):
        """Read off the history, so that a resumed run stops where the uninterrupted one would have."""
        if self.patience is None or not self.run.history:
            return False
        scores = [self.sign * row[self.monitor] for row in self.run.history]
        best = min(filter(math.isfinite, scores), default=scores[-1])
        return len(scores) - 1 - scores.index(best) >= self.patience

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = time.time()
        # The state of dropout and its like is not saved with the weights: it starts anew from the epoch's number.
        seed = self.run.arguments.get("seed", 0)
        states = [variable for variable in self.model.variables if variable.path.endswith("seed_generator_state")]
        for number, state in enumerate(states):
            state.assign(np.array([seed * 1000 + number, epoch << 20], dtype="int64"))

    def on_epoch_end(self, epoch, logs=None):
        if not all(math.isfinite(value) for name, value in logs.items() if "loss" in name):
            self.diverged = True
            return
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}}
        self.run.history.append({**row, "seconds": round(time.time() - self.begun, 2)})
        if self.is_best():
            save_model(self.model, self.best_path)
        with atomic(self.run.folder / "history.csv") as partial, open(partial, "w", newline="") as stream:
            writer = csv.DictWriter(stream, self.run.history[0])
            writer.writeheader()
            writer.writerows(self.run.history)
        save_model(self.model, self.path(epoch + 1))
        self.path(epoch).unlink(missing_ok=True)
        self.model.stop_training |= self.out_of_patience()


@contextlib.contextmanager
def _interruptible():
    """Turns Ctrl-C inside into an interruption between two batches, where nothing is half done; gives the callback."""

    class Interruption(keras.callbacks.Callback):
        asked = False

        def on_train_batch_end(self, batch, logs=None):
            if self.asked:
                raise KeyboardInterrupt

        on_test_batch_end = on_train_batch_end

        def on_train_end(self, logs=None):
            self.on_train_batch_end(None)

    def ask(*_):
        if interruption.asked:  # the second time means now
            raise KeyboardInterrupt
        interruption.asked = True

    interruption = Interruption()
    main = threading.current_thread() is threading.main_thread()  # only it may set a handler
    former = signal.signal(signal.SIGINT, ask) if main else None
    try:
        yield interruption
    finally:
        if main:
            signal.signal(signal.SIGINT, former)


def _plain(value):
    return json.loads(json.dumps(value, default=str))
