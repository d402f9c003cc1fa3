"""Sound: the front end against other libraries, data and augmentation, and every verb of the recipe."""

import functools
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from commands import refused, run_json
from PIL import Image
from scipy import signal

import zoo
from recipes import plots, timing, training
from recipes import spectrogram_cnn as recipe
from recipes.benchmarks import spectrogram_cnn as benchmarks
from recipes.data import audio, synthesis
from recipes.predictions import spectrogram_cnn as predictions
from zoo import pretrained, waveforms
from zoo.spectrogram_cnn import SpecAugment, Spectrogram, power_spectrogram
from zoo.waveforms import mel_matrix

ROOT = Path(__file__).parent.parent
RATE = 8000
SMALL = {"filters": (8, 12), "blocks": 1, "mel_bins": 16, "window": 0.032, "stride": 0.032, "batch_size": 8}
SMALL |= {"learning_rate": 0.01}


def chirp_and_noise(samples=4000):
    """A rising tone and white noise: float32 (2, samples)."""
    time = np.arange(samples) / RATE
    chirp = 0.5 * signal.chirp(time, 100, time[-1], 3800)
    noise = 0.1 * np.random.default_rng(0).standard_normal(samples)
    return np.float32([chirp, noise])


def tone(hertz, seconds=1.0, rate=RATE, level=0.5):
    return np.float32(level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate))


def loudest_frequency(waveform, rate=RATE):
    power = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))) ** 2
    return power.argmax() * rate / len(waveform)


@pytest.fixture(scope="session", autouse=True)
def few_sounds():
    """A tenth of the embedded sounds, which is enough to see that everything works."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "synthesise", functools.partial(synthesis.synthesise, 12))
        yield


@pytest.fixture(scope="session")
def sound_run(few_sounds, tmp_path_factory):
    """The folder and the answer of a short training on the embedded sounds."""
    folder = tmp_path_factory.mktemp("sound")
    answer = recipe.train(epochs=12, augment=0.2, spec_augment=0.2, mixup=0.0, output=folder, **SMALL)
    return folder, answer


@pytest.fixture
def speakers(tmp_path):
    """A flat folder CLASS_SPEAKER_NUMBER.wav: low and high tones of three speakers, at three rates."""
    folder = tmp_path / "speakers"
    folder.mkdir()
    for name, hertz in (("low", 300), ("high", 1500)):
        for speaker, rate in (("anna", 8000), ("bo", 16_000), ("cleo", 11_025)):
            for number in range(5):
                waveform = tone(hertz + 10 * number, 0.3 + 0.1 * number, rate)
                soundfile.write(folder / f"{name}_{speaker}_{number}.wav", waveform, rate)
    return folder


# The front end


@pytest.mark.parametrize(("window", "stride"), [(256, 128), (256, 100), (200, 80)])
def test_power_against_tensorflow_and_scipy(window, stride):
    waveforms = chirp_and_noise()
    found = np.asarray(power_spectrogram(waveforms, window, stride))
    length = 1 << (window - 1).bit_length()
    by_tensorflow = np.abs(tf.signal.stft(waveforms, window, stride, length)) ** 2 * (4 / window) ** 2
    # down to 67 decibels below the loudest point
    np.testing.assert_allclose(found, by_tensorflow, rtol=1e-5, atol=2e-7 * found.max())
    hann = signal.get_window("hann", window)
    _, _, by_scipy = signal.spectrogram(
        waveforms.astype(np.float64), RATE, hann, window, window - stride, length, detrend=False, scaling="spectrum"
    )
    inner = slice(1, length // 2)  # scipy counts the others once, as they have no mirror image
    np.testing.assert_allclose(
        found[..., inner], 2 * by_scipy.swapaxes(1, 2)[..., inner], rtol=1e-5, atol=2e-7 * found.max()
    )
    np.testing.assert_allclose(found, power_spectrogram(waveforms, window, stride, by_matrix=True), atol=1e-6)


@pytest.mark.parametrize(("stride", "mel_bins"), [(128, None), (100, 40)])
def test_the_spectrogram_without_keras_is_that_of_the_layer(stride, mel_bins):
    layer = Spectrogram(RATE, 256, stride, mel_bins)
    for waveform in [*chirp_and_noise(), np.zeros(2000, np.float32), 1e-4 * chirp_and_noise()[0]]:
        expected = np.asarray(layer(waveform[None]))[0, ..., 0]
        found = waveforms.spectrogram(waveform, RATE, 256, stride, mel_bins)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert len(waveforms.frequencies(RATE, 256, mel_bins)) == found.shape[1]
    assert waveforms.spectrogram(np.zeros(5, np.float32), RATE, 256, stride).shape == (1, 129)


@pytest.mark.parametrize(("samples", "rate"), [(8000, 8000), (3001, 16_000), (70_000, 8000), (5, 8000)])
def test_the_spectrum_of_a_sound_against_scipy(samples, rate):
    waveform = np.random.default_rng(0).normal(0.05, 0.1, samples).astype(np.float32)
    hertz, decibels = predictions.spectrum(waveform, rate)
    expected = signal.welch(waveform, rate, nperseg=min(samples, 4 * rate), scaling="spectrum")
    np.testing.assert_allclose(hertz, expected[0])
    np.testing.assert_allclose(10 ** (decibels / 10), 2 * expected[1], rtol=1e-4, atol=1e-11)


def test_a_sine_of_full_scale_has_power_one():
    sine = tone(1000, level=1.0)  # the middle of a bin
    power = np.asarray(power_spectrogram(sine[None], 256, 128))
    np.testing.assert_allclose(power[0, :, 32], 1, atol=1e-4)


@pytest.mark.parametrize(("rate", "bins", "mel_bins"), [(8000, 129, 40), (16_000, 257, 64), (22_050, 513, 80)])
def test_mel_bands_against_tensorflow(rate, bins, mel_bins):
    expected = tf.signal.linear_to_mel_weight_matrix(mel_bins, bins, rate, 60.0, rate / 2)
    np.testing.assert_allclose(mel_matrix(rate, bins, mel_bins), expected, atol=2e-4)


def by_hand(waveform, mel_bins):
    """The image by NumPy and tf.signal: (frames, bins)."""
    frames = np.abs(tf.signal.stft(waveform, 256, 128, 256)).astype(np.float64) ** 2 / 64**2
    if mel_bins:
        frames = frames @ tf.signal.linear_to_mel_weight_matrix(mel_bins, 129, RATE, 60.0, 4000.0).numpy()
    decibels = 10 * np.log10(frames + 1e-12)
    return np.clip(1 + (decibels - max(decibels.max(), -60)) / 45, 0, 1)


@pytest.mark.parametrize("mel_bins", [None, 40])
def test_the_image_by_hand(mel_bins):
    waveforms = chirp_and_noise()
    images = np.asarray(Spectrogram(RATE, 256, 128, mel_bins)(waveforms))
    assert images.shape == (2, 30, mel_bins or 129, 1)
    for image, waveform in zip(images[..., 0], waveforms, strict=True):
        np.testing.assert_allclose(image, by_hand(waveform, mel_bins), atol=2e-3)  # a tenth of a decibel
        assert image.max() == pytest.approx(1)


def test_loud_and_soft_look_alike_but_silence_stays_dark():
    front = Spectrogram(RATE, 256, 128, 40)
    waveforms = chirp_and_noise()
    np.testing.assert_allclose(front(waveforms), front(waveforms / 20), atol=1e-3)
    assert np.max(front(waveforms * 1e-4)) < 0.8 and np.max(front(waveforms * 0)) == 0


def test_front_end_on_jax(tmp_path):
    waveforms = chirp_and_noise()
    np.savez(tmp_path / "waveforms.npz", waveforms=waveforms)
    code = """
