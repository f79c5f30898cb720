"""From the start of the program to its first verdict.

Timed: from the start of `millsight device run`, which reads image files, to the first verdict it
prints; the store is there already and the model in use. Yardstick: `python -c "import
onnxruntime"`, from its start to its end.
"""

import time

from device.bench.process import device_process
from device.bench.row import Inputs, Row, pairs, row_of, run_python, timed


def measure(inputs: Inputs) -> list[Row]:
    """Seconds to the first verdict."""

    def figure() -> float:
        with device_process(inputs) as device:
            next(device.verdicts)
            return time.perf_counter() - device.began

    found = pairs(inputs.runs, lambda: timed(lambda: run_python("import onnxruntime")), figure)
    return [row_of("start to first verdict", "s", "import onnxruntime", "≤ 2.5", *found)]
