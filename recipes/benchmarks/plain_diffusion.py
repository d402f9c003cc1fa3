"""The diffusion model in the form of the Keras examples: what the benchmark compares with."""

import keras
import numpy as np
import tensorflow as tf

import zoo


class PlainNormalization(keras.layers.GroupNormalization):
    """Keras's own, with the embedding's factor and offset applied after it."""

    def call(self, inputs, factor=None, offset=None):
        x = super().call(inputs)
        return x if factor is None else x * factor[:, None, None] + offset[:, None, None]


class PlainDiffusion(keras.Model):
    """The form of the Keras examples: a network and its averaged twin, updated layer by layer in `train_step`."""

    def __init__(self, network, model):
        super().__init__()
        self.network, self.twin = network, keras.models.clone_model(network)
        self.twin.set_weights(network.get_weights())
        self.signal, self.noise = (tf.constant(share, tf.float32) for share in (model.signal, model.noise))
        self.timesteps, self.objective, self.num_classes = model.timesteps, model.objective, model.num_classes
        self.built = True

    def train_step(self, data):
        images, labels = data if self.num_classes else (data, None)
        count = tf.shape(images)[0]
        level = tf.random.uniform((count,), 1, self.timesteps + 1, tf.int32)
        noise = tf.random.normal(tf.shape(images))
        signal, share = (tf.reshape(tf.gather(table, level), (-1, 1, 1, 1)) for table in (self.signal, self.noise))
        target = {"noise": noise, "x0": images, "v": signal * noise - share * images}[self.objective]
        inputs = [signal * images + share * noise, tf.cast(level, tf.float32) / self.timesteps]
        if self.num_classes:
            hidden = tf.random.uniform((count,)) < 0.1
            inputs.append(tf.where(hidden, self.num_classes, labels))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self.network(inputs, training=True) - target))
        gradients = tape.gradient(loss, self.network.trainable_weights)
        self.optimizer.apply(gradients, self.network.trainable_weights)
        for weight, average in zip(self.network.weights, self.twin.weights, strict=True):
            average.assign(0.999 * average + 0.001 * weight)
        return {"loss": loss}


def python_loop(model, count, labels, steps):
    """Images by the DDIM sampler, one `predict` at a time."""
    network, path = model.averaged().network, zoo.samplers.levels(model.timesteps, steps)
    image = np.random.default_rng(0).standard_normal((count, *model.image_shape)).astype(np.float32)
    table = zoo.samplers.coefficients(model.signal[path], model.noise[path], "ddim").astype(np.float32)
    for row, level in zip(table, path[:-1], strict=True):
        inputs = [image, np.full(count, level / model.timesteps, np.float32)]
        prediction = network.predict([*inputs, *([] if labels is None else [labels])], verbose=0)
        signal, noise = np.float32(model.signal[level]), np.float32(model.noise[level])
        guess = {
            "noise": lambda p=prediction, s=signal, n=noise, x=image: (x - n * p) / s,
            "x0": lambda p=prediction: p,
            "v": lambda p=prediction, s=signal, n=noise, x=image: s * x - n * p,
        }[model.objective]()
        image = row[0] * image + row[1] * guess.clip(-1, 1)
    return image
