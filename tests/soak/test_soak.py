"""What the soaks measure with, and three days of the month for real."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.soak.calendar import Calendar
from tests.soak.month import Month
from tests.soak.watch import (
    Sample,
    criteria_of,
    median_slope,
    run_and_weigh,
    summary,
    write_json,
)

needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="the calendar needs gcc: apt install gcc libc6-dev"
)
PROGRAM = """
import os, sys, threading, time
file = sys.argv[1]
open(file, "w").close()
wall, monotonic = time.time(), time.monotonic()
print("begun", flush=True)
sys.stdin.readline()
assert not threading.Event().wait(0.2)  # as long as it says, whatever the calendar says
time.sleep(0.2)
print(time.time() - wall, time.monotonic() - monotonic, time.time() - os.stat(file).st_mtime)
open(file + "2", "w").close()
print(time.time() - os.stat(file + "2").st_mtime)
"""


@needs_gcc
@pytest.mark.timeout(60)
def test_a_day_passes_for_both_clocks_and_for_files_but_waits_are_no_longer(tmp_path: Path) -> None:
    calendar = Calendar(tmp_path)
    calendar.step(3600)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "file")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | calendar.environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        calendar.step(86_400)
        said, _ = process.communicate("go on\n")
    assert process.returncode == 0
    first, second = said.splitlines()
    for seconds in map(float, first.split()):
        assert 86_400 < seconds < 86_440
    assert abs(float(second)) < 10


def test_samples_at_one_time_say_nothing_of_the_slope() -> None:
    at, values = np.array([0, 1, 1, 2, 2]), np.array([10, 12, 12, 14, 99.0])
    assert median_slope(at, values) == 2
    assert median_slope(at[:1], values[:1]) == 0


def samples(growth_mb_per_hour: float, hours: float = 2, leak: int = 0) -> list[Sample]:
    """Every ten seconds; each tenth the clean-up holds more for a moment."""
    found: list[Sample] = []
    for i in range(int(hours * 360)):
        busy = i % 10 == 0
        rss = 150 + growth_mb_per_hour * i / 360 + 12 * busy
        found.append((10.0 * i, rss, rss - 50, 9, 15 + 4 * busy + leak * i // 400))
    return found


@pytest.mark.parametrize(
    ("growth", "leak", "met"), [(0.0, 0, True), (0.9, 0, True), (1.5, 0, False), (0.0, 2, False)]
)
def test_what_grows_is_found_and_what_comes_and_goes_is_not(
    growth: float, leak: int, met: bool
) -> None:
    found = summary(samples(growth, leak=leak), 900)
    assert found["rss_mb"]["slope_per_hour"] == pytest.approx(growth, abs=0.05)
    assert all(one.met for one in criteria_of("device", found)) == met


def test_a_short_run_says_nothing_of_slopes() -> None:
    assert criteria_of("device", summary(samples(50, hours=0.2), 0))[0].met is None
    assert criteria_of("device", summary(samples(0, hours=2), 1e6))[0].met is None


def test_the_file_is_whole_json_with_a_line_for_each_sample(tmp_path: Path) -> None:
    found = {"samples": {"device": samples(1)[:3]}, "store": [[1, None, 2.5]], "name": "[ 1 ]"}
    write_json(tmp_path / "out.json", found)
    text = (tmp_path / "out.json").read_text()
    assert json.loads(text)["samples"]["device"] == [list(one) for one in samples(1)[:3]]
    assert "[10.0, " in text
    assert json.loads(text)["store"] == [[1, None, 2.5]]
    assert list(tmp_path.iterdir()) == [tmp_path / "out.json"]


def test_a_command_is_weighed_without_what_the_weigher_holds() -> None:
    held = bytearray(200_000_000)
    status, peak, seconds, said = run_and_weigh(
        [sys.executable, "-c", "import time; x = b'x' * 50_000_000; time.sleep(0.6); print(7)"]
    )
    assert (status, said) == (0, "7\n")
    assert 50 < peak < 150 < len(held) / 1e6
    assert seconds >= 0.6


@needs_gcc
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_three_days_and_their_nights(tmp_path: Path) -> None:
    file = tmp_path / "month.json"
    folder = tmp_path / "plant"
    folder.mkdir()
    Month(3, folder, file).to_the_end()  # too few days for the bounds of a month
    found = json.loads(file.read_text())
    assert found["days"] == 3
    assert found["published"] + found["kept_back"] == 3
    assert found["answers"] > 100
    assert found["not_once"] == 0
    assert (found["restarts"], found["refused"], found["integrity"]) == ([], [], "ok")
    assert found["events"]["backup"] >= 3  # one each day
    assert "clock" not in found["events"]  # nothing has jumped
    assert "has expired" in found["expiry"]["while expired"]
