"""Tests of GigE Vision cameras, over the wire: Aravis reads Aravis' fake camera on loopback."""

import itertools
import re
import shutil
import signal
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

from camera.capture import Capture
from camera.folder import find_images, read_grey
from camera.genicam import aravis_python, aravis_reader
from camera.opening import open_source
from camera.process import ProcessSource
from camera.quality import QualityGate
from camera.source import Event, Frame, Triggered
from config.errors import UserError
from config.settings import Camera, GenicamSource, Light, Live, Quality
from tests.camera.gige_camera import gige_camera, missing
from tests.camera.test_platform import Simulated

pytestmark = pytest.mark.timeout(120)

CAMERA = Path(__file__).with_name("gige_camera.py")
ADDRESS = "127.0.0.1"
SOON = Live(retry_first_s=0.05, retry_longest_s=0.2)


@pytest.fixture(scope="module", autouse=True)
def aravis() -> None:
    if (why := missing()) is not None:
        pytest.skip(why)


def wait_until(condition: Callable[[], bool], seconds: float = 40) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def genicam(**settings: object) -> GenicamSource:
    return GenicamSource.model_validate({"device": ADDRESS, "frame_timeout_s": 20.0} | settings)


def flat_picture(folder: Path) -> Path:
    """A folder with one picture, dark enough for twice its exposure."""
    image = np.random.default_rng(0).integers(60, 120, (512, 512), dtype=np.uint8)
    cv2.imwrite(str(folder / "flat.png"), image)
    return folder


class Watched:
    """A camera read on a thread."""

    def __init__(self, settings: GenicamSource) -> None:
        self.frames: list[Frame] = []
        self.events: list[Event] = []
        self.source = ProcessSource(aravis_reader(settings), SOON, self.events.append)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        self.frames.extend(self.source.frames())

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def wait_for_frames(self, count: int) -> None:
        assert wait_until(lambda: len(self.frames) >= count), (len(self.frames), self.events)

    def wait_for(self, kind: str, count: int = 1) -> None:
        assert wait_until(lambda: self.kinds().count(kind) >= count), self.events


@contextmanager
def watched(settings: GenicamSource) -> Iterator[Watched]:
    camera = Watched(settings)
    try:
        yield camera
    finally:
        camera.source.close()
        camera.thread.join(20)
    assert not camera.thread.is_alive()


def first_frames(settings: GenicamSource, count: int) -> list[Frame]:
    source = ProcessSource(aravis_reader(settings), SOON, print)
    frames = list(itertools.islice(source.frames(), count))
    source.close()
    return frames


def refusal(settings: GenicamSource) -> str:
    with pytest.raises(UserError) as error:
        first_frames(settings, 1)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- pictures


