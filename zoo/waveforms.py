"""Sounds as they come in files, brought to what a network takes (NumPy, SciPy and libsndfile)."""

import math
import sys
from pathlib import Path

import numpy as np

KINDS = "WAV, FLAC, OGG, MP3, AIFF and what else libsndfile opens"
RATES = (4000, 192_000)
RANGE = 45.0  # decibels of a spectrogram; less would lose soft consonants, more shows the noise of the recording
QUIET = -60.0  # decibels of full scale: a sound that is softer all through is shown as soft


def _tell(path, what):
    print(f"{path} {what}", file=sys.stderr)


def read(path, sample_rate, channel="first", tell=_tell):
    """Reads a sound file as float32 (samples,) in [-1, 1] at a rate, of one channel.

    What is to be said of it goes, with the path, to `tell`.

    Raises:
        ValueError: If the file is no sound, or one that is not taken: empty, with NaN, of a rate outside `RATES` or of
            more than two channels.
    """
    waveform, rate = read_channels(path, tell)
    if channel == "first":
        tell_silence(waveform, path, tell)
    return resample(one_channel(waveform, channel), rate, sample_rate)


def read_channels(path, tell=_tell):
    """Reads a sound file as it is: (float32 (samples, 1 or 2) in [-1, 1], samples per second); raises as `read`."""
    import soundfile

    try:
        waveform, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        if hasattr(path, "read"):
            raise ValueError(f"this is not a sound that can be read ({KINDS})") from error
        if not Path(path).exists():
            raise ValueError(f"there is no sound {path}") from None
        if Path(path).is_dir():
            raise ValueError(f"{path} is a folder, not a sound") from None
        try:
            Path(path).open("rb").close()
        except PermissionError:
            raise ValueError(f"{path} may not be read: permission denied") from None
        raise ValueError(f"{path} is not a sound that can be read ({KINDS})") from error
    if not len(waveform):
        raise ValueError(f"{path} has no samples: its length is zero")
    if waveform.shape[1] > 2:
        raise ValueError(f"{path} has {waveform.shape[1]} channels: accepted are one and two")
    if not np.isfinite(waveform).all():
        raise ValueError(f"{path} has {(~np.isfinite(waveform)).sum():,} samples that are no numbers (NaN or infinite)")
    check_rate(path, rate)
    return _in_range(waveform, path, tell), rate


def _in_range(waveform, path, tell):
    """A waveform in [-1, 1]; a float file with the values of integers is divided by their range."""
    peak = float(np.abs(waveform).max())
    if peak <= 4:  # a mix that is too loud is clipped, as a loudspeaker does
        if peak > 1.01:
            tell(path, "holds floats above 1: they are clipped")
        return waveform
    top = next((top for top in (2**15, 2**23, 2**31) if peak <= top), None)
    if top is None:
        raise ValueError(
            f"{path} has samples up to {peak:g}: accepted are floats in [-1, 1], or integers of 16 to 32 bits"
        )
    tell(path, f"holds floats far above 1: {top:,} is read as full scale")
    return waveform / np.float32(top)


def tell_silence(waveform, path, tell=_tell):
    """Says so where the first channel is silent and the second is not."""
    loudness = np.sqrt(np.mean(np.square(waveform), axis=0))
    if len(loudness) > 1 and loudness[0] < 1e-3 and loudness[1] > 30 * loudness[0]:
        tell(path, "has a silent first channel and a louder second one: --channel mix hears both")


def one_channel(waveform, channel="first"):
    """(samples,) of (samples, 1 or 2): the "first" channel or the "mix" of both."""
    return waveform[:, 0] if channel == "first" else waveform.mean(axis=1, dtype=np.float32)


