"""Two cameras on two cores, each with a device process of its own, against one.

Timed: patches per second of all processes together, from the first verdict of the first to the
last flag of the last, each with its own store; nothing holds a process to a core. Yardstick: the
same with one process, which has both cores to itself.
"""

import json
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from config.document import to_toml
from config.load import load_settings
from device.bench.loop import new_device
from device.bench.row import Inputs, Row, affinity, cores, pairs, row_of
from device.bench.source import MemorySource
from device.loop.loop import FrameResult, InspectionLoop

FRAMES, FRAMES_QUICK = 3000, 200
CAMERAS = 2


def measure(inputs: Inputs) -> list[Row]:
    """Frames per second of two processes, against those of one; no row on a single core."""
    if cores() < CAMERAS:
        print("cameras: not measured, for it needs two cores", file=sys.stderr)
        return []
    np.save(inputs.scratch / "patches.npy", inputs.patches)
    with affinity(CAMERAS):
        found = pairs(inputs.runs, lambda: together(inputs, 1), lambda: together(inputs, CAMERAS))
    return [row_of("2 cameras on 2 cores", "frames/s", "1 camera on 2 cores", "≥ 1.8", *found)]


def together(inputs: Inputs, count: int) -> float:
    """Frames per second of so many cameras, started at the same moment."""
    frames = FRAMES_QUICK if inputs.quick else FRAMES
    folder = inputs.scratch / "cameras"
    with ExitStack() as stack:
        processes = []
        for number in range(count):
            settings = new_device(inputs.settings, folder / str(number), inputs.model_file)
            config = settings.device.data / "millsight.toml"
            config.write_text(to_toml(settings), encoding="utf-8")
            arguments = [str(config), str(inputs.scratch / "patches.npy"), str(frames)]
            process = subprocess.Popen(
                [sys.executable, "-m", "device.bench.cameras", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        for process in processes:  # all are ready before one begins
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        ran = [json.loads(process.communicate()[0]) for process in processes]
    shutil.rmtree(folder)
    began, ended = min(one["began"] for one in ran), max(one["ended"] for one in ran)
    return count * (frames - 1) / float(ended - began)


def camera(config: Path, patches: Path, frames: int) -> None:
    """What one of the processes does: it says when it judged first and when it had ended."""
    settings = load_settings(config)
    images = list(np.load(patches))
    began = 0.0

    def note_first(_result: FrameResult) -> None:
        nonlocal began
        began = began or time.monotonic()

    source = MemorySource(images, frames)
    loop = InspectionLoop(settings, lambda _event: None, lambda _report: source, note_first)
    print("ready", flush=True)
    sys.stdin.readline()
    loop.run()
    print(json.dumps({"began": began, "ended": time.monotonic()}))


if __name__ == "__main__":
    camera(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
