"""One patch through the network, against what this core can multiply and add at its best.

Timed: `InferenceSession.run` on one patch, one thread. Yardstick: a product of two float32 matrices
of 1024 × 1024 by NumPy's BLAS on one thread, in a process of its own, for its threads are counted
when it is loaded; that is the peak. Both by processor time. The ratio is the share of the peak that
the network's 70.5 MFLOP reach.
"""

import os
import subprocess
import sys

from device.bench.row import Inputs, Row, affinity, bare, pairs, per_call, row_of

CONVOLUTIONS = ((100, 32, 1), (50, 32, 32), (13, 64, 32), (13, 64, 64))
"""Side of the output, channels out, channels in of each 3 × 3 convolution (Table 1)."""
FLOP = sum(2 * 9 * side**2 * out * into for side, out, into in CONVOLUTIONS)
"""Of one patch, a multiplication and an addition counted as two: 70,530,048."""
SIDE = 1024
PEAK = f"""
import time
import numpy as np
a = np.random.default_rng(0).random(({SIDE}, {SIDE}), np.float32)
times = []
for _ in range(12):
    began = time.thread_time()
    a @ a
    times.append(time.thread_time() - began)
print(min(times))
"""


def measure(inputs: Inputs) -> list[Row]:
    """FLOP per second of one patch, as a share of the peak."""
    patch = inputs.patches[:1]
    least_s = 0.05 if inputs.quick else 0.5

    def figure() -> float:
        return FLOP / per_call(lambda: bare(inputs.model, patch), least_s) / 1e9

    with affinity(1):
        found = pairs(inputs.runs, peak, figure)
    return [row_of("network, one patch, one core", "GFLOP/s", "matrix product", "≥ 0.95", *found)]


def peak() -> float:
    """GFLOP/s of a large matrix product on one thread: the best of twelve."""
    one = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "MKL", "OMP", "BLIS")}
    said = subprocess.run(
        [sys.executable, "-c", PEAK],
        env=os.environ | one,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return 2 * SIDE**3 / float(said) / 1e9
