"""The choice of the final detections: of many boxes that mean the same object, the surest; and overlaps (NumPy)."""

import numpy as np

IOU = 0.6  # overlap above which two boxes of a class mean the same object


def non_maximum_suppression(boxes, scores, classes, *, iou_threshold=IOU, max_detections=300):
    """Indices of the detections to keep: the surest first, and none that overlaps a surer one of its class.

    Args:
        boxes: (count, 4).
        scores: (count,).
        classes: int (count,).
        iou_threshold: Overlap above which two detections mean the same object, in [0, 1].
        max_detections: How many to keep at most.

    Returns:
        A NumPy array of indices, by descending score.
    """
    boxes, scores, classes = np.asarray(boxes, "float64"), np.asarray(scores), np.asarray(classes)
    order, kept = np.argsort(-scores, kind="stable"), []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(order) and len(kept) < max_detections:
        best, order = order[0], order[1:]
        kept.append(best)
        sides = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
        inner = sides.clip(0).prod(axis=1)
        union = np.maximum(areas[best] + areas[order] - inner, 1e-9)
        order = order[(inner / union <= iou_threshold) | (classes[order] != classes[best])]
    return np.array(kept, dtype=int)


def choose(boxes, scores, *, confidence=0.25, iou_threshold=IOU, max_detections=300, candidates=3000):
    """Final detections of one image, from decoded boxes (points, 4) and scores (points, num_classes) in [0, 1].

    Args and returns are those of `zoo.boxes.detect`; of more than `candidates` scores that are high enough the highest
    are looked at.
    """
    points, classes = np.nonzero(scores >= confidence)
    found = scores[points, classes]
    if len(found) > candidates:
        best = np.argsort(-found, kind="stable")[:candidates]
        points, classes, found = points[best], classes[best], found[best]
    kept = non_maximum_suppression(
        boxes[points], found, classes, iou_threshold=iou_threshold, max_detections=max_detections
    )
    return {"boxes": boxes[points[kept]], "scores": found[kept], "classes": classes[kept]}


def box_overlaps(boxes, others):
    """IoU of each box with each other one, float64 (boxes, others)."""
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    inner = sides.clip(0).prod(axis=2)
    areas = [(part[:, 2:] - part[:, :2]).prod(axis=1) for part in (boxes, others)]
    return inner / np.maximum(areas[0][:, None] + areas[1] - inner, 1e-12)


def of_file(outputs, image_size, *, confidence=0.25, iou_threshold=IOU):
    """The detections on one image in what an exported detector gave for it, raw or final, as `choose` gives them.

    Args:
        outputs: Dictionary of arrays, each with one row: "boxes" in shares of the image, "scores", and of a final
            detector "classes" and "count".
        image_size: (height, width) of its images.
        confidence: Least score, in [0, 1].
        iou_threshold: See `non_maximum_suppression`.
    """
    height, width = image_size
    boxes, scores = outputs["boxes"][0] * np.float32([width, height, width, height]), outputs["scores"][0]
    if "classes" not in outputs:
        return choose(boxes, scores, confidence=confidence, iou_threshold=iou_threshold)
    classes = outputs["classes"][0].astype(int)
    kept = np.flatnonzero((np.arange(len(scores)) < outputs["count"][0]) & (scores >= confidence))
    kept = kept[non_maximum_suppression(boxes[kept], scores[kept], classes[kept], iou_threshold=iou_threshold)]
    return {"boxes": boxes[kept], "scores": scores[kept], "classes": classes[kept]}
