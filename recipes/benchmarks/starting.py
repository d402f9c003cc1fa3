"""What an answer on the command line costs in all: processor seconds from the start of Python to its end.

python -m recipes.benchmarks.starting   # beside `python -c "import PIL, numpy"`, in turn
"""

import os
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np
from PIL import Image

from recipes import results
from recipes.data import video

BARE = "import PIL, numpy"
ROUNDS = 3


def commands(folder):
    """The command lines, by name, on a photo, a drawing, a sound and a film that are written into the folder."""
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
    small.resize((640, 480), Image.Resampling.BICUBIC).save(folder / "photo.png")
    drawing = np.zeros((28, 28), np.uint8)
    drawing[4:24, 13:16] = 255
    Image.fromarray(drawing).save(folder / "one.png")
    tone = np.int16(9000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000))
    with wave.open(str(folder / "tone.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(tone.tobytes())
    mask = np.zeros((28, 28), np.uint8)
    mask[14:] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    with video.Writer(folder / "film.mp4", 10, (320, 240)) as film:
        for _ in range(20):
            film.write(np.asarray(small.resize((320, 240), Image.Resampling.BICUBIC)))
    photo, output = folder / "photo.png", ("--output", folder / "out")
    predictions = {
        "yolo": photo,
        "unet": photo,
        "alexnet": photo,
        "mnist_cnn": folder / "one.png",
        "denoising_autoencoder": folder / "one.png",
        "spectrogram_cnn": folder / "tone.wav",
    }
    found = {f"predict {recipe}": ("predict", recipe, path, *output) for recipe, path in predictions.items()}
    flowers = ("predict", "image_classifier", photo, "--model", "image_classifier", *output)
    found["predict image_classifier --model image_classifier"] = flowers
    found["predict yolo film.mp4"] = ("predict", "yolo", folder / "film.mp4", *output)
    found["predict diffusion"] = ("predict", "diffusion", folder / "one.png", "--mask", folder / "mask.png", *output)
    found |= {
        f"sample {recipe}": ("sample", recipe, "--output", folder / "new.png") for recipe in ("dcgan", "diffusion")
    }
    return found


def processor_seconds(*command):
    """Processor seconds, user and system, of a child process and its own children."""
    before = os.times()
    subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main():
    if sys.argv[1:]:
        sys.exit(f"this takes no arguments, got {' '.join(sys.argv[1:])}: python -m recipes.benchmarks.starting")
    with tempfile.TemporaryDirectory() as folder:
        chosen = {name: ("-m", "recipes", *command) for name, command in commands(Path(folder)).items()}
        heavy = {f"{name} --backend keras": (*command, "--backend", "keras") for name, command in chosen.items()}
        chosen = {BARE: ("-c", BARE)} | chosen | heavy
        seconds = {name: [] for name in chosen}
        for _ in range(ROUNDS):
            for name, command in chosen.items():
                seconds[name].append(processor_seconds(*command))
    rows = [
        {
            "command": name,
            "processor seconds": f"{np.median(own):.2f}",
            "times as long": f"{np.median(np.divide(own, seconds[BARE])):.1f}",
        }
        for name, own in seconds.items()
    ]
    print(results.table(rows))


if __name__ == "__main__":
    main()
