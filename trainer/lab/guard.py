"""A guard against a training with unlabelled patches that talks itself into an error.

Pseudo-labels confirm what the network says already: a class with few labels may be swallowed by
another, and a wrong label may spread. So two networks are trained, one from the labels alone, and
what the other says of the unlabelled patches is compared with it. None of this costs a label. A
guard can notice that they part, not which of them is right; hence it keeps the one that had less
to tell itself, and the patches on which they part are those to ask about.
"""

from dataclasses import dataclass, field

import numpy as np

from device.judging.kls import predicted_classes
from trainer.lab.candidates import Judged
from trainer.lab.consistency import ConsistencyLearner
from trainer.lab.learners import BestLearner, Fitted, Lesson, OnStep
from trainer.learning.networks import Network


@dataclass(frozen=True, slots=True)
class Guard:
    """When the training with unlabelled patches is refused."""

    least_kept: float = 0.5
    """Share of the patches it had with labels alone that every class must keep."""
    most_contradicted: float = 0.02
    """Largest share of the patches both are sure of that may have changed their class."""
    sure: float = 0.8
    """Probability from which a network counts as sure; smoothed labels allow no more than 0.96."""


@dataclass(frozen=True, slots=True)
class Parting:
    """How far a training with unlabelled patches has gone from the one without."""

    kept: float
    """Share of its unlabelled patches that the class which lost the most still has; above 1: all
    classes that were there have grown."""
    contradicted: float
    """Share of the patches both are sure of that changed their class."""
    labelled_lost: int
    """Labelled patches that only the network without is right about, less those that only the
    other is."""

    def reason(self, guard: Guard) -> str | None:
        """Why the training with unlabelled patches is refused; None: it is not."""
        if self.kept < guard.least_kept:
            return f"a class lost all but {100 * self.kept:.0f} % of its patches"
        if self.contradicted > guard.most_contradicted:
            return f"{100 * self.contradicted:.1f} % of what both are sure of changed its class"
        if self.labelled_lost > 1:
            return f"{self.labelled_lost} labels more are contradicted"
        return None


def parting(
    plain: Judged, also: Judged, right_plain: np.ndarray, right_also: np.ndarray, sure: float
) -> Parting:
    """Compare two networks: what they say of M unlabelled patches, and whether they are right
    about the N labelled ones, bool [N] each."""
    classes = plain.log_probabilities.shape[1]
    before, after = (predicted_classes(one.log_probabilities) for one in (plain, also))
    then, now = (np.bincount(one, minlength=classes) for one in (before, after))
    both = (plain.log_probabilities.max(axis=1, initial=-np.inf) >= np.log(sure)) & (
        also.log_probabilities.max(axis=1, initial=-np.inf) >= np.log(sure)
    )
    shares = now[then > 0] / then[then > 0]
    return Parting(
        kept=float(shares.min()) if len(shares) else 1.0,
        contradicted=float((before != after)[both].mean()) if both.any() else 0.0,
        labelled_lost=int((right_plain & ~right_also).sum() - (~right_plain & right_also).sum()),
    )


@dataclass(slots=True)
class GuardedLearner(ConsistencyLearner):
    """Trains with labels alone and with unlabelled patches, and keeps the latter if it may."""

    guard: Guard = field(default_factory=Guard)
    plain: Network | None = None
    """The network of the last training that saw labels only."""
    also: Network | None = None
    """The one that saw unlabelled patches too."""
    parted: Parting | None = None

    def fit(self, lesson: Lesson, on_step: OnStep | None = None) -> Fitted:
        """See `Learner`; both trainings count."""
        alone = BestLearner(self.classes, self.seed, self.training, self.memory)
        first = alone.fit(lesson, on_step)
        second = ConsistencyLearner.fit(self, lesson, on_step)
        self.plain, self.also = alone.network, self.network
        right_alone, right_also = (
            predicted_classes(one.judge(lesson.patches).log_probabilities) == lesson.labels
            for one in (alone, self)
        )
        said_alone, said_also = (one.judge(lesson.unlabelled) for one in (alone, self))
        self.parted = parting(said_alone, said_also, right_alone, right_also, self.guard.sure)
        if self.parted.reason(self.guard) is not None:
            self.network = self.plain
        return Fitted(first.steps + second.steps, first.seconds + second.seconds)
