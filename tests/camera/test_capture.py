"""Tests of the capture thread, with small sources of their own and the real folder source."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from camera.capture import WAITING_FRAMES, WAITING_FRAMES_LIVE, Capture, Captured
from camera.folder import FolderSource
from camera.quality import QualityGate
from camera.source import Frame
from camera.vmc220 import Vmc220Source as Vmc220
from config.errors import UserError
from config.settings import FolderSource as FolderSettings
from config.settings import Quality, Vmc220Source

pytestmark = pytest.mark.timeout(60)


class Numbers:
    """A camera of small noisy pictures that ends after `count`, with `error` if there is one."""

    def __init__(self, count: int, *, live: bool, error: Exception | None = None) -> None:
        self.live = live
        self.ended = threading.Event()
        self._count = count
        self._error = error
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        rng = np.random.default_rng(0)
        for number in range(self._count):
            if self._closed.is_set():
                break
            image = rng.integers(0, 256, (20, 20), dtype=np.uint8)
            yield Frame(image, number, time.monotonic_ns(), time.time_ns())
        else:
            if self._error is not None:
                raise self._error
        self.ended.set()

    def close(self) -> None:
        self._closed.set()


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


@pytest.fixture(autouse=True)
def every_thread_ends() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert wait_until(lambda: set(threading.enumerate()) <= before), threading.enumerate()


def gate() -> QualityGate:
    return QualityGate(Quality())


def numbers(batches: Iterator[list[Captured]]) -> list[int]:
    return [captured.frame.sequence for batch in batches for captured in batch]


def test_a_slow_reader_of_a_folder_gets_every_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count = 2 * WAITING_FRAMES + 5
    for i in range(count):
        image = rng.integers(0, 256, (20, 20), dtype=np.uint8)
        (tmp_path / f"{i:03}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    capture = Capture(FolderSource(FolderSettings(path=tmp_path), [], print), gate())
    got: list[int] = []
    for batch in capture.batches(4):
        if not got:
            # As slow as a reader can be: whatever can be read ahead has been.
            assert wait_until(lambda: len(capture._waiting) == capture._room)
            time.sleep(0.3)  # longer than the patience of a source that waits
        got += [c.frame.sequence for c in batch]
    assert got == list(range(count))
    assert capture.dropped == 0


def test_a_slow_reader_of_a_live_camera_gets_the_latest_frames_and_the_rest_is_counted() -> None:
    source = Numbers(50, live=True)
    capture = Capture(source, gate())
    batches = capture.batches(1)
    got = [next(batches)[0].frame.sequence]
    assert source.ended.wait(20)  # the camera never waits for the reader
    assert wait_until(lambda: not capture._thread.is_alive())
    got += numbers(batches)
    assert got[-1] == 49
    assert len(got) <= 1 + WAITING_FRAMES_LIVE
    assert len(got) + capture.dropped == 50


def test_batches_hold_what_waits_and_never_more_than_asked() -> None:
    source = Numbers(13, live=False)
    capture = Capture(source, gate())
    batches = capture.batches(5)
    sizes = [len(next(batches))]
    assert source.ended.wait(20)
    assert wait_until(lambda: not capture._thread.is_alive())
    sizes += [len(batch) for batch in batches]
    assert sum(sizes) == 13
    assert min(sizes) >= 1 and max(sizes) == 5
    assert sizes[1:-1] == [5] * len(sizes[1:-1]), "what waits comes together"


@pytest.mark.parametrize("live", [False, True])
def test_an_error_of_the_source_reaches_the_reader_after_its_frames(live: bool) -> None:
    capture = Capture(Numbers(2, live=live, error=UserError("it broke")), gate())
    got = []
    with pytest.raises(UserError, match="it broke"):
        for batch in capture.batches(8):
            got += [c.frame.sequence for c in batch]
    assert got[-1:] == ([1] if capture.dropped < 2 else [])
    assert len(got) + capture.dropped == 2


def test_an_error_of_the_gate_reaches_the_reader_too() -> None:
    class Broken(QualityGate):
        def fault(self, image: object) -> str | None:
            raise ZeroDivisionError("gate")

    with pytest.raises(ZeroDivisionError, match="gate"):
        numbers(Capture(Numbers(3, live=False), Broken(Quality())).batches(4))


@pytest.mark.parametrize("live", [False, True])
def test_close_from_another_thread_ends_the_iteration(live: bool) -> None:
    capture = Capture(Numbers(10**9, live=live), gate())
    closer = threading.Timer(0.1, capture.close)
    closer.start()
    assert numbers(capture.batches(4))
    closer.join()


def test_close_takes_no_frame_out_of_those_that_are_judged_still() -> None:
    capture = Capture(Numbers(10**9, live=False), gate())
    batches = capture.batches(1)
    first = next(batches)
    assert wait_until(lambda: len(capture._waiting) == capture._room)
    capture.close()
    time.sleep(0.5)  # the thread before the full queue ends
    found = numbers(iter([first, *batches]))
    assert found == list(range(len(found)))
    assert capture.dropped == 0


def test_close_wakes_a_reader_that_waits_for_a_slow_camera() -> None:
    capture = Capture(Vmc220(Vmc220Source(rate_fps=0.01)), gate())
    closer = threading.Timer(0.1, capture.close)
    closer.start()
    start = time.monotonic()
    assert numbers(capture.batches(4)) == []
    assert time.monotonic() - start < 20
    closer.join()


def test_a_capture_closed_before_it_is_read_gives_nothing() -> None:
    capture = Capture(Numbers(10**9, live=False), gate())
    capture.close()
    assert len(numbers(capture.batches(4))) <= 1


@pytest.mark.parametrize("live", [False, True])
def test_a_reader_that_goes_away_leaves_no_thread(live: bool) -> None:
    """The fixture `every_thread_ends` sees the rest."""
    capture = Capture(Numbers(10**9, live=live), gate())
    for batch in capture.batches(4):
        assert batch
        assert wait_until(
            lambda: len(capture._waiting) == capture._room
        )  # so that the thread stands before a full queue
        break


def test_frames_carry_the_fault_the_gate_found() -> None:
    class Dark(Numbers):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                image = frame.image * 0 if frame.sequence == 1 else frame.image
                yield Frame(image, frame.sequence, frame.monotonic_ns, frame.wall_ns)

    capture = Capture(Dark(3, live=False), gate())
    faults = [c.fault for batch in capture.batches(8) for c in batch]
    assert faults == [None, "dark", None]


def test_a_reader_may_look_about_while_no_frame_comes() -> None:
    capture = Capture(Vmc220(Vmc220Source(rate_fps=0.01)), gate())
    batches = capture.batches(4, wait_s=0.02)
    assert [next(batches) for _ in range(3)] == [[], [], []]
    capture.close()
    assert [batch for batch in batches if batch] == []


def test_gaps_in_the_numbers_of_a_source_are_dropped_frames() -> None:
    class Gaps(Numbers):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                yield Frame(frame.image, frame.sequence * 3 + 2, 0, 0)

    capture = Capture(Gaps(4, live=False), gate())
    assert numbers(capture.batches(8)) == [2, 5, 8, 11]
    assert capture.dropped == 8


class SoftwareTriggered:
    """A camera that gives a frame for every trigger, a while after it."""

    live = False

    def __init__(self) -> None:
        self.asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.triggers = 0

    def trigger(self) -> None:
        self.triggers += 1
        self.asked.put(True)

    def frames(self) -> Iterator[Frame]:
        number = 0
        while self.asked.get():
            time.sleep(0.02)
            image = np.random.default_rng(number).integers(0, 255, (40, 40), np.uint8)
            yield Frame(image, number, time.monotonic_ns(), 0)
            number += 1

    def close(self) -> None:
        self.asked.put(False)


class Wanting:
    """Wants so many frames."""

    def __init__(self, count: int) -> None:
        self.left = count

    def wait(self, timeout_s: float) -> bool:
        if not self.left:
            time.sleep(timeout_s)
        return self.left > 0

    def claim(self, frame: Frame) -> object | None:
        if not self.left:
            return None
        self.left -= 1
        return frame.sequence


def test_a_camera_with_a_software_trigger_is_triggered_once_for_each_frame_that_is_wanted() -> None:
    source = SoftwareTriggered()
    capture = Capture(source, QualityGate(Quality(min_sharpness=0)), Wanting(5))
    seen: list[object] = []
    for batch in capture.batches(8, 0.3):
        seen += [captured.claim for captured in batch]
        if not batch and len(seen) >= 5:
            capture.close()
    assert seen == [0, 1, 2, 3, 4]
    assert source.triggers == 5
