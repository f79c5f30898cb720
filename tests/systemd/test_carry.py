"""The database across an upgrade and back."""

import contextlib
import resource
import signal
import sqlite3
import threading
from pathlib import Path

import pytest

from device.store.database import STORE_FILE, open_store
from device.store.schema import migrations as schema
from device.store.trail import add_event
from systemd.carry import backup, copies_of, fit, folder, migrations

KNOWN = {one.name for one in schema._migrations}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    db = open_store(tmp_path)
    add_event(db, "test", "before")
    db.close()
    return tmp_path / STORE_FILE


def texts(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return [row[0] for row in db.execute("SELECT text FROM events ORDER BY id")]


def change_as_a_newer_version_does(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as db, db:
        db.execute("ALTER TABLE events ADD COLUMN colour TEXT DEFAULT 'grey'")
        db.execute("CREATE TABLE colours (id INTEGER PRIMARY KEY)")
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
            "VALUES ('millsight', 'm999_colours', '')"
        )


def test_a_copy_of_a_database_that_is_written_to(database: Path) -> None:
    db = open_store(database.parent)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            add_event(db, "test", "meanwhile")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        backup(database, "2.0")
    finally:
        stop.set()
        writer.join()
        db.close()
    (copy,) = copies_of(database)
    assert copy.name == "before-2.0.db"
    assert texts(copy)[0] == "before"
    with contextlib.closing(sqlite3.connect(copy)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_copy_for_which_there_is_no_room_leaves_its_room(database: Path) -> None:
    folder(database).mkdir()
    with contextlib.closing(sqlite3.connect(database)) as db, db:
        db.execute("CREATE TABLE big AS SELECT zeroblob(2000000) AS content")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limit[1]))  # the write fails, as ENOSPC
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(sqlite3.Error):
            backup(database, "2.0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(folder(database).iterdir()) == []


def test_only_the_last_copies_stay(database: Path) -> None:
    for version in ("1", "2", "3", "4"):
        backup(database, version)
    assert sorted(path.name for path in copies_of(database)) == ["before-3.db", "before-4.db"]


def test_nothing_is_done_where_the_version_knows_the_database(database: Path) -> None:
    content = database.read_bytes()
    assert fit(database, KNOWN) is None
    assert database.read_bytes() == content


def test_what_was_stored_since_comes_back_with_the_older_version(database: Path) -> None:
    backup(database, "2.0")
    change_as_a_newer_version_does(database)
    with contextlib.closing(sqlite3.connect(database)) as db, db:
        db.execute(
            "INSERT INTO events (kind, text, wall_ns, monotonic_ns, boot_id, clock_ok, colour) "
            "VALUES ('test', 'since', 1, 1, '', 1, 'red')"
        )
        db.execute("INSERT OR REPLACE INTO state VALUES ('loop', '{\"frames\": 7}')")
    aside = fit(database, KNOWN)
    assert aside is not None
    assert "m999_colours" in migrations(aside)
    assert migrations(database) <= KNOWN
    db2 = open_store(database.parent)  # the older version is content
    assert db2.execute("SELECT value FROM state WHERE key = 'loop'").fetchone()[0] == (
        '{"frames": 7}'
    )
    db2.close()
    assert texts(database) == ["before", "since"]
    assert fit(database, KNOWN) is None


def test_without_a_copy_nothing_is_changed(database: Path) -> None:
    change_as_a_newer_version_does(database)
    with pytest.raises(sqlite3.DatabaseError, match="no older copy"):
        fit(database, KNOWN)
    assert texts(database) == ["before"]
