"""The stream rule selects what the pool rule selects."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from device.judging.selection import StreamTopK, pool_top_k

Stream = st.lists(
    st.tuples(
        st.integers(0, 4),
        # Few distinct values, so that ties are common; infinity is a class without baseline.
        st.one_of(st.sampled_from([0.0, 0.5, 1.0, float("inf")]), st.floats(0, 100)),
    ),
    max_size=120,
)


@given(Stream, st.integers(0, 12))
def test_stream_selects_exactly_what_the_pool_rule_selects(
    stream: list[tuple[int, float]], k: int
) -> None:
    top: StreamTopK[int] = StreamTopK(k)
    for index, (predicted, score) in enumerate(stream):
        top.take(predicted, score, index)
    predicted_all = np.array([p for p, _ in stream], int)
    scores = np.array([s for _, s in stream], float)
    assert top.selected() == pool_top_k(scores, predicted_all, k).tolist()


@given(Stream, st.integers(1, 5))
def test_pool_rule_takes_the_k_highest_of_each_class(
    stream: list[tuple[int, float]], k: int
) -> None:
    predicted = np.array([p for p, _ in stream], int)
    scores = np.array([s for _, s in stream], float)
    chosen = pool_top_k(scores, predicted, k)
    for c in set(predicted.tolist()):
        members = sorted(scores[predicted == c], reverse=True)[:k]
        assert sorted(scores[[i for i in chosen if predicted[i] == c]], reverse=True) == members


@given(Stream, st.integers(1, 5), st.data())
def test_a_restart_in_the_middle_changes_nothing(
    stream: list[tuple[int, float]], k: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(stream)))
    whole: StreamTopK[int] = StreamTopK(k)
    before: StreamTopK[int] = StreamTopK(k)
    ever_taken = []
    for index, (predicted, score) in enumerate(stream):
        whole.take(predicted, score, index)
        if index < cut and before.take(predicted, score, index):
            ever_taken.append((predicted, score, index))
    after: StreamTopK[int] = StreamTopK(k)
    for predicted, score, key in ever_taken:  # as the store gives them back
        after.take(predicted, score, key)
    for index, (predicted, score) in enumerate(stream[cut:], cut):
        after.take(predicted, score, index)
    assert after.selected() == whole.selected()


@given(Stream, st.integers(0, 12), st.sets(st.integers(0, 119)))
def test_a_patch_forgotten_at_once_leaves_its_place_to_others(
    stream: list[tuple[int, float]], k: int, refused: set[int]
) -> None:
    top: StreamTopK[int] = StreamTopK(k)
    for index, (predicted, score) in enumerate(stream):
        if top.take(predicted, score, index) and index in refused:
            top.forget(index)
            assert top.would_take(predicted, score)
    selected = top.selected()
    assert not refused & set(selected)
    kept = [i for i in range(len(stream)) if i not in refused]
    for c in {stream[i][0] for i in kept}:
        of_class = [i for i in kept if stream[i][0] == c]
        found = [i for i in selected if stream[i][0] == c]
        if len(of_class) <= k and len([p for p, _ in stream if p == c]) <= k:
            assert set(found) == set(of_class)
        assert len(found) <= k


def test_few_of_a_long_stream_are_ever_taken() -> None:
    rng = random.Random(0)
    top: StreamTopK[int] = StreamTopK(9)
    taken = sum(top.take(i % 6, rng.random(), i) for i in range(60_000))
    assert taken < 6 * 9 * (1 + 8)  # k · C · (1 + ln(n / (k · C))) on average
