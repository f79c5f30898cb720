"""A serial cable of two ptys that can be unplugged at the box's end, and that garbles on demand."""

import contextlib
import os
import pty
import select
import threading
import tty
from collections.abc import Callable
from pathlib import Path


class Cable:
    """Carries bytes from the machine's end to the box's; a line that nobody hears is lost."""

    def __init__(self, machine: Path, box: Path, on_line: Callable[[], None] | None = None) -> None:
        """Plug it in; `on_line` is called for every line that begins to come over it."""
        self._box_link = box
        self._on_line = on_line
        self._lock = threading.Lock()
        self.garbles = False
        self._machine, self._held, name = _open()
        machine.symlink_to(name)
        self._box: int | None = None
        self.plug()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cable", daemon=True)
        self._thread.start()

    def plug(self) -> None:
        """Plug it in at the box's end."""
        with self._lock:
            self._box, held, name = _open()
            os.close(held)
            self._box_link.symlink_to(name)

    def unplug(self) -> None:
        """Pull it out at the box's end: its port vanishes."""
        with self._lock:
            self._box_link.unlink(missing_ok=True)
            if self._box is not None:
                os.close(self._box)
            self._box = None

    def close(self) -> None:
        """End."""
        self._closing.set()
        self._thread.join(5)
        self.unplug()
        os.close(self._machine)
        os.close(self._held)

    def _run(self) -> None:
        while not self._closing.is_set():
            if not select.select([self._machine], [], [], 0.1)[0]:
                continue
            data = os.read(self._machine, 1000)
            if self._on_line is not None:
                self._on_line()
            if self.garbles:
                data = bytes(b if b in b"\r\n" else b ^ 0x15 for b in data)
            with self._lock, contextlib.suppress(OSError):
                if self._box is not None:
                    os.write(self._box, data)


def _open() -> tuple[int, int, str]:
    """A raw pty that everybody may write to: our end, the other end, its name."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.fchmod(theirs, 0o666)
    return ours, theirs, os.ttyname(theirs)
