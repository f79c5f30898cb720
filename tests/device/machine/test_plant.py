"""What the plant is told: a real broker and its own clients, an OPC UA client, a dead broker."""

import asyncio
import gzip
import hashlib
import json
import math
import shutil
import sqlite3
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
from asyncua import Client, Server, ua

from config.document import to_toml
from config.machine import Mqtt, OpcUa, Plant
from config.settings import Settings
from device.machine import plant
from device.machine.facts import vision_state_of
from device.machine.mqtt import Publisher
from device.machine.vision import COMPLETED, MODES, NODE_SET, RESULT, STATES, SYSTEM
from device.store.database import STORE_FILE, open_store
from device.store.parts import Part, Split, add_part
from device.store.swap import put_in_place
from tests.device.conftest import MakeModel
from tests.device.machine.conftest import Master, free_port, modbus, running, until, with_machine
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

        def facts_now() -> dict[str, Any]:
            retained = listen(port, "millsight/box/+", 5, 3)
            return {k.split("/")[-1]: json.loads(v) for k, v in retained}

        until(lambda: facts_now()["counters"]["parts_fault"] == 1)  # told beside the results
        facts = facts_now()
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


def test_a_store_that_was_mended_is_followed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []

    class Ear:
        def start(self) -> None: ...
        def close(self) -> None: ...
        def tell(self, name: str, facts: dict[str, Any]) -> None: ...
        def happened(self, _name: str, facts: dict[str, Any]) -> None:
            heard.append(facts["number"])

    monkeypatch.setattr(plant, "_listeners", lambda *_: [Ear()])
    put(settings, a_part(1))
    stopping = threading.Event()
    arguments = (with_plant(settings), print, stopping)
    thread = threading.Thread(target=plant.serve, args=arguments)
    thread.start()
    try:
        time.sleep(0.3)
        put(settings, a_part(2))
        until(lambda: heard == [2])
        data = settings.device.data
        (data / "work").mkdir()
        with sqlite3.connect(data / STORE_FILE) as old:
            old.execute("VACUUM INTO ?", [str(data / "work" / STORE_FILE)])
        old.close()
        put_in_place(data, data / "work" / STORE_FILE, "damaged")
        put(settings, a_part(3))
        until(lambda: heard == [2, 3])
    finally:
        stopping.set()
        thread.join()


def test_after_more_than_can_wait_the_broker_is_told_what_is(tmp_path: Path) -> None:
    port = free_port()
    one = Publisher(Mqtt(host="127.0.0.1", port=port), "box", lambda _: None)
    one.start()
    try:
        for number in range(6_000):  # a shift without a broker
            one.tell("counters", {"parts_pass": number})
            one.happened("result", {"number": number})
        for number in range(6_000, 11_000):
            one.happened("result", {"number": number})
        one.tell("state", {"state": "halted"})
        with broker(port, tmp_path):
            heard: dict[str, str] = {}

            def facts() -> bool:
                heard.update(listen(port, "millsight/box/+", 3, 2))
                return "millsight/box/state" in heard

            until(facts, 30)
            assert heard["millsight/box/state"] == '{"state": "halted"}'
            assert heard["millsight/box/online"] == "true"
            assert heard["millsight/box/counters"] == '{"parts_pass": 5999}'
    finally:
        one.close()


def test_a_name_with_a_sign_of_topics_is_told(tmp_path: Path) -> None:
    port = free_port()
    with broker(port, tmp_path):
        one = Publisher(Mqtt(host="127.0.0.1", port=port), "mill 2+", lambda _: None)
        one.start()
        one.tell("state", {"state": "halted"})
        said = listen(port, "millsight/mill_2_/state", 1)
        one.close()
    assert said == [("millsight/mill_2_/state", '{"state": "halted"}')]


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

        def seen(number: int) -> dict[str, Any] | None:
            # A thread of its own: the browser's driver keeps an event loop in this one.
            try:
                with ThreadPoolExecutor(1) as alone:
                    found, refused = alone.submit(asyncio.run, look()).result()
            except (OSError, ua.UaError):
                return None
            assert refused
            return found if found.get("last_result.number") == number else None

        put(settings, a_part(4)._replace(split=Split(10.0, 5.0, 20.0, 1.5, 0.5)))
        assert until(lambda: seen(4))["last_result.grab_ms"] == 10
        put(settings, a_part(5, "fail"))
        found = until(lambda: seen(5))
        assert math.isnan(found["last_result.grab_ms"]), "it is not the time of the part before"
    assert found["last_result.verdict"] == "fail"
    assert found["last_result.ok"] is False
    assert found["counters.parts_fail"] == 1
    assert found["state.state"] == "halted"
    assert found["model.labels"] == 0


