"""Utilities: the paper's formulas, and scikit-activeml's as the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from skactiveml.pool import uncertainty_scores

from device.judging.kls import Baselines, fit_baselines
from tests.trainer.lab.conftest import any_candidates, log_softmax, random_candidates
from trainer.lab.candidates import Candidates, Judged
from trainer.lab.utilities import UTILITIES, reverse_divergence


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("lc", "least_confident"), ("ms", "margin_sampling"), ("en", "entropy")],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_traditional_three_are_those_of_scikit_activeml(
    ours: str, theirs: str, seed: int
) -> None:
    candidates = random_candidates(seed)
    expected = uncertainty_scores(np.exp(candidates.unlabelled.log_probabilities), method=theirs)
    np.testing.assert_allclose(UTILITIES[ours](candidates), expected, atol=1e-12)


@given(any_candidates())
@settings(max_examples=60, deadline=None)
def test_no_utility_is_nan_or_depends_on_the_company(candidates: Candidates) -> None:
    order = np.arange(len(candidates))[::-1]
    for name, utility in UTILITIES.items():
        values = utility(candidates)
        assert values.shape == (len(candidates),), name
        assert not np.isnan(values).any(), name
        np.testing.assert_array_equal(utility(candidates.part(order)), values[order])
        np.testing.assert_array_equal(utility(candidates.part(order[:1])), values[-1:])


def test_kls_by_hand() -> None:
    """Eq. 4–6 on two classes: the baseline of class 0 is the mean of two distributions."""
    labelled = np.log([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    new = np.log([[0.6, 0.4]])
    features = np.zeros((3, 1), np.float32)
    candidates = Candidates(Judged(new, features[:1]), Judged(labelled, features))
    expected = 0.8 * np.log(0.8 / 0.6) + 0.2 * np.log(0.2 / 0.4)
    np.testing.assert_allclose(UTILITIES["kls"](candidates), [expected])
    expected = 0.6 * np.log(0.6 / 0.8) + 0.4 * np.log(0.4 / 0.2)
    np.testing.assert_allclose(UTILITIES["reverse"](candidates), [expected])


def test_a_class_without_baseline_is_asked_about_first() -> None:
    labelled = log_softmax(np.array([[5.0, 0, 0]]))
    new = log_softmax(np.array([[5.0, 0, 0], [0, 5.0, 0]]))
    features = np.zeros((2, 1), np.float32)
    candidates = Candidates(Judged(new, features), Judged(labelled, features[:1]))
    for name in ("kls", "reverse"):
        first, second = UTILITIES[name](candidates)
        assert first == pytest.approx(0, abs=1e-12)
        assert second == np.inf


def test_near_certain_patches_are_still_told_apart() -> None:
    """Where float32 probabilities are all 1, LC, MS and EN keep their order."""
    logits = np.array([[40.0, 0, 0], [38.0, 0, 0], [36.0, 0, 0]])
    features = np.zeros((3, 1), np.float32)
    candidates = Candidates(Judged(log_softmax(logits), features), Judged(logits, features))
    for name in ("lc", "ms", "en"):
        values = UTILITIES[name](candidates)
        assert values[0] < values[1] < values[2]


def test_kls_is_not_monotone_and_both_variants_know_another_order() -> None:
    """A soft baseline: KLS asks about the surer patch, LC about the less sure one."""
    labelled = np.log(np.array([[0.8, 0.1, 0.1]]))
    surer = [0.999998, 1e-6, 1e-6]
    less = [0.6, 0.2, 0.2]
    new = np.log(np.array([surer, less]))
    features = np.zeros((2, 1), np.float32)
    candidates = Candidates(Judged(new, features), Judged(labelled, features[:1]))
    assert np.argmax(UTILITIES["kls"](candidates)) == 0
    assert np.argmax(UTILITIES["lc"](candidates)) == 1
    kls, floored = UTILITIES["kls"](candidates), UTILITIES["kls_floor"](candidates)
    assert floored[0] < kls[0]
    assert isinstance(fit_baselines(labelled), Baselines)
    assert reverse_divergence(candidates)[0] < kls[0]


def test_disagreement_by_hand() -> None:
    """Two orientations that say the opposite: ln 2 less their own entropy. The same: nothing."""
    views = np.log([[[0.9, 0.1], [0.7, 0.3]], [[0.1, 0.9], [0.7, 0.3]]])
    features = np.zeros((2, 1), np.float32)
    judged = Judged(views[0], features)
    candidates = Candidates(judged, judged, lambda chosen: views[:, chosen])
    own = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
    expected = [np.log(2) - own, 0]
    np.testing.assert_allclose(UTILITIES["disagree"](candidates), expected, atol=1e-12)
    with pytest.raises(ValueError, match="look_again"):
        UTILITIES["disagree"](Candidates(judged, judged))
