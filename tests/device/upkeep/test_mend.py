"""A damaged store is set aside, salvaged, and gone on with; copies are made and brought back."""

import random
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from camera.source import Event, Frame
from config.errors import UserError
from config.settings import Backup, Settings
from device.exchange.collect import Marks, marks, set_marks
from device.loop.loop import InspectionLoop
from device.store import swap as swap_store
from device.store.answers import add_label
from device.store.database import STORE_FILE, exclusive, get_state, open_store, staying_the_store
from device.store.swap import LOCK, NOTE, finish_swap, is_mending, put_in_place
from device.store.trail import add_event
from device.system.durable import flush_folder
from device.system.locks import one_at_a_time
from device.upkeep.backup import back_up, copies
from device.upkeep.mend import mend
from device.upkeep.retention import remove
from device.upkeep.tidy import tidy
from tests.device.loop.test_loop import change, run
from tests.device.upkeep.conftest import answers, damage, in_use

needs_sqlite3 = pytest.mark.skipif(
    shutil.which("sqlite3") is None, reason="needs Debian's sqlite3: apt install sqlite3"
)


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


def test_a_run_that_was_cut_off_is_said(filled: Settings) -> None:
    db = open_store(filled.device.data)
    state = get_state(db, "loop")
    assert state["activity"] == "stopped"
    db.execute("UPDATE state SET value = replace(value, 'stopped', 'running') WHERE key = 'loop'")
    db.close()
    assert any(e.startswith("cut-off: ") for e in run(filled, []))
    assert not any(e.startswith("cut-off: ") for e in run(change(filled, "asking", k=3), []))
