"""From the start of the program to its first verdict.

Timed: from the start of `millsight device run`, which reads image files, to the first verdict it
prints; the store is there already, the model in use, and all modules compiled. Yardstick: `python
-c "import onnxruntime"`, from its start to its end. The second row has the processor time of all
threads of the same programs, which a busy machine changes little.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from device.bench.process import compiled, device_process
from device.bench.row import NO_AIM, Clocked, Inputs, Row, pairs_by_clocks, row_of


def measure(inputs: Inputs) -> list[Row]:
    """Seconds to the first verdict, by both clocks."""

    def figure() -> Clocked:
        with device_process(inputs) as device:
            next(device.verdicts)
            return Clocked(time.perf_counter() - device.began, processor_s(device.process.pid))

    def yardstick() -> Clocked:
        command = [sys.executable, "-c", "import onnxruntime"]
        wall, children = time.perf_counter(), os.times()
        subprocess.run(command, env=compiled(inputs), check=True)
        now = os.times()
        processor = now.children_user + now.children_system
        before = children.children_user + children.children_system
        return Clocked(time.perf_counter() - wall, processor - before)

    for first in (figure, yardstick):  # what is imported is compiled once, as by an installation
        first()
    by_wall, by_processor = pairs_by_clocks(inputs.runs, yardstick, figure)
    name, against = "start to first verdict", "import onnxruntime"
    return [
        row_of(name, "s", against, "≤ 2.5", *by_wall),
        row_of(f"{name}, processor time", "s", against, NO_AIM, *by_processor),
    ]


def processor_s(pid: int) -> float:
    """Processor time of all threads of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
