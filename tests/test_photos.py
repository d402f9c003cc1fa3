"""The denoiser for photos: its network, parts cut out of photos, whole photos measured, tiles exported."""

import functools

import keras
import numpy as np
import pytest
from commands import refused, run_json
from PIL import Image

import zoo
from recipes import denoising_autoencoder as recipe
from recipes import enlarging
from recipes.data import crops, noise, reduction
from zoo.denoising_autoencoder import resized
from zoo.tiles import by_tiles, by_views

NETWORK = {"architecture": "residual_unet", "filters": (8, 12), "blocks": 1}


def photo(height, width, seed=0):
    """Smooth colours with edges, as photos have them."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 5), ("val", 2)):
        (folder / split).mkdir()
        for number in range(count):
            Image.fromarray(photo(70 + 8 * number, 90, number)).save(folder / split / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def photo_run(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    options = {"crop": 32, "crops_per_photo": 96, "noise_level": (5, 50), "test_level": 25, "loss": "l1"}
    answer = recipe.train(
        dataset=str(folder), epochs=6, batch_size=16, learning_rate=1e-2, weight_decay=0.0, output=output,
        **options, **(NETWORK | {"blocks": (1,)}),
    )  # fmt: skip
    return output, answer


def test_the_network_begins_with_the_image_and_scales_with_it():
    model = zoo.denoising_autoencoder((None, None, 3), **NETWORK)
    images = np.random.default_rng(0).random((2, 24, 36, 3)).astype(np.float32)
    np.testing.assert_allclose(model(images), images, atol=1e-6)
    random = np.random.default_rng(1)
    model.set_weights([random.normal(0, 0.2, weight.shape) for weight in model.get_weights()])
    # without biases: what it does to an image, it does to its half
    full, half = (np.asarray(model(images * share, training=True)) for share in (0.1, 0.05))
    np.testing.assert_allclose(half, full / 2, atol=1e-6)
    fixed = resized(model, 24, 36)
    np.testing.assert_allclose(fixed(images), model(images), atol=1e-5)
    with pytest.raises(ValueError, match="25 x 36 is no multiple"):
        resized(model, 25, 36)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "dncnn"}, "architecture must be classic, residual_unet or sub_pixel, got 'dncnn'"),
        ({"blocks": (1, 2, 3)}, "one number or one per level"),
        ({"blocks": 0}, "1 or more"),
        ({"input_shape": (30, 30, 3)}, "multiples of the stride 4"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        zoo.denoising_autoencoder(**({"input_shape": (32, 32, 3)} | NETWORK | options))


def test_parts_are_parts_of_the_photos_and_repeat():
    photos = [np.arange(20 * 30 * 3, dtype=np.int64).reshape(20, 30, 3) % 251, photo(9, 40)]
    photos = [np.uint8(one) for one in photos]
    slightly = functools.partial(noise.add, kind="gaussian", low=0.0, high=0.01)
    sizes = {"batch_size": 6, "steps": 4, "epochs": 3, "seed": 5}
    options = {"crop": (8, 8), "crops_per_photo": 12, "degrade": slightly} | sizes
    whole = [(np.asarray(x), np.asarray(y)) for x, y in crops.training_batches(photos, **options)]
    again = [np.asarray(x) for x, _ in crops.training_batches(photos, **options, first_epoch=2)]
    assert len(whole) == 12
    for one, other in zip([x for x, _ in whole[8:]], again, strict=True):
        np.testing.assert_array_equal(one, other)
    windows = set()
    for one in photos:
        for top in range(one.shape[0] - 7):
            for left in range(one.shape[1] - 7):
                part = one[top : top + 8, left : left + 8]
                for turned in (part, part.transpose(1, 0, 2)):
                    for flipped in (turned, turned[::-1], turned[:, ::-1], turned[::-1, ::-1]):
                        windows.add(flipped.tobytes())
    parts = np.concatenate([y for _, y in whole])
    assert all(np.rint(255 * part).astype(np.uint8).tobytes() in windows for part in parts)
    assert len({part.tobytes() for part in parts}) > 60


def test_levels_above_one_are_of_255():
    assert noise.level_range((5, 50)) == (5 / 255, 50 / 255) and noise.level_range(0.5) == (0.5, 0.5)
    with pytest.raises(ValueError, match=r"noise_level must be in \[0, 1\], or 2 to 255.*got 300"):
        noise.level_range(300)


def test_whole_photos_are_measured(photo_run, folder, capfd, tmp_path):
    output, answer = photo_run
    assert answer["metrics"]["psnr"] > answer["baselines"]["noisy"]["psnr"] + 2
    command = ("evaluate", "denoising_autoencoder", "--model", output, "--dataset", folder, "--noise-level", 25)
    status, found, _ = run_json(capfd, *command, "--curve", 15, "--output", tmp_path)
    assert status == 0 and found["split"] == "validation" and found["images"] == 2
    assert found["metrics"]["psnr"] == pytest.approx(answer["metrics"]["psnr"], abs=1e-4)
    clean = [np.asarray(Image.open(folder / "val" / f"{number}.png")) for number in range(2)]
    noisy = noise.fixed(clean, kind="gaussian", level=25 / 255)
    psnr = [-10 * np.log10(np.mean((a / 255 - b / 255) ** 2)) for a, b in zip(clean, noisy, strict=True)]
    assert found["baselines"]["noisy"]["psnr"] == pytest.approx(np.mean(psnr), abs=1e-4)
    assert {"median_3x3", "gaussian_filter", "non_local_means", "wavelet"} <= set(found["baselines"])


def test_a_large_photo_is_restored_in_parts_without_a_seam(photo_run):
    restorer = recipe.Restorer(photo_run[0])
    image = noise.fixed([photo(150, 170, 7)], kind="gaussian", level=0.1)[0]
    whole, parts = restorer._whole(image), restorer._whole(image, side=64, margin=48)
    assert whole.shape == image.shape and np.abs(whole.astype(int) - parts).max() <= 1
    grey = restorer.any_size(image[..., :1])
    assert grey.shape == (150, 170, 1)


@pytest.mark.parametrize("factor", [1, 2])
def test_the_mean_over_views_turns_with_the_image(factor):
    image, done = photo(20, 28, 3), []

    def restore(one, progress):
        if progress is not None:
            progress(1, 1)
        uneven = one // 2 + np.arange(one.shape[1], dtype=np.uint8)[:, None]  # depends on the side it is seen from
        return uneven.repeat(factor, 0).repeat(factor, 1)

    np.testing.assert_array_equal(by_views(restore, image, "none"), restore(image, None))
    mirrored = (restore(image, None).astype(int) + restore(image[:, ::-1], None)[:, ::-1] + 1) // 2
    np.testing.assert_array_equal(by_views(restore, image, "flip"), mirrored)
    seen = by_views(restore, image, "rotate", lambda *counts: done.append(counts))
    assert seen.shape == (factor * 20, factor * 28, 3) and done == [(number, 8) for number in range(1, 9)]
    for turn in (lambda one: np.rot90(one), lambda one: one[::-1], lambda one: one.swapaxes(0, 1)):
        np.testing.assert_array_equal(by_views(restore, turn(image), "rotate"), turn(seen))


def test_the_mean_over_views_is_better(capfd, tmp_path):
    from skimage.data import chelsea

    clean = np.asarray(chelsea())[50:178, 100:228]
    (noisy,) = noise.fixed([clean], kind="gaussian", level=25 / 255)
    Image.fromarray(noisy).save(tmp_path / "cat.png")
    options = ("--model", "denoising_photos", "--output", tmp_path / "out", "--test-time-augmentation", "rotate")
    assert run_json(capfd, "predict", "denoising_autoencoder", tmp_path / "cat.png", *options)[0] == 0
    found = np.asarray(Image.open(tmp_path / "out/cat-restored.png"))
    phone = zoo.pretrained.file("denoising_photos", "model.tflite")
    seen = {way: recipe.Restorer(phone, test_time_augmentation=way)([noisy])[0] for way in ("none", "flip", "rotate")}
    np.testing.assert_array_equal(found, seen["rotate"])
    psnr = {way: recipe.quality([clean], [one])["psnr"] for way, one in seen.items()}
    assert psnr["none"] + 0.02 < psnr["flip"] < psnr["rotate"] - 0.02


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_exported_tiles_restore_photos(quantize, photo_run, folder, capfd, tmp_path):
    command = ("export", "denoising_autoencoder", "--model", photo_run[0], "--dataset", folder, "--quantize", quantize)
    status, answer, _ = run_json(capfd, *command, "--output", tmp_path)
    (entry,) = answer["files"]
    loss = answer["metrics"]["psnr"] - entry["metrics"]["psnr"]
    assert status == 0 and loss < (0.05 if quantize == "none" else 0.6)
    exported = recipe.Restorer(tmp_path / entry["file"])
    assert exported.input_shape == (256, 256, 3) and exported.overlaps == 1


def test_resumes_to_the_same_weights(folder, tmp_path, monkeypatch):
    options = {"crop": 16, "crops_per_photo": 8, "batch_size": 4, "epochs": 2, "filters": (4,), "learning_rate": 1e-3}
    options |= {"architecture": "residual_unet", "noise_level": (10, 20), "dataset": str(folder)}
    monkeypatch.setattr(recipe, "measure", lambda *args, **kwargs: {"metrics": {}, "baselines": {}})
    monkeypatch.setattr(recipe, "_rows", lambda figures: [{"image": "none"}])
    recipe.train(output=tmp_path / "whole", **options)
    fit = recipe.training.fit

    def killed(*args, **kwargs):
        kill = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: 1 / (1 - epoch))
        return fit(*args, **kwargs | {"callbacks": [kill]})

    monkeypatch.setattr(recipe.training, "fit", killed)
    with pytest.raises(ZeroDivisionError):
        recipe.train(output=tmp_path / "cut", **options)
    monkeypatch.setattr(recipe.training, "fit", fit)
    recipe.train(resume=tmp_path / "cut")
    first, second = (zoo.load(tmp_path / name / "model.keras").get_weights() for name in ("whole", "cut"))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_bad_folders_are_one_line(tmp_path):
    with pytest.raises(ValueError, match="there is no folder nowhere"):
        crops.load("nowhere")
    (tmp_path / "few").mkdir()
    Image.fromarray(photo(20, 20)).save(tmp_path / "few/a.png")
    with pytest.raises(ValueError, match=r"few has 1 photos that can be read: the splits need 3"):
        crops.load(tmp_path / "few")


def test_the_published_model_restores_photos(real_data):
    card = zoo.pretrained.card("denoising_photos")
    assert card["parameters"] <= 500_000 and card["metrics"]["psnr"] >= 30.9
    clean = crops.load(real_data / "bsds400").split("val")[0][:6]
    noisy = noise.fixed(clean, kind="gaussian", level=25 / 255)
    for file in ("model.keras", "model.tflite"):
        figures = recipe.quality(clean, recipe.Restorer(zoo.pretrained.file("denoising_photos", file))(noisy))
        assert figures["psnr"] == pytest.approx(31.8, abs=0.1)  # the first six are among the easier ones


def test_the_published_model_restores_a_photo_that_ships_here():
    from skimage.data import chelsea

    clean = [np.asarray(chelsea())]
    noisy = noise.fixed(clean, kind="gaussian", level=25 / 255)
    figures = recipe.quality(clean, recipe.Restorer("denoising_photos")(noisy))
    assert figures["psnr"] > recipe.quality(clean, noisy)["psnr"] + 10


# Super-resolution


@pytest.fixture(scope="module")
def enlarging_run(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("enlarging")
    options = {"crop": 32, "crops_per_photo": 64, "loss": "l1", "filters": (12,), "blocks": (1,), "batch_size": 16}
    answer = recipe.train(
        task="super_resolve", factor=2, dataset=str(folder), epochs=4, learning_rate=4e-3, output=output, **options
    )
    return output, answer


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_network_that_enlarges_begins_with_each_pixel_repeated(factor):
    model = zoo.denoising_autoencoder((None, None, 3), architecture="sub_pixel", filters=(8,), blocks=2, factor=factor)
    images = np.random.default_rng(0).random((2, 9, 14, 3)).astype(np.float32)
    np.testing.assert_allclose(model(images), images.repeat(factor, 1).repeat(factor, 2), atol=1e-6)
    with pytest.raises(ValueError, match="factor of 2, 3 or 4"):
        zoo.denoising_autoencoder(architecture="sub_pixel", filters=(8,), factor=5)


def test_training_reduces_as_the_test_pairs_are_reduced():
    """TensorFlow's and Pillow's antialiased bicubic interpolation; Pillow rounds and clips between rows and columns."""
    clean = photo(48, 96)
    ours = reduction.in_training(clean[None] / np.float32(255), None, factor=3)[0] * 255
    gap = np.abs(np.asarray(ours) - reduction.fixed([clean], 3)[0])
    assert np.quantile(gap, 0.98) <= 2.01 and gap.mean() < 0.3


def test_the_luma_is_that_of_the_standard():
    """White, black and the primaries of ITU-R BT.601 in eight bits, and the border is cut off."""
    colours = np.uint8([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]])
    photos = np.broadcast_to(colours[:, None, None], (5, 6, 8, 3))
    found = [enlarging.luma(one, 2) for one in photos]
    assert found[0].shape == (2, 4, 1)
    np.testing.assert_allclose([one[0, 0, 0] for one in found], [235, 16, 81.48, 144.55, 40.97], atol=0.01)


def test_enlarged_photos_are_measured_beside_interpolation(enlarging_run, folder, capfd, tmp_path):
    output, answer = enlarging_run
    assert answer["metrics"]["psnr"] > answer["baselines"]["nearest"]["psnr"] + 0.5
    command = ("evaluate", "denoising_autoencoder", "--model", output, "--dataset", folder, "--output", tmp_path)
    status, found, _ = run_json(capfd, *command)
    assert status == 0 and found["noise"] == {"kind": "reduced", "factor": 2}
    assert found["metrics"]["psnr"] == pytest.approx(answer["metrics"]["psnr"], abs=1e-4)
    values = []
    for number in range(2):  # Pillow's bicubic there and back, by hand
        clean = Image.open(folder / "val" / f"{number}.png")
        clean = clean.crop((0, 0, clean.width // 2 * 2, clean.height // 2 * 2))
        small = clean.resize((clean.width // 2, clean.height // 2), Image.Resampling.BICUBIC)
        both = [
            np.asarray(one, float)[2:-2, 2:-2] for one in (clean, small.resize(clean.size, Image.Resampling.BICUBIC))
        ]
        ours, theirs = (one @ [65.481, 128.553, 24.966] / 255 + 16 for one in both)
        values.append(10 * np.log10(255**2 / np.mean((ours - theirs) ** 2)))
    assert found["baselines"]["bicubic"]["psnr"] == pytest.approx(np.mean(values), abs=1e-3)
    line = refused(capfd, *command[:6], "--noise-level", 25)
    assert "enlarges photos: leave out noise" in line


def test_an_exported_file_enlarges_photos_of_any_size(enlarging_run, folder, capfd, tmp_path):
    output = enlarging_run[0]
    command = ("export", "denoising_autoencoder", "--model", output, "--dataset", folder, "--output", tmp_path)
    status, answer, _ = run_json(capfd, *command)
    (entry,) = answer["files"]
    assert status == 0 and answer["metrics"]["psnr"] - entry["metrics"]["psnr"] < 0.05
    image = photo(150, 170, 7)
    whole = recipe.Restorer(output).any_size(image)
    tiles = np.asarray(zoo.Predictor(tmp_path / entry["file"])(image).image)
    assert tiles.shape == (300, 340, 3) and np.abs(tiles.astype(int) - whole).mean() < 0.5
    Image.fromarray(image).save(tmp_path / "small.png")
    options = ("--task", "super_resolve", "--model", tmp_path / entry["file"], "--output", tmp_path / "predicted")
    status, answer, _ = run_json(capfd, "predict", "denoising_autoencoder", tmp_path / "small.png", *options)
    assert status == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "predicted/small-x2.png")), tiles)
    line = refused(capfd, "predict", "denoising_autoencoder", tmp_path / "small.png", *options[2:4])
    assert "is not for image denoising: it is for image super-resolution" in line


@pytest.mark.parametrize("size", [(40, 500), (257, 30), (300, 310)])
def test_tiles_of_a_network_that_enlarges(size):
    image = np.random.default_rng(1).integers(0, 255, (*size, 1)).astype(np.uint8)
    told = []
    found = by_tiles(
        lambda batch: batch.repeat(3, 1).repeat(3, 2),
        image,
        (64, 64),
        2,
        factor=3,
        progress=lambda *two: told.append(two),
    )
    np.testing.assert_array_equal(found, image.repeat(3, 0).repeat(3, 1))
    assert told[-1][0] == told[-1][1]


def test_a_photo_is_restored_by_the_model_for_photos(capfd, tmp_path):
    Image.fromarray(photo(120, 130)).save(tmp_path / "photo.png")
    status, _, told = run_json(
        capfd, "predict", "denoising_autoencoder", tmp_path / "photo.png", "--output", tmp_path / "out"
    )
    assert status == 0 and "denoising_photos is taken" in told


def test_the_benchmark_of_a_photo_network(enlarging_run, folder, capfd, tmp_path, monkeypatch):
    from recipes.benchmarks import photo_restoration

    monkeypatch.setattr(photo_restoration, "LARGE", (400, 500))
    assert recipe.export(model=str(enlarging_run[0]), dataset=str(folder), output=enlarging_run[0])["files"]
    capfd.readouterr()
    status, answer, told = run_json(
        capfd, "benchmark", "denoising_autoencoder", "--model", enlarging_run[0], "--dataset", folder,
        "--rounds", 1, "--images", 32, "--output", tmp_path,
    )  # fmt: skip
    assert status == 0, told
    assert answer["images_per_second"]["ours / damaged once"] > 0
    assert {"1 thread", "2 threads", "bicubic"} <= set(answer["seconds_per_megapixel"])
    assert 5e7 < answer["photo_of_24_megapixels"]["bytes"] < 1.5e9
