"""Thresholds: how high a KLS may be before a verdict is called unsure."""

import numpy as np
from numpy.typing import NDArray

from device.kls import Floats, Ints


def fit_thresholds(
    scores: Floats, predicted: Ints, labels: NDArray[np.int64], classes: int, confident_share: float
) -> list[float | None]:
    """The threshold of every class from predictions on patches the network was not trained on.

    `scores`, `predicted` and `labels` are [N]. Class c's threshold is the split-conformal quantile
    of the scores of patches rightly predicted c: a right verdict on a like patch then counts as
    confident with a probability of at least `confident_share` (Vovk et al., "Algorithmic Learning
    in a Random World", 2005, conditional on the class). With too few patches for that quantile it
    is the highest score seen; with none the class has no threshold, and all its patches are
    unsure. Labels picked for being hard make it lean to asking once too often.
    """
    thresholds: list[float | None] = []
    for c in range(classes):
        right = np.sort(scores[(predicted == c) & (labels == c) & np.isfinite(scores)])
        rank = int(np.ceil((len(right) + 1) * confident_share))
        thresholds.append(float(right[min(rank, len(right)) - 1]) if len(right) else None)
    return thresholds
