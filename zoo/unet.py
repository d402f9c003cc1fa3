"""U-Net: an image in, a class for each of its pixels out.

The defaults are a small U-Net after Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image
segmentation", 2015, with padded convolutions and one of them per level. The keyword arguments reach modern ones: batch
or group normalisation, residual blocks (He et al., 2016), depthwise separable convolutions (Howard et al., 2017),
attention gates (Oktay et al., 2018), deep supervision (Lee et al., 2015), a strided first convolution that makes full
resolution cheap, or an encoder from `keras.applications`. The published network is residual, with batch normalisation.
"""

import re
from collections.abc import Sequence
from typing import Literal

import keras
from keras import Input, Model, layers

from zoo import backbones, pretrained
from zoo.kinds import File, Shape

ENCODERS = {  # those with a short name; any other of `zoo.backbones` has its own
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3Small",
    "mobilenet_v3_large": "MobileNetV3Large",
    "efficientnet_b0": "EfficientNetB0",
    "efficientnet_v2_b0": "EfficientNetV2B0",
    "resnet50_v2": "ResNet50V2",
}
NORMALIZATIONS = ("none", "batch", "group")
UPSAMPLINGS = ("nearest", "bilinear", "transposed")


def unet(
    input_shape: Shape = (256, 256, 1),
    num_classes: int = 1,
    *,
    filters: Sequence[int] | None = None,
    convolutions: int = 1,
    stem_stride: int = 1,
    normalization: Literal["none", "batch", "group"] = "none",
    groups: int = 8,
    residual: bool = False,
    separable: bool = False,
    dropout: float = 0.0,
    upsampling: Literal["nearest", "bilinear", "transposed"] = "nearest",
    attention: bool = False,
    deep_supervision: bool = False,
    encoder: str | None = None,
    encoder_weights: Literal["imagenet", None] = None,
    image_skip: bool = False,
    weights: File | None = None,
    name: str = "unet",
) -> keras.Model:
    """Builds a U-Net.

    Each level of the encoder is `convolutions` times a 3x3 convolution with ReLU, then 2x2 max pooling; each level of
    the decoder doubles the size, sees the encoder's features of that size, and has `convolutions` again.

    Input:  "image", float32 (batch, height, width, channels) in [0, 1].
    Output: "mask", float32 (batch, height, width, num_classes), probabilities: a sigmoid for one class, else a softmax
        over the classes. With deep supervision also "mask_2", "mask_4", ...: guesses of the same size from half the
        resolution, a quarter of it, and so on; train each on the same mask, then see `without_supervision`.

    Args:
        input_shape: (height, width, channels); None for a height or width that is not fixed.
        num_classes: Number of classes, background included; 1 for a single object on background.
        filters: Filters of each level, from the highest resolution down. None takes (64, 128, 256), or with an
            encoder (16, 32, 64, 128, 256).
        convolutions: Convolutions per level, 1 or more.
        stem_stride: 1, 2 or 4: the levels work at that fraction of the resolution, behind strided convolutions; the
            answer is brought back bilinearly.
        normalization: "none", "batch" or "group": what follows each convolution (which then has no bias).
        groups: Groups of "group", which must divide all filters.
        residual: Whether a shortcut leads around the convolutions of each level.
        separable: Whether convolutions are depthwise separable.
        dropout: Fraction in [0, 1) of the lowest level's features that is dropped in training.
        upsampling: "nearest", "bilinear" or "transposed" (a learned 2x2 convolution).
        attention: Whether a gate weighs the encoder's features before the decoder sees them.
        deep_supervision: Whether the other levels of the decoder have outputs too.
        encoder: None, or the encoder in place of our own: "efficientnet_lite0", "mobilenet_v2", "mobilenet_v3_small",
            "mobilenet_v3_large", "efficientnet_b0", "efficientnet_v2_b0", "resnet50_v2", or another name of
            `zoo.backbones`. It has 5 levels below the full resolution, for which `filters` gives the decoder's filters.
            Needs a fixed size.
        encoder_weights: None or "imagenet" (from the extra `pretrained`, or downloaded by Keras), of the encoder.
        image_skip: Whether the highest level of the decoder sees the image itself, through `convolutions` of its own:
            the features of an encoder by name end at half the resolution, too coarse for poles and signs.
        weights: None, the name of a data set with published weights ("camvid", "scenes"), or the path of a `.keras`
            file. The file decides the architecture; with another number of classes all but the last layer is kept, any
            size that fits its strides will do.
        name: Name of the model; one from a file keeps its own.

    Returns:
        An uncompiled `keras.Model`.

    Raises:
        ValueError: If an argument is out of range, height or width is not a multiple of the stride, or `weights` do not
            fit.
    """
    if weights is not None:
        return _from_weights(weights, input_shape, num_classes)
    if num_classes < 1:
        raise ValueError(f"num_classes must be 1 or more, got {num_classes}")
    if filters is None:
        filters = (16, 32, 64, 128, 256) if encoder else (64, 128, 256)
    filters = tuple(filters)
    if not filters or min(filters) < 1 or convolutions < 1:
        raise ValueError(f"at least one level of one filter and one convolution is needed, {filters=}, {convolutions=}")
    if stem_stride not in (1, 2, 4):
        raise ValueError(f"stem_stride must be 1, 2 or 4, got {stem_stride}")
    for value, accepted, option in (
        (normalization, NORMALIZATIONS, "normalization"),
        (upsampling, UPSAMPLINGS, "upsampling"),
        (encoder, (None, *ENCODERS, *backbones.names()), "encoder"),
    ):
        if value not in accepted:
            raise ValueError(f"{option} must be one of {', '.join(map(str, accepted))}, got {value!r}")
    if normalization == "group" and any(width % groups for width in filters):
        raise ValueError(f"filters must be multiples of groups={groups}, got {filters}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
    if image_skip and not encoder:
        raise ValueError(f"{image_skip=} is for an encoder by name, got {encoder=}, whose first level is our own")
    if encoder and (len(filters) != 5 or stem_stride != 1):
        raise ValueError(f"with an encoder there are 5 filters and stem_stride=1, got {filters=}, {stem_stride=}")
    _check_shape(input_shape, 32 if encoder else stem_stride * 2 ** (len(filters) - 1))

    block = {"normalization": normalization, "groups": groups, "separable": separable}
    if encoder:
        image, features, x = _pretrained(encoder, input_shape, encoder_weights)
        if image_skip:
            features[0] = _level(image, filters[0], convolutions, residual, block, name="image_skip")
    else:
        image = Input(input_shape, name="image")
        features, x = _encoder(image, filters, convolutions, stem_stride, residual, block)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    decoded = []
    for level, width in reversed(list(enumerate(filters[: len(features)], start=1))):
        x = _upsample(x, width, upsampling, name=f"decoder{level}_upsampling")
        skip = features[level - 1]
        if skip is not None:
            if attention:
                skip = _gate(skip, x, width, name=f"decoder{level}_gate")
            x = layers.Concatenate(name=f"decoder{level}_skip")([x, skip])
        x = _level(x, width, convolutions, residual, block, name=f"decoder{level}")
        decoded.insert(0, x)
    decoded = decoded or [x]
    strides = [stem_stride << level for level in range(len(decoded) if deep_supervision else 1)]
    masks = [
        _mask(x, num_classes, stride, name="mask" if level == 0 else f"mask_{1 << level}")
        for level, (x, stride) in enumerate(zip(decoded, strides, strict=False))
    ]
    return Model(image, masks if len(masks) > 1 else masks[0], name=name)


def without_supervision(model: keras.Model) -> keras.Model:
    """The same network, sharing its weights, with the output "mask" only: what is needed after training."""
    return Model(model.input, model.outputs[0], name=model.name) if len(model.outputs) > 1 else model


def resized(model: keras.Model, height: int | None, width: int | None) -> keras.Model:
    """A copy of a U-Net with the same weights for images of another size.

    Raises:
        ValueError: If the size does not fit the strides of the network.
    """
    _check_shape((height, width, model.input_shape[-1]), stride_of(model))
    copy = keras.models.clone_model(model, input_tensors=Input((height, width, model.input_shape[-1]), name="image"))
    copy.set_weights(model.get_weights())
    return copy


def stride_of(model: keras.Model) -> int:
    """What height and width of a U-Net's images must be multiples of."""
    ups = [layer for layer in model.layers if re.fullmatch(r"decoder\d+_upsampling", layer.name)]
    lowest = max(ups, key=lambda layer: int(layer.name[7:].split("_")[0])) if ups else model.get_layer("mask_logits")
    height, width, channels = (side or 256 for side in model.input_shape[1:])
    return height // Model(model.input, lowest.input).compute_output_shape((1, height, width, channels))[1]


def _encoder(x, filters, convolutions, stem_stride, residual, block):
    features = []
    for index in range(1, stem_stride.bit_length()):
        x = _convolution(x, filters[0], **block | {"separable": False}, strides=2, name=f"stem{index}")
    for level, width in enumerate(filters, start=1):
        if level > 1:
            x = layers.MaxPooling2D(name=f"encoder{level}_pool")(x)
        x = _level(x, width, convolutions, residual, block, name=f"encoder{level}")
        features.append(x)
    return features[:-1], x


def _pretrained(encoder, input_shape, encoder_weights):
    """(input, features at full, half, ... resolution, the first of them None; features at 1/32)."""
    if None in input_shape or (encoder_weights and input_shape[-1] != 3):
        raise ValueError(f"an encoder needs a fixed size, and with weights 3 channels, got {tuple(input_shape)}")
    strides = (2, 4, 8, 16)
    image, found, x = backbones.features(ENCODERS.get(encoder, encoder), input_shape, encoder_weights, strides)
    return image, [None, *found.values()], x


def _level(x, filters, convolutions, residual, block, name):
    shortcut = x
    for index in range(1, convolutions + 1):
        activation = None if residual and index == convolutions else "relu"
        x = _convolution(x, filters, **block, activation=activation, name=f"{name}_convolution{index}")
    if not residual:
        return x
    if shortcut.shape[-1] != filters:
        shortcut = layers.Conv2D(filters, 1, name=f"{name}_shortcut")(shortcut)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, shortcut]))


