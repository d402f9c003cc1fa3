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


@keras.saving.register_keras_serializable("zoo")
class Segmentation(keras.losses.Loss):
    """A weighted sum of losses of masks of sparse labels, with class weights and a label that does not count.

    `y_true` are labels (batch, height, width) or (batch, height, width, 1), `y_pred` probabilities (batch, height,
    width, num_classes). With one class, label 1 is the object and 0 the background. Cross-entropy and focal loss are
    means over the pixels that count, weighted by the weight of their class; Dice and Tversky loss are means over the
    classes that the batch has, of all its images together.

    Args:
        cross_entropy: Share of the cross-entropy, 0 or more; so are the next three.
        dice: Share of 1 minus the Dice coefficient (Milletari, Navab and Ahmadi, 2016).
        tversky: Share of the Tversky loss (Salehi, Erdogmus and Gholipour, 2017).
        focal: Share of the focal loss (Lin et al., 2017).
        class_weights: One number per class, 0 or more; None weighs all alike. With one class (background, object).
        ignore_label: Label of the pixels that do not count, or None.
        alpha: Weight of false positives in the Tversky loss.
        beta: Weight of false negatives in it.
        gamma: Exponent of the focal loss.
        reduction: As in Keras.
        name: Name of the loss.
    """

    def __init__(
        self,
        cross_entropy=1.0,
        dice=1.0,
        tversky=0.0,
        focal=0.0,
        *,
        class_weights=None,
        ignore_label=255,
        alpha=0.5,
        beta=0.5,
        gamma=2.0,
        reduction="sum_over_batch_size",
        name="segmentation",
    ):
        super().__init__(name=name, reduction=reduction)
        shares = (cross_entropy, dice, tversky, focal)
        if min(shares) < 0 or not max(shares) > 0:
            raise ValueError(f"the shares of the losses must be 0 or more, and one positive, got {shares}")
        if class_weights is not None and (min(class_weights) < 0 or not max(class_weights) > 0):
            raise ValueError(f"class_weights must be 0 or more, and one positive, got {class_weights}")
        self.cross_entropy, self.dice, self.tversky, self.focal = shares
        self.class_weights = None if class_weights is None else [float(weight) for weight in class_weights]
        self.ignore_label, self.alpha, self.beta, self.gamma = ignore_label, alpha, beta, gamma

    def call(self, y_true, y_pred):
        classes = y_pred.shape[-1]
        if classes == 1:  # as two classes: background and object
            y_pred, classes = ops.concatenate([1 - y_pred, y_pred], axis=-1), 2
        labels = ops.cast(y_true, "int32")
        labels = ops.squeeze(labels, -1) if len(labels.shape) == len(y_pred.shape) else labels
        counts = ops.ones_like(labels, "bool") if self.ignore_label is None else labels != self.ignore_label
        counts = ops.cast(counts, y_pred.dtype)
        target = ops.one_hot(labels, classes, dtype=y_pred.dtype) * counts[..., None]
        weights = counts
        if self.class_weights is not None:
            if len(self.class_weights) != classes:
                raise ValueError(f"there are {classes} classes, but {len(self.class_weights)} class_weights")
            weights = ops.sum(target * ops.convert_to_tensor(self.class_weights, y_pred.dtype), axis=-1)
        total = ops.maximum(ops.sum(weights), 1e-7)
        loss = 0.0
        if self.cross_entropy:
            found = keras.losses.categorical_crossentropy(target, y_pred)
            loss += self.cross_entropy * ops.sum(weights * found) / total
        if self.focal:
            found = keras.losses.categorical_focal_crossentropy(target, y_pred, alpha=1.0, gamma=self.gamma)
            loss += self.focal * ops.sum(weights * found) / total
        if self.dice or self.tversky:
            own, axes = y_pred * counts[..., None], tuple(range(len(y_pred.shape) - 1))
            present = ops.cast(ops.any(target > 0, axis=axes), y_pred.dtype)
            number = ops.maximum(ops.sum(present), 1.0)
            if self.dice:
                loss += self.dice * ops.sum(present * keras.losses.dice(target, own, axis=axes)) / number
            if self.tversky:
                # Keras 3.15 takes the two errors for each other
                found = keras.losses.tversky(target, own, alpha=self.beta, beta=self.alpha, axis=axes)
                loss += self.tversky * ops.sum(present * found) / number
        return loss

    def get_config(self):
        names = ("cross_entropy", "dice", "tversky", "focal", "class_weights", "ignore_label", "alpha", "beta", "gamma")
        return super().get_config() | {name: getattr(self, name) for name in names}
