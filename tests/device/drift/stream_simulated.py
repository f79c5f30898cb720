"""Months of blocks, simulated: autocorrelated as frames of a machine are, with known changes.

A block is five minutes of one frame a second, and its statistics have

- an offset per lot (one to four hours): light 2.5 %, contrast 3 %, sharpness 5 %, scores 0.1 decade
  per class, and a share of defects of its own (Dirichlet, 60 pseudo-counts about 70/15/10/5 %);
- a wandering of half an hour's memory (AR(1)): 2 %, 2 %, 3 %, 0.08 decade;
- for the light the time of day, 1.5 %;
- the noise of single frames (5 %, 15 %, 20 %) and patches (0.7 decade).
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from device.drift.detection import (
    BINS,
    LAG,
    Moved,
    ScoreReference,
    frames_moved,
    kind_of,
)
from device.judging.kls import BINS_PER_DECADE, LEAST_BIN, MOST_BIN, Floats, Ints

BLOCK = 300
DAY = 288
CLASSES = ["clean", "patch", "pitted_surface", "scratch"]
SHARES = np.array([0.7, 0.15, 0.1, 0.05])


@dataclasses.dataclass
class Stream:
    """Blocks of one part and model."""

    looks: Floats
    """float64 [N, 3]."""
    scores: Ints
    """int64 [N, C, BINS]."""


Change = Callable[[Stream, int, np.random.Generator], None]
"""Changes a stream from a block on."""


def stationary(rng: np.random.Generator, days: float) -> Stream:
    """A stream that nothing happens to."""
    n = int(days * DAY)
    ends = np.cumsum(rng.integers(12, 49, n // 12 + 2))
    lot = np.searchsorted(ends, np.arange(n), side="right")

    def of_lot(spread: float) -> Floats:
        return rng.normal(0, spread, len(ends))[lot]

    def wandering(spread: float) -> Floats:
        memory = math.exp(-1 / 6)
        steps = rng.normal(0, spread * math.sqrt(1 - memory**2), n)
        values = np.empty(n)
        value = rng.normal(0, spread)
        for i, step in enumerate(steps):
            value = memory * value + step
            values[i] = value
        return values

    frames = math.sqrt(BLOCK)
    time_of_day = np.sin(2 * np.pi * np.arange(n) / DAY + rng.uniform(0, 2 * np.pi))
    light = of_lot(0.025) + wandering(0.02) + 0.015 * time_of_day + rng.normal(0, 0.05 / frames, n)
    contrast = of_lot(0.03) + wandering(0.02) + rng.normal(0, 0.15 / frames, n)
    sharpness = of_lot(0.05) + wandering(0.03) + rng.normal(0, 0.2 / frames, n)
    looks = np.stack(
        [math.log(100) + light, math.log(0.2) + contrast, math.log(0.1) + sharpness], 1
    )
    mixes = rng.dirichlet(SHARES * 60, len(ends))[lot]
    levels = np.stack([of_lot(0.1) + wandering(0.08) for _ in CLASSES], 1) - 1.5
    scores = np.zeros((n, len(CLASSES), BINS), np.int64)
    for i in range(n):
        counts = rng.multinomial(BLOCK, mixes[i])
        for c, many in enumerate(counts):
            scores[i, c] = _binned(levels[i, c] + rng.normal(0, 0.7, many))
    return Stream(looks, scores)


def _binned(decades: Floats) -> Ints:
    bins = np.clip(np.floor(BINS_PER_DECADE * decades), LEAST_BIN, MOST_BIN).astype(np.int64)
    return np.bincount(bins - LEAST_BIN, minlength=BINS)


def darker(stream: Stream, at: int, _rng: np.random.Generator) -> None:
    """A fifth of the light is gone."""
    stream.looks[at:, 0] += math.log(0.8)


def defocused(stream: Stream, at: int, _rng: np.random.Generator) -> None:
    """Blur of a pixel (σ): what it does to simulated plates, about."""
    stream.looks[at:, 2] += math.log(0.45)
    stream.looks[at:, 1] += math.log(0.85)


def other_steel(stream: Stream, at: int, _rng: np.random.Generator) -> None:
    """A texture with a third more contrast, and scores half a decade up."""
    stream.looks[at:, 1] += math.log(1.33)
    stream.looks[at:, 2] += math.log(1.1)
    stream.scores[at:, :, 2:] = stream.scores[at:, :, :-2].copy()


def new_class(stream: Stream, at: int, rng: np.random.Generator) -> None:
    """Five in a hundred patches show something new: taken for a class, most of it unusual."""
    for i in range(at, len(stream.scores)):
        for c in range(len(CLASSES)):
            known = rng.binomial(stream.scores[i, c], 0.95)
            new = int((stream.scores[i, c] - known).sum())
            stream.scores[i, c] = known + _binned(rng.normal(0.3, 0.4, new))


def watch(
    stream: Stream, reference_blocks: int = DAY, quiet: int = DAY
) -> list[tuple[int, str, list[Moved]]]:
    """The alarms of a stream, as `device.drift.log` raises them: (block, kind, what moved)."""
    looks, scores = stream.looks, stream.scores
    alarms: list[tuple[int, str, list[Moved]]] = []
    last: dict[str, int] = {}
    lasting: dict[str, set[tuple[str, str | None]]] = {}
    size, made = 0, 0
    reference = None
    for i in range(len(looks)):
        # Made anew every hour and not every block: the months take a tenth of the time.
        if size and (size - made >= 12 or size == reference_blocks != made):
            reference, made = ScoreReference(scores[:size]), size
        begin = max(size, i - LAG + 1)
        moved = frames_moved(looks[:size], looks[begin : i + 1])
        if reference is not None:
            moved += reference.moved(scores[begin : i + 1], CLASSES)
        still = {(one.what, one.class_name) for one in moved}
        lasting_before = set(lasting)
        lasting = {kind: what for kind, what in lasting.items() if what & still}
        kind = kind_of(moved)
        news = kind is not None and not lasting_before & {kind} and (
            kind != "new surface" or not lasting_before
        )  # fmt: skip
        if kind is not None and news and i - last.get(kind, -quiet - 1) > quiet:
            alarms.append((i, kind, moved))
            last[kind] = i
            lasting[kind] = still
        elif not moved and i >= size + LAG and size < reference_blocks:
            size += 1
    return alarms
