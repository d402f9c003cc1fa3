"""Images, masks, sounds and runs as people have them: each file read as what it is, or refused in one line."""

import csv
import json
import multiprocessing
import os
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import run_json
from conftest import SMALL
from PIL import Image, ImageCms

from recipes import alexnet, denoising_autoencoder, mnist_cnn, spectrogram_cnn, unet
from recipes.data import audio, files, video
from recipes.data.masks import IGNORE
from zoo import waveforms

RANDOM = np.random.default_rng(0)


def pictures(folder, count=4, size=(32, 32), level=None, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.full((*size, 3), level, np.uint8) if level is not None else RANDOM.integers(0, 255, (*size, 3))
        Image.fromarray(np.uint8(pixels)).save(folder / f"{number}{suffix}")


def masks(folder, values, colours=None, palette=None, mode=None, names=("background", "object"), csv_colours=None):
    """Four pairs; `values` (20, 30) are those of every mask."""
    pictures(folder / "images", size=values.shape[:2])
    (folder / "masks").mkdir(parents=True)
    for number in range(4):
        mask = Image.fromarray(values)
        if palette is not None:
            mask.putpalette(np.ravel(palette).tolist())
        (mask.convert(mode) if mode else mask).save(folder / "masks" / f"{number}.png")
    rows = ["name,red,green,blue"] if csv_colours else ["name"]
    for name, colour in zip(names, csv_colours or names, strict=True):
        rows.append(",".join([name, *map(str, colour)]) if csv_colours else name)
    (folder / "classes.csv").write_text("\n".join(rows))


HALVES = np.zeros((20, 30), np.uint8)
HALVES[:, 15:] = 1


# Splits


@pytest.mark.parametrize("words", [("Train", "Test"), ("training", "testing"), ("TRAIN", "eval")])
def test_split_words_in_any_form_are_no_classes(words, tmp_path):
    for word, level in zip(words, (10, 200), strict=True):
        for name in ("cat", "dog"):
            pictures(tmp_path / word / name, level=level)
    found = mnist_cnn.datasets(tmp_path)
    assert found.class_names == ("cat", "dog")
    assert set(np.unique(found.split("test")[0])) == {200} and 200 not in found.split("train")[0]


@pytest.mark.parametrize("word", ["val", "valid", "dev", "Validation"])
def test_the_users_validation_split_is_used_by_every_recipe(word, tmp_path):
    for split, level in (("train", 10), (word, 100), ("test", 200)):
        for name in ("cat", "dog"):
            pictures(tmp_path / "classes" / split / name, level=level)
        pictures(tmp_path / "plain" / split, level=level)
        (tmp_path / "sounds" / split).mkdir(parents=True)
        for name in ("yes", "no"):
            for number in range(3):
                path = tmp_path / "sounds" / split / f"{name}_{number}.wav"
                soundfile.write(path, np.full(8000, level / 256), 8000)
        pictures(tmp_path / "masks" / split / "images", size=(20, 30), level=level)
        masks_folder = tmp_path / "masks" / split / "masks"
        masks_folder.mkdir()
        for number in range(4):
            Image.fromarray(HALVES).save(masks_folder / f"{number}.png")
    (tmp_path / "masks" / "classes.csv").write_text("name\na\nb")
    assert set(np.unique(mnist_cnn.datasets(tmp_path / "classes").split("val")[0])) == {100}
    assert set(np.unique(denoising_autoencoder.datasets(tmp_path / "plain").split("val")[0])) == {100}
    assert set(np.unique(alexnet.photo_data.load(str(tmp_path / "plain")).split("val")[0])) == {100}
    assert set(np.unique(unet.datasets(tmp_path / "masks").split("val")[0])) == {100}
    assert spectrogram_cnn.datasets(tmp_path / "sounds").split("val")[0].max() == 100 * 128


def test_masks_below_split_folders(tmp_path):
    masks(tmp_path, HALVES)
    for kind in ("images", "masks"):
        for split, number in (("train", 0), ("train", 1), ("valid", 2), ("test", 3)):
            (tmp_path / kind / split).mkdir(exist_ok=True)
            (tmp_path / kind / f"{number}.png").rename(tmp_path / kind / split / f"{number}.png")
    found = unet.datasets(tmp_path)
    assert {name: found.names_of(name) for name in found.splits} == {
        "train": ["0.png", "1.png"],
        "validation": ["2.png"],
        "test": ["3.png"],
    }
    shutil.move(tmp_path / "images/train/0.png", tmp_path / "images/0.png")
    shutil.move(tmp_path / "masks/train/0.png", tmp_path / "masks/0.png")
    with pytest.raises(ValueError, match=r"0\.png is in no split"):
        unet.datasets(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    for name in ("bus", "train", "car"):
        pictures(tmp_path / name)
    assert mnist_cnn.datasets(tmp_path).class_names == ("bus", "car", "train")


def test_splits_of_other_names_are_no_classes(tmp_path):
    for part in ("fold 1", "fold 2"):
        for name in ("cat", "dog"):
            pictures(tmp_path / part / name)
    with pytest.raises(ValueError, match=r"fold 1, fold 2 of .* hold the same folders \(cat, dog\).*accepted names"):
        mnist_cnn.datasets(tmp_path)


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    pictures(tmp_path / "elsewhere" / "cats")
    pictures(tmp_path / "elsewhere" / "dogs")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/cat").symlink_to(tmp_path / "elsewhere/cats")
    (tmp_path / "data/dog").symlink_to(tmp_path / "elsewhere/dogs")
    (tmp_path / "elsewhere/cats/up").symlink_to(tmp_path / "data")
    found = mnist_cnn.datasets(tmp_path / "data")
    assert found.class_names == ("cat", "dog") and len(found.split("all")[1]) == 8


def test_speech_commands_have_lists_and_noise(tmp_path, capfd):
    for name in ("yes", "no", "_background_noise_"):
        (tmp_path / name).mkdir()
        for number in range(4):
            level = 0.5 if name == "_background_noise_" else 0.01 * (1 + number)
            soundfile.write(tmp_path / name / f"{number}.wav", np.full(4000, level), 8000)
    (tmp_path / "validation_list.txt").write_text("yes/0.wav\nno/0.wav\n")
    (tmp_path / "testing_list.txt").write_text("yes/1.wav\r\nno/1.wav")
    found = spectrogram_cnn.datasets(tmp_path, seconds=0.5)
    assert found.class_names == ("no", "yes") and found.left_out == {}
    levels = {name: sorted(set(np.rint(found.split(name)[0].max(axis=1) / 327.68))) for name in found.splits}
    assert levels == {"train": [3, 4], "validation": [1], "test": [2]}
    assert len(found.noise) == 4 * 4000 and found.noise.min() == 16384
    assert "4 recordings of _background_noise_" in capfd.readouterr().out
    quiet = np.zeros((2, 4000), np.float32) + 0.1
    heard = np.asarray(audio.lay_under(np.repeat(quiet, 50, 0), np.float32(found.noise / 32768), [0, 1]))
    changed = np.abs(heard - 0.1).max(axis=1) > 1e-6
    assert 0.5 < changed.mean() < 0.9 and np.abs(heard).max() <= 0.21  # at most as loud as the sound
    (tmp_path / "testing_list.txt").write_text("yes/9.wav")
    with pytest.raises(ValueError, match=r"testing_list.txt names yes/9.wav, which is not there"):
        spectrogram_cnn.datasets(tmp_path)


# Images


def read(path):
    return np.asarray(files.open_image(path)).astype(int)


def test_floats_and_bits_are_read_by_their_range(tmp_path, capfd):
    shares = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    for name, pixels in {
        "unit.tif": shares,
        "byte.tif": shares * 255,
        "wide.tif": shares * 65535,
        "twelve.png": np.uint16(shares * 4095),
        "sixteen.png": np.uint16(shares * 65535),
        "eight.png": np.uint16(shares * 255),
    }.items():
        Image.fromarray(pixels).save(tmp_path / name)
        np.testing.assert_allclose(read(tmp_path / name), 255 * shares, atol=1.01, err_msg=name)
    told = capfd.readouterr().err
    assert "unit.tif holds floats: 1.0 is read as white" in told and "sixteen" not in told
    assert "twelve.png holds 16 bits of which 12 are used: 4,095 is read as white" in told
    Image.fromarray(shares * 1e6).save(tmp_path / "far.tif")
    Image.fromarray(np.where(shares > 0.5, np.nan, shares)).save(tmp_path / "none.tif")
    for name, message in (("far.tif", "pixels from 0 to 1e"), ("none.tif", "no numbers")):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name)


def test_lab_and_large_images(tmp_path):
    grey = Image.new("RGB", (8, 8), (120, 120, 120))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    ImageCms.profileToProfile(grey, *profiles, outputMode="LAB").save(tmp_path / "lab.tif")
    np.testing.assert_allclose(read(tmp_path / "lab.tif"), 120, atol=4)
    Image.new("1", (14_000, 13_000)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match=r"large.png has 182,000,000 pixels: at most [\d,]+ are read"):
        read(tmp_path / "large.png")


def test_a_long_thin_image_does_not_fill_the_memory(tmp_path):
    Image.new("L", (1, 1_000_000), 200).save(tmp_path / "line.png")
    assert files.read_fitted(tmp_path / "line.png", (28, 28, 1)).shape == (28, 28, 1)


def test_what_is_no_image_here_is_counted(tmp_path, capfd):
    for name in ("cat", "dog"):
        pictures(tmp_path / name, suffix=".png")
        pictures(tmp_path / name / "more", suffix=".jfif")
        for number in range(3):
            (tmp_path / name / f"{number}.HEIC").write_bytes(b"0")
        (tmp_path / name / "Thumbs.db").write_bytes(b"0")
    found = mnist_cnn.datasets(tmp_path)
    assert len(found.split("all")[1]) == 16 and found.left_out == {".heic": 6}
    assert f"left out of {tmp_path}: 6 files that are no images read here (.heic 6)" in capfd.readouterr().err
    status, answer, error = run_json(capfd, "predict", "mnist_cnn", tmp_path, "--output", tmp_path / "out")
    assert status == 0 and len(answer["predictions"]) == 16 and answer["left_out"] == {".heic": 6}
    assert ".heic 6" in error


def test_a_bad_file_named_does_not_stop_the_others(tmp_path, capfd):
    pictures(tmp_path, count=3)
    (tmp_path / "bad.png").write_bytes(b"no image")
    command = ("predict", "mnist_cnn", tmp_path / "0.png", tmp_path / "bad.png", tmp_path / "1.png")
    status, answer, error = run_json(capfd, *command, "--output", tmp_path / "out")
    assert status == 1 and len(answer["predictions"]) == 2 and answer["failed"] == [str(tmp_path / "bad.png")]
    assert "bad.png is not an image" in error
    status, answer, error = run_json(capfd, "predict", "mnist_cnn", tmp_path / "bad.png", "--output", tmp_path / "none")
    assert status == 2 and not (tmp_path / "none").exists()


# Masks


def labels(folder):
    return np.unique(unet.datasets(folder).split("all")[1]).tolist()


@pytest.mark.parametrize("mode", [None, "1", "LA"])
def test_masks_of_0_and_255(mode, tmp_path, capfd):
    masks(tmp_path, HALVES * 255, mode=mode)
    assert labels(tmp_path) == [0, 1]
    assert "255 is read as class 1, object" in capfd.readouterr().err


def test_0_and_255_of_other_classes_is_refused(tmp_path):
    masks(tmp_path / "three", HALVES * 255, names=("a", "b", "c"))
    masks(tmp_path / "one", HALVES * 255, names=("a",))
    for name, count in (("three", 3), ("one", 1)):
        with pytest.raises(ValueError, match=rf"only 0 and 255, and classes.csv names {count} classes.*column label"):
            unet.datasets(tmp_path / name)
    void = HALVES.copy()
    void[:5] = IGNORE
    masks(tmp_path / "void", void)
    assert labels(tmp_path / "void") == [0, 1, 255]


def test_a_palette_of_the_classes_colours_decides(tmp_path):
    colours = [(0, 0, 0), (255, 0, 0)]
    masks(tmp_path / "same", HALVES, palette=colours, csv_colours=colours)
    masks(tmp_path / "swapped", HALVES, palette=colours[::-1], csv_colours=colours)
    masks(tmp_path / "others", HALVES, palette=[(1, 2, 3), (4, 5, 6)], csv_colours=colours)
    masks(tmp_path / "plain", HALVES, palette=colours[::-1])
    first = {
        name: unet.datasets(tmp_path / name).split("all")[1][0, 0] for name in ("same", "swapped", "others", "plain")
    }
    for name, row in first.items():
        assert row[0] == (1 if name == "swapped" else 0) and row[-1] == 1 - row[0], name


def test_alpha_and_floats_of_masks(tmp_path):
    masks(tmp_path / "alpha", HALVES, mode="LA")
    assert labels(tmp_path / "alpha") == [0, 1]
    masks(tmp_path / "floats", HALVES)
    for number in range(4):
        Image.fromarray(np.float32(HALVES)).save(tmp_path / "floats/masks" / f"{number}.tif")
        (tmp_path / "floats/masks" / f"{number}.png").unlink()
    assert labels(tmp_path / "floats") == [0, 1]
    Image.fromarray(np.float32(HALVES) / 2).save(tmp_path / "floats/masks/0.tif")
    with pytest.raises(ValueError, match=r"0\.tif holds 0\.5, which is no class"):
        unet.datasets(tmp_path / "floats")


def test_a_class_that_never_occurs_is_told(tmp_path, capfd):
    masks(tmp_path, HALVES, names=("a", "b", "bird"))
    unet.datasets(tmp_path)
    assert "has no pixel of bird in its training split" in capfd.readouterr().err


def test_a_photo_that_exif_turns_has_its_mask_turned(tmp_path, capfd):
    masks(tmp_path, HALVES)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:, 15:] = 200
    for number in range(4):
        Image.fromarray(picture).save(tmp_path / "images" / f"{number}.png", exif=exif)
    x, y = unet.datasets(tmp_path).split("all")
    assert x.shape[1:3] == (30, 20) and (x[..., 0] > 100).tolist() == (y == 1).tolist()
    assert "its mask with it" in capfd.readouterr().err


