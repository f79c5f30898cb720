"""Tests of stage, light and scan against simulated devices: processes of their own behind ptys."""

import itertools
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from camera.folder import FolderSource
from camera.light import Light
from camera.opening import open_source
from camera.raster import Place, plan_raster
from camera.recording import record
from camera.scanning import ScanningSource
from camera.serial_line import DeviceError
from camera.source import Event
from camera.stage import Stage
from camera.vmc220 import Vmc220Source
from config.settings import Camera, Live, Scan
from config.settings import FolderSource as FolderSettings
from config.settings import Light as LightSettings
from config.settings import Stage as StageSettings
from config.settings import Vmc220Source as Vmc220Settings

pytestmark = pytest.mark.timeout(120)

SIMULATOR = Path(__file__).with_name("platform_simulator.py")


class Simulated:
    """A device of the platform in a process of its own."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.port = str(folder / f"tty-{kind}")
        self._process = subprocess.Popen(
            [sys.executable, str(SIMULATOR), kind, self.port],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        assert self._hear() == "up"

    def tell(self, words: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        answer = self._hear()
        return None if answer == "done" else json.loads(answer)

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Simulated]:
    device = Simulated("stage", tmp_path)
    yield device
    device.end()


@pytest.fixture(params=["gardasoft", "ascii"])
def light(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Simulated]:
    device = Simulated(request.param, tmp_path)
    yield device
    device.end()


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Simulated]:
    device = Simulated("gardasoft", tmp_path)
    yield device
    device.end()


def stage_settings(device: Simulated, **others: Any) -> StageSettings:
    quick = {"settle_s": 0.0, "reply_timeout_s": 5.0, "move_timeout_s": 20.0}
    return StageSettings.model_validate({"port": device.port} | quick | others)


def light_settings(device: Simulated, **others: Any) -> LightSettings:
    protocol = device.port.rpartition("-")[2]
    told = {"port": device.port, "protocol": protocol, "reply_timeout_s": 5.0}
    return LightSettings.model_validate(told | others)


# --- raster

lengths = st.floats(1, 500)


@given(st.floats(-100, 100), lengths, lengths, lengths, lengths, st.floats(0, 0.5))
@example(0, 1, math.nextafter(1, 2), 1, 1, 0)
def test_every_point_of_the_plate_is_seen_and_neighbours_overlap(
    x: float, width: float, height: float, field_w: float, field_h: float, share: float
) -> None:
    overlap = share * min(field_w, field_h)
    scan = Scan(
        x_mm=x, y_mm=-x, width_mm=width, height_mm=height, field_width_mm=field_w,
        field_height_mm=field_h, overlap_mm=overlap,
    )  # fmt: skip
    if (width / field_w) * (height / field_h) > 2000:
        return
    places = plan_raster(scan)
    for start, length, field, middles in (
        (x, width, field_w, sorted({p.x_mm for p in places})),
        (-x, height, field_h, sorted({p.y_mm for p in places})),
    ):
        assert middles[0] - field / 2 <= start + 1e-6
        assert middles[-1] + field / 2 >= start + length - 1e-6
        assert all(b - a <= field - overlap + 1e-6 for a, b in itertools.pairwise(middles))
        if len(middles) > 1:  # one picture less would not do
            assert (len(middles) - 2) * (field - overlap) + field < length + 1e-6
    assert len(places) == len({p.x_mm for p in places}) * len({p.y_mm for p in places})


def test_rows_run_to_and_fro() -> None:
    scan = Scan(width_mm=56, height_mm=38, field_width_mm=20, field_height_mm=20, overlap_mm=2)
    assert plan_raster(scan) == [
        Place(x, y) for x, y in [(10, 10), (28, 10), (46, 10), (46, 28), (28, 28), (10, 28)]
    ]


def test_an_overlap_of_over_half_a_picture_is_refused() -> None:
    with pytest.raises(ValidationError, match="overlap_mm is 11, over half"):
        Scan(overlap_mm=11)


# --- stage


def test_the_stage_homes_moves_and_is_there_when_it_says_so(stage: Simulated) -> None:
    it = Stage(stage_settings(stage))
    for place in (Place(40, 5), Place(0.5, 30.25)):
        it.move_to(place)
        assert stage.tell("state") == {"at": [place.x_mm, place.y_mm], "homed": True}
    it.close()
    assert stage.tell("journal") == ["home", "move 40 5", "move 0.5 30.25"]


def test_a_stage_that_answers_late_still_arrives(stage: Simulated) -> None:
    it = Stage(stage_settings(stage))
    stage.tell("late 0.3")
    it.move_to(Place(20, 20))
    assert stage.tell("state")["at"] == [20, 20]
    it.close()


@pytest.mark.parametrize(
    ("mood", "text"),
    [
        ("silent", "stage: is silent after b'G0 X1.000 Y2.000'; check its power, cable and speed"),
        ("garbled", "stage: answers nonsense, b'"),
        ("late 2", "stage: is silent after"),
        ("unplug", "stage: the line is gone"),
        ("alarm", "stage: refuses 'G0 X1.000 Y2.000': error:9"),
    ],
)
def test_a_stage_that_misbehaves_is_an_error_in_one_line(
    stage: Simulated, mood: str, text: str
) -> None:
    it = Stage(stage_settings(stage))
    it._settings = stage_settings(stage, reply_timeout_s=0.3)
    stage.tell(mood)
    with pytest.raises(DeviceError) as error:
        it.move_to(Place(1, 2))
    assert str(error.value).startswith(text)
    assert "\n" not in str(error.value)
    it.close()


def test_a_stage_that_is_not_there_and_one_that_somebody_has(
    stage: Simulated, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match=r"stage at .*none: cannot be opened"):
        Stage(StageSettings(port=str(tmp_path / "none")))
    it = Stage(stage_settings(stage))
    with pytest.raises(DeviceError, match="cannot be opened"):
        Stage(stage_settings(stage))
    it.close()


# --- light


def test_the_light_goes_on_and_off_and_is_off_when_it_is_closed(light: Simulated) -> None:
    it = Light(light_settings(light))
    assert light.tell("state") == {"percent": {"1": 0, "2": 100}}
    it.on(30)
    assert light.tell("state")["percent"]["1"] == 30
    it.close()
    assert light.tell("journal") == ["light 1 0", "light 1 30", "light 1 0"]


@pytest.mark.parametrize("mood", ["silent", "garbled", "late 2", "unplug"])
def test_a_light_that_misbehaves_is_an_error_in_one_line(light: Simulated, mood: str) -> None:
    it = Light(light_settings(light))
    it._settings = light_settings(light, reply_timeout_s=0.3)
    light.tell(mood)
    with pytest.raises(DeviceError, match=r"^light: [^\n]*$"):
        it.on(50)
    it.close()


def test_a_channel_the_controller_does_not_have_is_refused(light: Simulated) -> None:
    with pytest.raises(DeviceError, match=r"^light: refuses '.*9.*': [Ee][Rr][Rr]"):
        Light(light_settings(light, channel=9))


def test_a_template_that_cannot_be_filled_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"only \{channel\} and \{percent\} can be put in"):
        LightSettings(command="L{brightness}")


# --- scan


def scan_settings(stage: Simulated, ring: Simulated) -> Camera:
    return Camera(
        vmc220=Vmc220Settings(),
        stage=stage_settings(stage, reply_timeout_s=1.0),
        light=light_settings(ring, reply_timeout_s=1.0, warm_up_s=0.0),
        scan=Scan(width_mm=56, height_mm=38, field_width_mm=20, field_height_mm=20, overlap_mm=2),
        live=Live(retry_first_s=0.05, retry_longest_s=0.1),
    )


def test_a_plate_is_scanned_place_by_place_with_the_light_on_only_for_the_picture(
    stage: Simulated, ring: Simulated, tmp_path: Path
) -> None:
    settings = scan_settings(stage, ring)
    camera = Vmc220Source(settings.vmc220)
    frames = list(ScanningSource(camera, settings, print, plates=1).frames())
    places = [tuple(place) for place in plan_raster(settings.scan)]
    assert [frame.place_mm for frame in frames] == places
    assert [frame.sequence for frame in frames] == list(range(6))
    assert len({frame.origin for frame in frames}) == 6, "each its own picture"
    assert stage.tell("journal") == ["home", *(f"move {x:g} {y:g}" for x, y in places)]
    assert ring.tell("journal") == ["light 1 0", *["light 1 50", "light 1 0"] * 6, "light 1 0"]
    record(frames, tmp_path / "plate", {})
    played = FolderSource(FolderSettings(path=tmp_path / "plate"), [], print).frames()
    assert [frame.place_mm for frame in played] == places, "a recording keeps the places"


@pytest.mark.parametrize("who", ["stage", "light"])
@pytest.mark.parametrize("mood", ["silent", "garbled", "unplug"])
def test_a_scan_goes_on_by_itself_after_a_fault(
    stage: Simulated, ring: Simulated, who: str, mood: str
) -> None:
    settings = scan_settings(stage, ring)
    device = stage if who == "stage" else ring
    events: list[Event] = []
    scanning = ScanningSource(Vmc220Source(settings.vmc220), settings, events.append, plates=1)
    frames = scanning.frames()
    first = [next(frames), next(frames)]
    device.tell(mood)
    rest: list[Any] = []
    reader = threading.Thread(target=lambda: rest.extend(frames))
    reader.start()
    deadline = time.monotonic() + 30
    while not events and time.monotonic() < deadline:
        time.sleep(0.01)
    assert events and events[0].kind == "platform" and events[0].text.startswith(f"{who}: ")
    device.tell("plug" if mood == "unplug" else "good")
    reader.join(60)
    assert not reader.is_alive()
    places = [tuple(place) for place in plan_raster(settings.scan)]
    assert [frame.place_mm for frame in first] == places[:2]
    assert [frame.place_mm for frame in rest][-6:] == places, "the plate began again"
    assert ring.tell("state")["percent"]["1"] == 0


def test_the_settings_with_a_stage_open_a_scan(stage: Simulated, ring: Simulated) -> None:
    settings = scan_settings(stage, ring)
    source = open_source(settings, [], print)
    frames = list(itertools.islice(source.frames(), 7))
    source.close()
    assert frames[0].place_mm == frames[6].place_mm == (10, 10), "plate after plate"
