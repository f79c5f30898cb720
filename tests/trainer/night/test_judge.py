"""The judge: a worse model never goes out, an equal or better one always may."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Trainer
from trainer.night.judge import judge_labels, mcnemar_worse

CLASSES = ["a", "b", "c"]
LIMITS = Trainer()

predictions = st.integers(30, 80).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 2), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
)


def judged(labels: list[int], before: list[bool] | None, now: list[bool]) -> bool:
    truth = np.array(labels)

    def said(right: list[bool]) -> np.ndarray:
        return np.where(np.array(right), truth, (truth + 1) % 3)

    champion = None if before is None else said(before)
    return all(c.passed for c in judge_labels(champion, said(now), truth, CLASSES, LIMITS))


@given(predictions)
def test_an_equal_challenger_passes_whatever_the_floors_of_the_classes(
    found: tuple[list[int], list[bool], list[bool]],
) -> None:
    labels, right, _ = found
    enough = sum(right) >= LIMITS.least_accuracy * len(right)
    assert judged(labels, right, right) == enough


@given(predictions)
def test_one_more_right_patch_never_turns_yes_into_no(
    found: tuple[list[int], list[bool], list[bool]],
) -> None:
    labels, before, now = found
    if not judged(labels, before, now) or all(now):
        return
    better = list(now)
    better[now.index(False)] = True
    assert judged(labels, before, better)


@pytest.mark.parametrize(
    ("lost", "won", "p"),
    [(0, 0, 1.0), (1, 0, 0.5), (5, 0, 1 / 32), (4, 0, 1 / 16), (8, 2, 56 / 1024), (3, 3, 0.65625)],
)
def test_mcnemar_is_the_exact_binomial(lost: int, won: int, p: float) -> None:
    assert mcnemar_worse(lost, won) == pytest.approx(p)


def test_what_is_refused_says_why() -> None:
    truth = np.repeat([0, 1, 2], 40)
    champion = truth.copy()
    left_out = np.where(truth == 2, 0, truth)
    failed = {
        c.name for c in judge_labels(champion, left_out, truth, CLASSES, LIMITS) if not c.passed
    }
    assert failed == {"accuracy", "not significantly worse", "no large drop", "recall of c"}
    slightly = truth.copy()
    slightly[[0, 1, 50, 90]] = (slightly[[0, 1, 50, 90]] + 1) % 3
    failed = {
        c.name for c in judge_labels(champion, slightly, truth, CLASSES, LIMITS) if not c.passed
    }
    assert failed == {"no large drop"}  # four lost, none won: p is 1/16


def test_without_a_champion_only_the_floors_count() -> None:
    truth = np.repeat([0, 1, 2], 10)
    assert judged(truth.tolist(), None, [True] * 30)
    assert not judged(truth.tolist(), None, [True] * 20 + [False] * 10)
