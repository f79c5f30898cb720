"""Intervals and kappas against published values, another program, and what must always hold."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import beta

from device.reports.statistics import (
    Rating,
    agreement,
    beta_cdf,
    clopper_pearson,
    cohen_kappa,
    fleiss_kappa,
)

COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), max_size=60)


@given(COUNTS)
def test_an_interval_holds_its_share_and_is_symmetric(counts: tuple[int, int]) -> None:
    right, total = counts
    low, high = clopper_pearson(right, total)
    assert 0 <= low <= right / total <= high <= 1
    mirrored = clopper_pearson(total - right, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-8)
    narrower = clopper_pearson(4 * right, 4 * total)
    assert narrower.high - narrower.low < high - low


def test_nothing_seen_says_nothing() -> None:
    assert clopper_pearson(0, 0) == (0, 1)
    assert cohen_kappa([]) is None
    assert fleiss_kappa([]) is None
    assert agreement([]) == (0, 0, None, None)


@given(PAIRS)
def test_cohens_kappa_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    mine = cohen_kappa(pairs)
    assume(mine is not None)
    theirs = metrics.cohen_kappa_score([a for a, _ in pairs], [b for _, b in pairs])
    assert mine == pytest.approx(theirs, abs=1e-12)


@given(PAIRS)
def test_kappas_are_within_their_bounds(pairs: list[tuple[str, str]]) -> None:
    for kappa in (cohen_kappa(pairs), fleiss_kappa(pairs)):
        if kappa is None:
            assert len({rating for pair in pairs for rating in pair}) <= 1
        else:
            assert -1 - 1e-9 <= kappa <= 1 + 1e-9
            assert math.isclose(kappa, 1) == all(a == b for a, b in pairs)
    # Chance agreement is least under the two's own shares: Scott's pi is never above.
    cohen, fleiss = cohen_kappa(pairs), fleiss_kappa(pairs)
    assert cohen is None or fleiss is None or fleiss <= cohen + 1e-9


@given(PAIRS)
def test_fleiss_kappa_does_not_ask_who_was_first(pairs: list[tuple[str, str]]) -> None:
    assert fleiss_kappa([(b, a) for a, b in pairs]) == fleiss_kappa(pairs)


def test_worked_examples() -> None:
    # 20 both yes, 15 both no, 5 and 10 mixed: p_o 0.7, p_e 0.5, Cohen's kappa 0.4.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohen_kappa(pairs) == pytest.approx(0.4)
    # 55 of 100 ratings yes: P_e 0.505, kappa 0.195 / 0.495.
    assert fleiss_kappa(pairs) == pytest.approx(0.195 / 0.495)


def test_two_people_are_compared_whoever_was_first_and_three_by_fleiss() -> None:
    table = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    pairs = [(Rating("Anna", a), Rating("李伟", b)) for a, b in table]
    turned = [pair if i % 2 else pair[::-1] for i, pair in enumerate(pairs)]
    found = agreement(turned)
    assert found[:2] == (50, 35)
    assert found.kappa == pytest.approx(0.4)
    assert found.people == ("Anna", "李伟")
    third = [*pairs[1:], (Rating("Zoe", "y"), Rating("Anna", "y"))]
    assert agreement(third).people is None
    assert agreement(third).kappa == pytest.approx(0.195 / 0.495)


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (98, 100), (37.4, 61.2), (1999, 2e3)])
def test_clopper_pearson_as_scipy_has_it(right: float, total: float) -> None:
    low, high = clopper_pearson(right, total)
    if right:
        assert low == pytest.approx(beta.ppf(0.025, right, total - right + 1), abs=1e-8)
    if right < total:
        assert high == pytest.approx(beta.ppf(0.975, right + 1, total - right), abs=1e-8)
    assert low < right / total or right == 0
    assert high > right / total or right == total


@given(st.floats(0.05, 500), st.floats(0.05, 500), st.floats(0, 1))
def test_the_beta_distribution_as_scipy_has_it(a: float, b: float, x: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(beta.cdf(x, a, b), abs=1e-9)


@pytest.mark.parametrize("a", [0.5, 1, 7, 60.3])
def test_the_middle_of_a_beta_distribution(a: float) -> None:
    assert beta_cdf(0.5, a, a) == pytest.approx(0.5)
    for b in (1, 3.3, 41):  # where the two branches meet
        middle = (a + 1) / (a + b + 2)
        for x in (middle, math.nextafter(middle, 0), math.nextafter(middle, 1)):
            assert beta_cdf(x, a, b) == pytest.approx(beta.cdf(x, a, b))
