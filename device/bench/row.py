"""Rows of the bench: one figure, its yardstick, and how often it was measured.

Absolute times mean little on a busy machine; the ratio to something measured in turn with them
does. So a row is met by its ratio, never by its value.
"""

import os
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from config.settings import Settings
from device.judging.model import Model
from device.judging.patches import Patches

NO_AIM = "none"


class Row(BaseModel):
    """One figure and its yardstick."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """What was measured."""
    value: float
    """Median over the runs."""
    unit: str
    yardstick: str
    """What the ratio is to."""
    ratio: float
    """Median over the runs of value / yardstick of the same run."""
    aim: str
    """`≥ 0.92`, `≤ 3`, or `none`: told for the sake of the others."""
    met: bool
    """Whether the ratio is as the aim has it; without an aim it is."""
    runs: list[float]
    """The ratio of every run."""

    @model_validator(mode="after")
    def _met_follows(self) -> Self:
        if self.met != is_met(self.ratio, self.aim):
            raise ValueError(f"{self.name}: met does not follow from ratio and aim")
        return self


class Result(BaseModel):
    """What `millsight bench --json` writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str
    """Processor, cores, Python, libraries."""
    rows: list[Row]


def is_met(ratio: float, aim: str) -> bool:
    """Whether a ratio is as an aim has it.

    Raises:
        ValueError: no aim: it is `none`, or `≥` or `≤` and a number.
    """
    if aim == NO_AIM:
        return True
    found = re.fullmatch(r"([≥≤]) (\d+(?:\.\d+)?)", aim)
    if found is None:
        raise ValueError(f"no aim: {aim!r}")
    bound = float(found[2])
    return ratio >= bound if found[1] == "≥" else ratio <= bound


def row_of(
    name: str, unit: str, yardstick: str, aim: str, values: Sequence[float], runs: Sequence[float]
) -> Row:
    """A row from the values and the ratios of all runs."""
    ratio = statistics.median(runs)
    return Row(
        name=name,
        value=statistics.median(values),
        unit=unit,
        yardstick=yardstick,
        ratio=ratio,
        aim=aim,
        met=is_met(ratio, aim),
        runs=list(runs),
    )


@dataclass(frozen=True)
class Inputs:
    """What the rows are measured with."""

    settings: Settings
    """Those of a new device whose recipe has the classes of the model."""
    files: list[Path]
    """Image files."""
    patches: Patches
    """uint8 [N, 200, 200]: the same images, as the network sees them; none has a fault."""
    model_file: Path
    model: Model
    runs: int
    """How often each figure is measured."""
    quick: bool
    """Whether to measure less of everything, to see that it works; figures are then rough."""
    scratch: Path
    """An empty folder, removed at the end."""
    cache: Path
    """A folder that stays, for what takes long to make; may not be there yet."""


class Clocked(NamedTuple):
    """A figure by two clocks."""

    wall: float
    processor: float
    """By the time of all threads of this process."""


def rate_of(count: int, work: Callable[[], object]) -> Clocked:
    """How many a second some work does, by both clocks."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Clocked(count / (time.perf_counter() - wall), count / (time.process_time() - processor))


def pairs(
    runs: int, yardstick: Callable[[], float], figure: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """(values, ratios) of a figure measured in turn with its yardstick.

    The yardstick is taken before and after the figure, so that what slows the machine down in the
    middle of a run hits both.
    """
    yards, figures = [yardstick()], []
    for _ in range(runs):
        figures.append(figure())
        yards.append(yardstick())
    return figures, _ratios(yards, figures)


def pairs_by_clocks(
    runs: int, yardstick: Callable[[], Clocked], figure: Callable[[], Clocked]
) -> tuple[tuple[list[float], list[float]], tuple[list[float], list[float]]]:
    """Like `pairs`, by both clocks at once: what `pairs` returns, by wall and processor.

    By the wall a thread waits its turn on a busy machine, and several threads get more turns than
    one; by processor time only what is done counts, and waiting for a disk costs nothing.
    """
    yards = [yardstick()]
    figures = []
    for _ in range(runs):
        figures.append(figure())
        yards.append(yardstick())
    by_wall, by_processor = (
        ([one[k] for one in figures], _ratios([y[k] for y in yards], [f[k] for f in figures]))
        for k in range(2)
    )
    return by_wall, by_processor


def _ratios(yards: Sequence[float], figures: Sequence[float]) -> list[float]:
    """Of each figure to the mean of the yardsticks before and after it."""
    return [
        2 * figure / (before + after)
        for figure, (before, after) in zip(figures, pairwise(yards), strict=True)
    ]


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that some work takes; by `time.thread_time` of the processor, whatever else runs."""
    began = clock()
    work()
    return clock() - began


def per_call(work: Callable[[], object], least_s: float) -> float:
    """Processor seconds of one call in this thread, repeated until they can be measured."""
    calls, took = 0, 0.0
    while took < least_s:
        began = time.thread_time()
        for _ in range(max(1, calls)):
            work()
        took += time.thread_time() - began
        calls += max(1, calls)
    return took / calls


@contextmanager
def affinity(cores: int | None) -> Iterator[None]:
    """Hold this process, and what it starts, to so many cores for a while; None: to all."""
    allowed = os.sched_getaffinity(0)
    if cores is not None:
        os.sched_setaffinity(0, sorted(allowed)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def bare(model: Model, patches: Patches, at_once: int = 1) -> None:
    """The network alone on patches in memory, so many in a call."""
    run = model.session.run
    for start in range(0, len(patches), at_once):
        run(["log_probabilities"], {"patches": patches[start : start + at_once]})


def repeated(patches: Patches, count: int) -> list[int]:
    """Numbers of `count` patches: all in turn, again and again."""
    return np.resize(np.arange(len(patches)), count).tolist()
