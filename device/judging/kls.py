"""KLS: how unsure the model is of a patch (Eq. 1–6 of the paper), in plain NumPy.

Device and trainer score with these functions and no others. Everything is computed from the
network's log-probabilities in float64, so that a probability too small for float32 still has a
finite logarithm, and no epsilon is needed. A patch or two are scored in Python's own numbers
(`score_row`), which spares ten calls of NumPy.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

FLOOR = 1e-3
"""Probability under which `kls_floor` sees no difference between distributions."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """The average PDC of the labelled patches predicted as each class (Eq. 4)."""

    pdc: Floats
    """float64 [C, C]; row c is class c's baseline, NaN where no labelled patch was predicted c."""
    counts: Ints
    """int64 [C]: labelled patches behind each row (N of Eq. 4)."""


def predicted_classes(log_probabilities: NDArray[np.floating]) -> Ints:
    """The most probable class of each patch (Eq. 2): [N, C] to int64 [N]; ties: the first."""
    return np.asarray(np.argmax(log_probabilities, axis=1))


def fit_baselines(log_probabilities: NDArray[np.floating]) -> Baselines:
    """The baselines of a model from its predictions on all labelled patches (Eq. 3, 4).

    `log_probabilities` is [N, C]. Grouping is by *predicted* class, as the paper has it.
    """
    log_p = np.asarray(log_probabilities, np.float64)
    classes = log_p.shape[1]
    predicted = predicted_classes(log_p)
    counts = np.bincount(predicted, minlength=classes)
    sums = np.zeros((classes, classes))
    np.add.at(sums, predicted, np.exp(log_p))
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of a class without a baseline
        return Baselines(sums / counts[:, None], counts)


def kls(log_probabilities: NDArray[np.floating], baselines: Baselines) -> Floats:
    """KL divergence of each patch's PDC from its predicted class's baseline, in nats (Eq. 5, 6).

    `log_probabilities` is [N, C], the result float64 [N]. It is +inf where the class has no
    baseline, where a probability is 0 that the baseline holds possible, and where the network
    gave NaN: nothing of that kind may count as confident.
    """
    log_p = np.asarray(log_probabilities, np.float64)
    return _divergence(baselines.pdc[predicted_classes(log_p)], log_p)


def kls_floor(
    log_probabilities: NDArray[np.floating], baselines: Baselines, floor: float = FLOOR
) -> Floats:
    """KLS with both distributions floored at `floor` and renormalised before the divergence.

    Takes away most of what the paper's KLS gives to patches *more* confident than a soft
    baseline: what both hold nearly impossible no longer differs.
    """
    log_p = np.asarray(log_probabilities, np.float64)
    p = np.maximum(np.exp(log_p), floor)
    b = np.maximum(baselines.pdc[predicted_classes(log_p)], floor)
    p /= p.sum(axis=1, keepdims=True)
    b /= b.sum(axis=1, keepdims=True)
    return _divergence(b, np.log(p))


def _divergence(b: Floats, log_p: Floats) -> Floats:
    """KL(b ‖ exp(log_p)) row by row, with 0 · log 0 = 0 and every NaN as +inf."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(b == 0, 0.0, b * (np.log(b) - log_p))
    total = terms.sum(axis=1)
    total[np.isnan(total)] = np.inf
    # Rounding can leave the divergence of two equal distributions a hair under zero.
    return np.asarray(np.maximum(total, 0.0))


STRATEGIES: dict[str, Callable[[NDArray[np.floating], Baselines], Floats]] = {
    "kls": kls,
    "kls_floor": kls_floor,
}
"""Scores by the name that `asking.strategy` gives them."""


def score_row(
    strategy: str, log_p: Sequence[float], baseline: Sequence[float] | None, floor: float = FLOOR
) -> float:
    """The score of one patch, of log-probabilities [C], from its class's baseline [C], if any.

    The same as `STRATEGIES[strategy]` gives for it, but for the last digits.
    """
    if baseline is None:
        return math.inf
    if strategy == "kls_floor":
        p = [max(math.exp(one), floor) for one in log_p]
        b = [max(one, floor) for one in baseline]
        whole_p, whole_b = sum(p), sum(b)
        log_p, baseline = [math.log(one / whole_p) for one in p], [one / whole_b for one in b]
    total = 0.0
    for share, one in zip(baseline, log_p, strict=True):
        if share:
            total += share * (math.log(share) - one)
    return math.inf if math.isnan(total) else max(total, 0.0)


BINS_PER_DECADE = 4
LEAST_BIN, MOST_BIN = -20, 8
"""Bins of scores: the first holds everything under 1e-5 nats, the last everything over 100."""


def score_bins(scores: Floats) -> Ints:
    """The logarithmic bin of each score, float64 [N] to int64 [N]: four bins to a decade."""
    with np.errstate(divide="ignore"):
        bins = np.floor(BINS_PER_DECADE * np.log10(scores))
    return np.asarray(np.clip(bins, LEAST_BIN, MOST_BIN), np.int64)


def bin_edge(number: int) -> float:
    """The score at which a bin begins, in nats."""
    return float(10 ** (number / BINS_PER_DECADE))
