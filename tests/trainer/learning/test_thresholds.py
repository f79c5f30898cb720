"""Thresholds keep their promise to rightly judged patches."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trainer.learning.thresholds import fit_thresholds

LAX = 1 - 1e-9
"""A share of wrong verdicts that forbids nothing."""

Scores = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 50))


@given(Scores, st.floats(0.5, 0.99))
def test_at_least_the_promised_share_of_right_patches_is_confident(
    scores: np.ndarray, share: float
) -> None:
    zeros = np.zeros(len(scores), np.int64)
    threshold = fit_thresholds(scores, zeros, zeros, 2, confident_share=share, most_wrong=LAX)
    assert threshold[0] is not None
    assert (scores <= threshold[0]).mean() >= min(share, 1)
    assert threshold[1] is None


def test_only_right_verdicts_count_and_each_class_for_itself() -> None:
    predicted = np.array([0, 0, 0, 1, 1])
    labels = np.array([0, 0, 1, 1, 1])
    scores = np.array([0.1, 0.2, 9.0, 3.0, np.inf])
    found = fit_thresholds(scores, predicted, labels, 3, confident_share=0.5, most_wrong=LAX)
    assert found == [0.2, 3.0, None]


def test_coverage_on_unseen_patches_is_what_was_promised() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        seen, unseen = rng.exponential(size=39), rng.exponential(size=100)
        zeros = np.zeros(39, np.int64)
        (threshold,) = fit_thresholds(seen, zeros, zeros, 1, confident_share=0.9, most_wrong=LAX)
        assert threshold is not None
        covered.append((unseen <= threshold).mean())
    assert 0.9 <= np.mean(covered) < 0.92


Judgements = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=80)


@given(Judgements, st.floats(0.01, 0.5))
def test_the_share_of_wrong_verdicts_is_bounded(
    judgements: list[tuple[int, bool]], most_wrong: float
) -> None:
    scores = np.array([score for score, _ in judgements], float)
    right = np.array([r for _, r in judgements])
    zeros = np.zeros(len(scores), np.int64)
    labels = np.where(right, 0, 1)
    threshold = fit_thresholds(
        scores, zeros, labels, 2, confident_share=0.99, most_wrong=most_wrong
    )[0]

    def estimate(limit: float) -> float:
        sure = scores <= limit
        return (int((~right[sure]).sum()) + 1) / (int(sure.sum()) + 2)

    safe = [score for score in scores if estimate(score) <= most_wrong]
    if threshold is None:
        assert not safe or not right.any()
    else:
        assert threshold <= max(safe)


def test_nothing_is_sure_before_enough_is_known() -> None:
    zeros, scores = np.zeros(17, np.int64), np.zeros(17)
    few = fit_thresholds(scores, zeros, zeros, 1, confident_share=0.95, most_wrong=0.05)
    assert few == [None]  # 17 right ones: (0 + 1) / (17 + 2) is over 5 %
    zeros, scores = np.zeros(18, np.int64), np.zeros(18)
    enough = fit_thresholds(scores, zeros, zeros, 1, confident_share=0.95, most_wrong=0.05)
    assert enough == [0.0]
