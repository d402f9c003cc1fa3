"""Images, labelled or not: the embedded digits, tensorflow-datasets by name, or a folder `class/*.png`.

A split is held in memory as uint8, already in the size of the network: the pipeline then costs a gather and one affine
transform per batch, and nothing is decoded twice.
"""

import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from recipes import hosts
from recipes.data import draws, notes
from recipes.data import splits as split_data
from recipes.data.files import files, is_image, open_image, read_fitted
from zoo.photos import KINDS, fit_one

SPLITS = split_data.ORDER
LICENCES = {"mnist": "CC BY-SA 3.0", "fashion_mnist": "MIT"}  # where tensorflow-datasets does not say
OFFLINE = "without a network: --dataset digits, or --dataset FOLDER of class/*.png, or --manual-dir with its files"


@dataclass(frozen=True)
class ImageDataset:
    """A data set in memory.

    Attributes:
        name: Its name, or the name of its folder.
        version: Version as its publisher gives it, or "".
        licence: Licence as its publisher gives it, or "".
        class_names: One name per class, in the order of the labels; none where there are no labels.
        splits: Split name to (images, labels): uint8 (count, height, width, channels) and int32 (count,), which are
            all 0 where there are no labels.
        skipped: Files that could not be read.
        left_out: Suffix to number of the files of a folder that are no images by their suffix.
    """

    name: str
    class_names: tuple
    splits: dict
    version: str = ""
    licence: str = ""
    skipped: tuple = field(default=())
    left_out: dict = field(default_factory=dict)

    @property
    def image_shape(self):
        return next(iter(self.splits.values()))[0].shape[1:]

    @property
    def measured(self):
        """The split to measure on: "test" where there is one, else "validation"."""
        return "test" if "test" in self.splits else "validation"

    def split(self, name):
        """(images, labels) of "train", "validation" (also "val"), "test" or "all"."""
        name = {"val": "validation"}.get(name, name)
        if name == "all":
            images, labels = zip(*self.splits.values(), strict=True)
            return np.concatenate(images), np.concatenate(labels)
        if name not in self.splits:
            raise ValueError(f"the split must be one of {', '.join(self.splits)}, all; got {name!r}")
        return self.splits[name]


def load(
    dataset,
    *,
    input_shape=None,
    data_dir=None,
    manual_dir=None,
    labelled=True,
    fit="pad",
    usual=(28, 28, 1),
    largest=64,
    cut_test=True,
):
    """Loads a data set.

    Args:
        dataset: "digits" (embedded), a folder `class/*.png` or `train|validation|test/class/*.png`, or the name of
            any image classification set of tensorflow-datasets.
        input_shape: (height, width, channels) to bring the images to. None keeps their own, where they all have the
            same (in a folder also 28 to `largest` pixels a side, in steps of 4), and else means `usual`.
        data_dir: Where tensorflow-datasets keeps its files (its own default when None).
        manual_dir: Folder with the original files of the set, got by hand, for a machine without a network.
        labelled: Whether labels are needed. If not, a folder may hold images directly, and a set of
            tensorflow-datasets may have images only.
        fit: How an image of other proportions gets the shape: "pad" adds a border, "crop" cuts off what is too much
            about the centre, "tiles" cuts an image of a folder into as many pieces as fit, at its own resolution,
            "stretch" changes the proportions.
        usual: See `input_shape`; where it has three channels, so has every data set.
        largest: See `input_shape`.
        cut_test: Whether a test split is cut off also where the publisher gives one for validation.

    Returns:
        An `ImageDataset` with the splits "train", "validation" and "test". Splits that the publisher does not give are
        cut from "train", by class, in the same way each time.

    Raises:
        ValueError: If there is no such data set, or it is not one of labelled images, or it cannot be downloaded.
    """
    if input_shape is not None and (len(input_shape) != 3 or min(input_shape) < 1 or input_shape[2] not in (1, 3)):
        raise ValueError(f"input_shape is height, width and 1 or 3 channels, got {tuple(input_shape)}")
    if manual_dir is not None and not Path(manual_dir).is_dir():
        raise ValueError(f"there is no folder {manual_dir} (manual_dir)")
    if dataset == "digits":
        return _load_digits(input_shape or usual)
    size = {"input_shape": input_shape, "usual": usual, "cut_test": cut_test}
    if Path(dataset).is_dir():
        return _load_folder(Path(dataset), labelled, fit, largest, **size)
    if dataset.startswith((".", "/", "~")) or dataset.endswith("/"):
        raise ValueError(f"there is no folder {dataset}")
    return _load_tfds(dataset, data_dir, manual_dir, labelled, fit, **size)


