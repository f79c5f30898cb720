"""A damaged store: set aside, salvaged as far as it can be read, and gone on with.

While it is mended nobody else writes (`device.store.swap.is_mending`): an answer is acknowledged
only if the store it went into is still the store afterwards, so none can get lost on the way.
"""

import contextlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from camera.source import Event, Report
from config.errors import UserError
from config.recipes import load_recipes
from config.settings import Settings
from device.exchange.collect import number_anew
from device.models.activation import activate
from device.models.models_in_use import in_force, why_refused
from device.store.answers_log import put_back_answers
from device.store.carry_over import carry_over_answers, copy_tables, mend_references
from device.store.database import STORE_FILE, exclusive, open_store, set_state
from device.store.salvage import salvage
from device.store.swap import LOCK, put_in_place, verify_store
from device.store.trail import add_action, add_event
from device.system.clock import stamp
from device.system.locks import one_at_a_time
from device.upkeep.backup import copies

WORK = "mending"
"""Folder in which the new store is made."""


class Mended(NamedTuple):
    """What became of a damaged store."""

    aside: Path | None
    """Where it is now."""
    how: str
    """`recover` or `rows`: how it was read (`device.store.salvage`); `lost`: it could not be."""
    labels: int
    """Answers in the new store."""
    carried: int
    """Of them from the last copy and the log of answers."""
    patches: int

    @property
    def event(self) -> Event:
        """What to report."""
        where = f"set aside as {self.aside.name}" if self.aside else "gone"
        return Event(
            "store-mended",
            f"the store was damaged and is {where}; the new one has {self.labels} answers "
            f"({self.carried} of them from the last copy or the log of answers) "
            f"and {self.patches} pictures"
            + (
                ""
                if self.how in {"recover", "rows"}
                else "; the damaged file could not be read at all"
            ),
        )


def is_damage(error: BaseException | str) -> bool:
    """Whether what SQLite or `explain_errors` says is damage of the file, and no other fault."""
    return any(word in str(error) for word in ("malformed", "not a database"))


def mend(settings: Settings) -> Mended | None:
    """Salvage the store of a device; None: it is not damaged (any more).

    Raises:
        UserError: somebody else is mending it, or the disk has no room for it.
    """
    data = settings.device.data
    with one_at_a_time(data / LOCK, "the store is being mended; wait until it is"):
        if verify_store_in_use(data / STORE_FILE) is None:
            return None
        try:
            return _mend(settings, data)
        except OSError as error:
            raise UserError(
                f"{error.filename or data}: the damaged store cannot be mended: {error.strerror}; "
                "free some space"
            ) from None


def mend_and_report(settings: Settings, report: Report) -> None:
    """Mend the store if it is damaged, and say what became of it.

    Raises:
        UserError: as `mend`.
    """
    if (mended := mend(settings)) is not None:
        report(mended.event)


def verify_store_in_use(path: Path) -> str | None:
    """What is wrong with a store that others may have open; None: nothing, or there is none.

    In full: somebody stumbled over damage, and would do so for ever if it were in an index.
    """
    return (verify_store(path) or verify_store(path, full=True)) if path.exists() else None


def _mend(settings: Settings, data: Path) -> Mended:
    work = data / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    last = next((copy.folder / STORE_FILE for copy in copies(settings)), None)
    salvaged = salvage(data / STORE_FILE, work / "salvaged.db", last)
    db = open_store(work)
    db.execute("PRAGMA synchronous = OFF")  # flushed as a whole, before it is put in place
    try:
        if salvaged:
            copy_tables(db, work / "salvaged.db")
        mend_references(db, settings.device.name)
        db.conn.commit()
    finally:
        db.close()
    carried = 0
    if last is not None:
        carried = carry_over_answers(work / STORE_FILE, last)
    db = open_store(work)
    try:
        carried += put_back_answers(db, data, settings.device.name)
        _revive_models(db, settings, last)
        with exclusive(db):  # before it is in place: a power cut after that leaves nothing undone
            number_anew(db)
        labels, patches = (
            db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in ("labels", "patches")
        )
        mended = Mended(None, salvaged or "lost", labels, carried, patches)
    finally:
        db.close()
    (work / "salvaged.db").unlink(missing_ok=True)
    if (wrong := verify_store(work / STORE_FILE)) is not None:  # then begin with nothing
        shutil.rmtree(work)
        work.mkdir()
        db = open_store(work)
        put_back = put_back_answers(db, data, settings.device.name)
        _revive_models(db, settings, last)
        with exclusive(db):
            number_anew(db)
        db.close()
        mended = Mended(None, f"lost ({wrong})", put_back, put_back, 0)
    aside = put_in_place(data, work / STORE_FILE, "damaged")
    mended = mended._replace(aside=aside)
    _tell(data, mended)
    return mended


def _tell(data: Path, mended: Mended) -> None:
    """Record what was done, in the events and in the audit trail of the new store."""
    with closing(sqlite3.connect(data / STORE_FILE, timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        db = Database(connection)
        with db.atomic():
            add_event(db, mended.event.kind, mended.event.text)
            add_action(db, "millsight", "mended the store", mended.event.text)
            set_state(db, "mended", {"wall_ns": stamp().wall_ns, "text": mended.event.text})


def _revive_models(db: Database, settings: Settings, last: Path | None) -> None:
    """Bring the newest file that is whole into use for each recipe that no model is known of.

    A file does not name its recipe: the store of the last copy does, or what came with it over the
    exchange, or there is only one recipe. What was refused is not taken.
    """
    known = _recipes_of_models(last)
    _carry_over_refusals(db, last)
    recipes = load_recipes(settings)
    folder = settings.device.data / "models"
    files = sorted(folder.glob("*.onnx"), key=lambda file: file.stat().st_mtime, reverse=True)
    for under in recipes.each():
        for file in files if in_force(db, under.key).model_id is None else ():
            keys = known.get(file.stem) or _recipe_of_companion(file)
            its_own = under.key in keys or under.name in keys or not (keys or recipes.several)
            if not its_own or why_refused(db, file.stem, under.key) is not None:
                continue
            with contextlib.suppress(UserError):
                why = "found after the store was damaged"
                activate(db, file, under.settings, why, under.key)
                break


def _recipes_of_models(last: Path | None) -> dict[str, set[str]]:
    """Keys of the recipes that each model was in use for, as a copy knows them."""
    found: dict[str, set[str]] = {}
    if last is not None:
        with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(last)) as db:
            for model, key in db.execute("SELECT DISTINCT model_id, recipe FROM activations"):
                found.setdefault(model, set()).add(key)
    return found


def _carry_over_refusals(db: Database, last: Path | None) -> None:
    columns = "model_id, recipe, reason, wall_ns, monotonic_ns, boot_id, clock_ok"
    if last is not None:
        with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(last)) as other:
            rows = other.execute(f"SELECT {columns} FROM refused").fetchall()  # noqa: S608
            for row in rows:
                db.execute(
                    f"INSERT OR IGNORE INTO refused ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                    row,
                )
    db.conn.commit()


def _recipe_of_companion(file: Path) -> set[str]:
    """The name of the recipe that a model was released for; empty: that is not known."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return {str(json.loads(file.with_suffix(".companion.json").read_bytes())["recipe"])}
    return set()
