"""Keeping flagged patches: PNG, rows, on the disk.

Timed: from the first patch that is handed to the keeper until the flag of the last is reported,
which happens after its commit; the keeper commits what waits together. Yardstick: the same bytes
(PNGs, and as many as the rows hold) appended to a file, with an `fsync` after each patch.

The second row is what the thread that judges waits when it hands a patch over, every patch of
1,000 flagged and the network running between them: the 99th percentile of single hand-overs
against that network.
"""

import json
import os
import shutil
import threading
import time
from typing import NamedTuple

import numpy as np

from camera.source import Event, Frame
from config.settings import Region
from device.bench.loop import new_device
from device.bench.row import NO_AIM, Inputs, Row, bare, pairs, repeated, row_of, timed
from device.judging.alike import fingerprint
from device.loop.keeper import Keeper, KeptFrame, KeptPatch
from device.store.pictures import encode_png

PATCHES, PATCHES_QUICK = 1000, 60
WHOLE = Region(x=0, y=0, width=200, height=200)


def measure(inputs: Inputs) -> list[Row]:
    """Patches kept per second, and how long one hand-over takes."""
    count = PATCHES_QUICK if inputs.quick else PATCHES
    kept = [_flagged(inputs, i, number) for i, number in enumerate(repeated(inputs.patches, count))]
    contents = [encode_png(one.patches[0].pixels) + json.dumps(_row(one)).encode() for one in kept]
    rate = pairs(
        inputs.runs,
        lambda: count / timed(lambda: _write(inputs, contents)),
        lambda: count / _keep(inputs, kept).seconds,
    )
    some = inputs.patches[:200]
    waits = pairs(
        inputs.runs,
        lambda: 1e6 * timed(lambda: bare(inputs.model, some)) / len(some),
        lambda: 1e6 * _keep(inputs, kept, judging=True).longest_s,
    )
    return [
        row_of("keeping a flagged patch", "patches/s", "fsynced write", "≥ 0.5", *rate),
        row_of("hand-over of a flagged patch, p99", "µs", "its inference", NO_AIM, *waits),
    ]


class Kept(NamedTuple):
    """How long it took."""

    seconds: float
    """Until all were on the disk."""
    longest_s: float
    """99th percentile of single hand-overs."""


def _keep(inputs: Inputs, kept: list[KeptFrame], *, judging: bool = False) -> Kept:
    """Hand flagged patches to the keeper of a new store; with the network between, if judging."""
    settings = new_device(inputs.settings, inputs.scratch / "keeping", inputs.model_file)
    stored, all_stored = 0, threading.Event()

    def report(event: Event) -> None:
        nonlocal stored
        stored += event.kind == "flagged"
        if stored == len(kept):
            all_stored.set()

    keeper = Keeper(settings, report)
    keeper.start()
    waits = []
    began = time.perf_counter()
    for one in kept:
        if judging:
            bare(inputs.model, one.patches[0].pixels[None])
        handed = time.perf_counter()
        keeper.put(one)
        waits.append(time.perf_counter() - handed)
    all_stored.wait()
    took = time.perf_counter() - began
    keeper.close()
    shutil.rmtree(settings.device.data)
    return Kept(took, float(np.quantile(waits, 0.99)))


def _write(inputs: Inputs, contents: list[bytes]) -> None:
    """Append to a file, each content durable before the next."""
    path = inputs.scratch / "raw"
    with path.open("wb") as file:
        for content in contents:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    path.unlink()


def _flagged(inputs: Inputs, i: int, number: int) -> KeptFrame:
    """A frame that is one flagged patch, as the loop hands it over."""
    pixels = inputs.patches[number]
    classes = inputs.settings.recipe.classes
    predicted = classes[i % len(classes)]
    patch = KeptPatch(
        f"{i:064x}", pixels, WHOLE, "uncertain", 0.5, predicted,
        log_probabilities=[-1.5] * len(classes), fingerprint=fingerprint(pixels),
    )  # fmt: skip
    frame = Frame(pixels, i, time.monotonic_ns(), time.time_ns(), "memory")
    return KeptFrame(
        frame, "default", "plate", "L-1", 1, inputs.model.id, "unsure", predicted, [patch]
    )


def _row(kept: KeptFrame) -> list[object]:
    """What the rows of a flagged patch hold besides its picture."""
    patch, frame = kept.patches[0], kept.frame
    return [
        patch.id, patch.id, patch.id, kept.model_id, frame.sequence, frame.monotonic_ns,
        frame.wall_ns, frame.origin, kept.recipe, kept.part, kept.lot, kept.verdict,
        patch.reason, patch.predicted, patch.score, patch.log_probabilities,
    ]  # fmt: skip
