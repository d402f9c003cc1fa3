"""Video: what is written is read again; a file that is none, or ends early, is told in one line."""

import numpy as np
import pytest

from recipes.data import video
from zoo import films


def moving_square(count, height=48, width=64):
    frames = np.zeros((count, height, width, 3), np.uint8)
    for index, frame in enumerate(frames):
        frame[10:30, index : index + 20] = (200, 60, 30)
    return frames


def write(path, frames, rate=12.5):
    with video.Writer(path, rate, (frames.shape[2], frames.shape[1])) as out:
        for frame in frames:
            out.write(frame)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63)])
def test_frames_come_back(tmp_path, height, width):
    frames = moving_square(30, height, width)
    write(tmp_path / "a.mp4", frames)
    with video.Reader(tmp_path / "a.mp4") as reader:
        assert reader.rate == pytest.approx(12.5)
        assert reader.count == 30
        assert reader.size == (width + width % 2, height + height % 2)
        back = np.stack(list(reader))[:, :height, :width]
        assert reader.problem is None
    assert back.shape == frames.shape
    # lossy, and with half the resolution in colour
    assert np.abs(back.astype(int) - frames).mean() < 4


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_that_ends_early_is_told(suffix, tmp_path):
    random = np.random.default_rng(0)
    cut = tmp_path / f"b{suffix}"
    write(tmp_path / "a.mkv.mp4", random.integers(0, 255, (60, 48, 64, 3), np.uint8))
    import av

    # with its index in front, as in a download that broke off
    with (
        av.open(str(tmp_path / "a.mkv.mp4")) as old,
        av.open(str(cut), "w", options={"movflags": "faststart"} if suffix == ".mp4" else {}) as new,
    ):
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    with video.Reader(cut) as reader:
        frames = list(reader)
    assert 10 < len(frames) < 50
    assert f"b{suffix} ends early, after" in reader.problem and "of 60" in reader.problem


def test_the_rotation_of_a_phone_is_undone(tmp_path):
    import av

    write(tmp_path / "a.mp4", moving_square(4))
    with av.open(str(tmp_path / "a.mp4")) as old:
        frame = next(old.decode(video=0))
    assert films._upright(frame).shape == (48, 64, 3)

    class Turned:
        rotation = 90
        to_ndarray = frame.to_ndarray

    assert films._upright(Turned()).shape == (64, 48, 3)


def test_wrong_files(tmp_path):
    with pytest.raises(ValueError, match=r"there is no video .*none\.mp4"):
        video.Reader(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(ValueError, match=r"text\.mp4 is not a video that can be decoded"):
        video.Reader(tmp_path / "text.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ValueError, match=r"empty\.mp4 is not a video"):
        video.Reader(tmp_path / "empty.mp4")
    with pytest.raises(ValueError, match="there is no camera 87"):
        video.Reader(87)
    with pytest.raises(ValueError, match=r"written as \.mp4, got a\.avi"):
        video.Writer("a.avi", 25, (8, 8))


def test_nothing_half_written(tmp_path):
    with (
        pytest.raises(ValueError, match=r"\(48, 64, 3\), got \(48, 60, 3\)"),
        video.Writer(tmp_path / "a.mp4", 25, (64, 48)) as out,
    ):
        out.write(np.zeros((48, 64, 3), np.uint8))
        out.write(np.zeros((48, 60, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_names():
    assert video.is_video("a/b.MP4") and video.is_video("c.webm")
    assert not video.is_video("a.png") and not video.is_video("mp4")
