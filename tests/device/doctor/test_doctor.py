"""The doctor: every check finds what it should on a box that really has it."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from camera.milled_steel import CLASSES
from config.document import to_toml
from config.machine import Machine, MachineLine
from config.recipes import load_recipes
from config.settings import (
    Camera,
    Device,
    Exchange,
    FolderSource,
    Keeping,
    OpencvSource,
    Recipe,
    Review,
    Settings,
    Vmc220Source,
)
from device.doctor import clock, disk, examine, units
from device.doctor.finding import Box, Finding
from device.loop.loop import InspectionLoop
from device.models.activation import activate, model_path
from device.models.models_in_use import in_force
from device.store.database import STORE_FILE, open_store
from device.store.trail import add_event
from device.system.clock import stamp
from tests.device.conftest import MakeModel
from tests.servers import free_port


def box_of(settings: Settings, folder: Path) -> Box:
    file = folder / "millsight.toml"
    file.write_text(to_toml(settings))
    return Box(file, settings)


def find(check: str, settings: Settings, folder: Path) -> list[Finding]:
    return list(examine.CHECKS[check](box_of(settings, folder)))


def only_fault(check: str, settings: Settings, folder: Path) -> Finding:
    faults = [one for one in find(check, settings, folder) if one.level == "fault"]
    assert len(faults) == 1, faults
    assert faults[0].mend, "it does not say how to mend it"
    return faults[0]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        device=Device(data=tmp_path / "data"),
        recipe=Recipe(classes=list(CLASSES)),
        exchange=Exchange(url=str(tmp_path / "exchange")),
    )


def test_a_good_box_is_ok(settings: Settings, tmp_path: Path, make_model: MakeModel) -> None:
    db = open_store(settings.device.data)
    activate(db, make_model(), settings, "test")
    db.close()
    (tmp_path / "exchange").mkdir()
    for check in ("settings", "permissions", "disk", "database", "model", "camera", "serial"):
        assert [one.level for one in find(check, settings, tmp_path)] == ["ok"], check


def test_the_camera_is_tried_where_no_loop_has_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.doctor.camera.WAIT_S", 1.5)
    camera = Camera(
        source="opencv", opencv=OpencvSource(address=f"http://127.0.0.1:{free_port()}/x")
    )
    changed = settings.model_copy(update={"camera": camera})
    assert "127.0.0.1" in only_fault("camera", changed, tmp_path).text


def test_dark_frames_are_a_fault_of_the_camera(settings: Settings, tmp_path: Path) -> None:
    import cv2  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    (tmp_path / "dark").mkdir()
    cv2.imwrite(str(tmp_path / "dark/0.png"), np.zeros((200, 200), np.uint8))
    camera = Camera(source="folder", folder=FolderSource(path=tmp_path / "dark"))
    changed = settings.model_copy(update={"camera": camera})
    assert "dark" in only_fault("camera", changed, tmp_path).text


def test_serial_ports(settings: Settings, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        there = MachineLine(port=os.ttyname(theirs))
        machine = Machine(trigger="line", line=there)
        good = settings.model_copy(update={"machine": machine})
        assert [one.level for one in find("serial", good, tmp_path)] == ["ok"]
    finally:
        os.close(ours)
        os.close(theirs)
    gone = Machine(trigger="line", line=MachineLine(port="/dev/serial/by-id/gone"))
    assert (
        "not there"
        in only_fault("serial", settings.model_copy(update={"machine": gone}), tmp_path).text
    )


def test_a_full_disk(settings: Settings, tmp_path: Path) -> None:
    keeping = Keeping(low_disk_mb=10**9)
    found = only_fault("disk", settings.model_copy(update={"keeping": keeping}), tmp_path)
    assert "MB free" in found.text


def test_a_mount_that_fstab_names_and_that_is_missing(tmp_path: Path) -> None:
    fstab = tmp_path / "fstab"
    place = tmp_path / "a disk"
    fstab.write_text(
        f"# comment\nUUID=1 / ext4 defaults 0 1\nUUID=2 {str(place).replace(' ', chr(92) + '040')}"
        " ext4 defaults 0 2\nUUID=3 none swap sw 0 0\n"
    )
    assert disk.missing_mount(place / "data", fstab) == place
    assert disk.missing_mount(tmp_path / "elsewhere", fstab) is None
    fstab.write_text("proc /proc proc defaults 0 0\n")
    assert disk.missing_mount(Path("/proc/data"), fstab) is None


def test_a_disk_that_must_be_mounted(settings: Settings, tmp_path: Path) -> None:
    device = settings.device.model_copy(update={"must_be_mount": tmp_path})
    found = only_fault("disk", settings.model_copy(update={"device": device}), tmp_path)
    assert "mounted" in found.text


@pytest.mark.parametrize(
    ("now", "level", "words"),
    [
        (lambda last: 0, "fault", "before any millsight"),
        (lambda last: last - 3600 * 10**9, "fault", "went back"),
        (lambda last: last + 10 * clock.YEAR_NS, "warning", "jumped ahead"),
    ],
)
def test_clocks_that_jumped(
    now: Callable[[int], int],
    level: str,
    words: str,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    db = open_store(settings.device.data)
    add_event(db, "test", "now")
    db.close()
    wall = now(stamp().wall_ns)
    monkeypatch.setattr("device.doctor.clock.time.time_ns", lambda: wall)
    found = find("clock", settings, tmp_path)
    assert [one.level for one in found] == [level]
    assert words in found[0].text


def test_a_damaged_database(settings: Settings, tmp_path: Path) -> None:
    db = open_store(settings.device.data)
    with db.atomic():
        for i in range(2000):
            add_event(db, "test", f"{i} " * 20)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    path = settings.device.data / STORE_FILE
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 8192)
    assert STORE_FILE in only_fault("database", settings, tmp_path).text
    path.write_bytes(b"no database at all" * 100)
    assert "not a database" in only_fault("database", settings, tmp_path).text


def test_a_database_of_a_newer_program_is_neither_opened_nor_changed(
    settings: Settings, tmp_path: Path
) -> None:
    db = open_store(settings.device.data)
    db.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
        "VALUES ('millsight', 'm999_later', '')"
    )
    db.close()
    assert "m999_later" in only_fault("database", settings, tmp_path).text


def test_nothing_is_made_by_looking(settings: Settings, tmp_path: Path) -> None:
    for check in ("permissions", "disk", "clock", "database", "model", "judging", "serial"):
        find(check, settings, tmp_path)
    assert not settings.device.data.exists()


def test_a_damaged_model(settings: Settings, tmp_path: Path, make_model: MakeModel) -> None:
    db = open_store(settings.device.data)
    activate(db, make_model(), settings, "test")
    model_id = in_force(db).model_id
    db.close()
    assert model_id is not None
    path = model_path(settings.device.data, model_id)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(content)
    assert model_id in only_fault("model", settings, tmp_path).text
    path.unlink()
    assert model_id in only_fault("model", settings, tmp_path).text


def test_a_damaged_model_and_a_mistake_of_another_recipe(
    settings: Settings, tmp_path: Path, make_model: MakeModel
) -> None:
    device = settings.device.model_copy(update={"recipes": tmp_path / "recipes"})
    settings = settings.model_copy(update={"device": device})
    settings.device.recipes.mkdir()
    (settings.device.recipes / "ring.toml").write_text("[recipe]\n")
    ring = load_recipes(settings).named("ring")
    assert ring is not None
    db = open_store(settings.device.data)
    activate(db, make_model(), settings, "test")
    model_id = activate(db, make_model(7, "ring.onnx"), ring, "test", "ring").id
    db.close()
    path = model_path(settings.device.data, model_id)
    path.write_bytes(path.read_bytes()[:999])
    found = only_fault("model", settings, tmp_path)
    assert found.text.startswith("recipe ring: ")
    assert model_id in found.text
    (settings.device.recipes / "ring.toml").write_text("[recipe\n")
    assert "ring.toml" in only_fault("model", settings, tmp_path).text


def test_an_exchange_that_does_not_answer(settings: Settings, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("id\nsecret\n")
    key.chmod(0o600)
    away = Exchange(
        url="s3://plant", s3_endpoint=f"http://127.0.0.1:{free_port()}", s3_credentials=key,
        timeout_s=1,
    )  # fmt: skip
    changed = settings.model_copy(update={"exchange": away})
    assert only_fault("exchange", changed, tmp_path).text


def test_secrets_that_others_may_read(settings: Settings, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("id\nsecret\n")
    key.chmod(0o644)
    exchange = Exchange(url="s3://plant", s3_credentials=key)
    found = only_fault("permissions", settings.model_copy(update={"exchange": exchange}), tmp_path)
    assert found.mend == f"chmod 600 {key}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_looks_with_the_eyes_of_the_owner(settings: Settings, tmp_path: Path) -> None:
    data = settings.device.data
    open_store(data).close()
    for path in (tmp_path, *tmp_path.parents):  # pytest's folders, however deep, are its owner's
        if path == Path(tempfile.gettempdir()):
            break
        path.chmod(0o755)
    box = box_of(settings, tmp_path)
    os.chown(data, 65534, 65534)  # nobody's, with a store in it that is root's
    code = (
        "import sys, pathlib\nfrom device.doctor import examine\n"
        f"examine.become_owner_of(pathlib.Path({str(data)!r}))\n"
        f"box = examine.read_box(pathlib.Path({str(box.file)!r}))\n"
        "print([f.text for f in examine.examine(box, ['permissions'])['permissions']])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert "user nobody may not write it" in done.stdout, done.stderr


def test_a_loop_that_judges_and_one_that_does_not(settings: Settings, tmp_path: Path) -> None:
    assert "does not run" in only_fault("judging", settings, tmp_path).text
    camera = Camera(vmc220=Vmc220Source(rate_fps=20))
    loop = InspectionLoop(settings.model_copy(update={"camera": camera}), lambda _event: None)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        box = box_of(settings, tmp_path)
        found = examine.examine_until_well(box.file, ["judging", "camera"], 30)
        assert [one.level for one in found["judging"]] == ["ok"]
        assert "judged" in found["judging"][0].text
        assert [one.level for one in found["camera"]] == ["ok"]
    finally:
        loop.stop()
        thread.join()


def test_pages_that_do_not_answer(settings: Settings, tmp_path: Path) -> None:
    review = Review(port=free_port())
    found = only_fault("pages", settings.model_copy(update={"review": review}), tmp_path)
    assert str(review.port) in found.text


def run_doctor(file: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "millsight", "doctor", "--config", str(file), *arguments],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_units_of_another_version_are_named(tmp_path: Path) -> None:
    installed, version = tmp_path / "system", tmp_path / "version"
    for folder in (installed, version):
        folder.mkdir()
        (folder / "millsight.target").write_text("[Unit]\n")
        (folder / "sshd.service").write_text(folder.name)  # nobody's business
    (installed / "millsight-sync.timer.new").touch()  # systemd does not see it
    assert units.of_another_version(installed, version) == []
    (installed / "millsight-old.timer").touch()
    (version / "millsight-new.timer").touch()
    (version / "millsight.target").write_text("[Unit]\nDescription=x\n")
    assert units.of_another_version(installed, version) == [
        "millsight-new.timer", "millsight-old.timer", "millsight.target",
    ]  # fmt: skip
    assert units.of_another_version(installed, tmp_path / "none") == []


def test_the_command_says_it_in_lines_and_in_json(settings: Settings, tmp_path: Path) -> None:
    file = box_of(settings, tmp_path).file
    done = run_doctor(file, "settings", "judging")
    assert done.returncode == 1
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["ok", "settings"],
        ["BAD", "judging"],
    ]
    done = run_doctor(file, "settings", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["well"]
    assert said["version"]
    assert list(said["checks"]) == ["settings"]
    done = run_doctor(file, "brakes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no check; known: settings" in done.stderr


def test_broken_settings_do_not_stop_the_doctor(tmp_path: Path) -> None:
    file = tmp_path / "millsight.toml"
    file.write_text("[review]\nport = 'x'\ncolour = 1\n")
    done = run_doctor(file)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("BAD  settings")]
    assert len(lines) == 2
    assert "review.port" in done.stdout
    assert "review.colour" in done.stdout


def test_waiting_ends_when_the_time_is_up(settings: Settings, tmp_path: Path) -> None:
    file = box_of(settings, tmp_path).file
    began = time.monotonic()
    found = examine.examine_until_well(file, ["judging"], 1.5)
    assert examine.is_bad(found["judging"])
    assert time.monotonic() - began >= 1.5


def test_a_locked_or_missing_database_is_said_and_not_raised(
    settings: Settings, tmp_path: Path
) -> None:
    assert [one.level for one in find("database", settings, tmp_path)] == ["warning"]
    open_store(settings.device.data).close()
    path = settings.device.data / STORE_FILE
    with sqlite3.connect(path) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert find("database", settings, tmp_path)
    holder.close()
