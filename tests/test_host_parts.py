"""Of several hosts each prepares its part of a batch only, and their parts together are the batch of one host."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from recipes import hosts
from recipes.data import audio, boxes, crops, draws, images, masks, noise, photo_batches, photos

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (24, 20, 24, 3), np.uint8)
LABELS = np.arange(24) % 3
SIZES = {"batch_size": 8, "steps": 3, "epochs": 1, "seed": 5}


def detection():
    targets = [np.float32([[2, 3, 12, 14, 1, 1]])[: index % 3] for index in range(24)]
    fields = {"sizes": np.full((24, 2), (20, 24), np.int32), "originals": np.full((24, 2), (20, 24), np.int32)}
    split = boxes.Split(PIXELS, *fields.values(), targets, [f"{index}.png" for index in range(24)])
    return boxes.training_batches(split, mosaic=0.5, close_mosaic=0, **SIZES)


def damaged(kind):
    return noise.training_batches(PIXELS, kind=kind, low=0.1, high=0.3, **SIZES)


def sounds(mixup):
    waveforms = RANDOM.integers(-9000, 9000, (24, 800), np.int16)
    about = {"num_classes": 3, "sample_rate": 8000, "augment": 1.0, "mixup": mixup}
    return lambda: audio.training_batches(waveforms, LABELS, noise=waveforms[0], **about, **SIZES)


def road():
    drawn = {"scale": (0.8, 1.2), "rotation": 5, "flip": "both", "jitter": 1.0}
    return masks.training_batches(PIXELS, PIXELS[..., 0] % 4, crop=(12, 16), **drawn, **SIZES)


def parts_of_photos():
    degrade = functools.partial(noise.add, kind="gaussian", low=0.1, high=0.2)
    return crops.training_batches(list(PIXELS), crop=(16, 16), crops_per_photo=1, degrade=degrade, **SIZES)


def casts(target):
    square = PIXELS[:, :20, :20]
    drawn = {"targets": None, "target": target, "strength": 20.0, "crops": 1, "augment": 1.0, "side": 16}
    return photos.training_batches(square, **drawn, **SIZES)


STREAMS = {
    "digits": lambda: images.training_batches(PIXELS, LABELS, num_classes=3, augment=1.0, **SIZES),
    "detection": detection,
    "road scenes": road,
    "parts of photos": parts_of_photos,
    "casts": lambda: casts("shift"),
    "angles": lambda: casts("angle"),
    "sounds": sounds(0.0),
    "mixed sounds": sounds(0.3),
    "classes of photos": lambda: photo_batches.training_batches(
        PIXELS, LABELS, num_classes=3, augment=0.3, mixup=0.2, class_weights=np.ones(3, np.float32), **SIZES
    ),
}
STREAMS |= {f"{kind} noise": functools.partial(damaged, kind) for kind in noise.KINDS}
WHOLE = ("mixed sounds", "classes of photos")  # whose examples depend on each other


@pytest.mark.parametrize("name", STREAMS)
def test_the_parts_of_two_hosts_are_the_batch_of_one(name, monkeypatch):
    expected = [tf.nest.flatten(batch) for batch in STREAMS[name]()]
    found = []
    for number in range(2):
        monkeypatch.setattr(hosts, "share", lambda number=number: (2, number))
        found.append([tf.nest.flatten(batch) for batch in STREAMS[name]()])
    assert len(expected) == SIZES["steps"]
    for whole, *parts in zip(expected, *found, strict=True):
        for one, first, second in zip(whole, *parts, strict=True):
            assert len(first) == len(second) == SIZES["batch_size"] // 2
            # a Fourier transform of fewer sounds at a time rounds in another way
            np.testing.assert_allclose(np.concatenate([first, second]), one, atol=5e-4 if "sounds" in name else 2e-5)
    assert draws._host == {"count": 1, "number": 0}


@pytest.mark.parametrize("whole", [False, True])
def test_a_host_prepares_its_part_only(whole, monkeypatch):
    prepared = []

    def batch(step, chosen):
        return tf.numpy_function(lambda indices: prepared.append(indices) or indices, [chosen], chosen.dtype)

    def shaped(step, chosen):
        return tf.ensure_shape(batch(step, chosen), chosen.shape)

    for number in range(2):
        monkeypatch.setattr(hosts, "share", lambda number=number: (2, number))
        assert len(list(images.stream(shaped, 24, **SIZES, whole=whole))) == SIZES["steps"]
    counts = [len(indices) for indices in prepared]
    assert counts == [8] * 6 if whole else counts == [4] * 6
    if not whole:  # each example of the epoch once
        assert sorted(np.concatenate(prepared)) == list(range(24))