# Sounds


def test_floats_far_above_one_are_scaled(tmp_path, capfd):
    tone = np.sin(np.arange(8000) / 5)
    soundfile.write(tmp_path / "usual.wav", tone * 0.9, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "integers.wav", tone * 30_000, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "loud.wav", tone * 1.5, 8000, subtype="FLOAT")
    np.testing.assert_allclose(audio.read(tmp_path / "integers.wav", 8000), tone * 30_000 / 32768, atol=1e-4)
    assert np.abs(waveforms.pcm(audio.read(tmp_path / "loud.wav", 8000))).max() == 32767
    told = capfd.readouterr().err
    assert "integers.wav holds floats far above 1: 32,768 is read as full scale" in told
    assert "loud.wav holds floats above 1: they are clipped" in told and "usual" not in told


def test_a_silent_first_channel_is_told(tmp_path, capfd):
    both = np.stack([np.zeros(8000), np.sin(np.arange(8000) / 5)], axis=1)
    soundfile.write(tmp_path / "right.wav", both, 8000)
    assert not audio.read(tmp_path / "right.wav", 8000).any()
    assert "silent first channel" in capfd.readouterr().err and audio.read(tmp_path / "right.wav", 8000, "mix").any()


# Videos and runs


def test_a_film_of_changing_rate_keeps_its_times(tmp_path, capfd):
    times = np.cumsum([0, 0.04, 0.2, 0.04, 0.2, 0.04, 0.6])
    with video.Writer(tmp_path / "film.mp4", 10, (96, 64)) as film:
        for number, time in enumerate(times):
            film.write(np.full((64, 96, 3), 30 * number, np.uint8), time)
    output = tmp_path / "out"
    status, answer, _ = run_json(
        capfd, "predict", "yolo", tmp_path / "film.mp4", "--confidence", "0", "--output", output
    )
    (row,) = answer["predictions"]
    assert status == 0 and row["seconds"] == np.round(times, 3).tolist()
    with video.Reader(row["video"]) as again:
        seen = [again.time for _ in again]
    np.testing.assert_allclose(seen, times, atol=1e-3)
    with open(output / "predictions.csv", newline="") as stream:
        assert {(r["frame"], r["seconds"]) for r in csv.DictReader(stream)} <= {
            (str(number), str(time)) for number, time in enumerate(row["seconds"])
        }
    assert Fraction(row["frames"]) == 7


