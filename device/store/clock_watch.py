"""Whether the wall clock may be believed: it jumps, and nothing may be thrown away for that.

What the store last saw of both clocks is compared with now. Within a boot the monotonic clock tells
how much time went by; from one boot to the next the box was off for an unknown time, up to
`LONGEST_OFF_S`.
"""

import time

from sqlite_utils import Database

from camera.source import Event
from device.store.database import get_state, set_state
from device.system.clock import Stamp, stamp

STATE = "clock"
JUMP_S = 2.0
"""Smaller steps are the clock being set right a little."""
DAY_S = 86_400.0
LONGEST_OFF_S = 60 * DAY_S
"""A box that was off for longer, or woke up earlier than it went off, may have a wrong clock."""
DOUBTFUL_S = DAY_S
"""Jumps that add up to more make the clock doubtful."""


def follow_clock(db: Database, now: Stamp | None = None) -> Event | None:
    """Note what both clocks say; what happened, where the wall clock jumped.

    Part of the caller's transaction. Jumps there and back cancel out.
    """
    now = now or stamp()
    seen = get_state(db, STATE)
    if seen is None:
        if now.clock_ok:
            _note(db, now, 0.0, 0)
        return None
    if not now.clock_ok:  # no baseline: what comes after it is compared with what was before it
        if seen.get("wrong"):
            return None
        set_state(db, STATE, seen | {"wrong": True, "jumps": seen["jumps"] + 1})
        return Event("clock", f"the clock says {_words(now.wall_ns)}, which is surely wrong")
    went_by = (now.wall_ns - seen["wall_ns"]) / 1e9
    doubt = seen["doubt_s"]
    if now.boot_id == seen["boot_id"]:
        jump = went_by - (now.monotonic_ns - seen["monotonic_ns"]) / 1e9
        jump = jump if abs(jump) > JUMP_S else 0.0
        doubt += jump
    else:
        jump = 0.0 if -DAY_S < went_by < LONGEST_OFF_S else went_by
        doubt += jump
        doubt = 0.0 if abs(doubt) < LONGEST_OFF_S else doubt
    _note(db, now, doubt, seen["jumps"] + bool(jump))
    if not jump:
        return None
    what = f"the clock jumped by {jump:+.0f} s to {_words(now.wall_ns)}"
    if abs(doubt) >= DOUBTFUL_S:
        what += (
            "; nothing is removed for its age until it jumps back, or somebody says that it is "
            "right: millsight device tidy --clock-is-right"
        )
    return Event("clock", what)


def clock_is_doubtful(db: Database) -> bool:
    """Whether ages are not to be believed at present."""
    seen = get_state(db, STATE)
    doubt = 0.0 if seen is None else seen["doubt_s"]
    return not stamp().clock_ok or abs(doubt) >= DOUBTFUL_S


def count_jumps(db: Database) -> int:
    """How often the wall clock has jumped since the store was made."""
    seen = get_state(db, STATE)
    return 0 if seen is None else int(seen["jumps"])


def believe_clock(db: Database) -> None:
    """Somebody says that the clock is right as it is now."""
    seen = get_state(db, STATE)
    _note(db, stamp(), 0.0, 0 if seen is None else seen["jumps"])


def _note(db: Database, now: Stamp, doubt_s: float, jumps: int) -> None:
    value = {
        "wall_ns": now.wall_ns,
        "monotonic_ns": now.monotonic_ns,
        "boot_id": now.boot_id,
        "doubt_s": doubt_s,
        "jumps": jumps,
    }
    set_state(db, STATE, value)


def _words(wall_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall_ns / 1e9))
