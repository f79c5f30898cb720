"""The stack light: one lamp for what was said last, switched over Modbus on a thread of its own."""

import contextlib
import logging
import threading

from pymodbus import ModbusException
from pymodbus.client import ModbusTcpClient

from camera.source import Event, Report
from config.machine import StackLight

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

COLOURS = ("red", "yellow", "green", "blue", "white")
REPEAT_S = 2.0
"""The lamps are set again so often: a light that was switched off and on has forgotten."""
TIMEOUT_S = 0.5


def lamps(settings: StackLight, shown: str) -> dict[int, bool]:
    """Which lamps are on for `pass`, `fail`, `unsure`, `fault` or `idle`, by their addresses."""
    colour = getattr(settings, f"when_{shown}")
    addresses = {name: getattr(settings, name) for name in COLOURS}
    return {address: name == colour for name, address in addresses.items() if address >= 0}


class Lamps:
    """Shows the latest verdict; a light that does not answer holds up nothing."""

    def __init__(self, settings: StackLight, report: Report) -> None:
        self._settings = settings
        self._report = report
        self._shown = "idle"
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._run, name="stack light", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def show(self, shown: str) -> None:
        """`pass`, `fail`, `unsure`, `fault` or `idle`, from any thread."""
        self._shown = shown
        self._changed.set()

    def close(self) -> None:
        """End; the lamps go back to idle, if they listen."""
        self.show("idle")
        self._closing.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(3)

    def _run(self) -> None:
        s = self._settings
        client = ModbusTcpClient(s.host, port=s.tcp_port, timeout=TIMEOUT_S, retries=0)
        while True:
            ended = self._closing.is_set()
            self._changed.clear()
            try:
                if not client.connected and not client.connect():
                    raise ConnectionError("no connection")
                for address, on in lamps(s, self._shown).items():
                    self._switch(client, address, on=on)
                if self._lost:
                    self._lost = False
                    self._report(Event("light", f"{s.host}:{s.tcp_port}: the stack light is back"))
            except (ModbusException, OSError) as error:
                with contextlib.suppress(Exception):  # closing what is broken may break
                    client.close()
                if not self._lost:
                    self._lost = True
                    why = str(error).splitlines()[0][:120]
                    text = f"{s.host}:{s.tcp_port}: the stack light is silent: {why}; tried again"
                    self._report(Event("light-lost", text))
            if ended:
                break
            self._changed.wait(REPEAT_S)
        client.close()

    def _switch(self, client: ModbusTcpClient, address: int, *, on: bool) -> None:
        s = self._settings
        if s.output == "coils":
            reply = client.write_coil(address, on, device_id=s.unit)
        else:
            reply = client.write_register(address, s.on_value * on, device_id=s.unit)
        if reply.isError():
            raise ModbusException(f"lamp {address}: {reply}")
