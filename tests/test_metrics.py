import numpy as np

from zoo.metrics import expected_calibration_error


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
