"""Road scenes: a class for each pixel of a photo or video, by a U-Net.

Data: road scenes drawn by formula, which need no network; CamVid (`--dataset camvid --data-dir FOLDER`), Cityscapes,
a folder with images/, masks/ and classes.csv, or a set of tensorflow-datasets with masks (`oxford_iiit_pet`). Scale,
cut, rotation, flip and light are drawn anew in every epoch, for image and mask together.

    zoo train unet --dataset camvid --data-dir FOLDER --encoder efficientnet_lite0 --encoder-weights imagenet \\
        --filters 16 32 64 96 160 --convolutions 1 --crop 224 288 --epochs 50 --learning-rate 0.001 --jitter 1 \\
        --scale 0.6 1.8 --class-balance 0.4

reaches a mean IoU of 0.722 over the 11 classes on CamVid's 101 validation images at 360 x 480, with 3,991,051
parameters, from an encoder that has learnt from ImageNet (extra `pretrained`), in 50 epochs of 80 seconds on two cores;
a network of 1,994,931 parameters from scratch, in 66 epochs, 0.634. The drawn scenes,

    zoo train unet --precision mixed_bfloat16 --filters 16 32 48 64 --stem-stride 1 --epochs 20 --scale 0.8 1.25

give 0.727 on 100 test images with 242,553 parameters, in 20 epochs of 54 seconds on the same machine. The last epoch
was kept, and no setting was chosen on the validation split.
"""

import functools
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from tyro.conf import OmitArgPrefixes

import zoo
from recipes import cards, checkpoints, exports, models, plots, results, runs, segmentation, timing, training
from recipes.data import mask_folders
from recipes.data import masks as mask_data
from recipes.data.splits import Split
from recipes.forward import compiled
from recipes.pictures import class_colours
from recipes.pictures import unet as pictures
from zoo import export as exporting
from zoo.losses import Segmentation
from zoo.metrics import MeanIoU, boundary_f1, intersection_over_union, label_confusion
from zoo.tiles import both, of_file
from zoo.unet import resized, stride_of, without_supervision

TASK = "semantic segmentation"
OWN_FILTERS = (24, 48, 96, 128, 192)


def datasets(dataset="scenes", **options):
    """Loads "scenes", camvid, cityscapes, a folder or a set of tensorflow-datasets; see `recipes.data.masks.load`."""
    return mask_data.load(str(dataset), **options)


