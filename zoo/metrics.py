"""Metrics that Keras lacks."""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
from keras import ops

from zoo.boxes import iou
from zoo.kinds import Array, Tensor
from zoo.suppression import box_overlaps


def expected_calibration_error(probabilities: Array, labels: Array, bins: int = 15) -> float:
    """How far confidence is from accuracy: their mean gap over equal bins of confidence, weighted by count.

    Args:
        probabilities: (count, num_classes), each row sums to 1.
        labels: (count,), class indices.
        bins: Number of bins of confidence.

    Returns:
        A float in [0, 1]; 0 is perfectly calibrated.

    Reference: Guo et al., "On calibration of modern neural networks", 2017.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    confidences = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    index = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct - confidences, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def peak_signal_to_noise_ratio(clean: Tensor, restored: Tensor) -> Tensor:
    """PSNR of each image of a batch, in decibels: 10 log10(1 / mean squared difference), values clipped to [0, 1].

    Args:
        clean: float (batch, height, width, channels) in [0, 1].
        restored: Same shape.

    Returns:
        A tensor (batch,). Equal images would have an infinite one and get 100.
    """
    difference = ops.clip(clean, 0.0, 1.0) - ops.clip(restored, 0.0, 1.0)
    error = ops.maximum(ops.mean(ops.square(difference), axis=(1, 2, 3)), 1e-10)
    return -10.0 * ops.log10(error)


def structural_similarity(clean: Tensor, restored: Tensor) -> Tensor:
    """SSIM of each image of a batch: Gaussian windows of 11x11, sigma 1.5, values clipped to [0, 1].

    Args:
        clean: float (batch, height, width, channels) in [0, 1], at least 11x11 pixels.
        restored: Same shape.

    Returns:
        A tensor (batch,), in [-1, 1]; 1 for equal images. Only windows that lie inside the image count.

    Raises:
        ValueError: If the images are smaller than the window.

    Reference: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    height, width = clean.shape[1:3]
    if (height or 11) < 11 or (width or 11) < 11:
        raise ValueError(f"SSIM needs images of at least 11x11 pixels, got {height}x{width}")
    clean, restored = ops.clip(clean, 0.0, 1.0), ops.clip(restored, 0.0, 1.0)
    return ops.image.ssim(clean, restored, max_val=1.0, data_format="channels_last")


@keras.saving.register_keras_serializable("zoo")
class PSNR(keras.metrics.MeanMetricWrapper):
    """Mean of the images' peak signal-to-noise ratios, in decibels; see `peak_signal_to_noise_ratio`."""

    def __init__(self, name: str = "psnr", dtype: str | None = None):
        super().__init__(peak_signal_to_noise_ratio, name, dtype)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable("zoo")
class SSIM(keras.metrics.MeanMetricWrapper):
    """Mean of the images' structural similarities; see `structural_similarity`."""

    def __init__(self, name: str = "ssim", dtype: str | None = None):
        super().__init__(structural_similarity, name, dtype)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


def frechet_distance(features: Array, other_features: Array) -> float:
    """Fréchet distance between two sets of feature vectors, each taken for a normal distribution; 0 is the best.

    With the features of InceptionV3 it is the FID. It falls with the number of vectors, so compare equal numbers only,
    and only distances in the features of the same network.

    Args:
        features: (count, width).
        other_features: (other count, width).

    Returns:
        A float, |mean difference|^2 + trace(C + C' - 2 (C C')^(1/2)) with the covariances C and C'.

    Raises:
        ValueError: If the widths differ, or a set has fewer than two vectors.

    Reference: Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", 2017.
    """
    one, other = _feature_sets(features, other_features)
    difference = one.mean(axis=0) - other.mean(axis=0)
    covariances = [np.atleast_2d(np.cov(vectors, rowvar=False)) for vectors in (one, other)]
    # the trace of (C C')^(1/2) by the root of the one on both sides of the other: symmetric, so no complex numbers
    values, vectors = np.linalg.eigh(covariances[0])
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    product = np.linalg.eigvalsh(root @ covariances[1] @ root)
    trace = np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.sqrt(np.clip(product, 0, None)).sum()
    return max(0.0, float(difference @ difference + trace))  # rounding can take it just below


