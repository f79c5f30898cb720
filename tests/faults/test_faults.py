"""Faults for real: some of them once in the everyday suite, all of them 20 times when asked."""

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.faults.faults import FAULTS
from tests.faults.power_cut import (
    CUT,
    FLUSH,
    WRITE,
    Entry,
    passed,
    power_cuts,
    pull_the_plug,
)
from tests.faults.run import run_fault

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(
        shutil.which("gcc") is None, reason="the shim needs gcc: apt install gcc libc6-dev"
    ),
]
EVERY_DAY = ["disk-read-only", "model-damaged"]


@pytest.mark.parametrize("name", EVERY_DAY)
def test_judging_resumes_and_nothing_is_lost(name: str, tmp_path: Path) -> None:
    result = run_fault(name, 1, 0, tmp_path)
    assert result["passed"], result


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FAULTS)
def test_twenty_times_each(name: str, tmp_path: Path) -> None:
    if FAULTS[name].own_disk and os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    result = run_fault(name, 20, 0, tmp_path)
    print(result)
    assert result["passed"], result


def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    result = power_cuts(2, 0, tmp_path)
    assert passed(result), result
    assert result["writes"] > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_power_cuts(tmp_path: Path) -> None:
    result = power_cuts(200, 0, tmp_path)
    print(result)
    assert passed(result), result
    assert result["with_writes_lost"] > 20


def entry(when: int, kind: int, file: Path, at: int = 0, size: int = 0) -> Entry:
    content = file.read_bytes()
    length = size if kind == WRITE else len(content)
    return Entry(when, kind, str(file), at, size, content[at : at + length], len(content))


def test_what_was_flushed_stays_and_what_was_not_may_go(tmp_path: Path) -> None:
    seen = set()
    for seed in range(40):
        file = tmp_path / str(seed)
        file.write_bytes(b"aaaa")
        entries = []
        for when, text in ((1, b"bbbb"), (3, b"cccc")):
            entries.append(entry(when, WRITE, file, 0, 4))
            file.write_bytes(text)
            if when == 1:
                entries.append(entry(2, FLUSH, file))
        entries.append(entry(4, WRITE, file, 4, 2))
        file.write_bytes(b"ccccdd")
        entries.append(entry(5, CUT, file, 1, 1))
        file.write_bytes(b"c")
        pull_the_plug(entries, random.Random(seed))
        seen.add(file.read_bytes())
    assert b"aaaa" not in seen  # never back behind the flush
    assert {b"bbbb", b"c"} <= seen
