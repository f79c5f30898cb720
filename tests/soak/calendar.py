"""Days that pass faster than they last: one clock for all programs of a simulated plant.

Every step moves wall clock and monotonic clock alike, so nothing jumps within a boot: see
`calendar.c`. Waits last as long as they do; the calendar passes in between.
"""

import mmap
import struct
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.preload import build

ROOM = 1 << 20
SECOND = 10**9


class Calendar:
    """The file that the shim reads."""

    def __init__(self, folder: Path) -> None:
        """Compile the shim, begin now.

        Raises:
            FileNotFoundError: there is no gcc.
        """
        self.shim = build(Path(__file__).with_suffix(".c"), folder)
        self.file = folder / "calendar"
        self.file.write_bytes(bytes(ROOM))
        with self.file.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), ROOM)
        self._count = self._offset_ns = 0

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to live by it."""
        return {"LD_PRELOAD": str(self.shim), "CALENDAR": str(self.file)}

    def now_ns(self) -> int:
        """Its wall clock."""
        return time.time_ns() + self._offset_ns

    def at(self) -> datetime:
        """The same in words of the calendar, UTC."""
        return datetime.fromtimestamp(self.now_ns() / SECOND, UTC)

    def step(self, seconds: float) -> None:
        """Let time pass, for every program at once."""
        self._offset_ns += int(seconds * SECOND)
        entry = struct.pack("=qq", time.time_ns(), self._offset_ns)
        at = 8 + 16 * self._count
        self._map[at : at + 16] = entry
        self._count += 1
        self._map[:8] = struct.pack("=q", self._count)  # one store of eight bytes, after the entry