import sys, keras, numpy as np
from zoo.spectrogram_cnn import Spectrogram, power_spectrogram
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
waveforms = np.load("waveforms.npz")["waveforms"]
images = [Spectrogram(8000, 256, 128, mel_bins)(waveforms) for mel_bins in (None, 40)]
np.savez("found.npz", power=power_spectrogram(waveforms, 256, 128), stft=images[0], log_mel=images[1])
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    child = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    found = np.load(tmp_path / "found.npz")
    expected = np.abs(tf.signal.stft(waveforms, 256, 128, 256)) ** 2 / 64**2
    np.testing.assert_allclose(found["power"], expected, rtol=1e-4, atol=2e-7 * expected.max())
    for name, mel_bins in (("stft", None), ("log_mel", 40)):
        for image, waveform in zip(found[name][..., 0], waveforms, strict=True):
            np.testing.assert_allclose(image, by_hand(waveform, mel_bins), atol=2e-3)


def test_spec_augment_masks_and_changes_the_tempo_in_training_only():
    image = np.ones((200, 61, 40, 1), np.float32)
    layer = SpecAugment(1.0, seed=3)
    np.testing.assert_array_equal(layer(image), image)
    masked = np.asarray(layer(image, training=True))[..., 0]
    assert set(np.unique(masked > 0.5)) == {False, True}
    # away from the ends, which a slower tempo fills with silence: two bands of up to 15 % of the frequencies are out
    dark_bins = (masked[:, 20:40] < 0.5).all(axis=1)
    assert 0.08 < dark_bins.mean() < 0.2 and dark_bins.sum(axis=1).max() <= 12
    assert SpecAugment.from_config(layer.get_config()).strength == 1.0
    np.testing.assert_allclose(SpecAugment(0.0)(image, training=True), image, atol=1e-6)
    two_clicks = np.zeros((100, 61, 40, 1), np.float32)
    two_clicks[:, [20, 40]] = 1
    places = np.asarray(SpecAugment(1.0, seed=4)(two_clicks, training=True)).mean(axis=(2, 3))
    firsts, seconds = places[:, :30].argmax(axis=1), 30 + places[:, 31:].argmax(axis=1)
    distances = (seconds - firsts)[(places[:, :30].max(axis=1) > 0.3) & (places[:, 31:].max(axis=1) > 0.3)]
    assert distances.min() >= 14 and distances.max() <= 28 and len(set(distances)) > 5
    with pytest.raises(ValueError, match="strength"):
        SpecAugment(-1)


def test_spectrogram_images_as_input_are_the_same_network():
    whole = zoo.spectrogram_cnn((4000,), 3, frontend="log_mel", architecture="depthwise", filters=(4, 6))
    inner = zoo.spectrogram_cnn((30, 40, 1), 3, frontend=None, architecture="depthwise", filters=(4, 6))
    inner.set_weights(whole.get_weights())
    waveforms = chirp_and_noise()
    np.testing.assert_allclose(whole(waveforms), inner(Spectrogram(RATE, 256, 128, 40)(waveforms)), atol=1e-6)
    assert inner.input_names == ["spectrogram"] if hasattr(inner, "input_names") else True


