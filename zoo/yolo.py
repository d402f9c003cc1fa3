"""YOLO: one network that finds and names all objects of an image in one pass, without anchor boxes.

The form is that of version 8: a CSP backbone (Wang et al., "CSPNet", 2019) whose blocks join all their inner steps,
fast spatial pyramid pooling (He et al., 2014), a path aggregation neck (Liu et al., "Path aggregation network", 2018),
and a head that is decoupled (Ge et al., "YOLOX", 2021): one branch gives the distances from each point of three grids
to the four sides of its box as a distribution (Li et al., "Generalized focal loss", 2020), the other the score of each
class.

Layer names and block structure are those of keras-cv's YOLOV8Detector, whose weights can be taken over by name.
"""

import warnings
import zipfile
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from keras import Input, layers, ops

from zoo import backbones, pretrained
from zoo.boxes import STRIDES
from zoo.kinds import File, Shape

SIZES = {"nano": (1 / 3, 0.25), "small": (1 / 3, 0.5), "medium": (2 / 3, 0.75)}


def yolo(
    input_shape: Shape = (416, 416, 3),
    num_classes: int = 80,
    *,
    size: str | tuple[float, float] = "nano",
    reg_max: int = 16,
    neck_depths: tuple[int, int] | None = None,
    backbone: str | None = None,
    backbone_weights: Literal["imagenet", None] = None,
    train_statistics: bool = False,
    freeze_until: str | None = None,
    weights: File | None = None,
    name: str = "yolo",
) -> keras.Model:
    """Builds a YOLO detector.

    Input:  "image", float32 (batch, height, width, channels) in [0, 1].
    Output: a dictionary, with one entry for each of the height * width * (1/8**2 + 1/16**2 + 1/32**2) points of
        `zoo.boxes.anchors`:
        "boxes": float32 (batch, points, 4 * reg_max), logits of the distances to the left, top, right and bottom side;
        "scores": float32 (batch, points, num_classes), logits of the classes, each by itself.
        `zoo.boxes.decode` makes boxes of the first, `zoo.boxes.detect` final detections of both.

    Args:
        input_shape: (height, width, channels); height and width are multiples of 32.
        num_classes: Number of classes, 1 or more.
        size: "nano" (3 million parameters), "small" (11), "medium" (26), or (depth, width): factors of the number of
            blocks, 3, 6, 6, 3, and of the channels, 64 to 1024.
        reg_max: Bins of each distance, 2 or more: a side is at most reg_max - 1 strides away.
        neck_depths: Inner steps of the neck's blocks, (on the way up, on the way down); None takes 3 * depth for both.
        backbone: None for the CSP backbone; or "efficientnet_lite0", or a name of `keras.applications` with features at
            strides 8, 16 and 32. 1x1 convolutions bring its features to the channels that `size` gives neck and head.
        backbone_weights: None, or "imagenet" for a backbone by name (see `zoo.efficientnet_lite`).
        train_statistics: Whether the batch normalisation of a backbone with weights is trained. By default it stays as
            it is, since the few images of a step have other statistics than ImageNet; from 32 a step it may be trained.
        freeze_until: Name of a layer: it and all before it keep their weights in training. None: nothing more than
            what was frozen in a `.keras` file.
        weights: None; the name of a data set with published weights ("everyday", "bccd", "scenes"); "pascalvoc" (20
            classes, medium) or "coco_backbone" (the backbone only), which keras-cv fetches and which need the extra
            `detection`; or the path of a `.keras` or `.h5` file of ours or of keras-cv's YOLOV8. A published or
            `.keras` file decides the size. With another number of classes all but the class head is kept.
        name: Name of the model.

    Returns:
        An uncompiled `Detector`, which is a functional `keras.Model`.

    Raises:
        ValueError: If an argument is out of range, or `weights` do not exist or do not fit.

    Reference: Jocher et al., YOLOv8, 2023, has no paper; its structure as drawn and described by Terven et al., "A
        comprehensive review of YOLO architectures", 2023.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ValueError(f"input_shape is (height, width, channels), got {tuple(input_shape)}")
    if input_shape[0] % 32 or input_shape[1] % 32:
        raise ValueError(f"height and width must be multiples of 32, got {input_shape[0]} x {input_shape[1]}")
    if num_classes < 1:
        raise ValueError(f"num_classes must be 1 or more, got {num_classes}")
    if reg_max < 2:
        raise ValueError(f"reg_max must be 2 or more, got {reg_max}")
    if isinstance(size, str) and size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)} or (depth, width), got {size!r}")
    depth, width = SIZES[size] if isinstance(size, str) else size
    if depth <= 0 or width <= 0:
        raise ValueError(f"size is (depth, width), both positive, got {size}")
    if backbone is None and backbone_weights is not None:
        raise ValueError(f"backbone_weights={backbone_weights!r} are for a backbone by name, got backbone=None")
    if backbone is not None and weights is not None:
        raise ValueError(
            f"{backbone=} is for a start from scratch or ImageNet, {weights=} for one from a detector: one of them"
        )
    if weights is not None:
        model = _from_weights(str(weights), tuple(input_shape), num_classes, (depth, width), name)
    else:
        depths, channels = _sizes(depth, width)
        neck = neck_depths or (depths[0],) * 2
        first = None if backbone is None else (backbone, backbone_weights)
        model = _build(input_shape, num_classes, channels, depths, neck, reg_max, first, name=name)
    if freeze_until is not None:
        backbones.freeze(model, freeze_until)
    if backbone_weights is not None and not train_statistics:
        backbones.freeze_statistics(model.input, [model.get_layer(f"lateral{stride}_conv").input for stride in STRIDES])
    return model


@keras.saving.register_keras_serializable("zoo")
class Detector(keras.Model):
    """A functional model whose one loss sees all its outputs together.

    Compiled with a loss that says so (`joins_outputs`, as `zoo.losses.Detection` does), it has one array of targets
    for both outputs. Any other loss is used as Keras does, with one target for each output.
    """

    float_after = ("boxes", "scores")  # for `zoo.export`: eight bits cannot place a box to the pixel

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if getattr(self.loss, "joins_outputs", False):
            y_pred = ops.concatenate([y_pred["boxes"], y_pred["scores"]], axis=-1)
        return super().compute_loss(x, y, y_pred, sample_weight, training)


def from_keras_cv(detector: keras.Model, input_shape: Shape, *, name: str = "yolo") -> keras.Model:
    """The same network as a keras-cv YOLOV8Detector, with its weights.

    Args:
        detector: The `keras_cv.models.YOLOV8Detector`. Where its backbone takes pixels of 0 to 255, ours takes them
            divided by 255; its class scores are the sigmoid of ours.
        input_shape: (height, width, channels) of the new model.
        name: Name of the new model.

    Returns:
        A `Detector`.
    """
    backbone, classes = detector.backbone, detector.num_classes
    # keras-cv's blocks on the way down have two steps, whatever its fpn_depth is
    neck = (detector.fpn_depth, 2)
    model = _build(input_shape, classes, backbone.stackwise_channels, backbone.stackwise_depth, neck, name=name)
    return _take_over(detector, model)


def fitted(model: keras.Model, input_shape: Shape, num_classes: int, *, name: str | None = None) -> keras.Model:
    """A detector with the weights of another one, for other images or classes.

    Args:
        model: A `Detector`.
        input_shape: (height, width, channels) of the new one, with the channels of the old one.
        num_classes: Number of classes of the new one; if it is another number, the last layer of the class branch is
            new, and all else is taken over.
        name: Name of the new one; None keeps it.

    Raises:
        ValueError: If the channels differ, or `model` is no `Detector`.
    """
    if not isinstance(model, Detector):
        raise ValueError(f"the model {model.name} is not a YOLO: its outputs are {', '.join(model.output_names)}")
    if model.input_shape[-1] != input_shape[-1]:
        raise ValueError(f"the weights are for {model.input_shape[-1]} channels, asked for {input_shape[-1]}")

    def renewed(layer):
        config = layer.get_config()
        if isinstance(layer, layers.Layer) and layer.name not in ("boxes", "scores"):
            config["dtype"] = keras.config.dtype_policy().name  # an object would be in the way of saving
        return layer.__class__.from_config(config)

    image = Input(input_shape, name="image")
    copy = keras.models.clone_model(model, input_tensors=image, clone_function=renewed)
    copy.set_weights(model.get_weights())
    outputs = copy.output
    if num_classes != outputs["scores"].shape[-1]:
        last = [copy.get_layer(f"yolo_v8_head_{level}_class_3_conv").input for level in range(1, len(STRIDES) + 1)]
        outputs = {"boxes": outputs["boxes"], "scores": _scores(last, num_classes)}
    return Detector(image, outputs, name=name or model.name)


def _take_over(source, model, but="", optional=False):
    """Sets the weights of `model` from the layers of the same names in `source`, those that end in `but` left out."""
    found = {layer.name: layer.get_weights() for layer in source._flatten_layers() if layer.weights}
    for layer in model.layers:
        if not layer.weights or (but and layer.name.endswith(but)):
            continue
        if layer.name in found:
            layer.set_weights(found[layer.name])
        elif not optional:
            raise ValueError(f"the weights lack the layer {layer.name}")
    return model


def _from_weights(weights, input_shape, num_classes, size, name):
    if weights in ("pascalvoc", "coco_backbone"):
        return _from_preset(weights, input_shape, num_classes, size, name)
    if weights.endswith(".h5"):
        return _from_h5(Path(weights), input_shape, num_classes, size, name)
    if weights.endswith(".keras") and _is_of_keras_cv(weights):
        _keras_cv(weights)
        return fitted(from_keras_cv(pretrained.load(weights), input_shape), input_shape, num_classes, name=name)
    return fitted(pretrained.published_or_path("yolo", weights), input_shape, num_classes, name=name)


def _from_preset(preset, input_shape, num_classes, size, name):
    """Weights that keras-cv publishes."""
    keras_cv = _keras_cv(preset)
    depths, channels = _sizes(*size)
    letter = {(1, 256): "xs", (1, 512): "s", (2, 576): "m", (3, 512): "l"}.get((depths[0], channels[-1]))
    if preset == "coco_backbone" and letter is None:
        raise ValueError(f"there is a coco_backbone for the sizes {', '.join(SIZES)}, got size={size}")
    try:
        if preset == "pascalvoc":
            detector = keras_cv.models.YOLOV8Detector.from_preset("yolo_v8_m_pascalvoc", bounding_box_format="xyxy")
            return fitted(from_keras_cv(detector, input_shape), input_shape, num_classes, name=name)
        backbone = keras_cv.models.YOLOV8Backbone.from_preset(f"yolo_v8_{letter}_backbone_coco")
    except OSError as error:  # what its download raises without a network
        raise ValueError(f"the weights {preset!r} cannot be downloaded: {str(error)[:120]}") from error
    model = _build(input_shape, num_classes, channels, depths, (depths[0],) * 2, name=name)
    return _take_over(backbone, model, optional=True)


def _from_h5(path, input_shape, num_classes, size, name):
    """A file of weights alone: of the network that the arguments describe, or of keras-cv's of that size."""
    if not path.is_file():
        raise ValueError(f"there is no model file {path}")
    depths, channels = _sizes(*size)
    model = _build(input_shape, num_classes, channels, depths, (depths[0],) * 2, name=name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # that a layer found no weights is but a warning
            model.load_weights(path)
        return model
    except Exception as error:  # Keras answers other weights with whatever its reader met first
        reason = str(error).strip().splitlines()[0]
    try:
        keras_cv = _keras_cv(path)
        backbone = keras_cv.models.YOLOV8Backbone(channels, depths, include_rescaling=True, input_shape=input_shape)
        detector = keras_cv.models.YOLOV8Detector(backbone, num_classes, "xyxy", fpn_depth=depths[0])
        detector.load_weights(path)
    except Exception as error:
        raise ValueError(
            f"{path} holds no weights of a YOLO of this size and {num_classes} classes: {reason[:160]}"
        ) from error
    return from_keras_cv(detector, input_shape, name=name)


def _is_of_keras_cv(path):
    try:
        with zipfile.ZipFile(path) as archive:
            return "keras_cv" in archive.read("config.json").decode()
    except (OSError, KeyError, zipfile.BadZipFile):
        return False  # the reader of Keras files says what is wrong


def _keras_cv(weights):
    try:
        import keras_cv
    except ImportError as error:
        raise ValueError(f"the weights {str(weights)!r} need keras-cv: pip install 'image-zoo[detection]'") from error
    return keras_cv


def _sizes(depth, width):
    """(steps, channels) of the four stages."""
    top = 1024 if width <= 0.5 else 768 if width < 1 else 512  # a wide network is not as wide at the top
    channels = [max(16, round(count * width / 16) * 16) for count in (128, 256, 512, top)]
    return [max(1, round(steps * depth)) for steps in (3, 6, 6, 3)], channels


def _build(shape, num_classes, channels, depths, neck, reg_max=16, backbone=None, *, name):
    if backbone is None:
        image = Input(shape, name="image")
        pyramid = _csp(image, channels, depths)
    else:
        image, pyramid = _pretrained(shape, channels, *backbone)
    grids = _neck(*pyramid, *neck)

    box_channels, class_channels = max(4 * reg_max, channels[1] // 4), max(num_classes, channels[1])
    boxes, classes = [], []
    for level, x in enumerate(grids, start=1):
        branch = f"yolo_v8_head_{level}"
        y = _head(x, box_channels, name=f"{branch}_box")
        boxes.append(_points(y, 4 * reg_max, 1.0, name=f"{branch}_box"))
        classes.append(_head(x, class_channels, name=f"{branch}_class"))
    outputs = {"boxes": _joined(boxes, "boxes"), "scores": _scores(classes, num_classes)}
    return Detector(image, outputs, name=name)


def _csp(x, channels, depths):
    """Features at strides 8, 16 and 32."""
    x = _convolution(x, channels[0] // 2, 3, 2, name="stem_1")
    x = _convolution(x, channels[0], 3, 2, name="stem_2")
    pyramid = []
    for stage, (width, depth) in enumerate(zip(channels, depths, strict=True), start=1):
        if stage > 1:
            x = _convolution(x, width, 3, 2, name=f"stack{stage}_downsample")
        x = _block(x, width, depth, shortcut=True, name=f"stack{stage}_c2f")
        if stage == len(channels):
            x = _pyramid_pooling(x, name=f"stack{stage}_spp_fast")
        pyramid.append(x)
    return pyramid[1:]


def _pretrained(shape, channels, backbone, weights):
    """(input, features at strides 8, 16 and 32) of a backbone by name, in our channels."""
    image, found, _ = backbones.features(backbone, shape, weights, STRIDES)
    pyramid = [
        _convolution(found[stride], width, name=f"lateral{stride}")
        for stride, width in zip(STRIDES, channels[1:], strict=True)
    ]
    return image, [*pyramid[:-1], _pyramid_pooling(pyramid[-1], name="spp_fast")]


def _convolution(x, filters, size=1, stride=1, *, name):
    if stride > 1:  # "same" would pad on one side only
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    padding = "valid" if stride > 1 else "same"
    x = layers.Conv2D(filters, size, stride, padding, use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.Activation("silu", name=name)(x)


def _block(x, filters, depth, *, shortcut, name):
    """Splits the channels, takes one half through `depth` steps, and joins both halves and all steps."""
    x = _convolution(x, filters // 2 * 2, name=f"{name}_pre")
    parts = ops.split(x, 2, axis=-1)
    for step in range(depth):
        x = _convolution(parts[-1], filters // 2, 3, name=f"{name}_pre_{step}_1")
        x = _convolution(x, filters // 2, 3, name=f"{name}_pre_{step}_2")
        parts.append(layers.Add(name=f"{name}_{step}_add")([parts[-1], x]) if shortcut else x)
    return _convolution(layers.Concatenate(name=f"{name}_join")(parts), filters, name=f"{name}_output")


def _pyramid_pooling(x, *, name):
    filters = x.shape[-1]
    parts = [_convolution(x, filters // 2, name=f"{name}_pre")]
    for number in (1, 2, 3):
        parts.append(layers.MaxPooling2D(5, 1, "same", name=f"{name}_pool{number}")(parts[-1]))
    return _convolution(layers.Concatenate(name=f"{name}_join")(parts), filters, name=f"{name}_output")


def _neck(p3, p4, p5, depth_up, depth_down):
    """Mixes the three grids, from coarse to fine and back."""

    def join(x, other, name):
        return layers.Concatenate(name=f"{name}_with")([x, other])

    def up(x, other, name):
        x = join(layers.UpSampling2D(name=f"{name}_upsample")(x), other, name)
        return _block(x, other.shape[-1], depth_up, shortcut=False, name=name)

    def down(x, other, name):
        x = _convolution(x, x.shape[-1], 3, 2, name=name)
        return _block(join(x, other, name), other.shape[-1], depth_down, shortcut=False, name=f"{name}_block")

    p4 = up(p5, p4, "pa_fpn_p4p5")
    p3 = up(p4, p3, "pa_fpn_p3p4p5")
    p4 = down(p3, p4, "pa_fpn_p3p4p5_downsample1")
    return p3, p4, down(p4, p5, "pa_fpn_p3p4p5_downsample2")


def _head(x, filters, *, name):
    x = _convolution(x, filters, 3, name=f"{name}_1")
    return _convolution(x, filters, 3, name=f"{name}_2")


def _points(x, outputs, bias, *, name):
    start = keras.initializers.Constant(bias)
    x = layers.Conv2D(outputs, 1, bias_initializer=start, name=f"{name}_3_conv")(x)
    return layers.Reshape((-1, outputs), name=f"{name}_points")(x)


def _scores(levels, num_classes):
    """The output "scores" from the last features of the three class branches."""
    scores = []
    for level, (x, stride) in enumerate(zip(levels, STRIDES, strict=True), start=1):
        # as if there were five objects in an image of 640 x 640, so that training does not start by unlearning
        rare = float(np.log(5 / num_classes / (640 / stride) ** 2))
        scores.append(_points(x, num_classes, rare, name=f"yolo_v8_head_{level}_class"))
    return _joined(scores, "scores")


def _joined(parts, name):
    # float32 also under a mixed policy: half precision places boxes badly
    return layers.Concatenate(axis=1, dtype="float32", name=name)(parts)
