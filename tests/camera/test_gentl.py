"""Tests of cameras behind a GenTL producer: the one that comes with the `genicam` wheel."""

import importlib.util
import itertools
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from camera.genicam import gentl_reader, list_gentl
from camera.process import ProcessSource
from camera.source import Event
from config.errors import UserError
from config.settings import GentlSource, Live

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def producer() -> Path:
    spec = importlib.util.find_spec("genicam")
    found = [] if spec is None else list(Path(str(spec.origin)).parent.glob("*.cti"))
    if not found or importlib.util.find_spec("harvesters") is None:
        pytest.skip("no harvesters, or no producer: pip install 'millsight[gentl]'")
    return found[0]


def settings(producer: Path, **others: object) -> GentlSource:
    return GentlSource.model_validate({"producer": producer, "frame_timeout_s": 20.0} | others)


def refusal(settings: GentlSource) -> str:
    source = ProcessSource(gentl_reader(settings), Live(), lambda event: source.close())
    with pytest.raises(UserError) as error:
        list(source.frames())
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_producers_cameras_are_listed(producer: Path) -> None:
    found = list_gentl(settings(producer))
    assert [camera["serial"] for camera in found] == ["0", "1", "2"]
    assert {camera["model"] for camera in found} == {"Viky"}


def test_frames_come_with_the_settings_asked_for_and_a_killed_reader_is_replaced(
    producer: Path,
) -> None:
    events: list[Event] = []
    wanted = settings(producer, device="1", width_px=320, height_px=240, rate_fps=50.0)
    source = ProcessSource(gentl_reader(wanted), Live(retry_first_s=0.05), events.append)
    frames = source.frames()
    some = list(itertools.islice(frames, 5))
    assert {frame.image.shape for frame in some} == {(240, 320)}
    assert {frame.fault for frame in some} == {None}
    assert any(not np.array_equal(some[0].image, frame.image) for frame in some[1:])
    pid = source.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    # Frames that were under way may still come.
    deadline = time.monotonic() + 60
    while source.pid == pid or sum(event.kind == "opened" for event in events) < 2:
        next(frames)
        assert time.monotonic() < deadline
    source.close()
    assert events[0] == Event("opened", "1: Machine Vision Games Ltd. Viky 1, 320 × 240 Mono8")
    assert [event.kind for event in events] == ["opened", "lost", "opened"]


def test_what_the_camera_does_not_have_is_one_line(producer: Path) -> None:
    assert refusal(settings(producer, exposure_us=100.0)).endswith(
        "exposure_us: the camera has no ExposureTime"
    )
    assert refusal(settings(producer, pixel_format="Mono12")).endswith(
        "pixel_format: found 'Mono12'; the camera has Mono8, RGBa8"
    )
    assert refusal(settings(producer, width_px=9999)).endswith(
        "width_px: found 9999; the camera has 100 to 800"
    )
    assert refusal(settings(producer, trigger="software")).endswith(
        "trigger: the camera has no TriggerMode"
    )


def test_a_camera_that_is_not_there_is_tried_again(producer: Path) -> None:
    events: list[Event] = []

    def note(event: Event) -> None:
        events.append(event)
        source.close()

    reader = gentl_reader(settings(producer, device="nobody"))
    source = ProcessSource(reader, Live(retry_first_s=0.05), note)
    assert list(source.frames()) == []
    assert events[0].text == "nobody: no such camera answers; next try in 0.05 s"


def test_a_producer_that_is_missing_is_named(tmp_path: Path, producer: Path) -> None:
    with pytest.raises(UserError, match=r"camera\.gentl\.producer: not set"):
        gentl_reader(GentlSource())
    with pytest.raises(UserError, match=r"none\.cti: no such file"):
        gentl_reader(GentlSource(producer=tmp_path / "none.cti"))
    (tmp_path / "text.cti").write_text("no producer")
    assert list_gentl(GentlSource(producer=tmp_path / "text.cti")) == []
