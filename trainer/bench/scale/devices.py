"""Devices per trainer: merging the night's batches of all of them, 50 answers each.

Timed: `trainer.labels.merge.merge` into a new store, over an exchange that is a folder, and merging
once more, when nothing is new: by the processor time of this process. What it waits for the disk is
left out, for it depends on the disk; it grows with the batches, one transaction each.
"""

import shutil
import time
from pathlib import Path

from device.bench.growth import Growth, growth_of, repeated
from device.bench.row import Inputs
from device.exchange.folder import FolderPlace
from trainer.bench.scale.batches import Picture, pictures, push_batch, site
from trainer.labels.merge import merge
from trainer.publishing.keys import make_keys

SIZES = (10, 30, 100, 300, 1000)
QUICK = (2, 4, 8)
ANSWERS, ANSWERS_QUICK = 50, 5


def measure(inputs: Inputs) -> list[Growth]:
    """Seconds of the first merge, and of one more. Measured once: a thousand devices take long."""
    seen = pictures(ANSWERS_QUICK if inputs.quick else ANSWERS)
    again: dict[int, list[float]] = {}

    def cost(devices: int) -> float:
        first, second = merging(inputs, seen, devices)
        again.setdefault(devices, []).append(second)
        return first

    costs = repeated(QUICK if inputs.quick else SIZES, 1, cost)
    each = f"{len(seen)} answers each"
    return [
        growth_of("devices per trainer", "devices", f"merging {each}", "s", costs),
        growth_of("devices per trainer, nothing new", "devices", "merging again", "s", again),
    ]


def merging(inputs: Inputs, seen: list[Picture], devices: int) -> tuple[float, float]:
    """Processor seconds of merging a batch of each device, and of merging again.

    Raises:
        RuntimeError: an answer did not come through.
    """
    folder = inputs.scratch / "devices"
    settings = site(inputs.settings, folder)
    exchange = Path(settings.exchange.url)
    exchange.mkdir(parents=True)
    make_keys(settings, folder / "stick")
    place = FolderPlace(exchange)
    for number in range(devices):
        push_batch(place, folder, f"box {number}", seen)
    began = time.process_time()
    merged = merge(settings)
    first = time.process_time() - began
    if merged.new_labels != devices * len(seen) or merged.refused:
        raise RuntimeError(f"{merged.new_labels} answers of {devices} devices were merged")
    began = time.process_time()
    merge(settings)
    second = time.process_time() - began
    shutil.rmtree(folder)
    return first, second
