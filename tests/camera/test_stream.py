"""Tests of the OpenCV source: encoded video files, and an HTTP camera that dies and comes back."""

import itertools
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from camera.source import Event, Frame
from camera.stream import StreamSource
from config.errors import UserError
from config.settings import OpencvSource

pytestmark = pytest.mark.timeout(120)

SERVER = Path(__file__).with_name("mjpeg_server.py")
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
    return list(StreamSource(OpencvSource(address=str(path)), events.append).frames())


def greys(frames: list[Frame]) -> list[float]:
    return [float(np.mean(frame.image)) for frame in frames]


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


# --- video files


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
        return StreamSource(OpencvSource(address=address), print).live

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
        StreamSource(OpencvSource(address=str(tmp_path / "gone.avi")), print)


def test_a_closed_file_ends_without_being_called_truncated(tmp_path: Path) -> None:
    events: list[Event] = []
    path = record(tmp_path / "video.avi")
    source = StreamSource(OpencvSource(address=str(path)), events.append)
    for frame in source.frames():
        if frame.sequence == 3:
            source.close()
    assert frame.sequence == 3
    assert [e.kind for e in events] == ["opened"]


# --- live cameras


class Watched:
    """A live source read on a thread; its frames and events are lists to look at."""

    def __init__(self, address: str, read_timeout_s: float) -> None:
        settings = OpencvSource(
            address=address,
            open_timeout_s=5,
            read_timeout_s=read_timeout_s,
            retry_first_s=0.05,
            retry_longest_s=0.2,
        )
        self.frames: list[Frame] = []
        self.events: list[Event] = []
        self.source = StreamSource(settings, self.events.append)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        self.frames.extend(self.source.frames())

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def wait_for_frames(self, count: int) -> None:
        assert wait_until(lambda: len(self.frames) >= count), self.events


@contextmanager
def watched(address: str, read_timeout_s: float = 20) -> Iterator[Watched]:
    camera = Watched(address, read_timeout_s)
    try:
        yield camera
    finally:
        camera.source.close()
        camera.source.close()
        camera.thread.join(20)
    assert not camera.thread.is_alive()


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, str(SERVER), str(port)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_missing_device_is_tried_again_with_longer_and_longer_waits_until_closed() -> None:
    with watched("/dev/video99") as camera:
        assert wait_until(lambda: len(camera.events) >= 4)
    assert set(camera.kinds()) == {"lost"}
    waits = [event.text.rpartition("next try in ")[2] for event in camera.events[:4]]
    assert waits == ["0.05 s", "0.1 s", "0.2 s", "0.2 s"]
    assert "/dev/video99: no picture" in camera.events[0].text
    assert camera.frames == []


def test_a_device_given_by_its_number_is_tried_again_too() -> None:
    with watched("99") as camera:
        assert wait_until(lambda: len(camera.events) >= 2)
    assert set(camera.kinds()) == {"lost"}
    assert camera.frames == []


def test_a_password_in_the_address_is_not_reported(port: int) -> None:
    with watched(f"http://operator:secret@127.0.0.1:{port}/video") as camera:
        assert wait_until(lambda: len(camera.events) >= 1)
    assert f"http://127.0.0.1:{port}/video: no picture" in camera.events[0].text
    assert not any("secret" in event.text for event in camera.events)


def steps(frames: list[Frame]) -> list[int]:
    """By how many frames of the server each frame is ahead of the one before it."""
    numbers = [round((grey - 20) / 10) for grey in greys(frames)]
    return [(b - a) % 20 for a, b in itertools.pairwise(numbers)]


def test_an_http_camera_that_is_killed_comes_back_by_itself(port: int) -> None:
    with watched(f"http://127.0.0.1:{port}/video") as camera:
        with server(port):  # killed with SIGKILL at its end
            camera.wait_for_frames(20)
        opened = camera.kinds().index("opened")
        assert wait_until(lambda: camera.kinds()[opened + 1 :].count("lost") >= 2), camera.events
        lost = next(event for event in camera.events[opened:] if event.kind == "lost")
        assert lost.text.endswith("next try in 0.05 s"), "the waits begin anew"
        before = len(camera.frames)
        assert steps(camera.frames) == [1] * (before - 1), "each frame once, in order"
        with server(port):
            camera.wait_for_frames(before + 20)
            camera.source.close()
            camera.thread.join(20)
    kinds = [kind for kind, _ in itertools.groupby(camera.kinds()[opened:])]
    assert kinds == ["opened", "lost", "opened"]
    assert [f.sequence for f in camera.frames] == list(range(len(camera.frames)))
    after = camera.frames[before:]
    assert steps(after) == [1] * (len(after) - 1)
    assert float(np.mean(after[0].image)) == pytest.approx(grey_of(0), abs=4), "a new connection"


def test_an_http_camera_that_hangs_is_lost_after_the_time_out_and_comes_back(port: int) -> None:
    with server(port) as process, watched(f"http://127.0.0.1:{port}/video", 0.5) as camera:
        camera.wait_for_frames(5)
        lost = camera.kinds().count("lost")
        process.send_signal(signal.SIGSTOP)
        assert wait_until(lambda: camera.kinds().count("lost") > lost), camera.events
        before = len(camera.frames)
        process.send_signal(signal.SIGCONT)
        camera.wait_for_frames(before + 5)
    assert [f.sequence for f in camera.frames] == list(range(len(camera.frames)))
