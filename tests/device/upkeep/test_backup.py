"""Copies of the store: made while others write, and brought back."""

import hashlib
import json
import os
import random
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlite_utils import Database

from config.errors import UserError
from config.settings import Backup, Settings
from device.exchange.collect import NUMBERS
from device.models.activation import is_whole, model_path
from device.store import answers_log
from device.store import swap as swap_store
from device.store.answers import CLASS, UNDONE, add_answer, add_label, is_labelled
from device.store.carry_over import carry_over_answers, copy_tables
from device.store.database import STORE_FILE, get_state, open_store, set_state
from device.store.schema import migrations
from device.store.swap import put_in_place
from device.system.durable import flush_folder
from device.upkeep import backup
from device.upkeep.backup import LIST, back_up, copies, restore
from device.upkeep.mend import mend
from tests.device.upkeep.conftest import answers, damage, in_use


def test_a_copy_ends_while_the_store_is_written_all_the_time(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "STEP_PAGES", 8)  # as many steps as a store of gigabytes has
    settings = settings.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    db = open_store(settings.device.data)
    with db.atomic():
        set_state(db, "much", "x" * 20_000_000)
    copied = threading.Event()
    patience = time.monotonic() + 15

    def write() -> None:
        with sqlite3.connect(settings.device.data / STORE_FILE, timeout=30) as other:
            other.isolation_level = None
            other.execute("PRAGMA synchronous = OFF")
            while not copied.wait(0.001) and time.monotonic() < patience:
                other.execute("INSERT OR REPLACE INTO state VALUES ('now', hex(randomblob(8)))")
        other.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        back_up(settings, db)
        in_time = time.monotonic() < patience
    finally:
        copied.set()
        writer.join()
        db.close()
    assert in_time  # it began again at every step as long as somebody wrote
    assert len(copies(settings)) == 1


def test_what_a_power_cut_left_of_a_copy_takes_no_room_for_ever(
    settings: Settings, small_disk: Path
) -> None:
    """Some 3 MB are free, and the store takes two."""
    settings = settings.model_copy(update={"backup": Backup(folder=small_disk)})
    db = open_store(settings.device.data)
    with db.atomic():
        set_state(db, "much", "x" * 2_000_000)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    part = small_disk / ".millsight-20260101-000000"
    part.mkdir()
    (part / STORE_FILE).write_bytes(bytes(1_500_000))
    back_up(settings, db)
    db.close()
    assert len(copies(settings)) == 1
    assert not part.exists()


def test_a_copy_that_outgrows_its_disk_says_so_and_leaves_nothing(
    settings: Settings, small_disk: Path
) -> None:
    settings = settings.model_copy(update={"backup": Backup(folder=small_disk)})
    db, other = open_store(settings.device.data), open_store(settings.device.data)
    with db.atomic():
        set_state(db, "little", "x" * 100_000)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.conn.execute("BEGIN")
    other.execute("SELECT * FROM state").fetchone()  # so that the log stays
    with db.atomic():
        set_state(db, "much", "x" * 10_000_000)  # in the log: the file is as small as it was
    with pytest.raises(UserError, match="no copy was made: database or disk is full") as said:
        back_up(settings, db)
    assert str(said.value).startswith(str(small_disk))
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
    (small_disk / "ballast").unlink()
    back_up(settings, db)
    other.close()
    db.close()


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
    assert is_whole(model_path(settings.device.data, model), model)
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


def copy_of(settings: Settings) -> Path:
    return copies(settings)[0].folder / STORE_FILE


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


@pytest.mark.parametrize("way", ["restore", "mend"])
def test_answers_have_new_numbers_whenever_the_power_goes(
    filled: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    db = open_store(settings.device.data)
    back_up(settings, db)
    before = get_state(db, NUMBERS) or 0
    db.close()
    if way == "mend":
        damage(settings)

    def cut(data: Path, fresh: Path, why: str) -> None:
        put_in_place(data, fresh, why)
        raise KeyboardInterrupt  # the power goes as soon as it is in place

    monkeypatch.setattr(
        f"device.upkeep.{'backup' if way == 'restore' else 'mend'}.put_in_place", cut
    )
    with pytest.raises(KeyboardInterrupt):
        restore(settings, None, "ben") if way == "restore" else mend(settings)
    db = open_store(settings.device.data)
    assert get_state(db, NUMBERS) > before
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


def test_a_damaged_store_takes_no_copys_place(filled: Settings, tmp_path: Path) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    damage(settings)
    db = open_store(settings.device.data)
    with pytest.raises(UserError, match=r"damaged|malformed"):
        back_up(settings, db)
    db.close()
    assert copies(settings) == []
    assert list((tmp_path / "copies").glob("*")) == []
