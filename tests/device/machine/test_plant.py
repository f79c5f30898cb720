"""What the plant is told: a real broker and its own clients, an OPC UA client, a dead broker."""

import asyncio
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua

from config.document import to_toml
from config.machine import Mqtt, OpcUa, Plant
from config.settings import Settings
from device.parts import Part, add_part
from device.store import open_store
from tests.device.conftest import MakeModel
from tests.device.machine.conftest import free_port, running, until, with_machine
from tests.device.machine.test_handshake_wire import stored, use_model

ROOT = Path(__file__).parents[3]


@contextmanager
def broker(port: int, folder: Path) -> Iterator[None]:
    """Debian's mosquitto on loopback, keeping what is retained over a restart."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if found is None or shutil.which("mosquitto_sub") is None:
        pytest.skip("needs mosquitto: apt install mosquitto mosquitto-clients")
    conf = folder / "mosquitto.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([found, "-c", str(conf)], stderr=subprocess.DEVNULL)
    try:
        until(lambda: listen(port, "$SYS/broker/version", 1, 1))
        yield
    finally:
        process.terminate()
        process.wait()


def listen(port: int, topic: str, count: int, seconds: int = 20) -> list[tuple[str, str]]:
    """What mosquitto's own client hears."""
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", topic, "-v"]
    command += ["-C", str(count), "-W", str(seconds)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return [tuple(x.split(" ", 1)) for x in result.stdout.splitlines()]  # type: ignore[misc]


@contextmanager
def plant_process(settings: Settings, folder: Path) -> Iterator[subprocess.Popen[str]]:
    file = folder / "plant.toml"
    file.write_text(to_toml(settings))
    command = [sys.executable, "-m", "millsight", "plant", "--config", str(file)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


def a_part(number: int, verdict: str = "pass", code: int = 0) -> Part:
    return Part(
        number, "P-7", "L-1", "12", "default", "m", verdict, "clean", code, 41.5,
        time.time_ns(), time.monotonic_ns(),
    )  # fmt: skip


def put(settings: Settings, part: Part) -> None:
    db = open_store(settings.device.data)
    with db.atomic():
        add_part(db, part)
    db.close()


def with_plant(settings: Settings, **values: Any) -> Settings:
    return settings.model_copy(update={"plant": Plant(look_s=0.05, **values)})


def test_an_independent_client_hears_the_same(settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    settings = with_plant(settings, mqtt=Mqtt(host="127.0.0.1", port=port))
    with broker(port, tmp_path), plant_process(settings, tmp_path) as process:
        assert ("millsight/box/online", "true") in listen(port, "millsight/box/online", 1)
        put(settings, a_part(1))
        until(lambda: any('"number": 1' in t for _, t in listen(port, "#", 9, 1)))
        heard: list[tuple[str, str]] = []
        ear = threading.Thread(target=lambda: heard.extend(listen(port, "millsight/box/result", 2)))
        ear.start()
        time.sleep(0.5)
        put(settings, a_part(2))
        put(settings, a_part(3, "fault", 6))
        ear.join(30)
        second, third = (json.loads(text) for _, text in heard)
        assert (second["number"], second["ok"], second["took_ms"]) == (2, True, 41.5)
        assert (third["verdict"], third["ok"], third["error"]) == ("fault", False, "deadline")
        retained = dict(listen(port, "millsight/box/+", 5, 3))
        facts = {k.split("/")[-1]: json.loads(v) for k, v in retained.items()}
        assert facts["last_result"]["number"] == 3
        assert facts["state"]["state"] == "halted"
        assert (facts["counters"]["parts_pass"], facts["counters"]["parts_fault"]) == (2, 1)
        process.kill()  # its last will
        until(lambda: ("millsight/box/online", "false") in listen(port, "millsight/#", 5, 1))


def test_a_broker_that_comes_back_is_told_all(settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    settings = with_plant(settings, mqtt=Mqtt(host="127.0.0.1", port=port))
    with plant_process(settings, tmp_path):
        time.sleep(1)
        put(settings, a_part(1))
        with broker(port, tmp_path):
            assert listen(port, "millsight/box/online", 1) == [("millsight/box/online", "true")]
        put(settings, a_part(2))
        with broker(port, tmp_path):  # a new one, which knows nothing
            (last,) = listen(port, "millsight/box/last_result", 1)
            until(lambda: '"number": 2' in listen(port, "millsight/box/last_result", 1)[0][1])
    assert last


def test_a_dead_broker_slows_no_verdict(
    site: Settings, make_model: MakeModel, tmp_path: Path
) -> None:
    use_model(site, make_model(thresholds=[1e9] * 4))
    settings = with_machine(site, trigger="interval", interval_s=0.1, deadline_s=10)
    settings = with_plant(settings, mqtt=Mqtt(host="127.0.0.1", port=free_port()))
    with plant_process(settings, tmp_path), running(settings) as loop:
        until(lambda: len(stored(settings)) >= 20)
    assert loop.error is None
    assert {r.code for r in stored(settings)[:20]} == {0}


def test_opc_ua_shows_the_same_and_can_only_be_read(settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    settings = with_plant(settings, opcua=OpcUa(listen=True, port=port))

    async def look() -> tuple[dict[str, Any], bool]:
        async with Client(f"opc.tcp://127.0.0.1:{port}/millsight/") as client:
            index = await client.get_namespace_index("urn:millsight:inspection")
            box = await client.nodes.objects.get_child(f"{index}:box")
            found = {}
            for group in ("state", "counters", "last_result", "model"):
                for node in await (await box.get_child(f"{index}:{group}")).get_children():
                    name = (await node.read_browse_name()).Name
                    found[f"{group}.{name}"] = await node.read_value()
            node = await box.get_child([f"{index}:state", f"{index}:state"])
            try:
                await node.write_value("mine")
            except ua.UaStatusCodeError:
                return found, True
            return found, False

    with plant_process(settings, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("opcua: opc.tcp://127.0.0.1")
        put(settings, a_part(5, "fail"))

        def seen() -> dict[str, Any] | None:
            # A thread of its own: the browser's driver keeps an event loop in this one.
            try:
                with ThreadPoolExecutor(1) as alone:
                    found, refused = alone.submit(asyncio.run, look()).result()
            except (OSError, ua.UaError):
                return None
            assert refused
            return found if found.get("last_result.number") == 5 else None

        found = until(seen)
    assert found["last_result.verdict"] == "fail"
    assert found["last_result.ok"] is False
    assert found["counters.parts_fail"] == 1
    assert found["state.state"] == "halted"
    assert found["model.labels"] == 0


def test_without_anybody_to_tell_it_says_so(settings: Settings, tmp_path: Path) -> None:
    with plant_process(settings, tmp_path) as process:
        assert process.wait(30) == 1
