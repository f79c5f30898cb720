"""The link with a PLC where the other side is faulty: short replies, a port that goes and comes."""

import contextlib
import os
import pty
import socket
import struct
import termios
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymodbus.framer import FramerRTU

from camera.source import Event
from device.machine.handshake import Outputs
from device.machine.modbus import ClientLink, ServerLink
from tests.device.machine.conftest import modbus, until

READ_COILS, READ_REGISTERS = 1, 3


class ShortPlc:
    """A gateway that answers every reading with too little, until it is `whole`."""

    def __init__(self) -> None:
        self.whole = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            try:
                one, _ = self._server.accept()
            except OSError:
                return
            with one:
                while request := one.recv(300):
                    number, _, _, unit, function = struct.unpack(">HHHBB", request[:8])
                    reply = self._reply(function, request)
                    one.sendall(struct.pack(">HHHB", number, 0, len(reply) + 1, unit) + reply)

    def _reply(self, function: int, request: bytes) -> bytes:
        if function == READ_COILS:
            return bytes([function, 1, 0]) if self.whole else bytes([function, 0])
        if function == READ_REGISTERS:
            return bytes([function, 4, 0, 0, 0, 0]) if self.whole else bytes([function, 2, 0, 0])
        return request[7:12]


@pytest.fixture
def short() -> Iterator[ShortPlc]:
    one = ShortPlc()
    yield one
    one.close()


def test_a_short_reply_is_told_and_tried_again(short: ShortPlc) -> None:
    events: list[Event] = []
    told: list[Outputs] = []
    settings = modbus("client", f"127.0.0.1:{short.port}", silent_s=0.1)
    link = ClientLink(settings, lambda _: Outputs(ready=True), told.append, events.append)
    link.start()
    until(lambda: [event.kind for event in events] == ["plc-silent"])
    assert "0 came of 2" in events[0].text
    assert not told
    short.whole = True
    until(lambda: told)
    assert [event.kind for event in events] == ["plc-silent", "plc"]
    link.close()


class SerialPlc:
    """The far end of a serial port that can be pulled out of the box."""

    def __init__(self, link: Path) -> None:
        self._link = link
        self.plug()

    def plug(self) -> None:
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self._link.symlink_to(os.ttyname(self._theirs))

    def unplug(self) -> None:
        self._link.unlink()
        os.close(self._ours)
        os.close(self._theirs)

    def asks(self) -> bool:
        """Read the box's five coils; whether it replied."""
        request = struct.pack(">BBHH", 1, READ_COILS, 16, 5)
        os.write(self._ours, request + FramerRTU.compute_CRC(request).to_bytes(2, "big"))
        time.sleep(0.05)
        with contextlib.suppress(BlockingIOError):
            return os.read(self._ours, 100)[:3] == bytes([1, READ_COILS, 1])
        return False


def test_a_port_that_goes_twice_is_told_twice_and_heard_again(tmp_path: Path) -> None:
    events: list[Event] = []
    plc = SerialPlc(tmp_path / "box")
    settings = modbus("server", str(tmp_path / "box"), silent_s=600, heartbeat_s=0.05)
    link = ServerLink(settings, lambda _: Outputs(ready=True), lambda _: None, events.append)
    link.start()
    until(plc.asks)
    for _ in range(2):
        plc.unplug()
        until(lambda: events and events[-1].kind == "plc-silent")
        plc.plug()
        until(plc.asks)
        until(lambda: events[-1].kind == "plc")
    link.close()
    plc.unplug()
    assert [event.kind for event in events] == ["plc-silent", "plc"] * 2


def test_a_port_that_goes_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    plc = SerialPlc(tmp_path / "box")
    flush, went = termios.tcflush, threading.Event()

    def go(descriptor: int, queue: int) -> None:
        if not went.is_set():
            went.set()
            plc.unplug()
        flush(descriptor, queue)

    monkeypatch.setattr(termios, "tcflush", go)
    settings = modbus("server", str(tmp_path / "box"), silent_s=600, heartbeat_s=0.05)
    link = ServerLink(settings, lambda _: Outputs(ready=True), lambda _: None, events.append)
    link.start()
    until(lambda: events)
    plc.plug()
    until(plc.asks)
    link.close()
    plc.unplug()