def test_pictures_of_ours_come_over_the_wire_bit_by_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shown = [rng.integers(0, 256, (480, 640), np.uint8) for _ in range(3)]
    for number, image in enumerate(shown):
        (tmp_path / f"{number}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    with gige_camera("--folder", str(tmp_path), "--still"):
        frames = first_frames(genicam(width_px=640, height_px=480, exposure_us=10000.0), 12)
    whole = [frame.image for frame in frames if frame.fault is None]
    assert len(whole) > 6
    places = [next(i for i, s in enumerate(shown) if np.array_equal(s, image)) for image in whole]
    assert set(places) == {0, 1, 2}, "every picture came, and none that was not shown"
    assert {frame.origin for frame in frames} == {ADDRESS}
    assert all(time.monotonic_ns() - frame.monotonic_ns < 60e9 for frame in frames)


def test_real_steel_comes_over_the_wire(neu_cls: Path) -> None:
    folder = neu_cls / "Sc" if (neu_cls / "Sc").is_dir() else next(neu_cls.iterdir())
    shown = {read_grey(path).tobytes() for path in find_images(folder)}
    with gige_camera("--folder", str(folder), "--still"):
        frames = first_frames(genicam(width_px=200, height_px=200, exposure_us=10000.0), 20)
    whole = [frame for frame in frames if frame.fault is None]
    assert len(whole) > 10
    assert {frame.image.tobytes() for frame in whole} <= shown


def test_simulated_plates_come_over_the_wire_and_may_be_judged() -> None:
    with gige_camera():
        source = ProcessSource(aravis_reader(genicam(exposure_us=10000.0)), SOON, print)
        capture = Capture(source, QualityGate(Quality()))
        batches = capture.batches(1)
        found = [captured for batch in itertools.islice(batches, 20) for captured in batch]
        capture.close()
    faults = [captured.fault for captured in found]
    assert set(faults) <= {None, "incomplete"} and faults.count(None) > 10
    assert {captured.frame.image.shape for captured in found} == {(512, 512)}


# --- settings


def test_exposure_is_that_of_the_settings() -> None:
    with gige_camera():
        short, long = (
            float(np.median([np.mean(f.image) for f in first_frames(genicam(exposure_us=us), 8)]))
            for us in (4000.0, 8000.0)
        )
    assert long / short == pytest.approx(2, abs=0.1)


def test_what_the_camera_does_not_have_is_said_in_one_line_with_what_it_has() -> None:
    with gige_camera():
        assert (
            refusal(genicam(pixel_format="Mono12"))
            == f"{ADDRESS}: pixel_format: found 'Mono12'; the camera has BayerBG8, BayerGB8, "
            "BayerGR8, BayerRG8, Mono16, Mono8, RGB8"
        )
        assert (
            refusal(genicam(exposure_us=5.0))
            == f"{ADDRESS}: exposure_us: found 5; the camera has 10 to 1e+07"
        )
        assert "gain_db: found 50; the camera has 0 to 10" in refusal(genicam(gain_db=50.0))
        assert "rate_fps: found 5000; the camera has" in refusal(genicam(rate_fps=5000.0))
        assert "lies outside of the sensor, 2048 × 2048" in refusal(genicam(x_px=2000, width_px=99))
        assert "trigger_line: the camera has no 'Line7'; it has Line0, Software" in refusal(
            genicam(trigger="line", trigger_line="Line7")
        )


def test_the_camera_that_is_opened_says_what_it_is_set_to() -> None:
    settings = genicam(width_px=320, height_px=240, packet_size=1000, exposure_us=2000.0)
    with gige_camera("--serial", "A7"), watched(settings) as camera:
        camera.wait_for_frames(1)
    assert [e.text for e in camera.events if e.kind == "opened"] == [
        f"{ADDRESS}: Aravis Fake A7, 320 × 240 Mono8, exposure 2000 µs, packets of 1000 bytes"
    ]
    assert camera.frames[0].image.shape == (240, 320)


@pytest.mark.parametrize("trigger", ["free", "software"])
def test_another_exposure_while_it_runs_and_no_older_frame_after_it(
    trigger: str, tmp_path: Path
) -> None:
    """What a change of recipe does: each frame after it has the new exposure."""
    exposures = (4000.0, 8000.0)

    def mean(exposure_us: float, count: int) -> float:
        """Brightness of that many pictures, each of which must be as bright as the others."""
        settings = Camera(genicam=genicam(trigger=trigger, exposure_us=exposure_us))
        camera.source.adapt(settings)
        seen = len(camera.frames)
        for number in range(count):
            camera.source.trigger()
            camera.wait_for_frames(seen + number + 1)
        found = [float(f.image.mean()) for f in camera.frames[seen : seen + count]]
        assert max(found) / min(found) < 1.05, found
        return float(np.mean(found))

    with (
        gige_camera("--folder", str(flat_picture(tmp_path))),
        watched(genicam(trigger=trigger, exposure_us=exposures[0])) as camera,
    ):
        camera.wait_for("opened")
        for _ in range(4):
            short, long = (mean(us, 3) for us in exposures)
            assert long / short == pytest.approx(2, abs=0.05)
    assert camera.kinds() == ["opened"], "it is not opened anew for it"


def test_an_exposure_that_the_camera_does_not_have_gives_no_picture() -> None:
    with gige_camera(), watched(genicam(exposure_us=4000.0)) as camera:
        camera.wait_for_frames(1)
        camera.source.adapt(Camera(genicam=genicam(exposure_us=5.0)))
        camera.wait_for("camera-settings")
        seen = len(camera.frames)
        time.sleep(0.5)
        assert len(camera.frames) <= seen + 1
        camera.source.adapt(Camera(genicam=genicam(exposure_us=4000.0)))
        camera.wait_for_frames(seen + 3)


# --- light


def test_a_triggered_camera_has_its_light_on_for_the_picture_only(tmp_path: Path) -> None:
    ring = Simulated("gardasoft", tmp_path)
    settings = Camera(
        source="genicam",
        genicam=genicam(trigger="software"),
        light=Light(port=ring.port, intensity_percent=40, reply_timeout_s=0.1),
        live=SOON,
    )
    events: list[Event] = []

    def heard(kind: str) -> bool:
        return any(event.kind == kind for event in events)

    def shines() -> int:
        return int(ring.tell("state")["percent"]["1"])

    frames: list[Frame] = []
    source = open_source(settings, [], events.append)
    assert isinstance(source, Triggered)
    thread = threading.Thread(target=lambda: frames.extend(source.frames()), daemon=True)
    with gige_camera():
        thread.start()
        assert wait_until(lambda: heard("opened"))
        for number in range(3):
            assert wait_until(lambda: shines() == 0)
            source.trigger()
            assert wait_until(lambda: len(frames) > number)  # noqa: B023
        assert wait_until(lambda: shines() == 0)
        assert ring.tell("journal").count("light 1 40") >= 3
        ring.tell("silent")
        assert wait_until(lambda: heard("ring-light-silent"))
        source.trigger()
        time.sleep(0.3)
        assert len(frames) == 3, "in the dark no picture is taken"
        ring.tell("good")
        assert wait_until(lambda: heard("ring-light"))
        source.trigger()
        assert wait_until(lambda: len(frames) == 4)
        source.close()
        thread.join(20)
    assert not thread.is_alive()
    assert {frame.fault for frame in frames} == {None}
    ring.end()


# --- trigger


def test_each_software_trigger_gives_one_frame_and_nothing_else_does() -> None:
    with gige_camera(), watched(genicam(trigger="software")) as camera:
        camera.wait_for("opened")
        assert not camera.source.live
        camera.source.trigger()  # at once: an opened camera takes no trigger in vain
        camera.wait_for_frames(1)
        time.sleep(0.5)
        assert len(camera.frames) == 1, "nobody asked"
        for number in range(2, 9):
            camera.source.trigger()
            camera.wait_for_frames(number)
        time.sleep(0.3)
        assert len(camera.frames) == 8
        assert [frame.sequence for frame in camera.frames] == list(range(8))
        assert [frame.fault for frame in camera.frames] == [None] * 8, "also the first one is whole"
    assert camera.kinds() == ["opened"]


def test_a_frame_that_was_triggered_again_is_owed_once() -> None:
    settings = genicam(trigger="software", frame_timeout_s=2.0)
    with gige_camera("--lose-later", "1") as process, watched(settings) as camera:
        camera.wait_for("opened")
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.3)
        camera.source.trigger()  # this frame is lost on its way, as a whole
        time.sleep(0.5)
        process.send_signal(signal.SIGUSR2)
        time.sleep(0.3)
        camera.source.trigger()  # as `Capture` does after a while
        camera.wait_for_frames(1)
        time.sleep(3)
        assert "lost" not in camera.kinds(), "nothing is owed any more"
        camera.source.trigger()
        camera.wait_for_frames(2)


