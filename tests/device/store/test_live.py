"""What the loop writes for the live page, and what is read of it."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from camera.source import Event
from config.settings import Device, Settings
from device.store.live import (
    FRAMES_KEPT,
    THUMBNAIL,
    LiveState,
    LiveWriter,
    Shown,
    live_path,
    read_frame,
    read_live,
)

PICTURE = np.full((400, 800), 90, np.uint8)


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    (tmp_path / "data").mkdir()
    return Settings(device=Device(data=tmp_path / "data"))


@pytest.fixture
def writer(site: Settings) -> Iterator[LiveWriter]:
    one = LiveWriter(site)
    one.start()
    yield one
    one.close()


def until(path: Path, good: Callable[[LiveState], object], seconds: float = 5) -> LiveState:
    """Look until it is so."""
    end = time.monotonic() + seconds
    while not good(state := read_live(path)):
        assert time.monotonic() < end, state
        time.sleep(0.05)
    return state


def test_the_worst_frame_between_two_looks_is_shown(site: Settings, writer: LiveWriter) -> None:
    path = live_path(site)
    until(path, lambda s: s.loop)
    for verdict in ("pass", "fail", "pass", "unsure"):
        writer.show(Shown(verdict, "scratch" if verdict == "fail" else "", PICTURE))
    state = until(path, lambda s: s.frames)
    assert state.loop is not None
    assert (state.loop["verdict"], state.loop["name"]) == ("fail", "scratch")
    assert state.loop["counts"] == {"pass": 2, "fail": 1, "unsure": 1}
    assert [(f.verdict, f.name) for f in state.frames] == [("fail", "scratch")]
    writer.show(Shown("pass", "clean", PICTURE))
    state = until(path, lambda s: len(s.frames) == 2)
    assert state.loop is not None
    assert state.loop["verdict"] == "pass"


def test_pictures_are_small_few_and_only_written_while_somebody_looks(
    site: Settings, writer: LiveWriter
) -> None:
    path = live_path(site)
    time.sleep(0.5)
    writer.show(Shown("pass", "clean", PICTURE))
    time.sleep(1.2)
    assert read_live(path, watching=False).frames == []
    read_live(path)
    for _ in range(FRAMES_KEPT + 4):
        writer.show(Shown("pass", "clean", PICTURE))
        time.sleep(0.27)
    frames = until(path, lambda s: len(s.frames) == FRAMES_KEPT).frames
    assert [f.id for f in frames] == sorted((f.id for f in frames), reverse=True)
    jpeg = read_frame(path, frames[0].id)
    assert jpeg is not None
    shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert shown is not None
    assert shown.shape == (THUMBNAIL // 2, THUMBNAIL)
    assert read_frame(path, 10**6) is None


def test_a_loop_without_plates_is_alive_and_one_that_was_killed_is_not(site: Settings) -> None:
    path = live_path(site)
    assert read_live(path) == LiveState(None, [])
    assert read_frame(path, 1) is None
    code = f"""
        import time
        from pathlib import Path
        from config.settings import Device, Settings
        from device.store.live import LiveWriter
        LiveWriter(Settings(device=Device(data=Path({str(site.device.data)!r})))).start()
        time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    state = until(path, lambda s: s.loop, 20)
    assert state.loop is not None
    assert state.loop["camera"] == "opening"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert until(path, lambda s: s.loop is None, 8) == LiveState(None, [])


def test_what_happens_to_the_camera_and_the_end_are_told(
    site: Settings, writer: LiveWriter
) -> None:
    path = live_path(site)
    writer.tell(part="P-7", lot="L-1", model="abc")
    writer.note(Event("lost", "camera 0: no picture"))
    state = until(path, lambda s: s.loop and s.loop["camera"] == "lost")
    assert state.loop is not None
    assert (state.loop["part"], state.loop["lot"], state.loop["keeping"]) == ("P-7", "L-1", True)
    writer.note(Event("not-keeping", "disk full"))
    until(path, lambda s: s.loop and not s.loop["keeping"])
    writer.show(Shown("pass", "clean", PICTURE))
    until(path, lambda s: s.loop and s.loop["camera"] == "ok")
    writer.close()
    until(path, lambda s: s.loop and not s.loop["running"])


def test_a_damaged_file_is_made_anew(site: Settings) -> None:
    path = live_path(site)
    path.write_bytes(b"no database" * 1000)
    assert read_live(path) == LiveState(None, [])
    one = LiveWriter(site)
    one.start()
    until(path, lambda s: s.loop)
    one.close()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(device=Device(data=tmp_path, live=tmp_path / "file" / "live.db"))
    one = LiveWriter(settings)
    one.start()
    one.show(Shown("pass", "clean", PICTURE))
    time.sleep(0.3)
    one.close()
    assert read_live(live_path(settings)) == LiveState(None, [])
