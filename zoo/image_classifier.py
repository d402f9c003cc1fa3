"""Classifier of photos: a backbone pretrained on ImageNet, and a new last layer for one's own classes.

This is transfer learning in its plain form (Yosinski et al., "How transferable are features in deep neural networks?",
2014): the features of 1.3 million photos serve a few hundred of one's own.
"""

from typing import Literal

import keras
from keras import Input, Model, layers

from zoo import backbones, pretrained
from zoo.kinds import File, Shape


def image_classifier(
    input_shape: Shape = (224, 224, 3),
    num_classes: int = 1000,
    *,
    backbone: str = "efficientnet_lite0",
    backbone_weights: Literal["imagenet", None] = None,
    train_statistics: bool = False,
    dropout: float = 0.2,
    freeze_until: str | None = None,
    weights: File | None = None,
    name: str = "image_classifier",
) -> keras.Model:
    """Builds a classifier of photos.

    Input:  "image", float32 (batch, height, width, 3) in [0, 1]; what the backbone wants of its pixels is done inside.
    Output: "probabilities", float32 (batch, num_classes), each row sums to 1.

    Args:
        input_shape: (height, width, 3), 32 or more; "imagenet" weights saw 224 x 224.
        num_classes: Number of classes, 2 or more.
        backbone: "efficientnet_lite0" (3.4 million parameters with a few classes), another name of ours, or a name of
            `keras.applications` ("MobileNetV3Small").
        backbone_weights: None, or "imagenet": of "efficientnet_lite0" from the extra `pretrained`, which needs no
            network, of the others as Keras downloads them.
        train_statistics: Whether the batch normalisation of a backbone with weights is trained; by default it stays as
            it is, since the few images of a step have other statistics than ImageNet.
        dropout: Share in [0, 1) of the pooled features that is dropped in training.
        freeze_until: Name of a layer ("stage3"): it and all before it keep their weights in training; "features" leaves
            the last layer only.
        weights: None; "imagenet": all of "efficientnet_lite0" with its 1,000 classes; the name of a data set with
            published weights ("flowers"); or the path of a `.keras` file. The file decides the network; with another
            number of classes all but the last layer is kept.
        name: Name of the model; one from a file keeps its own.

    Returns:
        An uncompiled `keras.Model`; the layer "features" has the pooled features.

    Raises:
        ValueError: If an argument is out of range, or weights do not fit or cannot be had.
    """
    if not isinstance(input_shape, tuple | list) or len(input_shape) != 3 or input_shape[-1] != 3:
        raise ValueError(f"input_shape is (height, width, 3), got {input_shape}")
    if None in input_shape or min(input_shape[:2]) < 32:
        raise ValueError(f"input_shape is (height, width, 3), 32 or more, got {tuple(input_shape)}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be 2 or more, got {num_classes}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
    if backbone not in backbones.names():
        raise ValueError(f"there is no backbone {backbone!r}: there are {', '.join(backbones.names())}")
    if weights == "imagenet":
        if (backbone, num_classes) != ("efficientnet_lite0", 1000):
            raise ValueError(
                'weights "imagenet" are those of efficientnet_lite0 with its 1000 classes, got '
                f"{backbone} and {num_classes}: for other classes give backbone_weights"
            )
        model = _build(input_shape, num_classes, backbone, "imagenet", dropout, name, own_classes=True)
    elif weights is not None:
        model = _from_weights(weights, input_shape, num_classes)
    else:
        model = _build(input_shape, num_classes, backbone, backbone_weights, dropout, name)
        if backbone_weights is not None and not train_statistics:
            backbones.freeze_statistics(model.input, model.get_layer("features").output)
    if freeze_until is not None:
        backbones.freeze(model, freeze_until)
    return model


def _build(input_shape, num_classes, backbone, backbone_weights, dropout, name, own_classes=False):
    image, x, top = backbones.pooled(backbone, input_shape, backbone_weights)
    x = layers.Identity(name="features")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    # float32 also under a mixed policy: half precision loses small probabilities
    probabilities = layers.Dense(num_classes, activation="softmax", dtype="float32", name="probabilities")(x)
    model = Model(image, probabilities, name=name)
    if own_classes:
        model.layers[-1].set_weights(top)
    return model


def _from_weights(weights, input_shape, num_classes):
    """A network from a file, for images of another size and for other classes where it is asked for them."""
    model = pretrained.published_or_path("image_classifier", weights)
    if "features" not in {layer.name for layer in model.layers}:
        raise ValueError(f"weights {str(weights)!r} are of a {model.name}, not of an image classifier")
    if model.input_shape[1:] != tuple(input_shape):
        copy = keras.models.clone_model(model, input_tensors=Input(input_shape, name="image"))
        copy.set_weights(model.get_weights())
        model = copy
    return pretrained.with_classes(model, num_classes)
