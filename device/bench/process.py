"""`millsight device run` as the process that a box runs, watched from outside."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from config.document import to_toml
from config.settings import FolderSource
from device.bench.loop import new_device
from device.bench.row import Inputs

OURS = {"PYTHONDONTWRITEBYTECODE", "OPENBLAS_NUM_THREADS"}
"""Of the environment: what no installation has, and what the bench sets for itself."""


class Running(NamedTuple):
    """A device."""

    process: "subprocess.Popen[str]"
    began: float
    """When it was started, as `time.perf_counter` has it."""
    verdicts: Iterator[Any]
    """Its verdicts as they come, as `millsight device run --verdicts` prints them."""


@contextmanager
def device_process(inputs: Inputs) -> Iterator[Running]:
    """A new device that inspects the image files again and again, until the end of the block."""
    data = inputs.scratch / "device"
    folder = _links(inputs)
    camera = inputs.settings.camera.model_copy(
        update={"source": "folder", "folder": FolderSource(path=folder, repeat=True)}
    )
    settings = inputs.settings.model_copy(update={"camera": camera})
    settings = new_device(settings, data, inputs.model_file)
    config = data / "millsight.toml"
    config.write_text(to_toml(settings), encoding="utf-8")
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "millsight", "device", "run", "-c", str(config), "--verdicts"],
        stdout=subprocess.PIPE,
        env=compiled(inputs),
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = (json.loads(line) for line in process.stdout if line.startswith("{"))
        yield Running(process, began, lines)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
        shutil.rmtree(data)


def compiled(inputs: Inputs) -> dict[str, str]:
    """The environment of a Python that keeps what it has compiled, as an installation has it."""
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return kept | {"PYTHONPYCACHEPREFIX": str(inputs.scratch / "bytecode")}


def _links(inputs: Inputs) -> Path:
    """A folder of nothing but the image files that are measured with."""
    folder = inputs.scratch / "links"
    if not folder.is_dir():
        folder.mkdir()
        for i, file in enumerate(inputs.files):
            (folder / f"{i:05}{file.suffix}").symlink_to(file.resolve())
    return folder
