"""The frames of videos and cameras, one after the other (FFmpeg, by way of PyAV)."""

import sys
from pathlib import Path

import numpy as np

KINDS = "MP4, MOV, AVI, MKV, WebM"
SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"}
CAMERAS = {"linux": ("/dev/video{}", "v4l2"), "darwin": ("{}", "avfoundation")}  # name and format of a camera


def is_video(path):
    """Whether a path has the suffix of a video."""
    return Path(path).suffix.lower() in SUFFIXES


class Reader:
    """The frames of a video file or camera, uint8 (height, width, 3), turned upright; to be used in a `with`.

    Attributes:
        rate: Frames per second.
        size: (width, height) of a frame.
        time: Seconds from the first frame to the one that was given last.
        count: Frames that the file says to have; None where it does not say, and for a camera.
        problem: A line if the file ended before its time, once all frames are read; else None.

    Args:
        source: Path of a file, or the number of a camera.

    Raises:
        ValueError: If there is no such file or camera, or no video in it that can be decoded.
    """

    def __init__(self, source):
        try:
            import av
        except ImportError as error:
            raise ValueError("videos and cameras need av: pip install 'image-zoo[video]'") from error
        self.source, self.problem, self.time = source, None, 0.0
        self._av = av
        try:
            self._container = _open_camera(av, source) if isinstance(source, int) else av.open(str(source))
            stream = self._container.streams.video[0]
            stream.thread_type = "AUTO"
            self._frames = self._container.decode(stream)  # one for all: a second would lose what the first has read
            first = next(self._frames)
        except (av.FFmpegError, IndexError, StopIteration, OSError) as error:
            if isinstance(source, int):
                raise ValueError(f"there is no camera {source} that can be opened") from error
            if isinstance(error, FileNotFoundError):
                raise ValueError(f"there is no video {source}") from None
            if isinstance(error, PermissionError):
                raise ValueError(f"{source} may not be read: permission denied") from None
            raise ValueError(f"{source} is not a video that can be decoded ({KINDS})") from error
        self._first = first
        height, width = _upright(first).shape[:2]
        self.size = width, height
        self.rate = float(stream.average_rate or stream.guessed_rate or 25)
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        seconds = seconds or (self._container.duration or 0) / av.time_base  # where only the file as a whole says it
        self.count = stream.frames or round(seconds * self.rate) or None
        if isinstance(source, int):
            self.count = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._container.close()

    def __iter__(self):
        seen, cause, begun = 1, None, self._first.time
        yield _upright(self._first)
        try:
            for frame in self._frames:
                seen += 1
                # a phone does not keep its rate: each frame has a time of its own
                late = (seen - 1) / self.rate if None in (frame.time, begun) else frame.time - begun
                self.time = max(self.time, late)
                yield _upright(frame)
        except self._av.FFmpegError as error:
            cause = error.strerror
        # the count of some files is off by a frame or two
        if cause or (self.count and seen < self.count - max(2, self.count // 100)):
            of = f" of {self.count}" if self.count else ""
            self.problem = f"{self.source} ends early, after {seen}{of} frames" + (f": {cause}" if cause else "")


def _open_camera(av, number):
    if sys.platform not in CAMERAS:
        raise ValueError(f"a camera can be read on Linux and macOS, not on {sys.platform}")
    name, form = CAMERAS[sys.platform]
    return av.open(name.format(number), format=form)


def _upright(frame):
    """The pixels as the camera was held: a phone writes its rotation beside them."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
