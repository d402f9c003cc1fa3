"""What the recipes of generative models share: a judge of images, the figures it gives, and files of samples."""

from pathlib import Path

import keras
import numpy as np
from PIL import Image

import zoo
from recipes import plots
from recipes.data import images as image_data
from recipes.forward import compiled
from zoo import pretrained
from zoo.metrics import frechet_distance, kernel_distance, precision_and_recall

SHAPES = {"celeb_a": (64, 64, 3)}  # whose own size is not one to generate


def datasets(dataset="digits", image_shape=None, data_dir=None, manual_dir=None):
    """Loads images, with labels where there are; see `recipes.data.images.load`."""
    shape = image_shape or SHAPES.get(str(dataset))
    folders = {"data_dir": data_dir, "manual_dir": manual_dir}
    return image_data.load(str(dataset), input_shape=shape, **folders, labelled=False, fit="crop")


class Judge:
    """A classifier whose features and answers measure images.

    Attributes:
        name: Its name, for every table: distances in the features of two networks do not compare.
        shape: (height, width, channels) that it looks at.
        labels: Names of its classes if they are those of the data set, else None.

    Args:
        judge: A published name, a .keras file, inception, or auto.
        images: An `ImageDataset`.
        splits: Parts of it that are to be compared with.

    Raises:
        ValueError: If there is no such judge, or a part is too small to be compared with.
    """

    def __init__(self, judge, images, *splits):
        for split in splits:
            count = len(images.split(split)[0])
            if count < 2:
                raise ValueError(f"{images.name} has too few images for {split}: {count}, a comparison needs 2 or more")
        automatic = judge == "auto"
        if automatic:
            fitting = (
                name for name in _classifiers() if _class_names(pretrained.card(name)) == tuple(images.class_names)
            )
            judge = next(fitting, "mnist_cnn")
        self.name = Path(judge).stem if Path(judge).suffix else judge
        self.labels = None
        if judge == "inception":
            network, self._outputs = _inception(), 1
            self.shape = (299, 299, 3)
            self._run, self._at_once = compiled(network, self.shape), 32
            return
        # nobody named the automatic one: a folder of that name here is something else
        path = pretrained.file(judge) if automatic else pretrained.find(judge)
        model = zoo.load(path)
        last = model.layers[-1]
        if not isinstance(last, keras.layers.Dense) or len(model.inputs[0].shape) != 4:
            raise ValueError(f"the judge must be an image classifier or inception, {judge} is not")
        self.shape, self._outputs = tuple(model.input_shape[1:]), 2
        self._run, self._at_once = compiled(keras.Model(model.inputs, [last.input, last.output])), 500
        if _class_names(pretrained.beside(path)) == tuple(images.class_names):
            self.labels = [str(name) for name in images.class_names]

    def __call__(self, pixels):
        """(features, probabilities or None) of uint8 images (count, height, width, channels)."""
        features, probabilities = [], []
        for start in range(0, len(pixels), self._at_once):
            part = image_data.fit_all(pixels[start : start + self._at_once], self.shape) / np.float32(255)
            if self._outputs == 1:
                features.append(self._run(2 * part - 1))  # its weights want [-1, 1]
            else:
                found = self._run(part)
                features.append(found[0].reshape(len(part), -1))
                probabilities.append(found[1])
        return np.concatenate(features), np.concatenate(probabilities) if self.labels else None


def measure(generated, labels, judge, images, split, folder):
    """Figures and pictures of generated images against one split of real images.

    Args:
        generated: uint8 (count, height, width, channels); the distances compare as many as there are real ones.
        labels: Class asked for, (count,), in the judge's classes; or None.
        judge: A `Judge`.
        images: An `ImageDataset`.
        split: Part of it to compare with.
        folder: Where the pictures are written.
    """
    real = images.split(split)[0][: len(generated)]
    training_images = images.split("train" if "train" in images.splits and split != "train" else split)[0]
    floor = training_images[np.random.default_rng(0).permutation(len(training_images))[: len(real)]]
    features, probabilities = judge(generated)
    real_features, real_probabilities = judge(real)
    floor_features, floor_probabilities = judge(floor)
    metrics = compare(real_features, features[: len(real)])
    baseline = compare(real_features, floor_features)
    if probabilities is not None:
        metrics |= answers(probabilities, labels)
        baseline |= answers(floor_probabilities) | {"real_confidence": float(real_probabilities.max(axis=1).mean())}
    plots.save_image(plots.montage(generated[:64]), folder / "grid.png")
    nearest_sheet(generated[:16], features[:16], training_images, judge, folder / "nearest.png")
    return {
        "metrics": metrics,
        "baselines": {"real images of the training split": baseline},
        "judge": judge.name,
        "measured_on": measured_on(judge, images, split, len(generated)),
    }


