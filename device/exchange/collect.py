"""What a device has that it has not sent yet, written into a batch."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlite_utils import Database

from config.document import without_passwords
from device.exchange.batch import (
    LARGEST_BATCH,
    TABLES,
    FlagRow,
    FrameRow,
    LabelRow,
    PatchRow,
    Row,
    create,
    insert_statement,
)
from device.store.database import get_state, set_state
from device.system.clock import stamp

MOST_ROWS = 1000
"""Most answers, and most random draws without one, in a batch: some 60 MB of pictures."""
MOST_BYTES = LARGEST_BATCH // 4
"""No further pictures go into a batch of this size."""
MOST_LINES = 10_000
"""Most events and most activations in a batch; older ones come with the next."""
MOST_COUNTS = 100_000
"""The same for rows of counters."""
STATE = "exchange marks"
NUMBERS = "answer numbers"
"""What is added to an answer's row to give its number."""


class Marks(BaseModel):
    """Up to where rows other than answers have been sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flags: int = 0
    events: int = 0
    activations: int = 0
    minute: int = 0
    """Of the last counted minute that was sent."""
    minute_frames: int = 0
    """Frames of that minute then: it may go on."""
    hour: int = 0
    hour_patches: int = 0

    def earlier(self, other: "Marks") -> "Marks":
        """What is before both."""
        mine, its = self.model_dump(), other.model_dump()
        return Marks(**{key: min(mine[key], its[key]) for key in mine})


def marks(db: Database) -> Marks:
    """From where the next batch goes on."""
    return Marks.model_validate(get_state(db, STATE) or {})


def set_marks(db: Database, value: Marks) -> None:
    """Remember from where the next batch goes on."""
    set_state(db, STATE, value.model_dump())


def number_anew(db: Database) -> None:
    """Number the answers of a store that lacks some above all that the one before had given.

    Rows of a copy that was brought back, or of a mended store, get numbers a second time, and of
    two answers the trainer believes the one with the higher number. So do other rows that follow,
    and were held for sent. In the caller's transaction.
    """
    above = (get_state(db, NUMBERS) or 0) + 1_000_000
    set_state(db, NUMBERS, max(above, stamp().wall_ns // 10**6))
    newest = {
        table: db.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0]  # noqa: S608
        for table in ("flags", "events", "activations")
    }
    set_marks(db, marks(db).earlier(marks(db).model_copy(update=newest)))


class Collected(NamedTuple):
    """What is in a batch that was just written."""

    labels: list[str]
    """Ids of the answers."""
    patches: int
    rows: int
    """Of all tables together; 0: there is nothing new."""
    until: Marks
    left_out: list[str]
    """What could not be sent and why, a line each; the trainer would refuse it."""
    full: bool
    """Whether more was there than goes into one batch."""


def collect(db: Database, path: Path, device: str) -> Collected:
    """Write what is new of this device, or the oldest part of it, into a new batch file.

    One read transaction: what others write meanwhile is in the next batch.
    """
    batch = create(path)
    try:
        batch.execute("BEGIN")
        db.conn.execute("BEGIN")
        try:
            collected = _Collector(db, batch, device).run()
        finally:
            db.conn.execute("COMMIT")
        batch.execute("COMMIT")
    finally:
        batch.close()
    return collected


class _Collector:
    """Copies rows into one batch, each with what it needs, and remembers which are in it."""

    def __init__(self, db: Database, batch: sqlite3.Connection, device: str) -> None:
        self.db, self.batch, self.device = db, batch, device
        self.begin = marks(db)
        self.left_out: list[str] = []
        self.frames: set[str] = set()
        self.flags: set[int] = set()
        self.patches: dict[str, bool] = {}
        """Whether a patch is in the batch; False: a trainer would refuse it."""
        self.rows = 0
        self.bytes = 0
        self.full = False

    def run(self) -> Collected:
        labels = self._labels()
        flags_until = self._flags()
        events_until = self._lines("events", self.begin.events)
        activations_until = self._lines("activations", self.begin.activations)
        minute = self._counts("counters", "minute", "frames", 60)
        hour = self._counts("scores", "hour", "patches", 3600)
        until = Marks(
            flags=flags_until,
            events=events_until,
            activations=activations_until,
            minute=minute[0],
            minute_frames=minute[1],
            hour=hour[0],
            hour_patches=hour[1],
        )
        patches = sum(self.patches.values())
        return Collected(labels, patches, self.rows, until, self.left_out, self.full)

    def _labels(self) -> list[str]:
        """Answers of which none has gone yet, oldest first, with their patches and all flags."""
        # Their order is that of the rowids, and of the numbers.
        rows = self.db.execute(
            "SELECT rowid AS number, * FROM labels WHERE id NOT IN (SELECT label_id FROM "
            "sent_labels) ORDER BY rowid"
        )
        sent: list[str] = []
        above = get_state(self.db, NUMBERS) or 0
        for values in _as_dicts(rows):
            values["number"] += above
            if self.bytes > MOST_BYTES or len(sent) == MOST_ROWS:
                self.full = True
                break
            if not self._patch(values["patch_id"]):
                continue
            if self._put("labels", LabelRow, values, f"answer {values['id'][:12]}"):
                sent.append(values["id"])
                self._all_flags(values["patch_id"])
        return sent

    def _all_flags(self, patch_id: str) -> None:
        """Every flag of an answered patch that earlier batches may have left out."""
        for flag in _as_dicts(
            self.db.execute("SELECT * FROM flags WHERE patch_id = ? ORDER BY id", [patch_id])
        ):
            self._flag(flag)

    def _flags(self) -> int:
        """New flags that are random draws or of answered patches; up to which all are sent."""
        newest = self.db.execute("SELECT coalesce(max(id), 0) FROM flags").fetchone()[0]
        rows = self.db.execute(
            "SELECT * FROM flags WHERE id > ? AND (reason = 'audit' OR patch_id IN "
            # A picture that went to make room is with the trainer, with all its answers.
            "(SELECT patch_id FROM labels)) AND patch_id NOT IN "
            "(SELECT patch_id FROM pictures_gone) ORDER BY id LIMIT ?",
            [self.begin.flags, MOST_ROWS],
        )
        count, last = 0, self.begin.flags
        for flag in _as_dicts(rows):
            if self.bytes > MOST_BYTES:
                self.full = True
                return last
            self._flag(flag)
            count, last = count + 1, flag["id"]
        self.full |= count == MOST_ROWS
        return last if count == MOST_ROWS else max(last, newest)

    def _flag(self, flag: dict[str, Any]) -> None:
        """Put a flag into the batch, once, with the patches and the frame it needs."""
        if flag["id"] in self.flags or not self._patch(flag["patch_id"]):
            return
        if flag["alike"] is not None and not self._patch(flag["alike"]):
            return
        self.flags.add(flag["id"])
        if self._frame(flag["frame_id"]):
            self._put("flags", FlagRow, flag, f"flag {flag['id']}")

    def _patch(self, patch_id: str) -> bool:
        """Put a patch into the batch, once; False: a trainer would refuse it."""
        if patch_id not in self.patches:
            values = self._one("SELECT * FROM patches WHERE id = ?", patch_id)
            if not self._is_own(values["device"]):
                self.patches[patch_id] = False
                return False
            self.bytes += len(values["png"])
            name = f"patch {patch_id[:12]}"
            self.patches[patch_id] = self._put("patches", PatchRow, values, name)
        return self.patches[patch_id]

    def _is_own(self, device: str) -> bool:
        """Whether a row was made under the device's present name.

        The name is part of every patch's id, and a trainer takes none of another device: after a
        new name what was made under the old one stays, and holds up nothing.
        """
        if device != self.device:
            self.left_out.append(
                f"pictures and answers of the time when this device was called {device!r}: set "
                f"device.name to that once more, push, then back to {self.device!r}"
            )
        return device == self.device

    def _frame(self, frame_id: str) -> bool:
        if frame_id not in self.frames:
            columns = ", ".join(FrameRow.columns())
            values = self._one(f"SELECT {columns} FROM frames WHERE id = ?", frame_id)  # noqa: S608
            name = f"frame {frame_id[:12]}"
            if not self._is_own(values["device"]) or not self._put(
                "frames", FrameRow, values, name
            ):
                return False
            self.frames.add(frame_id)
        return True

    def _lines(self, table: str, begin: int) -> int:
        last, count = begin, 0
        for values in _as_dicts(
            self.db.execute(
                f"SELECT * FROM {table} WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608
                [begin, MOST_LINES],
            )
        ):
            self._put(table, TABLES[table], values, f"{table} {values['id']}")
            last, count = values["id"], count + 1
        self.full |= count == MOST_LINES
        return last

    def _counts(self, table: str, time: str, what: str, seconds: int) -> tuple[int, int]:
        """Counters from the last sent minute (or hour) on, if anything was counted since.

        A clock that was ahead has left a mark in the future: then all go once more. What it has
        counted there is no mark of the present, and waits.
        """
        mark, counted = getattr(self.begin, time), getattr(self.begin, f"{time}_{what}")
        now = stamp()
        if not now.clock_ok:  # a clock that is behind says nothing of the mark
            return mark, counted
        present = now.wall_ns // 10**9 // seconds
        if mark > present:
            mark, counted = 0, 0
        rows = list(
            _as_dicts(
                self.db.execute(
                    f"SELECT * FROM {table} WHERE {time} BETWEEN ? AND ? "  # noqa: S608
                    f"ORDER BY {time} LIMIT ?",
                    [mark, present, MOST_COUNTS],
                )
            )
        )
        if not rows:
            return mark, counted
        last = rows[-1][time]
        self.full |= len(rows) == MOST_COUNTS
        if len(rows) == MOST_COUNTS and rows[0][time] != last:  # the last one may not be whole
            rows = [values for values in rows if values[time] != last]
            last = rows[-1][time]
        total = sum(values[what] for values in rows if values[time] == last)
        if (last, total) == (mark, counted):
            return mark, counted
        for values in rows:
            self._put(table, TABLES[table], values, f"{table} of {time} {values[time]}")
        return last, total

    def _one(self, query: str, key: str) -> dict[str, Any]:
        return next(_as_dicts(self.db.execute(query, [key])))

    def _put(self, table: str, row: type[Row], values: dict[str, Any], name: str) -> bool:
        """Write a row that a trainer takes; another one is told, and stays here."""
        wanted = {column: _clean(column, values[column]) for column in row.columns()}
        try:
            row.model_validate(wanted)
        except ValidationError as error:
            self.left_out.append(f"{name}: {reason_of(error)}")
            return False
        self.batch.execute(insert_statement(table, row.columns()), list(wanted.values()))
        self.rows += 1
        return True


def reason_of(error: ValidationError) -> str:
    """The first thing that is wrong with a row, in a few words.

    A name in it may be the sender's: it cannot begin a new line.
    """
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part)[:64] for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    return _plain(f"{where}: {what}" if where else what)


FREE_TEXT = {"origin", "text", "reason"}
"""Columns of words that no id depends on: made to fit rather than left out."""


def _clean(column: str, value: Any) -> Any:
    if column in FREE_TEXT and isinstance(value, str):
        return _plain(without_passwords(value))
    return value


def _plain(words: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", " ", words)[:1000]


def _as_dicts(rows: Any) -> Iterator[dict[str, Any]]:
    names: Sequence[str] = [column[0] for column in rows.description]
    for row in rows:
        yield dict(zip(names, row, strict=True))
