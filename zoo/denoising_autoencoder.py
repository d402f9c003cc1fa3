"""An autoencoder that removes noise: a noisy image in, the clean one out; or a small one in, a larger one out.

The defaults are the classic convolutional denoising autoencoder (after Vincent et al., "Extracting and composing
robust features with denoising autoencoders", 2008): one pooling, one upsampling, 19,393 parameters. The keyword
arguments reach modern ones: more levels with skip connections (U-Net; Ronneberger et al., 2015), batch normalisation,
and a network that predicts the noise instead of the image (DnCNN; Zhang et al., "Beyond a Gaussian denoiser", 2017).
The network published for digits is such a U-Net. For photos, `architecture="residual_unet"` has residual blocks and
neither biases nor normalisation, so that what it does at one level of noise it does at every other (DRUNet; Zhang et
al., "Plug-and-play image restoration with deep denoiser prior", 2021), at half of the resolution and below, where a
convolution costs a quarter (FFDNet; Zhang et al., 2018). `architecture="sub_pixel"` makes a photo larger instead: all
of its work is done at the small size, and the last layer lays out factor x factor new pixels for each one (ESPCN; Shi
et al., 2016; FSRCNN; Dong et al., 2016), as the difference from the pixel repeated (ABPN; Du et al., 2021).
"""

from collections.abc import Sequence
from typing import Literal

import keras
from keras import Input, Model, layers, ops

from zoo import pretrained
from zoo.kinds import File, Shape


def denoising_autoencoder(
    input_shape: Shape = (28, 28, 1),
    *,
    architecture: Literal["classic", "residual_unet", "sub_pixel"] = "classic",
    filters: Sequence[int] = (32, 64),
    blocks: int = 1,
    convolutions: int = 1,
    decoder_convolutions: int = 0,
    batch_normalization: bool = False,
    skip_connections: bool = False,
    residual: bool = False,
    factor: int = 2,
    weights: File | None = None,
    name: str = "denoising_autoencoder",
) -> keras.Model:
    """Builds a convolutional denoising autoencoder.

    Each level of the encoder is `convolutions` times a 3x3 convolution with ReLU; 2x2 max pooling leads to the next.
    The decoder goes back by 2x upsampling. The stride is 2 ** (levels - 1). With the architecture "residual_unet" the
    first level has half of the resolution, convolutions of 2x2 with stride 2 lead down and transposed ones up, what
    goes up is added to the features of the encoder, and the stride is 2 ** levels. The architecture "sub_pixel" has one
    level at the size of the input, and its output is `factor` times as high and wide.

    Input:  "image", float32 (batch, height, width, channels) in [0, 1], noisy.
    Output: "restored", float32, same shape (but see "sub_pixel"), in [0, 1]. With `residual`, it
            is clipped to that only outside training.

    Args:
        input_shape: (height, width, channels) of the images: height and width multiples of the stride, or None for any
            such size; 1 or 3 channels.
        architecture: "classic"; "residual_unet", which predicts the noise; or "sub_pixel", which enlarges.
        filters: Filters of each level, from the full resolution down (residual_unet: from half of it); one number per
            level.
        blocks: Of residual_unet: blocks of two convolutions per level of the encoder, and as many in the decoder; one
            number, or one per level. Of sub_pixel: one number, of all.
        convolutions: Convolutions per level of the encoder, 1 or more; this and what follows is of the classic one.
        decoder_convolutions: Convolutions per level of the decoder before the last one, 0 or more.
        batch_normalization: Whether each convolution is followed by batch normalisation (and then has no bias).
        skip_connections: Whether each level of the decoder also sees the features of the encoder's.
        residual: Whether the network predicts the noise, which is subtracted from the image.
        factor: Of sub_pixel: how many times as high and wide the output is, 2, 3 or 4.
        weights: None, the name of a data set with published weights ("mnist") or of a published model, or the path of a
            `.keras` file. The file decides the architecture; `input_shape` must agree with it. Under a mixed dtype
            policy it computes as a new network does: in half precision up to the last convolution.
        name: Name of the model; one from a file keeps its own.

    Returns:
        An uncompiled `keras.Model`.

    Raises:
        ValueError: If an argument is out of range, height or width is not a multiple of the stride, or `weights` do not
            fit.
    """
    if weights is not None:
        return _from_weights(weights, input_shape)
    if architecture not in ("classic", "residual_unet", "sub_pixel"):
        raise ValueError(f"architecture must be classic, residual_unet or sub_pixel, got {architecture!r}")
    if not filters or min(filters) < 1 or convolutions < 1 or decoder_convolutions < 0:
        raise ValueError(
            "at least one level of one filter and one convolution is needed, "
            f"got filters={tuple(filters)}, {convolutions=}, {decoder_convolutions=}"
        )
    if architecture == "residual_unet":
        return _residual_unet(input_shape, filters, blocks, name)
    if architecture == "sub_pixel":
        return _sub_pixel(input_shape, filters, blocks, factor, name)
    _check_shape(input_shape, 2 ** (len(filters) - 1))

    image = x = Input(input_shape, name="image")
    features = []
    for level, width in enumerate(filters, start=1):
        if level > 1:
            x = layers.MaxPooling2D(name=f"encoder{level}_pool")(x)
        x = _convolutions(x, width, convolutions, batch_normalization, name=f"encoder{level}")
        features.append(x)
    for level, width in reversed(list(enumerate(filters[:-1], start=1))):
        x = layers.UpSampling2D(name=f"decoder{level}_upsampling")(x)
        if skip_connections:
            x = layers.Concatenate(name=f"decoder{level}_skip")([x, features[level - 1]])
        x = _convolutions(x, width, decoder_convolutions, batch_normalization, name=f"decoder{level}")
    return Model(image, _output(x, image, residual), name=name)


