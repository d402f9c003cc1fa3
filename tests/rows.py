"""One row per architecture; the generic tests run over all of them."""

from dataclasses import dataclass, field

import zoo


@dataclass(frozen=True)
class Row:
    """What the generic tests need to know of a builder.

    Attributes:
        builder: The function of `zoo`.
        parameters: Parameter count with the default arguments, as in the document the architecture comes from.
        small: Arguments of a small network that a test can train, export and differentiate in a second.
        inputs: Input name to shape without the batch, of the small network.
        outputs: Output name to shape without the batch, of the small network.
        refused: Arguments that must raise `ValueError`, with a word of the message.
        name: Name of the model; that of the builder where it is not given.
        learning_rate: Of Adam, at which the small network learns one batch by heart.
        overfits: Whether the generic test trains it; not where a test of its own does so at its own task.
        endpoint: What is exported, the name of a function of `zoo.export` (which itself would need TensorFlow).
    """

    builder: callable
    parameters: int
    small: dict
    inputs: dict
    outputs: dict
    refused: list = field(default_factory=list)
    name: str = ""
    learning_rate: float = 0.02
    overfits: bool = True
    endpoint: str = "image_endpoint"

    def __post_init__(self):
        object.__setattr__(self, "name", self.name or self.builder.__name__)


