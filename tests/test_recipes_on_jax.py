"""Recipes on the JAX backend: train, resume to the bit, evaluate, predict; and TensorFlow's losses.

One child process does all of it, since a process has one backend; each recipe is then a test of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import history, jax_environment
from PIL import Image

from recipes.__main__ import main

IMAGES = Path(__file__).parent / "images"
RECIPES = {  # smallest trainings
    "mnist_cnn": "--filters 4 8 --convolutions 1 --dropout 0.2 --augment 1 --batch-size 64",
    "denoising_autoencoder": "--dataset grey --filters 4 8 --convolutions 1 --decoder-convolutions 1 --batch-size 8",
    "dcgan": "--dataset grey --filters 4 --discriminator-filters 4 --latent-dim 8 --batch-size 8",
    "diffusion": "--dataset grey --widths 8 --attention-resolutions 0 --patch-size 4 --batch-size 8 --steps 2",
    "unet": "--dataset masks --filters 4 8 --convolutions 1 --stem-stride 2 --batch-size 2",
    "alexnet": "--dataset photos --side 67 --width 0.1 --units 8 --crops 1 --batch-size 4",
    "yolo": "--dataset boxes --image-size 64 --size 0.1 0.125 --batch-size 2",
    "spectrogram_cnn": "--dataset sounds --filters 4 --blocks 1 --mel-bins 8 --batch-size 4",
    "image_classifier": "--dataset photos --backbone VGG16 --backbone-weights None --image-size 32 32 "
    "--head-epochs 0 --batch-size 4 --augment 0",
}
# those whose draws are made by the data, not by the backend, and that can start with given weights
SAME = {name: RECIPES[name] for name in ("denoising_autoencoder",)}
RESUMED = ("mnist_cnn",)
USED = ("mnist_cnn", "denoising_autoencoder")  # also evaluated, and used on an image
CHILD = """
import json, sys
import keras
from recipes import checkpoints
from recipes.__main__ import main

assert keras.backend.backend() == "jax"
RECIPES, SAME, RESUMED, USED = map(json.loads, sys.argv[1:5])
status = {}

def run(key, *command):
    status[key] = main([str(part) for part in command])

original = checkpoints.Checkpoint.on_epoch_end

def interrupted(self, epoch, logs=None):
    original(self, epoch, logs)
    raise KeyboardInterrupt

for name, options in RECIPES.items():
    options = [*options.split(), "--epochs", 2 if name in RESUMED else 1]
    run(f"{name} train", "train", name, *options, "--output", name)
    if name in RESUMED:
        checkpoints.Checkpoint.on_epoch_end = interrupted
        run(f"{name} interrupted", "train", name, *options, "--output", f"{name}-resumed")
        checkpoints.Checkpoint.on_epoch_end = original
        run(f"{name} resume", "train", name, "--resume", f"{name}-resumed")
    named = ["--dataset", "photos"] if name == "image_classifier" else []
    run(f"{name} export", "export", name, "--model", f"./{name}", *named, "--output", f"{name}-export")
for name in USED:
    run(f"{name} evaluate", "evaluate", name, "--model", f"./{name}", "--output", f"{name}-evaluated")
image = sys.argv[5]
for name in USED:
    run(f"{name} predict", "predict", name, image, "--model", f"./{name}", "--output", f"{name}-predicted")
for name, options in SAME.items():
    options = [*options.split(), "--epochs", 1, "--weights", f"{name}-start.keras"]
    run(f"{name} same", "train", name, *options, "--output", f"{name}-same")
import numpy as np
sys.path.insert(0, sys.argv[6])
from test_recipes_on_jax import photos
np.savez("photos.npz", *photos())
print("STATUS", json.dumps(status))
"""


def photos():
    """The arrays of two batches of a photo classifier, which Keras's own layers prepare."""
    from recipes.data import photo_batches

    pixels = np.random.default_rng(0).integers(0, 256, (8, 24, 24, 3), np.uint8)
    drawn = {"augment": 0.3, "mixup": 0.2, "class_weights": [1.0, 2.0], "num_classes": 2}
    order = {"batch_size": 4, "steps": 2, "epochs": 1, "seed": 3}
    batches = photo_batches.training_batches(pixels, np.arange(8) % 2, **drawn, **order)
    return [array.numpy() for batch in batches for array in batch]


