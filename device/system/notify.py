"""What the loop tells systemd: ready, judging, ending (`sd_notify(3)`, a few lines of a socket).

systemd restarts a loop that does not feed the watchdog, so feeding it means one thing: since the
last time a frame really got a verdict, or a machine that triggers owed us none. A camera that is
lost and frames that cannot be judged are known faults, which the loop already works on and tells
of; they do not feed it either, but stretch its patience, so that a restart is the last remedy and
not a storm.
"""

import contextlib
import os
import socket

FEEDS_PER_TIMEOUT = 4
PATIENCE = 15
"""How many times the watchdog's time a known fault may last before the loop is restarted."""


class ServiceManager:
    """systemd, if it started this process; else everything here does nothing."""

    def __init__(self) -> None:
        """Read `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` of the environment."""
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = os.environ.get("WATCHDOG_USEC", "0") if for_us else "0"
        self._timeout_us = int(usec) if usec.isdecimal() else 0
        self._every_s = self._timeout_us / 1e6 / FEEDS_PER_TIMEOUT or 5.0
        self._fed = -self._every_s
        self._judged = False
        self._fault = ""
        self._told_fault = ""

    def ready(self) -> None:
        """The loop takes frames."""
        self._send("READY=1", "STATUS=waiting for the first frame")

    def judged(self) -> None:
        """A frame got a verdict."""
        self._judged, self._fault = True, ""

    def fault(self, text: str) -> None:
        """Frames do not come or cannot be judged, and why, in a line."""
        self._fault = text

    def tick(self, now: float, *, owed: bool = True) -> None:
        """Feed the watchdog if there is a reason to; at most a few times in its timeout.

        `now` is the monotonic clock in seconds; `owed` is whether a verdict is due at all: a
        machine that triggers, and has not, is owed none.
        """
        if now - self._fed < self._every_s:
            return
        if self._judged or not owed:
            if self._told_fault:
                self._send(f"WATCHDOG_USEC={self._timeout_us}")
            self._send("WATCHDOG=1", "STATUS=" + ("judging" if self._judged else "ready"))
            self._fed, self._judged, self._told_fault = now, False, ""
        elif self._fault and not self._told_fault:
            self._send(f"WATCHDOG_USEC={PATIENCE * self._timeout_us}", f"STATUS={self._fault}")
            self._told_fault = self._fault

    def stopping(self) -> None:
        """The loop ends, and stores what it has."""
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        wanted = [x for x in lines if self._timeout_us or not x.startswith("WATCHDOG")]
        # An address in the abstract namespace is written with @ for its first byte, which is 0.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.setblocking(False)  # a manager that does not listen must not hold up the plates
            s.sendto("\n".join(wanted).encode(), address)