ROWS = [
    Row(
        builder=zoo.mnist_cnn,
        parameters=225_034,
        small={
            "input_shape": (14, 12, 3),
            "num_classes": 4,
            "filters": (4, 6),
            "convolutions": 2,
            "padding": "same",
            "batch_normalization": True,
            "global_pooling": True,
            "dense_units": 5,
            "dropout": 0.2,
        },
        inputs={"image": (14, 12, 3)},
        outputs={"probabilities": (4,)},
        refused=[
            ({"num_classes": 1}, "num_classes"),
            ({"input_shape": (8, 8, 1)}, "too small"),
            ({"input_shape": (28, 9, 1)}, "too small"),
            ({"padding": "full"}, "padding"),
            ({"dropout": 1.0}, "dropout"),
            ({"filters": ()}, "stage"),
            ({"weights": "imagenet"}, "mnist"),
            ({"weights": "mnist", "input_shape": (32, 32, 1)}, "asked for .32, 32, 1."),
        ],
    ),
    Row(
        builder=zoo.denoising_autoencoder,
        parameters=19_393,
        small={
            "input_shape": (16, 12, 3),
            "filters": (8, 12, 16),
            "convolutions": 2,
            "decoder_convolutions": 1,
            "batch_normalization": True,
            "skip_connections": True,
            "residual": True,
        },
        inputs={"image": (16, 12, 3)},
        outputs={"restored": (16, 12, 3)},
        refused=[
            ({"input_shape": (28, 27, 1)}, "multiples of the stride 2 .* got 28 x 27"),
            ({"input_shape": (4, 2, 1), "filters": (4, 4, 4)}, "multiples of the stride 4 .* got 4 x 2"),
            ({"input_shape": (28, 28, 2)}, "1 or 3 channels"),
            ({"input_shape": (28, 28)}, "input_shape"),
            ({"filters": ()}, "filter"),
            ({"convolutions": 0}, "convolutions=0"),
            ({"decoder_convolutions": -1}, "decoder_convolutions=-1"),
            ({"architecture": "dncnn"}, "architecture must be classic, residual_unet or sub_pixel"),
            ({"weights": "imagenet"}, "weights must be None"),
        ],
    ),
    Row(
        builder=zoo.dcgan.generator,
        name="dcgan_generator",
        parameters=1_030_017,
        small={"image_shape": (16, 24, 3), "latent_dim": 6, "filters": 4, "batch_normalization": True},
        inputs={"latent": (6,)},
        outputs={"image": (16, 24, 3)},
        endpoint="latent_endpoint",
        refused=[
            ({"image_shape": (30, 30, 1)}, "power of two"),
            ({"image_shape": (28, 28)}, "image_shape"),
            ({"filters": (8, 8, 8)}, "2 stages"),
            ({"num_classes": 1}, "num_classes"),
            ({"latent_dim": 0}, "latent_dim"),
            ({"weights": "imagenet"}, "mnist"),
            ({"weights": "mnist", "num_classes": 7}, "num_classes=10"),
        ],
    ),
    Row(
        builder=zoo.dcgan.discriminator,
        name="dcgan_discriminator",
        parameters=138_561,
        small={"image_shape": (16, 24, 3), "filters": (4, 6)},
        inputs={"image": (16, 24, 3)},
        outputs={"real": (1,)},
        refused=[
            ({"image_shape": (4, 4, 1)}, "power of two"),
            ({"filters": 0}, "filters"),
            ({"num_classes": 0}, "num_classes"),
            ({"activation": "relu"}, "sigmoid"),
        ],
    ),
    Row(
        builder=zoo.diffusion_unet,
        parameters=1_156_769,
        small={
            "input_shape": (16, 8, 3),
            "widths": (16, 16),
            "patch_size": 2,
            "embedding_dim": 8,
            "groups": 4,
            "attention_resolutions": (4,),
            "dropout": 0.1,
        },
        inputs={"image": (16, 8, 3), "time": ()},
        outputs={"prediction": (16, 8, 3)},
        endpoint="tensor_endpoint",
        refused=[
            ({"input_shape": (28, 30, 1)}, "multiples of 4 .* got 28 x 30"),
            ({"input_shape": (28, 28)}, "input_shape"),
            ({"num_classes": 1}, "num_classes"),
            ({"widths": ()}, "widths"),
            ({"widths": (8, 12)}, "multiples of groups=8"),
            ({"patch_size": 3}, "patch_size"),
            ({"blocks": 0}, "blocks=0"),
            ({"embedding_dim": 7}, "embedding_dim=7"),
            ({"dropout": 1.0}, "dropout"),
            ({"weights": "imagenet"}, "weights must be None"),
        ],
    ),
    Row(
        builder=zoo.spectrogram_cnn,
        parameters=23_946,
        small={
            "input_shape": (900,),
            "num_classes": 4,
            "window": 60,
            "stride": 30,
            "frontend": "log_mel",
            "mel_bins": 8,
            "architecture": "depthwise",
            "filters": (4, 6),
            "dropout": 0.2,
            "augment": 0.5,
        },
        inputs={"waveform": (900,)},
        outputs={"probabilities": (4,)},
        endpoint="sound_endpoint",
        refused=[
            ({"num_classes": 1}, "num_classes"),
            ({"architecture": "vgg"}, "plain, depthwise, got 'vgg'"),
            ({"frontend": "mfcc"}, "log_mel"),
            ({"filters": ()}, "stage"),
            ({"blocks": 0}, "blocks=0"),
            ({"dropout": 1.0}, "dropout"),
            ({"augment": -1}, "augment"),
            ({"input_shape": (8000, 1)}, r"\(samples,\)"),
            ({"input_shape": (8000,), "frontend": None}, r"\(time, frequency, channels\)"),
            ({"input_shape": (200,)}, "200 samples, fewer than the window of 256"),
            ({"input_shape": (1000,)}, "too small for 3 stages"),
            ({"window": 8}, "window=8"),
            ({"stride": 0}, "stride=0"),
            ({"sample_rate": 0}, "sample_rate"),
            ({"frontend": "log_mel", "mel_bins": 128}, "mel_bins=128 is too many for 129 frequencies"),
            ({"frontend": "log_mel", "mel_bins": 0}, "mel_bins"),
            ({"weights": "imagenet"}, "weights must be None"),
        ],
    ),
    Row(
        builder=zoo.alexnet,
        parameters=60_965_224,
        small={"input_shape": (67, 71, 3), "num_classes": 4, "width": 0.03, "dropout": 0.2},
        learning_rate=0.005,
        inputs={"image": (67, 71, 3)},
        outputs={"probabilities": (4,)},
        refused=[
            ({"num_classes": 1}, "num_classes"),
            ({"variant": "double"}, "grouped, single, got 'double'"),
            ({"input_shape": (227, 66, 3)}, "67 or more"),
            ({"input_shape": (227, 227, 1)}, "input_shape"),
            ({"width": 0}, "width"),
            ({"dropout": 1.0}, "dropout"),
            ({"weights": "imagenet"}, 'variant="single"'),
            ({"weights": "none.pth", "variant": "single"}, "there is no checkpoint none.pth"),
            ({"weights": "mnist"}, "weights must be None"),
        ],
    ),
    Row(
        builder=zoo.alexnet_regressor,
        parameters=57_016_131,
        small={"input_shape": (67, 71, 3), "variant": "grouped", "width": 0.03, "dropout": 0.2, "offset": 0.1},
        learning_rate=0.005,
        inputs={"image": (67, 71, 3)},
        outputs={"red": (1,), "green": (1,), "blue": (1,)},
        refused=[
            ({"outputs": ()}, "outputs"),
            ({"outputs": ("red", "red")}, "different names"),
            ({"outputs": ("dark red",)}, "without spaces"),
            ({"backbone": "LeNet"}, "alexnet, efficientnet_lite0, .*MobileNetV2, .*got 'LeNet'"),
            ({"variant": "double"}, "grouped, single, got 'double'"),
            ({"pooling": "median"}, "average_max.*got 'median'"),
            ({"backbone": "MobileNetV2", "pooling": "statistics"}, "for the backbone alexnet, got 'MobileNetV2'"),
            ({"input_shape": (227, 62, 3)}, "63 or more"),
            ({"width": -1}, "width"),
            ({"units": 0}, "units"),
            ({"dropout": 1.0}, "dropout"),
            ({"scale": 0}, "scale"),
            ({"weights": "imagenet", "variant": "grouped"}, 'variant="single"'),
            ({"weights": "mnist"}, "weights must be None"),
            ({"width": 0.05, "freeze_until": "conv9"}, "no layer 'conv9'; those with weights are conv1, conv2"),
            ({"width": 0.05, "freeze_until": "blue_dense"}, "nothing to train"),
        ],
    ),
    Row(
        builder=zoo.efficientnet_lite,
        parameters=4_694_024,
        small={"input_shape": (32, 40, 3), "num_classes": 4, "variant": (0.1, 0.3), "dropout": 0.1, "drop_path": 0.1},
        inputs={"image": (32, 40, 3)},
        outputs={"probabilities": (4,)},
        learning_rate=0.003,
        refused=[
            ({"num_classes": 1}, "num_classes"),
            ({"input_shape": (224, 224, 1)}, "input_shape"),
            ({"input_shape": (31, 224, 3)}, "32 or more"),
            ({"variant": "lite5"}, "lite0, lite1, .* or .*'lite5'"),
            ({"variant": (1.0, 0.0)}, "positive"),
            ({"dropout": 1.0}, "dropout"),
            ({"drop_path": -0.1}, "drop_path"),
            ({"weights": "imagenet", "variant": "lite1"}, 'variant="lite0" and 1000 classes, got lite1'),
            ({"weights": "imagenet", "num_classes": 10}, "1000 classes, got lite0 and 10 classes"),
            ({"weights": "none.pth"}, "there is no checkpoint none.pth"),
            ({"weights": "mnist"}, "weights must be None"),
        ],
    ),
    Row(
        builder=zoo.image_classifier,
        parameters=4_694_024,
        small={"input_shape": (32, 40, 3), "num_classes": 4, "backbone": "MobileNetV3Small", "dropout": 0.1},
        inputs={"image": (32, 40, 3)},
        outputs={"probabilities": (4,)},
        overfits=False,  # a test of its own fits it to classes
        refused=[
            ({"num_classes": 1}, "num_classes"),
            ({"input_shape": (224, 224, 1)}, "input_shape"),
            ({"input_shape": (31, 224, 3)}, "32 or more"),
            ({"dropout": 1.0}, "dropout"),
            ({"backbone": "LeNet"}, "no backbone 'LeNet': .*MobileNetV2"),
            ({"freeze_until": "stage9"}, "no layer 'stage9'"),
            ({"freeze_until": "probabilities"}, "nothing to train"),
            ({"weights": "imagenet", "num_classes": 10}, "1000 classes, got efficientnet_lite0 and 10"),
            ({"weights": "imagenet", "backbone": "MobileNetV2"}, "got MobileNetV2 and 1000"),
            ({"weights": "lion.keras"}, "no model file lion.keras"),
            ({"weights": "mnist"}, "weights must be None"),
        ],
    ),
    Row(
        builder=zoo.unet,
        parameters=922_881,
        small={
            "input_shape": (16, 24, 3),
            "filters": (4, 6),
            "convolutions": 2,
            "stem_stride": 2,
            "normalization": "batch",
            "residual": True,
            "attention": True,
            "upsampling": "bilinear",
            "dropout": 0.2,
        },
        inputs={"image": (16, 24, 3)},
        outputs={"mask": (16, 24, 1)},
        refused=[
            ({"input_shape": (256, 254, 1)}, "multiples of 4, .* got 256 x 254"),
            ({"input_shape": (48, 40, 3), "filters": (4, 4, 4), "stem_stride": 4}, "multiples of 16, .* got 48 x 40"),
            ({"input_shape": (96, 48, 3), "encoder": "mobilenet_v2"}, "multiples of 32, .* got 96 x 48"),
            ({"input_shape": (256, 256)}, "input_shape"),
            ({"num_classes": 0}, "num_classes"),
            ({"filters": ()}, "filter"),
            ({"convolutions": 0}, "convolutions=0"),
            ({"stem_stride": 3}, "stem_stride"),
            ({"normalization": "layer"}, "none, batch, group, got 'layer'"),
            ({"normalization": "group", "filters": (8, 12)}, "multiples of groups=8"),
            ({"upsampling": "cubic"}, "nearest, bilinear, transposed, got 'cubic'"),
            ({"dropout": 1.0}, "dropout"),
            ({"encoder": "vgg16"}, "mobilenet_v2"),
            ({"encoder": "mobilenet_v2", "filters": (8, 8)}, "5 filters"),
            ({"encoder": "mobilenet_v2", "input_shape": (None, None, 3)}, "fixed size"),
            ({"encoder": "mobilenet_v2", "encoder_weights": "imagenet"}, "3 channels"),
            ({"weights": "imagenet"}, "weights must be None"),
        ],
    ),
    Row(
        builder=zoo.yolo,
        parameters=3_167_776,
        small={"input_shape": (64, 32, 3), "num_classes": 3, "size": (0.1, 0.0625), "reg_max": 4},
        overfits=False,
        inputs={"image": (64, 32, 3)},
        outputs={"boxes": (42, 16), "scores": (42, 3)},
        refused=[
            ({"input_shape": (100, 64, 3)}, "multiples of 32, got 100 x 64"),
            ({"input_shape": (64, 64)}, "input_shape"),
            ({"num_classes": 0}, "num_classes"),
            ({"size": "huge"}, "nano, small, medium or .*'huge'"),
            ({"size": (0, 1)}, "positive"),
            ({"reg_max": 1}, "reg_max"),
            ({"weights": "imagenet"}, "weights must be None"),
            ({"weights": "lion.keras"}, "no model file lion.keras"),
            ({"weights": "lion.h5"}, "no model file lion.h5"),
            ({"backbone_weights": "imagenet"}, "backbone=None"),
            ({"backbone": "LeNet"}, "no backbone 'LeNet': .*MobileNetV2"),
            ({"backbone": "InceptionV3", "input_shape": (96, 96, 3)}, "InceptionV3 has no features at stride 8"),
            ({"backbone": "efficientnet_lite0", "freeze_until": "stage9"}, "no layer 'stage9'"),
            ({"backbone": "efficientnet_lite0", "weights": "bccd"}, "one of them"),
        ],
    ),
]