def test_a_folder_of_a_run_is_not_trained_into_again(tmp_path):
    mnist_cnn.train(output=tmp_path, epochs=1, **SMALL)
    before = (tmp_path / "model.keras").read_bytes()
    with pytest.raises(ValueError, match=r"holds a run: --resume .* goes on with it, --overwrite"):
        mnist_cnn.train(output=tmp_path, epochs=1, seed=1, **SMALL)
    assert (tmp_path / "model.keras").read_bytes() == before
    mnist_cnn.train(output=tmp_path, epochs=1, seed=1, overwrite=True, **SMALL)
    assert json.loads((tmp_path / "card.json").read_text())["training"]["arguments"]["seed"] == 1
    assert "overwrite" not in (tmp_path / "card.json").read_text() and not (tmp_path / ".lock").exists()


def _hold(folder, ready, done):
    from recipes import runs

    runs._lock(Path(folder))
    ready.set()
    done.wait(60)


def test_two_trainings_do_not_share_a_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, done))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(ValueError, match=rf"is being trained in by process {other.pid}"):
            mnist_cnn.train(output=tmp_path, epochs=1, **SMALL)
        assert os.listdir(tmp_path) == [".lock"]
    finally:
        other.kill()  # frees the lock
        other.join()
    if sys.platform != "win32":
        assert mnist_cnn.train(output=tmp_path, epochs=1, **SMALL)["epochs"] == 1


@pytest.mark.parametrize("recipe", [mnist_cnn, denoising_autoencoder])
def test_trains_for_one_step(recipe, tmp_path):
    for name in ("cat", "dog"):
        pictures(tmp_path / "data" / name, count=3)
    result = recipe.train(dataset=str(tmp_path / "data"), output=tmp_path / "run", epochs=1, filters=(4, 4))
    assert result["epochs"] == 1
