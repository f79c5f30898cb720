"""A copy of the store is made while others write."""

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from config.errors import UserError
from config.settings import Backup, Settings
from device.store.database import STORE_FILE, open_store, set_state
from device.upkeep import backup
from device.upkeep.backup import back_up, copies


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
