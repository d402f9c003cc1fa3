"""AlexNet (Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012),
as a classifier and as a regression network.

"grouped" is the network of 2012: two groups of filters in three convolutions, local response normalisation, 60,965,224
parameters. "single" is the one-column network (Krizhevsky, "One weird trick for parallelizing convolutional neural
networks", 2014) in the form of torchvision, 61,100,840 parameters, whose published weights can be had.

`alexnet_regressor` has numbers in place of the last layer and its softmax: a colour cast, an angle, a quality. `width`
scales every layer but the last, so that there is one for a phone.

Deviation: instead of the mean image of 2012, both subtract the mean colour of ImageNet and divide by its deviation.
"""

from collections.abc import Sequence
from typing import Literal

import keras
from keras import Input, Model, layers, ops

from zoo import backbones, checkpoints, pretrained
from zoo.kinds import File, Shape

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the pixels of ImageNet, by channel
FILTERS = {"grouped": (96, 256, 384, 384, 256), "single": (64, 192, 384, 256, 256)}
GROUPS = {"grouped": (1, 2, 1, 2, 2), "single": (1, 1, 1, 1, 1)}
KERNELS = (11, 5, 3, 3, 3)
UNITS = 4096
IMAGENET = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
LAYERS = {  # of torchvision's checkpoint
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}


def alexnet(
    input_shape: Shape = (227, 227, 3),
    num_classes: int = 1000,
    *,
    variant: Literal["grouped", "single"] = "grouped",
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    width: float = 1.0,
    dropout: float = 0.5,
    weights: File | None = None,
    name: str = "alexnet",
) -> keras.Model:
    """Builds AlexNet.

    Input:  "image", float32 (batch, height, width, 3) in [0, 1].
    Output: "probabilities", float32 (batch, num_classes), each row sums to 1; logits without `classifier_activation`;
        "features", float32 (batch, height, width, filters) of the last pooling without `include_top`.

    Args:
        input_shape: (height, width, 3) of the images, 67 or more ("single": 63).
        num_classes: Number of classes, 2 or more.
        variant: "grouped" (2012) or "single" (one column, as in torchvision).
        include_top: Whether the three fully connected layers belong to it.
        classifier_activation: Activation of the last layer: "softmax", or None for logits.
        width: Factor of the filters and units of all layers but the last, rounded to even numbers.
        dropout: Share of the inputs of the first two fully connected layers that is dropped in training.
        weights: None; "imagenet" (downloads torchvision's checkpoint for "single" once and checks its sha256); the path
            of such a `.pth` file; or the path of a `.keras` file, which decides the architecture.
        name: Name of the model; one from a `.keras` file keeps its own.

    Returns:
        An uncompiled `keras.Model`.

    Raises:
        ValueError: If an argument is out of range or `weights` do not fit or cannot be had.
    """
    if weights is not None and weights != "imagenet" and not str(weights).endswith(".pth"):
        return pretrained.from_weights("alexnet", weights, input_shape, num_classes if include_top else None)
    if include_top and num_classes < 2:
        raise ValueError(f"num_classes must be 2 or more, got {num_classes}")
    if weights is not None and (variant, width) != ("single", 1.0):
        raise ValueError(f'weights {str(weights)!r} are those of variant="single" at width=1, got {variant=}, {width=}')
    state = None if weights is None else _torch_state(weights)
    image = Input(input_shape, name="image")
    x = _features(image, variant, width)
    if include_top:
        x = _top(x, width, dropout, adaptive=variant == "single")
        # float32 also under a mixed policy: half precision loses small probabilities
        activation = {"activation": classifier_activation, "dtype": "float32"}
        x = layers.Dense(num_classes, name="probabilities" if classifier_activation else "logits", **activation)(x)
    else:
        x = layers.Identity(name="features")(x)
    model = Model(image, x, name=name)
    if state is not None:
        _set_torch_weights(model, *state)
    return model


