"""Algorithm I of the paper, for any pool, labeller, strategy and classifier."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from device.judging.kls import Ints, fit_baselines, predicted_classes
from device.judging.patches import Patches
from trainer.lab.candidates import Candidates
from trainer.lab.learners import Fitted, Learner, Lesson, OnStep, in_eight_orientations
from trainer.lab.strategies import Strategy

Labeller = Callable[[Ints], NDArray[np.int64]]
"""Answers what class some patches of the pool, by index, are of."""


@dataclass(frozen=True, slots=True)
class Round:
    """Where the algorithm stands after a training."""

    number: int
    labelled: Ints
    """Indices of all labelled patches of the pool."""
    labels: NDArray[np.int64]
    """Their labels, in the same order."""
    asked: Ints
    """Those among them that were asked about before this training."""
    fitted: Fitted
    above_baseline: float | None
    """Share of the asked patches that were more confident than their class's baseline."""
    asked_right: float | None
    """Share of the asked patches that the model before this training had predicted right."""
    candidates: Callable[[], Candidates]
    """What the next round chooses from; judged when first asked for, and only once. Only before
    the next round is asked for."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the algorithm goes."""

    totals: Sequence[int]
    """Labelled patches at each training, rising; the first is the number of initial patches. The
    paper, as far as can be told: 108, 162, 216 …"""
    stop: Callable[[Round], bool] | None = None
    """Told of each round; True ends the algorithm: the stopping criterion (lines 11, 12)."""


def run(
    pool: Patches,
    initial: Ints,
    labeller: Labeller,
    strategy: Strategy,
    learner: Learner,
    settings: Settings,
    on_step: OnStep | None = None,
) -> Iterator[Round]:
    """Algorithm I: train, ask about the most unsure patches, train again; yields every round.

    The learner is trained first on the `initial` patches, indices of `pool`, uint8 [N, s, s].
    Before the next round is asked for, it may be examined: it is as trained in this round. Ends
    after the last total, when `stop` says so, or when no patch is left.
    """
    labelled = initial
    labels = labeller(initial)
    asked, above, right = np.empty(0, np.int64), None, None
    judged: Callable[[], Candidates] | None = None
    for number, total in enumerate(settings.totals):
        unlabelled = np.setdiff1d(np.arange(len(pool)), labelled)
        if number:
            batch = min(total - len(labelled), len(unlabelled))
            if batch <= 0:
                continue
            assert judged is not None
            candidates = judged()
            picks = strategy.query(candidates, batch)
            asked = unlabelled[picks]
            answers = labeller(asked)
            above = share_above_baseline(candidates, picks)
            right = float((candidates.predicted[picks] == answers).mean())
            labelled = np.concatenate([labelled, asked])
            labels = np.concatenate([labels, answers])
            unlabelled = np.setdiff1d(unlabelled, asked)
        fitted = learner.fit(Lesson(pool[labelled], labels, pool[unlabelled]), on_step)
        judged = cache(partial(candidates_of, learner, pool, unlabelled, labelled))
        here = Round(number, labelled, labels, asked, fitted, above, right, judged)
        yield here
        if settings.stop is not None and settings.stop(here):
            return


def candidates_of(learner: Learner, pool: Patches, unlabelled: Ints, labelled: Ints) -> Candidates:
    """What a strategy may look at (lines 2–7)."""
    return Candidates(
        learner.judge(pool[unlabelled]),
        learner.judge(pool[labelled]),
        lambda chosen: in_eight_orientations(learner, pool[unlabelled[chosen]]),
    )


def share_above_baseline(candidates: Candidates, picks: Ints) -> float | None:
    """Share of the picks whose predicted class is likelier than in its baseline."""
    if not len(picks):
        return None
    log_p = candidates.unlabelled.log_probabilities[picks]
    predicted = predicted_classes(log_p)
    baselines = fit_baselines(candidates.labelled.log_probabilities)
    return float((np.exp(log_p.max(axis=1)) > baselines.pdc[predicted, predicted]).mean())
