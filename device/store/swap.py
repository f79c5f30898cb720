"""Putting another file in the place of the store, so that a power cut at any moment does no harm.

The new store lies whole and flushed in a folder beside the old one, and a note beside it says where
the old one goes; only then are files renamed. Whoever finds a note finishes what it says: that can
be done again from any point. The log of the old store moves with it, for SQLite would take it for
the new store's.
"""

import fcntl
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from device.system.durable import flush_folder, write_durably
from device.system.owner import give_to_owner_of_folder

STORE_FILE = "millsight.db"
LOCK = "mending.lock"
SWAP_LOCK = "swap.lock"
NOTE = "swap.note"
PARTS = ("-wal", "-shm", "")
SET_ASIDE_KEPT = 2
"""Stores set aside that are kept; the oldest goes."""


def is_mending(data: Path) -> bool:
    """Whether somebody is mending the store in a folder at this moment: nothing may be written."""
    try:
        descriptor = os.open(data / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def identity_of(data: Path) -> tuple[int, int] | None:
    """Which file is the store now; another one after it was mended or restored. None: none is."""
    try:
        found = (data / STORE_FILE).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def verify_store(path: Path, *, full: bool = False) -> str | None:
    """What is wrong with a store that nobody uses; None: nothing.

    `full` compares indexes with their rows too, which takes longer.
    """
    pragma = "integrity_check" if full else "quick_check"
    try:
        with closing(sqlite3.connect(path)) as db:
            rows = db.execute(f"PRAGMA {pragma}(1)").fetchall()
            if rows != [("ok",)]:
                return str(rows[0][0])[:200]
            if db.execute("PRAGMA foreign_key_check").fetchone() is not None:
                return "rows refer to rows that are missing"
            db.execute("SELECT count(*) FROM labels").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return None


def put_in_place(data: Path, fresh: Path, why: str) -> Path | None:
    """Make a store that lies in a folder of its own the store; where the old one went.

    Raises:
        OSError: the disk fails.
    """
    with closing(sqlite3.connect(fresh)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("PRAGMA journal_mode = DELETE")  # one file, without a log of its own
    with fresh.open("rb") as stream:
        os.fsync(stream.fileno())
    flush_folder(fresh.parent)
    name = time.strftime(f"{STORE_FILE}.{why}-%Y%m%d-%H%M%S")
    aside = data / name
    number = 2
    while aside.exists():
        aside, number = data / f"{name}-{number}", number + 1
    existed = (data / STORE_FILE).exists()
    write_durably(data / NOTE, f"{fresh.relative_to(data)}\n{aside.name}\n".encode())
    finish_swap(data)
    return aside if existed else None


def finish_swap(data: Path) -> None:
    """Do what the note says, from wherever it was left; nothing without a note.

    Raises:
        OSError: the disk fails.
    """
    if not (data / NOTE).exists():
        return
    with (data / SWAP_LOCK).open("w") as file:  # after a power cut several programs start at once
        give_to_owner_of_folder(data / SWAP_LOCK)
        fcntl.flock(file, fcntl.LOCK_EX)
        if (data / NOTE).exists():
            _swap(data)


def _swap(data: Path) -> None:
    note = data / NOTE
    fresh, aside = note.read_text(encoding="utf-8").split("\n")[:2]
    if (data / fresh).exists():  # so that what lies in the store's place is the old one
        for part in PARTS:
            old = data / (STORE_FILE + part)
            if old.exists():
                old.rename(data / (aside + part))
        flush_folder(data)
        (data / fresh).rename(data / STORE_FILE)
        flush_folder(data)
    note.unlink()
    flush_folder(data)
    shutil.rmtree((data / fresh).parent, ignore_errors=True)
    drop_old_asides(data)


def drop_old_asides(data: Path) -> None:
    """Keep the last stores that were set aside, remove those before them."""
    asides = [
        path for path in data.glob(f"{STORE_FILE}.*") if not path.name.endswith(("-wal", "-shm"))
    ]
    asides.sort(key=lambda path: path.stat().st_ctime_ns, reverse=True)
    for old in asides[SET_ASIDE_KEPT:]:
        for part in PARTS:
            (data / (old.name + part)).unlink(missing_ok=True)