def test_weights_must_fit(tmp_path):
    model = zoo.spectrogram_cnn((4000,), 3, sample_rate=4000, filters=(4,))
    model.save(tmp_path / "model.keras")
    again = zoo.spectrogram_cnn((4000,), 3, sample_rate=4000, weights=tmp_path / "model.keras")
    np.testing.assert_array_equal(model(chirp_and_noise()), again(chirp_and_noise()))
    with pytest.raises(ValueError, match="sample rate 4000, not 8000"):
        zoo.spectrogram_cnn((4000,), 3, weights=tmp_path / "model.keras")
    fitted = zoo.spectrogram_cnn((4000,), 5, sample_rate=4000, weights=tmp_path / "model.keras")
    assert fitted.output_shape == (None, 5)
    for left, right in zip(model.get_weights()[:-2], fitted.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(left, right)
    with pytest.raises(ValueError, match=r"\(4000,\), asked for \(8000,\)"):
        zoo.spectrogram_cnn(weights=tmp_path / "model.keras")


# Sounds


@pytest.mark.parametrize("rate", [8000, 22_050])
def test_synthesised_sounds(rate):
    waveforms, labels = synthesis.synthesise(sample_rate=rate, seconds=0.8)
    assert waveforms.shape == (96, round(0.8 * rate)) and waveforms.dtype == np.float32
    assert np.isfinite(waveforms).all() and np.abs(waveforms).max() <= 1
    np.testing.assert_array_equal(np.bincount(labels), [12] * 8)
    np.testing.assert_array_equal(waveforms, synthesis.synthesise(sample_rate=rate, seconds=0.8)[0])
    assert (waveforms != synthesis.synthesise(sample_rate=rate, seconds=0.8, seed=1)[0]).any()
    by_class = dict(zip(synthesis.CLASSES, waveforms.reshape(8, 12, -1), strict=True))
    flatness = {}
    for name, sounds in by_class.items():
        power = np.abs(np.fft.rfft(sounds)) ** 2 + 1e-12
        flatness[name] = float(np.median(np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1)))
    assert flatness["noise"] > 0.4 and max(flatness[name] for name in ("siren", "piano", "chord")) < 0.05
    assert np.abs(by_class["silence"]).max() < 0.01
    assert all(loudest_frequency(sound, rate) < 400 for sound in by_class["thunder"])
    assert all(loudest_frequency(sound, rate) > 1000 for sound in by_class["chirp"])
    harmonics = [len(predictions.strongest_frequencies(sound, rate, 40)) for sound in by_class["chord"]]
    assert np.median(harmonics) > np.median(
        [len(predictions.strongest_frequencies(sound, rate, 40)) for sound in by_class["piano"]]
    )


def test_shorter_and_longer_sounds():
    short = np.full(5, 0.5, np.float32)
    np.testing.assert_array_equal(waveforms.fit(short, 8), [[0, *[16384] * 5, 0, 0]])
    long = np.zeros(20, np.float32)
    long[12:15] = (-1, 1, -1)
    (window,) = waveforms.fit(long, 4)
    assert list(window).count(0) == 1 and window.max() == 32767 and window.min() == -32768
    pieces = waveforms.fit(np.arange(10) / 32768, 4, "windows")
    np.testing.assert_array_equal(pieces, [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]])
    np.testing.assert_array_equal(waveforms.fit(np.arange(4) / 32768, 4, "windows"), [[0, 1, 2, 3]])


@pytest.mark.parametrize("rate", [4000, 11_025, 44_100, 48_000])
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_any_rate_and_format_becomes_the_models(rate, suffix, tmp_path):
    path = tmp_path / f"tone.{suffix}"
    left, right = tone(500, 0.5, rate), tone(900, 0.5, rate)
    soundfile.write(path, np.stack([left, right], axis=1), rate)
    first, mix = audio.read(path, RATE), audio.read(path, RATE, "mix")
    assert abs(len(first) - 4000) <= 2 and first.dtype == np.float32
    assert loudest_frequency(first) == pytest.approx(500, abs=4)
    spectrum = np.abs(np.fft.rfft(mix))
    assert {round(float(f), -1) for f in np.argsort(spectrum)[-2:] * RATE / len(mix)} == {500, 900}
    assert first[1000:3000].std() == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


def test_folders_by_class_flat_and_with_splits(speakers, tmp_path):
    sounds = audio.load(str(speakers), sample_rate=RATE, seconds=0.5)
    assert sounds.class_names == ("high", "low")
    assert {name: len(labels) for name, (_, labels) in sounds.splits.items()} == {
        "train": 20,
        "validation": 4,
        "test": 6,
    }
    waveforms, labels = sounds.split("all")
    assert waveforms.shape == (30, 4000) and waveforms.dtype == np.int16
    for waveform, label in zip(waveforms, labels, strict=True):
        assert (loudest_frequency(waveform) > 1000) == (sounds.class_names[label] == "high")
    for split in ("train", "test"):
        for name, hertz in (("a", 300), ("b", 1500)):
            (tmp_path / "by_class" / split / name).mkdir(parents=True)
            for number in range(3):
                soundfile.write(tmp_path / "by_class" / split / name / f"{number}.flac", tone(hertz), RATE)
    (tmp_path / "by_class" / "train" / "a" / "broken.wav").write_text("no sound")
    sounds = audio.load(str(tmp_path / "by_class"))
    assert sounds.class_names == ("a", "b") and sounds.sample_rate == RATE
    assert len(sounds.split("test")[1]) == 6 and len(sounds.skipped) == 1


