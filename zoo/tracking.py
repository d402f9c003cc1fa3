"""Objects followed through a video: detections get numbers that stay with them from frame to frame (ByteTrack).

Reference: Zhang et al., "ByteTrack: multi-object tracking by associating every detection box", 2022; the motion is that
of Wojke et al., "Simple online and realtime tracking with a deep association metric", 2017.
"""

import numpy as np

from zoo.kinds import Array
from zoo.suppression import box_overlaps

# standard deviations of centre x, centre y and height as shares of the height, of width / height as numbers
POSITION, VELOCITY = np.array([1 / 20, 1 / 20, 1e-2, 1 / 20]), np.array([1 / 160, 1 / 160, 1e-5, 1 / 160])
MEASURED = np.array([1 / 20, 1 / 20, 1e-1, 1 / 20])


class Tracker:
    """ByteTrack: sure detections go to the tracks first, what is left of the tracks then looks among the unsure ones.

    A track begins with a sure detection that is found again in the next frame; one that is not found is remembered for
    a while, in case the object comes out from behind something. Tracks keep to their class.

    Args:
        high: Confidence from which a detection is sure, in [0, 1]; only such a one begins a track.
        low: Confidence from which a detection may still go on with a track.
        remember: Frames for which a track that is not found is remembered.

    Raises:
        ValueError: If the confidences are out of order or `remember` is negative.
    """

    def __init__(self, *, high: float = 0.5, low: float = 0.1, remember: int = 30):
        if not 0 <= low <= high <= 1:
            raise ValueError(f"confidences are 0 <= low <= high <= 1, got {low=} and {high=}")
        if remember < 0:
            raise ValueError(f"remember is 0 frames or more, got {remember}")
        self.high, self.low, self.remember = high, low, remember
        self.count = 0
        self._tracks, self._frames = [], 0

    def update(self, found: dict[str, Array]) -> list:
        """Follows the objects to the next frame.

        Args:
            found: Dictionary of "boxes" (count, 4) in pixels: left, top, right, bottom; "scores" (count,) and "classes"
                (count,), as `zoo.boxes.detect` gives them, from the confidence `low` on.

        Returns:
            The detections that belong to a track, in the order of `found`, and "tracks": their numbers, from 1 on.
        """
        boxes, scores = np.asarray(found["boxes"], float).reshape(-1, 4), np.asarray(found["scores"], float)
        classes = np.asarray(found["classes"], int)
        for track in self._tracks:
            track.predict()
        free = np.flatnonzero(scores >= self.high)
        known = [track for track in self._tracks if track.number]
        new = [track for track in self._tracks if not track.number]
        matches, lost, free = _match(known, free, boxes, classes, 0.2)
        seen = [track for track in lost if not track.missed]
        unsure = np.flatnonzero((scores >= self.low) & (scores < self.high))
        more, _, _ = _match(seen, unsure, boxes, classes, 0.5)
        begun, _, free = _match(new, free, boxes, classes, 0.3)
        matches += more + begun
        for track, index in matches:
            track.correct(boxes[index])
            self.count += not track.number
            track.number = track.number or self.count
        kept = {id(track) for track, _ in matches}
        for track in known:
            if id(track) not in kept:
                track.missed += 1
        self._tracks = [one for one in self._tracks if id(one) in kept or (one.number and one.missed <= self.remember)]
        for index in free:
            track = _Track(boxes[index], classes[index])
            self._tracks.append(track)
            if not self._frames:  # what is there at the beginning needs no frame before
                self.count += 1
                track.number = self.count
                matches.append((track, index))
        self._frames += 1
        chosen = sorted((index, track.number) for track, index in matches)
        places = np.array([index for index, _ in chosen], int)
        numbers = np.array([number for _, number in chosen], int)
        return {"boxes": boxes[places], "scores": scores[places], "classes": classes[places], "tracks": numbers}

    def between(self, share: float) -> list:
        """Where what was found last should be a share of a frame later: "boxes", "classes" and "tracks"."""
        shown = [track for track in self._tracks if track.number and not track.missed]
        boxes = np.array([_corners(track.mean[:, 0] + share * track.mean[:, 1]) for track in shown]).reshape(-1, 4)
        classes, numbers = (np.array([getattr(one, key) for one in shown], int) for key in ("label", "number"))
        return {"boxes": boxes, "classes": classes, "tracks": numbers}


class _Track:
    """A Kalman filter of centre, width / height and height, each with a velocity of its own: nothing ties them."""

    def __init__(self, box, label):
        self.label, self.number, self.missed = int(label), 0, 0
        self.mean = np.stack([_state(box), np.zeros(4)], axis=1)  # (4, 2): value and velocity
        self.covariance = np.zeros((4, 2, 2))
        self.covariance[:, 0, 0], self.covariance[:, 1, 1] = self._variance(2 * POSITION), self._variance(10 * VELOCITY)
        self.covariance[2] = np.diag([1e-4, 1e-10])

    def _variance(self, deviations):
        return np.where([True, True, False, True], (deviations * self.mean[3, 0]) ** 2, deviations**2)

    @property
    def box(self):
        return _corners(self.mean[:, 0])

    def predict(self):
        if self.missed:
            self.mean[3, 1] = 0.0  # what is hidden does not grow
        step = np.array([[1.0, 1.0], [0.0, 1.0]])
        noise = np.stack([self._variance(POSITION), self._variance(VELOCITY)], axis=1)
        self.mean = self.mean @ step.T
        self.covariance = step @ self.covariance @ step.T + noise[:, :, None] * np.eye(2)

    def correct(self, box):
        self.missed = 0
        certainty = self.covariance[:, 0, 0] + self._variance(MEASURED)
        gain = self.covariance[:, :, 0] / certainty[:, None]
        self.mean = self.mean + gain * (_state(box) - self.mean[:, 0])[:, None]
        self.covariance = self.covariance - gain[:, :, None] * self.covariance[:, None, 0, :]


def _match(tracks, chosen, boxes, classes, least):
    """Tracks and detections in pairs of the largest overlap in all: (pairs, tracks left, indices of boxes left)."""
    from scipy.optimize import linear_sum_assignment  # heavy

    overlap = box_overlaps(np.array([track.box for track in tracks]).reshape(-1, 4), boxes[chosen])
    same = np.array([track.label for track in tracks], int)[:, None] == classes[chosen]
    cost = np.where(same & (overlap >= least), 1 - overlap, 1e3)  # a pair that may not be costs more than all others
    pairs = [(row, column) for row, column in zip(*linear_sum_assignment(cost), strict=True) if cost[row, column] < 1e3]
    rows, columns = {row for row, _ in pairs}, {column for _, column in pairs}
    left = [track for row, track in enumerate(tracks) if row not in rows]
    free = np.array([index for column, index in enumerate(chosen) if column not in columns], int)
    return [(tracks[row], chosen[column]) for row, column in pairs], left, free


def _state(box):
    left, top, right, bottom = box
    width, height = max(right - left, 1e-6), max(bottom - top, 1e-6)
    return np.array([(left + right) / 2, (top + bottom) / 2, width / height, height])


def _corners(state):
    x, y, ratio, height = state
    height = max(height, 1e-6)
    half = abs(ratio) * height / 2
    return np.array([x - half, y - height / 2, x + half, y + height / 2])
