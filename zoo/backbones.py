"""Pretrained networks as the first part of others: their features at each stride, their preprocessing built in.

Names are "efficientnet_lite0" to "efficientnet_lite4" (ours) and those of `keras.applications` ("MobileNetV3Small").
"""

import re
import sys

import keras
from keras import Input, layers

from zoo.efficientnet_lite import VARIANTS, efficientnet_lite

OURS = tuple(f"efficientnet_{variant}" for variant in VARIANTS)


def names():
    """Names of all backbones."""
    return [*OURS, *(one for one in dir(keras.applications) if one[0].isupper())]


def features(backbone, input_shape, weights=None, strides=()):
    """Builds a network without its head.

    Args:
        backbone: Its name.
        input_shape: (height, width, 3) of the images, in [0, 1].
        weights: None, "imagenet", or a path that the network's own builder takes.
        strides: Strides at which features are needed, with a fixed `input_shape` that they divide.

    Returns:
        (input, dictionary of stride to the last features of that stride, last features of all).

    Raises:
        ValueError: If there is no such network, it lacks a stride, or its weights cannot be had.
    """
    if backbone in OURS:
        options = {"variant": backbone.removeprefix("efficientnet_"), "include_top": False, "weights": weights}
        network = efficientnet_lite(input_shape, **options)
        # only the ends of stages: what is inside a block is wider and says less
        ends = [layer for layer in network.layers if re.fullmatch(r"stage\d", layer.name)]
    else:
        if strides and (input_shape[0] < 2 * max(strides) and input_shape[1] < 2 * max(strides)):
            raise ValueError(
                f"features at stride {max(strides)} of the backbone {backbone} need one side of {2 * max(strides)} or "
                f"more, to tell them from pooled ones, got {tuple(input_shape[:2])}"
            )
        network = _application(backbone, input_shape, weights)
        ends = network.layers
    found = {}
    for stride in strides:
        size = input_shape[0] // stride, input_shape[1] // stride
        places = [layer.output for layer in ends if getattr(layer.output, "shape", ())[1:3] == size]
        if not places:
            raise ValueError(f"the backbone {backbone} has no features at stride {stride} of {tuple(input_shape)}")
        found[stride] = places[-1]  # the last ones of a size are the richest
    return network.inputs[0], found, network.outputs[0]


def pooled(backbone, input_shape, weights=None):
    """Builds a network up to the features that its own classifier sees, averaged over the image.

    Args:
        backbone: Its name.
        input_shape: (height, width, 3) of the images, in [0, 1].
        weights: See `features`.

    Returns:
        (input, features (batch, channels), weights of its own last layer for the 1,000 classes of ImageNet, or None).
    """
    if backbone not in OURS:
        image, _, x = features(backbone, input_shape, weights)
        return image, layers.GlobalAveragePooling2D(name="average")(x), None
    network = efficientnet_lite(input_shape, variant=backbone.removeprefix("efficientnet_"), weights=weights)
    own = None if weights is None else network.layers[-1].get_weights()
    return network.inputs[0], network.get_layer("average").output, own


def freeze(model, until):
    """Freezes the layers of a model up to and including the one named `until`; the others stay as they are.

    Raises:
        ValueError: If there is no such layer, or nothing would be left to train.
    """
    names = [layer.name for layer in model.layers]
    if until not in names:
        with_weights = ", ".join(layer.name for layer in model.layers if layer.weights)
        raise ValueError(f"freeze_until: there is no layer {until!r}; those with weights are {with_weights}")
    for layer in model.layers[: names.index(until) + 1]:
        layer.trainable = False
    if not model.trainable_weights:
        raise ValueError(f"freeze_until={until!r} would leave nothing to train")


def unfreeze(model):
    """Frees all layers of a model, also those that a file has frozen."""
    for layer in model.layers:  # the model's own attribute does not reach all of them
        layer.trainable = True


def freeze_statistics(image, outputs):
    """Freezes the batch normalisation between an input and some features: few images per step would spoil it."""
    for layer in keras.Model(image, outputs).layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def _application(backbone, input_shape, weights):
    """A network of `keras.applications` with its own preprocessing."""
    if backbone not in names():
        raise ValueError(f"there is no backbone {backbone!r}: there are {', '.join(names())}")
    build = getattr(keras.applications, backbone)
    image = Input(input_shape, name="image")
    pixels = sys.modules[build.__module__].preprocess_input(layers.Rescaling(255.0, name="pixels")(image))
    try:
        network = build(include_top=False, weights=weights, input_tensor=pixels, input_shape=tuple(input_shape))
    except ValueError:
        raise
    except Exception as error:  # the downloader's own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"the weights of {backbone} cannot be downloaded: {reason}") from error
    return network if network.inputs[0] is image else keras.Model(image, network.output)