def test_a_machine_vision_client_finds_state_and_result_by_their_types(
    settings: Settings, tmp_path: Path
) -> None:
    """OPC 40100-1: whoever knows the types need not know us."""
    port = free_port()
    settings = with_plant(settings, opcua=OpcUa(listen=True, port=port))
    part = a_part(5, "fail")._replace(split=Split(10.0, 5.0, 20.0, 1.5, 0.5))

    async def know_the_types() -> None:
        """As a client does that has the node set itself; the numbers of namespaces are as there."""
        known = Server()
        await known.init()
        await known.register_namespace("urn:millsight:inspection")
        await known.import_xml(xmlstring=gzip.decompress(NODE_SET.read_bytes()))
        await known.load_data_type_definitions()

    async def look() -> dict[str, Any] | None:
        async with Client(f"opc.tcp://127.0.0.1:{port}/millsight/") as client:
            vision = await client.get_namespace_index("http://opcfoundation.org/UA/MachineVision")
            index = await client.get_namespace_index("urn:millsight:inspection")
            box = await client.nodes.objects.get_child(f"{index}:box")
            systems = [
                node
                for node in await box.get_children()
                if await node.read_type_definition() == ua.NodeId(SYSTEM, vision)
            ]
            (system,) = systems
            machine = await system.get_child(f"{vision}:VisionStateMachine")
            state = await machine.get_child("0:CurrentState")
            number = await state.get_child("0:Id")
            folder = await system.get_child([f"{vision}:ResultManagement", f"{vision}:Results"])
            (node,) = await folder.get_children()
            assert await node.read_type_definition() == ua.NodeId(RESULT, vision)
            result = await node.read_value()
            if result is None:
                return None
            halt = await machine.get_child(f"{vision}:Halt")
            try:
                await machine.call_method(halt, ua.Variant(1, ua.VariantType.Int32))
            except ua.UaStatusCodeError:
                refused = True
            else:
                refused = False
            name = await client.get_node(await number.read_value()).read_browse_name()
            executable = await halt.read_attribute(ua.AttributeIds.Executable)
            return {
                "state": (await state.read_value()).Text,
                "state by its node": name.Name,
                "refused": refused,
                "executable": executable.Value.Value,
                "result": result,
            }

    with plant_process(settings, tmp_path):
        put(settings, part)
        with ThreadPoolExecutor(1) as alone:
            alone.submit(asyncio.run, know_the_types()).result()

            def seen() -> dict[str, Any] | None:
                try:
                    return alone.submit(asyncio.run, look()).result()
                except (OSError, ua.UaError):
                    return None

            found = until(seen)
    assert found["state"] == found["state by its node"] == "Halted"
    assert found["refused"]
    assert found["executable"] is False
    result = found["result"]
    assert (result.ResultId.Id, result.JobId.Id) == ("1", "5")
    assert (result.PartId.Id, result.InternalRecipeId.Id) == ("P-7", "default")
    assert result.ResultState == COMPLETED
    assert [v.Value for v in result.ResultContent] == ["fail", False, "clean", 0]
    times = result.ProcessingTimes
    assert times.AcquisitionDuration == 10
    assert times.ProcessingDuration == pytest.approx(31.5)
    assert (times.EndTime - times.StartTime).total_seconds() == pytest.approx(0.0415, abs=1e-3)


def test_the_node_set_is_the_foundation_s() -> None:
    """Version 1.0.0 of 2019-07-11, as it was published, with its licence."""
    text = gzip.decompress(NODE_SET.read_bytes())
    assert hashlib.sha256(text).hexdigest() == (
        "3e67454155a9618e0981aa8b3ee248f7a9ee216f9f915b53eb26a69533c0cc62"
    )
    assert b"OPC Foundation MIT License 1.00" in text


@pytest.mark.parametrize(
    ("state", "machine", "expected"),
    [
        ("halted", None, ("Halted", "")),
        ("error", "ready", ("Error", "")),
        ("initialized", "blocked", ("Operational", "Initialized")),
        ("continuous execution", None, ("Operational", "ContinuousExecution")),
        ("continuous execution", "ready", ("Operational", "Ready")),
        ("continuous execution", "judging", ("Operational", "SingleExecution")),
        ("continuous execution", "answered", ("Operational", "Ready")),
        ("continuous execution", "editing", ("Operational", "Initialized")),
    ],
)
def test_states_of_machine_vision(
    state: str, machine: str | None, expected: tuple[str, str]
) -> None:
    assert vision_state_of(state, machine) == expected
    assert expected[0] in STATES
    assert expected[1] in {"", *MODES}


def test_an_independent_master_and_an_independent_client_read_the_same(
    site: Settings, make_model: MakeModel, tmp_path: Path
) -> None:
    """`mbpoll` (libmodbus) and `mosquitto_sub`, while the results stand."""
    if shutil.which("mbpoll") is None:
        pytest.skip("needs mbpoll: apt install mbpoll")
    use_model(site, make_model(thresholds=[1e9] * 4))
    port, plc = free_port(), free_port()
    settings = with_machine(
        site, trigger="modbus", modbus=modbus("server", f"127.0.0.1:{plc}"), deadline_s=20
    )
    settings = with_plant(settings, mqtt=Mqtt(host="127.0.0.1", port=port))

    def poll(kind: str, address: int, count: int) -> list[int]:
        command = ["mbpoll", "-m", "tcp", "-a", "1", "-0", "-1", "-t", kind, "-r", str(address)]
        command += ["-c", str(count), "-p", str(plc), "127.0.0.1"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [int(x.split()[1]) for x in said.splitlines() if x.startswith("[")]

    with broker(port, tmp_path), plant_process(settings, tmp_path), running(settings):
        master = Master(plc)
        for number in range(1, 6):
            until(lambda: master.coils()[0])
            master.trigger(True)
            until(lambda: master.coils()[1])
            _, results, ok, ng, unsure = poll("0", 16, 5)
            class_id, code, _, of = poll("4", 64, 4)

            def heard() -> dict[str, Any] | None:
                found = listen(port, "millsight/box/last_result", 1, 1)
                told: dict[str, Any] = json.loads(found[0][1]) if found else {}
                return told if told.get("number") == number else None  # noqa: B023

            told = until(heard)
            row = stored(settings)[-1]
            assert (results, of, unsure) == (1, number, 0)
            assert bool(ok) is told["ok"] is (row.verdict == "pass")
            assert bool(ng) is not bool(ok)
            assert code == told["code"] == row.code == 0
            assert site.recipe.classes[class_id] == told["class"] == row.name
            master.results()
        master.client.close()


def test_without_anybody_to_tell_it_says_so(settings: Settings, tmp_path: Path) -> None:
    with plant_process(settings, tmp_path) as process:
        assert process.wait(30) == 1
