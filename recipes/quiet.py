"""Native code without its noise on standard error."""

import contextlib
import os
import sys


@contextlib.contextmanager
def silent_start():
    """Lets TensorFlow load and look for devices without its pages of native log."""
    with silent():
        import tensorflow as tf

        tf.config.list_physical_devices()
        if os.environ.get("KERAS_BACKEND") == "jax":  # an accelerator's memory is JAX's then
            tf.config.set_visible_devices([], "GPU")
        yield


@contextlib.contextmanager
def silent():
    """Turns standard error off, native code's too."""
    sys.stderr.flush()
    real, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(real, 2)
        os.close(real)
        os.close(nowhere)