def test_any_set_of_tensorflow_datasets_with_sound_and_labels(tmp_path):
    import tensorflow_datasets as tfds

    class ZooTones(tfds.core.GeneratorBasedBuilder):
        """Tones at 16 kHz, as numbers of 16 bits."""

        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path  # where others keep a README of the set

        def _info(self):
            features = {"audio": tfds.features.Audio(sample_rate=16_000)}
            features["label"] = tfds.features.ClassLabel(names=["low", "high"])
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _):
            return {"train": self._generate_examples(8), "test": self._generate_examples(4)}

        def _generate_examples(self, count):
            for index in range(count):
                waveform = np.int64(32767 * tone((400, 1200)[index % 2], 0.4, 16_000))
                yield index, {"audio": waveform, "label": index % 2}

    sounds = audio.load("zoo_tones", sample_rate=RATE, seconds=0.5, data_dir=tmp_path)
    assert sounds.class_names == ("low", "high") and sounds.version == "1.0.0"
    assert {name: len(labels) for name, (_, labels) in sounds.splits.items()} == {
        "train": 6,
        "validation": 2,
        "test": 4,
    }
    for waveform, label in zip(*sounds.split("all"), strict=True):
        assert loudest_frequency(waveform) == pytest.approx((400, 1200)[label], abs=5)
        assert waveform.max() == pytest.approx(16_384, rel=0.02)
    assert audio.load("zoo_tones", data_dir=tmp_path).sample_rate == 16_000


def test_no_speaker_is_on_both_sides(speakers):
    sounds = audio.load(str(speakers), split_by="speaker", test_speaker="bo")
    assert set(sounds.groups["test"]) == {"bo"} and len(sounds.split("test")[1]) == 10
    assert set(sounds.groups["train"]) | set(sounds.groups["validation"]) == {"anna", "cleo"}
    assert set(audio.load(str(speakers), split_by="speaker").groups["test"]) == {"cleo"}
    assert audio.speaker("7_jackson_32.wav") == "jackson" and audio.speaker("a/0132a06d_nohash_1.wav") == "0132a06d"
    assert audio.speaker("yes.wav") == audio.speaker("yes_1.wav") == ""


# Augmentation


def test_faster_is_higher_and_a_shift_moves():
    waveforms = np.stack([tone(1000)] * 3)
    speeds, shifts = np.float32([[0.9], [1.0], [1.2]]), np.zeros((3, 1), np.float32)
    played = audio.respeed(waveforms, speeds, shifts).numpy()
    for waveform, hertz in zip(played, (900, 1000, 1200), strict=True):
        assert loudest_frequency(waveform[1000:7000]) == pytest.approx(hertz, abs=3)
    np.testing.assert_allclose(played[1], waveforms[1], atol=0.01)
    click = np.zeros((1, 2000), np.float32)
    click[0, 700] = 1
    moved = audio.respeed(click, np.ones((1, 1), np.float32), np.float32([[150.0]])).numpy()
    assert moved.argmax() == 850


def test_alter_is_seeded_and_makes_another_recording():
    waveforms = np.stack([np.pad(tone(600, 0.5, level=0.1), 2000)] * 200)
    once = audio.alter(waveforms, [1, 2], sample_rate=RATE).numpy()
    np.testing.assert_array_equal(once, audio.alter(waveforms, [1, 2], sample_rate=RATE))
    assert (once != audio.alter(waveforms, [1, 3], sample_rate=RATE).numpy()).any(axis=1).all()
    assert once.shape == waveforms.shape and np.isfinite(once).all() and np.abs(once).max() <= 1
    pitches = np.array([loudest_frequency(waveform) for waveform in once])
    clear = (pitches > 450) & (pitches < 780)
    assert clear.mean() > 0.8 and pitches[clear].min() < 520 and pitches[clear].max() > 700
    loudness = 20 * np.log10(once.std(axis=1) / waveforms.std(axis=1))
    assert loudness.min() < -8 and loudness.max() > 8


def test_noise_has_its_level_and_colour():
    colours = np.float32([[0.0], [2.0]])
    noise = audio._coloured_noise([5, 6], colours, 8000).numpy()
    np.testing.assert_allclose((noise**2).mean(axis=1), 1, rtol=0.05)
    power = np.abs(np.fft.rfft(noise)) ** 2
    ratios = power[:, 200:400].mean(axis=1) / power[:, 1600:3200].mean(axis=1)
    assert ratios[0] == pytest.approx(1, abs=0.25) and ratios[1] == pytest.approx(64, rel=0.4)


def test_mix_is_of_equal_loudness_and_keeps_the_targets_sum():
    waveforms = np.stack([tone(300, level=0.5), tone(1500, level=0.05)])
    mixed, targets = audio.mix(waveforms, np.eye(2, dtype=np.float32), [1, 1], 0.5)
    shares = 1 - targets.numpy()[[0, 1], [0, 1]]
    np.testing.assert_allclose(targets.numpy().sum(axis=1), 1, rtol=1e-6)
    assert ((shares >= 0) & (shares <= 0.5)).all()
    spectra = np.abs(np.fft.rfft(mixed))
    np.testing.assert_allclose(spectra[0, 1500] / spectra[0, 300], shares[0] / (1 - shares[0]), rtol=0.01)
    np.testing.assert_allclose(spectra[1, 300] / spectra[1, 1500], shares[1] / (1 - shares[1]), rtol=0.01)


