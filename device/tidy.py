"""The upkeep of the store: bounds kept, log folded in, room given back, checks and copies made.

A running inspection does it on a thread of its own (`device.housekeeper`); `millsight device tidy`
does the same for a timer, also where no inspection runs. One at a time.
"""

import time
from typing import Any, NamedTuple

from sqlite_utils import Database

from camera.source import Event, Report
from config.settings import Settings
from device.clock import stamp
from device.clock_watch import believe_clock, clock_is_doubtful, follow_clock
from device.disk import need_disk
from device.locks import one_at_a_time
from device.old_rows import release_stale_claims, remove_old_models, remove_old_rows
from device.retention import Removed, give_back, keep_in_bounds, used_bytes
from device.store import (
    STORE_FILE,
    add_event,
    exclusive,
    explain_errors,
    get_state,
    open_store,
    set_state,
)

STATE = "tidy"
DAY_NS = 86_400 * 10**9


class Tidied(NamedTuple):
    """What a clean-up did."""

    removed: Removed
    rows: int
    """Old rows removed."""
    models: int
    """Model files removed."""
    given_back: int
    """Bytes given back to the disk."""
    used: int
    """Bytes that the store holds now."""

    def line(self) -> str:
        """The same for people."""
        return (
            f"store {self.used / 1e6:.1f} MB; removed {self.removed.unlabelled} patches without an "
            f"answer, {self.removed.labelled} pictures of acknowledged answers, {self.rows} old "
            f"rows, {self.models} model files; {self.given_back / 1e6:.1f} MB given back"
        )


def tidy(settings: Settings, report: Report, *, clock_is_right: bool = False) -> Tidied:
    """Keep the store within its bounds.

    `clock_is_right`: somebody vouches for the clock, so that ages count again.

    Raises:
        UserError: another clean-up is running, or the disk or the store cannot be worked on.
    """
    need_disk(settings)
    data = settings.device.data
    with one_at_a_time(data / "tidy.lock", "another clean-up is running; wait until it has ended"):
        db = open_store(data)
        try:
            with explain_errors(data / STORE_FILE):
                if clock_is_right:
                    believe_clock(db)
                found = _tidy(db, settings, report)
        finally:
            db.close()
    return found


def _tidy(db: Database, settings: Settings, report: Report) -> Tidied:
    with exclusive(db):
        event = follow_clock(db)
        if event is not None:
            add_event(db, event.kind, event.text)
        ages = not clock_is_doubtful(db)
    if event is not None:
        report(event)
    release_stale_claims(db)
    removed = keep_in_bounds(db, settings, ages=ages)
    rows = remove_old_rows(db, settings) if ages else 0
    models = remove_old_models(db, settings)
    given = give_back(db, settings)
    # Readers may stand in the way; the next clean-up tries again.
    db.execute("PRAGMA busy_timeout = 1000")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.execute("PRAGMA optimize")
    tidied = Tidied(removed, rows, len(models), given, used_bytes(db))
    _remember(db, tidied, report)
    return tidied


def _remember(db: Database, tidied: Tidied, report: Report) -> None:
    """Note what was done; an event tells of it once a day, and metrics every time."""
    before: dict[str, Any] = get_state(db, STATE) or {}
    now = stamp()
    state = {
        "wall_ns": now.wall_ns,
        "used": tidied.used,
        "unlabelled": before.get("unlabelled", 0) + tidied.removed.unlabelled,
        "labelled": before.get("labelled", 0) + tidied.removed.labelled,
        "rows": before.get("rows", 0) + tidied.rows,
        "told": before.get("told", {"wall_ns": 0, "pictures": 0}),
    }
    pictures = state["unlabelled"] + state["labelled"]
    event = None
    if pictures > state["told"]["pictures"] and abs(now.wall_ns - state["told"]["wall_ns"]) > DAY_NS:
        text = f"{pictures - state['told']['pictures']} pictures went to make room for others"
        event = Event("retention", text)
        state["told"] = {"wall_ns": now.wall_ns, "pictures": pictures}
    with exclusive(db):
        set_state(db, STATE, state)
        if event is not None:
            add_event(db, event.kind, event.text)
    if event is not None:
        report(event)


def is_due(db: Database, key: str, hours: float) -> bool:
    """Whether something that is done every so many hours is due; a clock that jumped makes it so."""
    done = get_state(db, key)
    return done is None or not 0 <= time.time_ns() - done["wall_ns"] < hours * 3600 * 10**9