def stride_of(model: keras.Model) -> int:
    """What height and width of a denoiser's images must be multiples of."""
    down = [layer for layer in model.layers if getattr(layer, "strides", None) == (2, 2)]
    return 2 ** sum(isinstance(layer, layers.MaxPooling2D | layers.Conv2D) for layer in down)


def factor_of(model: keras.Model) -> int:
    """How many times as high and wide as its input the output of a denoiser is: 1, or what one of "sub_pixel" has."""
    (factor,) = [layer.size[0] for layer in model.layers if layer.name == "repeated"] or [1]
    return factor


def resized(model: keras.Model, height: int | None, width: int | None) -> keras.Model:
    """A copy of a denoiser with the same weights for images of another size.

    Raises:
        ValueError: If the size is no multiple of the network's stride.
    """
    image = Input((height, width, model.input_shape[-1]), name="image")
    try:
        copy = keras.models.clone_model(model, input_tensors=image)
    except ValueError as error:
        raise ValueError(f"{height} x {width} is no multiple of the network's stride") from error
    copy.set_weights(model.get_weights())
    return copy


# the layers that are float32 under any policy
_LAST = ("restored", "noise", "difference", "detail", "repeated", "sum")


def _from_weights(weights, input_shape):
    model = pretrained.from_weights("denoising_autoencoder", weights, input_shape)
    policy = keras.config.dtype_policy()
    if policy.compute_dtype == policy.variable_dtype:
        return model

    def under_policy(layer):
        config = layer.get_config()
        return type(layer).from_config(config if layer.name in _LAST else config | {"dtype": policy.name})

    copy = keras.models.clone_model(model, clone_function=under_policy)
    copy.set_weights(model.get_weights())
    return copy


def _residual_unet(input_shape, filters, blocks, name):
    blocks = (blocks,) * len(filters) if isinstance(blocks, int) else tuple(blocks)
    if len(blocks) != len(filters) or min(blocks) < 1:
        raise ValueError(f"blocks is one number or one per level, 1 or more, got {blocks} for filters={tuple(filters)}")
    _check_shape(input_shape, 2 ** len(filters))

    def change(layer, width, name):
        return layer(width, 2, strides=2, use_bias=False, name=name)

    image = x = Input(input_shape, name="image")
    features = []
    for level, (width, count) in enumerate(zip(filters, blocks, strict=True), start=1):
        x = change(layers.Conv2D, width, f"encoder{level}_down")(x)
        x = _residual_blocks(x, width, count, f"encoder{level}")
        features.append(x)
    for level in reversed(range(1, len(filters))):
        x = change(layers.Conv2DTranspose, filters[level - 1], f"decoder{level}_up")(x)
        x = layers.Add(name=f"decoder{level}_skip")([x, features[level - 1]])
        x = _residual_blocks(x, filters[level - 1], blocks[level - 1], f"decoder{level}")
    # float32 also under a mixed policy; it begins with no noise found, so with the image as it is
    last = {"use_bias": False, "kernel_initializer": "zeros", "dtype": "float32"}
    noise = layers.Conv2DTranspose(image.shape[-1], 2, strides=2, name="noise", **last)(x)
    difference = layers.Subtract(dtype="float32", name="difference")([image, noise])
    return Model(image, ClipOutsideTraining(dtype="float32", name="restored")(difference), name=name)


