"""A damaged store is set aside, salvaged, and gone on with; copies are made and brought back."""

import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database

from camera.source import Event, Frame
from config.document import to_toml
from config.errors import UserError
from config.recipes import load_recipes
from config.settings import Backup, Settings
from device.exchange.collect import Marks, marks, set_marks
from device.loop.loop import InspectionLoop
from device.models.activation import activate, is_whole
from device.models.models_in_use import in_force, refuse
from device.store import answers_log
from device.store import swap as swap_store
from device.store.answers import CLASS, UNDONE, add_answer, add_label, is_labelled
from device.store.carry_over import carry_over_answers, copy_tables
from device.store.database import STORE_FILE, exclusive, get_state, open_store, staying_the_store
from device.store.schema import migrations
from device.store.swap import LOCK, NOTE, finish_swap, is_mending, put_in_place
from device.store.trail import add_event
from device.system.clock import stamp
from device.system.durable import flush_folder
from device.system.locks import one_at_a_time
from device.upkeep.backup import LIST, back_up, copies, restore
from device.upkeep.mend import mend
from device.upkeep.mend_model import mend_model
from device.upkeep.retention import remove
from device.upkeep.tidy import tidy
from tests.device.conftest import MakeModel, device_in, model_file
from tests.device.loop.test_loop import change, run, use_model

needs_sqlite3 = pytest.mark.skipif(
    shutil.which("sqlite3") is None, reason="needs Debian's sqlite3: apt install sqlite3"
)


@pytest.fixture(scope="module")
def inspected(
    tmp_path_factory: pytest.TempPathFactory, plate_folder: Path, plates: np.ndarray
) -> Settings:
    """A store with a model, flags and answers; each test has a copy of it."""
    settings = device_in(tmp_path_factory.mktemp("inspected"), plate_folder)
    use_model(settings, model_file(settings.device.data.parent / "model.onnx", plates))
    run(settings, list(plates))
    db = open_store(settings.device.data)
    for (patch,) in db.execute("SELECT id FROM patches ORDER BY id LIMIT 15").fetchall():
        add_label(db, patch, "scratch", "anna")
    db.close()
    return settings


@pytest.fixture
def filled(settings: Settings, inspected: Settings) -> Settings:
    """That device, to be changed."""
    shutil.copytree(inspected.device.data, settings.device.data)
    return settings


def answers(settings: Settings) -> list[tuple[object, ...]]:
    db = open_store(settings.device.data)
    found = db.execute("SELECT rowid, id, patch_id, class, wall_ns FROM labels ORDER BY 1")
    rows = [tuple(row) for row in found]
    db.close()
    return rows