def test_the_stream_draws_anew_each_epoch_and_goes_on_where_it_stopped():
    waveforms, labels = synthesis.synthesise(seconds=0.2)
    waveforms = np.int16(waveforms * 32767)
    options = {"num_classes": 8, "sample_rate": RATE, "batch_size": 32, "steps": 2, "epochs": 3, "seed": 7}
    options |= {"augment": 1.0, "mixup": 0.3}
    whole = [tuple(map(np.asarray, pair)) for pair in audio.training_batches(waveforms, labels, **options)]
    rest = [tuple(map(np.asarray, p)) for p in audio.training_batches(waveforms, labels, first_epoch=1, **options)]
    assert len(whole) == 6 and len(rest) == 4
    for one, other in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert (whole[0][0] != whole[2][0]).any()
    (plain, targets), *_ = audio.training_batches(waveforms, labels, **options | {"augment": 0.0, "mixup": 0.0})
    for waveform, target in zip(plain.numpy(), targets.numpy(), strict=True):
        index = int(np.abs(waveforms - waveform * 32768).sum(axis=1).argmin())
        np.testing.assert_array_equal(waveform * 32768, waveforms[index])
        assert labels[index] == target.argmax()


# The recipe


def test_train_leaves_a_whole_run(sound_run):
    folder, answer = sound_run
    assert {path.name for path in folder.iterdir()} == {
        "model.keras", "card.json", "config.json", "history.csv", "tensorboard", "curves.png", "confusion_matrix.png",
        "calibration.png", "classes.png", "mistakes.png",
    }  # fmt: skip
    card = json.loads((folder / "card.json").read_text())
    assert answer["metrics"]["accuracy"] == card["metrics"]["accuracy"] == card["files"][0]["metrics"]["accuracy"]
    assert answer["metrics"]["accuracy"] > 0.4  # chance is 0.125
    assert card["sound"] == {"sample_rate": 8000, "seconds": 1.0, "channel": "first", "long": "loudest"}
    assert card["dataset"]["classes"] == list(synthesis.CLASSES)
    for path in folder.glob("*.png"):
        assert np.asarray(Image.open(path).convert("L")).std() > 5  # something is drawn


@pytest.fixture
def no_sheets(monkeypatch):
    """Leaves out the pictures that take most of the time."""
    monkeypatch.setattr(plots, "sheet", lambda *args, **options: None)


