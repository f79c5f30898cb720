"""From the start of the program to its first verdict.

Timed: from the start of `millsight device run`, which reads image files, to the first verdict it
prints; the store is there already, the model in use, and all modules compiled. Yardstick: `python
-c "import onnxruntime"`, from its start to its end.
"""

import subprocess
import sys
import time

from device.bench.process import compiled, device_process
from device.bench.row import Inputs, Row, pairs, row_of, timed


def measure(inputs: Inputs) -> list[Row]:
    """Seconds to the first verdict."""

    def figure() -> float:
        with device_process(inputs) as device:
            next(device.verdicts)
            return time.perf_counter() - device.began

    def yardstick() -> float:
        command = [sys.executable, "-c", "import onnxruntime"]
        return timed(lambda: subprocess.run(command, env=compiled(inputs), check=True))

    for first in (figure, yardstick):  # what is imported is compiled once, as by an installation
        first()
    found = pairs(inputs.runs, yardstick, figure)
    return [row_of("start to first verdict", "s", "import onnxruntime", "≤ 2.5", *found)]
