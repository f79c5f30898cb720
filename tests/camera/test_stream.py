"""Tests of the OpenCV source's encoded video files; its live cameras: `test_process.py`."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from camera.opening import open_source
from camera.source import Event, Frame
from camera.stream import VideoFile
from config.errors import UserError
from config.settings import Camera, OpencvSource

pytestmark = pytest.mark.timeout(120)

CODECS = {"video.avi": "MJPG", "video.mkv": "MJPG", "video.mp4": "mp4v"}
COUNT = 40


def grey_of(number: int) -> int:
    """The grey value of frame `number` of the files here and of `mjpeg_server.py`."""
    return 20 + number * 10 % 200


def record(path: Path) -> Path:
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*CODECS[path.name]), 10, (64, 48), isColor=True
    )
    assert writer.isOpened()
    for number in range(COUNT):
        writer.write(np.full((48, 64, 3), grey_of(number), np.uint8))
    writer.release()
    return path


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def play(path: Path, events: list[Event]) -> list[Frame]:
    return list(VideoFile(OpencvSource(address=str(path)), events.append).frames())


def greys(frames: list[Frame]) -> list[float]:
    return [float(np.mean(frame.image)) for frame in frames]


@pytest.mark.parametrize("name", CODECS)
def test_a_video_file_is_read_completely_and_in_order(tmp_path: Path, name: str) -> None:
    events: list[Event] = []
    frames = play(record(tmp_path / name), events)
    assert [f.sequence for f in frames] == list(range(COUNT))
    assert {(f.image.shape, f.image.dtype.name) for f in frames} == {((48, 64), "uint8")}
    assert greys(frames) == pytest.approx([grey_of(i) for i in range(COUNT)], abs=4)
    assert {f.origin for f in frames} == {str(tmp_path / name)}
    times = [f.monotonic_ns for f in frames]
    assert times == sorted(times)
    assert [e.kind for e in events] == ["opened", "ended"]
    assert f"{COUNT} frames" in events[-1].text


def test_a_file_is_not_live_and_a_device_or_url_is(tmp_path: Path) -> None:
    def live(address: str) -> bool:
        settings = Camera(source="opencv", opencv=OpencvSource(address=address))
        return open_source(settings, [], print).live

    assert not live(str(record(tmp_path / "video.avi")))
    assert live("/dev/video99")
    assert live("0")
    assert live("rtsp://127.0.0.1:1/x")
    assert live("https://127.0.0.1:1/x")


@pytest.mark.parametrize("name", ["video.avi", "video.mkv"])
def test_a_truncated_video_gives_its_frames_and_says_how_many_are_missing(
    tmp_path: Path, name: str
) -> None:
    events: list[Event] = []
    path = cut(record(tmp_path / name), 0.6)
    frames = play(path, events)
    assert 5 < len(frames) < COUNT - 5
    assert greys(frames[:-1]) == pytest.approx([grey_of(i) for i in range(len(frames) - 1)], abs=4)
    assert [e.kind for e in events] == ["opened", "truncated"]
    assert events[-1].text == f"{path}: truncated: {len(frames)} of {COUNT} frames could be read"


def test_an_mp4_without_its_index_cannot_be_opened(tmp_path: Path) -> None:
    path = cut(record(tmp_path / "video.mp4"), 0.5)
    with pytest.raises(UserError, match="not a video OpenCV can open; is it whole") as error:
        play(path, [])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"hello, this is text\n" * 50])
def test_what_is_not_a_video_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"film\.mp4: not a video OpenCV can open"):
        play(path, [])


def test_a_missing_file_is_named_with_what_would_be_taken(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"opencv\.address: .*gone\.avi: no such file; name"):
        VideoFile(OpencvSource(address=str(tmp_path / "gone.avi")), print)


def test_a_closed_file_ends_without_being_called_truncated(tmp_path: Path) -> None:
    events: list[Event] = []
    path = record(tmp_path / "video.avi")
    source = VideoFile(OpencvSource(address=str(path)), events.append)
    for frame in source.frames():
        if frame.sequence == 3:
            source.close()
    assert frame.sequence == 3
    assert [e.kind for e in events] == ["opened"]