def kernel_distance(
    features: Array, other_features: Array, *, subset_size: int = 1000, subsets: int = 20, seed: int = 0
) -> tuple[float, float]:
    """Kernel distance (KID with the features of InceptionV3): squared maximum mean discrepancy with a cubic kernel.

    Unlike the Fréchet distance it is unbiased: its expectation does not depend on the number of vectors, and is 0 for
    two samples of one distribution.

    Args:
        features: (count, width).
        other_features: (other count, width).
        subset_size: Vectors drawn from each set at a time, at most half of the smaller one.
        subsets: How many times.
        seed: Seed of the draws.

    Returns:
        (mean over the subsets, standard deviation over the subsets).

    Raises:
        ValueError: If the widths differ, or a set has fewer than two vectors.

    Reference: Binkowski et al., "Demystifying MMD GANs", 2018.
    """
    one, other = _feature_sets(features, other_features)
    random = np.random.default_rng(seed)
    size = min(subset_size, max(2, min(len(one), len(other)) // 2))
    values = []
    for _ in range(subsets):
        x = one[random.choice(len(one), size, replace=False)]
        y = other[random.choice(len(other), size, replace=False)]
        within = [(kernel.sum() - np.trace(kernel)) / (size * (size - 1)) for kernel in (_cubic(x, x), _cubic(y, y))]
        values.append(sum(within) - 2 * _cubic(x, y).mean())
    return float(np.mean(values)), float(np.std(values))


def precision_and_recall(features: Array, generated_features: Array, *, neighbours: int = 3) -> tuple[float, float]:
    """Share of generated vectors inside the real ones' region, and of real ones inside the generated ones' region.

    The region of a set is the union of balls about its vectors that reach to their k-th nearest neighbour in the set.

    Args:
        features: Of real images, (count, width).
        generated_features: Of generated images, (other count, width).
        neighbours: k, 1 or more and less than either count.

    Returns:
        (precision, recall), both in [0, 1]: precision tells quality, recall variety.

    Raises:
        ValueError: If the widths differ, or a set is too small for `neighbours`.

    Reference: Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", 2019.
    """
    real, generated = _feature_sets(features, generated_features)
    if not 1 <= neighbours < min(len(real), len(generated)):
        raise ValueError(f"neighbours must be 1 to {min(len(real), len(generated)) - 1}, got {neighbours}")

    def radii(vectors):  # the nearest of all is the vector itself
        return np.concatenate(
            [np.partition(_distances(part, vectors), neighbours, axis=1)[:, neighbours] for part in _parts(vectors)]
        )

    def share_inside(vectors, centres, reach):
        return float(np.mean(np.concatenate([(_distances(p, centres) <= reach).any(axis=1) for p in _parts(vectors)])))

    return share_inside(generated, real, radii(real)), share_inside(real, generated, radii(generated))


def _feature_sets(one, other):
    one, other = np.asarray(one, "float64"), np.asarray(other, "float64")
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1] or min(len(one), len(other)) < 2:
        raise ValueError(f"features are (count, width), two or more, of equal width; got {one.shape} and {other.shape}")
    return one, other


def _cubic(x, y):
    return (x @ y.T / x.shape[1] + 1) ** 3


def _parts(vectors, size=500):
    return [vectors[start : start + size] for start in range(0, len(vectors), size)]


def _distances(x, y):
    """Squared distances; those of a vector to itself are exactly 0 only up to rounding."""
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None]
    return np.maximum(squares - 2 * x @ y.T, 0)


