"""A convolutional network for sound: the waveform in, its spectrogram as an image inside, the class out.

The defaults are the plain way: the magnitude spectrogram in decibels, and three convolutions with ReLU and max pooling
on it. The keyword arguments reach a mel scale (Stevens, Volkmann and Newman, 1937; in the form of HTK) and a small
residual network of depthwise separable convolutions (Zhang et al., "Hello edge: keyword spotting on microcontrollers",
2017), with SpecAugment (Park et al., 2019) and a random tempo in training. The published network is of this kind.

The spectrogram is a layer, so a saved or exported model takes sound as it comes from a microphone. Each image is scaled
to its own loudest point, so a quiet recording looks like a loud one.
"""

from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np
from keras import Input, Model, layers, ops

from zoo import pretrained
from zoo.kinds import File, Shape, Tensor
from zoo.waveforms import QUIET, RANGE, fft_length, mel_matrix

FILTERS = {"plain": (16, 32, 64), "depthwise": (32, 48, 64, 96)}


def spectrogram_cnn(
    input_shape: Shape = (8000,),
    num_classes: int = 10,
    *,
    sample_rate: int = 8000,
    window: int = 256,
    stride: int = 128,
    frontend: Literal["stft", "log_mel", None] = "stft",
    mel_bins: int = 40,
    architecture: Literal["plain", "depthwise"] = "plain",
    filters: Sequence[int] | None = None,
    blocks: int = 2,
    dropout: float = 0.0,
    augment: float = 0.0,
    weights: File | None = None,
    name: str = "spectrogram_cnn",
) -> keras.Model:
    """Builds a classifier of sounds that looks at their spectrogram.

    "plain" is per stage a 3x3 convolution with ReLU and 2x2 max pooling; "depthwise" is a 5x5 convolution of stride 2,
    then per stage `blocks` residual blocks of a depthwise 3x3 and a 1x1 convolution, both with batch normalisation;
    each stage but the first halves the image. Both end in global average pooling.

    Input:  "waveform", float32 (batch, samples) in [-1, 1]; or, without a front end, "spectrogram", float32 (batch,
        time, frequency, channels) in [0, 1].
    Output: "probabilities", float32 (batch, num_classes), each row sums to 1.

    Args:
        input_shape: (samples,) of the waveform; (time, frequency, channels) with `frontend=None`.
        num_classes: Number of classes, 2 or more.
        sample_rate: Samples per second.
        window: Samples of each short-time spectrum, 16 or more.
        stride: Samples from one spectrum to the next, 1 to `window`.
        frontend: "stft" (window // 2 + 1 frequencies, where the window is a power of two), "log_mel" (`mel_bins`
            bands), or None where the spectrogram itself is the input.
        mel_bins: Number of mel bands; only for "log_mel".
        architecture: "plain" or "depthwise".
        filters: Filters of each stage; None takes (16, 32, 64) for "plain" and (32, 48, 64, 96) for "depthwise".
        blocks: Residual blocks per stage of "depthwise".
        dropout: Fraction in [0, 1) of the last features that is dropped in training.
        augment: Strength of `SpecAugment` in training, 0 leaves it out.
        weights: None, the name of a data set with published weights ("spoken_digit"), or the path of a `.keras` file.
            The file decides the architecture; with another number of classes all but the last layer is kept.
        name: Name of the model; one from a file keeps its own.

    Returns:
        An uncompiled `keras.Model`.

    Raises:
        ValueError: If an argument is out of range, the sound is too short for the stages, or `weights` do not fit.
    """
    if weights is not None:
        return _from_weights(weights, input_shape, num_classes, sample_rate, frontend)
    if num_classes < 2:
        raise ValueError(f"num_classes must be 2 or more, got {num_classes}")
    if architecture not in FILTERS:
        raise ValueError(f"architecture must be one of {', '.join(FILTERS)}, got {architecture!r}")
    filters = FILTERS[architecture] if filters is None else tuple(filters)
    if not filters or min(filters) < 1 or blocks < 1:
        raise ValueError(f"at least one stage of one filter and one block is needed, got {filters=}, {blocks=}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
    if augment < 0:
        raise ValueError(f"augment must be 0 or more, got {augment}")
    _check_shape(input_shape, frontend)

    if frontend is None:
        sound = x = Input(input_shape, name="spectrogram")
    else:
        spectrogram = Spectrogram(
            sample_rate, window, stride, mel_bins if frontend == "log_mel" else None, dtype="float32", name="image"
        )
        sound = Input(input_shape, name="waveform")
        x = spectrogram(sound)
    if min(x.shape[1:3]) < 2 ** len(filters):
        raise ValueError(
            f"the spectrogram is {x.shape[1]} x {x.shape[2]}, too small for {len(filters)} stages: a longer sound, a "
            "shorter stride or fewer stages are needed"
        )
    if augment:
        x = SpecAugment(augment, dtype="float32", name="spec_augment")(x)
    x = {"plain": _plain, "depthwise": _depthwise}[architecture](x, filters, blocks)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    # float32 also under a mixed policy: half precision loses small probabilities
    probabilities = layers.Dense(num_classes, activation="softmax", dtype="float32", name="probabilities")(x)
    return Model(sound, probabilities, name=name)


@keras.saving.register_keras_serializable("zoo")
class Spectrogram(layers.Layer):
    """Turns waveforms into spectrogram images, whatever their loudness.

    Input:  float32 (batch, samples) in [-1, 1].
    Output: float32 (batch, time, frequency, 1) in [0, 1]: 1 is the loudest point of the sound (or `QUIET`, if that is
        louder), 0 is `RANGE` decibels below it. Low frequencies come first.

    Args:
        sample_rate: Samples per second.
        window: Samples of each short-time spectrum, 16 or more (Hann; padded to the next power of two).
        stride: Samples from one spectrum to the next, 1 to `window`.
        mel_bins: Number of mel bands, or None for all frequencies on a linear scale.

    Raises:
        ValueError: If an argument is out of range, or the waveform shorter than the window.
    """

    keep_float = True  # for `zoo.export`: eight bits cannot hold the range of a spectrum's power

    def __init__(self, sample_rate, window, stride, mel_bins=None, **kwargs):
        super().__init__(**kwargs)
        if sample_rate <= 0:
            raise ValueError(f"sample_rate must be positive, got {sample_rate}")
        if window < 16 or not 1 <= stride <= window:
            raise ValueError(f"window must be 16 or more and stride 1 to window, got {window=}, {stride=}")
        self.sample_rate, self.window, self.stride, self.mel_bins = sample_rate, window, stride, mel_bins
        self.by_matrix = False  # for `zoo.export`: ONNX has no Fourier transform
        self.matrix = None if mel_bins is None else mel_matrix(sample_rate, fft_length(window) // 2 + 1, mel_bins)

    def get_config(self):
        names = ("sample_rate", "window", "stride", "mel_bins")
        return super().get_config() | {name: getattr(self, name) for name in names}

    def compute_output_shape(self, input_shape):
        if input_shape[1] < self.window:
            raise ValueError(f"the sound has {input_shape[1]} samples, fewer than the window of {self.window}")
        frames = 1 + (input_shape[1] - self.window) // self.stride
        return (input_shape[0], frames, self.mel_bins or fft_length(self.window) // 2 + 1, 1)

    def build(self, input_shape):
        self.compute_output_shape(input_shape)
        super().build(input_shape)

    def call(self, waveform):
        power = power_spectrogram(waveform, self.window, self.stride, self.by_matrix)
        if self.matrix is not None:
            power = ops.matmul(power, self.matrix)
        decibels = ops.log(power + 1e-12) * (10 / np.log(10))
        loudest = ops.max(decibels, axis=(1, 2), keepdims=True)
        image = 1 + (decibels - ops.maximum(loudest, QUIET)) / RANGE
        return ops.expand_dims(ops.clip(image, 0.0, 1.0), -1)


@keras.saving.register_keras_serializable("zoo")
class SpecAugment(layers.Layer):
    """Another tempo for each spectrogram, and bands of time and frequency left out; nothing outside training.

    At strength 1: the tempo changes by up to a quarter, two bands of up to 6 % of the time and two of up to 15 % of the
    frequencies are set to 0. Each band's width and place are uniform.

    Args:
        strength: Factor of all of these, in [0, 3].
        seed: Seed of the random numbers; None draws one.
    """

    TEMPO, TIME, FREQUENCY, BANDS = 0.25, 0.06, 0.15, 2

    def __init__(self, strength=1.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= strength <= 3:
            raise ValueError(f"strength must be in [0, 3], got {strength}")
        self.strength, self.seed = strength, seed
        self.generator = keras.random.SeedGenerator(seed)

    def get_config(self):
        return super().get_config() | {"strength": self.strength, "seed": self.seed}

    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, image, training=False):
        if not training:
            return image
        count, (frames, bins) = ops.shape(image)[0], image.shape[1:3]
        # the transform leads from output to input pixels (x is the frequency): time about the centre, all else as it is
        tempo = 1 + self.strength * self.TEMPO * self._uniform((count,), -1.0)
        one, zero = ops.ones_like(tempo), ops.zeros_like(tempo)
        rows = [one, zero, zero, zero, tempo, (1 - tempo) * ((frames - 1) / 2), zero, zero]
        image = ops.image.affine_transform(image, ops.stack(rows, axis=1), fill_mode="constant")
        for axis, size, share in ((1, frames, self.TIME), (2, bins, self.FREQUENCY)):
            for _ in range(self.BANDS):
                width = min(1.0, self.strength * share) * size * self._uniform((count, 1, 1, 1))
                start = (size - width) * self._uniform((count, 1, 1, 1))
                place = ops.reshape(ops.arange(size, dtype="float32"), [-1 if i == axis else 1 for i in range(4)])
                image = ops.where(ops.logical_and(place >= start, place < start + width), 0.0, image)
        return image

    def _uniform(self, shape, low=0.0):
        return keras.random.uniform(shape, low, 1.0, dtype="float32", seed=self.generator)


def power_spectrogram(waveform: Tensor, window: int, stride: int, by_matrix: bool = False) -> Tensor:
    """Power of short-time spectra, (batch, frames, fft_length // 2 + 1), on a scale where a sine of full scale is 1.

    Args:
        waveform: float32 (batch, samples).
        window: Samples of the Hann window (periodic), which is padded with zeros to `fft_length(window)`.
        stride: Samples from one spectrum to the next; samples that fill no window are left out.
        by_matrix: Whether to multiply by sines and cosines instead of the fast Fourier transform.
    """
    time, length = np.arange(window), fft_length(window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / window)
    hann = np.float32(hann * 2 / hann.sum())
    frames = ops.extract_sequences(waveform, window, stride) * hann
    if by_matrix:
        angle = 2 * np.pi / length * np.outer(time, np.arange(length // 2 + 1))
        real, imaginary = ops.matmul(frames, np.float32(np.cos(angle))), ops.matmul(frames, np.float32(np.sin(angle)))
    else:
        real, imaginary = ops.rfft(frames, fft_length=length)
    return real * real + imaginary * imaginary


def _plain(x, filters, blocks):
    for stage, width in enumerate(filters, start=1):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"stage{stage}_convolution")(x)
        x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
    return x


def _depthwise(x, filters, blocks):
    x = layers.Conv2D(filters[0], 5, strides=2, padding="same", use_bias=False, name="stem_convolution")(x)
    x = _normalize(x, relu=True, name="stem")
    for stage, width in enumerate(filters, start=1):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            x = _block(x, width, stride, name=f"stage{stage}_block{block}")
    return x


def _block(x, filters, stride, name):
    y = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    y = _normalize(y, relu=True, name=f"{name}_depthwise")
    y = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_pointwise")(y)
    y = _normalize(y, relu=False, name=f"{name}_pointwise")
    if stride == 1 and x.shape[-1] == filters:
        y = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_relu")(y)


def _normalize(x, relu, name):
    # 0.9 follows the weights of a short training; the 0.99 of Keras lags behind it for epochs
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _check_shape(input_shape, frontend):
    if frontend not in ("stft", "log_mel", None):
        raise ValueError(f'frontend must be "stft", "log_mel" or None, got {frontend!r}')
    sides, what = (3, "(time, frequency, channels)") if frontend is None else (1, "(samples,)")
    if len(input_shape) != sides or not all(isinstance(side, int) and side > 0 for side in input_shape):
        raise ValueError(f"input_shape is {what} with {frontend=}, got {tuple(input_shape)}")


def _from_weights(weights, input_shape, num_classes, sample_rate, frontend):
    model = pretrained.from_weights("spectrogram_cnn", weights, input_shape, num_classes)
    found = [layer.sample_rate for layer in model.layers if isinstance(layer, Spectrogram)]
    if frontend is not None and found != [sample_rate]:
        raise ValueError(
            f"weights {str(weights)!r} are for sample rate {found[0] if found else None}, not {sample_rate}"
        )
    return model
