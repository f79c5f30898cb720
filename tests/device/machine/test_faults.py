"""Whatever breaks beside the machine: never a false OK, and how long until parts are good again.

Every picture here would pass, so that an OK while something is broken would be a false one.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient

from config.machine import Machine, MachineLine, Modbus, Mqtt, Plant, StackLight
from config.settings import Camera, Live, OpencvSource, Quality, Settings
from device.machine.codes import Code
from device.store.editing import editing
from tests.device.conftest import MakeModel
from tests.device.machine.conftest import (
    Master,
    RunningLoop,
    free_port,
    plc_process,
    running,
    until,
)
from tests.device.machine.test_handshake_wire import stored, use_model
from tests.device.machine.test_line import Port
from tests.device.machine.test_plant import broker, plant_process

ROUNDS = 20
CAMERA = Path(__file__).parents[2] / "camera" / "mjpeg_server.py"
RESULTS = 17


class Bench:
    """A box with all its neighbours, each of which can be broken."""

    def __init__(self, loop: RunningLoop, settings: Settings, master: Master) -> None:
        self.loop = loop
        self.settings = settings
        self.master = master

    def event(self, kind: str, seen: int) -> None:
        until(lambda: self.loop.kinds().count(kind) > seen)

    def count(self, kind: str) -> int:
        return self.loop.kinds().count(kind)


def all_pass(settings: Settings, make_model: MakeModel, **machine: Any) -> Settings:
    """A site whose every picture passes, server to a PLC."""
    classes = settings.recipe.classes
    recipe = settings.recipe.model_copy(update={"pass_classes": classes, "fail_classes": []})
    values: dict[str, Any] = {"trigger": "modbus", "deadline_s": 3.0} | machine
    values.setdefault("modbus", Modbus(role="server", tcp_port=free_port()))
    quality = Quality(min_contrast=0, min_sharpness=0, frozen_after=0, max_dark_share=1)
    camera = settings.camera.model_copy(update={"quality": quality})
    parts = {"recipe": recipe, "camera": camera, "machine": Machine(**values)}
    changed = settings.model_copy(update=parts)
    use_model(changed, make_model(thresholds=[1e9] * 4, pass_classes=classes))
    return changed


@contextmanager
def bench(settings: Settings) -> Iterator[Bench]:
    with running(settings) as loop:
        master = Master(settings.machine.modbus.tcp_port)
        try:
            yield Bench(loop, settings, master)
        finally:
            master.client.close()


def tell(name: str, recoveries: list[float]) -> None:
    print(
        f"\n{name}: {len(recoveries)} times, no false OK; good again after "
        f"{statistics.median(recoveries):.2f} s (median), {max(recoveries):.2f} s (worst)"
    )


def times(test: Callable[..., None]) -> Callable[..., None]:
    """Once always, twenty times where tests may take minutes."""
    counts = [1, pytest.param(ROUNDS, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
    decorated: Callable[..., None] = pytest.mark.parametrize("count", counts)(test)
    return decorated


@times
def test_camera_killed(site: Settings, make_model: MakeModel, count: int) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}/video"
    live = Live(retry_first_s=0.1, retry_longest_s=0.2)
    opencv = OpencvSource(address=address, open_timeout_s=1, read_timeout_s=0.5)
    site = all_pass(site, make_model, deadline_s=2.0)
    quality = site.camera.quality
    camera = Camera(source="opencv", opencv=opencv, live=live, quality=quality)
    settings = site.model_copy(update={"camera": camera})

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(CAMERA), str(port)])

    recoveries = []
    process = start()
    try:
        with bench(settings) as one:
            one.master.until_ok()
            for _ in range(count):
                lost = one.count("lost")
                process.kill()
                process.wait()
                one.event("lost", lost)
                ok, ng, code = one.master.part()
                assert (ok, ng) == (False, True)
                assert code in {Code.CAMERA, Code.DEADLINE}
                process = start()
                recoveries.append(one.master.until_ok())
    finally:
        process.kill()
        process.wait()
    tell("camera killed and back", recoveries)


def line_breaks(
    settings: Settings, port: Port, count: int, name: str, breaks: Callable[[Bench, int], None]
) -> None:
    """Whatever happens to the line: no part without its line is good, and one with it is again."""
    recoveries = []
    with bench(settings) as one:
        one.event("line", 0)
        for number in range(count):
            breaks(one, number)
            assert one.master.part() == (False, True, Code.BAD_LINE)
            began = time.monotonic()
            if not port.link.is_symlink():
                heard = one.count("line")
                port.plug()
                one.event("line", heard)
            port.send(b"PART 7\r")
            time.sleep(0.2)
            assert one.master.part() == (True, False, 0)
            recoveries.append(time.monotonic() - began)
        port.unplug()
    tell(name, recoveries)


@times
def test_line_unplugged(site: Settings, make_model: MakeModel, tmp_path: Path, count: int) -> None:
    port = Port(tmp_path / "tty")

    def unplug(one: Bench, _number: int) -> None:
        lost = one.count("line-lost")
        port.unplug()
        one.event("line-lost", lost)

    settings = all_pass(site, make_model, line=MachineLine(port=str(port.link)))
    line_breaks(settings, port, count, "serial line unplugged and back", unplug)


@times
def test_line_garbled(site: Settings, make_model: MakeModel, tmp_path: Path, count: int) -> None:
    port = Port(tmp_path / "tty")

    def garble(one: Bench, number: int) -> None:
        garbled = one.count("line-garbled")
        port.send([b"\xffPA\x00RT ??\r", b"PART 7\rP#RT 8\r"][number % 2])
        one.event("line-garbled", garbled)

    settings = all_pass(site, make_model, line=MachineLine(port=str(port.link)))
    line_breaks(settings, port, count, "garbled line", garble)


@times
def test_triggered_twice(site: Settings, make_model: MakeModel, count: int) -> None:
    settings = all_pass(site, make_model, delay_s=0.5)
    recoveries = []
    with bench(settings) as one:
        one.master.until_ok()
        for _ in range(count):
            before = one.master.number
            until(lambda: len(stored(settings)) == before)  # noqa: B023
            one.master.trigger(True)
            one.master.trigger(False)
            time.sleep(0.1)
            one.master.trigger(True)
            assert one.master.results() == (False, True, Code.NOT_READY)
            recoveries.append(one.master.until_ok())
            until(lambda: len(stored(settings)) == before + 3)  # noqa: B023
            codes = [p.code for p in stored(settings)[before:]]
            assert codes == [Code.NOT_READY, Code.NOT_READY, 0]
    tell("triggered twice", recoveries)


@times
def test_triggered_while_editing(site: Settings, make_model: MakeModel, count: int) -> None:
    settings = all_pass(site, make_model)
    recoveries = []
    with bench(settings) as one:
        one.master.until_ok()
        for _ in range(count):
            with editing(settings.device.data):
                until(lambda: not one.master.coils()[0])
                assert one.master.part() == (False, True, Code.EDITING)
            began = time.monotonic()
            until(lambda: one.master.coils()[0])
            assert one.master.part() == (True, False, 0)
            recoveries.append(time.monotonic() - began)
    tell("triggered while a recipe is edited", recoveries)


@times
def test_stack_light_silent(site: Settings, make_model: MakeModel, count: int) -> None:
    port = free_port()
    light = StackLight(output="coils", tcp_port=port)
    settings = all_pass(site, make_model, stack_light=light)
    recoveries = []

    def lamps() -> list[bool]:
        client = ModbusTcpClient("127.0.0.1", port=port)
        assert client.connect()
        found = list(client.read_coils(0, count=5, device_id=1).bits[:5])
        client.close()
        return found

    with bench(settings) as one:
        for number in range(count):
            with plc_process("server", f"127.0.0.1:{port}", 10**6):
                one.master.until_ok()
                until(lambda: lamps() == [False, False, True, False, False], 10)
            lost = one.count("light-lost")
            took = one.master.until_ok()
            recoveries.append(took)
            if number == 0:
                one.event("light-lost", lost)
    tell("stack light silent (parts go on)", recoveries)


@times
def test_broker_down(site: Settings, make_model: MakeModel, tmp_path: Path, count: int) -> None:
    port = free_port()
    settings = all_pass(site, make_model)
    mqtt = Mqtt(host="127.0.0.1", port=port)
    settings = settings.model_copy(update={"plant": Plant(look_s=0.05, mqtt=mqtt)})
    recoveries = []
    with ExitStack() as stack:
        one = stack.enter_context(bench(settings))
        stack.enter_context(plant_process(settings, tmp_path))
        for _ in range(count):
            with broker(port, tmp_path):
                one.master.until_ok()
            recoveries.append(one.master.until_ok())
    assert {p.code for p in stored(settings)} == {0}
    tell("broker down (parts go on)", recoveries)


@times
def test_plc_silent(site: Settings, make_model: MakeModel, count: int) -> None:
    port = free_port()
    modbus = Modbus(role="client", tcp_port=port, timeout_s=0.1, silent_s=0.2)
    settings = all_pass(site, make_model, modbus=modbus)
    script = Path(__file__).with_name("plc.py")
    command = [sys.executable, str(script), "server", f"127.0.0.1:{port}", "100000"]
    log = settings.device.data / "plc.log"
    recoveries = []
    with running(settings) as loop, log.open("w") as out:
        process = subprocess.Popen(command, stdout=out)
        try:
            until(lambda: log.read_text().count("\n") > 3)
            for _ in range(count):
                silent = loop.kinds().count("plc-silent")
                os.kill(process.pid, signal.SIGSTOP)
                until(lambda: loop.kinds().count("plc-silent") > silent)  # noqa: B023
                seen = log.read_text().count("\n")
                began = time.monotonic()
                os.kill(process.pid, signal.SIGCONT)
                until(lambda: log.read_text().count("\n") > seen + 1)  # noqa: B023
                recoveries.append(time.monotonic() - began)
        finally:
            process.kill()
            process.wait()
    import json  # noqa: PLC0415

    lines = [json.loads(x) for x in log.read_text().splitlines()[1:] if x.endswith("}")]
    verdicts = {p.number: p for p in stored(settings)}
    assert len(verdicts) == len(stored(settings)), "a part had two verdicts"
    for line in lines:
        if line.get("ok"):
            assert line["of"] == line["number"]
            assert verdicts[line["number"]].verdict == "pass"
        else:
            assert line.get("ng") or line.get("error")
    tell("PLC silent and back", recoveries)
