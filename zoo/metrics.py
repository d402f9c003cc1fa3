"""Metrics that Keras lacks."""

import numpy as np


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
