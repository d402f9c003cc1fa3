"""Losses that Keras lacks."""

import keras
import numpy as np
from keras import ops

from zoo import boxes, metrics


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
class Detection(keras.losses.Loss):
    """The loss of a detector: which points see which object, how sure they should be, and where its sides are.

    Targets are (batch, boxes, 5): left, top, right and lower in pixels, and the class; a class below 0 is padding, so
    that every image has equally many rows. Predictions are the outputs of `zoo.yolo`, "boxes" and "scores", joined
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
        ValueError: If targets or predictions have another shape.

    Reference: Feng et al., "TOOD: task-aligned one-stage object detection", 2021, and Li et al., "Generalized focal
        loss", 2020.
    """

    joins_outputs = True  # for `zoo.yolo.Detector`

    def __init__(
        self,
        image_size,
        reg_max=16,
        box_weight=7.5,
        class_weight=0.5,
        distribution_weight=1.5,
        reduction="sum_over_batch_size",
        name="detection",
    ):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.image_size, self.reg_max = tuple(image_size), reg_max
        self.box_weight, self.class_weight, self.distribution_weight = box_weight, class_weight, distribution_weight

    def call(self, y_true, y_pred):
        points, strides = boxes.anchors(self.image_size)
        bins = 4 * self.reg_max
        if y_true.shape[-1] != 5 or y_pred.shape[1] != len(points) or y_pred.shape[-1] <= bins:
            raise ValueError(
                f"targets are (batch, boxes, 5) and predictions (batch, {len(points)}, {bins} + num_classes), "
                f"got {tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        logits, scores = y_pred[..., :bins], y_pred[..., bins:]
        found = boxes.decode(logits, self.image_size)
        wanted_boxes, wanted_scores = assign(y_true, found, ops.sigmoid(scores), points)
        weights = ops.sum(wanted_scores, axis=-1)
        total = ops.maximum(ops.sum(weights), 1.0)

        # stable for logits of any size
        entropy = ops.relu(scores) - scores * wanted_scores + ops.log1p(ops.exp(-ops.abs(scores)))
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


def assign(targets, found, scores, points, *, candidates=10, score_power=0.5, overlap_power=6.0):
    """Task-aligned assignment: which point should see which object, and how sure it should be of it.

    The alignment of a point with an object is score ** 0.5 * IoU ** 6. Of the points inside an object the 10 best
    aligned should see it; one that is wanted by several takes the one it overlaps most. The best of an object should
    be as sure as the largest IoU with it, the others in proportion to their alignment.

    Args:
        targets: float (batch, boxes, 5), boxes in pixels and class; see `Detection`.
        found: float (batch, points, 4), predicted boxes.
        scores: float (batch, points, num_classes) in [0, 1], predicted.
        points: float (points, 2), x and y.
        candidates: Most points of one object.
        score_power: Power of the score in the alignment.
        overlap_power: Power of the IoU in the alignment.

    Returns:
        (boxes (batch, points, 4), scores (batch, points, num_classes)) to be reached, without gradient. Points that
        should see nothing have scores of 0, and a box of no meaning.

    Reference: Feng et al., "TOOD: task-aligned one-stage object detection", 2021.
    """
    found, scores = ops.stop_gradient(found), ops.stop_gradient(scores)
    objects, classes = targets[..., :4], targets[..., 4]
    labels = ops.one_hot(ops.cast(classes, "int32"), scores.shape[-1])  # (batch, boxes, classes), 0 for padding
    corner, opposite = objects[:, :, None, :2], objects[:, :, None, 2:]
    # (batch, boxes, points) from here on
    inside = ops.min(ops.concatenate([points - corner, opposite - points], axis=-1), axis=-1) > 0
    inside = ops.cast(ops.logical_and(inside, classes[..., None] >= 0), "float32")
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
    return ops.stop_gradient(ops.matmul(to_points, objects)), ops.stop_gradient(wanted_scores)
