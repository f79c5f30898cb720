"""The upkeep of the store: bounds kept, log folded in, room given back, checks and copies made.

A running inspection does it on a thread of its own (`device.upkeep.housekeeper`);
`millsight device tidy` does the same for a timer, also where no inspection runs. One at a time.
"""

import time
from typing import Any, NamedTuple

from sqlite_utils import Database

from camera.source import Event, Report
from config.errors import UserError
from config.settings import Settings
from device.models.models_in_use import models_in_force
from device.store.answers_log import trim_log
from device.store.clock_watch import believe_clock, clock_is_doubtful, follow_clock
from device.store.database import (
    BUSY_TIMEOUT_S,
    STORE_FILE,
    exclusive,
    explain_errors,
    get_state,
    open_store,
    set_state,
)
from device.store.trail import add_event
from device.system.clock import stamp
from device.system.disk import need_disk
from device.system.locks import one_at_a_time
from device.upkeep.backup import STATE as BACKUP_STATE
from device.upkeep.backup import back_up, event_of
from device.upkeep.mend import is_damage, mend_and_report
from device.upkeep.mend_model import mend_model
from device.upkeep.old_rows import release_stale_claims, remove_old_models, remove_old_rows
from device.upkeep.retention import Removed, give_back, keep_in_bounds, used_bytes

STATE, CHECK_STATE = "tidy", "checked"
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
    lock = settings.device.data / "tidy.lock"
    with one_at_a_time(lock, "another clean-up is running; wait until it has ended"):
        try:
            return _open_and_tidy(settings, report, clock_is_right=clock_is_right)
        except UserError as error:
            if not is_damage(error):
                raise
            report(Event("store", str(error)))
        mend_and_report(settings, report)
        return _open_and_tidy(settings, report, clock_is_right=clock_is_right)


def _open_and_tidy(settings: Settings, report: Report, *, clock_is_right: bool) -> Tidied:
    data = settings.device.data
    db = open_store(data)
    try:
        with explain_errors(data / STORE_FILE):
            if clock_is_right:
                believe_clock(db)
            return _tidy(db, settings, report)
    finally:
        db.close()


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
    rows = removed.answers + (remove_old_rows(db, settings) if ages else 0)
    models = remove_old_models(db, settings)
    with exclusive(db):
        trim_log(db, settings.device.data, settings.keeping.rows_days, at_once=rows > 0)
    given = give_back(db, settings)
    # Readers may stand in the way; the next clean-up tries again.
    db.execute("PRAGMA busy_timeout = 1000")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_TIMEOUT_S)}")
    db.execute("PRAGMA optimize")
    tidied = Tidied(removed, rows, len(models), given, used_bytes(db))
    _remember(db, tidied, report)
    _do_what_is_due(db, settings, report)
    return tidied


def _do_what_is_due(db: Database, settings: Settings, report: Report) -> None:
    """Check the whole store, and make a copy, where it is time for it.

    Raises:
        UserError: the store is damaged: whoever called has it mended; or no copy could be made.
    """
    if is_due(db, CHECK_STATE, settings.keeping.check_hours):
        if (wrong := check(db)) is not None:
            raise UserError(f"{settings.device.data / STORE_FILE}: malformed: {wrong}")
        for event in check_models(db, settings):
            with exclusive(db):
                add_event(db, event.kind, event.text)
            report(event)
        with exclusive(db):
            set_state(db, CHECK_STATE, {"wall_ns": stamp().wall_ns})
    if settings.backup.folder is not None and is_due(db, BACKUP_STATE, settings.backup.hours):
        try:
            event = event_of(back_up(settings, db))
        except UserError as error:
            event = Event("no-backup", str(error))
        before = db.execute("SELECT kind, text FROM events ORDER BY id DESC LIMIT 1").fetchone()
        if event.kind == "backup" or before != (event.kind, event.text):
            with exclusive(db):
                add_event(db, event.kind, event.text)
            report(event)


def check(db: Database, *, full: bool = False) -> str | None:
    """What is wrong with the store; None: nothing. `full` compares indexes with their rows too."""
    rows = db.execute(f"PRAGMA {'integrity_check' if full else 'quick_check'}(1)").fetchall()
    if rows != [("ok",)]:
        return str(rows[0][0])[:200]
    if full and db.execute("PRAGMA foreign_key_check").fetchone() is not None:
        return "rows refer to rows that are missing"
    return None


def check_models(db: Database, settings: Settings) -> list[Event]:
    """Mend the model files in use that are damaged; what was found."""
    found = [
        mend_model(db, settings, model_id, key) for key, model_id in models_in_force(db).items()
    ]
    return [event for event in found if event is not None]


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
    told = state["told"]
    if pictures > told["pictures"] and abs(now.wall_ns - told["wall_ns"]) > DAY_NS:
        text = f"{pictures - told['pictures']} pictures went to make room for others"
        event = Event("retention", text)
        state["told"] = {"wall_ns": now.wall_ns, "pictures": pictures}
    with exclusive(db):
        set_state(db, STATE, state)
        if event is not None:
            add_event(db, event.kind, event.text)
    if event is not None:
        report(event)


def is_due(db: Database, key: str, hours: float) -> bool:
    """Whether something that is done every so many hours is due."""
    done = get_state(db, key)
    return done is None or not 0 <= time.time_ns() - done["wall_ns"] < hours * 3600 * 10**9