def test_a_camera_that_waits_for_its_line_is_not_lost_and_one_that_owes_a_frame_is() -> None:
    with gige_camera() as process:
        # Nothing ever comes at the fake camera's line.
        with watched(genicam(trigger="line", frame_timeout_s=1.0)) as camera:
            camera.wait_for("opened")
            time.sleep(3)
            assert camera.kinds() == ["opened"]
        with watched(genicam(trigger="software", frame_timeout_s=1.0)) as camera:
            camera.wait_for("opened")
            process.kill()
            camera.source.trigger()
            camera.wait_for("lost")
    assert camera.frames == []


# --- faults


def test_frames_that_lost_packets_are_faults_and_never_judged() -> None:
    with gige_camera("--still", "--lose", "0.005"), watched(genicam()) as camera:
        assert wait_until(
            lambda: {"incomplete", None} <= {frame.fault for frame in camera.frames[5:]}
        ), [frame.fault for frame in camera.frames]
    assert camera.kinds().count("incomplete") == 1, "said once, counted always"
    text = next(e.text for e in camera.events if e.kind == "incomplete")
    assert re.search(r"did not come whole \((missing-packets|timeout)\); such frames are not", text)
    gate = QualityGate(Quality(frozen_after=0))
    assert {gate.fault(f.image) for f in camera.frames if f.fault is None} == {None}


