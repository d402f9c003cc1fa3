"""The denoiser: metrics, losses and noise against oracles, tiles without a seam, and every verb of its recipe."""

import functools
import io
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from commands import refused, run_json
from PIL import Image
from skimage.metrics import structural_similarity as reference_similarity

import zoo
from recipes import denoising_autoencoder as recipe
from recipes import timing, training
from recipes.benchmarks import denoising_autoencoder as benchmarks
from recipes.data import files, images, noise
from zoo import losses, metrics, pretrained
from zoo.photos import light_on_dark
from zoo.tiles import by_tiles

ROOT = Path(__file__).parent.parent
SMALL = {"filters": (8, 16), "convolutions": 1, "decoder_convolutions": 1, "batch_size": 32, "learning_rate": 0.01}
FIGURES = ("psnr", "ssim", "mse")


def pairs(shape=(3, 24, 20, 3), scale=0.2, seed=0):
    random = np.random.default_rng(seed)
    clean = random.random(shape, dtype=np.float32)
    return clean, np.float32(clean + scale * random.standard_normal(shape))


def slow_psnr(clean, restored):
    error = ((np.clip(clean, 0, 1) - np.clip(restored, 0, 1)) ** 2).reshape(len(clean), -1).mean(axis=1)
    return 10 * np.log10(1 / error)


def slow_ssim(clean, restored):
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    images = zip(np.clip(clean, 0, 1), np.clip(restored, 0, 1), strict=True)
    return np.array([reference_similarity(*pair, channel_axis=-1, **options) for pair in images])


@pytest.fixture(scope="session")
def denoiser_run(tmp_path_factory):
    """The folder and the answer of a short training on the embedded digits."""
    folder = tmp_path_factory.mktemp("denoiser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "CURVE", (0.1, 0.6))
        answer = recipe.train(epochs=3, output=folder, **SMALL)
    return folder, answer


@pytest.fixture
def median_only(monkeypatch):
    """The median as the only baseline, and no curve: what takes no time."""
    monkeypatch.setattr(recipe, "CURVE", ())
    monkeypatch.setattr(recipe, "_filters", lambda *args: {"median_3x3": (recipe._median, {}, None)})


# The network


@pytest.mark.parametrize("residual", [False, True])
def test_any_size_that_the_stride_divides(residual):
    model = zoo.denoising_autoencoder((None, None, 3), filters=(4, 4, 4), residual=residual, skip_connections=True)
    for height, width in ((4, 4), (8, 20), (40, 12)):
        restored = model(np.random.default_rng(0).random((2, height, width, 3), dtype=np.float32))
        assert restored.shape == (2, height, width, 3)
        assert np.min(restored) >= 0 and np.max(restored) <= 1


def test_the_output_is_float32_under_mixed_precision():
    for residual in (False, True):
        with training.precision("mixed_bfloat16"):
            model = zoo.denoising_autoencoder((8, 8, 1), filters=(4, 4), residual=residual)
        assert model.output.dtype == "float32" and model.layers[1].compute_dtype == "bfloat16"


def test_residual_subtracts_the_noise_and_clips_only_outside_training():
    model = zoo.denoising_autoencoder((8, 8, 1), filters=(4,), residual=True)
    noise_layer = model.get_layer("noise")
    noise_layer.set_weights([np.zeros_like(noise_layer.get_weights()[0]), np.array([0.3], np.float32)])
    image = np.full((1, 8, 8, 1), 0.1, np.float32)
    np.testing.assert_allclose(model(image, training=False), 0.0)
    np.testing.assert_allclose(model(image, training=True), -0.2, rtol=1e-5)


def randomly(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0, 0.1, weight.shape).astype(np.float32) for weight in model.get_weights()])


def test_weights_must_fit(tmp_path):
    model = zoo.denoising_autoencoder((16, 16, 3), filters=(4, 4))
    model.save(tmp_path / "model.keras")
    image = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    again = zoo.denoising_autoencoder((16, 16, 3), weights=tmp_path / "model.keras")
    np.testing.assert_array_equal(model(image), again(image))
    with pytest.raises(ValueError, match=r"\(16, 16, 3\), asked for \(28, 28, 1\)"):
        zoo.denoising_autoencoder(weights=tmp_path / "model.keras")


@pytest.mark.parametrize(
    "options",
    [
        {"filters": (4, 4), "residual": True, "skip_connections": True, "batch_normalization": True},
        {"filters": (4,)},
        {"architecture": "residual_unet", "filters": (4, 8)},
        {"architecture": "sub_pixel", "filters": (4,)},
    ],
)
def test_weights_go_on_in_mixed_precision_as_a_new_network_does(tmp_path, options):
    trained = zoo.denoising_autoencoder((16, 16, 3), **options)
    randomly(trained)
    trained.save(tmp_path / "model.keras")
    with training.precision("mixed_bfloat16"):
        new = zoo.denoising_autoencoder((16, 16, 3), **options)
        again = zoo.denoising_autoencoder((16, 16, 3), weights=tmp_path / "model.keras")
    policies = [{layer.name: layer.dtype_policy.name for layer in model.layers} for model in (again, new)]
    assert policies[0] == policies[1]
    assert "mixed_bfloat16" in policies[0].values()
    image = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    difference = np.abs(np.asarray(trained(image)) - np.asarray(again(image)))
    assert 0 < difference.max() < 0.02


