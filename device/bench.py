"""`millsight bench`: speed and memory on this machine, each beside a yardstick of the same run.

Absolute times mean little on a busy machine; ratios to something measured in turn with them do.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

from camera.folder import FolderSource, find_images, read_grey
from config.cli import Config
from config.document import to_toml
from config.errors import UserError
from config.load import load_settings
from config.recipes import Under
from config.settings import FolderSource as FolderSettings
from config.settings import Settings
from device.activation import activate, model_path
from device.inspect_images import model_for
from device.loop import FrameResult, InspectionLoop
from device.model import Model
from device.patches import Patches, to_patch
from device.store import in_force, open_store

MOST_IMAGES = 2000


@dataclass(frozen=True, slots=True)
class Row:
    """One figure and its yardstick."""

    name: str
    value: float
    """Median over the runs."""
    unit: str
    yardstick: str
    ratio: float
    """Median over the runs of value / yardstick of the same run."""
    aim: str
    met: bool
    runs: list[float]
    """The ratio of every run."""


def bench(
    config: Config = None,
    *,
    frames: Path | None = None,
    model: Path | None = None,
    runs: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 5,
    json_file: Annotated[Path | None, Parameter("--json")] = None,
) -> None:
    """Measure the inspection loop, its memory and its start against yardsticks of the same run.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    frames
        Folder of images to inspect. Default: camera.folder.path.
    model
        The model file. Default: the model in use.
    runs
        How often each figure is measured.
    json_file
        File for the figures.
    """
    settings = load_settings(config)
    folder = frames or settings.camera.folder.path
    if folder is None:
        raise UserError("no images to measure with: name a folder with --frames")
    files = find_images(folder)[:MOST_IMAGES]
    model_file = model or _model_in_use(settings)
    loaded = model_for(Under(settings), model_file)
    patches = np.stack([to_patch(read_grey(file)) for file in files])
    rows = [
        loop_row(settings, files, model_file, loaded, patches, runs, one_core=False),
        loop_row(settings, files, model_file, loaded, patches, runs, one_core=True),
        *process_rows(settings, folder, model_file, runs),
    ]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    table = Table("figure", "median", "yardstick", "ratio", "spread", "aim", "met", title=machine)
    for row in rows:
        table.add_row(
            row.name, f"{row.value:.4g} {row.unit}", row.yardstick, f"{row.ratio:.3f}",
            f"{min(row.runs):.3f}–{max(row.runs):.3f}", row.aim, "yes" if row.met else "no",
        )  # fmt: skip
    Console().print(table)
    if json_file is not None:
        result = {"machine": machine, "rows": [asdict(row) for row in rows]}
        json_file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def loop_row(
    settings: Settings,
    files: list[Path],
    model_file: Path,
    model: Model,
    patches: Patches,
    runs: int,
    *,
    one_core: bool,
) -> Row:
    """Frames per second of the whole loop, flags stored, against bare inference of the patches.

    The loop reads image files; its time runs from the first verdict until every flag is on the
    disk. The yardstick is one call per patch on one thread, its patches in memory.
    """
    rates, ratios = [], []
    with affinity(one_core):
        for _ in range(runs):
            bare = len(patches) / timed(lambda: bare_inference(model, patches))
            rate = loop_rate(settings, files, model_file)
            rates.append(rate)
            ratios.append(rate / bare)
    ratio = statistics.median(ratios)
    where = "one core" if one_core else "all cores"
    return Row(
        f"loop, {where}",
        statistics.median(rates),
        "frames/s",
        "bare session.run",
        ratio,
        "≥ 0.85" if not one_core else "none",
        ratio >= 0.85,
        ratios,
    )


def bare_inference(model: Model, patches: Patches) -> None:
    """The network alone on patches in memory, one by one."""
    for index in range(len(patches)):
        model.session.run(["log_probabilities"], {"patches": patches[index : index + 1]})


def loop_rate(settings: Settings, files: list[Path], model_file: Path) -> float:
    """Frames per second of a device that inspects image files, its store new and its flags kept."""
    with tempfile.TemporaryDirectory() as data:
        device = settings.device.model_copy(update={"data": Path(data)})
        settings = settings.model_copy(update={"device": device})
        db = open_store(Path(data))
        activate(db, model_file, settings, "bench")
        db.close()
        first = 0.0

        def note_first(_result: FrameResult) -> None:
            nonlocal first
            first = first or time.monotonic()

        loop = InspectionLoop(
            settings,
            lambda _event: None,
            lambda report: FolderSource(FolderSettings(), settings.recipe.classes, report, files),
            note_first,
        )
        loop.run()
        return (loop.summary.frames - 1) / (time.monotonic() - first)


def process_rows(settings: Settings, folder: Path, model_file: Path, runs: int) -> Iterator[Row]:
    """Start to first verdict, and resident memory, of `millsight device run` as a process."""
    imports = [sys.executable, "-c", "import onnxruntime"]
    starts, start_ratios, memories, memory_ratios = [], [], [], []
    with tempfile.TemporaryDirectory() as data:
        camera = settings.camera.model_copy(
            update={"source": "folder", "folder": FolderSettings(path=folder.resolve())}
        )
        device = settings.device.model_copy(update={"data": Path(data)})
        settings = settings.model_copy(update={"camera": camera, "device": device})
        config = Path(data) / "millsight.toml"
        config.write_text(to_toml(settings), encoding="utf-8")
        db = open_store(Path(data))
        activate(db, model_file, settings, "bench")
        db.close()
        run = [sys.executable, "-m", "millsight", "device", "run", "-c", str(config), "--verdicts"]
        for _ in range(runs):
            yardstick = timed(lambda: subprocess.run(imports, check=True))
            first, memory = first_verdict(run)
            starts.append(first)
            start_ratios.append(first / yardstick)
            memories.append(memory)
            memory_ratios.append(memory / importing_memory())
    start, memory = statistics.median(starts), statistics.median(memories)
    yield Row(
        "start to first verdict", start, "s", "importing onnxruntime",
        statistics.median(start_ratios), "≤ 2 s", start <= 2, start_ratios,
    )  # fmt: skip
    yield Row(
        "memory of device run", memory, "MB",
        "importing onnxruntime, cv2",
        statistics.median(memory_ratios), "≤ 200 MB", memory <= 200, memory_ratios,
    )  # fmt: skip


def first_verdict(command: list[str]) -> tuple[float, float]:
    """Seconds from start to the first verdict, and the largest resident memory in MB at the end."""
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = memory = 0.0
        for line in process.stdout:
            if line.startswith("{") and not first:
                first = time.monotonic() - began
            if line.startswith("ended: "):
                break
            if line.startswith("{") and int(json.loads(line)["sequence"]) % 100 == 99:
                memory = peak_memory(process.pid)
        process.communicate()
    return first, memory


def importing_memory() -> float:
    """Largest resident memory in MB of a process that only imports the two big libraries."""
    code = "import onnxruntime, cv2, sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        memory = peak_memory(process.pid)
        process.communicate(b"")
    return memory


def peak_memory(pid: int) -> float:
    """The largest resident set so far of a process, in MB (VmHWM)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(kilobytes[0]) * 1024 / 1e6 if kilobytes else 0.0


@contextmanager
def affinity(one_core: bool) -> Iterator[None]:
    """Hold this process, and the threads it starts, to one core for a while."""
    allowed = os.sched_getaffinity(0)
    if one_core:
        os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _model_in_use(settings: Settings) -> Path:
    db = open_store(settings.device.data)
    model_id = in_force(db).model_id
    db.close()
    if model_id is None:
        raise UserError(f"{settings.device.data}: no model in use yet; name one with --model")
    return model_path(settings.device.data, model_id)