def resample(waveform, rate, sample_rate):
    """A waveform (samples,) of one rate at another."""
    if rate == sample_rate:
        return waveform
    try:
        from scipy import signal
    except ImportError as error:
        wanted = f"a sound of {rate:,} samples per second, where the model takes {sample_rate:,}"
        raise ValueError(f"{wanted}, needs scipy: pip install 'image-zoo[video]'") from error
    common = math.gcd(rate, sample_rate)
    return np.float32(signal.resample_poly(waveform, sample_rate // common, rate // common))


def pcm(waveform):
    """A waveform in [-1, 1] as int16; one that is int16 already stays as it is."""
    if waveform.dtype == np.int16:
        return waveform
    return np.rint(np.clip(waveform, -1, 32767 / 32768) * 32768).astype(np.int16)


def fit(waveform, samples, long="loudest"):
    """Brings a waveform (any length,) to windows, int16 (count, samples).

    A shorter one stands in the middle of zeros. Of a longer one, "loudest" takes the window of most energy, "windows"
    all of them one after the other, the last one flush with the end.
    """
    waveform = pcm(waveform)
    surplus = len(waveform) - samples
    if surplus <= 0:
        return np.pad(waveform, (-surplus // 2, -surplus - -surplus // 2))[None]
    if long == "windows":
        starts = [*range(0, surplus, samples), surplus]
    else:
        energy = np.concatenate([[0], np.cumsum(waveform.astype(np.float64) ** 2)])
        starts = [int(np.argmax(energy[samples:] - energy[:-samples]))]
    return np.stack([waveform[start : start + samples] for start in starts])


def timeline(waveform, sample_rate, samples, window, hop):
    """The windows of a running sound: (starts and ends in seconds, int16 (count, samples)).

    Args:
        waveform: (any length,) in [-1, 1].
        sample_rate: Samples per second.
        samples: Samples that the network takes; a shorter window stands in the middle of zeros.
        window: Seconds of each window.
        hop: Seconds from one window to the next; the last one is flush with the end.
    """
    length, step = round(window * sample_rate), max(1, round(hop * sample_rate))
    surplus = len(waveform) - length
    starts = [*range(0, surplus, step), surplus] if surplus > 0 else [0]
    times = [(start / sample_rate, min(start + length, len(waveform)) / sample_rate) for start in starts]
    return times, np.concatenate([fit(waveform[start : start + length], samples) for start in starts])


def check_rate(what, rate):
    """Refuses samples per second outside of `RATES`."""
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"{what} has {rate:,} samples per second: accepted are {RATES[0]:,} to {RATES[1]:,}")


def fft_length(window):
    """The next power of two: the Fourier transform of TFLite knows no other length."""
    return 1 << (window - 1).bit_length()


def mel_matrix(sample_rate, bins, mel_bins, low=60.0):
    """Weights that sum frequencies to mel bands, float32 (bins, mel_bins): triangles of height 1, evenly spaced in mel.

    Args:
        sample_rate: Samples per second.
        bins: Number of frequencies, from 0 to half the sample rate.
        mel_bins: Number of bands.
        low: Lowest frequency of the first band in hertz; the last one ends at half the sample rate.

    Raises:
        ValueError: If the spectrum is too coarse: a band would see none of its frequencies.
    """
    if mel_bins < 1:
        raise ValueError(f"mel_bins must be 1 or more, got {mel_bins}")

    def mel(hertz):
        return 1127 * np.log1p(hertz / 700)

    edges = np.linspace(mel(low), mel(sample_rate / 2), mel_bins + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    frequency = mel(np.linspace(0, sample_rate / 2, bins))[:, None]
    weights = np.minimum((frequency - left) / (centre - left), (right - frequency) / (right - centre)).clip(0)
    if not weights.any(axis=0).all():
        raise ValueError(f"mel_bins={mel_bins} is too many for {bins} frequencies: take a longer window or fewer bands")
    return np.float32(weights)


def spectrogram(waveform, sample_rate, window, stride, mel_bins=None):
    """The image that a `zoo.spectrogram_cnn.Spectrogram` of these arguments makes of one waveform, without Keras.

    Args:
        waveform: float32 (samples,) in [-1, 1]; one shorter than the window is followed by zeros.
        sample_rate: Samples per second.
        window: Samples of each short-time spectrum.
        stride: Samples from one spectrum to the next.
        mel_bins: Number of mel bands, or None for all frequencies.

    Returns:
        float32 (time, frequency) in [0, 1].
    """
    waveform = np.pad(waveform, (0, max(0, window - len(waveform))))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, window)[::stride] * (hann * 2 / hann.sum())
    power = np.abs(np.fft.rfft(frames, fft_length(window))) ** 2
    if mel_bins is not None:
        power = power @ mel_matrix(sample_rate, power.shape[1], mel_bins)
    decibels = 10 * np.log10(power + 1e-12)
    return np.float32((1 + (decibels - max(decibels.max(), QUIET)) / RANGE).clip(0, 1))


def frequencies(sample_rate, window, mel_bins=None):
    """Hertz at the middle of each frequency of such an image."""
    bins = fft_length(window) // 2 + 1
    hertz = np.linspace(0, sample_rate / 2, bins)
    return hertz if mel_bins is None else hertz[mel_matrix(sample_rate, bins, mel_bins).argmax(axis=0)]
