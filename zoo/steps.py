"""What the steps of two models share: averaged weights, random numbers for all replicas, a step on JAX; and compiled
functions."""

import keras
from keras import ops


def add_averages(model, network):
    """Weights of `model` that start as those of `network` and follow them; see `update_averages`."""
    averages = [
        # the same on every replica: the mean over them changes nothing, and makes assigning legal
        model.add_weight(
            shape=weight.shape, initializer="zeros", trainable=False, aggregation="mean", name=f"average_{index}"
        )
        for index, weight in enumerate(network.weights)
    ]
    for average, weight in zip(averages, network.weights, strict=True):
        average.assign(ops.convert_to_numpy(weight))  # a copy: JAX would share the buffer
    return averages


def update_averages(averages, network, decay, step):
    """Moves the averages towards the weights; in the first steps faster, so that the random beginning is forgotten."""
    step = ops.cast(step, "float32")
    decay = ops.minimum(decay, step / (step + 10.0))
    for average, weight in zip(averages, network.weights, strict=True):
        average.assign(decay * average.value + (1 - decay) * ops.cast(weight.value, average.dtype))


def averaged_state(averages, network):
    """(trainable, non-trainable) values of a network with averaged weights, for its `stateless_call`."""
    values = {id(weight): average.value for weight, average in zip(network.weights, averages, strict=True)}
    trainable = [values[id(variable)] for variable in network.trainable_variables]
    return trainable, [values.get(id(variable), variable.value) for variable in network.non_trainable_variables]


def averaged_copy(averages, network):
    """A copy of a network with the averaged weights."""
    copy = type(network).from_config(network.get_config())
    copy.set_weights([ops.convert_to_numpy(average) for average in averages])
    return copy


def replica():
    """(number of replicas, number of this one): TensorFlow's optimizers add up the gradients of all of them."""
    if keras.backend.backend() != "tensorflow":
        return 1, 0
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return tf.distribute.get_strategy().num_replicas_in_sync, context.replica_id_in_sync_group if context else 0


def own_share(draw, count):
    """This replica's `count` of the random numbers that `draw(count of all replicas)` gives, one array or several.

    Every replica draws the same numbers for all of them and takes its share: together, those of one device.
    """
    replicas, own = replica()
    return keras.tree.map_structure(lambda drawn: drawn[own * count :][:count], draw(replicas * count))


def stateless(model, state, function):
    """(result of a function, new state) for JAX: all that the function assigns is read off afterwards.

    Args:
        model: A compiled `keras.Model`.
        state: Values of its trainable, non-trainable, optimizer's and metrics' variables, as `train_step` gets them.
        function: Function without arguments.
    """
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    mapping = [pair for group, values in zip(groups, state, strict=True) for pair in zip(group, values, strict=True)]
    with keras.StatelessScope(state_mapping=mapping) as scope:
        result = function()
    return result, tuple([scope.get_current_value(variable) for variable in group] for group in groups)


class Compiled:
    """Compiled functions by kind, where neither Keras nor TensorFlow looks for something to save."""

    def __init__(self):
        self.functions = {}

    def get(self, kind, function):
        """The function of that kind, compiled when it is first asked for."""
        if kind not in self.functions:
            self.functions[kind] = _compile(function)
        return self.functions[kind]


def _compile(function):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, reduce_retracing=True)
