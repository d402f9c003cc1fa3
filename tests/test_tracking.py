"""Objects followed through frames: numbers stay, the Kalman filter is the full one."""

import numpy as np
import pytest

from zoo import tracking
from zoo.tracking import Tracker


def found(*rows):
    """Detections of (centre x, centre y, side, score, class)."""
    x, y, side, scores, classes = np.array(rows, float).reshape(-1, 5).T
    boxes = np.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], axis=1)
    return {"boxes": boxes, "scores": scores, "classes": classes.astype(int)}


def test_numbers_stay_when_objects_cross():
    tracker, ways = Tracker(), []
    for frame in range(40):  # two of one class run past each other, one above the other, in changing order
        rows = [(10 + 4 * frame, 50, 20, 0.9, 0), (170 - 4 * frame, 62, 20, 0.8, 0), (90, 120, 30, 0.7, 1)]
        order = np.random.default_rng(frame).permutation(3)
        result = tracker.update(found(*(rows[index] for index in order)))
        ways.append({number: box[1] for number, box in zip(result["tracks"], result["boxes"], strict=True)})
    assert tracker.count == 3 and all(set(way) == {1, 2, 3} for way in ways)
    assert all(len({way[number] for way in ways}) == 1 for number in (1, 2, 3))  # each keeps its height


def test_unsure_detections_go_on_with_tracks_and_begin_none():
    tracker = Tracker(high=0.5, low=0.1)
    for frame in range(10):
        score = 0.9 if frame < 4 else 0.2
        result = tracker.update(found((50 + frame, 50, 20, score, 0), (150, 50, 20, 0.2, 0), (10, 10, 8, 0.05, 0)))
        assert result["tracks"].tolist() == [1] and result["boxes"][0][0] == 40 + frame
    assert tracker.count == 1


def test_a_hidden_object_keeps_its_number_and_is_forgotten_in_the_end():
    for hidden, expected in ((8, [1]), (12, [2])):
        tracker = Tracker(remember=10)
        for frame in range(20):
            tracker.update(found((20 + 3 * frame, 50, 30, 0.9, 0)))
        for _ in range(hidden):
            assert not len(tracker.update(found())["tracks"])
        for frame in range(20 + hidden, 23 + hidden):
            result = tracker.update(found((20 + 3 * frame, 50, 30, 0.9, 0)))
        assert result["tracks"].tolist() == expected


def test_a_track_begins_with_two_frames_and_keeps_its_class():
    tracker = Tracker()
    tracker.update(found())
    assert not len(tracker.update(found((50, 50, 20, 0.9, 0)))["tracks"])  # could be a mistake
    assert not len(tracker.update(found())["tracks"])
    assert not len(tracker.update(found((50, 50, 20, 0.9, 0)))["tracks"])  # the first one is forgotten
    assert tracker.update(found((51, 50, 20, 0.9, 0)))["tracks"].tolist() == [1]
    assert not len(tracker.update(found((52, 50, 20, 0.9, 1)))["tracks"])  # another class
    for wrong in ({"high": 0.1, "low": 0.5}, {"high": 1.5}, {"remember": -1}):
        with pytest.raises(ValueError, match=r"low=|remember"):
            Tracker(**wrong)


def test_the_motion_is_that_of_the_full_kalman_filter():
    random = np.random.default_rng(0)
    track = tracking._Track(np.array([10.0, 20, 40, 80]), 0)
    mean = np.concatenate([track.mean[:, 0], np.zeros(4)])
    height, step = mean[3], np.eye(8) + np.eye(8, k=4)
    covariance = np.diag(
        np.square([0.1 * height, 0.1 * height, 0.01, 0.1 * height, *[height / 16] * 2, 1e-5, height / 16])
    )
    for _ in range(12):
        track.predict()
        high = mean[3]
        noise = [high / 20, high / 20, 1e-2, high / 20, high / 160, high / 160, 1e-5, high / 160]
        mean, covariance = step @ mean, step @ covariance @ step.T + np.diag(np.square(noise))
        np.testing.assert_allclose(track.mean.T.ravel(), mean, rtol=1e-9)
        box = tracking._corners(mean[:4]) + random.normal(0, 2, 4)
        track.correct(box)
        seen = np.diag(np.square([mean[3] / 20, mean[3] / 20, 0.1, mean[3] / 20]))
        gain = covariance[:, :4] @ np.linalg.inv(covariance[:4, :4] + seen)
        mean = mean + gain @ (tracking._state(box) - mean[:4])
        covariance = covariance - gain @ covariance[:4]
        np.testing.assert_allclose(track.mean.T.ravel(), mean, rtol=1e-9)


def test_between_frames_boxes_move_on():
    tracker = Tracker()
    for frame in range(20):
        tracker.update(found((20 + 4 * frame, 50, 30, 0.9, 0)))
    half = tracker.between(0.5)
    assert half["tracks"].tolist() == [1] and half["boxes"][0] == pytest.approx([83, 35, 113, 65], abs=0.5)