def damage(settings: Settings, seed: int = 0, pages: int = 8) -> None:
    """Overwrite pages in the middle of the file, as a failing disk does."""
    path = settings.device.data / STORE_FILE
    content = bytearray(path.read_bytes())
    rng = random.Random(seed)
    for page in rng.sample(range(len(content) // 4096 // 2, len(content) // 4096), pages):
        content[page * 4096 : (page + 1) * 4096] = rng.randbytes(4096)
    path.write_bytes(content)


@needs_sqlite3
@pytest.mark.parametrize("seed", range(4))
def test_what_is_whole_of_a_damaged_store_is_kept(filled: Settings, seed: int) -> None:
    before, model = answers(filled), in_use(filled)
    damage(filled, seed)
    mended = mend(filled)
    if mended is None:  # only free pages were hit
        pytest.fail("the damage was not found")
    assert mended.aside is not None
    assert mended.aside.exists()
    after = answers(filled)
    assert set(after) <= set(before)
    assert len(after) >= len(before) - 5
    assert in_use(filled) == model
    db = open_store(filled.device.data)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    trail = db.execute("SELECT action FROM audit_trail WHERE who = 'millsight'").fetchall()
    assert ("mended the store",) in trail
    assert db.execute("SELECT count(*) FROM events WHERE kind = 'store-mended'").fetchone() == (1,)
    db.close()
    assert mend(filled) is None


def in_use(settings: Settings) -> str | None:
    db = open_store(settings.device.data)
    found = in_force(db).model_id
    db.close()
    return found


@needs_sqlite3
def test_answers_that_the_damage_took_come_back_from_the_copy(
    filled: Settings, tmp_path: Path
) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    db = open_store(settings.device.data)
    back_up(settings, db)
    db.close()
    before = {row[1] for row in answers(settings)}
    (settings.device.data / STORE_FILE).write_bytes(random.Random(0).randbytes(500_000))
    mended = mend(settings)
    assert mended is not None
    assert (mended.how, mended.carried) == ("lost", 15)
    assert {row[1] for row in answers(settings)} == before
    assert in_use(settings) is not None  # the model's file was still there


def test_a_destroyed_first_page_is_lent_by_the_copy(filled: Settings, tmp_path: Path) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    db = open_store(settings.device.data)
    back_up(settings, db)
    # Some more that only the store and its log have.
    for (patch,) in db.execute("SELECT id FROM patches ORDER BY id DESC LIMIT 3").fetchall():
        add_label(db, patch, "patch", "ben")
    patches = db.execute("SELECT count(*) FROM patches WHERE png != x''").fetchone()
    before = answers(settings)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    path = settings.device.data / STORE_FILE
    with path.open("r+b") as stream:
        stream.write(random.Random(0).randbytes(4096))
    mended = mend(settings)
    assert mended is not None
    assert mended.how in {"recover", "rows"}
    assert answers(settings) == before
    db = open_store(settings.device.data)
    assert db.execute("SELECT count(*) FROM patches WHERE png != x''").fetchone() == patches
    db.close()


def test_a_running_inspection_mends_its_store_and_judges_on(
    filled: Settings, plates: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.loop.loop.COUNT_EVERY_S", 0.1)
    mended, ended = threading.Event(), threading.Event()
    before = answers(filled)

    class Endless:
        live = False

        def frames(self) -> Iterator[Frame]:
            number = 0
            while not ended.is_set() and number < 100_000:
                image = np.roll(plates[number % 120], number, axis=0)
                yield Frame(image, number, number, 10**18 + number)
                number += 1
                if number == 30:
                    path = filled.device.data / STORE_FILE
                    with path.open("r+b") as stream:  # not its first page: there SQLite looks
                        stream.seek(4096)
                        stream.write(bytes(range(256)) * (path.stat().st_size // 256 - 16))
                if number > 30:
                    ended.wait(0.005)

        def close(self) -> None:
            ended.set()

    events: list[Event] = []

    def report(event: Event) -> None:
        events.append(event)
        if event.kind == "store-mended":
            mended.set()

    loop = InspectionLoop(filled, report, lambda _: Endless())
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        assert mended.wait(60), [e for e in events if e.kind != "flagged"]
        judged = loop.summary.frames
        flagged = sum(e.kind == "flagged" for e in events)
        for _ in range(600):
            if sum(e.kind == "flagged" for e in events) > flagged:
                break
            threading.Event().wait(0.05)
        assert sum(e.kind == "flagged" for e in events) > flagged  # it keeps again
        assert loop.summary.frames > judged
    finally:
        loop.stop()
        thread.join(60)
    assert before  # they were in the damaged pages, and no copy was set up: that is said
    text = next(e.text for e in events if e.kind == "store-mended")
    assert "answers" in text
    assert in_use(filled) is not None


def test_the_loop_asks_again_once_it_can_begin_with_a_new_store(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which it must first write a cycle of its recipe, and somebody else writes just then."""
    monkeypatch.setattr("device.store.database.BUSY_TIMEOUT_S", 0.05)
    data = settings.device.data
    loop = InspectionLoop(settings, lambda _event: None)
    loop._db = loop._open_store()
    loop._book.follow(loop._db)
    (data / "work").mkdir()
    fresh = open_store(data / "work")
    fresh.execute("DELETE FROM cycles")
    fresh.close()
    put_in_place(data, data / "work" / STORE_FILE, "damaged")
    other = open_store(data)
    with exclusive(other), pytest.raises(UserError, match="locked"):
        loop._follow_store()
    loop._follow_store()
    assert loop._book.now.asker._db is loop._db
    assert other.execute("SELECT count(*) FROM cycles").fetchone() == (1,)
    other.close()
    loop._book.close()
    loop._db.close()


def test_nobody_writes_while_the_store_is_mended(filled: Settings) -> None:
    data = filled.device.data
    with one_at_a_time(data / LOCK, "test"):
        assert is_mending(data)
        with pytest.raises(UserError, match="being mended"):
            open_store(data)
    assert not is_mending(data)
    db = open_store(data)
    with (
        pytest.raises(UserError, match="do it again"),
        staying_the_store(data),
    ):  # the answer would be in the store that is set aside
        shutil.copy(data / STORE_FILE, data / "other.db")
        (data / "other.db").replace(data / STORE_FILE)
    db.close()


@pytest.mark.parametrize("steps", range(6))
def test_a_swap_that_a_power_cut_interrupts_is_finished(
    filled: Settings, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = filled.device.data
    before = len(answers(filled))
    db = open_store(data)  # so that there is a log to move
    add_label(db, db.execute("SELECT id FROM patches").fetchone()[0], "patch", "anna")
    (data / "work").mkdir()
    fresh = open_store(data / "work")
    fresh.execute("DELETE FROM cycles")
    fresh.close()
    done = 0
    rename = Path.rename

    def cut(self: Path, target: Path) -> Path:
        nonlocal done
        if done == steps:
            raise SystemExit
        done += 1
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", cut)
    try:
        put_in_place(data, data / "work" / STORE_FILE, "damaged")
    except SystemExit:
        assert (data / NOTE).exists()
    monkeypatch.undo()
    db.close()
    new = open_store(data)
    assert new.execute("SELECT count(*) FROM labels").fetchone() == (0,)
    new.close()
    assert not (data / NOTE).exists()
    aside = next(
        p for p in data.glob(f"{STORE_FILE}.damaged*") if not p.name.endswith(("wal", "shm"))
    )
    shutil.copytree(data, data.parent / "look")
    old = data.parent / "look" / aside.name
    old.rename(old.parent / STORE_FILE)
    for part in ("-wal", "-shm"):
        if (old.parent / (aside.name + part)).exists():
            (old.parent / (aside.name + part)).rename(old.parent / (STORE_FILE + part))
    back = open_store(old.parent)
    assert back.execute("SELECT count(*) FROM labels").fetchone() == (before + 1,)
    back.close()


def test_the_answer_that_counts_is_carried_over_although_the_copy_has_one_before_it(
    filled: Settings, tmp_path: Path
) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    db = open_store(settings.device.data)
    back_up(settings, db)
    patch, other = (r[0] for r in db.execute("SELECT patch_id FROM labels LIMIT 2").fetchall())
    add_answer(db, patch, UNDONE, None, "ben")
    (settings.device.data / answers_log.FILE).unlink()  # it was acknowledged
    before = db.execute("SELECT id FROM labels ORDER BY patch_id, rowid").fetchall()
    db.close()
    assert "1 answers carried over" in restore(settings, None, "ben")
    db = open_store(settings.device.data)
    assert db.execute("SELECT id FROM labels ORDER BY patch_id, rowid").fetchall() == before
    assert not is_labelled(db, patch)
    back_up(settings, db)  # it has both; damage takes one, and another is newer
    add_answer(db, patch, CLASS, "patch", "ben")
    before = db.execute("SELECT id FROM labels ORDER BY patch_id, rowid").fetchall()
    db.execute("DELETE FROM labels WHERE patch_id = ? AND answer = 'undone'", [patch])
    db.close()
    assert carry_over_answers(settings.device.data / STORE_FILE, copy_of(settings)) == 1
    db = open_store(settings.device.data)
    assert db.execute("SELECT id FROM labels ORDER BY patch_id, rowid").fetchall() == before
    assert is_labelled(db, patch)
    assert is_labelled(db, other)
    db.close()


def copy_by_an_earlier_program(settings: Settings) -> None:
    """A copy whose store has the tables of before pictures could go, plates and int8."""
    db = open_store(settings.device.data)
    folder = back_up(settings, db).folder
    db.close()
    file = (folder / STORE_FILE).rename(folder.parent / "now.db")
    old = Database(folder / STORE_FILE)
    migrations.apply(old, stop_before="m009_retention")
    copy_tables(old, file)
    old.conn.commit()
    old.close()
    file.unlink()
    said = json.loads((folder / LIST).read_text())
    said["sha256"][STORE_FILE] = hashlib.sha256((folder / STORE_FILE).read_bytes()).hexdigest()
    (folder / LIST).write_text(json.dumps(said))


def test_later_answers_are_carried_over_into_a_copy_by_an_earlier_program(
    filled: Settings, tmp_path: Path
) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    copy_by_an_earlier_program(settings)
    db = open_store(settings.device.data)
    asked = db.execute(
        "SELECT id FROM patches WHERE id NOT IN (SELECT patch_id FROM labels) LIMIT 4"
    ).fetchall()
    for (patch,) in asked:
        add_label(db, patch, "patch", "ben")
    before = answers(settings)
    db.close()
    (settings.device.data / answers_log.FILE).unlink()
    assert "4 answers carried over" in restore(settings, None, "ben")
    assert answers(settings) == before


def test_answers_come_back_from_a_copy_by_an_earlier_program(
    filled: Settings, tmp_path: Path
) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    copy_by_an_earlier_program(settings)
    before = {row[1] for row in answers(settings)}
    (settings.device.data / answers_log.FILE).unlink()
    (settings.device.data / STORE_FILE).write_bytes(random.Random(0).randbytes(500_000))
    mended = mend(settings)
    assert mended is not None
    assert (mended.how, mended.carried) == ("lost", 15)
    assert {row[1] for row in answers(settings)} == before


def test_what_follows_in_a_store_that_lost_its_last_rows_is_sent(
    filled: Settings, tmp_path: Path
) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    db = open_store(settings.device.data)
    with exclusive(db):  # as if the damage had taken what was sent last
        set_marks(db, Marks(flags=10**6, events=10**6, activations=10**6, minute=5))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    path = settings.device.data / STORE_FILE
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        stream.write(random.Random(0).randbytes(8 * 4096))
    mended = mend(settings)
    assert mended is not None
    assert mended.how != "lost"
    db = open_store(settings.device.data)
    found = marks(db)
    add_event(db, "size", "something new")
    events, flags, activations = (
        db.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0]
        for table in ("events", "flags", "activations")
    )
    assert found.events < events
    assert (found.flags, found.activations, found.minute) == (flags, activations, 5)
    db.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="changing a file's owner needs root")
def test_what_root_restores_is_for_the_user_of_the_services(
    filled: Settings, tmp_path: Path
) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    data, nobody = settings.device.data, 65534
    db = open_store(data)
    back_up(settings, db)
    db.close()
    for path in (data, *data.rglob("*")):
        os.chown(path, nobody, nobody)
    (data / "models" / f"{in_use(settings)}.onnx").unlink()
    restore(settings, None, "ben")
    found = {str(path.relative_to(data)): path.stat().st_uid for path in data.rglob("*")}
    assert set(found.values()) == {nobody}, found
    assert STORE_FILE in found


def copy_of(settings: Settings) -> Path:
    return copies(settings)[0].folder / STORE_FILE


def test_two_programs_that_start_after_a_power_cut_finish_a_swap_once(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = filled.device.data
    (data / "work").mkdir()
    fresh = open_store(data / "work")
    fresh.execute("DELETE FROM cycles")
    fresh.close()
    monkeypatch.setattr(swap_store, "finish_swap", lambda _data: None)  # the power goes
    put_in_place(data, data / "work" / STORE_FILE, "damaged")
    monkeypatch.undo()
    others: list[threading.Thread] = []

    def slow_flush(folder: Path) -> None:
        if not others:
            others.append(threading.Thread(target=finish_swap, args=[data]))
            others[0].start()
            others[0].join(0.5)
        flush_folder(folder)

    monkeypatch.setattr(swap_store, "flush_folder", slow_flush)
    finish_swap(data)
    others[0].join()
    db = open_store(data)
    assert db.execute("SELECT count(*) FROM cycles").fetchone() == (0,)  # the new one
    db.close()
    assert len(list(data.glob(f"{STORE_FILE}.damaged*"))) == 1


def test_copies_are_made_bounded_verified_and_brought_back(
    filled: Settings, tmp_path: Path
) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies", keep=2)})
    db = open_store(settings.device.data)
    for _ in range(4):
        back_up(settings, db)
    model = in_use(settings)
    found = copies(settings)
    assert len(found) == 2
    assert found[0].labels == 15
    unanswered = db.execute(
        "SELECT id FROM patches WHERE id NOT IN (SELECT patch_id FROM labels)"
    ).fetchone()[0]
    add_label(db, unanswered, "patch", "ben")  # after the copy
    db.execute("DELETE FROM events")
    db.close()
    assert model is not None
    (settings.device.data / "models" / f"{model}.onnx").write_bytes(b"")
    line = restore(settings, None, "ben")
    assert "1 answers carried over" in line
    assert len(answers(settings)) == 16
    assert is_whole(settings.device.data, model)
    db = open_store(settings.device.data)
    trail = db.execute("SELECT who FROM audit_trail WHERE action = 'restored a copy'").fetchall()
    assert trail == [("ben",)]
    db.close()
    with (found[0].folder / STORE_FILE).open("r+b") as stream:
        stream.seek(9000)
        stream.write(b"damaged")
    with pytest.raises(UserError, match="is damaged; take another copy"):
        restore(settings, found[0].folder, "ben")
    assert len(answers(settings)) == 16


def test_a_copy_of_a_moment_to_come_is_not_taken_for_the_latest(
    filled: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies", keep=1)})
    db = open_store(settings.device.data)
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10 * 365 * 86_400 * 10**9)
    wrong = back_up(settings, db)
    assert copies(settings) == [wrong]
    monkeypatch.setattr(time, "time_ns", now)
    right = back_up(settings, db)
    assert copies(settings) == [right]  # and not the one before, for ten years
    db.close()


def test_damage_in_an_index_is_mended_too(filled: Settings) -> None:
    """A flipped bit there leaves the file in order, but what is removed is not found."""
    path = filled.device.data / STORE_FILE
    content = bytearray(path.read_bytes())
    for page in range(0, len(content), 4096):
        at = content.find(b"uncertain", page, page + 4096)
        if content[page] == 10 and at >= 0:  # a leaf of an index
            content[at] ^= 1
    path.write_bytes(content)
    db = open_store(filled.device.data)
    assert db.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    ids = [row[0] for row in db.execute("SELECT DISTINCT patch_id FROM flags")]
    before = answers(filled)
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        remove(db, ids)
    db.close()
    assert mend(filled) is not None
    assert answers(filled) == before
    db = open_store(filled.device.data)
    assert remove(db, ids).unlabelled > 0
    db.close()
    assert mend(filled) is None


def test_a_damaged_store_takes_no_copys_place(filled: Settings, tmp_path: Path) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    damage(settings)
    db = open_store(settings.device.data)
    with pytest.raises(UserError, match=r"damaged|malformed"):
        back_up(settings, db)
    db.close()
    assert copies(settings) == []
    assert list((tmp_path / "copies").glob("*")) == []


@needs_sqlite3
def test_the_clean_up_finds_damage_mends_it_and_copies(filled: Settings, tmp_path: Path) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    damage(settings)
    kinds: list[str] = []
    tidy(settings, lambda event: kinds.append(event.kind))
    assert kinds == ["store", "store-mended", "backup"]
    assert len(copies(settings)) == 1
    tidy(settings, lambda event: kinds.append(event.kind))
    assert len(kinds) == 3  # nothing is due


def test_a_damaged_model_comes_back_from_the_copy_or_the_one_before_is_used(
    filled: Settings, make_model: MakeModel, tmp_path: Path, plates: np.ndarray
) -> None:
    first = in_use(filled)
    second = use_model(filled, make_model(7, "second.onnx"))
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    db = open_store(settings.device.data)
    back_up(settings, db)
    db.close()
    path = settings.device.data / "models" / f"{second}.onnx"
    path.write_bytes(path.read_bytes()[:999])
    events = run(settings, list(plates[:5]))
    assert any(e.startswith("model-mended") and "back from" in e for e in events)
    assert is_whole(settings.device.data, second)
    path.write_bytes(path.read_bytes()[:999])
    shutil.rmtree(tmp_path / "copies")
    events = run(settings, list(plates[:5]))
    assert any(e.startswith("model-mended") and "the model before" in e for e in events)
    assert in_use(settings) == first


def test_no_refused_and_no_unfit_model_takes_the_place_of_a_damaged_one(
    filled: Settings, make_model: MakeModel
) -> None:
    first = in_use(filled)
    refused = use_model(filled, make_model(7, "refused.onnx"))
    last = use_model(filled, make_model(8, "last.onnx"))
    path = filled.device.data / "models" / f"{last}.onnx"
    path.write_bytes(path.read_bytes()[:999])
    db = open_store(filled.device.data)
    with exclusive(db):
        refuse(db, refused, "it did worse")
    other = change(filled, "recipe", pass_classes=["clean", "scratch"])
    event = mend_model(db, other, last, "")
    assert event is not None
    assert (event.kind, in_use(filled)) == ("model-damaged", last)
    event = mend_model(db, filled, last, "")
    assert event is not None
    assert (event.kind, in_use(filled)) == ("model-mended", first)
    db.close()


def lose(settings: Settings) -> None:
    """Damage of which nothing can be read."""
    (settings.device.data / STORE_FILE).write_bytes(random.Random(0).randbytes(500_000))
    mended = mend(settings)
    assert mended is not None
    assert mended.how == "lost"


def test_a_model_comes_back_to_its_own_recipe_or_to_none(
    filled: Settings, make_model: MakeModel, tmp_path: Path
) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    assert filled.device.recipes is not None
    filled.device.recipes.mkdir(exist_ok=True)
    (filled.device.recipes / "ring.toml").write_text("[recipe]\n")
    ring = load_recipes(filled).named("ring")
    assert ring is not None
    first = in_use(settings)
    refused = use_model(settings, make_model(6, "refused.onnx"))
    db = open_store(settings.device.data)
    its = activate(db, make_model(7, "ring.onnx"), ring, "test", "ring").id
    with exclusive(db):
        refuse(db, refused, "it did worse")
    back_up(settings, db)
    db.close()

    def in_force_now() -> tuple[str | None, str | None]:
        db = open_store(settings.device.data)
        found = in_force(db).model_id, in_force(db, "ring").model_id
        db.close()
        return found

    lose(settings)
    assert in_force_now() == (first, its)
    shutil.rmtree(tmp_path / "copies")
    lose(settings)
    assert in_force_now() == (None, None), "nothing says whose they are"
    file = settings.device.data / "models" / f"{its}.onnx"
    file.with_suffix(".companion.json").write_text('{"recipe": "ring"}')
    lose(settings)
    assert in_force_now() == (None, its)


def test_a_restore_that_a_power_cut_interrupted_is_finished_first(
    filled: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    data = settings.device.data
    db = open_store(data)
    back_up(settings, db)
    patch = db.execute(
        "SELECT id FROM patches WHERE id NOT IN (SELECT patch_id FROM labels)"
    ).fetchone()[0]
    add_label(db, patch, "patch", "ben")
    db.close()
    (data / answers_log.FILE).unlink()
    before = answers(settings)
    real = flush_folder

    def cut(folder: Path) -> None:
        real(folder)
        if not (data / STORE_FILE).exists():
            raise KeyboardInterrupt  # between the two renames

    with monkeypatch.context() as power:
        power.setattr(swap_store, "flush_folder", cut)
        with pytest.raises(KeyboardInterrupt):
            restore(settings, None, "ben")
    restore(settings, None, "ben")
    assert answers(settings) == before


def acknowledged_and_old(settings: Settings) -> str:
    """Make an answered patch one whose picture and answers are to go for their age; its id."""
    old = stamp(stamp().wall_ns - 200 * 86_400 * 10**9)
    db = open_store(settings.device.data)
    patch = str(db.execute("SELECT patch_id FROM labels LIMIT 1").fetchone()[0])
    with exclusive(db):
        db.execute("UPDATE patches SET png = x'' WHERE id = ?", [patch])
        db.execute("INSERT INTO pictures_gone VALUES (?, ?, ?, ?, ?)", [patch, *old])
        db.execute("UPDATE labels SET wall_ns = ? WHERE patch_id = ?", [old.wall_ns, patch])
        db.execute(
            "INSERT INTO batches (sequence, name, state, reason, bytes, labels, patches, begin, "
            "wall_ns, monotonic_ns, boot_id, clock_ok) "
            "VALUES (1, 'b', 'acknowledged', '', 1, 5, 5, '{}', ?, ?, ?, ?)",
            [*old],
        )
        db.execute("INSERT INTO sent_labels SELECT id, 1 FROM labels WHERE patch_id = ?", [patch])
        db.execute(  # of a trainer in one
            "INSERT INTO merged_labels (label_id, device, number) "
            "SELECT id, 'box', 1 FROM labels WHERE patch_id = ?",
            [patch],
        )
    db.close()
    path = settings.device.data / answers_log.FILE
    rows = [json.loads(line) for line in path.read_text().splitlines() if line]
    for row in rows:
        if row[answers_log.PATCH] == patch:
            row[answers_log.WALL_NS] = old.wall_ns
    path.write_text("".join(f"\n{json.dumps(row)}" for row in rows))
    return patch


def test_answers_that_went_for_their_age_do_not_come_back(filled: Settings) -> None:
    settings = change(filled, "keeping", rows_days=100)
    patch = acknowledged_and_old(settings)
    tidy(settings, lambda _event: None)
    db = open_store(settings.device.data)
    row = "SELECT count(*) FROM labels WHERE patch_id = ?"
    assert db.execute(row, [patch]).fetchone() == (0,)
    answers_log.put_back_answers(db, settings.device.data, "box")
    assert db.execute(row, [patch]).fetchone() == (0,)
    assert db.execute("SELECT count(*) FROM labels").fetchone()[0] > 0
    db.close()


def test_check_names_the_damaged_model_of_any_recipe(
    filled: Settings, make_model: MakeModel, tmp_path: Path
) -> None:
    assert filled.device.recipes is not None
    filled.device.recipes.mkdir(exist_ok=True)
    (filled.device.recipes / "ring.toml").write_text("[recipe]\n")
    ring = load_recipes(filled).named("ring")
    assert ring is not None
    db = open_store(filled.device.data)
    model = activate(db, make_model(7, "ring.onnx"), ring, "test", "ring").id
    db.close()
    config = tmp_path / "millsight.toml"
    config.write_text(to_toml(filled))
    command = [sys.executable, "-m", "millsight", "device", "check", "--config", str(config)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    path = filled.device.data / "models" / f"{model}.onnx"
    path.write_bytes(path.read_bytes()[:999])
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert f"{model[:12]} is damaged" in said.stderr


def test_a_run_that_was_cut_off_is_said(filled: Settings) -> None:
    db = open_store(filled.device.data)
    state = get_state(db, "loop")
    assert state["activity"] == "stopped"
    db.execute("UPDATE state SET value = replace(value, 'stopped', 'running') WHERE key = 'loop'")
    db.close()
    assert any(e.startswith("cut-off: ") for e in run(filled, []))
    assert not any(e.startswith("cut-off: ") for e in run(change(filled, "asking", k=3), []))