def write_data(folder):
    """Pictures of a square: grey ones, coloured ones by class, with a mask, with a box; and tones of two pitches."""
    random = np.random.default_rng(0)
    for number in range(16):
        split, kind = ("train", "val")[number % 4 == 3], ("red", "blue")[number % 2]
        top, left = random.integers(2, 14, 2)
        pixels = random.integers(0, 90, (28, 28), dtype=np.uint8)
        pixels[top : top + 12, left : left + 12] += 150
        mask = np.uint8(pixels > 120)
        photo = np.stack([pixels, pixels // 2, pixels // 4], axis=-1)[..., :: 1 if kind == "red" else -1]
        for name, image, side in (
            ("grey", pixels, 28),
            (f"photos/{split}/{kind}", photo, 80),
            (f"masks/{split}/images", photo, 64),
            (f"masks/{split}/masks", mask, 64),
            (f"boxes/images/{split}", photo, 64),
        ):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST).save(folder / name / f"{number}.png")
        (folder / "boxes/labels" / split).mkdir(parents=True, exist_ok=True)
        place = " ".join(f"{value / 28:.4f}" for value in (left + 6, top + 6, 12, 12))
        (folder / "boxes/labels" / split / f"{number}.txt").write_text(f"{number % 2} {place}\n")
        (folder / "sounds" / kind).mkdir(parents=True, exist_ok=True)
        tone = np.sin(2 * np.pi * (300 if kind == "red" else 1500) * np.arange(2000) / 8000)
        soundfile.write(folder / "sounds" / kind / f"{number}.wav", 0.5 * tone, 8000)
    (folder / "masks/classes.csv").write_text("name\ndark\nlight\n")
    (folder / "boxes/data.yaml").write_text("train: images/train\nval: images/val\nnames: [red, blue]\n")


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    """(folder of all runs, exit status of each command, standard error) of the child."""
    folder = tmp_path_factory.mktemp("jax")
    write_data(folder)
    former = os.getcwd()
    os.chdir(folder)
    try:
        for name, options in SAME.items():  # the same beginning for both backends, and TensorFlow's first epoch
            assert main(["train", name, *options.split(), "--epochs", "1", "--output", f"{name}-first"]) == 0
            start = folder / f"{name}-start.keras"
            start.write_bytes((folder / f"{name}-first" / "model.keras").read_bytes())
            options = [*options.split(), "--epochs", "1", "--weights", str(start)]
            assert main(["train", name, *options, "--output", f"{name}-tensorflow"]) == 0
    finally:
        os.chdir(former)
    arguments = [
        *map(json.dumps, (RECIPES, SAME, RESUMED, USED)),
        str(IMAGES / "three.png"),
        str(Path(__file__).parent),
    ]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=folder,
        # unlike other tests' models these run long enough for XLA to make them fast
        env={name: value for name, value in jax_environment(folder).items() if name != "XLA_FLAGS"},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    (line,) = [line for line in child.stdout.splitlines() if line.startswith("STATUS ")]
    return folder, json.loads(line.removeprefix("STATUS ")), child.stderr


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_resumes_and_answers_on_jax(on_jax, name):
    folder, status, told = on_jax
    verbs = {verb.removeprefix(f"{name} "): code for verb, code in status.items() if verb.startswith(f"{name} ")}
    assert verbs.pop("export") == 2  # in one line, below
    if name in RESUMED:
        assert verbs.pop("interrupted") == 130 and verbs["resume"] == 0
        assert history(folder / name) == history(folder / f"{name}-resumed")  # to the bit
    assert (len(verbs) >= 3) == (name in USED) and set(verbs.values()) == {0}, (verbs, told[-3000:])
    assert (folder / name / "model.keras").is_file() and (folder / name / "card.json").is_file()


@pytest.mark.parametrize("name", SAME)
def test_the_losses_of_an_epoch_are_those_of_tensorflow(on_jax, name):
    """Within a thousandth, from the same weights by the same data: the order of sums differs."""
    folder, _, _ = on_jax
    (ours,), (theirs,) = history(folder / f"{name}-same"), history(folder / f"{name}-tensorflow")
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)


def test_keras_prepares_photos_as_on_tensorflow(on_jax):
    folder, _, _ = on_jax
    with np.load(folder / "photos.npz") as found:
        for name, expected in zip(found.files, photos(), strict=True):
            np.testing.assert_allclose(found[name], expected, atol=1e-5)


def test_export_says_that_it_needs_tensorflow(on_jax):
    _, _, told = on_jax
    lines = [line for line in told.splitlines() if "export needs the TensorFlow backend" in line]
    assert len(lines) == len(RECIPES)
    assert "KERAS_BACKEND=tensorflow zoo export" in lines[0] and "the same .keras file" in lines[0]