def _convolution(x, filters, normalization, groups, separable, name, activation="relu", strides=1):
    bias = normalization == "none"
    convolution = layers.SeparableConv2D if separable else layers.Conv2D
    x = convolution(filters, 3, strides=strides, padding="same", use_bias=bias, name=name)(x)
    if normalization == "batch":
        # 0.9 follows the weights of a short training; the 0.99 of Keras lags behind it for epochs
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    elif normalization == "group":
        x = layers.GroupNormalization(groups, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if activation else x


def _upsample(x, filters, kind, name):
    if kind == "transposed":
        return layers.Conv2DTranspose(filters, 2, strides=2, name=name)(x)
    return layers.UpSampling2D(interpolation=kind, name=name)(x)


def _gate(skip, x, filters, name):
    """Weighs the encoder's features by how they agree with the decoder's."""
    inner = max(1, filters // 2)
    both = [layers.Conv2D(inner, 1, name=f"{name}_{part}")(y) for part, y in (("skip", skip), ("signal", x))]
    both = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")(both))
    weight = layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_weight")(both)
    return layers.Multiply(name=f"{name}_product")([skip, weight])


def _mask(x, num_classes, stride, name):
    # float32 also under a mixed policy: half precision loses small probabilities
    x = layers.Conv2D(num_classes, 1, dtype="float32", name=f"{name}_logits")(x)
    if stride > 1:
        x = layers.UpSampling2D(stride, interpolation="bilinear", dtype="float32", name=f"{name}_upsampling")(x)
    kind = "sigmoid" if num_classes == 1 else "softmax"
    return layers.Activation(kind, dtype="float32", name=name)(x)


def _from_weights(weights, input_shape, num_classes):
    model = without_supervision(pretrained.published_or_path("unet", weights))
    if model.input_shape[-1] != input_shape[-1]:
        raise ValueError(
            f"weights {str(weights)!r} are for {model.input_shape[-1]} channels, asked for {input_shape[-1]}"
        )
    if model.output_shape[-1] != num_classes:  # all but the last layer
        ups = [layer.size[0] for layer in model.layers if layer.name == "mask_upsampling"]
        mask = _mask(model.get_layer("mask_logits").input, num_classes, *(ups or [1]), name="mask")
        model = Model(model.input, mask, name=model.name)
    return model if model.input_shape[1:] == tuple(input_shape) else resized(model, *input_shape[:2])


def _check_shape(input_shape, stride):
    if len(input_shape) != 3 or not isinstance(input_shape[2], int) or input_shape[2] < 1:
        raise ValueError(f"input_shape is (height, width, channels), got {tuple(input_shape)}")
    for side in input_shape[:2]:
        if side is not None and (not isinstance(side, int) or side < 1 or side % stride):
            raise ValueError(
                f"height and width must be multiples of {stride}, by which the network shrinks the image, "
                f"got {input_shape[0]} x {input_shape[1]}"
            )