def test_resume_gives_the_same_weights_to_the_bit(tmp_path, monkeypatch, no_sheets):
    options = SMALL | {"epochs": 2, "seed": 4}
    recipe.train(output=tmp_path / "whole", **options)
    fit = training.fit

    def cut(*args, **kwargs):
        class Stop(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 1:
                    raise ZeroDivisionError

        return fit(*args, **kwargs, callbacks=[Stop()])

    monkeypatch.setattr(training, "fit", cut)
    with pytest.raises(ZeroDivisionError):
        recipe.train(output=tmp_path / "cut", **options)
    monkeypatch.setattr(training, "fit", fit)
    assert recipe.train(resume=tmp_path / "cut")["epochs"] == 2
    for one, other in zip(*(zoo.load(tmp_path / run / "model.keras").weights for run in ("whole", "cut")), strict=True):
        if not one.path.endswith("seed_generator_state"):
            np.testing.assert_array_equal(one, other)


def test_train_and_evaluate_on_a_folder_by_speaker(capfd, speakers, tmp_path, no_sheets):
    status, answer, _ = run_json(
        capfd, "train", "spectrogram_cnn", "--dataset", speakers, "--split-by", "speaker", "--test-speaker", "bo",
        "--seconds", 0.5, "--epochs", 8,
        "--architecture", "plain", "--frontend", "stft", "--filters", 6, "--augment", 0.0,
        "--spec-augment", 0, "--mixup", 0, "--learning-rate", 0.02, "--channel", "mix", "--output", tmp_path / "run",
    )  # fmt: skip
    assert status == 0
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["dataset"]["test_speakers"] == ["bo"] and card["sound"]["channel"] == "mix"
    (row,) = answer["per_speaker"]
    assert row["speaker"] == "bo" and row["accuracy"] == answer["metrics"]["accuracy"] and row["sounds"] == 10
    heard = ("evaluate", "spectrogram_cnn", "--model", tmp_path / "run", "--output", tmp_path / "out", "--dataset")
    status, answer, _ = run_json(capfd, *heard, speakers)
    assert status == 0 and (answer["split"], answer["sounds"]) == ("test", 6)  # it has heard the others
    new = speakers.rename(tmp_path / "new_voices")
    for path in new.glob("high_anna_[2-4].wav"):  # too few to cut, but enough to measure on
        path.unlink()
    for path in new.glob("high_[bc]*.wav"):
        path.unlink()
    status, answer, _ = run_json(capfd, *heard, new)
    assert status == 0 and (answer["split"], answer["sounds"]) == ("all", 17)
    assert [row["speaker"] for row in answer["per_speaker"]] == ["anna", "bo", "cleo"]
    assert [row["sounds"] for row in answer["per_speaker"]] == [7, 5, 5]
    mean = np.average([row["accuracy"] for row in answer["per_speaker"]], weights=[7, 5, 5])
    assert answer["metrics"]["accuracy"] == pytest.approx(mean)


def test_every_exported_file_and_its_stream(capfd, sound_run, tmp_path):
    folder, trained = sound_run
    status, answer, _ = run_json(
        capfd, "export", "spectrogram_cnn", "--model", folder, "--format", "saved_model", "tflite", "onnx",
        "--quantize", "none", "int8", "--output", tmp_path,
    )  # fmt: skip
    assert status == 0 and answer["metrics"]["accuracy"] == trained["metrics"]["accuracy"]
    entries = {entry["file"]: entry for entry in answer["files"]}
    assert set(entries) == {"saved_model", "model.tflite", "model_int8.tflite", "model.onnx"}
    pcm = audio.load("sounds").split("test")[0][:1]
    for name, entry in entries.items():
        assert abs(entry["metrics"]["accuracy"] - trained["metrics"]["accuracy"]) <= (0.1 if "int8" in name else 0)
        assert entry["max_abs_difference"] < (0.25 if "int8" in name else 1e-4)
        assert entry["real_time_factor"] == pytest.approx(1000 / entry["latency_ms"], rel=0.01)
        run = zoo.export.load(tmp_path / name)
        assert run.labels == list(synthesis.CLASSES) and run.metadata["sound"]["sample_rate"] == RATE
        expected = run(waveform=pcm)["probabilities"]
        if name == "model.onnx":
            continue
        stream, memory = zoo.export.load(tmp_path / name, endpoint="stream"), np.zeros_like(pcm)
        for start in range(0, 8000, 2000):
            heard = stream(samples=pcm[:, start : start + 2000], memory=memory)
            memory = heard["memory"]
        np.testing.assert_array_equal(memory, pcm)
        np.testing.assert_allclose(heard["probabilities"], expected, atol=1e-6)
    int8, float32 = (zoo.export.operations(tmp_path / name) for name in ("model_int8.tflite", "model.tflite"))
    assert set(int8) - set(float32) <= {"QUANTIZE", "DEQUANTIZE"} and "RFFT2D" in int8 and "QUANTIZE" in int8
    status, measured, _ = run_json(
        capfd, "evaluate", "spectrogram_cnn", "--model", tmp_path / "model_int8.tflite", "--output", tmp_path / "out"
    )
    assert status == 0
    assert measured["metrics"]["accuracy"] == entries["model_int8.tflite"]["metrics"]["accuracy"]


def test_export_on_other_sounds_measures_the_agreement(capfd, sound_run, speakers, tmp_path):
    status, answer, _ = run_json(
        capfd, "export", "spectrogram_cnn", "--model", sound_run[0], "--format", "saved_model", "--dataset", speakers,
        "--stream", 0.0, "--input", "float32", "--output", tmp_path / "files",
    )  # fmt: skip
    assert status == 0 and answer["metrics"] == {"agreement": 1.0}
    assert answer["files"][0]["metrics"] == {"agreement": 1.0}
    with pytest.raises(ValueError, match="its endpoints are serving_default"):
        zoo.export.load(tmp_path / "files" / "saved_model", endpoint="stream")


def test_float_pcm_without_a_stream(sound_run, tmp_path):
    model = zoo.load(sound_run[0] / "model.keras")
    endpoint = zoo.export.sound_endpoint(model, "float32")
    zoo.export.export(model, tmp_path / "folder", endpoints={zoo.export.ENDPOINT: endpoint})
    waveform = tone(700)[None]
    found = zoo.export.load(tmp_path / "folder")(waveform=waveform)["probabilities"]
    np.testing.assert_allclose(found, model(waveform), atol=1e-6)
    with pytest.raises(ValueError, match="1 to the model's 8000, got 9000"):
        zoo.export.stream_endpoint(model, 9000)


def test_predict_files_of_any_kind(capfd, sound_run, tmp_path):
    random = np.random.default_rng(3)
    whole = np.concatenate([synthesis.one(name, random, 16_000, 16_000) for name in ("siren", "noise", "piano")])
    soundfile.write(tmp_path / "long.wav", np.stack([whole, 0.1 * whole], axis=1), 16_000)
    (tmp_path / "more").mkdir()
    soundfile.write(tmp_path / "more" / "long.flac", tone(440, 0.4, 44_100) + tone(1000, 0.4, 44_100, 0.2), 44_100)
    soundfile.write(tmp_path / "more" / "tiny.wav", tone(440, 0.001), RATE)
    (tmp_path / "more" / "text.wav").write_text("no sound")
    command = ("predict", "spectrogram_cnn", "--model", sound_run[0], "--output", tmp_path / "out")
    status, answer, err = run_json(capfd, *command, tmp_path / "long.wav", tmp_path / "more", "--hop", 0.25)
    assert status == 0 and "text.wav" in err and len(answer["skipped"]) == 1
    long, short, tiny = answer["predictions"]
    assert (long["seconds"], long["channels"], long["sample_rate"]) == (3.0, 2, 16_000)
    assert [entry["start"] for entry in long["timeline"]] == [index / 4 for index in range(9)]
    assert all(entry["end"] - entry["start"] == 1 for entry in long["timeline"])
    classifier, mono = recipe.Classifier(sound_run[0]), audio.read(tmp_path / "long.wav", RATE)
    windows = [
        waveforms.fit(mono, 8000)[0],
        *(np.rint(32768 * mono[start:][:8000]) for start in range(0, 16_001, 2000)),
    ]
    expected = classifier(np.int16(windows))
    assert [long["label"], *(entry["label"] for entry in long["timeline"])] == [
        synthesis.CLASSES[row.argmax()] for row in expected
    ]
    assert long["confidence"] == pytest.approx(expected[0].max(), abs=1e-4)
    assert len(short["timeline"]) == len(tiny["timeline"]) == 1
    assert [round(peak["hertz"]) for peak in short["strongest_frequencies"][:2]] == pytest.approx([440, 1000], abs=3)
    for one in answer["predictions"]:
        assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert one["probabilities"][one["label"]] == one["confidence"] == max(one["probabilities"].values())
        assert np.asarray(Image.open(one["picture"]).convert("L")).std() > 5
    assert len({one["picture"] for one in answer["predictions"]}) == 3
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"predictions.csv", "predictions.json", "timeline.csv", "long.png", "long-2.png"} <= written
    bare = ("--spectrogram", tmp_path / "bare.png", "--bare", "--window", 0.5)
    status, answer, _ = run_json(capfd, *command, tmp_path / "long.wav", *bare)
    assert status == 0 and len(answer["predictions"][0]["timeline"]) == 11
    frames, bins = 1 + (24_000 - 256) // 256, 16
    with Image.open(tmp_path / "bare.png") as image:
        assert image.size == (frames, bins)
    status, _, _ = run_json(capfd, *command, tmp_path / "long.wav", "--spectrogram", tmp_path / "axes.png")
    assert status == 0 and np.asarray(Image.open(tmp_path / "axes.png").convert("L")).std() > 5