def read_tiles(path, input_shape, at_most=256):
    """Reads an image file as pieces of the shape at its own resolution, uint8 (count, height, width, channels), evenly
    spread and `at_most` of them; a smaller image is padded to one.

    Raises:
        ValueError: If the file is not an image.
    """
    height, width, channels = input_shape
    image = open_image(path)
    if image.height < height or image.width < width:
        return fit_one(image, input_shape)[None]
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(image.height, image.width, channels)
    rows, columns = image.height // height, image.width // width
    tiles = pixels[: rows * height, : columns * width].reshape(rows, height, columns, width, channels)
    tiles = tiles.swapaxes(1, 2).reshape(-1, height, width, channels)
    return tiles[np.linspace(0, len(tiles) - 1, min(at_most, len(tiles))).astype(int)]


def training_batches(images, labels, *, num_classes, batch_size, steps, epochs, first_epoch=0, seed=0, augment=0.0):
    """One stream of all epochs, without an end between two: float32 images in [0, 1] and labels.

    The order and the augmentation of a batch depend on nothing but the seed, the epoch and its number, so a resumed
    training sees what an uninterrupted one would have seen.

    Args:
        images: uint8 (count, height, width, channels).
        labels: int (count,).
        num_classes: Width of the one-hot labels; None leaves them numbers.
        batch_size: Images per batch.
        steps: Batches per epoch, at most count // batch_size.
        epochs: Number of epochs of the whole training.
        first_epoch: Where a resumed training goes on.
        seed: Seed of order and augmentation.
        augment: Strength of the random affine transform, 0 for none; see `affine`.
    """
    with tf.device("cpu"):
        images, labels = tf.constant(images), tf.constant(labels, tf.int32)

    def batch(step, chosen):
        x = tf.cast(tf.gather(images, chosen), tf.float32) / 255.0
        if augment:
            x = affine(x, seed=[seed, step], strength=augment)
        y = tf.gather(labels, chosen)
        return x, tf.one_hot(y, num_classes) if num_classes else y

    return stream(
        batch, len(labels), batch_size=batch_size, steps=steps, epochs=epochs, first_epoch=first_epoch, seed=seed
    )


def stream(batch, count, *, batch_size, steps, epochs, first_epoch=0, seed=0, whole=False):
    """One stream of all epochs, in an order that depends on nothing but the seed and the epoch.

    Of several hosts each prepares its own part of a batch.

    Args:
        batch: Function of the number of the step (int32, over all epochs) and the indices chosen (batch_size,), which
            makes the batch; what it draws at random should depend on nothing but a seed and the step, and come from
            `recipes.data.draws`. Of several hosts each gets a part of the indices.
        count: Number of examples.
        batch_size: Examples per batch.
        steps: Batches per epoch, at most count // batch_size.
        epochs: Number of epochs of the whole training.
        first_epoch: Where a resumed training goes on.
        seed: Seed of the order.
        whole: Whether the examples of a batch depend on each other, so that each host prepares all of them.
    """

    def epoch_batches(epoch):
        order = tf.random.experimental.stateless_shuffle(tf.range(count), seed=[seed, tf.cast(epoch, tf.int32)])
        order = tf.reshape(order[: steps * batch_size], (steps, batch_size))
        return tf.data.Dataset.from_tensor_slices(order).enumerate(epoch * steps)

    data = tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch_batches)

    def prepared(step, chosen):
        step = tf.cast(step, tf.int32)
        if whole:
            return tf.nest.map_structure(hosts.own_part, batch(step, chosen))
        with draws.of_host(*hosts.share()):
            return batch(step, hosts.own_part(chosen))

    return without_autotune(data.map(prepared, num_parallel_calls=2).prefetch(4))