def test_a_camera_that_is_killed_is_lost_by_its_missing_frames_and_comes_back() -> None:
    with watched(genicam(frame_timeout_s=1.0)) as camera:
        with gige_camera("--serial", "ONE"):
            camera.wait_for_frames(5)
        lost = camera.kinds().count("lost")
        died = time.monotonic()
        assert wait_until(lambda: camera.kinds().count("lost") > lost)
        assert time.monotonic() - died < 20
        before = len(camera.frames)
        with gige_camera("--serial", "TWO"):
            camera.wait_for_frames(before + 5)
    opened = [event.text for event in camera.events if event.kind == "opened"]
    assert ["ONE" in opened[0], "TWO" in opened[-1]] == [True, True]
    numbers = [frame.sequence for frame in camera.frames]
    assert numbers == sorted(set(numbers))


def test_the_next_reader_need_not_wait_for_the_camera() -> None:
    """A reader that went without giving up control would keep the camera for seconds."""
    with gige_camera():
        for _ in range(3):
            with watched(genicam()) as camera:
                camera.wait_for_frames(1)
            assert camera.kinds().count("lost") == 0


# --- several cameras


def test_two_cameras_are_found_and_read_at_once(tmp_path: Path) -> None:
    """In a network of its own, where loopback has two addresses."""
    if not shutil.which("ip") or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("needs root and iproute2: apt install iproute2")
    script = """
ip link set lo up && ip address add 127.0.0.2/8 dev lo || exit 9
"$1" "$2" --address 127.0.0.1 --serial LEFT > left.up & left=$!
"$1" "$2" --address 127.0.0.2 --serial RIGHT > right.up & right=$!
until [ -s left.up ] && [ -s right.up ]; do sleep 0.1; done
"$1" -m millsight camera list --config left.toml
"$1" -m millsight camera test --config left.toml -n 30 > left.txt & one=$!
"$1" -m millsight camera test --config right.toml -n 30 > right.txt & two=$!
wait $one; first=$?; wait $two; second=$?
kill $left $right; wait $left $right
exit $((first + second))
"""
    for name, address in (("left", "127.0.0.1"), ("right", "127.0.0.2")):
        (tmp_path / f"{name}.toml").write_text(
            f'[camera]\nsource = "genicam"\n[camera.genicam]\ndevice = "{address}"\n'
        )
    run = subprocess.run(
        ["unshare", "-n", "bash", "-c", script, "bash", sys.executable, str(CAMERA)],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert run.returncode == 0, run
    assert "LEFT" in run.stdout and "RIGHT" in run.stdout
    assert "127.0.0.1" in run.stdout and "127.0.0.2" in run.stdout
    for name, serial in (("left", "LEFT"), ("right", "RIGHT")):
        lines = (tmp_path / f"{name}.txt").read_text().splitlines()
        assert serial in lines[0]
        assert lines[-1].startswith("30 frames, ")
        assert sum(" good " in line for line in lines) > 15


# --- what is missing


def test_without_aravis_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camera.genicam.SYSTEM_PYTHON", "/nowhere/python3")
    aravis_python.cache_clear()
    try:
        with pytest.raises(
            UserError, match=r"needs Aravis; install it: apt install gir1\.2-aravis"
        ):
            aravis_reader(genicam())
    finally:
        aravis_python.cache_clear()


def test_a_camera_that_is_not_there_is_tried_again() -> None:
    with watched(genicam()) as camera:
        camera.wait_for("lost", 2)
    assert camera.events[0].text.startswith(f"{ADDRESS}: cannot be opened: ")
    assert camera.frames == []
