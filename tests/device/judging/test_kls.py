"""KLS against its definition, and its properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from device.judging.kls import (
    STRATEGIES,
    Baselines,
    fit_baselines,
    kls,
    kls_floor,
    predicted_classes,
    score_row,
)

Logits = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 20), st.integers(2, 7)),
    elements=st.floats(-60, 60, width=32),
)


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def kl(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Eq. 5, term by term."""
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def test_worked_example() -> None:
    labelled = np.log([[0.9, 0.05, 0.05], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    baselines = fit_baselines(labelled)
    np.testing.assert_allclose(baselines.pdc[0], [0.8, 0.125, 0.075])
    np.testing.assert_allclose(baselines.pdc[1], [0.1, 0.8, 0.1])
    assert baselines.counts.tolist() == [2, 1, 0]
    assert np.isnan(baselines.pdc[2]).all()
    found = kls(np.log([[0.6, 0.3, 0.1]]), baselines)
    expected = 0.8 * math.log(0.8 / 0.6) + 0.125 * math.log(0.125 / 0.3)
    expected += 0.075 * math.log(0.075 / 0.1)
    assert found[0] == pytest.approx(expected, rel=1e-12)


@given(Logits)
def test_equals_its_definition(logits: NDArray[np.float64]) -> None:
    log_p = log_softmax(logits)
    baselines = fit_baselines(log_p)
    found = kls(log_p, baselines)
    for row, score, c in zip(log_p, found, predicted_classes(log_p), strict=True):
        smallest = np.exp(row).min()
        if smallest > 1e-200:  # where the definition itself can be computed
            expected = kl(baselines.pdc[c], np.exp(row))
            assert score == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(Logits)
def test_is_finite_and_not_negative_for_classes_with_a_baseline(
    logits: NDArray[np.float64],
) -> None:
    log_p = log_softmax(logits)
    for score in (kls, kls_floor):
        found = score(log_p, fit_baselines(log_p))
        assert np.isfinite(found).all()
        assert (found >= 0).all()


@given(Logits)
def test_a_patch_like_its_baseline_scores_zero(logits: NDArray[np.float64]) -> None:
    log_p = log_softmax(logits[:1])
    for score in (kls, kls_floor):
        np.testing.assert_allclose(score(log_p, fit_baselines(log_p)), 0, atol=1e-9)


@given(Logits, st.permutations(range(3)))
def test_does_not_depend_on_the_order_of_patches(
    logits: NDArray[np.float64], order: list[int]
) -> None:
    log_p = log_softmax(logits)
    baselines = fit_baselines(log_p)
    chosen = [i % len(log_p) for i in order]
    np.testing.assert_array_equal(kls(log_p[chosen], baselines), kls(log_p, baselines)[chosen])


@given(Logits, st.sampled_from(sorted(STRATEGIES)), st.data())
def test_a_row_by_itself_scores_what_it_does_in_an_array(
    logits: NDArray[np.float64], strategy: str, data: st.DataObject
) -> None:
    log_p = log_softmax(logits)
    many = len(log_p)
    learnt = data.draw(st.lists(st.sampled_from(range(many)), min_size=1), "of the baselines")
    baselines = fit_baselines(log_p[learnt])  # some classes have none
    baselines.pdc[baselines.pdc < 1e-9] = 0  # as a file may have it
    log_p[data.draw(st.integers(0, many - 1)), 0] = data.draw(
        st.sampled_from([log_p[0, 0], -np.inf, np.nan]), "of a broken network"
    )
    classes = predicted_classes(log_p)
    found = [
        score_row(strategy, row, None if np.isnan(b).any() else b.tolist())
        for row, b in zip(log_p.tolist(), baselines.pdc[classes], strict=True)
    ]
    expected = STRATEGIES[strategy](log_p, baselines)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_float32_underflow_stays_finite() -> None:
    log_p = np.array([[0.0, -200.0, -300.0]], np.float32)  # exp(-200) is 0 in float32
    baselines = Baselines(np.array([[0.8, 0.1, 0.1]] * 3), np.array([1, 1, 1]))
    expected = 0.8 * math.log(0.8) + 0.1 * (math.log(0.1) + 200) + 0.1 * (math.log(0.1) + 300)
    assert kls(log_p, baselines)[0] == pytest.approx(expected)


def test_a_class_without_a_baseline_is_infinitely_unsure() -> None:
    baselines = fit_baselines(np.log([[0.9, 0.1]]))
    for score in (kls, kls_floor):
        assert score(np.log([[0.2, 0.8]]), baselines).tolist() == [np.inf]


def test_a_broken_prediction_is_infinitely_unsure() -> None:
    baselines = fit_baselines(np.log([[0.9, 0.1], [0.1, 0.9]]))
    for score in (kls, kls_floor):
        assert score(np.array([[np.nan, np.nan]]), baselines).tolist() == [np.inf]


def test_kls_flags_patches_surer_than_a_soft_baseline_and_the_floor_mends_it() -> None:
    """The paper's KLS is not monotone in confidence (docs/method.md)."""
    baselines = Baselines(np.tile([0.95] + [0.01] * 5, (6, 1)), np.ones(6, int))

    def sure(p: float) -> NDArray[np.float64]:
        return np.log([[p] + [(1 - p) / 5] * 5])

    assert kls(sure(1 - 1e-6), baselines)[0] > kls(sure(0.8), baselines)[0]
    assert kls_floor(sure(1 - 1e-6), baselines)[0] < kls_floor(sure(0.6), baselines)[0]
