"""A copy of the store is made while others write."""

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from config.settings import Backup, Settings
from device import backup
from device.backup import back_up, copies
from device.store import STORE_FILE, open_store, set_state


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