# Metrics and losses


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_and_ssim_against_independent_ones(channels):
    clean, restored = pairs((4, 24, 20, channels))
    psnr, ssim = metrics.PSNR(), metrics.SSIM()
    for index in (slice(0, 3), slice(3, 4)):  # batches of unequal size: the mean is over images
        psnr.update_state(clean[index], restored[index])
        ssim.update_state(clean[index], restored[index])
    assert float(psnr.result()) == pytest.approx(slow_psnr(clean, restored).mean(), abs=1e-4)
    assert float(ssim.result()) == pytest.approx(slow_ssim(clean, restored).mean(), abs=1e-4)


def test_equal_images_have_a_finite_psnr_and_ssim_one():
    clean, _ = pairs()
    np.testing.assert_allclose(metrics.peak_signal_to_noise_ratio(clean, clean), 100, rtol=1e-6)
    np.testing.assert_allclose(metrics.structural_similarity(clean, clean), 1, rtol=1e-6)


def test_ssim_needs_its_window():
    small = np.zeros((1, 11, 11, 1), np.float32)
    np.testing.assert_allclose(metrics.structural_similarity(small, small), 1)
    with pytest.raises(ValueError, match="11x11 pixels, got 12x10"):
        metrics.structural_similarity(np.zeros((1, 12, 10, 1)), np.zeros((1, 12, 10, 1)))


def test_losses_against_numpy():
    clean, restored = (np.clip(part, 0, 1) for part in pairs())
    expected = np.sqrt((clean - restored) ** 2 + 0.01**2).mean()
    assert float(losses.Charbonnier(0.01)(clean, restored)) == pytest.approx(expected, rel=1e-5)
    dissimilarity, difference = 1 - slow_ssim(clean, restored).mean(), np.abs(clean - restored).mean()
    found = float(losses.SSIMWeighted(0.7)(clean, restored))
    assert found == pytest.approx(0.7 * dissimilarity + 0.3 * difference, abs=1e-4)
    with pytest.raises(ValueError, match="epsilon"):
        losses.Charbonnier(0)
    with pytest.raises(ValueError, match="weight"):
        losses.SSIMWeighted(1.5)


@pytest.mark.parametrize("loss", [losses.Charbonnier(0.02), losses.SSIMWeighted(0.5)])
def test_compiled_model_is_saved_with_loss_and_metrics(loss, tmp_path):
    clean, noisy = pairs((4, 12, 12, 1))
    model = zoo.denoising_autoencoder((12, 12, 1), filters=(4, 4))
    model.compile("adam", loss, metrics=[metrics.PSNR(), metrics.SSIM()])
    model.fit(noisy, clean, verbose=0)
    model.save(tmp_path / "model.keras")
    again = zoo.load(tmp_path / "model.keras", compile=True)
    expected = model.evaluate(noisy, clean, verbose=0, return_dict=True)
    assert again.evaluate(noisy, clean, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-5)
    assert set(expected) == {"loss", "psnr", "ssim"}


