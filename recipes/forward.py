"""What is compiled, on TensorFlow or JAX: a network as a function of NumPy arrays, and a gradient."""

import keras
import numpy as np


def on_jax():
    return keras.backend.backend() == "jax"


def compiled(model, shape=None):
    """A network as a compiled function of its inputs, each (count, ...), to its outputs, NumPy arrays in its structure.

    `model.predict` prepares a data set in each call, which takes longer than a small network does. This looks the
    weights up in each call, so they may change in between. TensorFlow compiles it once for any count and any size that
    is None, JAX once for each.

    Args:
        model: A functional Keras model.
        shape: Shape of one example of its only input; None takes those of its inputs.
    """
    shapes = [one.shape[1:] for one in model.inputs] if shape is None else [shape]
    kinds = [keras.backend.standardize_dtype(one.dtype) for one in model.inputs]
    if on_jax():
        import jax

        run = jax.jit(lambda values, inputs: model.stateless_call(*values, inputs, training=False)[0])

        def forward(*inputs):
            groups = model.trainable_variables, model.non_trainable_variables
            values = [[variable.value for variable in group] for group in groups]
            inputs = [np.asarray(one, kind) for one, kind in zip(inputs, kinds, strict=True)]
            return keras.tree.map_structure(np.asarray, run(values, inputs if len(inputs) > 1 else inputs[0]))

        return forward
    import tensorflow as tf

    # autograph says at length that it cannot read a lambda
    run = tf.function(
        lambda *inputs: model(inputs if len(inputs) > 1 else inputs[0], training=False),
        [tf.TensorSpec((None, *shape), kind) for shape, kind in zip(shapes, kinds, strict=True)],
        autograph=False,
    )

    def forward(*inputs):
        inputs = [tf.constant(one, kind) for one, kind in zip(inputs, kinds, strict=True)]
        return keras.tree.map_structure(np.asarray, run(*inputs))

    return forward


def in_parts(run, images, size=256):
    """What a compiled function gives for uint8 images as values in [0, 1], so many at a time: a split of large photos
    is never in memory as floats."""
    parts = range(0, len(images), size)
    return np.concatenate([run(images[start : start + size] / np.float32(255)) for start in parts])


def gradient(function, tensor):
    """The gradient of the sum of what a function of Keras operations gives, at a NumPy array, as one."""
    if on_jax():
        import jax

        return np.asarray(jax.grad(lambda values: keras.ops.sum(function(values)))(np.asarray(tensor)))
    import tensorflow as tf

    tensor = tf.constant(tensor)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        total = keras.ops.sum(function(tensor))
    return tape.gradient(total, tensor).numpy()
