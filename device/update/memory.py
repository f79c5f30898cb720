"""What a device remembers of its syncs, for each recipe by its key ('' or its name)."""

from collections.abc import Iterable

from sqlite_utils import Database

from device.store.database import get_state, set_state
from device.store.trail import add_event

_TAKEN = "update taken"
_SAID = "update said"


def last_taken(db: Database, recipe: str = "") -> int:
    """Number of the newest release that was taken or refused; older ones are not taken."""
    return get_state(db, _of(_TAKEN, recipe)) or 0


def note_taken(db: Database, number: int, recipe: str = "") -> None:
    """Remember a release that was taken or refused."""
    set_state(db, _of(_TAKEN, recipe), max(number, last_taken(db, recipe)))


def forget_taken(db: Database) -> None:
    """Another repository, under another root of trust, numbers its releases from 1."""
    db.execute("DELETE FROM state WHERE key = ? OR key LIKE ?", [_TAKEN, f"{_TAKEN} %"])


def last_refusal(db: Database, recipe: str = "") -> str:
    """Why the last sync took nothing from the exchange; empty: it was content."""
    return get_state(db, _of(_SAID, recipe)) or ""


def note_refusal(db: Database, text: str, recipes: Iterable[str] = ("",)) -> None:
    """Record why a sync took nothing for some recipes, as one event too, but not the same one sync
    after sync."""
    if new := [recipe for recipe in recipes if last_refusal(db, recipe) != text]:
        with db.atomic():
            add_event(db, "update-refused", text)
            for recipe in new:
                set_state(db, _of(_SAID, recipe), text)


def note_content(db: Database, recipe: str = "") -> None:
    """The last sync was content."""
    if last_refusal(db, recipe):
        set_state(db, _of(_SAID, recipe), "")


def _of(key: str, recipe: str) -> str:
    return f"{key} {recipe}" if recipe else key
