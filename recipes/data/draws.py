"""Random draws for the images or sounds of a batch, one for each along an axis.

Where a host prepares only its part of a batch, they are still those of the whole batch, of which it takes its own: so
several hosts see what one would see. The same seed gives the same numbers.
"""

import contextlib

import tensorflow as tf

_host = {"count": 1, "number": 0}


@contextlib.contextmanager
def of_host(count, number):
    """What is drawn inside is for one host's part, of equally many parts."""
    former = dict(_host)
    _host.update(count=count, number=number)
    try:
        yield
    finally:
        _host.update(former)


def uniform(shape, seed, low=0.0, high=1.0, dtype=tf.float32, *, axis=0):
    """Uniform numbers in [low, high) of a shape, whose `axis` is that of the batch."""
    return _own(lambda whole: tf.random.stateless_uniform(whole, seed, low, high, dtype), shape, axis)


def normal(shape, seed, *, axis=0):
    """Standard normal numbers of a shape, whose `axis` is that of the batch."""
    return _own(lambda whole: tf.random.stateless_normal(whole, seed), shape, axis)


def poisson(rates, seed):
    """Poisson numbers of rates (batch, ...): float32, same shape."""

    def draw(whole):  # a number depends on its own rate and on its place
        repeated = tf.tile(rates, [_host["count"], *[1] * (len(rates.shape) - 1)])
        return tf.random.stateless_poisson(whole, seed, repeated, tf.float32)

    return _own(draw, tf.shape(rates), 0)


def _own(draw, shape, axis):
    count = _host["count"]
    if count == 1:
        return draw(shape)
    sides = tf.unstack(tf.convert_to_tensor(shape)) if tf.is_tensor(shape) else list(shape)
    sides[axis] = sides[axis] * count
    return tf.split(draw(sides), count, axis)[_host["number"]]