def alexnet_regressor(
    outputs: Sequence[str] = ("red", "green", "blue"),
    *,
    input_shape: Shape = (227, 227, 3),
    backbone: str = "alexnet",
    variant: Literal["grouped", "single"] = "single",
    width: float = 1.0,
    pooling: Literal["flatten", "average_max", "statistics"] = "flatten",
    units: int | None = None,
    dropout: float = 0.5,
    scale: float | Sequence[float] = 1.0,
    offset: float | Sequence[float] = 0.0,
    weights: File | None = None,
    freeze_until: str | None = None,
    name: str = "alexnet_regressor",
) -> keras.Model:
    """Builds a network that looks at an image and gives numbers: AlexNet with another last layer.

    Input:  "image", float32 (batch, height, width, 3) in [0, 1].
    Outputs: one for each name in `outputs`, float32 (batch, 1), in any unit.

    Args:
        outputs: Names of the numbers.
        input_shape: (height, width, 3) of the images.
        backbone: "alexnet", "efficientnet_lite0", or the name of any network of `keras.applications`
            ("MobileNetV3Small", ...); its own preprocessing of the image is built in.
        variant: Of AlexNet: "grouped" (2012) or "single" (as in torchvision).
        width: Of AlexNet: factor of the filters and units of all layers but the last, rounded to even numbers.
        pooling: How the last features come to the fully connected layers: "flatten" as in AlexNet, place by place;
            "average_max" as the average and the maximum over the image, for which the place does not matter;
            "statistics" as those of every convolution of AlexNet and of a 1x1 convolution on every fourth pixel, which
            together are much like histograms. Other backbones have the average in place of "flatten".
        units: Units of each of the two fully connected layers before the last one; None takes 4096 * width, and none
            of these layers for another backbone.
        dropout: Share of the inputs of the fully connected layers that is dropped in training.
        scale: Unit of the last layer: it starts with numbers near 0 and 1, so give the spread of the targets.
        offset: Number that is added to all outputs; give the middle of the targets.
        weights: None; "imagenet" for the backbone (AlexNet: of the variant "single" at width 1); a `.pth` file of
            torchvision's AlexNet; the name of a data set with published weights ("coco_train"); or the path of a
            `.keras` file. The last two decide the architecture.
        freeze_until: Name of a layer: it and all before it keep their weights in training, for the first phase of
            transfer learning. None trains all.
        name: Name of the model; one from a `.keras` file keeps its own.

    Returns:
        An uncompiled `keras.Model`.

    Raises:
        ValueError: If an argument is out of range or unknown, or `weights` do not fit or cannot be had.
    """
    outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    if not outputs or len(set(outputs)) < len(outputs) or not all(one.isidentifier() for one in outputs):
        raise ValueError(f"outputs are different names without spaces, got {outputs}")
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    if backbone not in (known := ["alexnet", *backbones.names()]):
        raise ValueError(f"backbone must be one of {', '.join(known)}, got {backbone!r}")
    from_torch, state = str(weights).endswith(".pth"), None
    if weights is None or weights == "imagenet" or from_torch:
        if backbone == "alexnet":
            if weights is not None and (variant, width) != ("single", 1.0):
                wanted = f'weights {str(weights)!r} are those of variant="single" at width=1'
                raise ValueError(f"{wanted}, got {variant=}, {width=}")
            state = None if weights is None else _torch_state(weights)
            image = Input(input_shape, name="image")
            x = _features(image, variant, width)
        elif from_torch:
            raise ValueError(f"weights {str(weights)!r} are for the backbone alexnet, got {backbone!r}")
        else:
            image, _, x = backbones.features(backbone, input_shape, weights)
        if pooling in ("average_max", "statistics"):
            x = _statistics(image, x, backbone if pooling == "statistics" else None)
        elif pooling != "flatten":
            raise ValueError(f'pooling must be "flatten", "average_max" or "statistics", got {pooling!r}')
        elif backbone != "alexnet":
            x = layers.GlobalAveragePooling2D(name="average")(x)
        hidden = backbone == "alexnet" or units is not None
        x = _top(x, width, dropout, units, adaptive=variant == "single", hidden=hidden)
        found = []
        for one in outputs:
            # float32 also under a mixed policy: half precision has three digits
            number = layers.Dense(1, dtype="float32", name=f"{one}_dense")(x)
            found.append(layers.Rescaling(scale, offset, dtype="float32", name=one)(number))
        model = Model(image, found, name=name)
        if state is not None:
            _set_torch_weights(model, *state)
    else:
        model = _from_weights(weights, outputs, input_shape)
    backbones.unfreeze(model)
    if freeze_until is not None:
        backbones.freeze(model, freeze_until)
    return model


