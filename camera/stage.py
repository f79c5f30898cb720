"""The XY stage: G-code over a serial line, as GRBL 1.1 understands it."""

import math
import re
import time

from camera.raster import Place
from camera.serial_line import DeviceError, SerialLine
from config.settings import Stage as StageSettings

ACKNOWLEDGED = re.compile(rb"(?:^|\n)(ok|error:\d+|ALARM:\d+)\r?\n")
STATUS = re.compile(
    rb"<(\w+)(?::\d)?\|[MW]Pos:(-?\d+\.\d+),(-?\d+\.\d+)(?:,-?\d+\.\d+)*(?:\|[^>]*)?>"
)
"""GRBL 1.1's status report: `<Idle|MPos:1.000,2.000,0.000|FS:0,0>`."""
ASK_EVERY_S = 0.02


class Stage:
    """Moves to places and knows that it has arrived."""

    def __init__(self, settings: StageSettings) -> None:
        """Open the line, and home.

        Raises:
            DeviceError: it does not answer, or cannot home.
        """
        self._settings = settings
        self._line = SerialLine("stage", settings.port, settings.baud)
        try:
            self._status()  # opening the port restarts many a controller
            if settings.home:
                self._tell("$H", settings.move_timeout_s)
            self._tell("G21 G90", settings.reply_timeout_s)  # millimetres, absolute
        except DeviceError:
            self.close()
            raise

    def move_to(self, place: Place) -> None:
        """Go there, wait until it has arrived and come to rest.

        `ok` only means that the command was taken, so the place it reports is what counts.

        Raises:
            DeviceError: it did not arrive.
        """
        settings = self._settings
        self._tell(f"G0 X{place.x_mm:.3f} Y{place.y_mm:.3f}", settings.reply_timeout_s)
        deadline = time.monotonic() + settings.move_timeout_s
        while True:
            state, at = self._status()
            if state == "Alarm":
                raise DeviceError("stage: alarm: it hit a limit, or was stopped; home it")
            if state == "Idle" and math.dist(at, place) <= settings.tolerance_mm:
                break
            if time.monotonic() > deadline:
                raise DeviceError(
                    f"stage: is at {at[0]:.3f}, {at[1]:.3f} mm ({state}) instead of "
                    f"{place.x_mm:.3f}, {place.y_mm:.3f} after {settings.move_timeout_s:g} s"
                )
            time.sleep(ASK_EVERY_S)
        time.sleep(settings.settle_s)

    def close(self) -> None:
        """Give the port back; the stage stays where it is."""
        self._line.close()

    def _tell(self, command: str, timeout_s: float) -> None:
        reply = self._line.ask(command.encode() + b"\n", ACKNOWLEDGED, timeout_s)[1].decode()
        if reply != "ok":
            raise DeviceError(f"stage: refuses {command!r}: {reply} (GRBL's list of errors)")

    def _status(self) -> tuple[str, Place]:
        found = self._line.ask(b"?", STATUS, self._settings.reply_timeout_s)
        return found[1].decode(), Place(float(found[2]), float(found[3]))
