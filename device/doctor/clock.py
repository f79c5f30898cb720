"""Can the clock be right?"""

import contextlib
import sqlite3
import subprocess
import time
from collections.abc import Iterator

from device.doctor.database import reading
from device.doctor.finding import Box, Finding
from device.system.clock import CLOCK_OK_FROM_NS

SET_IT = "timedatectl set-time, or name a time server in /etc/systemd/timesyncd.conf"
YEAR_NS = 366 * 24 * 3600 * 10**9


def look(box: Box) -> Iterator[Finding]:
    """The wall clock against what is stored, and who sets it."""
    now = time.time_ns()
    shown = time.strftime("%Y-%m-%d %H:%M", time.localtime(now / 1e9))
    if now < CLOCK_OK_FROM_NS:
        yield Finding.fault(f"{shown}: before any millsight ran", SET_IT)
        return
    last = _last_stored(box)
    if last > now + 60e9:
        then = time.strftime("%Y-%m-%d %H:%M", time.localtime(last / 1e9))
        yield Finding.fault(f"{shown}, but something was stored at {then}: it went back", SET_IT)
    elif CLOCK_OK_FROM_NS < last < now - YEAR_NS:
        yield Finding.warning(
            f"{shown}, over a year after what was stored last: it may have jumped ahead", SET_IT
        )
    elif _synchronised() is False:
        yield Finding.warning(f"{shown}; no time server sets it", SET_IT)
    else:
        yield Finding.ok(shown)


def _last_stored(box: Box) -> int:
    """Wall clock of the last event, in nanoseconds; 0: none."""
    with contextlib.suppress(sqlite3.Error), reading(box) as db:
        row = db.execute("SELECT wall_ns FROM events ORDER BY id DESC LIMIT 1").fetchone()
        return row[0] if row else 0
    return 0


def _synchronised() -> bool | None:
    """Whether a time server sets the clock; None: nobody knows."""
    command = ["/usr/bin/timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())
