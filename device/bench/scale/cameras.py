"""Cameras on one box: the time until each has had its frames judged and its flags stored.

Timed: as the row `cameras` of the bench, each camera with a device process of its own, all on up to
two cores; by the clock. Up to as many cameras as cores the time should stay; from there on it grows
with them.
"""

import sys

import numpy as np

from device.bench.cameras import CAMERAS, together
from device.bench.growth import Growth, growth_of, repeated
from device.bench.row import Inputs, affinity, cores

SIZES = (1, 2, 4, 8)
QUICK = (1, 2, 3)
FRAMES = 1000


def measure(inputs: Inputs) -> list[Growth]:
    """Seconds for 1,000 frames of each camera."""
    if cores() < CAMERAS:
        print("cameras: not measured, for it needs two cores", file=sys.stderr)
        return []
    np.save(inputs.scratch / "patches.npy", inputs.patches)
    with affinity(CAMERAS):
        costs = repeated(
            QUICK if inputs.quick else SIZES,
            inputs.runs,
            lambda count: count * FRAMES / together(inputs, count),
        )
    return [growth_of("cameras", "cameras", f"{FRAMES:,} frames of each, two cores", "s", costs)]
