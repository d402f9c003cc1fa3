"""Losses that Keras lacks."""

import keras
from keras import ops

from zoo import metrics


@keras.saving.register_keras_serializable("zoo")
class Charbonnier(keras.losses.Loss):
    """A smooth absolute error: the mean of sqrt(difference ** 2 + epsilon ** 2).

    Args:
        epsilon: Difference below which the loss is nearly quadratic, positive.
        reduction: As in Keras.
        name: Name of the loss.

    Reference: Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for computed imaging",
        1994.
    """

    def __init__(self, epsilon=1e-3, reduction="sum_over_batch_size", name="charbonnier"):
        super().__init__(name=name, reduction=reduction)
        if not epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        self.epsilon = epsilon

    def call(self, y_true, y_pred):
        return ops.mean(ops.sqrt(ops.square(y_pred - y_true) + self.epsilon**2), axis=-1)

    def get_config(self):
        return super().get_config() | {"epsilon": self.epsilon}


@keras.saving.register_keras_serializable("zoo")
class SSIMWeighted(keras.losses.Loss):
    """Structural dissimilarity and absolute error of images in [0, 1]: weight * (1 - SSIM) + (1 - weight) * L1.

    Args:
        weight: Share of the structural part, in [0, 1].
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If `weight` is out of range, or images are smaller than 11x11.

    Reference: Zhao et al., "Loss functions for image restoration with neural networks", 2017, with one scale instead
        of five, so that small images will do.
    """

    def __init__(self, weight=0.84, reduction="sum_over_batch_size", name="ssim_weighted"):
        super().__init__(name=name, reduction=reduction)
        if not 0 <= weight <= 1:
            raise ValueError(f"weight must be in [0, 1], got {weight}")
        self.weight = weight

    def call(self, y_true, y_pred):
        difference = ops.mean(ops.abs(y_pred - y_true), axis=(1, 2, 3))
        return self.weight * (1 - metrics.structural_similarity(y_true, y_pred)) + (1 - self.weight) * difference

    def get_config(self):
        return super().get_config() | {"weight": self.weight}
