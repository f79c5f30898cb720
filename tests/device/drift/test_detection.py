"""Drift: what is named, how seldom it is wrong, how soon it is seen."""

import math

import numpy as np
import pytest

from device.drift.detection import (
    BINS,
    Gathering,
    Moved,
    ScoreReference,
    Tolerance,
    _deviates,
    frames_moved,
    kind_of,
)
from device.judging.kls import LEAST_BIN
from tests.device.drift.stream_simulated import (
    DAY,
    Change,
    darker,
    defocused,
    new_class,
    other_steel,
    stationary,
    watch,
)

CHANGES: list[tuple[Change, str]] = [
    (darker, "light"),
    (defocused, "lens"),
    (other_steel, "material"),
    (new_class, "new surface"),
]


def moved(what: str, before: float, after: float, size: float = 2) -> Moved:
    return Moved(what, None, before, after, size)


def test_what_moved_says_what_it_may_be() -> None:
    darker = moved("light", 100, 80)
    softer = moved("sharpness", 0.2, 0.1, 3)
    flatter = moved("contrast", 0.2, 0.1)
    assert kind_of([]) is None
    assert kind_of([darker]) == "light"
    assert kind_of([softer]) == "lens"
    assert kind_of([softer, flatter]) == "lens"
    assert kind_of([darker, softer]) == "lens"
    assert kind_of([darker._replace(size=9), softer]) == "light"
    assert kind_of([moved("sharpness", 0.1, 0.2)]) == "material"
    assert kind_of([softer, moved("contrast", 0.1, 0.2)]) == "material"
    assert kind_of([flatter]) == "material"
    assert kind_of([moved("unusual", 0.01, 0.05)]) == "new surface"
    assert kind_of([moved("mix", 0.1, 0.5), darker]) == "light"


def test_a_deviation_is_beyond_the_spread_and_large_enough() -> None:
    rng = np.random.default_rng(0)
    usual = rng.normal(0, 1, 200)
    tolerance = Tolerance(margin=2.0, usual=1.0)
    assert not _deviates(usual, 4.0, tolerance)
    assert _deviates(usual, 7.0, tolerance)
    assert _deviates(usual, -7.0, tolerance)
    assert not _deviates(usual, -7.0, tolerance, upwards=True)
    assert not _deviates(usual, 7.0, Tolerance(8.0, 1.0))
    assert not _deviates(usual, math.nan, tolerance)
    assert not _deviates(usual[:4], 5.0, tolerance)  # four say little of the spread
    wandering = np.cumsum(rng.normal(0, 0.5, 200))
    wandering -= wandering.mean()
    assert not _deviates(wandering, 5 * float(wandering.std()), Tolerance(0.1, 3.0))


def test_a_constant_reference_is_no_division_by_zero() -> None:
    assert _deviates(np.zeros(50), 1.0, Tolerance(0.1, 0.05))
    assert not _deviates(np.zeros(50), 0.05, Tolerance(0.1, 0.05))
    assert frames_moved(np.zeros((50, 3)), np.zeros((12, 3))) == []
    assert frames_moved(np.empty((0, 3)), np.zeros((12, 3))) == []


def test_scores_that_never_were_are_unusual() -> None:
    scores = np.zeros((300, 2, BINS), np.int64)
    scores[:, :, 8:12] = 25
    now = scores[:12].copy()
    reference = ScoreReference(scores)
    assert reference.moved(now, ["a", "b"]) == []
    now[:, 0, 20] = 20
    found = reference.moved(now, ["a", "b"])
    assert [(one.what, one.class_name) for one in found] == [("unusual", None)]
    assert found[0].before == 0
    assert found[0].after == pytest.approx(20 / 220)
    now = scores[:12].copy()
    now[:, 1] *= 9
    assert {(one.what, one.class_name) for one in reference.moved(now, ["a", "b"])} == {
        ("mix", "a"), ("mix", "b"),
    }  # fmt: skip
    now = np.zeros((12, 2, BINS), np.int64)
    assert reference.moved(now, ["a", "b"]) == []  # nothing was judged


def test_a_block_is_the_mean_of_its_frames() -> None:
    gathering = Gathering(2)
    gathering.add_frame(100, 20, 0.1)
    gathering.add_frame(64, 16, 0.4)
    gathering.add_scores([0, 1, 1], [LEAST_BIN, 0, 0])
    block = gathering.block()
    assert block.frames == 2
    assert np.exp(block.looks) == pytest.approx([80, math.sqrt(0.2 * 0.25), 0.2])
    assert block.scores.sum(axis=1).tolist() == [1, 2]
    assert block.scores[1, -LEAST_BIN] == 2
    black = Gathering(0)
    black.add_frame(0, 0, 0)
    assert np.isfinite(black.block().looks).all()


def test_three_quiet_days_raise_no_alarm() -> None:
    assert watch(stationary(np.random.default_rng(5), 3)) == []


@pytest.mark.parametrize(("change", "kind"), CHANGES, ids=[kind for _, kind in CHANGES])
def test_a_change_is_seen_within_two_hours_and_named(change: Change, kind: str) -> None:
    rng = np.random.default_rng(11)
    stream = stationary(rng, 1.6)
    at = int(1.2 * DAY)
    change(stream, at, rng)
    block, named, _ = watch(stream)[0]
    assert at <= block < at + 24
    assert named == kind


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_at_most_one_false_alarm_a_month() -> None:
    months = 12
    alarms = [watch(stationary(np.random.default_rng([3, m]), 30)) for m in range(months)]
    kinds = sorted(kind for month in alarms for _, kind, _ in month)
    print(f"\n{len(kinds)} false alarms in {months} months: {kinds}")
    assert len(kinds) <= months


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("change", "kind"), CHANGES, ids=[kind for _, kind in CHANGES])
@pytest.mark.parametrize("after_days", [0.5, 1.2])
def test_how_soon_changes_are_seen(change: Change, kind: str, after_days: float) -> None:
    delays, names = [], []
    for run in range(10):
        rng = np.random.default_rng([7, run])
        stream = stationary(rng, after_days + 1)
        at = int(after_days * DAY)
        change(stream, at, rng)
        found = [(block, name) for block, name, _ in watch(stream) if block >= at]
        if found:
            delays.append(5 * (found[0][0] - at + 1))
            names.append(found[0][1])
    said = np.percentile(delays, [50, 90]).tolist() if delays else []
    print(
        f"\n{kind}, after {after_days} days: seen {len(delays)} of 10, median and 90 % "
        f"{said} minutes, named rightly {names.count(kind)}"
    )
    assert len(delays) >= (9 if after_days > 1 else 4)
    assert names.count(kind) >= (0.8 if after_days > 1 else 0.6) * len(names)
