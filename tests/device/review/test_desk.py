"""The pages' store, where another file takes its place."""

import sqlite3
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException

from config.settings import Settings
from device.review.desk import Desk
from device.store.database import STORE_FILE
from device.store.swap import put_in_place
from tests.device.review.test_server import at_desk


def swap(data: Path) -> None:
    """Put a copy in the place of the store, as a mending does."""
    (data / "work").mkdir()
    with sqlite3.connect(data / STORE_FILE) as old:
        old.execute("VACUUM INTO ?", [str(data / "work" / STORE_FILE)])
    old.close()
    put_in_place(data, data / "work" / STORE_FILE, "damaged")


def test_a_new_store_that_cannot_be_opened_at_once_is_opened_later(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(settings)

    def ask() -> str:
        try:
            return str(at_desk(desk, lambda db: db.execute("SELECT 1").fetchone()[0]))
        except HTTPException as error:
            return str(error.detail)

    assert ask() == "1"
    swap(settings.device.data)
    monkeypatch.setattr("device.store.database.BUSY_TIMEOUT_S", 0.05)
    other = sqlite3.connect(settings.device.data / STORE_FILE)
    other.execute("BEGIN EXCLUSIVE")  # it is one file yet, without a log
    assert ask() == "damaged"
    other.close()
    assert ask() == "1"
    desk.close()
