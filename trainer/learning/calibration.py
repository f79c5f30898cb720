"""Calibration: one temperature, so that what the model calls 90 % is right nine times of ten.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017: logits over a temperature T,
which changes no prediction. It is fitted on predictions of patches that the predicting network did
not learn from, and goes into the weights of the dense layer, so that the graph says the calibrated
probabilities and there is one truth. Baselines and thresholds are made after it, because it changes
KLS: not only its size but its order.
"""

import numpy as np
from numpy.typing import NDArray

from device.judging.kls import Floats, Ints

TEMPERATURES = np.geomspace(0.2, 5, 323)
"""Those that are tried, a hundredth apart; what wants to be outside is no question of
calibration."""
LEAST = 30
"""Held-out predictions under which nothing is fitted."""
BINS = 10


def temper(log_probabilities: NDArray[np.floating], temperature: float) -> Floats:
    """Log-probabilities [N, C] at a temperature, normalised anew: float64 [N, C]."""
    logits = np.asarray(log_probabilities, np.float64) / temperature
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def fit_temperature(log_probabilities: NDArray[np.floating], labels: Ints) -> float:
    """The temperature of the least cross-entropy on held-out predictions [N, C] of labels [N].

    The labels count as slightly uncertain, (n + 1) / (n + C) for n labels (after Platt, 1999):
    otherwise predictions that are all right would want a temperature of 0. 1 with too few.
    """
    count, classes = log_probabilities.shape
    if count < LEAST:
        return 1.0
    targets = np.full((count, classes), 1 / (count + classes))
    targets[np.arange(count), labels] = (count + 1) / (count + classes)

    losses = [-(targets * temper(log_probabilities, t)).sum(1).mean() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def calibration_error(log_probabilities: NDArray[np.floating], labels: Ints) -> float:
    """The expected calibration error, from 0 to 1: confidence against rightness, in ten bins of
    equally many predictions, weighted by their number."""
    log_p = np.asarray(log_probabilities, np.float64)
    order = np.argsort(log_p.max(axis=1), kind="stable")
    confidence = np.exp(log_p.max(axis=1))[order]
    right = (log_p.argmax(axis=1) == labels)[order]
    parts = zip(np.array_split(confidence, BINS), np.array_split(right, BINS), strict=True)
    gaps = [len(c) * abs(c.mean() - r.mean()) for c, r in parts if len(c)]
    return float(sum(gaps) / max(1, len(order)))
