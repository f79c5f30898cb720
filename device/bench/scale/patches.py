"""Patches per frame: the time of cutting a frame and judging all of its patches, to its verdict.

Timed: `Cutter.cut`, `judge` and `frame_verdict` on one core, by processor time.
"""

from functools import partial

import numpy as np

from config.settings import PATCH_SIZE
from device.bench.growth import Growth, growth_of, repeated
from device.bench.row import Inputs, affinity, per_call
from device.judging.model import Model
from device.judging.patches import Cutter, Patches
from device.judging.verdict import frame_verdict, judge

SIZES = (1, 2, 4, 8, 16, 32, 64)
QUICK = (1, 2, 4, 8)


def measure(inputs: Inputs) -> list[Growth]:
    """Milliseconds a frame."""
    recipe = inputs.settings.recipe.model_copy(update={"regions": "grid"})
    cutter = Cutter(recipe)
    least_s = 0.05 if inputs.quick else 0.3

    def cost(size: int) -> float:
        frame = frame_of(inputs.patches, size)
        return 1000 * per_call(partial(one_frame, inputs.model, cutter, frame), least_s)

    with affinity(1):
        costs = repeated(QUICK if inputs.quick else SIZES, inputs.runs, cost)
    return [growth_of("patches per frame", "patches", "a frame judged, one core", "ms", costs)]


def frame_of(patches: Patches, size: int) -> Patches:
    """A frame of so many patches side by side, in up to eight columns: uint8 [H, W]."""
    columns = min(size, 8)
    chosen = patches[np.resize(np.arange(len(patches)), size)]
    rows = chosen.reshape(-1, columns, PATCH_SIZE, PATCH_SIZE)
    return np.ascontiguousarray(rows.swapaxes(1, 2).reshape(-1, columns * PATCH_SIZE))


def one_frame(model: Model, cutter: Cutter, frame: Patches) -> int:
    """What the loop does with a frame, without keeping it; how many patches it had."""
    cut = cutter.cut(frame)
    judged = judge(model, cut.patches)
    frame_verdict(judged.predicted.tolist(), judged.unsure.tolist(), model.passes)
    return len(cut.patches)
