"""A small convolutional network for small images: handwritten digits, clothes, letters.

The defaults are the classic two-convolution network (after LeCun et al., "Gradient-based learning applied to document
recognition", 1998, with ReLU and max pooling). The keyword arguments reach modern small ones: more convolutions with
batch normalisation (Ioffe and Szegedy, 2015) in place of the large fully connected layer, or global average pooling
(Lin et al., 2013). The published network is of this kind: less than half the parameters, a third of the mistakes.
"""

from collections.abc import Sequence
from typing import Literal

from keras import Input, Model, layers

from zoo import pretrained
from zoo.kinds import File, Shape


def mnist_cnn(
    input_shape: Shape = (28, 28, 1),
    num_classes: int = 10,
    *,
    filters: Sequence[int] = (32, 64),
    convolutions: int = 1,
    padding: Literal["valid", "same"] = "valid",
    batch_normalization: bool = False,
    global_pooling: bool = False,
    dense_units: int = 128,
    dropout: float = 0.0,
    weights: File | None = None,
    name: str = "mnist_cnn",
) -> Model:
    """Builds a convolutional classifier for small images.

    Each stage is `convolutions` times a 3x3 convolution with ReLU, then 2x2 max pooling.

    Input:  "image", float32 (batch, height, width, channels) in [0, 1].
    Output: "probabilities", float32 (batch, num_classes), each row sums to 1.

    Args:
        input_shape: (height, width, channels) of the images.
        num_classes: Number of classes, 2 or more.
        filters: Filters of each stage, one number per stage.
        convolutions: Convolutions per stage, 1 or more.
        padding: "valid" or "same", of every convolution.
        batch_normalization: Whether each convolution is followed by batch normalisation (and then has no bias).
        global_pooling: Whether the last stage ends in global average pooling instead of max pooling and flattening.
        dense_units: Units of the fully connected ReLU layer before the last one; 0 leaves it out.
        dropout: Fraction in [0, 1) of the last features that is dropped in training.
        weights: None, the name of a data set with published weights ("mnist", "fashion_mnist"), or the path of a
            `.keras` file. The file decides the architecture; with another number of classes all but the last
            layer is kept.
        name: Name of the model; one from a file keeps its own.

    Returns:
        An uncompiled `keras.Model`.

    Raises:
        ValueError: If an argument is out of range, the image is too small for the stages, or `weights` do not fit.
    """
    if weights is not None:
        return pretrained.from_weights("mnist_cnn", weights, input_shape, num_classes)
    if num_classes < 2:
        raise ValueError(f"num_classes must be 2 or more, got {num_classes}")
    if not filters or convolutions < 1:
        raise ValueError(f"at least one stage of one convolution is needed, got {filters=}, {convolutions=}")
    if padding not in ("valid", "same"):
        raise ValueError(f'padding must be "valid" or "same", got {padding!r}')
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
    _check_size(input_shape, len(filters), convolutions if padding == "valid" else 0, global_pooling)

    image = x = Input(input_shape, name="image")
    for stage, width in enumerate(filters, start=1):
        for index in range(1, convolutions + 1):
            x = _convolution(x, width, padding, batch_normalization, name=f"stage{stage}_convolution{index}")
        if stage < len(filters) or not global_pooling:
            x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x) if global_pooling else layers.Flatten(name="flatten")(x)
    if dense_units:
        x = layers.Dense(dense_units, activation="relu", name="dense")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    # float32 also under a mixed policy: half precision loses small probabilities
    probabilities = layers.Dense(num_classes, activation="softmax", dtype="float32", name="probabilities")(x)
    return Model(image, probabilities, name=name)


def _convolution(x, filters, padding, batch_normalization, name):
    x = layers.Conv2D(filters, 3, padding=padding, use_bias=not batch_normalization, name=name)(x)
    if batch_normalization:
        # 0.9 follows the weights of a short training; the 0.99 of Keras lags behind it for epochs
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _check_size(input_shape, stages, lost_convolutions, global_pooling):
    if len(input_shape) != 3 or not all(isinstance(side, int) and side > 0 for side in input_shape):
        raise ValueError(f"input_shape is (height, width, channels), three positive numbers, got {tuple(input_shape)}")
    for side in input_shape[:2]:
        size = side
        for stage in range(stages):
            size -= 2 * lost_convolutions
            if stage < stages - 1 or not global_pooling:
                size //= 2
        if size < 1:
            raise ValueError(f"input_shape {tuple(input_shape)} is too small for {stages} stages: make it larger")