def evaluation_batches(images, labels, *, num_classes, batch_size=512):
    """A split in order: float32 images in [0, 1] and one-hot labels."""
    # a first batch that replicas share evenly: Keras averages it over them to build the model
    batch_size = min(batch_size, 1 << (len(labels).bit_length() - 1))
    examples = tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch_size)
    examples = examples.map(lambda x, y: (tf.cast(x, tf.float32) / 255.0, tf.one_hot(y, num_classes)))
    return without_autotune(examples.prefetch(2))


def without_autotune(data):
    """The same `tf.data.Dataset`, not tuned while it runs."""
    # the tuner's thread sleeps longer and longer, and the end of every iterator waits for it: up to 20 s an epoch
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)


def affine(images, seed, strength=1.0):
    """One random affine transform per image of a batch, bilinear, black outside.

    At strength 1: rotation within 8 degrees, shear within 0.08, zoom of each axis within 8 %, and shift within
    1.5/28 of the side.
    """
    shape = tf.shape(images)
    count, height, width = shape[0], tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)
    draw = draws.uniform((6, count), seed, -strength, strength, axis=1)
    angle, shear = draw[0] * (8 * np.pi / 180), draw[1] * 0.08
    zoom_x, zoom_y = 1 + 0.08 * draw[2], 1 + 0.08 * draw[3]
    # from output to input pixels, about the centre: rotate and shear, then scale
    a, b = zoom_x * tf.cos(angle), zoom_x * (tf.sin(angle) + shear)
    c, d = -zoom_y * tf.sin(angle), zoom_y * tf.cos(angle)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    shift_x = centre_x - a * centre_x - b * centre_y + draw[4] * width * (1.5 / 28)
    shift_y = centre_y - c * centre_x - d * centre_y + draw[5] * height * (1.5 / 28)
    zero = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, shift_x, c, d, shift_y, zero, zero], axis=1),
        output_shape=shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def fit_all(images, input_shape, fit="pad"):
    """uint8 images (count, height, width, channels) in another shape."""
    if images.shape[1:] == tuple(input_shape):
        return images
    pictures = (Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image) for image in images)
    return np.stack([fit_one(picture, input_shape, fit) for picture in pictures])


def cut(labels, fractions, at_most=5000):
    """Cuts off one set of indices per fraction, each class in its proportion, and gives the rest first."""
    random = np.random.default_rng(0)  # the split belongs to the data set, not to a run: it never changes
    parts = [[] for _ in range(len(fractions) + 1)]
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        for part, fraction in zip(parts[1:], fractions, strict=True):
            count = max(1, round(min(fraction, at_most / len(labels)) * len(labels[labels == label])))
            part.extend(members[:count])
            members = members[count:]
        parts[0].extend(members)
    return [np.sort(np.array(part, dtype=int)) for part in parts]


def _missing(splits, cut_test=True):
    """Name to share of the splits that are to be cut from "train"."""
    wanted = {"validation": 0.1, "test": 0.2}
    if "validation" in splits and not cut_test:
        del wanted["test"]
    return {name: share for name, share in wanted.items() if name not in splits}


def _complete(splits, sources=None, cut_test=True):
    """Adds the splits that a data set lacks, cut from "train"; pieces of one source stay together."""
    missing = _missing(splits, cut_test)
    if missing:
        images, labels = splits["train"]
        sources = np.arange(len(labels)) if sources is None else sources
        first = np.unique(sources, return_index=True)[1]
        parts = cut(labels[first], list(missing.values()))
        rest, *cuts = (np.flatnonzero(np.isin(sources, part)) for part in parts)
        splits = {**splits, "train": (images[rest], labels[rest])}
        splits.update({name: (images[cut], labels[cut]) for name, cut in zip(missing, cuts, strict=True)})
    return {name: splits[name] for name in SPLITS if name in splits}


def _load_digits(input_shape):
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = np.round(digits.images * (255 / 16)).astype(np.uint8)
    # As in MNIST: the digit in a box of 20 x 20, on a field of 28 x 28
    framed = [np.pad(Image.fromarray(image).resize((20, 20), Image.Resampling.BICUBIC), 4) for image in small]
    images = fit_all(np.stack(framed)[..., None], input_shape)
    names = tuple(str(name) for name in digits.target_names)
    splits = _complete({"train": (images, digits.target.astype(np.int32))})
    return ImageDataset("digits", names, splits, version="scikit-learn", licence="CC BY 4.0")


