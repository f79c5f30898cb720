"""The whole inspection loop on patches, against the network alone.

Timed: from the first verdict until every flag is on the disk, the store new, counters kept, no
machine, no page open. Yardstick: `InferenceSession.run`, a call per patch, on the same patches,
with the session of the same model. Both on one core, by the wall clock; the second row has the same
runs by the processor's time, which a busy machine changes little. The pictures are in memory, as a
camera's are; a row of its own adds what reading JPEG files takes, which no camera has to.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from camera.folder import FolderSource
from camera.source import Report, Source
from config.errors import UserError
from config.settings import FolderSource as FolderSettings
from config.settings import Settings
from device.bench.row import (
    NO_AIM,
    Clocked,
    Inputs,
    Row,
    affinity,
    bare,
    pairs_by_clocks,
    rate_of,
    row_of,
)
from device.bench.source import MemorySource
from device.loop.loop import FrameResult, InspectionLoop, Summary
from device.models.activation import activate
from device.store.database import open_store

FRAMES, FRAMES_QUICK = 12_000, 300
"""A fresh store asks most at first; over so many frames some 3 % of them are kept."""


class Lived(NamedTuple):
    """What a loop did."""

    rate: Clocked
    """Frames per second after the first verdict."""
    summary: Summary


def measure(inputs: Inputs) -> list[Row]:
    """Frames per second of the loop on one core, of one that reads files, and of all cores."""
    frames = FRAMES_QUICK if inputs.quick else FRAMES
    images = list(inputs.patches)
    files = inputs.files[:frames]

    def yardstick() -> Clocked:
        return rate_of(len(images), lambda: bare(inputs.model, inputs.patches))

    def figure() -> Clocked:
        return live(inputs, lambda _report: MemorySource(images, frames)).rate

    def with_files() -> Clocked:
        classes = inputs.settings.recipe.classes
        return live(
            inputs, lambda report: FolderSource(FolderSettings(), classes, report, files)
        ).rate

    with affinity(1):
        by_wall, by_processor = pairs_by_clocks(inputs.runs, yardstick, figure)
        reading, _ = pairs_by_clocks(inputs.runs, yardstick, with_files)
    all_cores, _ = pairs_by_clocks(inputs.runs, yardstick, figure)
    name = "loop, 200×200 patches, one core"
    against = "session.run, patch by patch"
    return [
        row_of(name, "frames/s", against, "≥ 0.92", *by_wall),
        row_of(f"{name}, processor time", "frames/s", against, NO_AIM, *by_processor),
        row_of(f"{name}, reading JPEG files", "frames/s", against, NO_AIM, *reading),
        row_of("loop, 200×200 patches, all cores", "frames/s", against, NO_AIM, *all_cores),
    ]


def live(
    inputs: Inputs, source: Callable[[Report], Source], settings: Settings | None = None
) -> Lived:
    """Let a new device inspect what a source gives, to its end.

    Raises:
        UserError: frames were not judged, or no flag was stored: its speed would say nothing.
    """
    settings = new_device(settings or inputs.settings, inputs.scratch / "loop", inputs.model_file)
    first: tuple[float, float] | None = None

    def note_first(_result: FrameResult) -> None:
        nonlocal first
        first = first or (time.perf_counter(), time.process_time())

    loop = InspectionLoop(settings, lambda _event: None, source, note_first)
    summary = loop.run()
    ended = time.perf_counter(), time.process_time()
    shutil.rmtree(settings.device.data)
    if faults := summary.verdicts["fault"]:
        raise UserError(
            f"{faults} of {summary.frames} pictures were not judged; name others with --frames"
        )
    if not summary.kept:
        raise UserError("no picture was flagged; name others with --frames")
    assert first is not None
    wall, processor = ((summary.frames - 1) / (e - f) for e, f in zip(ended, first, strict=True))
    return Lived(Clocked(wall, processor), summary)


def new_device(settings: Settings, data: Path, model_file: Path) -> Settings:
    """The settings of a device with a new store in a folder, the model in use."""
    device = settings.device.model_copy(update={"data": data})
    settings = settings.model_copy(update={"device": device})
    db = open_store(data)
    activate(db, model_file, settings, "bench")
    db.close()
    return settings
