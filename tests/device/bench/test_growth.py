"""Exponents: found where they are known, with an interval that holds, and judged by both ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from device.bench.growth import Growth, fit, growth_of, repeated, student

SIZES = [1, 10, 100, 1000, 10_000]


@given(st.floats(-1, 3), st.floats(1e-6, 1e6))
def test_a_power_is_found(exponent: float, factor: float) -> None:
    found, low, high = fit(SIZES, [factor * size**exponent for size in SIZES])
    assert found == pytest.approx(exponent, abs=1e-9)
    assert high - low < 1e-6


@given(st.integers(1, 60))
def test_students_quantile_is_scipys(freedom: int) -> None:
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-4)


def test_the_interval_is_that_of_a_regression_and_holds_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        costs = [3 * size**0.7 * float(np.exp(rng.normal(0, 0.2))) for size in SIZES]
        found, low, high = fit(SIZES, costs)
        known = stats.linregress(np.log(SIZES), np.log(costs))
        assert found == pytest.approx(known.slope)
        assert high - found == pytest.approx(stats.t.ppf(0.975, 3) * known.stderr, rel=1e-4)
        held += low <= 0.7 <= high
    assert 0.92 < held / 400 < 0.98


def of(costs: list[float]) -> Growth:
    sizes = SIZES[: len(costs)]
    return growth_of(
        "plates", "plates", "s", "s", {s: [c] for s, c in zip(sizes, costs, strict=True)}
    )


def test_what_a_fixed_cost_hides_is_seen_at_the_end() -> None:
    quadratic = of([1000 + 0.01 * size**2 for size in SIZES])
    assert quadratic.exponent < 1.1 < quadratic.last
    assert not quadratic.met
    assert of([1 + size for size in SIZES]).met
    assert not of([float(size) ** 1.2 for size in SIZES]).met


def test_met_has_to_follow_from_the_exponents() -> None:
    said = of([float(size) ** 2 for size in SIZES]).model_dump()
    with pytest.raises(ValidationError, match="met does not follow"):
        Growth.model_validate(said | {"met": True})


def test_sizes_are_measured_in_turn() -> None:
    asked: list[int] = []
    costs = repeated((1, 2, 4), 2, lambda size: asked.append(size) or float(size))  # type: ignore[func-returns-value]
    assert asked == [1, 2, 4, 1, 2, 4]
    assert costs == {1: [1.0, 1.0], 2: [2.0, 2.0], 4: [4.0, 4.0]}