def test_grad_cam_finds_the_sound(sound_run):
    classifier = recipe.Classifier(sound_run[0])
    waveform = np.zeros((1, 8000), np.int16)
    waveform[0, :4000] = 3000 * np.random.default_rng(0).standard_normal(4000)
    heat = classifier.grad_cam(waveform, int(classifier(waveform).argmax()))
    assert heat.shape[1] < 31 and heat.max() == pytest.approx(1, abs=1e-3) and heat.min() >= 0


def test_microphone(capfd, sound_run, tmp_path, monkeypatch):
    calls = []

    def rec(count, **options):
        calls.append((count, options["samplerate"]))
        return tone(500, count / RATE)[:, None]

    monkeypatch.setitem(sys.modules, "sounddevice", types.SimpleNamespace(rec=rec))
    command = ("predict", "spectrogram_cnn", "--model", sound_run[0], "--output", tmp_path, "--microphone", 1.5)
    status, answer, _ = run_json(capfd, *command)
    assert status == 0 and calls == [(12_000, 8000)]
    assert answer["predictions"][0]["seconds"] == 1.5 and soundfile.info(tmp_path / "microphone.wav").frames == 12_000
    monkeypatch.setitem(sys.modules, "sounddevice", types.SimpleNamespace(rec=lambda *a, **b: 1 / 0))
    assert "nothing could be recorded here" in refused(capfd, *command)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert "image-zoo[audio]" in refused(capfd, *command)