def _load_folder(folder, labelled, fit, largest, *, input_shape, usual, cut_test):
    roots = split_data.roots(folder, lambda path: any(files(path)), classes=labelled)
    everything = [path for parts in roots.values() for root in parts for path in split_data.walk(root)]
    pictures = {split: [one for root in parts for one in _with_class(root)] for split, parts in roots.items()}
    names = sorted({name for entries in pictures.values() for _, name in entries if name})
    other = notes.left_out(folder, [path for path in everything if not is_image(path)], "images")
    stray = sum(not name for entries in pictures.values() for _, name in entries)
    if labelled and names and stray:
        print(f"left out of {folder}: {stray:,} images that are in no folder of a class", file=sys.stderr)
    if not labelled and len(names) < 2:
        names = []
        if not any(map(is_image, everything)):
            raise ValueError(f"{folder} has no images ({KINDS})")
    elif not names:
        raise ValueError(f"{folder} has no images: it should hold one folder per class, class/*.png or *.jpg")
    elif len(names) < 2:
        raise ValueError(f"{folder} has one class, {names[0]}: a classifier needs two or more folders of images")
    splits, skipped, sources = {}, [], None
    own = [path for path in everything if is_image(path)]
    input_shape = input_shape or _own_shape(own, usual, largest)
    _check_memory(folder, len(own), input_shape)
    for split, entries in pictures.items():
        labels = {name: label for label, name in enumerate(names)}
        paths = [(path, labels[name] if names else 0) for path, name in entries if name or not names]
        paths.sort(key=lambda entry: entry[1])

        def read_or_none(entry):
            try:
                if fit == "tiles":
                    return read_tiles(entry[0], input_shape)
                return read_fitted(entry[0], input_shape, fit)[None]
            except ValueError:
                return None

        with notes.gathered(), ThreadPoolExecutor() as pool:
            pieces = list(pool.map(read_or_none, paths))
        skipped += [str(path) for (path, _), piece in zip(paths, pieces, strict=True) if piece is None]
        good = [(piece, label) for (_, label), piece in zip(paths, pieces, strict=True) if piece is not None]
        if good:
            source = np.repeat(np.arange(len(good)), [len(piece) for piece, _ in good])
            labels = np.array([label for _, label in good], np.int32)[source]
            splits[split] = np.concatenate([piece for piece, _ in good]), labels
            sources = source if split == "train" else sources
    for path in skipped:
        print(f"skipped {path}: not an image that can be read", file=sys.stderr)
    if not splits:
        raise ValueError(f"{folder} has no image that can be read: {len(skipped)} files were skipped")
    if "train" in splits:
        first = np.unique(sources, return_index=True)[1]
        counts = np.bincount(splits["train"][1][first], minlength=max(1, len(names)))
        needed = 1 + len(_missing(splits, cut_test))
        if counts.min() < needed:
            few = folder / names[int(counts.argmin())] if names else folder
            per = " per class" if names else ""
            raise ValueError(f"{few} has {counts.min()} readable images: the splits need {needed}{per}")
        splits = _complete(splits, sources, cut_test)
    return ImageDataset(folder.resolve().name, tuple(names), splits, skipped=tuple(skipped), left_out=other)


def _with_class(root):
    """[(image, name of the folder right below the root that it is in, or "")]."""
    relative = [(path, path.relative_to(root).parts) for path in files(root)]
    return [(path, parts[0] if len(parts) > 1 else "") for path, parts in relative]


def upright_size(image):
    """(width, height) of a PIL image once it is turned as its EXIF orientation says."""
    return image.size[::-1] if image.getexif().get(0x0112, 1) in (5, 6, 7, 8) else image.size


