"""The handshake over real lines: both roles, TCP and RTU, an independent master, a stopped PLC."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest

from config.settings import Settings
from device.machine.codes import Code
from device.machine.registers import MAP
from device.models.activation import activate
from device.store.database import open_store
from device.store.parts import parts_after
from tests.device.conftest import MakeModel
from tests.device.machine.conftest import (
    free_port,
    modbus,
    plc_process,
    running,
    until,
    with_machine,
)


def use_model(settings: Settings, file: Path, recipe: str = "") -> None:
    db = open_store(settings.device.data)
    activate(db, file, settings, "test", recipe)
    db.close()


def stored(settings: Settings) -> list[Any]:
    db = open_store(settings.device.data)
    found = [one.part for one in parts_after(db, 0)]
    db.close()
    return found


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("transport", ["tcp", "rtu"])
def test_every_part_gets_one_verdict(
    site: Settings,
    make_model: MakeModel,
    request: pytest.FixtureRequest,
    role: Literal["client", "server"],
    transport: str,
) -> None:
    use_model(site, make_model(thresholds=[0.3] * 4))
    if transport == "tcp":
        ours = theirs = f"127.0.0.1:{free_port()}"
    else:
        ours, theirs = request.getfixturevalue("cable")
    settings = with_machine(site, trigger="modbus", modbus=modbus(role, ours))
    parts = 12
    with running(settings) as loop:
        if role == "server":
            until(lambda: loop.loop.summary is not None)
        with plc_process("server" if role == "client" else "master", theirs, parts) as next_part:
            seen = [next_part() for _ in range(parts)]
        until(lambda: len(stored(settings)) == parts)
    assert [s.get("error") for s in seen] == [None] * parts
    assert [s["of"] for s in seen] == list(range(1, parts + 1))
    assert all(s["ok"] + s["ng"] == 1 for s in seen)
    assert {s["recipe"] for s in seen} == {1}
    said = [r.verdict for r in loop.frames]
    assert len(said) == parts
    words = {"pass": (True, False, False), "fail": (False, True, False)}
    words["unsure"] = (False, True, True)
    for one, verdict in zip(seen, said, strict=True):
        assert (one["ok"], one["ng"], one["unsure"]) == words[str(verdict)]
    rows = stored(settings)
    assert [r.number for r in rows] == list(range(1, parts + 1))
    assert [r.verdict for r in rows] == said
    assert len(set(said)) > 1, "the pictures are of all classes"
    fails = [s for s, v in zip(seen, said, strict=True) if v == "fail"]
    assert all(0 < s["class_id"] < 4 for s in fails)
    beats = [s["beat"] for s in seen]
    assert beats == sorted(beats)


def test_an_independent_master_reads_the_same(site: Settings, make_model: MakeModel) -> None:
    if shutil.which("mbpoll") is None:
        pytest.skip("needs mbpoll: apt install mbpoll")
    use_model(site, make_model(thresholds=[1e9] * 4))
    port = free_port()
    server = modbus("server", f"127.0.0.1:{port}", heartbeat_s=0.1)
    settings = with_machine(site, trigger="modbus", modbus=server)

    def poll(kind: str, address: int, count: int, *values: int) -> list[int]:
        command = ["mbpoll", "-m", "tcp", "-p", str(port), "-a", "1", "-0", "-t", kind]
        command += ["-r", str(address), *([] if values else ["-c", str(count), "-1"])]
        command += ["127.0.0.1", *map(str, values)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            return []
        rows = [r.split(":")[1].split() for r in result.stdout.splitlines() if r.startswith("[")]
        return [int(row[0]) for row in rows]

    with running(settings):
        until(lambda: poll("0", 16, 1) == [1])  # Trigger Ready
        poll("4", 0, 2, 0, 41)  # number 41
        poll("0", 0, 1, 1)  # Trigger
        until(lambda: poll("0", 17, 1) == [1])  # Results Ready
        coils, inputs = poll("0", 16, 5), poll("1", 16, 5)
        words, mirror = poll("4", 64, 4), poll("3", 64, 4)
        poll("0", 1, 1, 1)  # Results Ack
        until(lambda: poll("0", 17, 1) == [0])
        poll("0", 0, 1, 0)
        poll("0", 1, 1, 0)
        until(lambda: poll("0", 16, 1) == [1])
        first, second = poll("4", 68, 1), until(lambda: poll("4", 68, 1))
        until(lambda: poll("4", 68, 1) != first)
    assert second
    assert coils == inputs
    assert words == mirror
    (row,) = stored(settings)
    assert (row.number, words[3], words[1]) == (41, 41, 0)
    assert coils == [0, 1, int(row.verdict == "pass"), int(row.verdict != "pass"), 0]
    if row.verdict == "fail":
        assert words[0] == site.recipe.classes.index(row.name)


def test_the_plc_chooses_the_recipe_and_reads_back_which(
    site: Settings, make_model: MakeModel
) -> None:
    folder = site.device.recipes
    folder.mkdir(parents=True)
    (folder / "strict.toml").write_text(
        '[recipe]\nindex = 2\nclasses = ["clean", "patch", "pitted_surface", "scratch"]\n'
        'pass_classes = []\nfail_classes = ["clean", "patch", "pitted_surface", "scratch"]\n'
    )
    use_model(site, make_model(thresholds=[1e9] * 4))
    from config.recipes import load_recipes  # noqa: PLC0415

    strict = load_recipes(site).named("strict")
    assert strict is not None
    file = make_model(name="strict.onnx", thresholds=[1e9] * 4, pass_classes=[])
    use_model(strict, file, "strict")
    address = f"127.0.0.1:{free_port()}"
    settings = with_machine(site, trigger="modbus", modbus=modbus("server", address))
    with running(settings), plc_process("master", address, 9, 1, 2, 7) as next_part:
        seen = [next_part() for _ in range(9)]
    assert [s.get("error") for s in seen] == [None] * 9
    assert all(s["recipe"] == 1 for s in seen[0::3])
    assert all((s["recipe"], s["ok"], s["ng"]) == (2, False, True) for s in seen[1::3])
    assert {s["code"] for s in seen[1::3]} == {0}
    assert {s["code"] for s in seen[2::3]} == {Code.NO_RECIPE}
    rows = stored(settings)
    assert Counter(r.recipe for r in rows) == {site.recipe.name: 3, "strict": 3, "": 3}
    assert len({r.model_id for r in rows}) == 3
    db = open_store(settings.device.data)
    trail = [tuple(r) for r in db.execute("SELECT who, action, subject FROM audit_trail")]
    db.close()
    assert ("machine/plc", "selected recipe", "strict") in trail
    assert any(action == "changed recipe" and "strict: " in what for _, action, what in trail)


def test_without_a_model_a_part_is_ng_and_says_why(site: Settings) -> None:
    address = f"127.0.0.1:{free_port()}"
    settings = with_machine(site, trigger="modbus", modbus=modbus("server", address))
    with running(settings), plc_process("master", address, 2) as next_part:
        seen = [next_part(), next_part()]
    assert [(s["ok"], s["ng"], s["code"]) for s in seen] == [(False, True, Code.NO_MODEL)] * 2


def test_the_map_has_no_two_signals_in_one_place() -> None:
    places = [(e.kind, e.address + i) for e in MAP for i in range(e.words)]
    assert len(set(places)) == len(places)
