"""Tests of live cameras in processes of their own: an HTTP camera that dies, hangs, comes back."""

import gc
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from camera.capture import Capture
from camera.outbox import SLOTS
from camera.process import ProcessSource, Reader, module_command, stream_reader
from camera.quality import QualityGate
from camera.source import Event, Frame
from config.errors import UserError
from config.settings import Live, OpencvSource, Quality

pytestmark = pytest.mark.timeout(120)

SERVER = Path(__file__).with_name("mjpeg_server.py")
READER = str(Path(__file__).with_name("odd_reader.py"))
SOON = Live(retry_first_s=0.05, retry_longest_s=0.2, hang_timeout_s=60)


def odd_reader(how: str, *, triggered: bool = False) -> Reader:
    """A reader of ours that misbehaves as it is told, see `odd_reader.py`."""
    command = [sys.executable, READER]
    return Reader(command, {"how": how}, "odd", triggered=triggered)


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def grey_of(number: int) -> int:
    """The grey value of frame `number` of `mjpeg_server.py`."""
    return 20 + number * 10 % 200


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Watched:
    """A live source read on a thread; its frames and events are lists to look at."""

    def __init__(self, reader: Reader, live: Live) -> None:
        self.frames: list[Frame] = []
        self.events: list[Event] = []
        self.source = ProcessSource(reader, live, self.events.append)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        self.frames.extend(self.source.frames())

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def wait_for_frames(self, count: int) -> None:
        assert wait_until(lambda: len(self.frames) >= count), self.events


@contextmanager
def watched(reader: Reader, live: Live = SOON) -> Iterator[Watched]:
    """Whatever happens, no thread and no process is left behind."""
    camera = Watched(reader, live)
    pid = None
    try:
        yield camera
    finally:
        pid = camera.source.pid
        camera.source.close()
        camera.source.close()
        camera.thread.join(20)
    assert not camera.thread.is_alive()
    assert pid is None or not runs(pid)


def http(port: int, read_timeout_s: float = 20, secret: str = "") -> Reader:
    return stream_reader(
        OpencvSource(
            address=f"http://{secret}127.0.0.1:{port}/video", read_timeout_s=read_timeout_s
        )
    )


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(port: int, *how: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, str(SERVER), str(port), *how])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def steps(frames: list[Frame]) -> list[int]:
    """By how many frames of the server each frame is ahead of the one before it."""
    numbers = [round((float(np.mean(frame.image)) - 20) / 10) for frame in frames]
    return [(b - a) % 20 for a, b in itertools.pairwise(numbers)]


# --- cameras that are not there, die, hang


@pytest.mark.parametrize("address", ["/dev/video99", "99"])
def test_a_missing_device_is_tried_again_with_longer_and_longer_waits_until_closed(
    address: str,
) -> None:
    with watched(stream_reader(OpencvSource(address=address))) as camera:
        assert wait_until(lambda: len(camera.events) >= 4)
    assert set(camera.kinds()) == {"lost"}
    waits = [event.text.rpartition("next try in ")[2] for event in camera.events[:4]]
    assert waits == ["0.05 s", "0.1 s", "0.2 s", "0.2 s"]
    assert f"{address}: no picture" in camera.events[0].text
    assert camera.frames == []


def test_a_password_in_the_address_is_not_reported(port: int) -> None:
    with watched(http(port, secret="operator:secret@")) as camera:
        assert wait_until(lambda: len(camera.events) >= 1)
    assert f"http://127.0.0.1:{port}/video: no picture" in camera.events[0].text
    assert not any("secret" in event.text for event in camera.events)


def test_pictures_of_other_sizes_and_damaged_ones_within_a_stream_are_told(port: int) -> None:
    with server(port, "odd"), watched(http(port)) as camera:
        camera.wait_for_frames(12)
    seen = {(frame.image.shape, frame.fault) for frame in camera.frames}
    assert seen == {((48, 64), None), ((96, 128), None), ((96, 128), "incomplete")}
    assert "lost" not in camera.kinds()[camera.kinds().index("opened") :]


def test_an_http_camera_that_is_killed_comes_back_by_itself(port: int) -> None:
    with watched(http(port)) as camera:
        with server(port):  # killed with SIGKILL at its end
            camera.wait_for_frames(20)
        opened = camera.kinds().index("opened")
        assert wait_until(lambda: camera.kinds()[opened + 1 :].count("lost") >= 2), camera.events
        lost = next(event for event in camera.events[opened:] if event.kind == "lost")
        assert lost.text.endswith("next try in 0.05 s"), "the waits begin anew"
        before = len(camera.frames)
        with server(port):
            camera.wait_for_frames(before + 20)
            camera.source.close()
            camera.thread.join(20)
    kinds = [kind for kind, _ in itertools.groupby(camera.kinds()[opened:])]
    assert kinds == ["opened", "lost", "opened"]
    numbers = [frame.sequence for frame in camera.frames]
    assert numbers == sorted(set(numbers))
    # On a busy machine frames may be dropped, and then the numbers have the same gaps.
    for part in (camera.frames[:before], camera.frames[before:]):
        gaps = [b.sequence - a.sequence for a, b in itertools.pairwise(part)]
        assert steps(part) == [gap % 20 for gap in gaps]


