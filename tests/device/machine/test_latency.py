"""How long parts took, and where the time went."""

import json
import subprocess
import sys
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from config.document import to_toml
from config.settings import Settings
from device.machine.codes import Code
from device.machine.latency import (
    LATEST,
    STEPS,
    as_json,
    latency_of,
    latest,
    lines,
    slowness,
    spread,
)
from device.store.database import open_store
from device.store.parts import Part, Split, add_part
from device.watching.status import device_status, status_lines

ROOT = Path(__file__).parents[3]


NOTHING = Split()


def a_part(took_ms: float, split: Split = NOTHING, code: Code = Code.NONE) -> Part:
    now = (time.time_ns(), time.monotonic_ns())
    verdict = "fault" if code else "pass"
    return Part(1, "P", "L", "", "r", "m", verdict, "", int(code), took_ms, *now, split)


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=300))
def test_a_spread_is_of_values_that_occurred(values: list[float]) -> None:
    found = spread(values)
    assert set(found) <= set(values)
    assert found.median <= found.p99 <= found.worst == max(values)
    assert sum(v > found.p99 for v in values) <= 0.01 * len(values)
    assert 2 * sum(v < found.median for v in values) <= len(values)


def test_only_judged_parts_count_and_misses_are_told() -> None:
    parts = [a_part(100, Split(20, 10, 60, 10, 5)), a_part(300, Split(200, 20, 70, 10, None))]
    parts += [a_part(1000, Split(answer=2.0), Code.DEADLINE), a_part(0, code=Code.EDITING)]
    found = latency_of(parts)
    assert (found.parts, found.judged, found.missed) == (4, 2, 1)
    assert found.total == spread([105, 300]), "the way to the PLC counts"
    assert found.steps.keys() == set(STEPS)
    assert found.steps["grab"] == spread([20, 200])
    assert found.steps["answer"] == spread([5])
    assert as_json(found, 1.0)["deadline_ms"] == 1000
    text = "\n".join(lines(found, 1.0))
    assert "4 parts, 2 judged, 1 without a verdict in 1 s" in text
    assert "the slowest took 30% of it" in text
    assert lines(latency_of([]), 1) == ["no part was judged yet; parts come with machine.trigger"]


def test_the_latest_parts_are_shown_by_command_and_status(
    settings: Settings, tmp_path: Path
) -> None:
    db = open_store(settings.device.data)
    with db.atomic():
        add_part(db, a_part(9000, Split(1, 1, 1, 1, 1)))
        for _ in range(LATEST):
            add_part(db, a_part(100, Split(20, 10, 60, 10, 5)))
    assert latest(db).total == spread([105])
    db.close()
    text = "\n".join(status_lines(device_status(settings)))
    assert "trigger to result 105 ms (median), 105 ms (99th), 105 ms (worst) of 1000" in text
    file = tmp_path / "site.toml"
    file.write_text(to_toml(settings))
    command = [sys.executable, "-m", "millsight", "device", "latency", "--config", str(file)]
    said = subprocess.run(
        [*command, "--parts", "1001", "--json"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    assert json.loads(said)["total_ms"] == {"median": 105, "p99": 105, "worst": 9001}


def test_an_answer_near_the_deadline_is_told_with_where_the_time_went() -> None:
    split = Split(600, 50, 150, 10, None)
    said = "part 1 took 810 of 1000 ms (grab 600, prepare 50, infer 150, decide 10)"
    assert slowness(a_part(810, split), 1.0) == said
    assert slowness(a_part(790, split), 1.0) is None
    assert slowness(a_part(1000, code=Code.DEADLINE), 1.0) is None, "that one is an error already"
