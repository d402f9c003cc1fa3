"""What `zoo predict` writes, and where: nothing given is replaced, nothing that it made is taken for a photo."""

import hashlib
import json

import numpy as np
import pytest
from commands import refused, run_json
from PIL import Image, ImageCms
from skimage.data import chelsea

from recipes.__main__ import main
from recipes.data import video

VERBS = ("yolo", "denoising_autoencoder", "image_classifier", "alexnet", "unet")


def photo(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(chelsea()[40:168, 90:250]).save(path, **options)
    return path


def contents(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def read(path):
    with Image.open(path) as image:
        image.load()
        return image


def options(name):
    return ("--model", "image_classifier") if name == "image_classifier" else ()


@pytest.mark.parametrize("name", VERBS)
def test_results_never_replace_what_was_given(capfd, tmp_path, name):
    photo(tmp_path / "photo.png"), photo(tmp_path / "predictions.png")
    before = contents(tmp_path)
    for given in (tmp_path / "photo.png", tmp_path / "predictions.png", tmp_path):
        line = refused(capfd, "predict", name, given, *options(name), "--output", tmp_path)
        assert "where the results go: name another folder" in line
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["yolo", "denoising_autoencoder", "alexnet"])
def test_files_of_others_stay_and_earlier_results_are_replaced(capfd, tmp_path, name):
    given, output = photo(tmp_path / "photos/photo.png"), tmp_path / "there"
    names = {"yolo": "photo", "denoising_autoencoder": "photo-restored", "alexnet": "photo-corrected"}
    photo(output / f"{names[name]}.png")
    before = contents(output)
    for _ in range(2):
        assert run_json(capfd, "predict", name, given, "--output", output)[0] == 0
        assert before.items() <= contents(output).items() or (output / "predictions.json").exists()
    assert (output / f"{names[name]}-2.png").is_file()
    photo(tmp_path / "other/predictions.png")
    line = refused(capfd, "predict", "alexnet", given, "--output", tmp_path / "other")
    assert "other/predictions.png would be replaced" in line


def test_earlier_results_below_a_folder_are_no_photos(capfd, tmp_path):
    photo(tmp_path / "photos/photo.png"), photo(tmp_path / "photos/sub/photo.png")
    command = ("predict", "denoising_autoencoder", tmp_path / "photos", "--output", tmp_path / "photos/out")
    first, second = (run_json(capfd, *command) for _ in range(2))
    assert len(first[1]["predictions"]) == len(second[1]["predictions"]) == 2
    assert "left out" not in first[2] and second[2].count("left out") == 1  # each file once
    assert "photos: 3 files in folders of earlier results" in second[2]
    chained = run_json(capfd, "predict", "yolo", tmp_path / "photos/out", "--output", tmp_path / "found")
    assert len(chained[1]["predictions"]) == 3  # one that is named is what is wanted


def test_earlier_results_do_not_choose_the_model(capfd, tmp_path):
    (tmp_path / "digits").mkdir()
    Image.fromarray(np.uint8(np.eye(28) * 255)).save(tmp_path / "digits/one.png")
    photo(tmp_path / "digits/before/photo.png")
    (tmp_path / "digits/before/predictions.json").write_text("[]")
    command = ("predict", "denoising_autoencoder", tmp_path / "digits", "--output", tmp_path / "out")
    status, answer, err = run_json(capfd, *command)
    assert status == 0 and len(answer["predictions"]) == 1 and "looks like a photo" not in err


def test_a_mask_of_others_stays(capfd, tmp_path):
    given = photo(tmp_path / "photos/photo.png")
    photo(tmp_path / "masks/photo-mask.png")
    before = contents(tmp_path / "masks")
    status, answer, _ = run_json(capfd, "predict", "unet", given, "--output", tmp_path / "masks")
    assert status == 0 and before.items() <= contents(tmp_path / "masks").items()
    assert answer["predictions"][0]["mask"].endswith("photo-2-mask.png")


def test_an_output_that_is_a_file_is_named(capfd, tmp_path):
    given, file = photo(tmp_path / "photo.png"), tmp_path / "file.txt"
    file.write_text("kept")
    for output in (file, file / "below"):
        line = refused(capfd, "predict", "alexnet", given, "--output", output)
        assert f"cannot write to {output}: {file} is no folder" in line
    assert file.read_text() == "kept"


@pytest.mark.parametrize("name", ["yolo", "denoising_autoencoder", "alexnet"])
def test_the_profile_of_the_colours_is_kept_where_it_fits(capfd, tmp_path, name):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo(tmp_path / "photo.png", icc_profile=profile)
    other = profile[:16] + b"CMYK" + profile[20:]
    Image.fromarray(chelsea()).convert("CMYK").save(tmp_path / "print.jpg", icc_profile=other)
    command = ("predict", name, tmp_path / "photo.png", tmp_path / "print.jpg", "--output", tmp_path / "out")
    status, answer, _ = run_json(capfd, *command)
    keys = {"yolo": "picture", "denoising_autoencoder": "restored", "alexnet": "corrected"}
    kept, dropped = (read(row[keys[name]]).info.get("icc_profile") for row in answer["predictions"])
    assert status == 0 and kept == profile and dropped is None


def test_transparency_is_told_and_grey_stays_grey(capfd, tmp_path):
    grey = Image.fromarray(chelsea()[40:168, 90:250]).convert("LA")
    grey.save(tmp_path / "opaque.png")
    pixels = np.array(grey)
    pixels[:64, :, 1] = 0
    Image.fromarray(pixels).save(tmp_path / "half.png")
    command = ("predict", "denoising_autoencoder", tmp_path / "opaque.png", tmp_path / "half.png")
    status, answer, err = run_json(capfd, *command, "--output", tmp_path / "out")
    assert status == 0 and "half.png is transparent in part" in err and "opaque.png is" not in err
    opaque, half = (read(row["restored"]) for row in answer["predictions"])
    assert opaque.mode == half.mode == "L"
    assert np.asarray(half)[:48].min() > 230 > np.asarray(opaque)[:48].mean()


def test_enlarged_photos_are_listed_in_their_size(capfd, tmp_path):
    given = photo(tmp_path / "photo.png")
    command = ("predict", "denoising_autoencoder", given, "--task", "super_resolve", "--output", tmp_path / "out")
    (row,) = run_json(capfd, *command)[1]["predictions"]
    assert read(row["restored"]).size == (row["width"], row["height"]) == (320, 256)


def test_what_is_refused_is_the_only_thing_said(capfd, tmp_path):
    given = photo(tmp_path / "photo.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "clean.png")
    assert main(["predict", "denoising_autoencoder", str(given), "--clean", str(tmp_path / "clean.png")]) == 2
    out, err = capfd.readouterr()
    assert not out and len(err.strip().splitlines()) == 1 and "they must be equal" in err
    for command in (("predict", "image_classifier", given), ("export", "alexnet"), ("evaluate", "yolo")):
        assert "photo.png is no model; accepted: alexnet, " in refused(capfd, *command, "--model", given)


def test_photos_too_small_to_be_measured_are_skipped(capfd, tmp_path):
    for number in range(2):
        photo(tmp_path / f"photos/{number}.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "photos/one.png")
    for model in ("denoising_photos", "super_resolution"):
        command = ("evaluate", "denoising_autoencoder", "--model", model, "--dataset", tmp_path / "photos")
        level = ("--curve", 25) if model == "denoising_photos" else ()
        status, answer, err = run_json(capfd, *command, "--split", "all", *level, "--output", tmp_path / model)
        assert status == 0 and answer["images"] == 2 and answer["skipped_files"] == 1
        assert "one.png has 1x1 pixels, at least" in err


def test_frames_that_were_looked_at_are_counted(capfd, tmp_path):
    film, frame = tmp_path / "film.mp4", np.ascontiguousarray(chelsea()[40:168, 90:250])
    with video.Writer(film, 10, (160, 128)) as out:
        for _ in range(7):
            out.write(frame)
    command = ["predict", "yolo", str(film), "--every", "5", "--output", str(tmp_path / "out")]
    assert main(command) == 0
    assert "images: 2 of 7, " in capfd.readouterr().out
    (entry,) = json.loads((tmp_path / "out/predictions.json").read_text())
    assert entry["frame_numbers"] == [0, 5]
