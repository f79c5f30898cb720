"""The guard against training with unlabelled patches that talks itself into an error."""

from dataclasses import replace

import numpy as np
import pytest

from tests.trainer.lab.conftest import log_softmax
from trainer.lab.candidates import Judged
from trainer.lab.consistency import Consistency
from trainer.lab.guard import Guard, GuardedLearner, Parting, parting
from trainer.lab.learners import BestLearner, Lesson
from trainer.lab.protocol import LabData
from trainer.learning.training import Training

SHORT = Training(fewest_steps=6, most_steps=6, batch=8)
EAGER = Consistency(confidence=0.5, batch=4)


def saying(classes: list[int], sureness: float = 9.0) -> Judged:
    """A network that says these classes, of three."""
    logits = sureness * np.eye(3)[classes]
    return Judged(log_softmax(logits), np.zeros((len(classes), 1), np.float32))


def test_how_far_two_networks_part_by_hand() -> None:
    before, after = saying([0, 0, 0, 0, 1, 1]), saying([0, 0, 0, 0, 0, 1])
    right, worse = np.array([True, True, True]), np.array([False, False, True])
    found = parting(before, after, right, worse, 0.8)
    assert found.contradicted == pytest.approx(1 / 6)
    assert (found.kept, found.labelled_lost) == (0.5, 2)
    unsure = parting(before, saying([0, 0, 0, 0, 0, 1], 0.1), right, right, 0.8)
    assert unsure == Parting(0.5, 0.0, 0)
    nothing = parting(before.part(np.arange(0)), after.part(np.arange(0)), right, right, 0.8)
    assert nothing == Parting(1.0, 0.0, 0)


FINE = Parting(kept=0.9, contradicted=0.0, labelled_lost=0)


@pytest.mark.parametrize(
    ("parted", "words"),
    [
        (FINE, None),
        (replace(FINE, kept=0.2), "lost all but 20 %"),
        (replace(FINE, contradicted=0.05), "changed its class"),
        (replace(FINE, labelled_lost=1), None),
        (replace(FINE, labelled_lost=2), "2 labels"),
    ],
)
def test_the_guard_says_what_it_saw(parted: Parting, words: str | None) -> None:
    said = parted.reason(Guard())
    assert (said is None) == (words is None)
    assert words is None or (said is not None and words in said)


@pytest.mark.parametrize("guard", [Guard(least_kept=99), Guard(0, 1)])
def test_who_is_refused_is_not_used(two_classes: LabData, guard: Guard) -> None:
    few, rest = np.arange(16, 24), np.setdiff1d(np.arange(40), np.arange(16, 24))
    corners = np.ascontiguousarray(two_classes.patches[:, :96, :96])
    lesson = Lesson(corners[few], two_classes.labels[few], corners[rest])
    learner = GuardedLearner(2, 0, SHORT, setting=EAGER, guard=guard)
    learner.fit(lesson)
    alone = BestLearner(2, 0, SHORT)
    alone.fit(lesson)
    kept, plain = (one.judge(corners).log_probabilities for one in (learner, alone))
    assert np.allclose(kept, plain, atol=1e-6) == (guard.least_kept == 99)
    assert (learner.network is learner.plain) == (guard.least_kept == 99)
