"""What a device remembers of its syncs."""

from sqlite_utils import Database

from device.store import add_event, get_state, set_state

_TAKEN = "update taken"
_SAID = "update said"


def last_taken(db: Database) -> int:
    """Number of the newest release that was taken or refused; older ones are not taken."""
    return get_state(db, _TAKEN) or 0


def note_taken(db: Database, number: int) -> None:
    """Remember a release that was taken or refused."""
    set_state(db, _TAKEN, max(number, last_taken(db)))


def last_refusal(db: Database) -> str:
    """Why the last sync took nothing from the exchange; empty: it was content."""
    return get_state(db, _SAID) or ""


def note_refusal(db: Database, text: str) -> None:
    """Record why a sync took nothing, as an event too, but not the same one sync after sync."""
    if last_refusal(db) != text:
        with db.atomic():
            add_event(db, "update-refused", text)
            set_state(db, _SAID, text)


def note_content(db: Database) -> None:
    """The last sync was content."""
    if last_refusal(db):
        set_state(db, _SAID, "")
