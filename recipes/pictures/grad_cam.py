"""Where a classifier looks: Grad-CAM (Selvaraju et al., "Grad-CAM: visual explanations from deep networks", 2017)."""

import keras
import matplotlib
import numpy as np
from PIL import Image

from recipes import plots
from recipes.forward import gradient


def heat(model, images, classes):
    """How much each place of an image speaks for a class, float32 (count, height, width) in [0, 1].

    The last maps of the network are weighted by the mean gradient of the class's logit, added up, and what speaks
    against the class is cut off; then each image's largest value is 1 (or all are 0).

    Args:
        model: A classifier whose last layer is a `keras.layers.Dense`.
        images: uint8 (count, height, width, channels).
        classes: Number of a class for each image.
    """
    last = model.layers[-1]
    maps = next(layer.output for layer in reversed(model.layers) if len(getattr(layer.output, "shape", ())) == 4)
    features = np.asarray(keras.Model(model.input, maps)(images / np.float32(255), training=False))
    head = keras.Model(maps, last.input)
    wanted = np.eye(last.units, dtype=np.float32)[np.asarray(classes)]

    def chosen(features):
        logits = keras.ops.matmul(keras.ops.cast(head(features, training=False), "float32"), last.kernel) + last.bias
        return keras.ops.sum(logits * wanted, axis=1)

    weights = gradient(chosen, features).mean(axis=(1, 2), keepdims=True)
    found = np.maximum((weights * features).sum(axis=-1), 0)
    found = found / np.maximum(found.max(axis=(1, 2), keepdims=True), 1e-9)
    size = images.shape[2], images.shape[1]
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in found])


def sheet(model, images, classes, class_names, path):
    """A sheet of images under the heat of what the model says of them; none for a model that has no such layers."""
    if not isinstance(model.layers[-1], keras.layers.Dense) or not len(images):
        return
    colours = matplotlib.colormaps["inferno"](heat(model, images, classes))[..., :3]
    grey = np.broadcast_to(images, (*images.shape[:3], 3)) / 255
    pictures = np.uint8(255 * (0.5 * grey + 0.5 * colours))
    captions = [class_names[label] for label in classes]
    plots.sheet(pictures, captions, path, title="bright: what speaks for the class named (Grad-CAM)")
