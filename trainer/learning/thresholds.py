"""Thresholds: how high a KLS may be before a verdict is called unsure."""

import numpy as np
from numpy.typing import NDArray

from device.judging.kls import Floats, Ints


def fit_thresholds(
    scores: Floats,
    predicted: Ints,
    labels: NDArray[np.int64],
    classes: int,
    *,
    confident_share: float,
    most_wrong: float,
) -> list[float | None]:
    """The threshold of every class from predictions on patches the network was not trained on.

    `scores`, `predicted` and `labels` are [N]. Two promises, the lower threshold wins:

    - Not too lax: of all sure verdicts at most the share `most_wrong` is wrong, by the estimate
      (wrong + 1) / (sure + 2) over all classes. Where no threshold can promise that yet, there is
      none, and every patch is unsure.
    - Not too strict, class by class: a right verdict is sure with a probability of at least
      `confident_share`: the split-conformal quantile of the scores of rightly judged patches
      (Vovk et al., "Algorithmic Learning in a Random World", 2005). With too few patches for that
      quantile it is the highest score seen; a class with none has no threshold.

    Labels picked for being hard make both lean to asking once too often.
    """
    right = predicted == labels
    common = _largest_safe_score(scores, right, most_wrong)
    thresholds: list[float | None] = []
    for c in range(classes):
        own = np.sort(scores[right & (predicted == c) & np.isfinite(scores)])
        if common is None or not len(own):
            thresholds.append(None)
            continue
        rank = int(np.ceil((len(own) + 1) * confident_share))
        thresholds.append(min(common, float(own[min(rank, len(own)) - 1])))
    return thresholds


def _largest_safe_score(
    scores: Floats, right: NDArray[np.bool_], most_wrong: float
) -> float | None:
    """The highest score up to which the estimated share of wrong verdicts is small enough."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    wrong = np.cumsum(~right[order])
    sure = np.arange(1, len(scores) + 1)
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    safe = last_of_equals & np.isfinite(ordered) & ((wrong + 1) / (sure + 2) <= most_wrong)
    return float(ordered[safe].max()) if safe.any() else None
