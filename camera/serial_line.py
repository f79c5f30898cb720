"""A device on a serial line that answers commands, or does not."""

import re
import termios
import time

import serial

REPEATS = 2
"""How often a command that brought no sensible answer is sent again."""


class DeviceError(Exception):
    """A device of the platform did not do what it was told; one line for people."""


class SerialLine:
    """Sends commands and waits for their answers, never longer than it may.

    Commands must be such that one may be sent twice: an absolute place, a brightness.
    """

    def __init__(self, name: str, port: str, baud: int) -> None:
        """Open the port.

        Raises:
            DeviceError: it is not there, or another program has it.
        """
        self.name = name
        try:
            self._port = serial.Serial(port, baud, timeout=0.02, write_timeout=2, exclusive=True)
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            raise DeviceError(f"{name} at {port}: cannot be opened: {error}") from None

    def ask(
        self, command: bytes, answer: re.Pattern[bytes], timeout_s: float, repeats: int = REPEATS
    ) -> re.Match[bytes]:
        """Send a command until what comes back holds the answer.

        Raises:
            DeviceError: silence, nonsense, or the line is unplugged.
        """
        heard = b""
        for _ in range(repeats + 1):
            try:
                self._port.reset_input_buffer()  # an answer that came late is not this one's
                self._port.write(command)
                heard = b""
                deadline = time.monotonic() + timeout_s
                while time.monotonic() < deadline:
                    heard += self._port.read(max(1, self._port.in_waiting))
                    if found := answer.search(heard):
                        return found
            except (serial.SerialException, OSError, termios.error) as error:
                raise DeviceError(f"{self.name}: the line is gone: {error}") from None
        what = f"answers nonsense, {heard[-40:]!r}," if heard else "is silent"
        raise DeviceError(f"{self.name}: {what} after {command.strip()!r}; {ADVICE}")

    def close(self) -> None:
        """Give the port back."""
        self._port.close()


ADVICE = "check its power, cable and speed (baud)"
