"""Speed of the photo classifier: training beside the same network in plain `fit`, and all forms of a model."""

import tempfile
from pathlib import Path

import keras
import numpy as np
import skimage.data
from PIL import Image

import zoo
from recipes import results, runs, timing, training
from recipes.data import photo_batches
from recipes.image_classifier import Classifier


def benchmark(
    *,
    model: str = "image_classifier",
    backbone: str = "MobileNetV3Small",
    image_size: tuple[int, int] = (128, 128),
    batch_size: int = 32,
    steps: int = 10,
    rounds: int = 3,
    output: Path | None = None,
):
    """Times training beside plain `fit` of the same network of keras.applications, and all forms of a model.

    Ours mirrors, zooms and augments every batch (RandAugment, MixUp); plain `fit` gets its images from memory as they
    are. Both take their turn in each round; the figures are medians.

    Args:
        model: Model whose forms are timed on one image.
        backbone: A name of keras.applications.
        image_size: Height and width of the images to train on.
        batch_size: Images per step.
        steps: Steps per turn.
        rounds: How often each side has its turn.
        output: Folder for benchmark.json; by default a new one under runs/image_classifier.
    """
    training.check_positive(batch_size=batch_size, steps=steps, rounds=rounds)
    if not hasattr(keras.applications, backbone):
        raise ValueError(f"keras.applications has no network {backbone!r}")
    classifier = Classifier(model).keras_only()
    folder = runs.output_folder(Classifier.name, "benchmark", output)
    speeds = _speeds(backbone, tuple(image_size), batch_size, steps, rounds)
    images = _crops(classifier.input_shape[:2], 64)
    with tempfile.TemporaryDirectory() as scratch:
        ready, raw = images[:1] / np.float32(255), {"image": images[:1]}
        milliseconds, sizes = timing.forms(classifier.model, ready, raw, Path(scratch), representative_data=images)
    result = {"images_per_second": speeds, "latency_ms": milliseconds, "bytes": sizes}
    title = f"training {backbone}, {image_size[0]} x {image_size[1]}, batch {batch_size}, images/s"
    return results.benchmarked(folder, result, [(title, [speeds]), *timing.form_tables(milliseconds, sizes)])


def _speeds(backbone, size, batch_size, steps, rounds, classes=5):
    x, y = _crops(size, batch_size * steps), np.arange(batch_size * steps) % classes
    build = getattr(keras.applications, backbone)
    plain = build(weights=None, classes=classes, input_shape=(*size, 3))
    ours = zoo.image_classifier((*size, 3), classes, backbone=backbone)
    plain.compile("adam", "categorical_crossentropy")
    ours.compile("adam", "categorical_crossentropy")
    arrays = np.float32(x), keras.utils.to_categorical(y, classes)  # its own preprocessing wants 0 to 255

    def augmented(turn):
        sizes = {"num_classes": classes, "batch_size": batch_size, "steps": steps, "epochs": 1, "seed": turn}
        drawn = {"augment": 0.3, "mixup": 0.2, "class_weights": [1.0] * classes}
        stream = photo_batches.training_batches(x, y, **sizes, **drawn)
        ours.fit(stream, steps_per_epoch=steps, shuffle=False, verbose=0)

    contenders = {
        "plain fit": lambda turn: plain.fit(*arrays, batch_size=batch_size, verbose=0),
        "ours, augmented": augmented,
    }
    ratios = [("ours, augmented", "plain fit")]
    return timing.in_turn(contenders, rounds, amount=batch_size * steps, ratios=ratios)


def _crops(size, count):
    """Pieces of the photographs of scikit-image, uint8 (count, height, width, 3)."""
    random, found = np.random.default_rng(0), []
    photos = [skimage.data.chelsea(), skimage.data.coffee(), skimage.data.astronaut()]
    for number in range(count):
        pixels = photos[number % len(photos)]
        top, left = (random.integers(side - 200) for side in pixels.shape[:2])
        piece = Image.fromarray(pixels[top : top + 200, left : left + 200])
        found.append(np.asarray(piece.resize(size[::-1], Image.Resampling.BILINEAR)))
    return np.stack(found)
