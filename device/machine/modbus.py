"""The handshake over Modbus, as client of a PLC or as server to one; pymodbus carries it.

A link runs on a thread of its own: neither a dead line nor a slow PLC holds up the inspection, and
a deadline is kept where nobody is on the line. Registers are written before the coils, so that
Results Ready never comes before what it announces.
"""

import asyncio
import contextlib
import logging
import termios
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar

from pymodbus import FramerType, ModbusException
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from camera.source import Event, Report
from config.machine import Modbus
from device.machine.handshake import Inputs, Outputs
from device.machine.registers import block, coils_of, inputs_of, registers_of

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # what goes wrong is reported by us

T = TypeVar("T")
Exchange: TypeAlias = Callable[[Inputs], Outputs]
"""Takes in what the PLC says and gives back what it is to be told."""
Told: TypeAlias = Callable[[Outputs], None]
"""Called when the PLC can read what it is told."""
REOPEN_S = 0.5
"""Pause before a lost line is opened again, in seconds."""


class Link(Protocol):
    """A connection with a PLC that looks after itself."""

    def start(self) -> None:
        """Begin, on a thread."""

    def notify(self) -> None:
        """Tell the PLC soon: an output has changed. From any thread."""

    def close(self) -> None:
        """End."""


def open_link(settings: Modbus, exchange: Exchange, told: Told, report: Report) -> Link | None:
    """The link that the settings name; None: there is no PLC."""
    if settings.role == "client":
        return ClientLink(settings, exchange, told, report)
    if settings.role == "server":
        return ServerLink(settings, exchange, told, report)
    return None


def place_of(settings: Modbus) -> str:
    """The line, for people."""
    if settings.transport == "rtu":
        return settings.port
    return f"{settings.host}:{settings.tcp_port}"


class Silence:
    """Reports once that the PLC is silent, and once that it is heard again."""

    def __init__(self, place: str, silent_s: float, report: Report) -> None:
        self._place = place
        self._silent_s = silent_s
        self._report = report
        self._heard = time.monotonic()
        self._silent = False

    def heard(self) -> None:
        """The PLC said something."""
        self._heard = time.monotonic()
        if self._silent:
            self._silent = False
            self._report(Event("plc", f"{self._place}: the PLC is heard again"))

    def check(self, why: str = "") -> None:
        """Nothing was heard just now."""
        if not self._silent and time.monotonic() - self._heard > self._silent_s:
            self._silent = True
            reason = f" ({why})" if why else ""
            text = f"{self._place}: the PLC is silent{reason}; look at its cable and settings"
            self._report(Event("plc-silent", text))

    def lost(self, why: str) -> None:
        """Nothing can be heard: the port itself is gone."""
        if not self._silent:
            self._silent = True
            text = f"{self._place}: cannot be served: {why}; tried again"
            self._report(Event("plc-silent", text))