def usual_labels(images, class_names, count):
    """Classes to generate where images are compared: (count,) in random order, each as often as in the training images,
    for a distance sees that too; None where the data set has other classes."""
    if not class_names or list(class_names) != [str(name) for name in images.class_names]:
        return None
    labels = np.sort(images.split("train" if "train" in images.splits else "all")[1])
    spread = labels[((np.arange(count) + 0.5) / count * len(labels)).astype(int)]
    return np.random.default_rng(0).permutation(spread)


def compare(real, generated):
    """Distances between the features (count, dim) of real and of generated images, and precision and recall."""
    size = min(len(real), len(generated), 5000)  # precision and recall compare every pair
    precision, recall = precision_and_recall(real[:size], generated[:size], neighbours=min(3, size - 1))
    kernel, deviation = kernel_distance(real, generated)
    return {
        "frechet_distance": frechet_distance(real, generated),
        "kernel_distance": kernel,
        "kernel_distance_deviation": deviation,
        "precision": precision,
        "recall": recall,
    }


def answers(probabilities, labels=None):
    """What a classifier says: its confidence, the least and the greatest class in shares of an equal one, and how often
    it gives the label."""
    guesses = probabilities.argmax(axis=1)
    share = np.bincount(guesses, minlength=probabilities.shape[1]) * probabilities.shape[1] / len(guesses)
    figures = {
        "confidence": float(probabilities.max(axis=1).mean()),
        "least_class": float(share.min()),
        "greatest_class": float(share.max()),
    }
    return figures if labels is None else figures | {"label_accuracy": float((guesses == labels).mean())}


def keep_grid(images, folder, epoch):
    """Writes the grid of an epoch into the folder of a run."""
    grids = folder / "grids"
    grids.mkdir(exist_ok=True)
    plots.save_image(plots.montage(images[:64]), grids / f"epoch-{epoch + 1:04}.png")


def animate(folder):
    """Writes the last grid of a run and the animation of all."""
    frames = []
    for path in sorted(Path(folder, "grids").glob("epoch-*.png")):
        with Image.open(path) as image:
            frames.append(np.atleast_3d(np.asarray(image)))
    if frames:
        plots.save_image(frames[-1], folder / "grid.png")
        plots.save_animation([*frames, *[frames[-1]] * 5], folder / "training.gif")


def variety(generated, real):
    """Distance of an image to its nearest neighbour in the grid, over the same for real images; 0 if all coincide."""

    def nearest(images):
        flat = images.reshape(len(images), -1).astype(np.float32)
        distances = np.linalg.norm(flat[:, None] - flat[None], axis=2) + np.diag(np.full(len(flat), np.inf))
        return float(np.median(distances.min(axis=1)))

    return nearest(generated) / max(nearest(real), 1e-9)


def nearest_sheet(generated, features, training_images, judge, path, at_most=10_000):
    """Generated images, each above the nearest training image in the judge's features: are they only remembered?"""
    training_images = training_images[:at_most]
    distances = np.linalg.norm(judge(training_images)[0][None] - features[:, None], axis=2)
    pairs = np.concatenate([generated, training_images[distances.argmin(axis=1)]])
    plots.save_image(plots.montage(pairs, columns=len(generated), scale=3), path)


def rows(figures):
    """The table of figures: one row per figure, generated images beside real ones."""
    kinds = {"generated": figures["metrics"]} | figures["baselines"]
    names = list(dict.fromkeys(name for row in kinds.values() for name in row))
    return [{"figure": name} | {kind: row.get(name) for kind, row in kinds.items()} for name in names]


def measured_on(judge, images, split, count):
    """What a distance was measured on, in words: it means nothing without."""
    real = min(count, len(images.split(split)[0]))
    return f"{real} generated images against {images.name}, {split}, in the features of {judge.name}"


def _classifiers():
    return [name for name in zoo.pretrained.names() if zoo.pretrained.card(name)["task"] == "image classification"]


def _class_names(card):
    return tuple(card.get("dataset", {}).get("classes") or ())


def _inception():
    try:
        return keras.applications.InceptionV3(include_top=False, pooling="avg")
    except Exception as error:  # the downloader has its own
        raise ValueError(
            "the weights of inception cannot be downloaded: without a network take --judge auto"
        ) from error
