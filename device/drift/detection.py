"""Drift: has what the camera shows, or what the model makes of it, moved from where it was?

Frames follow one another and are alike, so nothing is tested frame by frame. They are gathered in
blocks of minutes; windows of blocks are compared with windows of the reference, and the spread
between the reference's own windows says how much is usual. What moves is named only if it is both
beyond that spread and large enough to matter. docs/drift.md has the reasons and the measurements.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from device.judging.kls import LEAST_BIN, MOST_BIN, Floats, Ints
from device.reports.statistics import beta_cdf

BINS = MOST_BIN - LEAST_BIN + 1
WINDOWS = (2, 12)
"""Lengths of windows in blocks: the short one is quick, the long one sees small changes."""
LAG = max(WINDOWS)
"""Blocks that must follow before one may belong to the reference."""
LEAST_WINDOWS = 4
"""Windows of a reference under which nothing is tested."""
LEAST_PATCHES = 100
"""Patches of a class in a window under which their scores are not compared."""
ALPHA = 3e-6
"""How improbable a deviation must be, by itself."""
PRIOR_WEIGHT = 10.0
"""So many windows weigh as much as the spread that is expected beforehand."""
UNUSUAL = 0.99
"""Patches beyond this share of the reference's scores of their class are called unusual."""

LIGHT, CONTRAST, SHARPNESS = "light", "contrast", "sharpness"
UNUSUAL_SHARE, SCORE, MIX = "unusual", "score", "mix"


class Tolerance(NamedTuple):
    """How much of a statistic is let pass."""

    margin: float
    """The smallest change that matters to anybody."""
    usual: float
    """The spread between windows that is expected until the reference shows its own."""


FRAMES = {
    LIGHT: Tolerance(math.log(1.1), 0.03),
    CONTRAST: Tolerance(math.log(1.15), 0.04),
    SHARPNESS: Tolerance(math.log(1.25), 0.06),
}
"""Of the logarithms of grey mean, contrast over mean, and sharpness."""
SCORES = {
    UNUSUAL_SHARE: Tolerance(0.06, 0.03),
    SCORE: Tolerance(0.1, 0.05),
    MIX: Tolerance(0.12, 0.08),
}
"""Of the mean rank of a class's scores, from 0 to 1, and of shares as arcsin √share, whose spread
does not hang on the share."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some minutes of judged frames."""

    frames: int
    looks: Floats
    """float64 [3]: mean logarithm of grey mean, of contrast over mean, of sharpness."""
    scores: Ints
    """int64 [C, BINS]: patches by predicted class and score; C is 0 without a model."""


class Moved(NamedTuple):
    """Something that is not as it was."""

    what: str
    """`light`, `contrast`, `sharpness`, `unusual`, `score` or `mix`."""
    class_name: str | None
    """Of a score or a mix."""
    before: float
    """Grey value, contrast over mean, or sharpness; a share; a mean rank."""
    after: float
    size: float
    """Change over the margin, without sign; 1 is what just matters."""


def frames_moved(reference: Floats, recent: Floats) -> list[Moved]:
    """Which frame statistics moved, the most first.

    `reference` is [R, 3], `recent` [B, 3], both in the order of time; R may still grow.
    """
    found: dict[str, Moved] = {}
    for length in WINDOWS:
        if len(recent) < length:
            continue
        before = _window_means(reference, length)
        if len(before) < LEAST_WINDOWS:
            continue
        now = recent[-length:].mean(axis=0)
        for i, (what, tolerance) in enumerate(FRAMES.items()):
            if _deviates(before[:, i], float(now[i]), tolerance):
                middle = float(before[:, i].mean())
                size = abs(float(now[i]) - middle) / tolerance.margin
                moved = Moved(what, None, math.exp(middle), math.exp(float(now[i])), size)
                if what not in found or size > found[what].size:
                    found[what] = moved
    return sorted(found.values(), key=lambda moved: -moved.size)


class ScoreReference:
    """The scores of a reference, against which recent ones are compared."""

    def __init__(self, scores: Ints) -> None:
        """`scores` is [R, C, BINS]."""
        self._scores = scores
        total = scores.sum(axis=0)
        counts = total.sum(axis=1, keepdims=True)
        shares = np.divide(total, counts, out=np.zeros(total.shape), where=counts > 0)
        self._below = np.cumsum(shares, axis=1) - shares
        self._ranks = self._below + shares / 2
        self._windows = {length: self._values(_window_sums(scores, length)) for length in WINDOWS}

    def moved(self, recent: Ints, classes: list[str]) -> list[Moved]:
        """What moved in the scores of recent blocks [B, C, BINS], the most first."""
        found: dict[tuple[str, str | None], Moved] = {}
        for length, before in self._windows.items():
            if len(recent) < length or len(before) < LEAST_WINDOWS:
                continue
            now = self._values(recent[-length:].sum(axis=0)[None])[0]
            for i, value in enumerate(now.tolist()):
                what, class_name = self._column(i, classes)
                usual = before[:, i][np.isfinite(before[:, i])]
                tolerance = SCORES[what]
                if len(usual) < LEAST_WINDOWS or not _deviates(
                    usual, value, tolerance, upwards=what != MIX
                ):
                    continue
                middle = float(usual.mean())
                size = abs(value - middle) / tolerance.margin
                moved = Moved(what, class_name, middle, value, size)
                if what != SCORE:
                    moved = moved._replace(before=math.sin(middle) ** 2, after=math.sin(value) ** 2)
                key = what, class_name
                if key not in found or moved.size > found[key].size:
                    found[key] = moved
        return sorted(found.values(), key=lambda moved: -moved.size)

    def _values(self, windows: Ints) -> Floats:
        """Of windows [M, C, BINS]: [M, 1 + 2 C] unusual share, mean ranks, class shares."""
        counts = windows.sum(axis=2)
        total = counts.sum(axis=1, keepdims=True).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            unusual = (windows * (self._below >= UNUSUAL)).sum(axis=(1, 2))[:, None] / total
            ranks = (windows * self._ranks).sum(axis=2) / counts
            mix = counts / total
        ranks[counts < LEAST_PATCHES] = np.nan
        shares = np.arcsin(np.sqrt(np.concatenate([unusual, mix], axis=1)))
        return np.concatenate([shares[:, :1], ranks, shares[:, 1:]], axis=1)

    @staticmethod
    def _column(i: int, classes: list[str]) -> tuple[str, str | None]:
        if i == 0:
            return UNUSUAL_SHARE, None
        part, number = divmod(i - 1, len(classes))
        return (SCORE, MIX)[part], classes[number]


