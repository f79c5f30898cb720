"""When something happened, on boxes whose clock may wake up in 1970."""

import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

CLOCK_OK_FROM_NS = 1_767_225_600 * 10**9
"""2026-01-01: no millsight ran before it, so an earlier wall clock is wrong."""


class Stamp(NamedTuple):
    """A moment: four columns of every row that needs one."""

    wall_ns: int
    """Wall clock in nanoseconds since 1970; may jump, nothing is sorted by it alone."""
    monotonic_ns: int
    """Monotonic clock in nanoseconds; orders and measures within one boot."""
    boot_id: str
    """Which boot of which kernel the monotonic clock belongs to."""
    clock_ok: int
    """1 if the wall clock can be right, else 0."""


@cache
def boot_id() -> str:
    """The kernel's identity of this boot; empty where the kernel tells none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def stamp(wall_ns: int | None = None, monotonic_ns: int | None = None) -> Stamp:
    """The present moment, or the one given by both clocks."""
    wall = time.time_ns() if wall_ns is None else wall_ns
    monotonic = time.monotonic_ns() if monotonic_ns is None else monotonic_ns
    return Stamp(wall, monotonic, boot_id(), int(wall >= CLOCK_OK_FROM_NS))