def _sub_pixel(input_shape, filters, blocks, factor, name):
    if len(filters) != 1 or not isinstance(blocks, int) or blocks < 1 or factor not in (2, 3, 4):
        raise ValueError(
            "sub_pixel has one number of filters, one of blocks and a factor of 2, 3 or 4, "
            f"got filters={tuple(filters)}, {blocks=}, {factor=}"
        )
    _check_shape(input_shape, 1)

    image = Input(input_shape, name="image")
    first = layers.Conv2D(filters[0], 3, padding="same", activation="relu", name="features")(image)
    x = _residual_blocks(first, filters[0], blocks, "features")
    x = layers.Add(name="features_skip")([first, x])
    # it begins with each pixel repeated; both are float32 also under a mixed policy
    options = {"kernel_initializer": "zeros", "dtype": "float32"}
    detail = layers.Conv2DTranspose(image.shape[-1], factor, strides=factor, name="detail", **options)(x)
    repeated = layers.UpSampling2D(factor, dtype="float32", name="repeated")(image)
    total = layers.Add(dtype="float32", name="sum")([repeated, detail])
    return Model(image, ClipOutsideTraining(dtype="float32", name="restored")(total), name=name)


def _residual_blocks(x, filters, count, name):
    options = {"padding": "same", "use_bias": False}
    for index in range(1, count + 1):
        part = f"{name}_block{index}"
        y = layers.Conv2D(filters, 3, activation="relu", name=f"{part}_convolution1", **options)(x)
        y = layers.Conv2D(filters, 3, name=f"{part}_convolution2", **options)(y)
        x = layers.Add(name=f"{part}_add")([x, y])
    return x


@keras.saving.register_keras_serializable("zoo")
class ClipOutsideTraining(layers.Layer):
    """Clips to [0, 1], but not in training: there a pixel outside still needs a gradient to come back."""

    float_after = True  # for `zoo.export`: TFLite's eight bits spoil what is made of a clipped sum (2.21: 30 dB to 9)

    def call(self, inputs, training=False):
        return inputs if training else ops.clip(inputs, 0.0, 1.0)


def _convolutions(x, filters, count, batch_normalization, name):
    for index in range(1, count + 1):
        part = f"{name}_convolution{index}"
        x = layers.Conv2D(filters, 3, padding="same", use_bias=not batch_normalization, name=part)(x)
        if batch_normalization:
            # 0.9 follows the weights of a short training; the 0.99 of Keras lags behind it for epochs
            x = layers.BatchNormalization(momentum=0.9, name=f"{part}_norm")(x)
        x = layers.ReLU(name=f"{part}_relu")(x)
    return x


def _output(x, image, residual):
    # float32 also under a mixed policy: half precision has too few levels near white
    channels = image.shape[-1]
    if not residual:
        return layers.Conv2D(channels, 3, padding="same", activation="sigmoid", dtype="float32", name="restored")(x)
    noise = layers.Conv2D(channels, 3, padding="same", dtype="float32", name="noise")(x)
    difference = layers.Subtract(dtype="float32", name="difference")([image, noise])
    return ClipOutsideTraining(dtype="float32", name="restored")(difference)


def _check_shape(input_shape, stride):
    if len(input_shape) != 3 or input_shape[2] not in (1, 3):
        raise ValueError(f"input_shape is (height, width, channels) with 1 or 3 channels, got {tuple(input_shape)}")
    for side in input_shape[:2]:
        if side is not None and (not isinstance(side, int) or side < 1 or side % stride):
            raise ValueError(
                f"height and width must be positive multiples of the stride {stride} (two to the number of levels "
                f"less one; of residual_unet, to that number), got {input_shape[0]} x {input_shape[1]}"
            )