@keras.saving.register_keras_serializable("zoo")
class LocalResponseNormalization(layers.Layer):
    """Divides each value by a power of the mean square of its neighbours' in the channels next to it.

    b_i = a_i / (bias + alpha * sum of a_j ** 2 over the `size` channels about i) ** beta, the defaults those of 2012.

    Args:
        size: Channels that count, an odd number.
        bias: Added to the sum.
        alpha: Factor of the sum.
        beta: Exponent.
    """

    def __init__(self, size=5, bias=2.0, alpha=1e-4, beta=0.75, **kwargs):
        super().__init__(**kwargs)
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size must be an odd number, got {size}")
        self.size, self.bias, self.alpha, self.beta = size, bias, alpha, beta

    def get_config(self):
        return super().get_config() | {name: getattr(self, name) for name in ("size", "bias", "alpha", "beta")}

    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, x):
        reach, channels = self.size // 2, x.shape[-1]
        squares = ops.pad(ops.square(x), [(0, 0), (0, 0), (0, 0), (reach, reach)])
        total = sum(squares[..., shift : shift + channels] for shift in range(self.size))
        return x * ops.power(self.bias + self.alpha * total, -self.beta)


@keras.saving.register_keras_serializable("zoo")
class GroupedConvolution(layers.Conv2D):
    """`keras.layers.Conv2D` with groups, one after the other: TensorFlow has no grouped convolution on a CPU, and what
    Keras puts in its place cannot be exported to ONNX."""

    def convolution_op(self, inputs, kernel):
        parts = zip(ops.split(inputs, self.groups, axis=-1), ops.split(kernel, self.groups, axis=-1), strict=True)
        return ops.concatenate([super(GroupedConvolution, self).convolution_op(*part) for part in parts], axis=-1)


def _features(image, variant, width):
    """The five convolutions with their poolings."""
    if variant not in FILTERS:
        raise ValueError(f"variant must be one of {', '.join(FILTERS)}, got {variant!r}")
    smallest = 63 if variant == "single" else 67
    if len(image.shape) != 4 or image.shape[-1] != 3 or None in image.shape[1:] or min(image.shape[1:3]) < smallest:
        raise ValueError(f"input_shape is (height, width, 3), {smallest} or more, got {tuple(image.shape[1:])}")
    if not width > 0:
        raise ValueError(f"width must be positive, got {width}")
    x = layers.Rescaling(
        [1 / one for one in DEVIATION],
        [-mean / one for mean, one in zip(MEAN, DEVIATION, strict=True)],
        dtype="float32",
        name="scaled",
    )(image)
    filters = [_scaled(count, width) for count in FILTERS[variant]]
    for number, (count, kernel, groups) in enumerate(zip(filters, KERNELS, GROUPS[variant], strict=True), start=1):
        stride, padding = (4, "valid") if number == 1 else (1, "same")
        if number == 1 and variant == "single":
            x = layers.ZeroPadding2D(2, name="conv1_padding")(x)
        convolution = layers.Conv2D if groups == 1 else GroupedConvolution
        options = {"strides": stride, "padding": padding, "groups": groups, "activation": "relu"}
        x = convolution(count, kernel, **options, name=f"conv{number}")(x)
        if number <= 2 and variant == "grouped":
            x = LocalResponseNormalization(name=f"norm{number}")(x)
        if number in (1, 2, 5):
            x = layers.MaxPooling2D(3, 2, name=f"pool{number}")(x)
    return x


