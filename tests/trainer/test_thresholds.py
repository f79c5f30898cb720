"""Thresholds keep their promise to rightly judged patches."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trainer.thresholds import fit_thresholds

Scores = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 50))


@given(Scores, st.floats(0.5, 0.99))
def test_at_least_the_promised_share_of_right_patches_is_confident(
    scores: np.ndarray, share: float
) -> None:
    zeros = np.zeros(len(scores), np.int64)
    threshold = fit_thresholds(scores, zeros, zeros, 2, share)
    assert threshold[0] is not None
    assert (scores <= threshold[0]).mean() >= min(share, 1)
    assert threshold[1] is None


def test_only_right_verdicts_count_and_each_class_for_itself() -> None:
    predicted = np.array([0, 0, 0, 1, 1])
    labels = np.array([0, 0, 1, 1, 1])
    scores = np.array([0.1, 0.2, 9.0, 3.0, np.inf])
    assert fit_thresholds(scores, predicted, labels, 3, 0.5) == [0.2, 3.0, None]


def test_coverage_on_unseen_patches_is_what_was_promised() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        seen, unseen = rng.exponential(size=39), rng.exponential(size=100)
        zeros = np.zeros(39, np.int64)
        (threshold,) = fit_thresholds(seen, zeros, zeros, 1, 0.9)
        assert threshold is not None
        covered.append((unseen <= threshold).mean())
    assert 0.9 <= np.mean(covered) < 0.92
