"""Rows: what is met, what a median is, and that a yardstick is taken in turn with its figure."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from device.bench.row import Row, affinity, is_met, pairs, per_call, row_of


@given(st.floats(0, 1e6), st.floats(0, 1e6).map(lambda bound: round(bound, 3)))
def test_met_follows_from_ratio_and_aim(ratio: float, bound: float) -> None:
    assert is_met(ratio, f"≥ {bound:f}") == (ratio >= float(f"{bound:f}"))
    assert is_met(ratio, f"≤ {bound:f}") == (ratio <= float(f"{bound:f}"))
    assert is_met(ratio, "none")


@pytest.mark.parametrize("aim", ["> 1", "≥ x", "1", "≤2", ""])
def test_an_aim_that_is_none_is_refused(aim: str) -> None:
    with pytest.raises(ValueError, match="no aim"):
        is_met(1.0, aim)


def test_a_row_that_claims_more_than_it_reached_is_refused() -> None:
    row = row_of("a", "s", "b", "≤ 2", [1.0, 3.0, 2.0], [1.5, 3.5, 2.5])
    assert (row.value, row.ratio, row.met, row.runs) == (2.0, 2.5, False, [1.5, 3.5, 2.5])
    with pytest.raises(ValidationError, match="met does not follow"):
        Row.model_validate(row.model_dump() | {"met": True})


def test_the_yardstick_is_taken_before_and_after_every_figure() -> None:
    said: list[str] = []
    yards: Iterator[float] = iter([1.0, 3.0, 5.0])

    def yardstick() -> float:
        said.append("y")
        return next(yards)

    def figure() -> float:
        said.append("f")
        return 4.0

    assert pairs(2, yardstick, figure) == ([4.0, 4.0], [2.0, 1.0])
    assert "".join(said) == "yfyfy"


def test_a_short_work_is_repeated_until_it_can_be_measured() -> None:
    calls = 0

    def work() -> None:
        nonlocal calls
        calls += 1

    took = per_call(work, 0.01)
    assert calls > 100
    assert 0 < took < 0.01


def test_one_core_is_one_core_and_all_come_back() -> None:
    before = os.sched_getaffinity(0)
    with affinity(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