def _statistics(image, x, backbone):
    """Average and maximum over the image, of the last features or of all stages and the pixels themselves."""
    maps = {"features": x}
    if backbone is not None:
        if backbone != "alexnet":
            raise ValueError(f'pooling="statistics" is for the backbone alexnet, got {backbone!r}')
        inside = Model(image, x)
        maps = {f"conv{number}": inside.get_layer(f"conv{number}").output for number in range(1, 6)}
        pixels = layers.Conv2D(48, 1, strides=4, activation="relu", dtype="float32", name="pixels")
        maps["pixels"] = pixels(inside.get_layer("scaled").output)
    found = []
    for name, features in maps.items():
        # float32 also under a mixed policy: an average of thousands needs its digits
        found.append(layers.GlobalAveragePooling2D(dtype="float32", name=f"{name}_average")(features))
        found.append(layers.GlobalMaxPooling2D(dtype="float32", name=f"{name}_maximum")(features))
    return layers.Concatenate(dtype="float32", name="statistics")(found)


def _top(x, width, dropout, units=None, adaptive=False, hidden=True):
    """Flatten, and the two hidden fully connected layers, each behind its dropout."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
    if units is not None and units < 1:
        raise ValueError(f"units must be 1 or more, got {units}")
    precision = None if len(x.shape) == 4 else "float32"
    if len(x.shape) == 4:
        if adaptive and x.shape[1:3] != (6, 6):  # so torchvision's network takes any size
            x = layers.AdaptiveAveragePooling2D(6, name="average")(x)
        x = layers.Flatten(name="flatten")(x)
    for name in ("fc6", "fc7") if hidden else ():
        if dropout:
            x = layers.Dropout(dropout, dtype=precision, name=f"{name}_dropout")(x)
        # after the statistics in float32 as they are, else in that of the policy
        x = layers.Dense(units or _scaled(UNITS, width), activation="relu", dtype=precision, name=name)(x)
    if dropout and not hidden:
        x = layers.Dropout(dropout, name="dropout")(x)
    return x


def _scaled(count, width):
    return max(2, 2 * round(count * width / 2))


def _torch_state(weights):
    """(path, arrays) of torchvision's checkpoint."""
    path = checkpoints.download(IMAGENET) if weights == "imagenet" else weights
    return path, checkpoints.load_torch(path)


def _set_torch_weights(model, path, state):
    """Copies torchvision's weights into the layers of a model, but for a last layer of another kind."""
    for name, source in LAYERS.items():
        if name == "fc8":
            found = [one for one in ("probabilities", "logits") if one in {layer.name for layer in model.layers}]
            if not found:
                continue
            (name,) = found
        try:
            layer = model.get_layer(name)
        except ValueError:
            continue  # without the fully connected layers
        missing = [f"{source}.{part}" for part in ("weight", "bias") if f"{source}.{part}" not in state]
        if missing:
            raise ValueError(f"{path} is not a checkpoint of torchvision's AlexNet: it has no {missing[0]}")
        kernel, bias = state[f"{source}.weight"], state[f"{source}.bias"]
        if kernel.ndim == 4:  # (out, in, height, width) to (height, width, in, out)
            kernel = kernel.transpose(2, 3, 1, 0)
        elif name == "fc6" and kernel.ndim == 2 and kernel.shape[1] == 256 * 36:  # channels last before flattening
            kernel = kernel.reshape(-1, 256, 6, 6).transpose(2, 3, 1, 0).reshape(256 * 36, -1)
        else:
            kernel = kernel.T
        shapes = [tuple(variable.shape) for variable in layer.weights]
        if [kernel.shape, bias.shape] != shapes:
            raise ValueError(f"{path}: {source} has shapes {kernel.shape} and {bias.shape}, {name} needs {shapes}")
        layer.set_weights([kernel, bias])


def _from_weights(weights, outputs, input_shape):
    model = pretrained.from_weights("alexnet", weights, input_shape)
    if tuple(model.output_names) != outputs:
        names = ", ".join(model.output_names)
        raise ValueError(f"weights {str(weights)!r} give {names}, asked for {', '.join(outputs)}")
    return model
