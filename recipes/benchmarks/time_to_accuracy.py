"""Seconds of training that the digit classifier needs to an accuracy: the classic code, and two cycles for speed."""

import math
import time

import keras
import numpy as np

import zoo
from recipes import training
from recipes.data import images as image_data


def race(images, rounds):
    """Lets each contender train once a round, with another seed: {name: [[(seconds, accuracy), ...], ...]}."""
    contenders = {"classic": _classic_training, "short cycle": _short_cycle, "longer cycle": _longer_cycle}
    courses = {name: [] for name in contenders}
    for turn in range(rounds):
        for name, contender in contenders.items():
            keras.utils.set_random_seed(turn)
            courses[name].append(contender(images, turn))
            seconds, accuracy = courses[name][-1][-1]
            print(f"round {turn + 1}: {name}: {seconds:.1f} s of training, accuracy {accuracy:.4f}")
    return courses


def table(courses, targets):
    """Median seconds of each contender to each accuracy, and the ratio of the better of ours to the classic code."""

    def seconds_to(name, target):
        reached = [next((s for s, accuracy in course if accuracy >= target), math.inf) for course in courses[name]]
        return float(np.median(reached))

    rows = []
    for target in targets:
        classic, short, longer = (seconds_to(name, target) for name in courses)
        ratio = min(short, longer) / classic
        row = {"accuracy": target, "classic": classic, "short cycle": short, "longer cycle": longer}
        row = {name: value if math.isfinite(value) else None for name, value in row.items()}
        rows.append(row | {"ours / classic": ratio if ratio and math.isfinite(ratio) else None})
    return rows


def _classic_training(images, seed, epochs=5):
    """The code that tutorials show: the default network, Adam, plain `fit` on NumPy arrays with batch 64."""
    x, y = images.split("train")
    x, y = x / np.float32(255), keras.utils.to_categorical(y)
    model = zoo.mnist_cnn(images.image_shape, y.shape[1])
    model.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
    watch = _Stopwatch(lambda: _accuracy(model, images))
    model.fit(x, y, epochs=epochs, batch_size=64, callbacks=[watch], verbose=0)
    return watch.course


def _short_cycle(images, seed):
    return _fast_training(images, seed, epochs=1, share=0.85, augment=0.0)


def _longer_cycle(images, seed):
    return _fast_training(images, seed, epochs=6, share=1.0, augment=1.0)


def _fast_training(images, seed, *, epochs, share, augment):
    """A small normalised network, one cycle of a high learning rate, our pipeline; `share` of the images per epoch."""
    x, y = images.split("train")
    num_classes = len(images.class_names)
    batch_size = min(128, max(1, len(y) // 32))
    batch_size, steps, steps_per_execution = training.execution_plan(int(share * len(y)), batch_size)
    epochs = max(epochs, epochs * 200 // steps)
    model = zoo.mnist_cnn(
        images.image_shape, num_classes, filters=(16, 32, 64), padding="same", batch_normalization=True, dense_units=0
    )
    warm_up = steps * epochs // 4
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-3, steps * epochs - warm_up, warmup_target=0.01, warmup_steps=warm_up
    )
    model.compile(
        keras.optimizers.Adam(schedule), loss="categorical_crossentropy", steps_per_execution=steps_per_execution
    )
    watch = _Stopwatch(lambda: _accuracy(model, images))
    stream = image_data.training_batches(
        x, y, num_classes=num_classes, batch_size=batch_size, steps=steps, epochs=epochs, seed=seed, augment=augment
    )
    model.fit(stream, epochs=epochs, steps_per_epoch=steps, callbacks=[watch], shuffle=False, verbose=0)
    return watch.course


def _accuracy(model, images):
    x, y = images.split("test")
    parts = np.array_split(x, math.ceil(len(x) / 500))
    return float((np.concatenate([model(part / np.float32(255)) for part in parts]).argmax(axis=1) == y).mean())


class _Stopwatch(keras.callbacks.Callback):
    """Seconds of training and a figure after each epoch, as `course`; the time of measuring it is not counted."""

    def __init__(self, measure):
        super().__init__()
        self.measure, self.course, self.paused = measure, [], 0.0
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter()
        self.course.append((now - self.begun - self.paused, self.measure()))
        self.paused += time.perf_counter() - now
