"""The usual signature of a detector, with all that lies between pixels and final boxes."""

import tensorflow as tf

from zoo import boxes as geometry

LETTERBOX = (
    "outside: the image fits into image_size with its proportions, in the middle of grey (114)",
    "inside: the image has the size image_size",
)


def detection_metadata(image_size, *, detections="final", inside=False, confidence=0.01, iou_threshold=0.6):
    """What a file with the signature `detection_endpoint` says of itself; `inside`: it fits the image itself."""
    final = detections == "final"
    return {
        "detections": detections,
        "letterbox": LETTERBOX[inside],
        "image_size": list(image_size),
        "boxes": "left, top, right, bottom as shares of the image",
        "confidence": confidence if final else None,
        "iou": iou_threshold if final else None,
    }


def detection_endpoint(
    model, *, detections="final", input_size=None, confidence=0.01, iou_threshold=0.6, max_detections=100
):
    """The usual signature of a detector: "image" uint8 (1, height, width, 3) in, boxes as shares of it out.

    Boxes are left, top, right and bottom, in [0, 1]. "final" gives "boxes" float32 (1, max_detections, 4), "scores"
    float32 (1, max_detections), "classes" int32 (1, max_detections) and "count" int32 (1,), which says how many of them
    mean something, surest first. "raw" gives "boxes" float32 (1, points, 4) and "scores" float32 (1, points,
    num_classes).

    Args:
        model: A `zoo.yolo` in float32.
        detections: "final" or "raw".
        input_size: (height, width) of the image, which is fitted into the model's size here; None: it has that size.
        confidence: Least score of a final detection.
        iou_threshold: Overlap above which of two final detections of a class the surer one stays.
        max_detections: Number of final detections.

    Raises:
        ValueError: If `detections` is neither of the two.
    """
    if detections not in ("final", "raw"):
        raise ValueError(f"detections must be final or raw, got {detections!r}")
    height, width = model.input_shape[1:3]
    seen_height, seen_width = input_size or (height, width)
    factor = min(height / seen_height, width / seen_width)
    inner = round(seen_height * factor), round(seen_width * factor)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2

    def suppress(boxes, scores):
        # the surest pairs of box and class: a box may be of two classes, as the metric counts it
        points, count = scores.shape
        best, chosen = tf.math.top_k(tf.reshape(scores, [-1]), min(points * count, 10 * max_detections))
        boxes, classes = tf.gather(boxes, chosen // count), chosen % count
        # two units apart, boxes of different classes never overlap
        apart = boxes + 2.0 * tf.cast(classes, tf.float32)[:, None]
        chosen, count = tf.image.non_max_suppression_padded(
            apart, best, max_detections, iou_threshold, confidence, pad_to_max_output_size=True
        )
        kept = {"boxes": boxes, "scores": best, "classes": classes}
        return {name: tf.gather(values, chosen) for name, values in kept.items()} | {"count": count}

    def serve(image):
        image = tf.cast(image, tf.float32)
        if input_size is not None:
            image = tf.image.resize(image, inner, antialias=False)
            edges = [[0, 0], [top, height - inner[0] - top], [left, width - inner[1] - left], [0, 0]]
            image = tf.pad(image, edges, constant_values=114.0)
        outputs = model(image / 255.0, training=False)
        # boxes and scores never share a tensor, or eight bits would have to hold both ranges
        boxes = tf.convert_to_tensor(geometry.decode(outputs["boxes"], (height, width)))
        boxes = (boxes - [left, top, left, top]) * [1 / inner[1], 1 / inner[0], 1 / inner[1], 1 / inner[0]]
        boxes = tf.clip_by_value(boxes, 0.0, 1.0)
        scores = tf.sigmoid(outputs["scores"])
        if detections == "raw":
            return {"boxes": boxes, "scores": scores}
        found = [suppress(boxes[index], scores[index]) for index in range(image.shape[0])]
        return {name: tf.stack([one[name] for one in found]) for name in found[0]}

    return serve, {"image": tf.TensorSpec((1, seen_height, seen_width, 3), tf.uint8, name="image")}
