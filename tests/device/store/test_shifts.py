"""Shifts tile time, whatever the clocks do; the answers in one are counted."""

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.store.database import open_store
from device.store.shifts import Shift, labels_in_shift, last_shifts, shift_at

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Asia/Shanghai",
    "Pacific/Apia",
    "Australia/Lord_Howe",
]
STARTS = st.lists(
    st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59)),
    min_size=1, max_size=24, unique=True,
).map(sorted)  # fmt: skip
MOMENTS = st.integers(1_300_000_000 * 10**9, 1_900_000_000 * 10**9)


@given(STARTS, MOMENTS, st.sampled_from(ZONES))
def test_every_moment_is_in_one_shift_and_shifts_tile(
    starts: list[str], wall_ns: int, name: str
) -> None:
    zone = ZoneInfo(name)
    shift = shift_at(starts, wall_ns, zone)
    assert shift.begin_ns <= wall_ns < shift.end_ns
    for moment in (shift.begin_ns, shift.end_ns - 1):
        assert shift_at(starts, moment, zone) == shift
    assert shift_at(starts, shift.end_ns, zone).begin_ns == shift.end_ns
    assert shift_at(starts, shift.begin_ns - 1, zone).end_ns == shift.begin_ns


@given(STARTS, MOMENTS, st.sampled_from(ZONES))
def test_the_last_shifts_follow_each_other(starts: list[str], wall_ns: int, name: str) -> None:
    shifts = last_shifts(starts, wall_ns, 7, ZoneInfo(name))
    assert len(shifts) == 7
    assert shifts[0] == shift_at(starts, wall_ns, ZoneInfo(name))
    assert all(a.begin_ns == b.end_ns for a, b in pairwise(shifts))


@pytest.mark.parametrize(
    ("moment", "begin", "hours"),
    [
        ("2026-07-01 23:30", "2026-07-01 22:00", 8),
        ("2026-07-02 05:59", "2026-07-01 22:00", 8),  # across midnight
        ("2026-07-02 06:00", "2026-07-02 06:00", 8),
        ("2026-03-29 05:00", "2026-03-28 22:00", 7),  # clocks go forward
        ("2026-10-25 05:00", "2026-10-24 22:00", 9),  # and back
    ],
)
def test_a_night_shift(moment: str, begin: str, hours: int) -> None:
    zone = ZoneInfo("Europe/Berlin")
    at = int(datetime.fromisoformat(moment).replace(tzinfo=zone).timestamp()) * 10**9
    shift = shift_at(["06:00", "14:00", "22:00"], at, zone)
    assert datetime.fromtimestamp(shift.begin_ns / 1e9, zone).isoformat(" ")[:16] == begin
    assert shift.end_ns - shift.begin_ns == hours * 3600 * 10**9


def test_answers_of_a_shift_are_counted_without_those_taken_back(tmp_path: Path) -> None:
    db = open_store(tmp_path)
    rows = [  # patch, answer, time, repeat
        ("a", "class", 99, 0),  # before
        ("a", "undone", 100, 0),
        ("a", "can't tell", 101, 0),
        ("b", "class", 102, 0),
        ("b", "class", 103, 1),  # asked again
        ("c", "something new", 104, 0),
        ("d", "class", 105, 0),
        ("d", "undone", 201, 0),  # taken back after the end
        ("b", "class", 104, 1),
        ("b", "undone", 105, 1),
        ("e", "class", 200, 0),  # after
        ("f", "class", 150, 0),
        ("f", "class", 151, 1),
        ("f", "undone", 152, 0),  # both are taken back, one after the other
        ("f", "undone", 153, 1),
    ]
    for patch in "abcdef":
        db.execute("INSERT INTO patches VALUES (?, '', 0, 0, 1, 1, x'', NULL, NULL)", [patch])
    for i, (patch, answer, wall, repeat) in enumerate(rows):
        db.execute(
            "INSERT INTO labels VALUES (?, ?, ?, NULL, 'Anna', ?, 0, '', 1, ?)",
            [str(i), patch, answer, wall, repeat],
        )
    assert labels_in_shift(db, Shift(100, 200)) == 4
    db.close()
