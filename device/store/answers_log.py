"""A second place for answers: a line for each that the trainer has not acknowledged yet.

A page of the store that a disk destroys may be the one that holds the answers since the last copy.
So each is also written, flushed, to a file of its own before it is acknowledged; whoever mends or
restores a store puts back what it lacks (`docs/disk.md`). The store is what counts: where the log
cannot be written an answer stands all the same, and where the store refuses it, so does the page.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from device.store.carry_over import mend_references, move_to_end
from device.system.clock import stamp
from device.system.durable import write_durably
from device.system.owner import give_to_owner_of_folder

FILE = "answers.log"
TRIM_FROM = 256 * 1024
"""Bytes from which a clean-up removes what the trainer has."""
COLUMNS = 10
"""Of a row of `labels`."""
PATCH = 1
"""The column with the patch."""
WALL_NS = 5
"""The column with the wall clock."""


def folder_of(db: Database) -> Path:
    """The folder that an open store lies in."""
    return Path(db.execute("PRAGMA database_list").fetchone()[2]).parent


def log_answer(db: Database, row: Sequence[object]) -> None:
    """Append a row of `labels`; called within the transaction that stores it."""
    with contextlib.suppress(OSError):
        file = folder_of(db) / FILE
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            give_to_owner_of_folder(file)
            # It begins a line of its own, whatever a power cut has left of the one before.
            os.write(handle, f"\n{json.dumps(row)}".encode())
            os.fdatasync(handle)
        finally:
            os.close(handle)


def logged_answers(folder: Path) -> list[list[Any]]:
    """All rows that can be read, in their order."""
    rows = []
    with contextlib.suppress(OSError):
        for line in (folder / FILE).read_bytes().splitlines():
            with contextlib.suppress(ValueError):  # half a line, or noise
                row = json.loads(line)
                if isinstance(row, list) and len(row) == COLUMNS:
                    rows.append(row)
    return rows


def put_back_answers(db: Database, folder: Path, device: str) -> int:
    """Store the logged answers that a store lacks, if need be without a picture; how many.

    The last answer of a patch counts, so those that came after one that is put back are stored
    behind it.
    """
    rows = logged_answers(folder)
    db.conn.commit()
    db.execute("PRAGMA foreign_keys = OFF")
    try:
        with db.atomic():
            count = 0
            lacked: set[str] = set()
            for row in rows:
                marks = ", ".join("?" * COLUMNS)
                found = db.execute(f"INSERT OR IGNORE INTO labels VALUES ({marks})", row)  # noqa: S608
                count += found.rowcount
                if found.rowcount:
                    lacked.add(row[PATCH])
                elif row[PATCH] in lacked:
                    move_to_end(db, row[0])
    finally:
        db.execute("PRAGMA foreign_keys = ON")
    if count:
        mend_references(db, device)
    return count


def trim_log(db: Database, folder: Path, keep_days: float, *, at_once: bool = False) -> int:
    """Remove what the trainer has acknowledged, once the file is large; lines that stay, or -1.

    `at_once`: also where it is small, for answers went, and must not be taken for lost ones.

    Within a transaction that keeps writers away. A line whose answer is not in the store stays
    for `keep_days`: the store may be damaged without anybody knowing it yet.
    """
    path = folder / FILE
    try:
        if path.stat().st_size < (1 if at_once else TRIM_FROM):
            return -1
    except OSError:
        return -1
    acknowledged = {row[0] for row in db.execute(
        "SELECT s.label_id FROM sent_labels s JOIN batches b ON b.sequence = s.batch "
        "WHERE b.state = 'acknowledged'")}  # fmt: skip
    there = {row[0] for row in db.execute("SELECT id FROM labels")}
    before = stamp().wall_ns - keep_days * 86_400e9
    kept = [
        row
        for row in logged_answers(folder)
        if row[0] not in acknowledged and (row[0] in there or row[WALL_NS] > before)
    ]
    try:
        write_durably(path, "".join(f"\n{json.dumps(row)}" for row in kept).encode())
    except OSError:  # a full disk: the clean-up goes on and makes room
        return -1
    return len(kept)
