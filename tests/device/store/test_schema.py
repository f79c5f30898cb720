"""A store that an earlier millsight made is brought up to date with all it holds."""

import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from device.models.models_in_use import in_force
from device.store.answers import labelled_patches, waiting
from device.store.database import STORE_FILE, open_store
from device.store.schema import migrations
from device.system.clock import stamp


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of a store of before there were parts and lots."""
    db = Database(tmp_path / STORE_FILE)
    migrations.apply(db, stop_before="m003_shop_floor")
    moment = stamp()
    db.execute(
        "INSERT INTO frames VALUES ('f', 'box', 0, ?, ?, ?, ?, '', 200, 200, 'r', NULL, "
        "'unsure', NULL, x'00')",
        [*moment],
    )
    db.execute("INSERT INTO cycles (reason, wall_ns, monotonic_ns, boot_id, clock_ok) "
               "VALUES ('first start', ?, ?, ?, ?)", [*moment])  # fmt: skip
    for patch in ("p", "q"):
        db.execute(
            "INSERT INTO patches VALUES (?, 'box', 0, 0, 200, 200, x'00', 'scratch')", [patch]
        )
        db.execute(
            "INSERT INTO flags (patch_id, frame_id, cycle, reason, predicted, score) "
            "VALUES (?, 'f', 1, 'uncertain', 'scratch', 1)",
            [patch],
        )
    db.execute(
        "INSERT INTO labels VALUES ('l', 'p', 'can''t tell', NULL, 'anna', ?, ?, ?, ?)", [*moment]
    )
    db.execute("INSERT INTO counters VALUES (5, 'm', 'r', 'fail', 'scratch', 7)")
    db.conn.commit()
    db.close()
    return tmp_path


def test_everything_is_still_there(old: Path) -> None:
    db = open_store(old)
    assert [q.patch_id for q in waiting(db, {"": (9, 9)})] == ["q"]
    assert labelled_patches(db).ids == []
    assert in_force(db) == (0, None, 1, "", "")
    counted = db.execute("SELECT * FROM counters").fetchall()
    assert counted == [(5, "m", "r", "fail", "scratch", "", "", 7)]
    assert db.execute("SELECT who, action, subject FROM audit_trail").fetchall() == [
        ("anna", "can't tell", "p")
    ]
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()


def test_a_power_cut_in_the_middle_leaves_the_old_one(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("device.store.database.start_cycle", fail)
    with sqlite3.connect(old / STORE_FILE) as plain:
        plain.execute("DELETE FROM cycles")
    with pytest.raises(ZeroDivisionError):  # after the last migration, before the commit
        open_store(old)
    monkeypatch.undo()
    with sqlite3.connect(old / STORE_FILE) as plain:
        tables = {row[0] for row in plain.execute("SELECT name FROM sqlite_master")}
    assert "lots" not in tables
    db = open_store(old)
    assert db.execute("SELECT sum(frames) FROM counters").fetchone()[0] == 7
    db.close()
