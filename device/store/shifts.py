"""Shifts as windows of time, and how many answers people gave in one.

A shift begins at its local time of day and lasts until the next begins. Where the clocks change,
a shift is an hour longer or shorter; a beginning that the clocks skip is at the moment that time
would have been, and one that comes twice is at the first.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from datetime import time as time_of_day
from itertools import pairwise
from typing import NamedTuple

from sqlite_utils import Database

LONGEST_DAYS = 2
"""Days around a moment among which its shift begins and ends; 2, for a country may skip a day."""


class Shift(NamedTuple):
    """From a moment up to, and without, another, in nanoseconds since 1970."""

    begin_ns: int
    end_ns: int


def shift_at(starts: Sequence[str], wall_ns: int, zone: tzinfo | None = None) -> Shift:
    """The shift that a moment is in.

    `starts` are the times of day as in `review.shifts`, `zone` is the system's where None.
    """
    day = datetime.fromtimestamp(wall_ns // 10**9, zone).date()
    # Sorted as moments: of two beginnings in a skipped hour the later one can come first.
    moments = sorted(
        {
            int(
                datetime.combine(day + timedelta(n), time_of_day.fromisoformat(s), zone).timestamp()
            )
            * 10**9
            for n in range(-LONGEST_DAYS, LONGEST_DAYS + 1)
            for s in starts
        }
    )
    return next(Shift(a, b) for a, b in pairwise(moments) if a <= wall_ns < b)


def last_shifts(
    starts: Sequence[str], wall_ns: int, count: int, zone: tzinfo | None = None
) -> list[Shift]:
    """The shift that a moment is in and those before it, the latest first."""
    shifts = [shift_at(starts, wall_ns, zone)]
    while len(shifts) < count:
        shifts.append(shift_at(starts, shifts[-1].begin_ns - 1, zone))
    return shifts


def labels_in_shift(db: Database, shift: Shift, recipe: str | None = None) -> int:
    """How many answers people gave in a shift; those taken back do not count, repeats do.

    With `recipe` those about its parts.

    An answer is taken back if the next one of its patch is an undo.
    """
    row = db.execute(
        """
        SELECT count(*) FROM labels l
        WHERE l.wall_ns >= ? AND l.wall_ns < ? AND l.answer != 'undone' AND 'undone' IS NOT (
            SELECT n.answer FROM labels n
            WHERE n.patch_id = l.patch_id AND n.repeat = l.repeat AND n.rowid > l.rowid
            ORDER BY n.rowid LIMIT 1)
        AND (? IS NULL OR EXISTS (
            SELECT 1 FROM flags f JOIN frames r ON r.id = f.frame_id
            WHERE f.patch_id = l.patch_id AND r.recipe = ?))
        """,
        [*shift, recipe, recipe],
    ).fetchone()
    return int(row[0])
