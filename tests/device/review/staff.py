"""Operators and supervisors of the tests, their server, and what its trail holds."""

import subprocess
import sys
from pathlib import Path

import httpx
from sqlite_utils import Database

from config.settings import Device, Review, Settings
from device.review import people
from device.review.people import Person
from device.store.database import open_store
from device.system import clock
from tests.device.review.conftest import (
    Client,
    Server,
    fill,
)  # fmt: skip

REVIEW = Review(
    operators=["Anna", "李伟", "Bo"], supervisors=["Eva"], supervisor_timeout_s=100,
    session_timeout_s=1000,
)  # fmt: skip
ANNA, LI, EVA = Person("Anna", False), Person("李伟", False), Person("Eva", True)
PIN = "4711"
PASSWORD = "correct horse"


def actions(db: Database) -> list[tuple[str, str, str]]:
    return [tuple(r) for r in db.execute("SELECT who, action, subject FROM actions ORDER BY id")]


def with_staff(folder: Path) -> Settings:
    """A store with questions; Anna has a PIN, 李伟 and Bo have none, supervisor Eva has one."""
    settings = Settings(
        device=Device(data=folder / "data"),
        review=Review(
            operators=["Anna", "李伟", "Bo"], supervisors=["Eva", "Max"], supervisor_timeout_s=1000
        ),
    )
    db = open_store(settings.device.data)
    fill(db, 20)
    people.set_secret(db, "Anna", PIN, "x")
    people.set_secret(db, "Eva", "00001111", "x")
    db.close()
    return settings


def trail(server: Server) -> list[tuple[str, str, str]]:
    db = open_store(server.settings.device.data)
    found = actions(db)
    db.close()
    return [row for row in found if row[0] != "x"]


def age(server: Server, seconds: float) -> None:
    """Let all sessions and actions be older."""
    db = open_store(server.settings.device.data)
    db.execute("UPDATE sessions SET used_ns = used_ns - ?", [int(seconds * 1e9)])
    db.execute("UPDATE actions SET monotonic_ns = monotonic_ns - ?", [int(seconds * 1e9)])
    db.close()


def wait_from_now(server: Server) -> None:
    """Let a wait begin now, however long the test took to get here."""
    db = open_store(server.settings.device.data)
    db.execute("UPDATE actions SET monotonic_ns = ?", [clock.stamp().monotonic_ns])
    db.close()


def pin(client: Client, name: str, value: str) -> httpx.Response:
    return client.form("/people/pin", name=name, pin=value)


def command(config: Path, *words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "millsight", "people", *words, "-c", str(config)],
        input=given, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
