"""Images with a class for each pixel: drawn road scenes, folders, CamVid, Cityscapes and tensorflow-datasets.

A split is held in memory as uint8, all images of one size: the pipeline then costs a gather and one affine transform
per batch, for image and mask alike. A mask holds the number of the class, or `IGNORE` where a pixel does not count.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from recipes.data import draws, mask_folders
from recipes.data import images as image_data
from recipes.data import splits as split_data
from recipes.data.mask_folders import IGNORE, cityscapes_classes, distinct_colours, fit, make_classes

SPLITS = split_data.ORDER
LICENCES = {"camvid": "CC BY-NC 4.0", "cityscapes": "Cityscapes terms of use", "oxford_iiit_pet": "CC BY-SA 4.0"}


@dataclass(frozen=True)
class MaskDataset:
    """A data set in memory.

    Attributes:
        name: Its name, or the name of its folder.
        class_names: One name per class, in the order of the labels.
        colours: One (red, green, blue) per class.
        splits: Split name to (images, masks): uint8 (count, height, width, channels) and uint8 (count, height, width).
        names: Split name to the names of the images.
        version: Version as its publisher gives it, or "".
        licence: Licence as its publisher gives it, or "".
        skipped: Nothing: a data set with a bad file is refused.
    """

    name: str
    class_names: tuple
    colours: tuple
    splits: dict
    names: dict
    version: str = ""
    licence: str = ""
    skipped: tuple = ()

    @property
    def image_shape(self):
        return next(iter(self.splits.values()))[0].shape[1:]

    def split(self, name):
        """(images, masks) of "train", "validation" (or "val"), "test" or "all"."""
        if name == "all":
            images, masks = zip(*self.splits.values(), strict=True)
            return np.concatenate(images), np.concatenate(masks)
        name = {"val": "validation"}.get(name, name)
        if name not in self.splits:
            raise ValueError(f"{self.name} has no split {name!r}; accepted: {', '.join(self.splits)}, all")
        return self.splits[name]

    def names_of(self, name):
        """Names of the images of a split."""
        if name == "all":
            return [one for names in self.names.values() for one in names]
        return self.names[{"val": "validation"}.get(name, name)]

    @property
    def measured(self):
        """The split that says how good a model is: "test" where there is one."""
        return next(name for name in ("test", "validation", "train") if name in self.splits)


def load(dataset, *, size=None, channels=3, data_dir=None, manual_dir=None, only=None):
    """Loads a data set.

    Args:
        dataset: "scenes" (embedded), "camvid" (with `data_dir`), "cityscapes" (with `data_dir`, or with the archives
            in `manual_dir`), a folder in one of the `LAYOUTS`, or a set of tensorflow-datasets with masks.
        size: (height, width) to bring images and masks to, with a border that does not count where the proportions
            differ. None keeps their own, where they have one size; a set too large for memory is halved.
        channels: 3 for colour, 1 for grey.
        data_dir: Folder of camvid or cityscapes, else where tensorflow-datasets keeps its files.
        manual_dir: Folder with the original files of a set of tensorflow-datasets.
        only: The one split that is needed, to save reading the others; None for all.

    Returns:
        A `MaskDataset`. Where a set is not divided, "validation" and "test" are cut from it in the same way each time.

    Raises:
        ValueError: If there is no such data set, or an image and its mask do not go together; it names the file.
    """
    if size is not None and (len(size) != 2 or min(size) < 8):
        raise ValueError(f"size is height and width, 8 or more, got {tuple(size)}")
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    if manual_dir is not None and not Path(manual_dir).is_dir():
        raise ValueError(f"there is no folder {manual_dir} (manual_dir)")
    only = {"val": "validation", "all": None}.get(only, only)
    if dataset == "scenes":
        return _load_scenes(size, channels, only)
    if dataset == "camvid" and data_dir is None:
        raise ValueError(
            "camvid needs --data-dir FOLDER, which holds train/ trainannot/ val/ valannot/ or some of them"
        )
    if dataset == "camvid" and not Path(data_dir).is_dir():
        raise ValueError(f"there is no folder {data_dir} (data_dir)")
    if dataset == "camvid" or (dataset == "cityscapes" and data_dir and Path(data_dir, "leftImg8bit").is_dir()):
        return _load_folder(Path(data_dir), dataset, size, channels, only)
    if Path(dataset).is_dir():
        return _load_folder(Path(dataset), None, size, channels, only)
    if dataset.startswith((".", "/", "~")) or dataset.endswith("/"):
        raise ValueError(f"there is no folder {dataset}")
    return _load_tfds(dataset, size, channels, data_dir, manual_dir, only)


# Splits


def _load_folder(folder, name, size, channels, only):
    name, classes, splits, names = mask_folders.read_folder(folder, name, size, channels, only)
    splits, names = _complete(splits, names, only)
    if "train" in splits:
        absent = np.flatnonzero(np.bincount(splits["train"][1].ravel(), minlength=256)[: len(classes.names)] == 0)
        if len(absent):
            listed = ", ".join(classes.names[index] for index in absent)
            print(f"warning: {name} has no pixel of {listed} in its training split", file=sys.stderr)
    return MaskDataset(name, classes.names, classes.colours, splits, names, licence=LICENCES.get(name, ""))


def _complete(splits, names, only=None):
    """Adds "validation", and where there was neither also "test", cut from "train"."""
    missing = {"validation": 0.1} if "validation" not in splits else {}
    if missing and "test" not in splits:
        missing["test"] = 0.2
    if "train" in splits and missing and only is None:
        images, masks = splits["train"]
        order = np.random.default_rng(0).permutation(len(masks))  # the cut belongs to the data set, not to a run
        if len(masks) <= len(missing):
            raise ValueError(f"{len(masks)} images cannot be divided: {1 + len(missing)} splits need one each at least")
        parts, all_names = {}, names["train"]
        for name, fraction in missing.items():
            count = max(1, round(fraction * len(masks)))
            parts[name], order = order[:count], order[count:]
        parts["train"] = order
        for name, chosen in parts.items():
            chosen = np.sort(chosen)
            splits[name], names[name] = (images[chosen], masks[chosen]), [all_names[index] for index in chosen]
    order = [name for name in SPLITS if name in splits]
    return {name: splits[name] for name in order}, {name: names[name] for name in order}


# The embedded set and tensorflow-datasets


def _load_scenes(size, channels, only):
    from recipes.data import road_scenes

    splits, names = {}, {}
    for split in (split for split in SPLITS if only in (None, split)):
        images, masks = road_scenes.draw_split(split, size or road_scenes.SIZE)
        if channels == 1:
            images = np.stack([np.asarray(Image.fromarray(image).convert("L"))[..., None] for image in images])
        splits[split], names[split] = (images, masks), [f"{split}-{index:04}.png" for index in range(len(masks))]
    return MaskDataset(
        "scenes", tuple(road_scenes.CLASSES), tuple(road_scenes.CLASSES.values()), splits, names, licence="Apache-2.0"
    )


def _load_tfds(dataset, size, channels, data_dir, manual_dir, only):
    import tensorflow_datasets as tfds

    name = "cityscapes/semantic_segmentation" if dataset == "cityscapes" else dataset
    builder = image_data.tfds_builder(name, data_dir, embedded="scenes")
    features = builder.info.features
    image = _feature(features, ("image", "image_left"))
    mask = _feature(features, ("segmentation_mask", "segmentation_label", "mask", "label_mask"))
    if not image or not mask:
        raise ValueError(f"{dataset} is not a set of images with masks: it has {', '.join(features or [])}")
    offline = "without a network: --dataset scenes, or --dataset FOLDER with images/, masks/ and classes.csv"
    if dataset == "cityscapes":
        offline = "its archives need an account: --data-dir FOLDER with leftImg8bit/ and gtFine/, or --manual-dir"
    image_data.download(builder, manual_dir, offline)
    classes = {"cityscapes": cityscapes_classes, "oxford_iiit_pet": _pet_classes}.get(builder.name, lambda: None)()
    splits, names = {}, {}
    for split in (name for name in SPLITS if name in builder.info.splits and only in (None, name)):
        pairs = []
        for index, example in enumerate(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))):
            pixels = example[image]
            if channels == 1 and pixels.shape[-1] == 3:
                pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
            if size is None:
                size = pixels.shape[:2] if None not in (features[image].shape or (None,))[:2] else (256, 256)
            found = (classes.lookup if classes else np.arange(256, dtype=np.uint8))[example[mask].squeeze(-1)]
            pairs.append((*fit(pixels, found, size), _name(example, index)))
        images, masks, names[split] = zip(*pairs, strict=True)
        splits[split], names[split] = (np.stack(images), np.stack(masks)), list(names[split])
    if not splits:
        raise ValueError(f"{dataset} has no split {only!r}: it has {', '.join(builder.info.splits)}")
    if classes is None:
        highest = max(int(masks[masks != IGNORE].max(initial=0)) for _, masks in splits.values())
        classes = make_classes(
            [f"class {label}" for label in range(highest + 1)], distinct_colours(highest + 1), range(highest + 1)
        )
    splits, names = _complete(splits, names, only)
    return MaskDataset(
        builder.name,
        classes.names,
        classes.colours,
        splits,
        names,
        version=str(builder.info.version),
        licence=builder.info.redistribution_info.license or LICENCES.get(builder.name, ""),
    )


def _feature(features, accepted):
    return next((name for name in accepted if name in (features or ())), None)


def _name(example, index):
    for key in ("file_name", "image_id"):
        if key in example:
            return example[key].decode()
    return f"{index:06}"


def _pet_classes():
    """The trimaps of the Oxford-IIIT pets: 1 to 3."""
    return make_classes(("pet", "background", "outline"), ((220, 20, 60), (70, 70, 70), (250, 170, 30)), (1, 2, 3))


# Pipelines


def class_weights(masks, num_classes, power=0.5):
    """Weight of each class, (1 / frequency) ** power, scaled so that a random pixel weighs 1 on average.

    Args:
        masks: uint8 (count, height, width).
        num_classes: Number of classes; one that never occurs has the weight 0.
        power: 0 weighs all alike, 1 gives each class the same total weight.
    """
    counts = np.bincount(masks.ravel(), minlength=256)[:num_classes].astype(float)
    share = counts / max(1, counts.sum())
    weights = np.where(share > 0, np.maximum(share, 1e-9) ** -power, 0.0)
    return (weights / max(1e-9, (weights * share).sum())).tolist()


def training_batches(
    images,
    masks,
    *,
    crop,
    batch_size,
    steps,
    epochs,
    first_epoch=0,
    seed=0,
    scale=(1.0, 1.0),
    rotation=0.0,
    flip="none",
    jitter=0.0,
):
    """One stream of all epochs, without an end between two: float32 images in [0, 1] and int32 labels, cut to `crop`.

    One affine transform cuts, scales, turns and flips an image (bilinear) and its mask (nearest: labels stay labels);
    what lies outside of the image is black and does not count. All draws depend on nothing but seed, epoch and step.

    Args:
        images: uint8 (count, height, width, channels).
        masks: uint8 (count, height, width).
        crop: (height, width) of what the network sees.
        batch_size: Images per batch.
        steps: Batches per epoch, at most count // batch_size.
        epochs: Number of epochs of the whole training.
        first_epoch: Where a resumed training goes on.
        seed: Seed of order and augmentation.
        scale: Smallest and largest factor of size, log-uniform.
        rotation: Largest angle in degrees, either way.
        flip: "none", "horizontal" or "both".
        jitter: Strength of the change of brightness, contrast, saturation and tint; 0 for none.
    """
    with tf.device("cpu"):
        images, masks = tf.constant(images), tf.constant(masks[..., None])

    def batch(step, chosen):
        x, y = tf.gather(images, chosen), tf.gather(masks, chosen)
        transforms = _transforms(x.shape[1:3], crop, chosen.shape[0], [seed, step], scale, rotation, flip)
        x = _transform(tf.cast(x, tf.float32) / 255.0, transforms, crop, "BILINEAR", 0.0)
        y = _transform(y, transforms, crop, "NEAREST", float(IGNORE))
        if jitter:
            x = _jitter(x, chosen.shape[0], [seed + 1, step], jitter)
        return x, tf.cast(y[..., 0], tf.int32)

    return image_data.stream(
        batch, len(masks), batch_size=batch_size, steps=steps, epochs=epochs, first_epoch=first_epoch, seed=seed
    )


def pieces(images, masks, crop, *, at_most=64):
    """One piece of the size `crop` out of each of `at_most` images, spread evenly and always the same: uint8 (count,
    height, width, channels) and uint8 (count, height, width); what an image lacks is black and does not count."""
    chosen = np.linspace(0, len(masks) - 1, min(at_most, len(masks))).round().astype(int)
    x = np.zeros((chosen.shape[0], *crop, images.shape[-1]), np.uint8)
    y = np.full((chosen.shape[0], *crop), IGNORE, np.uint8)
    random = np.random.default_rng(0)
    height, width = min(crop[0], images.shape[1]), min(crop[1], images.shape[2])
    for place, index in enumerate(chosen):
        top, left = random.integers(images.shape[1] - height + 1), random.integers(images.shape[2] - width + 1)
        x[place, :height, :width] = images[index, top : top + height, left : left + width]
        y[place, :height, :width] = masks[index, top : top + height, left : left + width]
    return x, y


def validation_batches(images, masks, crop, *, batch_size=8):
    """The `pieces` of a split, float32 in [0, 1] and int32."""
    x, y = pieces(images, masks, crop)
    batch_size = min(batch_size, 1 << (len(y).bit_length() - 1))  # that replicas share evenly
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size, drop_remainder=True)
    data = data.map(lambda x, y: (tf.cast(x, tf.float32) / 255.0, tf.cast(y, tf.int32)))
    return image_data.without_autotune(data.prefetch(2))


def _transforms(size, crop, count, seed, scale, rotation, flip):
    """From pixels of the crop to pixels of the image, (count, 8)."""
    draw = tf.unstack(draws.uniform((6, count), seed, axis=1))
    low, high = np.log(scale[0]), np.log(scale[1])
    step = tf.exp(-(low + (high - low) * draw[0]))
    angle = (2 * draw[1] - 1) * (rotation * np.pi / 180)
    mirror_x = tf.where((draw[2] < 0.5) & (flip != "none"), -1.0, 1.0)
    mirror_y = tf.where((draw[3] < 0.5) & (flip == "both"), -1.0, 1.0)
    a, b = step * mirror_x * tf.cos(angle), -step * mirror_y * tf.sin(angle)
    c, d = step * mirror_x * tf.sin(angle), step * mirror_y * tf.cos(angle)

    def middle(side, cut, draw):  # anywhere that keeps the crop inside, or the image inside the crop
        half = step * (cut / 2)
        return tf.minimum(half, side - half) + tf.round(tf.abs(side - 2 * half) * draw) - 0.5

    x, y = middle(size[1], crop[1], draw[4]), middle(size[0], crop[0], draw[5])
    shift_x = x - a * ((crop[1] - 1) / 2) - b * ((crop[0] - 1) / 2)
    shift_y = y - c * ((crop[1] - 1) / 2) - d * ((crop[0] - 1) / 2)
    zero = tf.zeros_like(a)
    return tf.stack([a, b, shift_x, c, d, shift_y, zero, zero], axis=1)


def _transform(images, transforms, size, interpolation, fill):
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=size,
        fill_value=fill,
        interpolation=interpolation,
        fill_mode="CONSTANT",
    )


def _jitter(images, count, seed, strength):
    """Other light on each image: at strength 1 brightness within 0.2, contrast and saturation within 40 %, each
    channel within 10 %."""
    channels = images.shape[-1]
    draw = strength * draws.uniform((count, 1, 1, 3 + channels), seed, -1.0, 1.0)
    brightness, contrast, saturation, tint = tf.split(draw, [1, 1, 1, channels], axis=-1)
    if channels == 3:
        grey = tf.reduce_mean(images, axis=-1, keepdims=True)
        images = grey + (images - grey) * (1 + 0.4 * saturation)
    mean = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
    images = mean + (images - mean) * (1 + 0.4 * contrast)
    return tf.clip_by_value(images * (1 + 0.1 * tint) + 0.2 * brightness, 0.0, 1.0)
