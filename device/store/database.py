"""The store: one SQLite file for everything that must not be lost.

Plain functions over a `Database`. Every connection is WAL with synchronous=FULL: what a function
here has returned from is on the disk. A connection is used by one thread at a time.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from config.errors import UserError
from config.settings import Settings
from device.store import swap as swap_store
from device.store.cycles import start_cycle
from device.store.schema import migrations
from device.store.swap import finish_swap, identity_of, is_mending
from device.system.disk import need_disk
from device.system.owner import give_to_owner_of_folder, make_folder

STORE_FILE = swap_store.STORE_FILE
BUSY_TIMEOUT_S = 30.0
NEW_PRAGMA = "auto_vacuum = INCREMENTAL"
"""Of a new store: room can be given back without a rewrite."""
PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "journal_size_limit = 33554432",  # a log that grew once need not stay large
)


def open_store(folder: Path) -> Database:
    """Open the store in a data folder, made where missing, and bring its tables up to date.

    Raises:
        UserError: the folder cannot be written, the file is no database or is damaged, the
            disk is full, or a newer millsight made it.
    """
    path = folder / STORE_FILE
    try:
        make_folder(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: the data folder cannot be made: {error.strerror}; "
            "set device.data to a folder this user can write"
        ) from None
    refuse_while_mending(folder)
    with explain_errors(path):
        finish_swap(folder)  # that a power cut interrupted
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            if is_new := not path.stat().st_size:
                give_to_owner_of_folder(path)
            for pragma in (NEW_PRAGMA, *PRAGMAS) if is_new else PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            db = Database(connection)
            _refuse_newer(db, path)
            if migrations.pending(db):
                with exclusive(db):  # two programs may start at once
                    migrations.apply(db)
                    if not db.execute("SELECT 1 FROM cycles").fetchone():
                        start_cycle(db, "first start")
        except BaseException:
            connection.close()
            raise
    return db


def open_store_of(settings: Settings) -> Database:
    """Open the store of a device, on the disk that it must lie on.

    Raises:
        UserError: that disk is not mounted: none is made in its place. Or as `open_store`.
    """
    need_disk(settings)
    return open_store(settings.device.data)


def refuse_while_mending(folder: Path) -> None:
    """Refuse to use a store that is being mended: what is written now would not be in the new one.

    Raises:
        UserError: it is.
    """
    if is_mending(folder):
        raise UserError(
            f"{folder / STORE_FILE}: it was damaged and is being mended; wait until it is"
        )


@contextmanager
def staying_the_store(folder: Path) -> Iterator[None]:
    """Make sure that what is done to a store before is in the store afterwards.

    Raises:
        UserError: it was taken for damaged meanwhile, and another one is or comes in its place; do
            it again.
    """
    before = identity_of(folder)
    refuse_while_mending(folder)
    yield
    refuse_while_mending(folder)
    if identity_of(folder) != before:
        raise UserError(f"{folder / STORE_FILE}: was replaced meanwhile; do it again")


ADVICE = {
    "locked": "another program holds it; stop that, then start again",
    "full": "the disk is full; free some space, what is stored is safe",
    "readonly": "this user may not write there; mend the owner of the data folder",
    "unable to open": "this user may not write there; mend the owner of the data folder",
    "disk I/O": "the disk failed or is full; check it, what is stored is safe",
    "malformed": "the database is damaged; put it aside and restore a backup",
    "not a database": "the database is damaged; put it aside and restore a backup",
}
"""What to do about what SQLite says, by a part of its message."""


def advice_for(error: sqlite3.DatabaseError) -> str | None:
    """What to do about an error of SQLite; None: it is no fault of disk, rights or file."""
    return next((advice for part, advice in ADVICE.items() if part in str(error)), None)


@contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a file into one line that says what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if (advice := advice_for(error)) is None:
            raise
        raise UserError(f"{path}: {error}: {advice}") from None


@contextmanager
def exclusive(db: Database) -> Iterator[None]:
    """A transaction that no other writer can come between, from its first read on."""
    if db.conn.in_transaction:
        with db.atomic():
            yield
        return
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.conn.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


def _refuse_newer(db: Database, path: Path) -> None:
    known = {migration.name for migration in migrations._migrations}
    if newer := [m.name for m in migrations.applied(db) if m.name not in known]:
        raise UserError(
            f"{path}: made by a newer millsight ({newer[0]}): update this program, or name "
            "another folder as device.data; nothing was changed"
        )


def set_state(db: Database, key: str, value: Any) -> None:
    """Remember a JSON value under a key."""
    db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", [key, json.dumps(value)])


def get_state(db: Database, key: str) -> Any:
    """The JSON value remembered under a key, or None."""
    row = db.execute("SELECT value FROM state WHERE key = ?", [key]).fetchone()
    return None if row is None else json.loads(row[0])
