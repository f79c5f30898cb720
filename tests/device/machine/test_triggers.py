"""Triggers in the running loop: interval, camera, the machine's line; interlock and deadlines."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from camera.source import Event, Frame
from config.machine import Machine
from config.settings import Settings
from device.loop.loop import InspectionLoop
from device.loop.part_work import WORSE, Seen, answer_of
from device.machine.codes import Code
from device.machine.handshake import Answer
from device.machine.machine import Machine as PartMachine
from device.machine.machine import Prepared
from device.store.editing import editing
from device.store.live import live_path, read_live
from tests.device.conftest import MakeModel
from tests.device.machine.conftest import (
    free_port,
    line,
    modbus,
    plc_process,
    running,
    until,
    with_machine,
)
from tests.device.machine.test_handshake_wire import stored, use_model
from tests.device.machine.test_line import Port


def test_an_interval_makes_parts_without_a_plc(site: Settings, make_model: MakeModel) -> None:
    use_model(site, make_model(thresholds=[1e9] * 4))
    settings = with_machine(site, trigger="interval", interval_s=0.05)
    with running(settings) as loop:
        until(lambda: len(stored(settings)) >= 5)
        told = read_live(live_path(settings)).loop
        assert told is not None
        assert told["machine"] in {"ready", "judging"}
    rows = stored(settings)
    assert len(rows) == len(loop.frames) + sum(r.code != 0 for r in rows)
    assert [r.number for r in rows] == list(range(1, len(rows) + 1))
    judged = [r for r in rows if not r.code]
    assert [r.verdict for r in judged] == [f.verdict for f in loop.frames][: len(judged)]
    starts = [r.monotonic_ns for r in rows]
    assert min(np.diff(starts)) > 0.02e9


def test_a_camera_that_triggers_itself_makes_a_part_of_its_frames(
    site: Settings, make_model: MakeModel
) -> None:
    recipe = site.recipe.model_copy(update={"frames_per_part": 4})
    folder = site.camera.folder.model_copy(update={"repeat": False, "rate_fps": 200})
    camera = site.camera.model_copy(update={"folder": folder})
    site = site.model_copy(update={"recipe": recipe, "camera": camera})
    use_model(site, make_model(thresholds=[1e9] * 4))
    settings = with_machine(site, trigger="camera", deadline_s=60)
    with running(settings) as loop:
        until(lambda: len(stored(settings)) == 30)
    rows = stored(settings)
    assert len(loop.frames) == 120
    for number, row in enumerate(rows):
        verdicts = {str(f.verdict) for f in loop.frames[4 * number : 4 * number + 4]}
        assert row.verdict == max(verdicts, key=lambda v: WORSE[v])  # type: ignore[index]


def test_a_line_of_the_machine_is_a_part(
    site: Settings, make_model: MakeModel, tmp_path: Path
) -> None:
    use_model(site, make_model(thresholds=[1e9] * 4))
    port = Port(tmp_path / "tty")
    settings = with_machine(site, trigger="line", line=line(str(port.link)))
    with running(settings) as loop:
        until(lambda: "line" in loop.kinds())
        port.send(b"\x12PART*4711-B*LOT*L-118*TOOL***37\r")
        until(lambda: len(stored(settings)) == 1)
        port.send(b"PA\x00RT ###\r")
        until(lambda: len(stored(settings)) == 2)
        port.send(b"PART 4711-B LOT L-119\r")
        until(lambda: len(stored(settings)) == 3)
    rows = stored(settings)
    assert [(r.part, r.lot, r.tool) for r in rows] == [
        ("4711-B", "L-118", "37"), ("", "", ""), ("4711-B", "L-119", ""),
    ]  # fmt: skip
    assert [r.code for r in rows] == [0, Code.BAD_LINE, 0]
    from device.store.database import open_store  # noqa: PLC0415

    db = open_store(settings.device.data)
    counted = db.execute("SELECT part, lot, sum(frames) FROM counters GROUP BY 1, 2").fetchall()
    lots = db.execute("SELECT part, lot, who FROM lots").fetchall()
    db.close()
    assert counted == [("4711-B", "L-118", 1), ("4711-B", "L-119", 1)]
    assert [tuple(r) for r in lots] == [
        ("4711-B", "L-118", "machine/line"), ("4711-B", "L-119", "machine/line"),
    ]  # fmt: skip
    port.unplug()


def test_the_part_of_a_line_chooses_the_recipe_and_an_unknown_one_is_ng(
    site: Settings, make_model: MakeModel, tmp_path: Path
) -> None:
    folder = site.device.recipes
    folder.mkdir(parents=True)
    classes = '["clean", "patch", "pitted_surface", "scratch"]'
    (folder / "bracket.toml").write_text(
        f'[recipe]\nparts = ["B-1"]\nclasses = {classes}\npass_classes = ["clean"]\n'
        "line_pattern = 'OP=(?P<part>\\S+)'\n"
    )
    use_model(site, make_model(thresholds=[1e9] * 4))
    from config.recipes import load_recipes  # noqa: PLC0415

    bracket = load_recipes(site).named("bracket")
    assert bracket is not None
    use_model(bracket, make_model(seed=1, name="b.onnx", thresholds=[1e9] * 4), "bracket")
    port = Port(tmp_path / "tty")
    settings = with_machine(site, trigger="line", line=line(str(port.link)))
    with running(settings) as loop:
        until(lambda: "line" in loop.kinds())
        for number, said in enumerate((b"OP=B-1\r", b"OP=B-2\r"), start=1):
            port.send(said)
            until(lambda: len(stored(settings)) == number)  # noqa: B023
    first, second = stored(settings)
    assert (first.recipe, first.code) == ("bracket", 0)
    assert (second.recipe, second.code, second.verdict) == ("", Code.NO_RECIPE, "fault")
    port.unplug()


def test_a_part_whose_recipe_breaks_between_its_pictures_is_ng(
    site: Settings, make_model: MakeModel
) -> None:
    from config.recipes import load_recipes  # noqa: PLC0415
    from device.store.database import open_store  # noqa: PLC0415
    from device.store.parts import choose_recipe  # noqa: PLC0415

    site.device.recipes.mkdir(parents=True)
    file = site.device.recipes / "ring.toml"
    file.write_text("[recipe]\nframes_per_part = 300\n")
    ring = load_recipes(site).named("ring")
    assert ring is not None
    use_model(site, make_model(thresholds=[1e9] * 4))
    unsure = make_model(seed=1, name="ring.onnx", thresholds=[0.0] * 4)  # a defect is NG anyway
    use_model(ring, unsure, "ring")
    db = open_store(site.device.data)
    choose_recipe(db, "ring", "anna")
    folder = site.camera.folder.model_copy(update={"repeat": True, "rate_fps": 100})
    camera = site.camera.model_copy(update={"folder": folder})
    settings = with_machine(
        site.model_copy(update={"camera": camera}), trigger="camera", deadline_s=60
    )
    with running(settings) as loop:
        until(lambda: len(loop.frames) >= 20)
        file.write_text("[recipe\n")
        until(lambda: len(stored(settings)) >= 1)
    first = stored(settings)[0]
    assert (first.recipe, first.verdict, first.code) == ("ring", "fault", Code.NO_RECIPE)
    assert {f.verdict for f in loop.frames[150:]} == {None}
    judged = "SELECT DISTINCT recipe FROM counters WHERE verdict != 'fault'"
    assert db.execute(judged).fetchall() == [("ring",)]
    db.close()


def test_with_a_plc_every_part_needs_its_line(
    site: Settings, make_model: MakeModel, tmp_path: Path
) -> None:
    use_model(site, make_model(thresholds=[1e9] * 4))
    port = Port(tmp_path / "tty")
    address = f"127.0.0.1:{free_port()}"
    settings = with_machine(
        site, trigger="modbus", modbus=modbus("server", address), line=line(str(port.link))
    )
    with running(settings) as loop:
        until(lambda: "line" in loop.kinds())
        port.send(b"PART 77\r")
        time.sleep(0.3)
        with plc_process("master", address, 2) as next_part:
            seen = [next_part(), next_part()]
    assert [s["code"] for s in seen] == [0, Code.BAD_LINE]
    assert seen[1]["ng"]
    until(lambda: [r.part for r in stored(settings)] == ["77", ""])
    port.unplug()


def test_while_a_recipe_is_edited_nothing_is_judged(
    site: Settings, make_model: MakeModel, tmp_path: Path
) -> None:
    use_model(site, make_model(thresholds=[1e9] * 4))
    port = Port(tmp_path / "tty")
    settings = with_machine(site, trigger="line", line=line(str(port.link)))
    with running(settings) as loop:
        until(lambda: "line" in loop.kinds())
        machine = loop.loop._parts.machine  # type: ignore[union-attr]
        with editing(settings.device.data):
            until(lambda: not machine.outputs.ready)
            port.send(b"PART 1\r")
            until(lambda: len(stored(settings)) == 1)
        until(lambda: machine.outputs.ready)
        port.send(b"PART 2\r")
        until(lambda: len(stored(settings)) == 2)
    assert [r.code for r in stored(settings)] == [Code.EDITING, 0]
    port.unplug()


@dataclass
class Stuck:
    """A camera that gives its picture only once it may."""

    image: np.ndarray
    live: bool = False
    free: threading.Event = field(default_factory=threading.Event)
    closed: bool = False

    def frames(self) -> Iterator[Frame]:
        number = 0
        while not self.closed:
            self.free.wait(20)
            yield Frame(self.image, number, time.monotonic_ns(), time.time_ns())
            number += 1

    def close(self) -> None:
        self.closed = True
        self.free.set()


def test_a_picture_that_comes_late_is_ng_in_time_and_is_no_picture_of_the_next_part(
    site: Settings, make_model: MakeModel, plates: np.ndarray, tmp_path: Path
) -> None:
    use_model(site, make_model(thresholds=[1e9] * 4))
    port = Port(tmp_path / "tty")
    machine = Machine(trigger="line", deadline_s=0.4, line=line(str(port.link)))
    settings = site.model_copy(update={"machine": machine})
    camera = Stuck(plates[0])
    events: list[Event] = []
    frames: list[object] = []
    loop = InspectionLoop(settings, events.append, lambda _: camera, frames.append)
    thread = threading.Thread(target=loop.run)
    thread.start()
    until(lambda: "line" in [e.kind for e in events])
    port.send(b"PART 1\r")
    until(lambda: len(stored(settings)) == 1)
    assert frames == []
    camera.free.set()  # now the late picture comes
    time.sleep(0.3)
    assert frames == []
    port.send(b"PART 2\r")
    until(lambda: len(stored(settings)) == 2)
    loop.stop()
    thread.join(20)
    late, good = stored(settings)
    assert (late.verdict, late.code) == ("fault", Code.DEADLINE)
    assert late.took_ms >= 400
    assert (good.part, good.code) == ("2", 0)
    port.unplug()


@pytest.mark.parametrize(
    ("seen", "verdict", "code"),
    [
        (Seen("pass", "clean", 0, judged=True), "pass", Code.NONE),
        (Seen("fail", "scratch", 3, judged=True), "fail", Code.NONE),
        (Seen("unsure", "", -1, judged=True), "unsure", Code.NONE),
        (Seen("unsure", "", -1, judged=False), "fault", Code.NO_MODEL),
        (Seen("fault", "frozen", -1, judged=True), "fault", Code.PICTURE),
        (Seen("fault", "size", -1, judged=True), "fault", Code.SIZE),
        (Seen("fault", "no-recipe", -1, judged=True), "fault", Code.NO_RECIPE),
    ],
)
def test_what_a_frame_says_of_its_part(seen: Seen, verdict: str, code: Code) -> None:
    answer = answer_of(seen)
    assert (answer.verdict, answer.code) == (verdict, code)


def test_a_camera_s_own_part_that_changes_the_set_up_is_ng_and_not_the_next_picture(
    site: Settings,
) -> None:
    settings = with_machine(site, trigger="camera", deadline_s=60)
    switched = iter([False, True, False])

    def prepare(_trigger: object) -> Prepared:
        return Prepared("any", 1, switched=next(switched))

    machine = PartMachine(settings, print, prepare)
    machine.block(Code.STOPPED, on=False)
    found = []
    for number in range(3):
        now = time.monotonic_ns()
        claim = machine.claim(Frame(np.zeros((9, 9), np.uint8), number, now, now))
        found.append(claim is not None)
        if claim is not None:
            assert machine.answer(claim.trigger, Answer("pass"))
    assert found == [True, False, True]
    answers = [told.done.answer for told in machine.answered()]
    assert [a.verdict for a in answers] == ["pass", "fault", "pass"]
    assert answers[1].code == Code.PICTURE
