"""Lines of a machine over RS-232: DPRNT of Haas, Fanuc, NCT, HUST, and their habits.

CR alone (Haas) or LF (NCT) ends a line; DC2 and DC4 and `%` frame what is sent; an asterisk or a
blank stands between words; numbers are padded with blanks; the eighth bit may be parity. The line
is one way: the machine hears nothing back over it.
"""

import re
import termios
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import serial

from camera.source import Event, Report
from config.machine import MachineLine

LONGEST_LINE = 256
"""Bytes after which a line without an end is given up as noise."""
REOPEN_S = 0.5
"""Pause before a lost port is opened again, in seconds."""
READ_S = 0.2
CONTROL = bytes(range(0x20)) + b"\x7f"


class PartLine(NamedTuple):
    """What a line says of a part."""

    part: str
    lot: str = ""
    tool: str = ""


Heard: TypeAlias = Callable[[PartLine | None, str], None]
"""Takes a part, or None for a line that could not be understood, and the line."""


class Splitter:
    """Cuts bytes into lines; keeps an unfinished one for the next bytes."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[str]:
        """The whole lines in what has come so far; empty ones are left out."""
        self._rest += bytes(byte & 0x7F for byte in data)
        *lines, rest = re.split(rb"[\r\n]", bytes(self._rest))
        self._rest = bytearray(rest)
        if len(self._rest) > LONGEST_LINE:
            lines.append(bytes(self._rest[:LONGEST_LINE]))
            self._rest = bytearray()
        for line in lines:
            if text := clean(line):
                yield text


def clean(line: bytes) -> str:
    """A line without what frames it; asterisks and runs of blanks are one blank."""
    text = line.translate(None, CONTROL).decode("ascii", "replace")
    return " ".join(text.replace("*", " ").replace("%", " ").split())


def parse(line: str, patterns: list[str]) -> PartLine | None:
    """What a line says, by the first pattern that fits all of it; None: none does."""
    for pattern in patterns:
        if found := re.fullmatch(pattern, line):
            named = {name: text or "" for name, text in found.groupdict().items()}
            return PartLine(named["part"], named.get("lot", ""), named.get("tool", ""))
    return None


class LineReader:
    """Reads a port on a thread of its own, and opens it again whenever it is lost."""

    def __init__(
        self,
        settings: MachineLine,
        patterns: Callable[[], list[str]],
        heard: Heard,
        report: Report,
    ) -> None:
        self._settings = settings
        self._patterns = patterns
        self._heard = heard
        self._report = report
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="machine line", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        lost = False
        while not self._closing.is_set():
            s = self._settings
            try:
                with serial.Serial(
                    s.port, s.baud, bytesize=s.bits, parity=s.parity, stopbits=s.stop,
                    timeout=READ_S, exclusive=True,
                ) as port:  # fmt: skip
                    self._report(Event("line", f"{s.port}: listening to the machine"))
                    lost = False
                    self._read(port)
            # pyserial lets errors of termios through when a port goes while it is opened
            except (OSError, serial.SerialException, termios.error) as error:
                if not lost:
                    lost = True
                    why = str(error).splitlines()[0][:120]
                    text = f"{s.port}: the machine's line is lost: {why}; tried again"
                    self._report(Event("line-lost", text))
                self._closing.wait(REOPEN_S)

    def _read(self, port: serial.Serial) -> None:
        splitter = Splitter()
        while not self._closing.is_set():
            data = port.read(port.in_waiting or 1)
            for line in splitter.feed(data):
                if self._settings.ignore and re.fullmatch(self._settings.ignore, line):
                    continue
                part = parse(line, self._patterns())
                if part is None:
                    self._report(Event("line-garbled", f"{self._settings.port}: {line[:80]!r}"))
                self._heard(part, line)