class ClientLink:
    """Asks the PLC again and again for its inputs, and writes the outputs whenever they change."""

    def __init__(self, settings: Modbus, exchange: Exchange, told: Told, report: Report) -> None:
        self._settings = settings
        self._exchange = exchange
        self._told = told
        self._silence = Silence(place_of(settings), settings.silent_s, report)
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._beat = 0
        self._beat_at = 0.0
        self._registers_at = 0.0
        self._registers: list[int] = []
        self._trigger = False
        self._written: Outputs | None = None
        self._thread = threading.Thread(target=self._run, name="modbus client", daemon=True)

    def start(self) -> None:
        """Begin, on a thread."""
        self._thread.start()

    def notify(self) -> None:
        """Tell the PLC soon, from any thread."""
        self._changed.set()

    def close(self) -> None:
        """End; the PLC is told once more, if it listens."""
        self._closing.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        while not self._closing.is_set():
            client = self._client()
            try:
                self._written = None  # a PLC that was away may have forgotten
                self._registers_at = self._beat_at = 0.0
                if client.connect():
                    self._talk(client)
                else:
                    self._silence.check("no connection")
            except (ModbusException, OSError) as error:
                self._silence.check(str(error).splitlines()[0][:120])
            finally:
                with contextlib.suppress(Exception):  # closing what is broken may break
                    client.close()
            self._closing.wait(REOPEN_S)

    def _client(self) -> ModbusTcpClient | ModbusSerialClient:
        s = self._settings
        if s.transport == "tcp":
            return ModbusTcpClient(s.host, port=s.tcp_port, timeout=s.timeout_s, retries=1)
        return ModbusSerialClient(
            s.port, framer=FramerType.RTU, baudrate=s.baud, bytesize=s.bits, parity=s.parity,
            stopbits=s.stop, timeout=s.timeout_s, retries=1,
        )  # fmt: skip

    def _talk(self, client: ModbusTcpClient | ModbusSerialClient) -> None:
        """Until the line is lost or the end."""
        while True:
            ended = self._closing.is_set()
            self._changed.clear()
            outputs = self._exchange(self._read(client))
            self._silence.heard()
            self._write(client, outputs)
            if ended:
                return
            self._changed.wait(self._settings.poll_s)

    def _read(self, client: ModbusTcpClient | ModbusSerialClient) -> Inputs:
        s = self._settings
        address, count = block("coil", "plc")
        reply = client.read_coils(s.first_coil + address, count=count, device_id=s.unit)
        if reply.isError():
            raise ModbusException(f"reading the coils: {reply}")
        coils = _whole(reply.bits, count, "coils")
        rose = coils[0] and not self._trigger
        now = time.monotonic()
        # The registers belong to the trigger: they are read when it rises, else now and then.
        if rose or not self._registers or now - self._registers_at > 0.1:
            address, count = block("register", "plc", texts=s.texts)
            found = client.read_holding_registers(
                s.first_register + address, count=count, device_id=s.unit
            )
            if found.isError():
                raise ModbusException(f"reading the registers: {found}")
            self._registers = _whole(found.registers, count, "registers")
            self._registers_at = now
        self._trigger = coils[0]
        return inputs_of(list(coils), self._registers)

    def _write(self, client: ModbusTcpClient | ModbusSerialClient, outputs: Outputs) -> None:
        s = self._settings
        now = time.monotonic()
        beats = now - self._beat_at > s.heartbeat_s
        if outputs == self._written and not beats:
            return
        if beats:
            self._beat += 1
            self._beat_at = now
        writes = [self._write_registers, self._write_coils]
        if self._written is not None and not outputs.results_ready and self._written.results_ready:
            writes.reverse()  # Results Ready falls first, then what it announced
        self._written = None
        for write in writes:
            write(client, outputs)
        self._written = outputs
        self._told(outputs)

    def _write_registers(
        self, client: ModbusTcpClient | ModbusSerialClient, outputs: Outputs
    ) -> None:
        address = self._settings.first_register + block("register", "box")[0]
        reply = client.write_registers(
            address, registers_of(outputs, self._beat), device_id=self._settings.unit
        )
        if reply.isError():
            raise ModbusException(f"writing the registers: {reply}")

    def _write_coils(self, client: ModbusTcpClient | ModbusSerialClient, outputs: Outputs) -> None:
        address = self._settings.first_coil + block("coil", "box")[0]
        reply = client.write_coils(address, coils_of(outputs), device_id=self._settings.unit)
        if reply.isError():
            raise ModbusException(f"writing the coils: {reply}")


def _whole(values: list[T], count: int, what: str) -> list[T]:
    """As many values as were asked for: a faulty gateway answers with fewer.

    Raises:
        ModbusException: there are fewer.
    """
    if len(values) < count:
        raise ModbusException(f"reading the {what}: {len(values)} came of {count}")
    return list(values[:count])


