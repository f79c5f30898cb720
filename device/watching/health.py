"""Whether the device does its work, for whoever looks from outside: `/health` and `/metrics`."""

import sqlite3
import time
from typing import Any, NamedTuple

from sqlite_utils import Database

from config.settings import Settings
from device.store.clock_watch import clock_is_doubtful
from device.store.live import live_path, read_live
from device.system.disk import free_bytes, missing_disk

STALE_S = 30.0
"""A loop that should see frames and has judged none for so long is not well."""


class Health(NamedTuple):
    """How the device is."""

    ok: bool
    judging: bool
    """A frame was judged within the last seconds."""
    waiting: bool
    """It is ready, and no part was triggered for some time."""
    last_verdict_age_s: float | None
    """None: none since the start of the loop."""
    loop: str
    """running, stopped."""
    camera: str
    """opening, ok, lost, ended."""
    store: str
    """ok, or what is wrong with it."""
    keeping: bool
    """Flagged patches are stored."""
    disk: str
    """ok, low, missing."""
    clock: str
    """ok, doubtful."""

    def object(self) -> dict[str, Any]:
        """Ready for JSON."""
        return self._asdict()


def health_of(settings: Settings, db: Database | None) -> Health:
    """How a device is; `db` is None where its store cannot be opened.

    It is well while it judges, or stands ready for a machine that triggers; a low disk or
    a doubtful clock does not make it unwell, for it judges on.
    """
    state = read_live(live_path(settings), watching=False).loop
    running = state is not None and bool(state["running"])
    age = None
    if state is not None and state.get("judged_ns") is not None:
        age = round(max(0.0, (time.monotonic_ns() - state["judged_ns"]) / 1e9), 3)
    camera = "ended" if state is None else str(state["camera"])
    store, clock = _store_and_clock(db)
    judging = running and age is not None and age < STALE_S
    triggered = settings.machine.trigger != "free"
    waiting = running and triggered and not judging and camera in {"ok", "opening"}
    return Health(
        ok=(judging or waiting) and camera != "lost" and store == "ok",
        judging=judging,
        waiting=waiting,
        last_verdict_age_s=age,
        loop="running" if running else "stopped",
        camera=camera,
        store=store,
        keeping=state is not None and bool(state["keeping"]),
        disk=disk_state(settings),
        clock=clock,
    )


def disk_state(settings: Settings) -> str:
    """`ok`, `low`, or `missing` where its mount is."""
    try:
        free_mb = free_bytes(settings.device.data) / 1e6
    except OSError:
        return "missing"
    if missing_disk(settings) is not None:
        return "missing"
    return "low" if free_mb < settings.keeping.low_disk_mb else "ok"


def _store_and_clock(db: Database | None) -> tuple[str, str]:
    if db is None:
        return "damaged", "ok"
    try:
        return "ok", "doubtful" if clock_is_doubtful(db) else "ok"
    except sqlite3.DatabaseError as error:
        words = str(error)
        return next((w for w in ("locked", "full") if w in words), "damaged"), "ok"