def _deviates(usual: Floats, now: float, tolerance: Tolerance, *, upwards: bool = False) -> bool:
    """Whether a value is off the usual ones, and by more than the margin.

    A moderated t-test: with M windows whose neighbours correlate by r, M' = M (1 - r) / (1 + r)
    of them are independent; their variance is averaged with that expected beforehand.
    """
    middle = float(usual.mean())
    off = now - middle
    if math.isnan(now) or (off if upwards else abs(off)) <= tolerance.margin:
        return False
    many = len(usual)
    centred = usual - middle
    squares = float(centred @ centred)
    correlation = float(centred[1:] @ centred[:-1]) / squares if squares else 0.0
    correlation = min(max(correlation, 0.0), 0.9)
    independent = max(1.0, many * (1 - correlation) / (1 + correlation))
    freedom = independent - 1 + PRIOR_WEIGHT
    variance = (
        (independent - 1) * squares / (many - 1) + PRIOR_WEIGHT * tolerance.usual**2
    ) / freedom
    t = off / math.sqrt(variance * (1 + 1 / independent))
    return beta_cdf(freedom / (freedom + t * t), freedom / 2, 0.5) < ALPHA


def _window_means(blocks: Floats, length: int) -> Floats:
    """Means over whole windows of the first blocks."""
    many = len(blocks) // length
    return np.asarray(blocks[: many * length].reshape(many, length, *blocks.shape[1:]).mean(axis=1))


def _window_sums(blocks: Ints, length: int) -> Ints:
    """Sums over whole windows of the first blocks."""
    many = len(blocks) // length
    return np.asarray(blocks[: many * length].reshape(many, length, *blocks.shape[1:]).sum(axis=1))


# --- what it may be -----------------------------------------------------------------------------

LENS, MATERIAL, NEW_SURFACE = "lens", "material", "new surface"
KINDS = (LIGHT, LENS, MATERIAL, NEW_SURFACE)


def kind_of(moved: list[Moved]) -> str | None:
    """What has probably happened, from what moved; None: nothing moved.

    Less light darkens and keeps contrast over mean and sharpness. Blur takes sharpness, and with
    it contrast. Another material changes contrast or sharpness in any other way. Where pictures
    are as ever and scores are not, it is what is on them that is new.
    """
    sizes = {one.what: one.size for one in moved if one.what in FRAMES}
    if not sizes:
        return NEW_SURFACE if moved else None
    sharp = next((one for one in moved if one.what == SHARPNESS), None)
    if sharp is not None and sharp.after < sharp.before and sharp.size >= sizes.get(LIGHT, 0.0):
        contrast = next((one for one in moved if one.what == CONTRAST), None)
        if contrast is None or contrast.after < contrast.before:
            return LENS
    return LIGHT if max(sizes, key=lambda what: sizes[what]) == LIGHT else MATERIAL


# --- from frames to blocks ----------------------------------------------------------------------


class Gathering:
    """The block that is being gathered, frame by frame: a few sums, no array per frame."""

    def __init__(self, classes: int) -> None:
        self.frames = 0
        self._sums = [0.0, 0.0, 0.0]
        self._scores = [[0] * BINS for _ in range(classes)]

    def add_frame(self, mean: float, contrast: float, sharpness: float) -> None:
        """Add a judged frame's statistics, as the quality gate found them."""
        self.frames += 1
        sums = self._sums
        # A frame may be black or smooth where the gate was told to let it pass.
        sums[0] += math.log(max(mean, 1e-3))
        sums[1] += math.log(max(contrast, 1e-3) / max(mean, 1e-3))
        sums[2] += math.log(max(sharpness, 1e-6))

    def add_scores(self, predicted: Sequence[int], bins: Sequence[int]) -> None:
        """Add N patches by predicted class and bin (`device.judging.kls.score_bins`)."""
        for c, number in zip(predicted, bins, strict=True):
            self._scores[c][number - LEAST_BIN] += 1

    def block(self) -> Block:
        """What was gathered; at least one frame."""
        looks: NDArray[np.float64] = np.array(self._sums) / self.frames
        return Block(self.frames, looks, np.array(self._scores, np.int64).reshape(-1, BINS))
