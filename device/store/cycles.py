"""When a new day begins, the quota of questions is free again, whether or not a model came."""

import time

from sqlite_utils import Database

from device.store.shifts import shift_at
from device.system.clock import CLOCK_OK_FROM_NS, stamp

DAY_NS = 24 * 3600 * 10**9


def begin_day(db: Database, first_shift: str, wall_ns: int | None = None) -> list[str]:
    """Begin a cycle of every recipe whose last one is of an earlier day; which recipes.

    A day begins with its first shift, a local time such as `06:00`. Nothing is begun by a clock
    that is surely wrong; a cycle that a wrong clock put into the future ends now.
    """
    now = time.time_ns() if wall_ns is None else wall_ns
    if now < CLOCK_OK_FROM_NS:
        return []
    day = shift_at([first_shift], now)
    rows = db.execute(
        "SELECT recipe, wall_ns FROM cycles c "
        "WHERE id = (SELECT max(id) FROM cycles WHERE recipe = c.recipe) ORDER BY recipe"
    ).fetchall()
    due = [name for name, began in rows if not day.begin_ns <= began < now + DAY_NS]
    for recipe in due:
        start_cycle(db, "new day", recipe)
    return due


def start_cycle(db: Database, reason: str, recipe: str = "") -> None:
    """Begin a new cycle of a recipe: its quota of questions is free again."""
    db.execute(
        "INSERT INTO cycles (reason, recipe, wall_ns, monotonic_ns, boot_id, clock_ok) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        [reason, recipe, *stamp()],
    )
