"""Is the store whole, ours, and cared for?"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator

from sqlite_utils import Database

from device.doctor.finding import Box, Finding
from device.store.database import STORE_FILE
from device.store.schema import migrations

LONGEST_S = 20.0
"""A large store is looked at no longer than this; what is damaged is mostly found early."""
LARGE_WAL = 256 * 2**20
RESTORE = "put it aside and restore a backup"


@contextlib.contextmanager
def reading(box: Box) -> Iterator[sqlite3.Connection]:
    """The store, only to read: a doctor makes and migrates nothing.

    Raises:
        sqlite3.Error: it is missing, damaged or locked.
    """
    path = (box.settings.device.data / STORE_FILE).absolute()
    with contextlib.closing(
        sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)
    ) as connection:
        yield connection


def look(box: Box) -> Iterator[Finding]:
    """The file, its tables, and whether it can be read to the end."""
    path = (box.settings.device.data / STORE_FILE).absolute()
    if not path.exists():
        yield Finding.warning(f"{path}: not made yet", "start the loop: millsight device run")
        return
    try:
        with reading(box) as connection:
            yield from _look_into(connection, str(path))
    except sqlite3.Error as error:
        yield Finding.fault(f"{path}: {error}", RESTORE)
        return
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size > LARGE_WAL:
        yield Finding.warning(
            f"{wal}: {wal.stat().st_size / 1e6:.0f} MB not yet in the database",
            "restart millsight-review, which may hold it open",
        )


def _look_into(connection: sqlite3.Connection, path: str) -> Iterator[Finding]:
    db = Database(connection)
    known = {migration.name for migration in migrations._migrations}
    applied = {m.name for m in migrations.applied(db)}
    if newer := sorted(applied - known):
        yield Finding.fault(
            f"{path}: made by a newer millsight ({newer[0]})", "install that one again"
        )
        return
    ends = time.monotonic() + LONGEST_S
    connection.set_progress_handler(lambda: time.monotonic() > ends, 100_000)
    whole = "as far as 20 s allow"
    try:
        said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        whole = ""
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        said = "ok"
    finally:
        connection.set_progress_handler(None, 0)
    if said != "ok":
        yield Finding.fault(f"{path}: {said.splitlines()[-1]}", RESTORE)
    elif known - applied:
        yield Finding.warning(
            f"{path}: of an older millsight", "it is brought up at the next start"
        )
    else:
        yield Finding.ok(f"{path}: whole {whole}".rstrip())
