"""One training step, against what the cores can multiply and add in single precision at best.

Timed: a step of `trainer.learning.training.optimise`, which is what a night runs: 32 views,
forward, backward, both optimisers, the running average. Yardstick: `device.bench.network.peak`
times the cores. The ratio is the share of that peak which 211.6 MFLOP an image make: forward, and
twice as much backward. On a CPU that multiplies bfloat16 natively a step does so, and may pass 1;
what the same step reaches in single precision stands in a row of its own.

With one core by processor time, which other work on the machine spoils least; with all cores by
the clock, for threads that wait burn processor time too. All cores only where they are idle tell
anything (one that is busy holds up all), so `--quick` leaves them out.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from device.bench.network import FLOP, peak
from device.bench.row import NO_AIM, Inputs, Row, affinity, cores, pairs, row_of
from trainer.learning.networks import make_network
from trainer.learning.training import Training, has_bfloat16, keep_large_buffers, optimise

STEP_FLOP = 3 * FLOP
"""Of one image: 211.6 MFLOP. That the first convolution needs no gradient of its input is not
taken off."""
AIM = "≥ 0.7"


def measure(inputs: Inputs) -> list[Row]:
    """FLOP per second of a step, as a share of the peak."""
    keep_large_buffers()
    formats = {"bfloat16": True, "float32": False} if has_bfloat16() else {"float32": False}
    rows = []
    for name, half_precision in formats.items():
        in_use = half_precision == has_bfloat16()
        for count in sorted({1, cores()})[: 1 if inputs.quick else None]:
            clock = time.process_time if count == 1 else time.perf_counter
            with affinity(count), threads(count):
                step = steps(inputs, half_precision=half_precision, clock=clock)
                found = pairs(inputs.runs, lambda n=count: n * peak(), step)  # type: ignore[misc]
            where = "one core" if count == 1 else f"{count} cores"
            aim = AIM if in_use else NO_AIM
            rows.append(
                row_of(f"training step, {name}, {where}", "GFLOP/s", "matrix product", aim, *found)
            )
    return rows


def steps(
    inputs: Inputs, *, half_precision: bool, clock: Callable[[], float]
) -> Callable[[], float]:
    """What runs some steps and tells their GFLOP/s: of the median step."""
    torch.manual_seed(0)
    classes = len(inputs.settings.recipe.classes)
    labels = np.arange(len(inputs.patches)) % classes
    training = Training(fewest_steps=1_000_000, most_steps=1_000_000)
    network = make_network(training.network, classes, training.dropout)
    average = [torch.zeros_like(p) for p in network.parameters()]
    course = optimise(
        network, average, inputs.patches, labels, training, np.random.default_rng(0),
        half_precision=half_precision,
    )  # fmt: skip
    for _ in range(3):  # the first ones choose algorithms and get memory
        next(course)

    def figure() -> float:
        times = []
        for _ in range(3 if inputs.quick else 15):
            began = clock()
            next(course)
            times.append(clock() - began)
        return training.batch * STEP_FLOP / statistics.median(times) / 1e9

    return figure


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Have torch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
