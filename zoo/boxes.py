"""Boxes: the points of a detector's grids, from logits to boxes, overlaps, and the choice of the final detections.

A box is (left, top, right, bottom) in pixels of the image, everywhere.
"""

import keras
import numpy as np
from keras import ops

from zoo.kinds import Array, Tensor
from zoo.suppression import IOU, choose, non_maximum_suppression  # noqa: F401 - also asked for here

STRIDES = (8, 16, 32)  # pixels from one point to the next on each of the three grids


def anchors(image_size: tuple[int, int], strides: tuple[int, ...] = STRIDES) -> tuple[Array, Array]:
    """The points of which each may see one object: float32 (points, 2), x and y in pixels, and (points,), strides.

    Args:
        image_size: (height, width), multiples of the largest stride.
        strides: Pixels from one point to the next, of each grid.
    """
    height, width = image_size
    points, steps = [], []
    for stride in strides:
        y, x = np.meshgrid(np.arange(height // stride), np.arange(width // stride), indexing="ij")
        points.append((np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * stride)
        steps.append(np.full(len(points[-1]), stride))
    return np.float32(np.concatenate(points)), np.float32(np.concatenate(steps))


def decode(logits: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Boxes of the output "boxes" of a detector: each side is where its distribution expects it.

    Args:
        logits: float (batch, points, 4 * reg_max).
        image_size: (height, width) of the images.

    Returns:
        float32 (batch, points, 4), not clipped to the image.

    Reference: Li et al., "Generalized focal loss", 2020.
    """
    points, strides = anchors(image_size)
    bins = logits.shape[-1] // 4
    logits = ops.reshape(ops.cast(logits, "float32"), (-1, len(points), 4, bins))
    distances = ops.sum(ops.softmax(logits, axis=-1) * np.arange(bins, dtype="float32"), axis=-1)
    distances = distances * strides[:, None]
    return ops.concatenate([points - distances[..., :2], points + distances[..., 2:]], axis=-1)


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4), broadcast against each other; 0 for boxes without area."""
    inner, union = _overlap(boxes, others)
    return inner / ops.maximum(union, 1e-7)


def complete_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU less a penalty for distant centres and for unlike proportions, in (-1.5, 1]; broadcast like `iou`.

    No gradient flows through the weight of the proportions.

    Reference: Zheng et al., "Distance-IoU loss: faster and better learning for bounding box regression", 2020.
    """
    inner, union = _overlap(boxes, others)
    overlap = inner / ops.maximum(union, 1e-7)
    hull = ops.maximum(boxes[..., 2:], others[..., 2:]) - ops.minimum(boxes[..., :2], others[..., :2])
    apart = (boxes[..., :2] + boxes[..., 2:] - others[..., :2] - others[..., 2:]) / 2
    distance = ops.sum(ops.square(apart), axis=-1) / ops.maximum(ops.sum(ops.square(hull), axis=-1), 1e-7)
    unlike = (4 / np.pi**2) * ops.square(_angle(boxes) - _angle(others))
    weight = ops.stop_gradient(unlike / ops.maximum(1 - overlap + unlike, 1e-7))
    return overlap - distance - weight * unlike


def _overlap(boxes, others):
    """Areas of the intersection and of the union."""
    # side by side: to broadcast a last axis of two is slow
    wide = ops.minimum(boxes[..., 2], others[..., 2]) - ops.maximum(boxes[..., 0], others[..., 0])
    tall = ops.minimum(boxes[..., 3], others[..., 3]) - ops.maximum(boxes[..., 1], others[..., 1])
    inner = ops.maximum(wide, 0.0) * ops.maximum(tall, 0.0)
    return inner, _area(boxes) + _area(others) - inner


def _area(boxes):
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _angle(boxes):
    return ops.arctan((boxes[..., 2] - boxes[..., 0]) / ops.maximum(boxes[..., 3] - boxes[..., 1], 1e-7))


def detect(
    outputs: dict[str, Tensor],
    image_size: tuple[int, int],
    *,
    confidence: float = 0.25,
    iou_threshold: float = IOU,
    max_detections: int = 300,
) -> list[dict[str, Array]]:
    """Final detections of a batch, from the two outputs of a detector.

    Args:
        outputs: Dictionary of "boxes" and "scores", as a detector gives them.
        image_size: (height, width) of the images.
        confidence: Least score, in [0, 1]. A box may be given once for each class that is as sure.
        iou_threshold: See `non_maximum_suppression`.
        max_detections: Of one image, at most.

    Returns:
        A list with one dictionary of NumPy arrays per image: "boxes" float32 (count, 4), clipped to the image,
        "scores" float32 (count,) in [0, 1] and "classes" int (count,), by descending score.
    """
    boxes = keras.ops.convert_to_numpy(decode(outputs["boxes"], image_size))
    scores = keras.ops.convert_to_numpy(ops.sigmoid(ops.cast(outputs["scores"], "float32")))
    height, width = image_size
    boxes = boxes.clip(0, [width, height, width, height]).astype("float32")
    return [
        choose(one, score, confidence=confidence, iou_threshold=iou_threshold, max_detections=max_detections)
        for one, score in zip(boxes, scores, strict=True)
    ]
