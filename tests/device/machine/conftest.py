"""Real lines to test the machine's side with: pty pairs, free ports, a PLC in its own process."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from pymodbus.client import ModbusTcpClient

from camera.source import Event
from config.machine import Machine, MachineLine, Modbus
from config.settings import Recipe, Settings
from device.loop.loop import FrameResult, InspectionLoop

PLC = Path(__file__).with_name("plc.py")


def free_port() -> int:
    """A TCP port of the loopback that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(good: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait until something is so; what it was."""
    end = time.monotonic() + seconds
    while not (found := good()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)
    return found


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two serial ports that are connected with each other; a pty is 8N1 only."""
    if shutil.which("socat") is None:
        pytest.skip("needs socat: apt install socat")
    ends = (str(tmp_path / "box"), str(tmp_path / "plc"))
    process = subprocess.Popen(["socat", *(f"pty,raw,echo=0,link={end}" for end in ends)])
    until(lambda: all(Path(end).exists() for end in ends))
    yield ends
    process.terminate()
    process.wait()


class RunningLoop:
    """An inspection loop on a thread, and what it reported."""

    def __init__(self, settings: Settings) -> None:
        self.events: list[Event] = []
        self.frames: list[FrameResult] = []
        self.loop = InspectionLoop(settings, self.events.append, on_frame=self.frames.append)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.error = error

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.loop.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()
        assert self.error is None


@contextmanager
def running(settings: Settings) -> Iterator[RunningLoop]:
    """Run a loop while the test does something."""
    one = RunningLoop(settings)
    one.start()
    try:
        yield one
    finally:
        one.stop()


@contextmanager
def plc_process(role: str, line: str, parts: int, *recipes: int) -> Iterator[Callable[[], Any]]:
    """A PLC that has parts judged; calling gives the next part that it saw."""
    command = [sys.executable, str(PLC), role, line, str(parts), *map(str, recipes)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    out = process.stdout
    assert out is not None
    try:
        assert out.readline().strip() == "up"
        yield lambda: json.loads(out.readline())
    finally:
        process.kill()
        process.wait()
        out.close()


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Settings:
    """A box beside a machine: plates by the PLC's trigger, every class mapped."""
    recipe = Recipe(
        classes=settings.recipe.classes,
        pass_classes=["clean"],
        fail_classes=[name for name in settings.recipe.classes if name != "clean"],
        index=1,
    )
    folder = settings.camera.folder.model_copy(update={"repeat": True})
    camera = settings.camera.model_copy(update={"folder": folder})
    device = settings.device.model_copy(update={"recipes": tmp_path / "recipes"})
    return settings.model_copy(update={"device": device, "recipe": recipe, "camera": camera})


def with_machine(site: Settings, **values: Any) -> Settings:
    """The same site with other settings of its machine."""
    values = {"deadline_s": 5.0} | values
    return site.model_copy(update={"machine": Machine(**values)})


def modbus(role: Literal["client", "server"], line: str, **values: Any) -> Modbus:
    """Settings of a handshake over TCP or a serial port."""
    if ":" in line:
        host, port = line.split(":")
        return Modbus(role=role, host=host, tcp_port=int(port), **values)
    return Modbus(role=role, transport="rtu", port=line, baud=19200, **values)


def line(port: str, **values: Any) -> MachineLine:
    """Settings of the machine's line."""
    return MachineLine(port=port, **values)


class Master:
    """A PLC that asks the box."""

    def __init__(self, port: int) -> None:
        self.client = ModbusTcpClient("127.0.0.1", port=port, timeout=2)
        self.number = 0
        until(self.client.connect)

    def coils(self) -> list[bool]:
        return list(self.client.read_coils(16, count=5, device_id=1).bits[:5])

    def trigger(self, value: bool) -> None:
        if value:
            self.number += 1
            self.client.write_registers(0, [0, self.number], device_id=1)
        self.client.write_coil(0, value, device_id=1)

    def results(self) -> tuple[bool, bool, int]:
        """OK, NG, code of the part, which is acknowledged."""
        until(lambda: self.coils()[1])
        _, _, ok, ng, _ = self.coils()
        code = self.client.read_holding_registers(65, count=1, device_id=1).registers[0]
        self.client.write_coil(1, True, device_id=1)
        self.trigger(False)
        until(lambda: not self.coils()[1])
        self.client.write_coil(1, False, device_id=1)
        return ok, ng, code

    def part(self) -> tuple[bool, bool, int]:
        self.trigger(True)
        return self.results()

    def until_ok(self) -> float:
        """Trigger parts until one is good; the seconds that took."""
        began = time.monotonic()
        until(lambda: self.part()[0], 40)
        return time.monotonic() - began