def test_an_http_camera_that_hangs_is_lost_after_the_time_out_and_comes_back(port: int) -> None:
    with server(port) as process, watched(http(port, 0.5)) as camera:
        camera.wait_for_frames(5)
        lost = camera.kinds().count("lost")
        process.send_signal(signal.SIGSTOP)
        assert wait_until(lambda: camera.kinds().count("lost") > lost), camera.events
        before = len(camera.frames)
        process.send_signal(signal.SIGCONT)
        camera.wait_for_frames(before + 5)


def test_a_reader_that_hangs_for_ever_is_killed_and_the_camera_opened_anew(port: int) -> None:
    reader = stream_reader(OpencvSource(address=f"http://127.0.0.1:{port}/video"))
    reader = Reader(reader.command, reader.settings, reader.name)  # no patience of its own
    with server(port), watched(reader, Live(retry_first_s=0.05, hang_timeout_s=3)) as camera:
        camera.wait_for_frames(5)
        pid = camera.source.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # as hard as a driver that never returns
        before = camera.kinds().count("lost")
        assert wait_until(lambda: camera.kinds().count("lost") > before)
        assert not runs(pid)
        frames = len(camera.frames)
        camera.wait_for_frames(frames + 5)
        assert camera.source.pid != pid
    text = next(e.text for e in camera.events[before + 1 :] if e.kind == "lost")
    assert "was silent for 3 s and is killed; next try in 0.05 s" in text


def test_close_does_not_wait_for_a_reader_that_hangs(port: int) -> None:
    with watched(odd_reader("hang"), Live(hang_timeout_s=600)) as camera:
        camera.wait_for_frames(1)
        start = time.monotonic()
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("raise", "ZeroDivisionError: division by zero"),
        ("exit", "its reader ended with status 3"),
        ("crash", "its reader ended with status -11"),
        ("lose", "gone fishing"),
    ],
)
def test_a_reader_that_ends_is_started_again_and_says_why(how: str, text: str) -> None:
    with watched(odd_reader(how)) as camera:
        camera.wait_for_frames(3)
    lost = next(event for event in camera.events if event.kind == "lost")
    assert text in lost.text
    assert "\n" not in lost.text
    assert [f.sequence for f in camera.frames] == list(range(len(camera.frames)))


def test_a_camera_that_cannot_work_is_an_error_for_the_user() -> None:
    source = ProcessSource(odd_reader("refuse"), SOON, print)
    with pytest.raises(UserError, match="odd: gain_db: found 99"):
        list(source.frames())
    assert source.pid is None


def test_the_reader_ends_when_the_program_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import os, signal\n"
        "from test_process import ProcessSource, SOON, odd_reader\n"
        "source = ProcessSource(odd_reader('hang'), SOON, print)\n"
        "frames = source.frames(); next(frames); print(source.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == -signal.SIGKILL, run
    pid = int(run.stdout)
    assert wait_until(lambda: not runs(pid)), "a hanging reader must not outlive its program"


# --- frames


def test_a_slow_reader_gets_the_latest_frames_whole_and_the_rest_is_counted() -> None:
    """Each frame of `count` is filled with its number, so a mixed one would show."""
    source = ProcessSource(odd_reader("count"), SOON, print)
    capture = Capture(source, QualityGate(Quality(min_contrast=0, min_sharpness=0)))
    got: list[Frame] = []
    for batch in capture.batches(4):
        got += [captured.frame for captured in batch]
        time.sleep(0.1)
        if len(got) > 10:
            break
    for frame in got:
        assert set(np.unique(frame.image)) == {frame.sequence % 251}
    numbers = [frame.sequence for frame in got]
    assert numbers == sorted(set(numbers))
    assert capture.dropped >= numbers[-1] - numbers[0] + 1 - len(numbers) > 10
    # What the last batch shows was there when the one before it had been looked at.
    assert time.monotonic_ns() - got[-1].monotonic_ns < 5e9


def test_frames_on_demand_are_all_handed_over_also_to_a_slow_reader() -> None:
    source = ProcessSource(odd_reader("on-trigger", triggered=True), SOON, print)
    assert not source.live
    frames = source.frames()
    starter = threading.Timer(0.5, source.trigger)
    starter.start()
    first = next(frames)
    for _ in range(SLOTS):  # as many as there is room for, while nobody reads
        source.trigger()
    time.sleep(0.5)
    assert [next(frames).sequence for _ in range(SLOTS)] == [1, 2, 3]
    assert first.fault is None
    source.close()
    assert list(frames) == []


def test_a_fault_of_the_camera_reaches_the_one_who_judges() -> None:
    source = ProcessSource(odd_reader("incomplete"), SOON, print)
    capture = Capture(source, QualityGate(Quality()))
    batch = next(iter(capture.batches(1)))
    assert batch[0].fault == "incomplete"
    capture.close()


def test_nothing_of_the_shared_memory_is_left(port: int) -> None:
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with watched(odd_reader("count")) as camera:
            camera.wait_for_frames(3)
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_reader_runs_our_module_whatever_folder_it_is_started_in(tmp_path: Path) -> None:
    (tmp_path / "camera").mkdir()
    (tmp_path / "camera/__init__.py").write_text("raise SystemExit('the wrong one')")
    command = module_command(sys.executable, "camera.outbox")
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
