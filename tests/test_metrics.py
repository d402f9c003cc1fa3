import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.neighbors import NearestNeighbors

from zoo.metrics import expected_calibration_error, frechet_distance, kernel_distance, precision_and_recall


def slow_calibration_error(probabilities, labels, bins):
    total = 0.0
    for index in range(bins):
        inside = [
            (row.max(), row.argmax() == label)
            for row, label in zip(probabilities, labels, strict=True)
            if index / bins < row.max() <= (index + 1) / bins
        ]
        if inside:
            confidence = np.mean([pair[0] for pair in inside])
            accuracy = np.mean([pair[1] for pair in inside])
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


def test_calibration_error_against_its_definition():
    random = np.random.default_rng(0)
    for bins in (5, 15):
        probabilities = random.dirichlet(np.full(4, 0.3), 500)
        labels = random.integers(0, 4, 500)
        expected = slow_calibration_error(probabilities, labels, bins)
        np.testing.assert_allclose(expected_calibration_error(probabilities, labels, bins), expected, rtol=1e-9)


def test_calibration_error_of_a_sure_and_right_model_is_zero():
    assert expected_calibration_error(np.eye(3)[[0, 1, 2, 1]], [0, 1, 2, 1]) == 0
    assert expected_calibration_error(np.eye(3)[[0, 1, 2, 1]], [1, 2, 0, 0]) == 1


def features(count, width=5, shift=0.0, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width)) @ np.diag(np.arange(1, width + 1)) + shift


def test_frechet_distance_against_the_matrix_root():
    one, other = features(300), features(200, shift=0.7, seed=1)
    covariances = np.cov(one.T), np.cov(other.T)
    root = sqrtm(covariances[0] @ covariances[1]).real
    difference = one.mean(axis=0) - other.mean(axis=0)
    expected = difference @ difference + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(one, one + 2) == pytest.approx(5 * 4)
    assert frechet_distance(one[:, :1], 3 * one[:, :1]) == pytest.approx(
        4 * (one[:, 0].mean() ** 2 + one[:, 0].var(ddof=1))
    )
    flat = np.repeat(one[:, :1], 4, axis=1)  # a singular covariance
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-8)


def test_kernel_distance_against_its_definition():
    one, other = features(12), features(12, shift=0.5, seed=1)

    def kernel(x, y):
        return (x @ y / 5 + 1) ** 3

    random = np.random.default_rng(4)
    expected = []
    for _ in range(3):
        x, y = one[random.choice(12, 6, replace=False)], other[random.choice(12, 6, replace=False)]
        pairs = [(i, j) for i in range(6) for j in range(6)]
        within = [np.mean([kernel(z[i], z[j]) for i, j in pairs if i != j]) for z in (x, y)]
        expected.append(sum(within) - 2 * np.mean([kernel(x[i], y[j]) for i, j in pairs]))
    found, deviation = kernel_distance(one, other, subset_size=1000, subsets=3, seed=4)
    assert found == pytest.approx(np.mean(expected)) and deviation == pytest.approx(np.std(expected))
    same, deviation = kernel_distance(features(2000), features(2000, seed=9), subset_size=500)
    assert abs(same) < 3 * deviation < 0.2 * kernel_distance(features(2000), features(2000, shift=3.0, seed=9))[0]


def test_precision_and_recall_against_nearest_neighbours():
    real, generated = features(700), features(600, shift=1.5, seed=1)
    expected = []
    for centres, vectors in ((real, generated), (generated, real)):
        search = NearestNeighbors(n_neighbors=4).fit(centres)
        reach = search.kneighbors(centres)[0][:, 3]
        distances = np.linalg.norm(vectors[:, None] - centres[None], axis=2)
        expected.append((distances <= reach + 1e-9).any(axis=1).mean())
    assert precision_and_recall(real, generated) == pytest.approx(tuple(expected), abs=1e-9)
    assert precision_and_recall(real, real) == (1, 1)
    assert precision_and_recall(real, real + 1000) == (0, 0)
    # what collapsed to a few real images is precise, and recalls little
    precision, recall = precision_and_recall(real, np.repeat(real[:5], 20, axis=0) + 1e-6)
    assert precision == 1 and recall < 0.1


def test_feature_metrics_refuse_what_does_not_fit():
    for metric in (frechet_distance, kernel_distance, precision_and_recall):
        with pytest.raises(ValueError, match=r"\(10, 5\) and \(10, 4\)"):
            metric(features(10), features(10, 4))
    with pytest.raises(ValueError, match="neighbours must be 1 to 9, got 10"):
        precision_and_recall(features(10), features(10), neighbours=10)
