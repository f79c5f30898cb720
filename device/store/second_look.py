"""Labels that the trainer doubts: asked again, as ordinary questions, until they are answered anew.

A doubt names the very label it is about. It is open while that is the last label of its patch, so
telling a device of the same doubt twice, or after it was answered, changes nothing. The newer
answer counts like any other, and nothing is deleted.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sqlite_utils import Database

from device.system.clock import stamp


class Doubt(NamedTuple):
    """A label that is asked again."""

    patch_id: str
    label_id: str
    reason: str
    """What the trainer found: `disputed`, `suspicious` or `unknown class`."""


OPEN = """
    l.rowid = (SELECT max(rowid) FROM labels WHERE patch_id = s.patch_id AND NOT repeat)
    AND (l.id = s.label_id OR l.answer = 'undone')
"""
"""That a doubt `s` is open, `l` being a label of its patch: a newer answer ends it, unless that was
taken back."""


def add_doubts(db: Database, doubts: Iterable[Doubt]) -> None:
    """Take in doubts; those about labels or pictures that are not in this store are passed over."""
    for doubt in doubts:
        db.execute(
            "INSERT OR IGNORE INTO second_looks "
            "SELECT patch_id, id, ?, ?, ?, ?, ? FROM labels WHERE id = ? AND patch_id = ? "
            "AND patch_id NOT IN (SELECT patch_id FROM pictures_gone)",
            [doubt.reason, *stamp(), doubt.label_id, doubt.patch_id],
        )


def open_doubts(db: Database, device: str | None = None) -> list[Doubt]:
    """The doubts that have no newer answer, the oldest first; those of one device's patches."""
    rows = db.execute(
        f"""
        SELECT s.patch_id, s.label_id, s.reason FROM second_looks s
        JOIN labels l ON l.patch_id = s.patch_id
        WHERE {OPEN} AND (:device IS NULL
            OR (SELECT device FROM patches WHERE id = s.patch_id) = :device)
        ORDER BY s.rowid
        """,  # noqa: S608 - our own words
        {"device": device},
    )
    return [Doubt(*row) for row in rows]


def is_doubted(db: Database, patch_id: str) -> bool:
    """Whether the last label of a patch is to be asked again."""
    row = db.execute(
        "SELECT 1 FROM second_looks s JOIN labels l ON l.patch_id = s.patch_id "  # noqa: S608
        "WHERE s.patch_id = ? AND " + OPEN,
        [patch_id],
    ).fetchone()
    return row is not None
