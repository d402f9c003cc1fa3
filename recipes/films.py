"""A video with what is found in it: boxes drawn on every frame, each object followed if that is wished."""

import time
from pathlib import Path

import numpy as np
from PIL import Image

from recipes import inputs
from recipes.data import video
from zoo.drawing import draw_boxes
from zoo.tracking import Tracker

LEAST = 0.1  # confidence of what may go on with a track
COLUMNS = ("track", "class", "first_frame", "last_frame", "first_seconds", "last_seconds", "detections", "confidence")


def annotate(path, frames, find, labels, folder, taken, *, confidence, seconds=None, every=1, track=False):
    """Writes a video or what a camera sees with its boxes, and gives its detections.

    Args:
        path: What the user named.
        frames: An open `video.Reader`.
        find: Function of a PIL image and the least confidence to a dictionary "boxes", "scores" and "classes".
        labels: Names of the classes.
        folder: Where to write it.
        taken: Names in the folder that are taken.
        confidence: Least confidence of a detection, and of one that begins a track.
        seconds: Length to look at, at most.
        every: Frames from one that is looked at to the next; those between show what was found last.
        track: Whether objects are followed.

    Returns:
        The entry of predictions.json: figures of the video, "detections" of each frame looked at, its "seconds" and
        "frame_numbers", and the "tracks" if objects are followed.
    """
    target = inputs.free_name(folder, Path(f"camera{path}") if isinstance(frames.source, int) else path, ".mp4", taken)
    tracker = Tracker(high=max(confidence, LEAST), low=LEAST) if track else None
    listed, times, numbers, finding, shown, index = [], [], [], 0.0, None, -1

    def look(frame):
        found = find(Image.fromarray(frame), LEAST if track else confidence)
        return tracker.update(found) if track else found

    def draw(frame, _):
        nonlocal shown, finding, index
        index += 1
        share = index % every / every
        if share == 0:
            begun = time.perf_counter()
            shown = look(frame)
            finding += time.perf_counter() - begun
            listed.append(named(shown, labels))
            times.append(round(frames.time, 3))
            numbers.append(index)
        now = tracker.between(share) if track and share else shown
        return draw_boxes(frame, now, labels)

    with frames:
        count, rate, spent = video.annotate(frames, target, draw, seconds=seconds)
    spent = {"decoding": spent["decoding"], "finding": finding, **spent, "drawing": spent["drawing"] - finding}
    return {
        "file": str(path),
        "size": list(frames.size),
        "frames": count,
        "frames_looked_at": len(listed),
        "frames_per_second": round(rate, 2),
        "milliseconds_per_frame": {part: round(1000 * total / max(1, count), 2) for part, total in spent.items()},
        "frame_numbers": numbers,
        "seconds": times,
        "detections": listed,
        **({"tracks": tracks(listed, numbers, times)} if track else {}),
        "video": str(target),
        "problem": frames.problem,
    }


def tracks(listed, numbers, times):
    """One row for each object that was followed: its class, when it was seen first and last, and how often."""
    rows = {}
    for number, second, found in zip(numbers, times, listed, strict=True):
        for one in found:
            start = {"track": one["track"], "class": one["class"], "first_frame": number, "first_seconds": second}
            row = rows.setdefault(one["track"], start | {"detections": 0, "confidence": 0.0})
            row |= {"last_frame": number, "last_seconds": second, "detections": row["detections"] + 1}
            row["confidence"] = max(row["confidence"], one["confidence"])
    return [{name: row[name] for name in COLUMNS} for _, row in sorted(rows.items())]


def named(found, labels):
    """Detections as rows for people: class, confidence, the box in pixels, and the number of the track if known."""
    rows = [
        {
            "class": labels[label],
            "confidence": round(float(score), 4),
            **dict(zip(("left", "top", "right", "bottom"), (round(float(side), 1) for side in box), strict=True)),
        }
        for box, score, label in zip(found["boxes"], found["scores"], found["classes"], strict=True)
    ]
    if "tracks" in found:
        rows = [{"track": int(number), **row} for number, row in zip(found["tracks"], rows, strict=True)]
    return rows


def counted(rows):
    """How many objects of each class were followed, most first: "3 person, 2 car"."""
    names, counts = np.unique([row["class"] for row in rows], return_counts=True)
    return ", ".join(f"{counts[index]:,} {names[index]}" for index in np.argsort(-counts, kind="stable"))
