"""Accuracy, precision, recall and F1 (Eq. 8–11)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.judging.kls import Ints


@dataclass(frozen=True, slots=True)
class Metrics:
    """Shares from 0 to 1; all but the accuracy are means over the classes (macro)."""

    accuracy: float
    precision: float
    recall: float
    f1: float


def evaluate(predicted: Ints, labels: NDArray[np.int64], classes: int) -> Metrics:
    """Eq. 8–11 of predictions [N]. A class that is never predicted has precision and F1 0.

    Eq. 8 counts true negatives; over several classes the paper's tables can only mean the share
    of right predictions (its accuracy equals its macro recall on balanced classes), as here.
    """
    hits = np.bincount(labels[predicted == labels], minlength=classes).astype(float)
    precision = hits / np.maximum(np.bincount(predicted, minlength=classes), 1)
    recall = hits / np.maximum(np.bincount(labels, minlength=classes), 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    present = np.bincount(labels, minlength=classes) > 0
    return Metrics(
        float((predicted == labels).mean()),
        float(precision[present].mean()),
        float(recall[present].mean()),
        float(f1[present].mean()),
    )
