"""The memory of a device.

Measured: the largest resident set (VmHWM) of `millsight device run`, which reads image files, after
so many verdicts. Yardstick: that of a Python that only imports onnxruntime and cv2.
"""

import subprocess
import sys
from itertools import islice
from pathlib import Path

from config.errors import UserError
from device.bench.process import compiled, device_process
from device.bench.row import Inputs, Row, pairs, row_of

VERDICTS, VERDICTS_QUICK = 1000, 100
IMPORTING = "import onnxruntime, cv2, sys; print(flush=True); sys.stdin.read()"


def measure(inputs: Inputs) -> list[Row]:
    """Megabytes of the device process."""
    verdicts = VERDICTS_QUICK if inputs.quick else VERDICTS

    def figure() -> float:
        with device_process(inputs) as device:
            next(islice(device.verdicts, verdicts, None))
            return peak_memory_mb(device.process.pid)

    found = pairs(inputs.runs, lambda: importing_mb(inputs), figure)
    return [row_of("memory of device run", "MB", "importing onnxruntime and cv2", "≤ 1.6", *found)]


def importing_mb(inputs: Inputs) -> float:
    """Largest resident set in MB of a process that only imports the two big libraries."""
    with subprocess.Popen(
        [sys.executable, "-c", IMPORTING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=compiled(inputs),
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = peak_memory_mb(process.pid)
        process.communicate(b"")
    return found


def peak_memory_mb(pid: int) -> float:
    """The largest resident set so far of a process, in MB.

    Raises:
        UserError: this system does not tell it.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError as error:
        raise UserError(f"/proc/{pid}/status: {error.strerror}") from None
    return next(
        int(line.split()[1]) * 1024 / 1e6
        for line in status.splitlines()
        if line.startswith("VmHWM")
    )
