"""Batches of photos to train a classifier on: mirrored, zoomed, RandAugment and MixUp by the layers of Keras.

RandAugment (Cubuk et al., 2019) applies two of eleven operations, drawn anew for each batch; its layers are Keras's
own. `keras.layers.RandAugment` computes all eleven each time and takes no seed from outside; here one is computed, and
all draws depend on nothing but seed and step, so a resumed training sees what an uninterrupted one would have seen.
"""

import keras
import tensorflow as tf
from keras import layers

from recipes.data.images import stream

OPERATIONS = 2  # per batch


class _Seeds(keras.random.SeedGenerator):
    """Seeds for the layers of Keras from a seed and the number of a step, without a state."""

    def __init__(self, seed, step):
        self.seed, self.step, self.count = seed, step, 0

    def next(self, ordered=True):
        self.count += 1
        return tf.stack([self.seed * 1009 + self.count, self.step])


def training_batches(
    images, labels, *, num_classes, batch_size, steps, epochs, first_epoch=0, seed=0, augment, mixup, class_weights
):
    """One stream of all epochs: float32 images in [0, 1], one-hot labels and the weight of each image.

    Args:
        images: uint8 (count, height, width, 3).
        labels: int (count,).
        num_classes: Width of the one-hot labels.
        batch_size: Images per batch.
        steps: Batches per epoch, at most count // batch_size.
        epochs: Number of epochs of the whole training.
        first_epoch: Where a resumed training goes on.
        seed: Seed of order and augmentation.
        augment: Strength of zoom and RandAugment in [0, 1]; 0 leaves mirroring only.
        mixup: Alpha of MixUp; 0 for none.
        class_weights: Weight of the images of each class.
    """
    with tf.device("cpu"):
        images, labels = tf.constant(images), tf.constant(labels, tf.int32)
        class_weights = tf.constant(class_weights, tf.float32)
    always = [layers.RandomFlip("horizontal")]
    if augment:
        always.append(layers.RandomZoom((-augment, 0.0), fill_mode="nearest"))
    operations = _operations(augment) if augment else []
    blend = layers.MixUp(mixup) if mixup else None
    for layer in [*always, *operations, *filter(None, [blend])]:
        layer.backend.set_backend("tensorflow")  # tf.data's, also where the network is on JAX

    def batch(step, chosen):
        seeds = _Seeds(seed, step)
        x = tf.cast(tf.gather(images, chosen), tf.float32) / 255.0
        y = tf.one_hot(tf.gather(labels, chosen), num_classes)
        for layer in always:
            x = _applied(layer, x, seeds)
        if operations:
            drawn = tf.random.stateless_uniform((OPERATIONS,), seeds.next(), 0, len(operations), tf.int32)
            for place in range(OPERATIONS):
                branches = [lambda layer=layer, x=x: _applied(layer, x, seeds) for layer in operations]
                x = tf.clip_by_value(tf.ensure_shape(tf.switch_case(drawn[place], branches), x.shape), 0.0, 1.0)
        if blend is not None:
            drawn = blend.get_random_transformation(x, training=True, seed=seeds)
            x, y = blend.transform_images(x, drawn), blend.transform_labels(y, drawn)
        return x, y, tf.linalg.matvec(y, class_weights)

    order = {"batch_size": batch_size, "steps": steps, "epochs": epochs, "first_epoch": first_epoch, "seed": seed}
    return stream(batch, len(labels), **order, whole=True)  # Keras's layers draw for a batch as it comes


def _operations(strength):
    """The eleven operations of `keras.layers.RandAugment`, at a strength in [0, 1]."""
    pixels = {"value_range": (0.0, 1.0)}
    return [
        layers.RandomShear(strength, strength),
        layers.RandomTranslation(strength, strength),
        layers.RandomRotation(strength / 4),  # of a full turn
        layers.RandomBrightness(strength, **pixels),
        layers.RandomColorDegeneration(strength, **pixels),
        layers.RandomContrast(strength, **pixels),
        layers.RandomSharpness(strength, **pixels),
        layers.Solarization(strength, strength, **pixels),
        layers.RandomPosterization(max(1, 8 - int(4 * strength)), **pixels),
        layers.AutoContrast(**pixels),
        layers.Equalization(**pixels),
    ]


def _applied(layer, images, seeds):
    drawn = layer.get_random_transformation(images, training=True, seed=seeds)
    return tf.cast(layer.transform_images(images, drawn, training=True), tf.float32)