def test_metrics_and_losses_on_jax(tmp_path):
    clean, restored = pairs()
    np.savez(tmp_path / "pairs.npz", clean=clean, restored=restored)
    code = """
import json, sys, keras, numpy as np
from zoo import losses, metrics
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
pairs = dict(np.load("pairs.npz"))
figures = [metric(*pairs.values()) for metric in (metrics.PSNR(), metrics.SSIM())]
figures += [loss(*pairs.values()) for loss in (losses.Charbonnier(), losses.SSIMWeighted())]
print(json.dumps([float(figure) for figure in figures]))
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    child = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    expected = [metric(clean, restored) for metric in (metrics.PSNR(), metrics.SSIM())]
    expected += [loss(clean, restored) for loss in (losses.Charbonnier(), losses.SSIMWeighted())]
    np.testing.assert_allclose(json.loads(child.stdout), expected, rtol=1e-4)


# Noise


def drawn(kind, level, value, *, numpy):
    """Noise on a grey image of one value, in [0, 1]."""
    if numpy:
        grey = np.full((4, 100, 100, 1), round(255 * value), np.uint8)
        return noise.fixed(grey, kind=kind, level=level) / 255
    grey = np.full((4, 100, 100, 1), value, np.float32)
    return noise.add(grey, [1, 2], kind=kind, low=level, high=level).numpy()


@pytest.mark.parametrize("numpy", [False, True])
@pytest.mark.parametrize(
    ("kind", "level", "value", "deviation"),
    [
        ("gaussian", 0.1, 0.5, 0.1),
        ("speckle", 0.2, 0.4, 0.08),  # the noise is in proportion to the value
        ("poisson", 0.1, 0.36, 0.06),  # and here to its root
    ],
)
def test_noise_has_the_mean_and_deviation_of_its_level(kind, level, value, deviation, numpy):
    noisy = drawn(kind, level, value, numpy=numpy)
    assert noisy.mean() == pytest.approx(value, abs=0.004)
    assert noisy.std() == pytest.approx(deviation, rel=0.03)


@pytest.mark.parametrize("numpy", [False, True])
@pytest.mark.parametrize("value", [0.35, 0.6])
def test_the_noise_of_a_camera_is_that_of_its_light(value, numpy):
    """Taken back to linear light it has the variance of photons and of the read noise; the mean stays."""

    def linear(pixels):
        return ((pixels + 0.055) / 1.055) ** 2.4

    noisy, light = linear(drawn("camera", 0.05, value, numpy=numpy)), linear(value)
    assert noisy.mean() == pytest.approx(light, abs=0.002)
    assert noisy.std() == pytest.approx(0.05 * np.sqrt(light + 0.01), rel=0.03)


def test_jpeg_noise_is_what_a_file_does():
    """The same to within two levels from TensorFlow's writer and Pillow's, and less of it the better the quality."""
    from skimage.data import chelsea

    clean = chelsea()[None, 40:168, 100:228]
    losses = []
    for quality in (10, 40, 90):
        file = io.BytesIO()
        Image.fromarray(clean[0]).save(file, "JPEG", quality=quality)
        ours = noise.fixed(clean, kind="jpeg", level=quality / 100)
        np.testing.assert_array_equal(ours[0], np.asarray(Image.open(file)))
        share = quality / 100
        drawn = 255 * np.asarray(noise.add(np.float32(clean / 255), [1, 2], kind="jpeg", low=share, high=share))
        assert np.abs(drawn - ours).mean() < 2
        losses.append(np.mean((ours / 255.0 - clean / 255.0) ** 2))
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("level", [0.3, 0, 101, 30.5, (60, 20)])
def test_a_quality_is_a_whole_number_up_to_100(level):
    with pytest.raises(ValueError, match=r"1 to 100|LOW HIGH"):
        noise.level_range(level, kind="jpeg")


@pytest.mark.parametrize("numpy", [False, True])
def test_salt_and_pepper_hits_its_share_of_pixels(numpy):
    noisy = drawn("salt_and_pepper", 0.3, 0.6, numpy=numpy)
    assert (noisy == 0).mean() == pytest.approx(0.15, abs=0.01)
    assert (noisy == 1).mean() == pytest.approx(0.15, abs=0.01)
    np.testing.assert_allclose(noisy[(noisy > 0) & (noisy < 1)], 0.6, atol=1e-6)


def test_salt_and_pepper_hits_all_channels_of_a_pixel():
    noisy = noise.add(np.full((2, 40, 40, 3), 0.5, np.float32), [1, 2], kind="salt_and_pepper", low=0.5, high=0.5)
    np.testing.assert_array_equal(np.ptp(noisy, axis=-1), 0)


@pytest.mark.parametrize("kind", noise.KINDS)
def test_noise_is_clipped_seeded_and_nothing_at_level_zero(kind):
    image = np.random.default_rng(0).random((4, 16, 16, 3), dtype=np.float32)
    once = noise.add(image, [3, 4], kind=kind, low=0.2, high=0.9)
    assert np.min(once) >= 0 and np.max(once) <= 1
    np.testing.assert_array_equal(once, noise.add(image, [3, 4], kind=kind, low=0.2, high=0.9))
    assert (once != noise.add(image, [3, 5], kind=kind, low=0.2, high=0.9)).numpy().any()
    if kind == "jpeg":  # of which 0 is no quality: the best file is close
        smooth = np.linspace(0, 1, 4 * 16 * 16, dtype=np.float32).reshape(4, 16, 16, 1)
        np.testing.assert_allclose(noise.add(smooth, [3, 4], kind=kind, low=1.0, high=1.0), smooth, atol=0.01)
    else:
        np.testing.assert_allclose(noise.add(image, [3, 4], kind=kind, low=0.0, high=0.0), image, atol=0.005)


@pytest.mark.parametrize("kind", noise.KINDS)
def test_fixed_noise_does_not_depend_on_the_images_behind(kind):
    clean = images.load("digits").split("test")[0]
    noisy = noise.fixed(clean[:30], kind=kind, level=(0.1, 0.7))
    assert noisy.dtype == np.uint8 and (noisy != clean[:30]).any()
    np.testing.assert_array_equal(noise.fixed(clean[:7], kind=kind, level=(0.1, 0.7)), noisy[:7])
    assert (noise.fixed(clean[:7], kind=kind, level=(0.1, 0.7), seed=1) != noisy[:7]).any()


def test_a_range_of_levels_is_drawn_per_image():
    grey = np.full((300, 12, 12, 1), 0.5, np.float32)
    for noisy in (
        noise.add(grey, [1, 2], kind="gaussian", low=0.02, high=0.12).numpy(),
        noise.fixed(np.uint8(255 * grey), kind="gaussian", level=(0.02, 0.12)) / 255,
    ):
        levels = noisy.std(axis=(1, 2, 3))
        assert levels.min() < 0.03 and levels.max() > 0.11
        assert levels.mean() == pytest.approx(0.07, abs=0.006)


def test_the_stream_draws_anew_each_epoch_and_goes_on_where_it_stopped():
    clean = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1)).astype(np.uint8)
    options = {"kind": "gaussian", "low": 0.1, "high": 0.5, "batch_size": 5, "steps": 2, "epochs": 3, "seed": 7}
    whole = [tuple(map(np.asarray, pair)) for pair in noise.training_batches(clean, **options)]
    rest = [tuple(map(np.asarray, pair)) for pair in noise.training_batches(clean, first_epoch=1, **options)]
    assert len(whole) == 6 and len(rest) == 4
    for one, other in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])

    def added(epoch):
        """Noise of each image of an epoch, in the order of the images."""
        noisy, images = (np.concatenate(parts) for parts in zip(*whole[2 * epoch : 2 * epoch + 2], strict=True))
        order = [int((np.abs(images - image / 255.0).sum(axis=(1, 2, 3)) < 1e-3).argmax()) for image in clean]
        assert sorted(order) == list(range(10))  # every image once
        return (noisy - images)[order]

    assert (np.abs(added(0) - added(1)).max(axis=(1, 2, 3)) > 0.01).all()


@pytest.mark.parametrize(
    ("level", "words"),
    [
        (-0.1, "must be in \\[0, 1\\], or .*got -0.1"),
        ((0.1, 1.5), "must be in \\[0, 1\\], or .*got 1.5"),
        ((0.1, 25), "must be in \\[0, 1\\], or 2 to 255 .*got 0.1"),
        (300, "or 2 to 255 .*got 300"),
        ((0.5, 0.2), "LOW HIGH, got 0.5 > 0.2"),
        ((0.1, 0.2, 0.3), "one level or a range of two, got 3"),
        (float("nan"), "must be in \\[0, 1\\], or .*got nan"),
        (0, "no noise at all"),
    ],
)
def test_wrong_levels(level, words):
    with pytest.raises(ValueError, match=words):
        noise.level_range(level)


def test_wrong_kind():
    with pytest.raises(ValueError, match=r"must be one of gaussian, .* got 'rain'"):
        noise.fixed(np.zeros((1, 8, 8, 1), np.uint8), kind="rain", level=0.1)


# Tiles


def test_tiles_give_the_whole_image_where_the_network_is_local():
    keras.utils.set_random_seed(1)
    local = {"filters": (4,), "convolutions": 2}  # three convolutions of 3x3 see three pixels around
    tiled = zoo.denoising_autoencoder((28, 28, 1), **local)
    whole = zoo.denoising_autoencoder((75, 50, 1), **local)
    whole.set_weights(tiled.get_weights())
    image = np.random.default_rng(0).integers(0, 256, (75, 50, 1)).astype(np.uint8)

    def restore(model, batch):
        return 255 * model(batch / np.float32(255)).numpy()

    found = by_tiles(lambda batch: restore(tiled, batch), image, (28, 28), at_once=5)
    expected = np.rint(restore(whole, image[None])[0])
    assert np.abs(found[3:-3, 3:-3] - expected[3:-3, 3:-3]).max() <= 1
    assert found.shape == image.shape and found.dtype == np.uint8


@pytest.mark.parametrize("size", [(3, 5), (28, 28), (29, 28), (30, 100), (61, 57), (1, 1)])
@pytest.mark.parametrize("tile", [(28, 28), (32, 16), (8, 8), (4, 4)])
def test_tiles_of_any_size_without_a_network_change_nothing(size, tile):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    np.testing.assert_array_equal(by_tiles(lambda batch: batch, image, tile), image)


def test_tiles_leave_no_seam():
    vignette = 1 - 0.3 * np.abs(np.linspace(-1, 1, 28))[:, None, None] ** 4  # dark at the rim of each tile
    grey = np.full((90, 70, 1), 200, np.uint8)
    found = by_tiles(lambda batch: batch * vignette, grey, (28, 28)).astype(int)
    assert np.ptp(found) <= 1


def test_one_tile_is_the_model_itself(denoiser_run):
    restorer = recipe.Restorer(denoiser_run[0])
    noisy = noise.fixed(images.load("digits").split("test")[0][:3], kind="gaussian", level=0.5)
    np.testing.assert_array_equal(restorer.any_size(noisy[0]), restorer(noisy[:1])[0])


def test_a_file_exported_by_hand_gives_the_same(denoiser_run, tmp_path):
    restorer = recipe.Restorer(denoiser_run[0])
    by_hand = recipe.Restorer(zoo.export.export(restorer.model, tmp_path / "saved_model"))
    noisy = noise.fixed(images.load("digits").split("test")[0][:3], kind="gaussian", level=0.5)
    assert np.abs(by_hand(noisy).astype(int) - restorer(noisy)).max() <= 1


def test_channels_of_photo_and_model_may_differ(denoiser_run, tmp_path):
    grey = recipe.Restorer(denoiser_run[0])
    photo = np.random.default_rng(0).integers(0, 256, (30, 33, 3)).astype(np.uint8)
    np.testing.assert_array_equal(grey.any_size(photo)[..., 1:2], grey.any_size(photo[..., 1:2]))
    zoo.denoising_autoencoder((16, 16, 3), filters=(4, 4)).save(tmp_path / "colour.keras")
    assert recipe.Restorer(tmp_path / "colour.keras").any_size(photo[..., :1]).shape == (30, 33, 1)


# The recipe


def test_a_short_training_restores_digits(denoiser_run):
    folder, answer = denoiser_run
    metrics, baselines = answer["metrics"], answer["baselines"]
    assert list(metrics) == list(FIGURES)
    assert {"noisy", "median_3x3", "gaussian_filter", "non_local_means"} <= set(baselines)
    for name, figures in baselines.items():
        assert metrics["psnr"] > figures["psnr"] + 2, name
    assert 8 < baselines["noisy"]["psnr"] < 10.5 and metrics["ssim"] > 0.5
    assert baselines["non_local_means"]["parameters"]["patch_size"] in (3, 5)
    written = {path.name for path in folder.iterdir()}
    assert {"model.keras", "card.json", "curve.png", "curves.png", "examples.png", "history.csv"} <= written
    assert "backup" not in written
    card = json.loads((folder / "card.json").read_text())
    assert card["noise"] == {"kind": "gaussian", "trained": [0.05, 0.6], "level": 0.5}
    assert card["metrics"] == metrics and "gaussian noise at 0.5" in card["files"][0]["measured_on"]
    assert card["training"]["command"].startswith("zoo train denoising_autoencoder --epochs 3")
    levels = [point["level"] for point in answer["curve"]]
    assert levels == [0.1, 0.6] and answer["curve"][-1]["noisy"] < answer["curve"][0]["noisy"]


def test_a_resumed_training_gives_the_same_weights(tmp_path, monkeypatch):
    options = {"epochs": 2, "filters": (4, 4), "convolutions": 1, "batch_size": 256, "skip_connections": False}
    monkeypatch.setattr(recipe, "measure", lambda *args, **kwargs: {"metrics": {}, "baselines": {}})
    monkeypatch.setattr(recipe, "_rows", lambda figures: [{"image": "none"}])
    recipe.train(output=tmp_path / "whole", **options)
    fit = training.fit

    def killed(*args, **kwargs):
        kill = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: 1 / (1 - epoch))
        fit(*args, **kwargs | {"callbacks": [kill]})

    monkeypatch.setattr(training, "fit", killed)
    with pytest.raises(ZeroDivisionError):
        recipe.train(output=tmp_path / "cut", **options)
    monkeypatch.setattr(training, "fit", fit)
    answer = recipe.train(resume=tmp_path / "cut")
    assert answer["epochs"] == 2
    for one, other in zip(*(zoo.load(tmp_path / run / "model.keras").weights for run in ("whole", "cut")), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("kind", "loss", "levels", "others"),
    [
        ("poisson", "charbonnier", (0.7,), ("--precision", "mixed_bfloat16", "--residual")),
        ("salt_and_pepper", "ssim", (0.1, 0.2), ("--device", "mirrored")),
    ],
)
def test_noise_loss_precision_and_device(capfd, tmp_path, median_only, kind, loss, levels, others):
    status, answer, _ = run_json(
        capfd, "train", "denoising_autoencoder", "--noise", kind, "--loss", loss, "--noise-level", *levels, *others,
        "--epochs", 1, "--filters", 4, "--convolutions", 1, "--decoder-convolutions", 0, "--batch-size", 256,
        "--output", tmp_path,
    )  # fmt: skip
    assert status == 0 and np.isfinite(answer["metrics"]["psnr"])
    card = json.loads((tmp_path / "card.json").read_text())
    low, high = levels[0], levels[-1]
    assert card["noise"] == {"kind": kind, "trained": [low, high], "level": min(max(0.5, low), high)}
    assert zoo.load(tmp_path / "model.keras").compute_dtype == "float32"


def test_evaluate_every_form_of_a_model(capfd, denoiser_run, tmp_path):
    folder, trained = denoiser_run
    status, answer, _ = run_json(
        capfd, "export", "denoising_autoencoder", "--model", folder, "--format", "saved_model", "tflite", "onnx",
        "--quantize", "none", "int8", "--output", tmp_path / "files",
    )  # fmt: skip
    assert status == 0 and answer["metrics"] == trained["metrics"]
    names = {entry["file"] for entry in answer["files"]}
    assert names == {"saved_model", "model.tflite", "model_int8.tflite", "model.onnx"}
    for entry in answer["files"]:
        allowed = (0.3, 0.1) if "int8" in entry["file"] else (0.005, 0.008)  # two grey levels
        assert abs(entry["metrics"]["psnr"] - trained["metrics"]["psnr"]) < allowed[0]
        assert entry["max_abs_difference"] <= allowed[1] and entry["latency_ms"] > 0
        path = tmp_path / "files" / entry["file"]
        run = zoo.export.load(path)
        assert run.metadata["noise"]["level"] == 0.5 and run.metadata["stride"] == 2
        pixels = run(image=np.zeros((1, 28, 28, 1), np.uint8))["restored"]
        assert pixels.dtype == np.uint8 and pixels.shape == (1, 28, 28, 1)
    for model in (folder, tmp_path / "files" / "model_int8.tflite"):
        status, measured, _ = run_json(
            capfd, "evaluate", "denoising_autoencoder", "--model", model, "--curve", "0.2", "--output", tmp_path / "out"
        )
        assert status == 0 and measured["images"] == 359 and measured["noise"] == {"kind": "gaussian", "level": 0.5}
        expected = next((e["metrics"] for e in answer["files"] if e["file"] == Path(model).name), trained["metrics"])
        assert measured["metrics"] == expected and [point["level"] for point in measured["curve"]] == [0.2]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"evaluation.json", "curve.png", "examples.png"}
    for path in (tmp_path / "out").glob("*.png"):
        assert np.asarray(Image.open(path).convert("L")).std() > 5  # something is drawn


def test_bm3d_is_a_baseline_where_it_is_installed(monkeypatch):
    clean = images.load("digits").split("test")[0]
    fake = types.ModuleType("bm3d")
    fake.__spec__ = types.SimpleNamespace()
    fake.bm3d = fake.bm3d_rgb = lambda image, sigma_psd: image.squeeze() * (1 - sigma_psd)
    monkeypatch.setitem(sys.modules, "bm3d", fake)
    pictures, about = recipe._compare(lambda noisy: noisy, clean[:120], clean, "gaussian", 0.3)
    assert pictures["bm3d"].shape == (50, 28, 28, 1) and about["bm3d"]["images"] == 50


def test_train_and_evaluate_on_a_flat_folder_of_photos(capfd, tmp_path, median_only):
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for index in range(6):
        ramp = np.linspace(0, 255, 70)[:, None, None] * np.ones((70, 50, 3)) * random.random(3)
        Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "photos" / f"{index}.png")
    (tmp_path / "photos" / "broken.png").write_text("no image")
    status, answer, err = run_json(
        capfd, "train", "denoising_autoencoder", "--dataset", tmp_path / "photos", "--input-shape", 24, 24, 3,
        "--epochs", 2, "--filters", 4, 8, "--noise-level", 0.1, "--output", tmp_path / "run",
    )  # fmt: skip
    assert status == 0 and "broken.png" in err and answer["metrics"]["psnr"] > 3
    status, answer, _ = run_json(
        capfd, "evaluate", "denoising_autoencoder", "--model", tmp_path / "run", "--dataset", tmp_path / "photos",
        "--noise", "speckle", "--noise-level", 0.4, "--split", "all", "--curve", 0.1, "--output", tmp_path / "out",
    )  # fmt: skip
    assert status == 0 and answer["noise"] == {"kind": "speckle", "level": 0.4} and answer["skipped_files"] == 1


def test_predict_keeps_the_size_and_measures_against_the_clean_image(capfd, denoiser_run, tmp_path):
    digits = images.load("digits").split("test")[0]
    page = np.block([[digits[6 * row + column, ..., 0] for column in range(3)] for row in range(2)])
    Image.fromarray(page).save(tmp_path / "clean.png")
    noisy = noise.fixed(page[None, ..., None], kind="gaussian", level=0.5)[0, ..., 0]
    (tmp_path / "more").mkdir()
    for name in ("noisy.png", "more/noisy.png"):
        Image.fromarray(noisy).save(tmp_path / name)
    Image.fromarray(np.stack([noisy] * 3, -1)[:20, :9]).save(tmp_path / "more" / "small.jpg")
    (tmp_path / "more" / "text.png").write_text("no image")
    command = ("predict", "denoising_autoencoder", "--model", denoiser_run[0], "--output", tmp_path / "out")
    status, answer, err = run_json(capfd, *command, tmp_path / "noisy.png", tmp_path / "more")
    assert status == 0 and "text.png" in err and len(answer["skipped"]) == 1
    for row, size, mode in zip(answer["predictions"], [(84, 56), (84, 56), (9, 20)], ["L", "L", "RGB"], strict=True):
        with Image.open(row["restored"]) as restored:
            assert restored.size == size == (row["width"], row["height"]) and restored.mode == mode
    assert len({row["restored"] for row in answer["predictions"]}) == 3
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"predictions.csv", "predictions.json", "predictions.png", "noisy-restored.png"} <= written
    status, answer, _ = run_json(capfd, *command, tmp_path / "noisy.png", "--clean", tmp_path / "clean.png")
    (row,) = answer["predictions"]
    restored = np.asarray(Image.open(row["restored"]))
    assert row["psnr_before"] == pytest.approx(slow_psnr(page[None] / 255, noisy[None] / 255)[0], abs=1e-3)
    assert row["psnr_after"] == pytest.approx(slow_psnr(page[None] / 255, restored[None] / 255)[0], abs=1e-3)
    assert row["psnr_after"] > row["psnr_before"] + 4 and row["ssim_after"] > row["ssim_before"]


def test_benchmark(capfd, denoiser_run, tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "latencies", functools.partial(timing.latencies, rounds=1, seconds=0.05))
    status, answer, _ = run_json(
        capfd,
        "benchmark",
        "denoising_autoencoder",
        "--model",
        denoiser_run[0],
        "--rounds",
        1,
        "--images",
        640,
        "--output",
        tmp_path,
    )
    assert status == 0 and json.loads((tmp_path / "benchmark.json").read_text())["bytes"] == answer["bytes"]
    assert answer["images_per_second"]["ours / classic"] > 0.5
    assert answer["bytes"]["model_int8.tflite"] < answer["bytes"]["model.tflite"]
    assert answer["latency_ms"]["tflite int8, 1 thread"] < answer["latency_ms"]["saved_model"]


def test_the_classic_code_has_the_default_network():
    network = benchmarks._classic_network((28, 28, 1))
    assert network.count_params() == zoo.denoising_autoencoder().count_params() == 19_393
    again = zoo.denoising_autoencoder()
    again.set_weights(network.get_weights())
    image = np.random.default_rng(0).random((2, 28, 28, 1), dtype=np.float32)
    np.testing.assert_allclose(network(image), again(image), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--noise-level", "1.5"], ["noise_level", "[0, 1]", "1.5"]),
        (["train", "--noise-level", "0.5", "0.2"], ["LOW HIGH", "0.5 > 0.2"]),
        (["train", "--noise-level", "0.1", "0.2", "0.3"], ["range of two", "3"]),
        (["train", "--noise-level", "0"], ["no noise"]),
        (["train", "--test-level", "-1"], ["test_level", "-1"]),
        (["train", "--noise", "rain"], ["rain", "gaussian"]),
        (["train", "--loss", "l3"], ["l3", "charbonnier"]),
        (["train", "--input-shape", "2", "2", "1"], ["stride 4", "2 x 2"]),
        (["train", "--input-shape", "30", "30", "1"], ["stride 4", "30 x 30"]),
        (["train", "--input-shape", "28", "28", "2"], ["1 or 3 channels"]),
        (["train", "--input-shape", "8", "8", "1", "--loss", "ssim"], ["ssim", "11x11"]),
        (["train", "--filters", "0"], ["filters=(0,)"]),
        (["train", "--epochs", "0"], ["epochs must be positive"]),
        (["train", "--learning-rate", "-1"], ["learning_rate must be positive"]),
        (["train", "--seed", "-1"], ["seed"]),
        (["train", "--noise", "jpeg", "--noise-level", "0", "50"], ["quality", "1 to 100", "0"]),
        (["train", "--task", "super_resolve"], ["no folder digits"]),
        (["train", "--task", "super_resolve", "--noise", "jpeg"], ["super_resolve", "leave out noise"]),
        (["train", "--task", "super_resolve", "--factor", "5"], ["factor", "5"]),
        (["train", "--task", "super_resolve", "--factor", "3", "--crop", "64"], ["crop", "factor 3", "64"]),
        (["evaluate", "--model", "run", "--noise", "jpeg", "--noise-level", "101"], ["quality", "101"]),
        (["predict", "good.png", "--model", "run", "--task", "super_resolve"], ["run", "image super-resolution"]),
        (["train", "--seed", "x"], ["seed", "x"]),
        (["train", "--dataset", "./nowhere"], ["no folder ./nowhere"]),
        (["train", "--dataset", "minst"], ["minst", "mnist"]),
        (["train", "--dataset", "empty"], ["empty has no images"]),
        (["train", "--weights", "lion"], ["weights must be None"]),
        (["train", "--resume", "empty"], ["nothing to resume"]),
        (["evaluate", "--model", "run", "--noise-level", "1.01"], ["noise_level", "1.01"]),
        (["evaluate", "--model", "run", "--curve", "0.1", "700"], ["curve", "700"]),
        (["evaluate", "--model", "run", "--split", "dev"], ["dev", "validation"]),
        (["evaluate", "--model", "lion"], ["lion"]),
        (["evaluate", "--model", "lion.keras"], ["lion.keras"]),
        (["evaluate", "--model", "text.tflite"], ["text.tflite is not a model"]),
        (["evaluate", "--model", "digits.keras"], ["digits.keras does not restore images"]),
        (["predict", "--model", "run"], ["no image given"]),
        (["predict", "lion.png", "--model", "run"], ["no image lion.png"]),
        (["predict", "text.png", "--model", "run"], ["text.png is not an image"]),
        (["predict", "empty", "--model", "run"], ["empty has no images"]),
        (["predict", "tiny.png", "--model", "run"], ["tiny.png has 9x1 pixels", "stride 2"]),
        (["predict", "good.png", "--model", "run", "--clean", "tiny.png"], ["tiny.png has 9x1", "good.png has 12x14"]),
        (["predict", "good.png", "--model", "run", "--clean", "lion.png"], ["no image lion.png"]),
        (["predict", "good.png", "--model", "run", "--clean", "red.png"], ["red.png is coloured", "good.png is grey"]),
        (["predict", "good.png", "good.png", "--model", "run", "--clean", "good.png"], ["one image, got 2"]),
        (["export", "--model", "run", "--quantize", "int4"], ["int4"]),
        (["export", "--model", "run", "--format", "onnx", "--quantize", "int8"], ["int8", "onnx"]),
        (["benchmark", "--model", "run", "--rounds", "0"], ["rounds must be positive"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_wrong_input_is_one_clear_line(capfd, denoiser_run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("run").symlink_to(denoiser_run[0])
    Path("empty").mkdir()
    Path("text.png").write_text("this is text")
    Path("text.tflite").write_text("this is text")
    Image.new("L", (9, 1)).save("tiny.png")
    Image.new("L", (12, 14)).save("good.png")
    Image.new("RGB", (12, 14), "red").save("red.png")
    if "digits.keras" in arguments:
        zoo.mnist_cnn(filters=(2,), dense_units=0).save("digits.keras")
    before = set(tmp_path.rglob("*"))
    line = refused(capfd, arguments[0], "denoising_autoencoder", *arguments[1:])
    assert all(word in line for word in words), line
    assert not [path for path in set(tmp_path.rglob("*")) - before if path.is_file()]  # nothing half-written


# The published model


def published():
    if "denoising_autoencoder" not in pretrained.names():
        pytest.skip("not published yet")
    return pretrained.card("denoising_autoencoder")


def test_published_card_meets_the_target():
    card = published()
    assert card["parameters"] <= 300_000 and card["noise"]["kind"] == "gaussian" and card["noise"]["level"] == 0.5
    low, high = card["noise"]["trained"]
    assert low < 0.5 < high  # blind
    assert card["metrics"]["psnr"] >= 21
    for name, figures in card["baselines"].items():
        assert card["metrics"]["psnr"] >= figures["psnr"] + 4, name
    keras_file, int8_file = card["files"]
    assert abs(keras_file["metrics"]["psnr"] - int8_file["metrics"]["psnr"]) <= 0.3
    assert card["comparison"]["parameters"] == 19_393
    assert card["comparison"]["metrics"]["psnr"] < card["metrics"]["psnr"]


def test_published_figures_are_reproduced(prepared):
    card = published()
    data = images.load("mnist", data_dir=prepared("mnist"), labelled=False)
    clean = data.split("test")[0][:2000]
    noisy = noise.fixed(clean, kind="gaussian", level=0.5)
    for entry in card["files"]:
        restorer = recipe.Restorer(pretrained.file("denoising_autoencoder", entry["file"]))
        figures = recipe.quality(clean, restorer(noisy))
        assert figures["psnr"] == pytest.approx(entry["metrics"]["psnr"], abs=0.3) and figures["psnr"] >= 20.7


def test_the_published_model_restores_the_drawn_digits():
    published()
    paths = sorted((Path(__file__).parent / "images").glob("*.png"))
    clean = np.stack([light_on_dark(files.read_fitted(path, (28, 28, 1))) for path in paths])
    noisy = noise.fixed(clean, kind="gaussian", level=0.5)
    figures = recipe.quality(clean, recipe.Restorer("denoising_autoencoder")(noisy))
    assert figures["psnr"] > recipe.quality(clean, noisy)["psnr"] + 6
