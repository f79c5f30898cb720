"""The ring light of a camera that stands still: simulated controllers behind ptys."""

import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camera.lit import NO_LIGHT
from camera.opening import open_source
from camera.source import Adaptable, Event, Frame, Source
from camera.vmc220 import Vmc220Source
from config.settings import Camera, Live
from config.settings import Light as LightSettings
from config.settings import Vmc220Source as Vmc220Settings
from tests.camera.test_platform import Simulated

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Simulated]:
    device = Simulated("gardasoft", tmp_path)
    yield device
    device.end()


class Watched:
    """A source that is read on a thread."""

    def __init__(self, source: Source, events: list[Event]) -> None:
        self.source = source
        self.events = events
        self.frames: list[Frame] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        self.frames.extend(self.source.frames())

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def close(self) -> None:
        self.source.close()
        self._thread.join(20)
        assert not self._thread.is_alive()


def until(good: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def camera(ring: Simulated, percent: float = 40, **others: Any) -> Camera:
    light = LightSettings(port=ring.port, intensity_percent=percent, reply_timeout_s=0.1)
    values: dict[str, Any] = {"source": "vmc220", "vmc220": Vmc220Settings(rate_fps=50)} | others
    return Camera(light=light, live=Live(retry_first_s=0.05, retry_longest_s=0.1), **values)


def test_the_light_is_on_while_the_camera_runs_and_off_after_it(ring: Simulated) -> None:
    events: list[Event] = []
    settings = camera(ring)
    one = Watched(open_source(settings, [], events.append), events)
    until(lambda: one.frames)
    assert ring.tell("state")["percent"]["1"] == 40
    assert isinstance(one.source, Adaptable)
    one.source.adapt(camera(ring, percent=70))
    assert ring.tell("state")["percent"]["1"] == 70, "the brightness of the recipe"
    one.close()
    assert ring.tell("state")["percent"]["1"] == 0
    assert {frame.fault for frame in one.frames} == {None}


@pytest.mark.parametrize("mood", ["silent", "garbled", "unplug"])
def test_without_an_answer_of_the_light_no_picture_is_good(ring: Simulated, mood: str) -> None:
    events: list[Event] = []
    one = Watched(open_source(camera(ring), [], events.append), events)
    until(lambda: one.frames)
    ring.tell(mood)
    until(lambda: "ring-light-silent" in one.kinds())
    seen = len(one.frames)
    until(lambda: len(one.frames) > seen + 5)
    assert {frame.fault for frame in one.frames[seen + 1 :]} == {NO_LIGHT}
    ring.tell("plug" if mood == "unplug" else "good")
    until(lambda: "ring-light" in one.kinds())
    until(lambda: one.frames[-1].fault is None)
    one.close()
    assert one.kinds().count("ring-light-silent") == 1, "said once"


def test_a_light_that_goes_while_it_is_opened_is_found_again(
    ring: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    one = Watched(open_source(camera(ring), [], events.append), events)
    until(lambda: one.frames)
    flush, went = termios.tcflush, threading.Event()

    def go(descriptor: int, queue: int) -> None:
        if not went.is_set():
            ring.tell("unplug")
            went.set()
        flush(descriptor, queue)

    ring.tell("unplug")
    until(lambda: "ring-light-silent" in one.kinds())
    monkeypatch.setattr(termios, "tcflush", go)
    ring.tell("plug")
    until(went.is_set)
    ring.tell("plug")
    until(lambda: "ring-light" in one.kinds())
    one.close()


def test_a_simulated_platform_has_the_brightness_of_its_recipe() -> None:
    def means(percent: float) -> float:
        source = Vmc220Source(Vmc220Settings(frames=4))
        source.adapt(Camera(vmc220=Vmc220Settings(light_percent=percent)))
        return float(np.mean([frame.image.mean() for frame in source.frames()]))

    assert means(50) / means(100) == pytest.approx(0.5, abs=0.02)
