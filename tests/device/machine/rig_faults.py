"""Breaks one neighbour of the rig after the other, and sees that no part is good that is not.

    python -m tests.device.machine.rig_faults --rounds 20 --json faults.json

While the mill goes on: each fault is held until a part has met it, is ended, and the time is taken
from there to the answer of the first part that is judged again. Every other picture must fail, so
that an OK for the picture of another part would show as well.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from pymodbus.client import ModbusTcpClient

from device.machine.codes import Code
from device.machine.latency import spread
from device.store.database import open_store
from device.store.editing import editing
from device.store.parts import Numbered, last_part, parts_after
from tests.device.machine.rig import Rig, missing, table

MET_S = 30.0
"""Longest wait for a part that meets the fault."""
BACK_S = 60.0
"""Longest wait for a part that is judged again."""
MetBy: TypeAlias = Callable[[Numbered], bool]
"""Whether a part has met the fault."""
Fault: TypeAlias = Callable[[Rig], AbstractContextManager[MetBy]]


def with_code(*codes: Code) -> MetBy:
    """A part with one of these codes."""
    return lambda one: one.part.code in codes


@contextmanager
def camera_killed(rig: Rig) -> Iterator[MetBy]:
    """The camera is switched off, hard."""
    rig.processes["camera"].kill()
    rig.processes["camera"].wait()
    yield with_code(Code.CAMERA, Code.DEADLINE)
    rig.start_camera()


@contextmanager
def packets_lost(rig: Rig) -> Iterator[MetBy]:
    """0.5 % of the camera's packets do not come."""
    rig.processes["camera"].send_signal(signal.SIGUSR1)
    yield lambda one: one.part.name == "incomplete" or one.part.code == Code.DEADLINE
    rig.processes["camera"].send_signal(signal.SIGUSR2)


@contextmanager
def line_unplugged(rig: Rig) -> Iterator[MetBy]:
    """The machine's serial line is pulled out of the box."""
    rig.cable.unplug()
    yield with_code(Code.BAD_LINE)
    rig.cable.plug()


@contextmanager
def line_garbled(rig: Rig) -> Iterator[MetBy]:
    """Every byte of the line is another one."""
    rig.cable.garbles = True
    yield with_code(Code.BAD_LINE)
    rig.cable.garbles = False


@contextmanager
def plc_silent(rig: Rig) -> Iterator[MetBy]:
    """The mill's Modbus master stands still for longer than `silent_s`."""
    pid = rig.master_pid()
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.5)
    yield lambda _one: True
    os.kill(pid, signal.SIGCONT)


@contextmanager
def triggered_twice(rig: Rig) -> Iterator[MetBy]:
    """Somebody else lowers the trigger while a part is judged; the mill raises it again."""
    modbus = rig.settings.machine.modbus
    client = ModbusTcpClient(modbus.host, port=modbus.tcp_port)
    ending = threading.Event()

    def intrude() -> None:
        idle = False
        while not ending.is_set():
            ready, results = client.read_coils(16, count=2, device_id=1).bits[:2]
            if idle and not ready and not results:
                client.write_coil(0, False, device_id=1)
            idle = ready
            time.sleep(0.01)

    client.connect()
    thread = threading.Thread(target=intrude)
    thread.start()
    try:
        yield with_code(Code.NOT_READY)
    finally:
        ending.set()
        thread.join()
        client.close()


@contextmanager
def recipe_edited(rig: Rig) -> Iterator[MetBy]:
    """Somebody begins to edit a recipe between Trigger Ready and the trigger."""
    begun, ending = threading.Event(), threading.Event()

    def edit() -> None:
        begun.wait()
        with editing(rig.settings.device.data):
            ending.wait()

    thread = threading.Thread(target=edit)
    thread.start()
    rig.on_line = begun.set
    try:
        yield with_code(Code.EDITING)
    finally:
        rig.on_line = None
        begun.set()
        ending.set()
        thread.join()


@contextmanager
def broker_down(rig: Rig) -> Iterator[MetBy]:
    """The plant's broker is gone; parts go on."""
    rig.processes["broker"].kill()
    rig.processes["broker"].wait()
    yield lambda one: one.part.code == Code.NONE
    rig.start_broker()


@contextmanager
def light_silent(rig: Rig) -> Iterator[MetBy]:
    """The ring light's controller answers nothing."""
    rig.ring.tell("silent")
    yield with_code(Code.LIGHT)
    rig.ring.tell("good")


FAULTS = (
    camera_killed, packets_lost, line_unplugged, line_garbled, plc_silent, triggered_twice,
    recipe_edited, broker_down, light_silent,
)  # fmt: skip


class Watch:
    """The parts of the rig, as they are recorded."""

    def __init__(self, rig: Rig) -> None:
        self._db = open_store(rig.settings.device.data)

    def close(self) -> None:
        """Give the store back."""
        self._db.close()

    def last(self) -> int:
        """The place of the last part."""
        return last_part(self._db)

    def wait(self, after: int, good: MetBy, seconds: float) -> Numbered:
        """The first such part after a place in the store.

        Raises:
            TimeoutError: none came.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for one in parts_after(self._db, after):
                if good(one):
                    return one
            time.sleep(0.02)
        raise TimeoutError("no such part came")


def break_once(rig: Rig, watch: Watch, fault: Fault) -> tuple[float, list[int]]:
    """Seconds from the end of a fault to the answer of a part that is judged again, and the codes
    of the parts that met it.

    Raises:
        TimeoutError: no part met it, or none was judged again.
    """
    before = watch.last()
    with fault(rig) as met:
        if fault is not plc_silent:
            watch.wait(before, met, MET_S)
        ended_ns = time.monotonic_ns()
    if fault in {camera_killed, broker_down}:
        ended_ns = time.monotonic_ns()  # what is started anew is there now

    def good(one: Numbered) -> bool:
        return one.part.code == Code.NONE and one.part.monotonic_ns > ended_ns

    one = watch.wait(before, good, BACK_S)
    part = one.part
    codes = [n.part.code for n in parts_after(watch._db, before) if n.id < one.id]
    return (part.monotonic_ns - ended_ns) / 1e9 + part.took_ms / 1e3, codes


def run(rig: Rig, rounds: int, faults: Sequence[Fault] = FAULTS) -> dict[str, Any]:
    """Break everything so often; what was met, and how long it took to be good again."""
    found: dict[str, Any] = {}
    watch = Watch(rig)
    with contextlib.closing(watch):
        watch.wait(0, lambda one: one.part.code == Code.NONE, 60)
        for fault in faults:
            seconds: list[float] = []
            codes: set[int] = set()
            for _ in range(rounds):
                back_s, met = break_once(rig, watch, fault)
                seconds.append(back_s)
                codes |= set(met)
            took = spread(seconds)
            found[fault.__name__] = {
                "times": rounds,
                "codes": sorted(codes - {0}),
                "median_s": round(took.median, 2),
                "worst_s": round(took.worst, 2),
            }
            print(fault.__name__, found[fault.__name__], flush=True)
    return found


def main() -> None:
    """Break everything, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if (why := missing()) is not None:
        sys.exit(why)
    faults = [f for f in FAULTS if asked.only in f.__name__]
    rig = Rig(10**6)
    rig.start()
    try:
        found = run(rig, asked.rounds, faults)
    finally:
        rig.stop()
    of_all = table(rig)
    print(json.dumps(of_all, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps({"faults": found, "rig": of_all}, indent=2))
    if of_all["false_ok"] or of_all["twice"]:
        sys.exit("the rig found what must never be")
    shutil.rmtree(rig.folder)


if __name__ == "__main__":
    main()
