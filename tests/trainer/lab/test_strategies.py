"""Strategies: the convention, the quota, the second look, the stream."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import UserError
from device.judging.selection import pool_top_k
from tests.trainer.lab.conftest import any_candidates, random_candidates
from trainer.lab.candidates import Candidates
from trainer.lab.strategies import StreamQuery, make_strategy
from trainer.lab.utilities import UTILITIES

NAMES = [*UTILITIES, "rs", "badge", "coreset", "typiclust"]
WEARS = ("", "+quota", "+again", "+quota+again")
ALL = [name + wear for name in NAMES for wear in WEARS if name != "disagree" or "again" not in wear]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_every_strategy_answers_with_different_candidates(name: str) -> None:
    candidates = random_candidates(1)
    for batch in (0, 1, 13, 60, 100):
        chosen = make_strategy(name, seed=3).query(candidates, batch)
        assert len(chosen) == min(batch, len(candidates))
        assert len(np.unique(chosen)) == len(chosen)
        assert ((chosen >= 0) & (chosen < len(candidates))).all()


@given(any_candidates(), st.sampled_from([n for n in NAMES if n != "typiclust"]), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_the_same_holds_for_strange_candidates_with_a_quota(
    candidates: Candidates, name: str, batch: int
) -> None:
    chosen = make_strategy(f"{name}+quota").query(candidates, batch)
    assert len(chosen) == min(batch, len(candidates))
    assert len(np.unique(chosen)) == len(chosen)


@given(any_candidates(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_the_quota_with_kls_is_line_8_of_algorithm_i(candidates: Candidates, k: int) -> None:
    """Where every predicted class has k members: exactly the k highest KLS of each."""
    predicted = candidates.predicted
    groups, counts = np.unique(predicted, return_counts=True)
    if counts.min() < k:
        return
    chosen = make_strategy("kls+quota").query(candidates, k * len(groups))
    expected = pool_top_k(UTILITIES["kls"](candidates), predicted, k)
    np.testing.assert_array_equal(chosen, expected)


def test_the_quota_hands_on_what_a_class_cannot_fill() -> None:
    candidates = random_candidates(5, count=40)
    predicted = candidates.predicted
    keep = np.flatnonzero((predicted != 0) | (np.cumsum(predicted == 0) <= 2))
    few = candidates.part(keep)
    chosen = make_strategy("lc+quota").query(few, 16)
    assert len(chosen) == 16
    counts = np.bincount(few.predicted[chosen], minlength=4)
    assert counts[0] == 2
    assert counts[1:].min() >= 4


@given(any_candidates(), st.sampled_from(list(UTILITIES)), st.booleans(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_stream_and_pool_select_the_same(
    candidates: Candidates, name: str, quota: bool, k: int
) -> None:
    stream = StreamQuery(UTILITIES[name], k, quota=quota)
    for start in range(0, len(candidates), 7):
        piece = candidates.part(np.arange(start, min(start + 7, len(candidates))))
        before = stream.selected()
        would = stream.query(piece)
        np.testing.assert_array_equal(stream.selected(), before)  # query changes nothing
        np.testing.assert_array_equal(stream.query(piece), would)
        stream.update(piece)
        taken = stream.selected()
        assert set(taken[taken >= start]) <= set(start + would)
    groups = candidates.predicted if quota else np.zeros(len(candidates), np.int64)
    expected = pool_top_k(UTILITIES[name](candidates), groups, k)
    np.testing.assert_array_equal(stream.selected(), expected)


def test_a_second_look_chooses_by_what_it_then_sees() -> None:
    candidates = random_candidates(2)
    asked: list[np.ndarray] = []

    def look_again(chosen: np.ndarray) -> np.ndarray:
        asked.append(chosen)
        sure = np.full((len(chosen), 4), -50.0)
        sure[:, 0] = 0
        sure[-1] = np.log(0.25)
        return sure[None]

    seen = Candidates(candidates.unlabelled, candidates.labelled, look_again)
    chosen = make_strategy("lc+again").query(seen, 1)
    assert len(asked) == 1
    assert len(asked[0]) == 3
    np.testing.assert_array_equal(chosen, asked[0][-1:])
    with pytest.raises(ValueError, match="look_again"):
        make_strategy("lc+again").query(Candidates(seen.unlabelled, seen.labelled), 1)


@pytest.mark.parametrize("name", ["rs", "badge"])
def test_draws_follow_from_the_seed(name: str) -> None:
    candidates = random_candidates(4)
    first, again, other = (make_strategy(name, s).query(candidates, 20) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", ["nothing", "kls+nothing", ""])
def test_an_unknown_strategy_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"no strategy|can wear"):
        make_strategy(name)
