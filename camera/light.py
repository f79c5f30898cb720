"""The ring light: a controller on a serial line, whose words are a template."""

import re
import time
from typing import NamedTuple

from camera.serial_line import REPEATS, DeviceError, SerialLine
from config.settings import Light as LightSettings


class Protocol(NamedTuple):
    """How a controller is told a brightness, and what it says to that."""

    command: str
    """`{channel}` and `{percent}` are put in."""
    end: str
    good: str
    """Regular expression of the answer when it worked."""
    bad: str
    """The same when it did not; empty: it says nothing then."""


GARDASOFT = Protocol("RS{channel},{percent:.0f}", "\r", r">", r"Err *\d+")
"""Continuous light, `RS1,50`, of the RC and RT series. The command is from their manuals; the
answers were checked against neither manual nor device."""


def protocol_of(settings: LightSettings) -> Protocol:
    """The template that the settings name."""
    if settings.protocol == "gardasoft":
        return GARDASOFT
    bad = re.escape(settings.bad_reply)
    return Protocol(settings.command, settings.end, re.escape(settings.good_reply), bad)


class Light:
    """Switches the light on and off; `on()` returns when it shines."""

    def __init__(self, settings: LightSettings) -> None:
        """Open the line and switch the light off.

        Raises:
            DeviceError: it does not answer.
        """
        self._settings = settings
        self._protocol = protocol_of(settings)
        good, bad = self._protocol.good, self._protocol.bad
        pattern = f"(?P<bad>{bad})|(?P<good>{good})" if bad else f"(?P<good>{good})"
        self._answer = re.compile(pattern.encode())
        self._line = SerialLine("light", settings.port, settings.baud)
        try:
            self.off()
        except DeviceError:
            self._line.close()
            raise

    def on(self, percent: float) -> None:
        """Shine as bright as this, in percent.

        Raises:
            DeviceError: it does not answer, or refuses.
        """
        self._set(percent)
        time.sleep(self._settings.warm_up_s)

    def off(self) -> None:
        """Go dark.

        Raises:
            DeviceError: it does not answer, or refuses.
        """
        self._set(0)

    def close(self) -> None:
        """Go dark if it can still be told, and give the port back."""
        try:
            self._set(0, repeats=0)
        except DeviceError:
            pass  # whoever is closing it knows already
        finally:
            self._line.close()

    def _set(self, percent: float, repeats: int = REPEATS) -> None:
        protocol, settings = self._protocol, self._settings
        text = protocol.command.format(channel=settings.channel, percent=percent)
        answer = self._line.ask(
            (text + protocol.end).encode(), self._answer, settings.reply_timeout_s, repeats
        )
        if answer["good"] is None:
            raise DeviceError(f"light: refuses {text!r}: {answer[0].decode(errors='replace')}")
