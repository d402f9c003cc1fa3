"""Saving a model whole or not at all: as it is, with weights of two bytes, and after each epoch."""

import csv
import io
import math
import time
import zipfile

import h5py
import keras
import numpy as np

from recipes import hosts
from zoo.atomic import atomic


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


class Checkpoint(keras.callbacks.Callback):
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

    def take_best(self, model):
        """Brings the weights of the best epoch back into the model."""
        if self.best_path.is_file():
            model.load_weights(self.best_path)

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
        if not hosts.is_first():  # the first writes for all
            self.model.stop_training |= self.out_of_patience()
            return
        if self.is_best():
            save_model(self.model, self.best_path)
        with atomic(self.run.folder / "history.csv") as partial, open(partial, "w", newline="") as stream:
            writer = csv.DictWriter(stream, self.run.history[0])
            writer.writeheader()
            writer.writerows(self.run.history)
        save_model(self.model, self.path(epoch + 1))
        self.path(epoch).unlink(missing_ok=True)
        self.model.stop_training |= self.out_of_patience()
