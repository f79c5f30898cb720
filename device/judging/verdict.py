"""Verdicts: what is said of a frame, from what the network says of its patches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device.judging.kls import STRATEGIES, Floats, Ints, predicted_classes, score_row
from device.judging.model import Model
from device.judging.patches import Shared, Some

FEW = 4
"""So many patches, or fewer, are judged faster in Python's own numbers than in arrays."""

Verdict = Literal["pass", "fail", "unsure"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What the model says of N patches."""

    log_probabilities: NDArray[np.float32]
    """float32 [N, C]."""
    predicted: Ints
    """int64 [N]: the most probable class (Eq. 2)."""
    scores: Floats
    """float64 [N]: KLS (or the model's other strategy); higher is less sure."""
    unsure: NDArray[np.bool_]
    """bool [N]: whether the score is above the threshold of the predicted class."""
    maps: NDArray[np.float32] | None = None
    """float32 [N, C, 13, 13]: class activation maps, where they were asked for."""

    def part(self, which: slice) -> "Judged":
        """What it says of some of the patches."""
        return Judged(
            self.log_probabilities[which],
            self.predicted[which],
            self.scores[which],
            self.unsure[which],
            None if self.maps is None else self.maps[which],
        )


def judge(
    model: Model, patches: Some, *, maps: bool = False, shared: Sequence[Shared] = ()
) -> Judged:
    """Judge N patches with a model; with `maps`, also where it looked.

    `shared` are the frames they all come from, in their order, where patches share feature maps.
    """
    outputs = model.outputs(np.stack(list(patches))) if maps else None
    if shared:
        log_p = np.concatenate([model.shared_log_probabilities(one) for one in shared])
    elif outputs is not None:
        log_p = outputs.log_probabilities
    else:
        log_p = model.log_probabilities(patches)
    if len(log_p) <= FEW and (few := _judged_few(model, log_p)) is not None:
        return few if outputs is None else replace(few, maps=outputs.activation_maps)
    predicted = predicted_classes(log_p)
    scores = STRATEGIES[model.metadata.strategy](log_p, model.baselines)
    return Judged(
        log_p,
        predicted,
        scores,
        ~(scores <= model.thresholds[predicted]),
        None if outputs is None else outputs.activation_maps,
    )


def _judged_few(model: Model, log_p: NDArray[np.float32]) -> Judged | None:
    """The same in Python's own numbers; None: there is NaN among them, which arrays sort out."""
    said = model.metadata
    predicted, scores, unsure = [], [], []
    for row in log_p.tolist():
        if math.isnan(sum(row)):
            return None
        c = row.index(max(row))
        score, threshold = score_row(said.strategy, row, said.baselines[c]), said.thresholds[c]
        predicted.append(c)
        scores.append(score)
        unsure.append(threshold is None or not score <= threshold)
    return Judged(
        log_p,
        np.array(predicted, np.int64),
        np.array(scores, np.float64),
        np.array(unsure, np.bool_),
    )


def frame_verdict(
    predicted: Sequence[int], unsure: Sequence[bool], passes: Sequence[bool]
) -> tuple[Verdict, int]:
    """The verdict of a frame from its patches [N], and the class that made it (−1: none did).

    One patch that is surely of a failing class fails the frame. Else one unsure patch makes it
    unsure. Only a frame all of whose patches are surely good passes. `passes` is per class.
    """
    for c, doubt in zip(predicted, unsure, strict=True):
        if not doubt and not passes[c]:
            return "fail", c
    if any(unsure) or not predicted:
        return "unsure", -1
    return "pass", predicted[0]
