"""Video, one frame after the other: files and cameras in, H.264 files out (FFmpeg, by way of PyAV)."""

import math
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from recipes.data.splits import walk
from zoo.atomic import atomic
from zoo.films import KINDS, Reader, is_video  # noqa: F401 - asked for beside the writer

CLOCK = Fraction(1, 90_000)  # seconds of a tick, fine enough for every rate


def files(folder):
    """The videos in a folder and the folders in it, in order."""
    return [path for path in walk(folder) if is_video(path)]


class Writer:
    """An MP4 file with H.264, whole or not at all; to be used in a `with`.

    Args:
        path: Where to write it.
        rate: Frames per second, of frames that come without a time.
        size: (width, height); an odd side gets one more row or column, which H.264 needs.

    Raises:
        ValueError: If the path does not end in .mp4.
    """

    def __init__(self, path, rate, size):
        if Path(path).suffix.lower() != ".mp4":
            raise ValueError(f"a video is written as .mp4, got {path}")
        self.path, self.rate, self.size = Path(path), rate, size

    def __enter__(self):
        import av

        self._av = av
        self._atomic = atomic(self.path)
        self._container = av.open(str(self._atomic.__enter__()), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=Fraction(self.rate).limit_denominator(1001))
        self._stream.width, self._stream.height = (2 * math.ceil(side / 2) for side in self.size)
        self._stream.pix_fmt = "yuv420p"  # what every player shows
        self._stream.options = {"crf": "21", "x264-params": "force-cfr=1"}  # else players take the clock for the rate
        self._stream.codec_context.time_base = CLOCK
        self._written, self._last = 0, -1
        return self

    def write(self, frame, time=None):
        """Adds a frame, uint8 (height, width, 3), to be shown so many seconds after the start.

        Raises:
            ValueError: If it has another size.
        """
        if frame.shape != (self.size[1], self.size[0], 3):
            raise ValueError(f"a frame must be of shape {(self.size[1], self.size[0], 3)}, got {frame.shape}")
        extra = self._stream.height - frame.shape[0], self._stream.width - frame.shape[1]
        frame = np.pad(frame, ((0, extra[0]), (0, extra[1]), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        seconds = self._written / self.rate if time is None else time
        self._last = max(self._last + 1, round(seconds / CLOCK))
        frame.pts, frame.time_base = self._last, CLOCK
        self._written += 1
        self._container.mux(self._stream.encode(frame))

    def __exit__(self, *error):
        if error[0] is None:
            self._container.mux(self._stream.encode())
        self._container.close()
        self._atomic.__exit__(*error)


def annotate(frames, target, draw, *, seconds=None):
    """Writes a video frame by frame as a function draws it, with its progress on a terminal; Ctrl-C ends a camera.

    Args:
        frames: An open `Reader`.
        target: Where to write (MP4).
        draw: Function of a frame, uint8 (height, width, 3), and the frames per second so far, to a frame.
        seconds: Length to write, at most.

    Returns:
        (number of frames, frames per second, without the first one, which compiles what is compiled once, and the
        seconds of all frames by part: "decoding", "drawing", "encoding").
    """
    count, rate, begun, told = 0, 0.0, time.perf_counter(), time.perf_counter()
    spent, now = dict.fromkeys(("decoding", "drawing", "encoding"), 0.0), begun

    def took(part):
        nonlocal now
        before, now = now, time.perf_counter()
        spent[part] += now - before

    with Writer(target, frames.rate, frames.size) as out:
        try:
            for frame in frames:
                took("decoding")
                drawn = draw(frame, rate)
                took("drawing")
                out.write(drawn, frames.time)
                took("encoding")
                count += 1
                rate = max(1, count - 1) / max(now - begun, 1e-9)
                if count == 1:
                    begun = now
                if now - told > 1 and sys.stderr.isatty():
                    told = now
                    of = f" of {frames.count:,}" if frames.count else ""
                    print(f"\r{frames.source}: frame {count:,}{of}, {rate:.1f}/s ", end="", file=sys.stderr)
                if seconds is not None and frames.time + 1 / frames.rate >= seconds:
                    break
        except KeyboardInterrupt:
            if not count or not isinstance(frames.source, int):
                raise
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if frames.problem:
        print(frames.problem, file=sys.stderr)
    return count, rate, spent