class ServerLink:
    """Holds the registers for a PLC that asks; also readable as discrete inputs and input
    registers of the same addresses."""

    def __init__(self, settings: Modbus, exchange: Exchange, told: Told, report: Report) -> None:
        self._settings = settings
        self._exchange = exchange
        self._told = told
        self._silence = Silence(place_of(settings), settings.silent_s, report)
        self._closing = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._own = False
        self._written: Outputs | None = None
        self._beat = 0
        self._thread = threading.Thread(target=self._run, name="modbus server", daemon=True)

    def start(self) -> None:
        """Begin, on a thread."""
        self._thread.start()

    def notify(self) -> None:
        """Show the PLC soon, from any thread."""
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(wake.set)

    def close(self) -> None:
        """End."""
        self._closing.set()
        self.notify()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                asyncio.run(self._serve())
            except (ModbusException, OSError, RuntimeError, termios.error) as error:
                self._silence.lost(str(error).splitlines()[0][:120])
            self._closing.wait(REOPEN_S)

    async def _serve(self) -> None:
        s = self._settings
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._written = None
        device = self._device()
        if s.transport == "tcp":
            server: ModbusTcpServer | ModbusSerialServer = ModbusTcpServer(
                device, address=(s.host, s.tcp_port)
            )
        else:
            server = ModbusSerialServer(
                device, framer=FramerType.RTU, port=s.port, baudrate=s.baud, bytesize=s.bits,
                parity=s.parity, stopbits=s.stop,
            )  # fmt: skip
        try:
            await server.serve_forever(background=True)
            await self._work(server)
        finally:
            await server.shutdown()
            self._loop = self._wake = None

    def _device(self) -> SimDevice:
        s = self._settings
        words = s.first_register + 69
        bits = s.first_coil + 32
        return SimDevice(
            id=s.unit,
            simdata=(
                [SimData(0, values=[False] * (bits + -bits % 16), datatype=DataType.BITS)],
                [SimData(0, values=[False] * (bits + -bits % 16), datatype=DataType.BITS)],
                [SimData(0, values=[0] * words, datatype=DataType.REGISTERS)],
                [SimData(0, values=[0] * words, datatype=DataType.REGISTERS)],
            ),
            action=self._asked,
        )

    async def _asked(
        self,
        _function: int,
        _start: int,
        _address: int,
        _count: int,
        _registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> None:
        """A request is about to be answered."""
        if self._own:
            return
        self._silence.heard()
        if values is not None and self._wake is not None:
            self._wake.set()

    async def _work(self, server: ModbusTcpServer | ModbusSerialServer) -> None:
        """Take in what was written, show what changed, beat; until the end or a lost port."""
        s, wake = self._settings, self._wake
        assert wake is not None
        beat_at = 0.0
        while not self._closing.is_set():
            if s.transport == "rtu" and not server.active_connections:
                raise OSError("the serial port is gone")
            outputs = self._exchange(await self._inputs(server))
            now = time.monotonic()
            if now - beat_at >= s.heartbeat_s:
                self._beat, beat_at = self._beat + 1, now
                await self._show_registers(server, outputs)
            if outputs != self._written:
                await self._show(server, outputs)
            self._silence.check()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), min(s.heartbeat_s, 0.25))
            wake.clear()

    async def _inputs(self, server: ModbusTcpServer | ModbusSerialServer) -> Inputs:
        s = self._settings
        self._own = True
        try:
            address, count = block("coil", "plc")
            coils = await server.async_getValues(s.unit, 1, s.first_coil + address, count)
            address, count = block("register", "plc", texts=s.texts)
            words = await server.async_getValues(s.unit, 3, s.first_register + address, count)
        finally:
            self._own = False
        return inputs_of([bool(c) for c in coils], [int(w) for w in words])

    async def _show(self, server: ModbusTcpServer | ModbusSerialServer, outputs: Outputs) -> None:
        falls = self._written is not None and self._written.results_ready
        shows = [self._show_registers, self._show_coils]
        if falls and not outputs.results_ready:
            shows.reverse()
        for show in shows:
            await show(server, outputs)
        self._written = outputs
        self._told(outputs)

    async def _show_registers(
        self, server: ModbusTcpServer | ModbusSerialServer, outputs: Outputs
    ) -> None:
        address = self._settings.first_register + block("register", "box")[0]
        for function in (16, 4):
            await self._set(server, function, address, registers_of(outputs, self._beat))

    async def _show_coils(
        self, server: ModbusTcpServer | ModbusSerialServer, outputs: Outputs
    ) -> None:
        address = self._settings.first_coil + block("coil", "box")[0]
        for function in (15, 2):
            await self._set(server, function, address, coils_of(outputs))

    async def _set(
        self,
        server: ModbusTcpServer | ModbusSerialServer,
        function: int,
        address: int,
        values: list[int] | list[bool],
    ) -> None:
        self._own = True
        try:
            await server.async_setValues(self._settings.unit, function, address, values)
        finally:
            self._own = False