@runs.resumable
def train(
    *,
    dataset: str = "scenes",
    size: tuple[int, int] | None = None,
    crop: tuple[int, int] | None = None,
    channels: int = 3,
    epochs: int = 120,
    batch_size: int = 8,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.02,
    cross_entropy: float = 1.0,
    dice: float = 0.5,
    tversky: float = 0.0,
    focal: float = 0.0,
    class_balance: float = 0.3,
    scale: tuple[float, float] = (0.5, 1.5),
    rotation: float = 5.0,
    flip: Literal["none", "horizontal", "both"] = "horizontal",
    jitter: float = 0.7,
    filters: tuple[int, ...] | None = OWN_FILTERS,
    convolutions: int = 2,
    stem_stride: Literal[1, 2, 4] = 2,
    normalization: Literal["none", "batch", "group"] = "batch",
    residual: bool = True,
    separable: bool = False,
    dropout: float = 0.1,
    upsampling: Literal["nearest", "bilinear", "transposed"] = "nearest",
    attention: bool = False,
    deep_supervision: bool = False,
    encoder: str | None = None,
    encoder_weights: Literal["imagenet"] | None = None,
    image_skip: bool = False,
    weights: str | None = None,
    setup: OmitArgPrefixes[training.Setup] = training.Setup(),
):
    """Trains a U-Net (AdamW, one warm-up and cosine cycle) and measures it on the test split, where there is one, else
    on the validation split.

    The last epoch is kept: the validation figures of each epoch are those of one piece out of each of 64 images.

    Args:
        dataset: scenes, camvid, cityscapes, a folder, or a name of tensorflow-datasets (oxford_iiit_pet, ...).
        size: Height and width to bring the images to; by default their own.
        crop: Height and width of the piece of an image that a step sees; by default at most 192 by 256.
        channels: 3 for colour, 1 for grey.
        epochs: Passes over the data.
        batch_size: Pieces per step.
        learning_rate: Highest learning rate of the cycle.
        weight_decay: Decoupled weight decay of AdamW, of the kernels only.
        cross_entropy: Share of the cross-entropy in the loss.
        dice: Share of the Dice loss.
        tversky: Share of the Tversky loss.
        focal: Share of the focal loss.
        class_balance: Exponent of the class weights from the labels' frequencies; 0 weighs all pixels alike.
        scale: Smallest and largest random factor of size.
        rotation: Largest random angle in degrees.
        flip: Random mirroring.
        jitter: Strength of the random change of light and colour; 0 for none.
        filters: Filters of each level of the network, with an encoder of the five levels of the decoder (by default 16,
            32, 64, 128, 256); none takes those of the document's network.
        convolutions: Convolutions per level.
        stem_stride: 2 or 4: the network works at half or a quarter of the resolution.
        normalization: What follows each convolution.
        residual: Whether a shortcut leads around the convolutions of each level.
        separable: Whether convolutions are depthwise separable.
        dropout: Share of the lowest level's features dropped in training.
        upsampling: How the decoder doubles the size.
        attention: Whether gates weigh what the decoder sees of the encoder.
        deep_supervision: Whether the lower levels of the decoder learn the mask too.
        encoder: Encoder from keras.applications (mobilenet_v2, efficientnet_b0, ...) in place of our own.
        encoder_weights: Weights of that encoder: imagenet, or none.
        image_skip: Whether the decoder of such an encoder, whose features end at half the resolution, sees the image
            itself as well.
        weights: Model to start from: a published data set's name or a .keras file; it decides the network.
        setup: Seed, machine and folders.
    """
    arguments = dict(locals())
    _check(arguments)
    strategy = training.prepare(setup, weights)
    options = _network_options(arguments)  # refused, where they do not fit, before minutes of reading data
    stride = stride_of(zoo.unet((None, None, channels), 1, **options)) if not (encoder or weights) else 32

    # data
    scenes = datasets(dataset, size=size, channels=channels, data_dir=setup.data_dir, manual_dir=setup.manual_dir)
    x, y = scenes.split("train")
    count = len(scenes.class_names)
    crop = tuple(crop or (piece(side, most, stride) for side, most in zip(x.shape[1:3], (192, 256), strict=True)))
    batch_size, steps, steps_per_execution = training.plan(len(y), batch_size, strategy)
    balance = mask_data.class_weights(y, count, class_balance)
    sizes = {"crop": crop, "batch_size": batch_size, "steps": steps, "epochs": epochs, "seed": setup.seed}
    drawn = {"scale": scale, "rotation": rotation, "flip": flip, "jitter": jitter}

    with strategy.scope(), training.precision(setup.precision):
        # network
        model = zoo.unet((*crop, channels), count, **({"weights": weights} if weights else options))
        outputs = len(model.outputs)
        # optimiser: a short warm-up, a twentieth of the steps
        losses = [Segmentation(cross_entropy, dice, tversky, focal, class_weights=balance) for _ in range(outputs)]
        metrics = [MeanIoU(count, mask_data.IGNORE)]
        model.compile(
            training.adamw(learning_rate, weight_decay, steps=steps * epochs, warm_up=steps * epochs // 20),
            loss=losses if outputs > 1 else losses[0],
            # each lower level of the decoder counts half of the one above
            loss_weights=[0.5**index for index in range(outputs)] if outputs > 1 else None,
            metrics=[metrics, *([[]] * (outputs - 1))] if outputs > 1 else metrics,
            steps_per_execution=steps_per_execution,
        )

    # machine: a run folder, and a fit that can be killed and resumed
    run = runs.start("unet", train, arguments)
    card = _card(scenes, model, crop) | runs.environment()
    print(
        f"{scenes.name}: {len(y):,} images for training, {card['parameters']:,} parameters, "
        f"{epochs} epochs of {steps} steps on pieces of {crop[0]} x {crop[1]}"
    )

    def batches(first_epoch):
        return _for_all(mask_data.training_batches(x, y, first_epoch=first_epoch, **sizes, **drawn), outputs)

    validation = mask_data.validation_batches(*scenes.split("validation"), crop, batch_size=batch_size)
    options = {"epochs": epochs, "steps": steps, "validation": _for_all(validation, outputs), "monitor": None}
    trained = training.fit(model, batches, run=run, card=card, **options, keep=lambda: _finished(model))
    checkpoints.save_compact(trained, run.folder / "model.keras", bits=5)  # a byte per weight, once compressed
    return _measured(run, card, scenes, batch_size, "val_mask_mean_iou" if outputs > 1 else "val_mean_iou")


def _check(arguments):
    """Refuses arguments of `train` that make no sense."""
    training.check_positive(**training.named(arguments, "epochs", "batch_size", "learning_rate"))
    training.check_range("[0, 1)", dropout=arguments["dropout"])
    training.check_range("[0, 2]", **training.named(arguments, "class_balance", "jitter"))
    training.check_range("[0, inf)", **training.named(arguments, "weight_decay", "rotation"))
    low, high = arguments["scale"]
    if not 0 < low <= high:
        raise ValueError(f"scale is a smallest and a largest factor, both positive, got {low:g} {high:g}")


def _network_options(arguments):
    """What `zoo.unet` is given of the arguments of `train`."""
    names = ("filters", "convolutions", "stem_stride", "normalization", "residual", "separable", "dropout")
    names += ("upsampling", "attention", "deep_supervision", "image_skip")
    options = {name: arguments[name] for name in names}
    if arguments["encoder"]:  # it has filters and a stride of its own
        chosen = {name: arguments[name] for name in ("encoder", "encoder_weights")}
        given = tuple(arguments["filters"] or OWN_FILTERS)
        options |= chosen | {"filters": None if given == OWN_FILTERS else given, "stem_stride": 1}
    return options


def _card(scenes, model, crop):
    return {
        "name": "unet",
        "builder": "unet",
        "task": TASK,
        "dataset": cards.dataset_entry(scenes) | {"classes": scenes.class_names, "colours": scenes.colours},
        "image": {"size": scenes.image_shape[:2], "crop": crop, "channels": model.input_shape[-1]},
        "parameters": without_supervision(model).count_params(),
        "licence": cards.licence(scenes.licence),
    }


def _measured(run, card, scenes, batch_size, validated):
    """Measures what a run wrote, and gives what `train` gives back."""
    split = scenes.measured
    segmenter = Segmenter(run.folder, card=card)
    figures = measure(segmenter, scenes, split, run.folder)
    # of several outputs, the mask's mean IoU is the one to show
    renamed = [{key.replace("mask_mean", "mean"): row[key] for key in row} for row in run.history]
    plots.curves(renamed, run.folder / "curves.png", metric="mean_iou")
    one = scenes.split(split)[0][0]
    return results.trained(
        run,
        card,
        figures,
        metrics=["mean_iou"],
        measured_on=f"{scenes.name}, {split}, {one.shape[0]} x {one.shape[1]}",
        latency_ms=timing.latency(lambda: segmenter(one)),
        message=f"{split} mean IoU {figures['metrics']['mean_iou']:.4f}",
        batch_size=batch_size,
        validation={"mean_iou": run.history[-1][validated]},
    )


def evaluate(
    *,
    model: str | None = None,
    dataset: str = "scenes",
    split: Split | None = None,
    size: tuple[int, int] | None = None,
    window: tuple[int, int] | None = None,
    overlap: float = 0.25,
    test_time_augmentation: Literal["none", "flip"] = "none",
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Measures a model: IoU, accuracy and boundary F1 by class, confusion matrix, sheets of image and masks.

    Args:
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder; by default the
            published one of that data set.
        dataset: scenes, camvid, cityscapes, a folder, or a name of tensorflow-datasets (oxford_iiit_pet, ...).
        split: Part of the data set to measure on; by default test, where there is one, else validation.
        size: Height and width to bring images and masks to; by default their own.
        window: Height and width of the pieces that the model sees one after the other; by default the whole image, or
            512 by 512 of a large one. An exported model has a size of its own.
        overlap: Share of a piece that the next one sees again.
        test_time_augmentation: flip also asks the model about the mirror image, and takes the mean.
        data_dir: Folder of camvid or cityscapes, or of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the pictures and evaluation.json; by default a new one under runs/unet.
    """
    segmenter = Segmenter(
        model or _published(dataset), window=window, overlap=overlap, flip=test_time_augmentation == "flip"
    )
    scenes = datasets(
        dataset, size=size, channels=segmenter.channels, data_dir=data_dir, manual_dir=manual_dir, only=split
    )
    split = {"val": "validation"}.get(split, split) or scenes.measured
    segmenter.check_classes(scenes)
    folder = runs.output_folder("unet", f"evaluate-{scenes.name}", output)
    figures = {
        "model": segmenter.path,
        "dataset": scenes.name,
        "split": split,
        "images": len(scenes.split(split)[1]),
        "size": scenes.image_shape[:2],
        "test_time_augmentation": test_time_augmentation,
        **measure(segmenter, scenes, split, folder),
    }
    height, width = scenes.image_shape[:2]
    message = (
        f"mean IoU {figures['metrics']['mean_iou']:.4f}, pixel accuracy {figures['metrics']['pixel_accuracy']:.4f} "
        f"on {figures['images']:,} images of {scenes.name} ({split}) at {height} x {width}"
    )
    return results.evaluated(folder, figures, figures["per_class"], message)


def export(
    *,
    model: str = "unet",
    format: tuple[Literal["saved_model", "tflite", "onnx"], ...] = ("tflite",),
    quantize: tuple[Literal["none", "float16", "dynamic", "int8"], ...] = ("none",),
    batch: int = 1,
    size: tuple[int, int] | None = None,
    probabilities: bool = False,
    dataset: str = "scenes",
    split: Split | None = None,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Exports a Keras model (uint8 image in, uint8 class map out) and measures every file that it wrote.

    A file takes images of one size; larger ones are measured piece by piece, with a quarter of overlap.

    Args:
        model: A published model, a run folder or a .keras file.
        format: One or more formats.
        quantize: One or more precisions of the TFLite files.
        batch: Examples that a file takes at a time.
        size: Height and width of the file's images; by default those of the pieces that the model was trained on.
        probabilities: Whether the file gives the probabilities of the classes too.
        dataset: Data to measure the mean IoU on; its training split shows int8 the range of the activations. Where it
            has other classes than the model, the share of pixels that agree with the Keras model is measured instead.
        split: Part of the data set to measure on; by default test, where there is one, else validation.
        data_dir: Folder of camvid or cityscapes, or of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the files and their card; by default a new one under runs/unet.
    """
    files = exports.plan(format, quantize, batch)
    whole = Segmenter(model).keras_only()
    size = tuple(size or whole.fixed or whole.card.get("image", {}).get("crop", (256, 256)))
    network = whole.model if whole.fixed == size else resized(whole.model, *size)
    scenes = datasets(dataset, channels=whole.channels, data_dir=data_dir, manual_dir=manual_dir)
    split = {"val": "validation"}.get(split, split) or scenes.measured
    images, masks = scenes.split(split)
    reference = [whole(image) for image in images]
    same = list(scenes.class_names) == whole.labels
    metric = "mean_iou" if same else "agreement"
    if not same:
        print(f"{scenes.name} has other classes than the model: measured is how often a file says what the model says")
    folder = runs.output_folder("unet", "export", output)
    training_split = scenes.split("train" if "train" in scenes.splits else split)
    representative = mask_data.pieces(*training_split, size, at_most=200)[0]

    def measured(path):
        exported = Segmenter(path)
        found = [exported(image) for image in images]
        agreement = float(np.mean([(one == other).mean() for one, other in zip(found, reference, strict=True)]))
        run, piece = exporting.load(path, threads=2), representative[:1]
        return {
            "metrics": {metric: _mean_iou(masks, found, len(whole.labels)) if same else agreement},
            "measured_on": f"{scenes.name}, {split}, in pieces of {size[0]} x {size[1]}",
            "agreement": agreement,
            "max_abs_difference": None if not probabilities else _difference(run, network, representative[:8]),
            "latency_ms": round(timing.latency(lambda: exported.model(image=piece)), 4),
            "latency_ms_2_threads": round(timing.latency(lambda: run(image=piece)), 4),
            "size": size,
        }

    entries = exports.write_all(
        folder,
        files,
        whole,
        batch=batch,
        network=network,
        endpoints={exporting.ENDPOINT: exporting.mask_endpoint(network, probabilities)},
        metadata=exporting.mask_metadata((*size, whole.channels), whole.classes, whole.colours),
        representative_data=representative,
        measured=measured,
    )
    value = _mean_iou(masks, reference, len(whole.labels)) if same else 1.0
    print(f"\nKeras: {metric} {value:.4f} on {len(masks):,} images of {scenes.name} ({split}); files are in {folder}")
    return {
        "output": folder,
        "dataset": scenes.name,
        "split": split,
        "metrics": {metric: value},
        "files": entries,
    }


class Segmenter(segmentation.Sliding, models.TrainedModel):
    """Any form of a trained U-Net: a uint8 image (height, width, channels) of any size to a mask of the same size."""

    name, task = "unet", TASK

    def __init__(self, model, *, card=None, window=None, overlap=0.25, flip=False):
        super().__init__(model, card=card)
        if not self.exported:
            if not any(layer.name == "mask" for layer in getattr(self.model, "layers", ())):
                raise ValueError(f"{self.path} gives no mask: it is not a U-Net")
            self.model = without_supervision(self.model)
            *fixed, channels = self.model.input_shape[1:]
            self.classes, stride = self.model.output_shape[-1], stride_of(self.model)
            self._graph = functools.lru_cache(16)(self._graph)
        else:
            shape, dtype = self.model.inputs.get("image", ((), ""))
            if len(shape) != 4 or dtype != "uint8" or self.model.metadata.get("task") != TASK:
                raise ValueError(f"{self.path} gives no mask: its inputs are {self.model.inputs}")
            *fixed, channels = shape[1:]
            self.classes, stride = self.model.metadata["num_classes"], 1
        count = max(2, self.classes)
        colours = self.about.get("colours") or mask_folders.distinct_colours(count)
        self.look(self.labels or range(count), colours, channels, stride)
        self.slide(None if None in fixed else tuple(fixed), window, overlap, flip)

    def check_classes(self, scenes):
        """Refuses a data set with other classes than the model's.

        Raises:
            ValueError: With both lists.
        """
        if list(scenes.class_names) != self.labels:
            raise ValueError(
                f"the classes differ: the model {self.path} knows {', '.join(self.labels)}; "
                f"the data set {scenes.name} has {', '.join(scenes.class_names)}"
            )

    def _graph(self, shape):
        """The network for one size: Keras's bilinear layer has no graph for any size."""
        return compiled(self.model, shape)

    def piece(self, image):
        if isinstance(self.model, keras.Model):
            return both(self._graph(image.shape)(image[None] / np.float32(255))[0])
        return of_file(self.model(image=image[None]), self.classes)


def measure(segmenter, scenes, split, folder):
    """Figures and pictures of a segmenter on one split, the pictures written into `folder`."""
    images, masks = scenes.split(split)
    names, count = scenes.class_names, len(scenes.class_names)
    matrices, outlines, rows = [], [], []
    for image, mask in zip(images, masks, strict=True):
        found = segmenter(image)
        own = label_confusion(mask, found, count, mask_data.IGNORE)
        matrices.append(own)
        outlines.append(boundary_f1(mask, found, count, ignore_label=mask_data.IGNORE))
        rows.append((np.diag(own).sum() / max(1, own.sum()), found))
    matrix = np.sum(matrices, axis=0)
    iou = intersection_over_union(matrix)
    outlines = np.array(outlines)
    seen = ~np.isnan(outlines)
    outline = np.where(seen.any(axis=0), np.nansum(outlines, axis=0) / np.maximum(seen.sum(axis=0), 1), np.nan)
    total = np.maximum(matrix.sum(axis=1), 1)
    figures = {
        "metrics": {
            "mean_iou": float(np.nanmean(iou)),
            "pixel_accuracy": float(np.diag(matrix).sum() / max(1, matrix.sum())),
            "boundary_f1": float(np.nanmean(outline)),
        },
        "intervals": {
            "mean_iou": results.interval(matrices, lambda total: np.nanmean(intersection_over_union(total))),
        },
        "measured_split": split,
        "per_class": [
            {
                "class": names[index],
                "iou": float(iou[index]),
                "accuracy": float(matrix[index, index] / total[index]),
                "boundary_f1": float(outline[index]),
                "share_of_pixels": float(matrix[index].sum() / max(1, matrix.sum())),
            }
            for index in range(count)
        ],
    }
    mean = figures["metrics"]["mean_iou"]
    title = f"{scenes.name}, {split}: mean IoU {mean:.3f}"
    pictures.bars(iou, names, folder / "iou.png", colours=scenes.colours, title=title, xlabel="IoU")
    pictures.shares(matrix, names, folder / "confusion_matrix.png", title=f"{title}; share of the true class")
    class_colours.legend(names, scenes.colours, folder / "legend.png")
    order = np.argsort([score for score, _ in rows])
    chosen = [order[place] for place in np.linspace(0, len(order) - 1, min(6, len(order))).round().astype(int)]
    labels = scenes.names_of(split)
    shown = [
        (images[index], masks[index], rows[index][1], f"{labels[index][-28:]}\n{rows[index][0]:.1%} right")
        for index in chosen
    ]
    pictures.masks(shown, names, scenes.colours, folder / "predictions.png", title=f"{title}; from worst to best image")
    return figures


def _published(dataset):
    """Name of the published model of a data set; that of real photos where there is none."""
    names = [name for name in zoo.pretrained.names() if zoo.pretrained.card(name)["builder"] == "unet"]
    return next((name for name in names if zoo.pretrained.card(name)["dataset"]["name"] == str(dataset)), "unet")


def _mean_iou(masks, found, count):
    pairs = zip(masks, found, strict=True)
    return float(
        np.nanmean(intersection_over_union(sum(label_confusion(*pair, count, mask_data.IGNORE) for pair in pairs)))
    )


def _difference(run, network, images):
    """Largest difference of the probabilities of an exported model from those of the network."""
    theirs = np.concatenate([run(image=image[None])["probabilities"] for image in images])
    return float(np.abs(theirs - network.predict(images / np.float32(255), verbose=0)).max())


def _for_all(stream, outputs):
    """Gives every output of a network with deep supervision the same mask."""
    return stream.map(lambda x, y: (x, (y,) * outputs)) if outputs > 1 else stream


def _finished(model):
    """What is saved after training: float32, one output, and any size where the network allows it."""
    return resized(exporting.float32_copy(without_supervision(model)), None, None)


def piece(side, at_most, stride):
    """The largest multiple of the stride that is in an image's side and in `at_most`, at least one."""
    return max(stride, min(side, at_most) // stride * stride)