def _own_shape(paths, usual, largest):
    """The shape that all images have, if they are of a size to learn from as they are; else the usual one."""

    def shape(path):
        try:
            with Image.open(path) as image:  # reads the head of the file only
                return *upright_size(image)[::-1], 1 if image.mode[0] in "1LI" else 3
        except Exception:  # told later, when it is read
            return None

    with ThreadPoolExecutor() as pool:
        found = set(pool.map(shape, paths)) - {None}
    sides = {found_shape[:2] for found_shape in found}
    if len(sides) == 1 and all(28 <= side <= largest and side % 4 == 0 for side in min(sides)):
        return (*max(found)[:2], max(max(found)[2], usual[2]))
    return usual


def _check_memory(name, count, shape):
    """Refuses what would fill the memory of the machine: a data set is held as uint8, all of it.

    Raises:
        ValueError: If it takes more than two thirds of it.
    """
    needed, there = count * int(np.prod(shape)), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there * 2 / 3:
        raise ValueError(
            f"{name}: {count:,} images of {shape[0]} x {shape[1]} need {needed / 1e9:.1f} GB, this machine has "
            f"{there / 1e9:.1f} GB; take smaller images"
        )


def tfds_builder(dataset, data_dir, *, embedded="digits"):
    """The builder of a set of tensorflow-datasets; `embedded` is our own set of that kind, for the message.

    Raises:
        ValueError: If there is no set of that name.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    downloader.MAX_RETRIES = 1  # ten silent tries would keep a user without a network waiting for minutes
    for name in ("absl", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return tfds.builder(dataset, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError:
        import difflib

        near = difflib.get_close_matches(dataset, [embedded, *tfds.list_builders()], n=1)
        hint = f" (did you mean {near[0]!r}?);" if near else ";"
        raise ValueError(
            f"there is no folder or data set {dataset!r}{hint} accepted: {embedded}, a folder, "
            "a tensorflow-datasets name"
        ) from None


def download(builder, manual_dir, offline=OFFLINE):
    """Downloads and prepares a set of tensorflow-datasets; `offline` says what to do without a network.

    Raises:
        ValueError: If it cannot be downloaded.
    """
    import tensorflow_datasets as tfds

    try:
        builder.download_and_prepare(
            # a folder of its own: the files of mnist and fashion_mnist have the same names, and the first got by hand
            # would be taken for both
            download_dir=Path(builder.data_dir).parent / "downloads",
            download_config=tfds.download.DownloadConfig(manual_dir=manual_dir),
        )
    except Exception as error:  # each downloader, and each data set's own code, has its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{builder.name} cannot be downloaded ({reason[:120]}); {offline}") from error


def _load_tfds(dataset, data_dir, manual_dir, labelled, fit, *, input_shape, usual, cut_test):
    import tensorflow_datasets as tfds

    builder = tfds_builder(dataset, data_dir)
    features = builder.info.features
    kinds = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    is_dictionary = isinstance(features, tfds.features.FeaturesDict)
    found = {
        name for name, kind in kinds.items() if is_dictionary and name in features and isinstance(features[name], kind)
    }
    if "image" not in found or (labelled and "label" not in found):
        kind = "labelled images" if labelled else "images"
        raise ValueError(f"{dataset} is not a set of {kind}: it has {', '.join(features or [])}")
    own = features["image"].shape
    shape = input_shape or (usual if None in own else (*own[:2], max(own[2], usual[2])))
    _check_memory(dataset, sum(split.num_examples for split in builder.info.splits.values()), shape)
    download(builder, manual_dir)

    splits = {}
    for split in (name for name in SPLITS if name in builder.info.splits):
        examples = builder.as_dataset(split=split, shuffle_files=False)
        examples = examples.map(lambda e: (e["image"], e["label"] if "label" in found else 0))
        # fitted batch by batch: a large set of large photos never lies in memory whole
        batches = tfds.as_numpy(examples.batch(1 if None in own else 4096 if own == shape else 256))
        images, labels = zip(*((fit_all(batch, shape, fit), labels) for batch, labels in batches), strict=True)
        splits[split] = np.concatenate(images), np.concatenate(labels).astype(np.int32)
    return ImageDataset(
        dataset,
        tuple(features["label"].names) if "label" in found else (),
        _complete(splits, cut_test=cut_test) if "train" in splits else splits,
        version=str(builder.info.version),
        licence=builder.info.redistribution_info.license or LICENCES.get(dataset, ""),
    )
