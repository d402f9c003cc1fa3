"""Metrics that Keras lacks."""

import keras
import numpy as np
from keras import ops


def expected_calibration_error(probabilities, labels, bins=15):
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


def peak_signal_to_noise_ratio(clean, restored):
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


def structural_similarity(clean, restored):
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

    def __init__(self, name="psnr", dtype=None):
        super().__init__(peak_signal_to_noise_ratio, name, dtype)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable("zoo")
class SSIM(keras.metrics.MeanMetricWrapper):
    """Mean of the images' structural similarities; see `structural_similarity`."""

    def __init__(self, name="ssim", dtype=None):
        super().__init__(structural_similarity, name, dtype)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


def frechet_distance(features, other_features):
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


def kernel_distance(features, other_features, *, subset_size=1000, subsets=20, seed=0):
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


def precision_and_recall(features, generated_features, *, neighbours=3):
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

    def __init__(self, num_classes, iou_thresholds=None, max_detections=100):
        self.num_classes, self.max_detections = num_classes, max_detections
        self.iou_thresholds = np.linspace(0.5, 0.95, 10) if iou_thresholds is None else np.array(iou_thresholds)
        self.reset_state()

    def reset_state(self):
        self.objects = np.zeros(self.num_classes, int)
        self._scores = [[] for _ in range(self.num_classes)]
        self._right = [[] for _ in range(self.num_classes)]  # (thresholds, detections) of each image

    def update_state(self, targets, detections):
        """Adds images.

        Args:
            targets: One array (boxes, 5) per image: left, top, right, lower, and the class; below 0 it is padding.
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
                self.objects[number] += (labels == number).sum()
                self._scores[number].append(scores[order])
                self._right[number].append(self._match(target[labels == number, :4], boxes))

    def _match(self, objects, boxes):
        """Which detections, surest first, are the first to find an object of their own: bool (thresholds, boxes)."""
        right = np.zeros((len(self.iou_thresholds), len(boxes)), bool)
        if not len(objects) or not len(boxes):
            return right
        overlaps = _overlaps(boxes, objects)
        for level, threshold in enumerate(self.iou_thresholds):
            free = np.ones(len(objects), bool)
            for index in np.flatnonzero((overlaps >= min(threshold, 1 - 1e-10)).any(axis=1)):
                overlap = np.where(free, overlaps[index], -1.0)
                best = len(objects) - 1 - int(overlap[::-1].argmax())  # of equals the last one, as pycocotools does
                if overlap[best] >= min(threshold, 1 - 1e-10):
                    right[level, index], free[best] = True, False
        return right

    def curve(self, number, threshold=0.5):
        """Scores, precision and recall of one class over its detections, surest first: three arrays (count,)."""
        level = int(np.abs(self.iou_thresholds - threshold).argmin())
        scores = np.concatenate([np.zeros(0), *self._scores[number]])
        right = np.concatenate([np.zeros(0, bool), *(one[level] for one in self._right[number])])
        order = np.argsort(-scores, kind="stable")
        hits = np.cumsum(right[order])
        precision = hits / (np.arange(len(order)) + 1)
        return scores[order], precision, hits / max(1, self.objects[number])

    def average_precisions(self):
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

    def result(self):
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


def _overlaps(boxes, others):
    """IoU of each box with each other one, float64 (boxes, others)."""
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    inner = sides.clip(0).prod(axis=2)
    areas = [(part[:, 2:] - part[:, :2]).prod(axis=1) for part in (boxes, others)]
    return inner / np.maximum(areas[0][:, None] + areas[1] - inner, 1e-12)
