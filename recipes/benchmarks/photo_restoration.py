"""Speed of networks that go over photos tile by tile: training, seconds per megapixel, memory of a large photo."""

import functools
import importlib.util
import json
import subprocess
import sys

import keras
import numpy as np
from PIL import Image

from recipes import timing, training
from recipes.data import crops, reduction
from recipes.data import noise as noises
from recipes.denoising_autoencoder import bm3d_filter, non_local_means
from zoo.predictor import Predictor

LARGE = (4000, 6000)  # 24 megapixels
CHILD = """
import json, sys, time
import numpy as np
from PIL import Image
from recipes.memory import peak_memory
from zoo.predictor import Predictor

Image.MAX_IMAGE_PIXELS = None
height, width, factor = map(int, sys.argv[2:5])
small = np.random.default_rng(0).integers(0, 255, (height // 50, width // 50, 3)).astype(np.uint8)
photo = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
begun = time.time()
image = Predictor(sys.argv[1]).restored(photo)
assert image.size == (factor * width, factor * height)
print(json.dumps({"bytes": peak_memory(), "seconds": time.time() - begun}))
"""


def measure(restorer, dataset, rounds, count):
    """(result, tables) of a photo network: see `zoo benchmark denoising_autoencoder`.

    Args:
        restorer: The `Restorer` of a model that has learnt from photos.
        dataset: Folder of photos.
        rounds: How often each side has its turn.
        count: Parts of photos that each side is trained on in a turn.
    """
    photos = crops.load(dataset, restorer.channels)
    clean = photos.split("train" if "train" in photos.splits else photos.measured)[0]
    speeds = _training_speed(restorer, clean, rounds, min(count, 640))
    megapixel = _per_megapixel(restorer, clean[0], rounds)
    result = {"images_per_second": speeds, "seconds_per_megapixel": megapixel}
    tables = [
        ("training on parts of 96x96 pixels, images/s", [speeds]),
        ("a photo, seconds per megapixel", [megapixel]),
    ]
    file = restorer.path.with_name("model.tflite")
    if file.is_file():
        told = subprocess.run(
            [sys.executable, "-c", CHILD, str(file), *map(str, LARGE), str(restorer.factor)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        memory = json.loads(told.splitlines()[-1])
        result["photo_of_24_megapixels"] = memory
        tables.append(("a photo of 24 megapixels", [memory]))
    return result, tables


def _training_speed(restorer, clean, rounds, count, batch_size=16, side=96):
    """Images per second of the same network: plain `fit` on parts that are damaged once, and our pipeline."""
    damage = functools.partial(noises.add, kind="gaussian", low=5 / 255, high=50 / 255)
    if restorer.factor > 1:
        damage = functools.partial(reduction.in_training, factor=restorer.factor)
    networks = [keras.models.clone_model(restorer.model) for _ in range(2)]
    for network in networks:
        network.compile("adam", "mae")
    steps = max(1, count // batch_size)
    each = -(-steps * batch_size // len(clean))
    stream = functools.partial(
        crops.training_batches,
        clean,
        crop=(side, side),
        crops_per_photo=each,
        degrade=damage,
        batch_size=batch_size,
        steps=steps,
        epochs=1,
    )
    x, y = (np.concatenate(part) for part in zip(*stream().as_numpy_iterator(), strict=True))
    contenders = {
        "damaged once": lambda turn: networks[0].fit(x, y, batch_size=batch_size, verbose=0),
        "ours": lambda turn: networks[1].fit(stream(seed=turn), steps_per_epoch=steps, shuffle=False, verbose=0),
    }
    training.seed_everything(0, deterministic=False)
    return timing.in_turn(contenders, rounds, amount=steps * batch_size, ratios=[("ours", "damaged once")])


def _per_megapixel(restorer, photo, rounds):
    """Seconds per megapixel of what is given, of the phone file on one and two threads and of classical methods."""
    if restorer.factor == 1:
        photo = noises.fixed([photo], kind="gaussian", level=25 / 255)[0]
    picture = Image.fromarray(photo[..., 0] if photo.shape[-1] == 1 else photo)
    file, contenders = restorer.path.with_name("model.tflite"), {}
    if file.is_file():
        predictors = {threads: Predictor(file, threads=threads) for threads in (1, 2)}
        contenders |= {
            f"{threads} thread{'s' if threads > 1 else ''}": lambda turn, one=one: one.restored(picture)
            for threads, one in predictors.items()
        }
    if restorer.factor == 1:
        # the best ones for this noise, as `zoo evaluate` chooses them
        about = {"sigma": 0.0955, "h": 0.0573, "patch_size": 5}
        contenders["non_local_means"] = lambda turn: non_local_means(photo[None], **about)
        if importlib.util.find_spec("bm3d"):
            contenders["bm3d"] = lambda turn: bm3d_filter(photo[None], 25 / 255)
    else:
        size = [restorer.factor * side for side in photo.shape[:2]]
        contenders["bicubic"] = lambda turn: reduction.resized(photo, *size)
    seconds = timing.in_turn(contenders, rounds)
    return {name: value * 1e6 / (photo.shape[0] * photo.shape[1]) for name, value in seconds.items()}