def test_benchmark(capfd, sound_run, tmp_path, monkeypatch):
    def forms(model, inputs, raw, folder, *, representative_data, endpoints):  # those of files are tested elsewhere
        assert raw["waveform"].dtype == np.int16 and list(endpoints) == [zoo.export.ENDPOINT]
        np.testing.assert_allclose(
            model(inputs), endpoints[zoo.export.ENDPOINT][0](tf.constant(raw["waveform"]))["probabilities"]
        )
        return {"saved_model": 4.0, "tflite int8, 1 thread": 0.5}, {"model.tflite": 1000}

    monkeypatch.setattr(timing, "forms", forms)
    monkeypatch.setattr(benchmarks, "_speeds", functools.partial(benchmarks._speeds, at_most=128))
    command = ("benchmark", "spectrogram_cnn", "--model", sound_run[0], "--rounds", 1, "--output", tmp_path)
    status, answer, _ = run_json(capfd, *command)
    assert status == 0 and json.loads((tmp_path / "benchmark.json").read_text())["bytes"] == answer["bytes"]
    speeds = answer["training_clips_per_second"]
    assert speeds["inside / beforehand"] == pytest.approx(
        speeds["front end inside"] / speeds["spectrograms beforehand"]
    )
    assert answer["pipeline_clips_per_second"]["plain"] > answer["pipeline_clips_per_second"]["augmented"] > 0
    assert answer["real_time_factor"] == {"saved_model": 250.0, "tflite int8, 1 thread": 2000.0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "--model", "run"], ["no sound given", "--microphone"]),
        (["predict", "lion.wav", "--model", "run"], ["there is no sound lion.wav"]),
        (["predict", "text.wav", "--model", "run"], ["text.wav is not a sound", "FLAC"]),
        (["predict", "empty.wav", "--model", "run"], ["empty.wav has no samples", "zero"]),
        (["predict", "nan.wav", "--model", "run"], ["nan.wav has 3 samples that are no numbers"]),
        (["predict", "slow.wav", "--model", "run"], ["slow.wav has 2,000 samples per second", "4,000 to 192,000"]),
        (["predict", "surround.wav", "--model", "run"], ["surround.wav has 6 channels", "one and two"]),
        (["predict", "folder", "--model", "run"], ["folder has no sounds"]),
        (
            ["predict", "good.wav", "--model", "run", "--window", "2"],
            ["window", "at most the model's 1 seconds, got 2"],
        ),
        (["predict", "good.wav", "--model", "run", "--hop", "0"], ["hop must be positive, got 0"]),
        (["predict", "good.wav", "--model", "run", "--bare"], ["--bare", "--spectrogram"]),
        (["predict", "good.wav", "--model", "run", "--spectrogram", "x.jpg"], ["PNG", "x.jpg"]),
        (["predict", "good.wav", "good.wav", "--model", "run", "--spectrogram", "x.png"], ["one sound, got 2"]),
        (["train", "--dataset", "one"], ["one has one class, low"]),
        (["train", "--dataset", "folder"], ["folder has no sounds", "class/*.wav"]),
        (["train", "--dataset", "few"], ["class high has 1 readable sounds", "need 3"]),
        (["train", "--dataset", "./nowhere"], ["no folder ./nowhere"]),
        (["train", "--dataset", "spoken_digits"], ["spoken_digits", "spoken_digit"]),
        (["train", "--dataset", "mnist"], ["mnist is not a set of labelled sounds"]),
        (["train", "--split-by", "speaker"], ["sounds cannot be split by speaker"]),
        (["train", "--dataset", "voices", "--split-by", "speaker", "--test-speaker", "zoe"], ["zoe", "anna, bo"]),
        (["train", "--test-speaker", "anna"], ["test_speaker=anna", "split_by"]),
        (["train", "--seconds", "0"], ["seconds must be in [0.05, 60], got 0"]),
        (["train", "--sample-rate", "100"], ["sample_rate has 100 samples per second"]),
        (["train", "--window", "0.001"], ["window=8"]),
        (["train", "--stride", "0.05"], ["stride=400"]),
        (["train", "--mel-bins", "120"], ["mel_bins=120 is too many"]),
        (["train", "--mixup", "0.7"], ["mixup", "0.7"]),
        (["train", "--augment", "-1"], ["augment", "-1"]),
        (["train", "--epochs", "0"], ["epochs must be positive"]),
        (["train", "--frontend", "mfcc"], ["mfcc", "log_mel"]),
        (["train", "--seconds", "0.06"], ["too small for 4 stages"]),
        (["evaluate", "--model", "run", "--dataset", "voices"], ["the classes differ", "siren", "high, low"]),
        (["evaluate", "--model", "lion"], ["lion"]),
        (["evaluate", "--model", "digits.keras"], ["digits.keras does not take sound"]),
        (["evaluate", "--model", "text.tflite"], ["text.tflite is not a model"]),
        (["export", "--model", "run", "--stream", "3"], ["stream", "1 seconds, got 3"]),
        (["export", "--model", "run", "--format", "onnx", "--quantize", "int8"], ["int8", "onnx"]),
        (["benchmark", "--model", "run", "--rounds", "0"], ["rounds must be positive"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_wrong_input_is_one_clear_line(capfd, sound_run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("run").symlink_to(sound_run[0])
    Path("folder").mkdir()
    Path("text.wav").write_text("this is text")
    Path("text.tflite").write_text("this is text")
    soundfile.write("good.wav", tone(440), RATE)
    soundfile.write("empty.wav", np.zeros(0), RATE)
    soundfile.write("nan.wav", np.float32([0, np.nan, np.inf, np.nan, 0]), RATE, subtype="FLOAT")
    soundfile.write("slow.wav", tone(100, rate=2000), 2000)
    soundfile.write("surround.wav", np.zeros((100, 6)), RATE)
    for name in ("one/low_anna_1", "few/low_anna_1", "few/low_anna_2", "few/low_anna_3", "few/high_anna_1"):
        Path(name).parent.mkdir(exist_ok=True)
        soundfile.write(f"{name}.wav", tone(440, 0.1), RATE)
    Path("voices").mkdir()
    for name in ("low_anna", "low_bo", "high_anna", "high_bo"):
        for number in range(3):
            soundfile.write(f"voices/{name}_{number}.wav", tone(440, 0.1), RATE)
    if "digits.keras" in arguments:
        zoo.mnist_cnn(filters=(2,), dense_units=0).save("digits.keras")
    before = set(tmp_path.rglob("*"))
    line = refused(capfd, arguments[0], "spectrogram_cnn", *arguments[1:])
    assert all(word in line for word in words), line
    assert not [path for path in set(tmp_path.rglob("*")) - before if path.is_file()]  # nothing half-written


# The published model


def published():
    if "spectrogram_cnn" not in pretrained.names():
        pytest.skip("not published yet")
    return pretrained.card("spectrogram_cnn")


def test_published_card_meets_the_target():
    card = published()
    assert card["parameters"] <= 100_000 and card["dataset"]["splits"]["test"] == 250
    assert card["metrics"]["accuracy"] >= 0.99
    folds = card["leave_one_speaker_out"]
    assert set(folds["accuracy"]) == {"george", "jackson", "nicolas", "theo", "yweweler"}
    assert folds["mean"] == pytest.approx(np.mean(list(folds["accuracy"].values())))
    assert folds["mean"] >= 0.92
    keras_file, int8_file, web_file = card["files"]
    assert web_file["metrics"] == int8_file["metrics"]
    assert int8_file["quantize"] == "int8" and int8_file["bytes"] <= 150_000
    assert abs(keras_file["metrics"]["accuracy"] - int8_file["metrics"]["accuracy"]) <= 0.005
    assert int8_file["real_time_factor"] > 100


def test_published_figures_are_reproduced(real_data, tmp_path):
    card = published()
    options = {"data_dir": tmp_path, "manual_dir": real_data / "spoken_digit"}
    sounds = audio.load("spoken_digit", **options)
    assert {name: len(labels) for name, (_, labels) in sounds.splits.items()} == card["dataset"]["splits"]
    by_speaker = audio.load("spoken_digit", split_by="speaker", test_speaker="theo", **options)
    assert set(by_speaker.groups["test"]) == {"theo"} and len(by_speaker.split("test")[1]) == 500
    x, y = sounds.split("test")
    for entry in card["files"]:
        classifier = recipe.Classifier(pretrained.file("spectrogram_cnn", entry["file"]))
        accuracy = float((classifier(x).argmax(axis=1) == y).mean())
        assert accuracy == pytest.approx(entry["metrics"]["accuracy"], abs=0.005)
