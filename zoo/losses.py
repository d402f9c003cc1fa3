"""Losses that Keras lacks."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from zoo import boxes, metrics
from zoo.kinds import Tensor


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

    def __init__(self, epsilon: float = 1e-3, reduction: str = "sum_over_batch_size", name: str = "charbonnier"):
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

    def __init__(self, weight: float = 0.84, reduction: str = "sum_over_batch_size", name: str = "ssim_weighted"):
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
        cross_entropy: float = 1.0,
        dice: float = 1.0,
        tversky: float = 0.0,
        focal: float = 0.0,
        *,
        class_weights: Sequence[float] | None = None,
        ignore_label: int | None = 255,
        alpha: float = 0.5,
        beta: float = 0.5,
        gamma: float = 2.0,
        reduction: str = "sum_over_batch_size",
        name: str = "segmentation",
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


@keras.saving.register_keras_serializable("zoo")
class Detection(keras.losses.Loss):
    """The loss of a detector: which points see which object, how sure they should be, and where its sides are.

    Targets are (batch, boxes, 5): left, top, right and bottom in pixels, and the class; class -1 is padding, so that
    every image has equally many rows. Labels with holes have a sixth column: the weight of the object, in [0, 1], how
    far it can be trusted, as the score of another detector tells. There, a class of -2 - c means a region where what is
    no object may still be of class c. With weight 0, a crowd, nothing there is background of that class. With weight 1,
    an image in which nobody labelled it, background is only what the network does not see that class in: it counts
    by (1 - p)^2 of its own probability p. A class that is labelled in few images would else never learn where it is
    not, and be seen everywhere (after Zhang et al., "Solving missing-annotation object detection with background
    recalibration loss", 2020). Predictions are the outputs of `zoo.yolo`, "boxes" and "scores", joined
    along the last axis, as its `Detector` does. The loss is the sum of three, each divided by the sum of the wanted
    scores of the batch: 1 - complete IoU and the cross-entropy of the distances' distributions over the chosen points,
    and the binary cross-entropy of the scores over all points.

    Args:
        image_size: (height, width) of the images in pixels.
        reg_max: Bins of each distance, as in `zoo.yolo`.
        box_weight: Weight of the complete IoU.
        class_weight: Weight of the scores.
        distribution_weight: Weight of the distributions.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If `image_size` is no pair, or targets or predictions have another shape.

    Reference: Feng et al., "TOOD: task-aligned one-stage object detection", 2021, and Li et al., "Generalized focal
        loss", 2020.
    """

    joins_outputs = True  # for `zoo.yolo.Detector`

    def __init__(
        self,
        image_size: tuple[int, int],
        reg_max: int = 16,
        box_weight: float = 7.5,
        class_weight: float = 0.5,
        distribution_weight: float = 1.5,
        reduction: str = "sum_over_batch_size",
        name: str = "detection",
    ):
        if not isinstance(image_size, tuple | list) or len(image_size) != 2:
            raise ValueError(
                f"image_size is (height, width) of the images in pixels, got {image_size!r}; the number of classes is "
                "read from the predictions"
            )
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.image_size, self.reg_max = tuple(image_size), reg_max
        self.box_weight, self.class_weight, self.distribution_weight = box_weight, class_weight, distribution_weight

    def call(self, y_true, y_pred):
        points, strides = boxes.anchors(self.image_size)
        bins = 4 * self.reg_max
        if y_true.shape[-1] not in (5, 6) or y_pred.shape[1] != len(points) or y_pred.shape[-1] <= bins:
            raise ValueError(
                f"targets are (batch, boxes, 5 or 6) and predictions (batch, {len(points)}, {bins} + num_classes), "
                f"got {tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        logits, scores = y_pred[..., :bins], y_pred[..., bins:]
        found = boxes.decode(logits, self.image_size)
        wanted_boxes, wanted_scores = assign(y_true, found, ops.sigmoid(scores), points)
        weights = ops.sum(wanted_scores, axis=-1)
        holes = y_true.shape[-1] == 6
        if holes:
            trust, wanted_boxes = wanted_boxes[..., 4], wanted_boxes[..., :4]
            weights = weights * trust
        total = ops.maximum(ops.sum(weights), 1.0)

        # stable for logits of any size
        entropy = ops.relu(scores) - scores * wanted_scores + ops.log1p(ops.exp(-ops.abs(scores)))
        if holes:
            unseen = ops.square(1 - ops.sigmoid(ops.stop_gradient(scores)))
            counts = _background(y_true, points, unseen)
            entropy = entropy * ops.where(wanted_scores > 0, trust[..., None], counts)
        box_loss = 1 - boxes.complete_iou(found, wanted_boxes)
        sides = ops.concatenate([points - wanted_boxes[..., :2], wanted_boxes[..., 2:] - points], axis=-1)
        sides = ops.clip(sides / strides[:, None], 0.0, self.reg_max - 1.01)[..., None]
        # the two bins beside the true distance share the weight by how near they are
        share = ops.relu(1 - ops.abs(sides - np.arange(self.reg_max, dtype="float32")))
        logits = ops.reshape(logits, (-1, len(points), 4, self.reg_max))
        distribution_loss = -ops.mean(ops.sum(share * ops.log_softmax(logits, axis=-1), axis=-1), axis=-1)

        of_points = self.box_weight * box_loss + self.distribution_weight * distribution_loss
        of_images = ops.sum(of_points * weights, axis=-1) + self.class_weight * ops.sum(entropy, axis=(1, 2))
        # the mean over images, which Keras takes, is then the sum over the batch divided by the sum of the scores
        return of_images / total * ops.cast(ops.shape(y_true)[0], "float32")

    def get_config(self):
        names = ("image_size", "reg_max", "box_weight", "class_weight", "distribution_weight")
        return super().get_config() | {name: getattr(self, name) for name in names}


def _background(targets, points, unseen):
    """How far a point counts as background of a class: float (batch, points, num_classes).

    Outside of regions 1, in a region of weight 0 nothing, and in one of weight 1 `unseen`.
    """
    inside = ops.transpose(_inside(targets, points), (0, 2, 1))
    labels = ops.one_hot(-2 - ops.cast(targets[..., 4], "int32"), unseen.shape[-1])  # 0 for objects and padding
    weights = targets[..., 5:6]
    never = ops.cast(ops.matmul(inside, labels * (1 - weights)) > 0, "float32")
    perhaps = ops.matmul(inside, labels * weights) > 0
    return (1 - never) * ops.where(perhaps, unseen, 1.0)


def _inside(targets, points):
    """1 where a point is inside a box, else 0: float (batch, boxes, points)."""
    x, y = points[:, 0], points[:, 1]
    left, top, right, bottom = (targets[..., side, None] for side in range(4))
    return ops.cast(ops.minimum(ops.minimum(x - left, right - x), ops.minimum(y - top, bottom - y)) > 0, "float32")


def assign(
    targets: Tensor,
    found: Tensor,
    scores: Tensor,
    points: Tensor,
    *,
    candidates: int = 10,
    score_power: float = 0.5,
    overlap_power: float = 6.0,
) -> tuple[Tensor, Tensor]:
    """Task-aligned assignment: which point should see which object, and how sure it should be of it.

    The alignment of a point with an object is score ** 0.5 * IoU ** 6. Of the points inside an object the 10 best
    aligned should see it; one that is wanted by several takes the one it overlaps most. The best of an object should
    be as sure as the largest IoU with it, the others in proportion to their alignment.

    Args:
        targets: float (batch, boxes, 5 or 6), boxes in pixels and class, and weights; see `Detection`.
        found: float (batch, points, 4), predicted boxes.
        scores: float (batch, points, num_classes) in [0, 1], predicted.
        points: float (points, 2), x and y.
        candidates: Most points of one object.
        score_power: Power of the score in the alignment.
        overlap_power: Power of the IoU in the alignment.

    Returns:
        (boxes (batch, points, 4), scores (batch, points, num_classes)) to be reached, without gradient. Points that
        should see nothing have scores of 0, and a box of no meaning. Where there are weights, they are a fifth number
        of each box.

    Reference: Feng et al., "TOOD: task-aligned one-stage object detection", 2021.
    """
    found, scores = ops.stop_gradient(found), ops.stop_gradient(scores)
    objects, classes = targets[..., :4], targets[..., 4]
    labels = ops.one_hot(ops.cast(classes, "int32"), scores.shape[-1])  # (batch, boxes, classes), 0 for padding
    # (batch, boxes, points) from here on
    inside = _inside(targets, points) * ops.cast(classes[..., None] >= 0, "float32")
    overlap = boxes.iou(objects[:, :, None], found[:, None]) * inside
    score = ops.matmul(labels, ops.transpose(scores, (0, 2, 1)))
    aligned = ops.power(ops.maximum(score, 1e-9), score_power) * ops.power(overlap, overlap_power)

    least = ops.top_k(aligned, min(candidates, len(points)))[0][..., -1:]
    chosen = ops.cast(ops.logical_and(aligned >= least, aligned > 0), "float32")
    overlap = overlap * chosen
    mine = ops.one_hot(ops.argmax(overlap, axis=1), overlap.shape[1], axis=1)
    chosen = chosen * mine
    aligned, overlap = aligned * chosen, overlap * chosen
    best = ops.max(aligned, axis=-1, keepdims=True)
    sure = aligned / ops.maximum(best, 1e-30) * ops.max(overlap, axis=-1, keepdims=True)
    to_points = ops.transpose(chosen, (0, 2, 1))
    wanted_scores = ops.matmul(ops.transpose(sure, (0, 2, 1)), labels)
    objects = ops.concatenate([objects, targets[..., 5:]], axis=-1) if targets.shape[-1] > 5 else objects
    return ops.stop_gradient(ops.matmul(to_points, objects)), ops.stop_gradient(wanted_scores)