def label_confusion(labels: Array, predictions: Array, num_classes: int, ignore_label: int | None = 255) -> Array:
    """How many pixels of each class were taken for which: int64 (num_classes, num_classes), rows are the truth.

    Args:
        labels: int, any shape, 0 to num_classes - 1, or `ignore_label` where a pixel does not count.
        predictions: int, same shape, 0 to num_classes - 1.
        num_classes: Number of classes.
        ignore_label: Label that does not count, or None.

    Raises:
        ValueError: If the shapes differ, or a label is not one of the classes.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape:
        raise ValueError(f"labels and predictions have one shape, got {labels.shape} and {predictions.shape}")
    counts = np.ones(labels.shape, bool) if ignore_label is None else labels != ignore_label
    labels, predictions = labels[counts].astype(np.int64), predictions[counts].astype(np.int64)
    for name, values in (("label", labels), ("prediction", predictions)):
        if len(values) and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(f"a {name} is 0 to {num_classes - 1}, got {values.min()} to {values.max()}")
    return np.bincount(labels * num_classes + predictions, minlength=num_classes**2).reshape(num_classes, num_classes)


def intersection_over_union(matrix: Array) -> Array:
    """IoU of each class from a confusion matrix: float (num_classes,), NaN for a class that is neither in the truth nor
    in the predictions. Their mean without NaN is the mean IoU."""
    matrix = np.asarray(matrix, float)
    both = np.diag(matrix)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - both
    return np.divide(both, union, out=np.full(len(both), np.nan), where=union > 0)


def boundary_f1(
    labels: Array, predictions: Array, num_classes: int, *, tolerance: float = 0.0075, ignore_label: int | None = 255
) -> Array:
    """How well the outlines of each class are met in one image: F1 of the pixels within a tolerance of the other's.

    Args:
        labels: int (height, width).
        predictions: int (height, width).
        num_classes: Number of classes.
        tolerance: As a share of the image's diagonal.
        ignore_label: Label that does not count: such pixels have no outline, neither in truth nor in prediction.

    Returns:
        float (num_classes,) in [0, 1]; NaN for a class without an outline in either.

    Reference: Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?", 2013.
    """
    from scipy.ndimage import distance_transform_edt

    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.ndim != 2 or labels.shape != predictions.shape:
        raise ValueError(f"labels and predictions are (height, width), got {labels.shape} and {predictions.shape}")
    reach = tolerance * np.hypot(*labels.shape)
    counts = np.ones(labels.shape, bool) if ignore_label is None else labels != ignore_label
    scores = np.full(num_classes, np.nan)
    for index in range(num_classes):
        true, found = (_outline((mask == index) & counts, counts) for mask in (labels, predictions))
        if not true.any() and not found.any():
            continue
        scores[index] = 0.0
        if true.any() and found.any():
            precision = (distance_transform_edt(~true)[found] <= reach).mean()
            recall = (distance_transform_edt(~found)[true] <= reach).mean()
            scores[index] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return scores


def _outline(mask, counts):
    """Pixels of a mask beside one that counts and is not of it, above, below, left or right."""
    other = np.pad(~mask & counts, 1)
    return mask & (other[:-2, 1:-1] | other[2:, 1:-1] | other[1:-1, :-2] | other[1:-1, 2:])


@keras.saving.register_keras_serializable("zoo")
class MeanIoU(keras.metrics.Metric):
    """Mean IoU over the classes that occur, from sparse labels and probabilities; unlike Keras's own it takes one
    sigmoid class as well (then the mean is over object and background), and masks with or without a last axis of 1.

    Args:
        num_classes: Channels of the probabilities.
        ignore_label: Label of the pixels that do not count, or None.
        name: Name of the metric.
        dtype: As in Keras.
    """

    def __init__(
        self, num_classes: int, ignore_label: int | None = 255, name: str = "mean_iou", dtype: str | None = None
    ):
        super().__init__(name=name, dtype=dtype)
        self.num_classes, self.ignore_label = num_classes, ignore_label
        self.labels = max(2, num_classes)
        self.matrix = self.add_variable((self.labels**2,), "zeros", name="matrix")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_pred = ops.convert_to_tensor(y_pred)
        found = y_pred[..., 0] > 0.5 if self.num_classes == 1 else ops.argmax(y_pred, axis=-1)
        labels, found = (ops.reshape(ops.cast(values, "int32"), (-1,)) for values in (y_true, found))
        ignored = self.labels**2  # one more place for all that does not count
        places = labels * self.labels + found
        if self.ignore_label is not None:
            places = ops.where(labels == self.ignore_label, ignored, places)
        ones = ops.ones_like(places, dtype=self.matrix.dtype)
        counts = ops.segment_sum(ones, places, num_segments=ignored + 1)  # jax cannot compile a bincount
        self.matrix.assign(self.matrix + counts[:ignored])

    def result(self):
        matrix = ops.reshape(self.matrix, (self.labels, self.labels))
        both = ops.diagonal(matrix)
        union = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - both
        occurs = ops.cast(union > 0, union.dtype)
        return ops.sum(both / ops.maximum(union, 1.0)) / ops.maximum(ops.sum(occurs), 1.0)

    def get_config(self):
        return {
            "num_classes": self.num_classes,
            "ignore_label": self.ignore_label,
            "name": self.name,
            "dtype": self.dtype,
        }


class MeanAveragePrecision:
    """Mean average precision of detections, as COCO defines it, with as many decimals as pycocotools.

    It is computed on the host from final detections, so it is not for `compile(metrics=...)`: call `update_state` for
    each batch and `result` at the end, for example in a callback after each epoch.

    Args:
        num_classes: Number of classes.
        iou_thresholds: Overlaps at which a detection counts as right; by default 0.50, 0.55, ..., 0.95.
        max_detections: Of one class in one image, the surest ones.

    Attributes:
        objects: How many objects of each class there are, (num_classes,).

    Raises:
        ValueError: If a class is out of range or the lengths of two lists differ.

    Reference: Lin et al., "Microsoft COCO: common objects in context", 2014; Everingham et al., "The Pascal visual
        object classes challenge", 2010.
    """

    def __init__(
        self, num_classes: int, iou_thresholds: Sequence[float] | Array | None = None, max_detections: int = 100
    ):
        self.num_classes, self.max_detections = num_classes, max_detections
        self.iou_thresholds = np.linspace(0.5, 0.95, 10) if iou_thresholds is None else np.array(iou_thresholds)
        self.reset_state()

    def reset_state(self) -> None:
        self.objects = np.zeros(self.num_classes, int)
        self._objects = []  # of each image
        self._images = [[] for _ in range(self.num_classes)]  # the number of the image, as often as it has detections
        self._scores = [[] for _ in range(self.num_classes)]
        self._right = [[] for _ in range(self.num_classes)]  # (thresholds, detections) of each image
        self._counts = [[] for _ in range(self.num_classes)]  # the same: whether a detection counts

    def update_state(self, targets: Sequence[Array], detections: Sequence[dict[str, Array]]) -> None:
        """Adds images.

        Args:
            targets: One array (boxes, 5) per image: left, top, right, bottom, and the class; -1 is padding, and a class
                of -2 - c a region such as a crowd: detections of class c that are in it and find no object of their own
                count neither as right nor as wrong.
            detections: One dictionary per image with "boxes" (count, 4), "scores" (count,) and "classes" (count,), as
                `zoo.boxes.detect` gives them.
        """
        if len(targets) != len(detections):
            raise ValueError(f"targets and detections are of the same images, got {len(targets)} and {len(detections)}")
        for target, found in zip(targets, detections, strict=True):
            target = np.asarray(target, "float64").reshape(-1, 5)
            labels, classes = target[:, 4].astype(int), np.asarray(found["classes"], int)
            top = max([-1, *labels, *classes])
            if top >= self.num_classes:
                raise ValueError(f"class {top} is not one of the {self.num_classes} classes")
            for number in np.union1d(labels[labels >= 0], classes):
                mine = np.flatnonzero(classes == number)
                scores = np.asarray(found["scores"], "float64")[mine]
                order = np.argsort(-scores, kind="stable")[: self.max_detections]
                boxes = np.asarray(found["boxes"], "float64").reshape(-1, 4)[mine[order]]
                self._images[number].append(np.full(len(order), len(self._objects)))
                self._scores[number].append(scores[order])
                right = self._match(target[labels == number, :4], boxes)
                self._right[number].append(right)
                regions = target[labels == -2 - number, :4]
                self._counts[number].append(right | ~self._within(regions, boxes))
            self._objects.append(np.bincount(labels[labels >= 0], minlength=self.num_classes))
            self.objects += self._objects[-1]

    def _within(self, regions, boxes):
        """Whether as much of a detection is in one region as an overlap asks for: bool (thresholds, boxes)."""
        return _share_within(boxes, regions) >= np.minimum(self.iou_thresholds, 1 - 1e-10)[:, None]

    def _match(self, objects, boxes):
        """Which detections, surest first, are the first to find an object of their own: bool (thresholds, boxes)."""
        right = np.zeros((len(self.iou_thresholds), len(boxes)), bool)
        if not len(objects) or not len(boxes):
            return right
        overlaps = box_overlaps(boxes, objects)
        for level, threshold in enumerate(self.iou_thresholds):
            free = np.ones(len(objects), bool)
            for index in np.flatnonzero((overlaps >= min(threshold, 1 - 1e-10)).any(axis=1)):
                overlap = np.where(free, overlaps[index], -1.0)
                best = len(objects) - 1 - int(overlap[::-1].argmax())  # of equals the last one, as pycocotools does
                if overlap[best] >= min(threshold, 1 - 1e-10):
                    right[level, index], free[best] = True, False
        return right

    def curve(self, number: int, threshold: float = 0.5) -> tuple[Array, Array, Array]:
        """Scores, precision and recall of one class over its detections, surest first: three arrays (count,)."""
        level = int(np.abs(self.iou_thresholds - threshold).argmin())
        scores = np.concatenate([np.zeros(0), *self._scores[number]])
        right = np.concatenate([np.zeros(0, bool), *(one[level] for one in self._right[number])])
        counts = np.concatenate([np.zeros(0, bool), *(one[level] for one in self._counts[number])])
        scores, right = scores[counts], right[counts]
        order = np.argsort(-scores, kind="stable")
        hits = np.cumsum(right[order])
        precision = hits / (np.arange(len(order)) + 1)
        return scores[order], precision, hits / max(1, self.objects[number])

    def interval(self, threshold: float = 0.5, rounds: int = 1000) -> list[float]:
        """The 95 % interval of the mean average precision at one overlap over the images, by the bootstrap (Efron,
        1979): its ends, two floats."""
        level = int(np.abs(self.iou_thresholds - threshold).argmin())
        count = len(self._objects)
        drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / max(1, count)), rounds)
        objects, recalls = drawn @ np.array(self._objects), np.linspace(0, 1, 101)
        found = np.full((rounds, self.num_classes), np.nan)
        for number in np.flatnonzero(self.objects):
            images = np.concatenate([np.zeros(0, int), *self._images[number]])
            scores = np.concatenate([np.zeros(0), *self._scores[number]])
            right = np.concatenate([np.zeros(0, bool), *(one[level] for one in self._right[number])])
            counts = np.concatenate([np.zeros(0, bool), *(one[level] for one in self._counts[number])])
            order = np.flatnonzero(counts)[np.argsort(-scores[counts], kind="stable")]
            images, right = images[order], right[order]
            for turn in np.flatnonzero(objects[:, number]):
                times = drawn[turn, images]  # a detection counts as often as its image was drawn
                hits = np.cumsum(times * right)
                precision = hits / np.maximum(np.cumsum(times), 1)
                best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
                at = np.searchsorted(hits / objects[turn, number], recalls, side="left")
                found[turn, number] = best[at].mean()
        return [float(end) for end in np.nanquantile(np.nanmean(found, axis=1), (0.025, 0.975))]

    def average_precisions(self) -> Array:
        """Average precision of each class at each overlap, float64 (thresholds, num_classes); NaN where a class has no
        object. It is the mean of the precision at 101 recalls, where precision at a recall is the best at or after it.
        """
        found = np.full((len(self.iou_thresholds), self.num_classes), np.nan)
        recalls = np.linspace(0, 1, 101)
        for number in np.flatnonzero(self.objects):
            for level, threshold in enumerate(self.iou_thresholds):
                _, precision, recall = self.curve(number, threshold)
                best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
                found[level, number] = best[np.searchsorted(recall, recalls, side="left")].mean()
        return found

    def result(self) -> dict:
        """Dictionary of "mAP50", "mAP50-95" (the mean over all thresholds), and "per_class": a list of dictionaries
        "AP50", "AP50-95" and "objects". Classes without an object do not count."""
        found = self.average_precisions()
        at_half = found[int(np.abs(self.iou_thresholds - 0.5).argmin())]
        seen = self.objects > 0
        per_class = [
            {"AP50": float(half), "AP50-95": float(column.mean()), "objects": int(count)}
            for half, column, count in zip(at_half, found.T, self.objects, strict=True)
        ]
        return {
            "mAP50": float(at_half[seen].mean()) if seen.any() else 0.0,
            "mAP50-95": float(found[:, seen].mean()) if seen.any() else 0.0,
            "per_class": per_class,
        }


def _share_within(boxes, regions):
    """Largest share of the area of each box that is in one region, float64 (boxes,); 0 where there is no region."""
    sides = np.minimum(boxes[:, None, 2:], regions[:, 2:]) - np.maximum(boxes[:, None, :2], regions[:, :2])
    areas = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1e-12)
    return (sides.clip(0).prod(axis=2) / areas[:, None]).max(axis=1, initial=0.0)


def best_confidence(curves: Iterable[tuple[Array, Array, Array]]) -> dict[str, float]:
    """The confidence at which the mean F1 of the classes is highest.

    Args:
        curves: One (scores, precision, recall) per class, see `MeanAveragePrecision.curve`.

    Returns:
        Dictionary of "confidence", and "precision", "recall" and "F1" there.
    """
    levels = np.linspace(0.01, 0.99, 99)
    rows = []
    for scores, precision, recall in curves:
        place = np.searchsorted(-scores, -levels, side="right") - 1  # the last detection that is as sure
        none = place < 0
        rows.append(
            [np.where(none, 1.0, precision[place]), np.where(none, 0.0, recall[place])]
            if len(scores)
            else [np.ones(99), np.zeros(99)]
        )
    if not rows:
        return {"confidence": 0.25, "precision": 0.0, "recall": 0.0, "F1": 0.0}
    precision, recall = np.mean(rows, axis=0)
    f1 = np.mean([2 * p * r / np.maximum(p + r, 1e-9) for p, r in rows], axis=0)
    best = int(f1.argmax())
    values = levels[best], precision[best], recall[best], f1[best]
    return dict(zip(("confidence", "precision", "recall", "F1"), map(float, values), strict=True))


def detection_confusion(
    targets: Sequence[Array],
    found: Sequence[dict[str, Array]],
    num_classes: int,
    confidence: float,
    threshold: float = 0.5,
) -> tuple[Array, Array]:
    """Counts of found over true classes, the last of each being nothing, and the mistakes of each image.

    Args:
        targets: One array (objects, 5) per image: left, top, right, bottom, class; see `MeanAveragePrecision`.
        found: One dictionary "boxes", "scores" and "classes" per image, see `zoo.boxes.detect`.
        num_classes: Number of classes.
        confidence: Least confidence of a detection that counts.
        threshold: Least overlap (IoU) of a detection with its object.

    Returns:
        (int (num_classes + 1, num_classes + 1), true classes down and found ones across; mistakes of each image).
    """
    matrix, wrong = np.zeros((num_classes + 1, num_classes + 1), int), []
    for target, one in zip(targets, found, strict=True):
        sure = one["scores"] >= confidence
        boxes, classes = one["boxes"][sure], one["classes"][sure]
        target, regions = target[target[:, 4] >= 0], target[target[:, 4] < -1]
        before, free, left_out = np.trace(matrix), np.ones(len(target), bool), 0
        for box, label in zip(boxes, classes, strict=True):
            overlap = np.asarray(iou(box[None], target[:, :4])) * free if len(target) else np.zeros(0)
            # of the objects that overlap enough one of the same class comes first
            overlap = np.where(overlap >= threshold, overlap + (target[:, 4] == label), 0) if len(target) else overlap
            if len(target) and overlap.max() > 0:
                best = int(overlap.argmax())
                matrix[int(target[best, 4]), label] += 1
                free[best] = False
            elif _share_within(box[None], regions[regions[:, 4] == -2 - label, :4])[0] >= threshold:
                left_out += 1
            else:
                matrix[num_classes, label] += 1
        for label in target[free, 4].astype(int):
            matrix[label, num_classes] += 1
        wrong.append(int(len(boxes) - left_out + free.sum() - (np.trace(matrix) - before)))
    return matrix, wrong
