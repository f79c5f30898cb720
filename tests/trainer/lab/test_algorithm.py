"""Algorithm I with a classifier that trains in no time."""

import numpy as np
import pytest

from tests.trainer.lab.conftest import log_softmax
from trainer.lab.algorithm import Round, Settings, run
from trainer.lab.candidates import Judged
from trainer.lab.learners import Fitted, Lesson, OnStep
from trainer.lab.strategies import make_strategy


class NearestMean:
    """Classes are as likely as their means are near: a real classifier, on mean grey values."""

    def __init__(self) -> None:
        self.means = np.zeros(3)
        self.fits: list[tuple[int, int]] = []

    def fit(self, lesson: Lesson, _on_step: OnStep | None = None) -> Fitted:
        grey = lesson.patches.mean(axis=(1, 2))
        self.means = np.array([grey[lesson.labels == c].mean() for c in range(3)])
        self.fits.append((len(lesson.patches), len(lesson.unlabelled)))
        return Fitted(1, 0.0)

    def judge(self, patches: np.ndarray) -> Judged:
        grey = patches.mean(axis=(1, 2))[:, None]
        logits = -((grey - self.means) ** 2) / 200
        return Judged(log_softmax(logits), grey.astype(np.float32))


@pytest.fixture
def pool() -> tuple[np.ndarray, np.ndarray]:
    """90 patches of three overlapping brightnesses."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 30)
    grey = np.clip(60 * labels + 50 + rng.normal(0, 15, 90), 0, 255)
    return np.broadcast_to(grey.astype(np.uint8)[:, None, None], (90, 4, 4)).copy(), labels


@pytest.mark.parametrize(
    "strategy", ["kls+quota", "rs", "lc", "coreset", "kls+quota+again", "disagree+quota"]
)
def test_rounds_grow_as_planned_and_nothing_is_asked_twice(
    pool: tuple[np.ndarray, np.ndarray], strategy: str
) -> None:
    patches, labels = pool
    asked: list[int] = []

    def labeller(indices: np.ndarray) -> np.ndarray:
        asked.extend(indices)
        return np.asarray(labels[indices])

    learner = NearestMean()
    initial = np.array([0, 1, 30, 31, 60, 61])
    settings = Settings([6, 15, 24])
    rounds = list(run(patches, initial, labeller, make_strategy(strategy), learner, settings))
    assert [len(here.labelled) for here in rounds] == [6, 15, 24]
    assert learner.fits == [(6, 84), (15, 75), (24, 66)]
    assert sorted(asked) == sorted(set(asked))
    np.testing.assert_array_equal(rounds[-1].labels, labels[rounds[-1].labelled])
    np.testing.assert_array_equal(rounds[-1].asked, rounds[-1].labelled[15:])
    assert rounds[0].asked_right is None
    assert 0 <= (rounds[1].asked_right or 0) <= 1


def test_least_confidence_asks_about_the_borders(pool: tuple[np.ndarray, np.ndarray]) -> None:
    """What LC asks about is predicted right less often than what chance asks about."""
    patches, labels = pool
    right = {}
    for name in ("lc", "rs"):
        rounds = run(
            patches,
            np.array([5, 35, 65]),
            lambda indices: labels[indices],
            make_strategy(name),
            NearestMean(),
            Settings([3, 18]),
        )
        right[name] = list(rounds)[-1].asked_right
    assert right["lc"] is not None
    assert right["rs"] is not None
    assert right["lc"] < right["rs"]


def test_the_stopping_criterion_ends_it(pool: tuple[np.ndarray, np.ndarray]) -> None:
    patches, labels = pool
    seen: list[Round] = []

    def stop(here: Round) -> bool:
        seen.append(here)
        return here.number == 1

    settings = Settings([3, 6, 9, 12], stop)
    learner = NearestMean()
    rounds = run(
        patches,
        np.array([5, 35, 65]),
        lambda indices: labels[indices],
        make_strategy("kls+quota"),
        learner,
        settings,
    )
    assert len(list(rounds)) == 2
    assert len(seen) == 2


def test_it_ends_when_the_pool_is_empty(pool: tuple[np.ndarray, np.ndarray]) -> None:
    patches, labels = pool
    rounds = run(
        patches[::10],
        np.array([0, 4, 8]),
        lambda indices: labels[::10][indices],
        make_strategy("kls+quota"),
        NearestMean(),
        Settings([3, 8, 13, 18]),
    )
    assert [len(here.labelled) for here in rounds] == [3, 8, 9]
