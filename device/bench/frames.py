"""The whole inspection loop on frames of 1280 × 1024 pixels, a grid of 30 patches each.

Timed: as for `loop`, with frames that are put together from the patches and lie in memory, and with
the JPEG of every frame of which a patch is kept. Yardstick: `InferenceSession.run` on the same
patches, 30 in a call; the third row takes them one by one instead, which costs less.
"""

import numpy as np

from camera.source import GreyImage
from config.settings import PATCH_SIZE
from device.bench.loop import live
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
from device.judging.patches import Patches

HEIGHT, WIDTH = 1024, 1280
ROWS, COLUMNS = HEIGHT // PATCH_SIZE, WIDTH // PATCH_SIZE
PATCHES = ROWS * COLUMNS
FRAMES, FRAMES_QUICK = 100, 8
DIFFERENT = 20
"""Different frames; after them they come again."""


def measure(inputs: Inputs) -> list[Row]:
    """Frames per second of the loop on one core and on all, against bare inference on one."""
    count = FRAMES_QUICK if inputs.quick else FRAMES
    numbers = np.resize(np.arange(len(inputs.patches)), (min(count, DIFFERENT), PATCHES))
    stacks = [inputs.patches[some] for some in numbers]
    images = [frame_of(stack) for stack in stacks]
    recipe = inputs.settings.recipe.model_copy(update={"regions": "grid"})
    settings = inputs.settings.model_copy(update={"recipe": recipe})

    def figure() -> Clocked:
        return live(inputs, lambda _report: MemorySource(images, count), settings).rate

    def yardstick(at_once: int) -> Clocked:
        def run() -> None:
            for stack in stacks:
                bare(inputs.model, stack, at_once)

        return rate_of(len(stacks), run)

    with affinity(1):
        one_core, by_processor = pairs_by_clocks(inputs.runs, lambda: yardstick(PATCHES), figure)
        hardest, _ = pairs_by_clocks(inputs.runs, lambda: yardstick(1), figure)
    all_cores, _ = pairs_by_clocks(inputs.runs, lambda: yardstick(PATCHES), figure)
    name = f"loop, {WIDTH}×{HEIGHT} frames of {PATCHES} patches"
    one = f"{name}, one core"
    together, singly = f"session.run, {PATCHES} patches a call", "session.run, patch by patch"
    return [
        row_of(one, "frames/s", together, "≥ 0.92", *one_core),
        row_of(f"{one}, processor time", "frames/s", together, NO_AIM, *by_processor),
        row_of(one, "frames/s", singly, NO_AIM, *hardest),
        row_of(f"{name}, all cores", "frames/s", together, NO_AIM, *all_cores),
    ]


def frame_of(patches: Patches) -> GreyImage:
    """A frame of 1280 × 1024 pixels: 30 patches, uint8 [30, 200, 200], its edges mirrored."""
    side = PATCH_SIZE
    rows = patches.reshape(ROWS, COLUMNS, side, side).transpose(0, 2, 1, 3)
    middle = rows.reshape(ROWS * side, COLUMNS * side)
    edges = ((0, HEIGHT - ROWS * side), (0, WIDTH - COLUMNS * side))
    return np.asarray(np.pad(middle, edges, mode="symmetric"), np.uint8)
