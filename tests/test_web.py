"""The page in web/ in a real browser: its answers beside those of `zoo.Predictor`, every tab used as a person would.

Skipped where there is no Node, no Chromium, or web/node_modules is not installed (`make web/node_modules`).
"""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import zoo
from recipes.data import video
from zoo import exported, predictor, waveforms

WEB = Path(__file__).parent.parent / "web"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
MISSING = [
    what
    for what, there in (
        ("Node", shutil.which("node")),
        ("Chromium", Path(CHROMIUM).exists()),
        ("web/node_modules (make web/node_modules)", (WEB / "node_modules").is_dir()),
    )
    if not there
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the web page is not tested: no {', '.join(MISSING)}")
EXAMPLES = WEB / "examples"
IMAGES = Path(__file__).parent / "images"


@pytest.fixture(scope="module")
def page():
    """web/dist, built."""
    subprocess.run(["node", "build.js"], cwd=WEB, check=True, capture_output=True, text=True, timeout=120)
    return WEB


def browser_answers(jobs):
    """What the page answers to jobs."""
    run = subprocess.run(
        ["node", "tests/answers.js"],
        cwd=WEB,
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["troubles"] == []
    return found["answers"]


def pixels(image):
    """uint8 (height, width, 3) of an image that the page gave."""
    rgba = np.frombuffer(base64.b64decode(image["rgba"]), np.uint8)
    return rgba.reshape(image["height"], image["width"], 4)[..., :3]


def numbers(value):
    return np.frombuffer(base64.b64decode(value["bytes"]), np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """PNG files of several shapes: name to path."""
    folder = tmp_path_factory.mktemp("photos")
    cat = Image.open(EXAMPLES / "chelsea.jpg")
    made = {
        "wide": cat,
        "small": cat.resize((90, 60)),
        "high": cat.crop((60, 0, 260, 300)),
        "grey": cat.convert("L").resize((150, 100)).convert("RGB"),
        "digit": Image.open(IMAGES / "three.png").convert("RGB"),
        "dark": Image.fromarray(255 - np.asarray(Image.open(IMAGES / "seven.png").convert("RGB"))),
        "large": cat.resize((700, 520)),
        "scene": Image.open(EXAMPLES / "scene.png").convert("RGB"),
    }
    for name, image in made.items():
        image.save(folder / f"{name}.png")
    return {name: str(folder / f"{name}.png") for name in made}


def test_answers_to_photos_are_those_of_the_predictor(page, photos):
    asked = [
        ("mnist_cnn", "digit"),
        ("mnist_cnn", "dark"),
        ("mnist_cnn", "wide"),
        ("mnist_cnn_fashion_mnist", "digit"),
        ("image_classifier", "wide"),
        ("image_classifier", "high"),
        ("alexnet", "wide"),
        ("alexnet", "small"),
        ("denoising_autoencoder", "digit"),
        ("denoising_photos", "small"),
        ("denoising_photos", "grey"),
        ("denoising_photos", "wide"),
        ("super_resolution", "small"),
        ("super_resolution", "grey"),
        ("unet_scenes", "scene"),
        ("unet_scenes", "wide"),
        ("unet", "large"),
        ("yolo_everyday", "wide"),
        ("yolo_everyday", "high"),
        ("yolo_scenes", "large"),
    ]
    jobs = [{"verb": "answer", "model": name, "photo": photos[photo]} for name, photo in asked]
    for (name, photo), found in zip(asked, browser_answers(jobs), strict=True):
        where = f"{name} of {photo}"
        assert "error" not in found, (where, found)
        path = photos[photo]
        # the grey photo: a browser cannot tell a grey PNG from a coloured one of grey pixels
        wanted = zoo.predict(name, Image.open(path).convert("L") if photo in ("grey", "digit") else path)
        if isinstance(wanted, predictor.Label):
            assert found["label"] == wanted.label, where
            assert found["inverted"] == wanted.inverted, where
            np.testing.assert_allclose(
                list(found["probabilities"].values()), list(wanted.probabilities.values()), atol=1e-6, err_msg=where
            )
        elif isinstance(wanted, predictor.Corrected):
            np.testing.assert_allclose(list(found["cast"].values()), list(wanted.cast.values()), atol=1e-3)
            difference = np.abs(np.int16(pixels(found["image"])) - np.asarray(wanted.image))
            assert difference.max() <= 1, where
        elif isinstance(wanted, predictor.Restored):
            difference = np.abs(np.int16(pixels(found["image"])) - np.asarray(wanted.image.convert("RGB")))
            assert difference.max() <= 2 and difference.mean() < 0.05, (where, difference.max(), difference.mean())
        elif isinstance(wanted, predictor.Mask):
            mask = numbers(found["mask"]).reshape(wanted.mask.shape)
            assert (mask == wanted.mask).mean() > 0.998, (where, (mask == wanted.mask).mean())
        else:
            assert len(found["detections"]) == len(wanted.detections), where
            for one, other in zip(found["detections"], wanted.detections, strict=True):
                assert one["class_name"] == other.class_name, where
                assert one["confidence"] == pytest.approx(other.confidence, abs=0.01), where
                np.testing.assert_allclose(one["box"], other.box, atol=1.5, err_msg=where)


def test_answers_to_sounds_are_those_of_the_predictor(page, tmp_path):
    """Also of another rate, of two channels, and of bytes that are no 16-bit integers."""
    siren, rate = soundfile.read(EXAMPLES / "siren.wav", dtype="float32")
    long = np.concatenate([siren, soundfile.read(EXAMPLES / "piano.wav", dtype="float32")[0], siren[:3000]])
    fine = waveforms.resample(long, rate, 11025)
    sounds = {
        "plain": (siren, rate, "PCM_16"),
        "long": (long, rate, "PCM_24"),
        "other_rate": (fine, 11025, "FLOAT"),
        "stereo": (np.stack([long, 0.1 * long], axis=1), rate, "PCM_16"),
        "short": (siren[:2000], rate, "PCM_U8"),
    }
    jobs = []
    for name, (samples, own, kind) in sounds.items():
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, samples, own, subtype=kind)
        jobs += [
            {"verb": "heard", "model": model, "wav": str(path)}
            for model in ("spectrogram_cnn_sounds", "spectrogram_cnn")
        ]
    for job, found in zip(jobs, browser_answers(jobs), strict=True):
        wanted = zoo.predict(job["model"], job["wav"])
        assert found["label"] == wanted.label
        assert found["seconds"] == pytest.approx(wanted.seconds)
        np.testing.assert_allclose(
            list(found["probabilities"].values()), list(wanted.probabilities.values()), atol=0.02
        )
        assert [(one["start"], one["end"], one["label"]) for one in found["timeline"]] == [
            (one.start, one.end, one.label) for one in wanted.timeline
        ]


def test_generated_images_are_those_of_the_file(page):
    generator = np.random.default_rng(0)
    latent = generator.standard_normal(64).astype(np.float32)
    noise = generator.standard_normal((1, 28, 28, 1)).astype(np.float32)
    jobs = [
        {"verb": "generated", "model": "dcgan", "latent": latent.tolist(), "label": 4},
        {
            "verb": "diffused",
            "model": "diffusion",
            "settings": {"label": 7, "steps": 20, "noise": noise.ravel().tolist()},
        },
    ]
    drawn, diffused = browser_answers(jobs)
    dcgan = exported.load("saved_models/dcgan/model.tflite")
    wanted = dcgan(latent=latent[None], label=np.int32([4]))["image"][0]
    assert np.abs(np.int16(pixels(drawn["image"])[..., :1]) - wanted).max() <= 1
    # the steps that the page takes are those that the file takes inside
    diffusion = exported.load("saved_models/diffusion/model.tflite", endpoint="generate")
    about = diffusion.metadata
    inputs = {"noise": noise, "label": np.int32([7]), "guidance_scale": np.float32(about["guidance_scale"])}
    wanted = diffusion(**inputs)["image"][0]
    difference = np.abs(np.int16(pixels(diffused["image"])[..., :1]) - wanted)
    assert difference.max() <= 12 and difference.mean() < 1, (difference.max(), difference.mean())


def test_the_page_as_a_person_uses_it(page, tmp_path):
    cat = np.asarray(Image.open(EXAMPLES / "chelsea.jpg").convert("RGB"))
    with video.Writer(tmp_path / "cat.mp4", 10, (cat.shape[1], cat.shape[0])) as film:
        for shift in range(60):
            film.write(np.roll(cat, shift % 20, axis=1))
    environment = os.environ | {"FILM": str(tmp_path / "cat.mp4")}
    command = ["node", "--test", "tests/page.test.js"]
    run = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, timeout=400)
    assert run.returncode == 0, run.stdout[-6000:]
