"""Every row runs and says something sane; a slower implementation changes its ratio."""

import importlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.errors import UserError
from device.bench import ROWS, kls, loop, months, queries
from device.bench.frames import COLUMNS, PATCHES, frame_of
from device.bench.loop import live
from device.bench.network import FLOP
from device.bench.row import Inputs, Row
from device.bench.source import MemorySource
from device.judging.patches import Cutter
from device.judging.verdict import judge
from device.store.database import open_store

UNITS = {"frames/s", "patches/s", "GFLOP/s", "µs", "ms", "s", "MB", "%"}
PROCESSES = {"cameras", "start", "memory"}
"""Rows that start programs, which takes them long."""
MANY = {"frames", "keeping"}
"""Rows that take a while even so."""


def measured(name: str, inputs: Inputs) -> list[Row]:
    """The rows of a name, each checked."""
    rows: list[Row] = importlib.import_module(ROWS[name]).measure(inputs)
    assert rows
    for row in rows:
        assert row.unit in UNITS
        assert len(row.runs) == inputs.runs
        assert 0 < row.value < 1e7
        assert 0 < row.ratio < 1000
        assert row.yardstick
    assert not any(inputs.scratch.rglob("millsight.db")), "a store was left behind"
    return rows


@pytest.mark.parametrize("name", sorted(ROWS.keys() - PROCESSES - MANY - {"queries"}))
def test_every_row_says_something_sane(name: str, inputs: Inputs) -> None:
    measured(name, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PROCESSES | MANY))
def test_every_long_row_says_something_sane(name: str, inputs: Inputs) -> None:
    rows = measured(name, inputs)
    if name == "memory":
        assert 50 < rows[0].value < 300


def slowed(work: Any, seconds: float) -> Any:
    """The same, and some time lost."""

    def slow(*arguments: Any, **named: Any) -> Any:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
        return work(*arguments, **named)

    return slow


def test_a_slower_loop_has_a_lower_ratio(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FRAMES_QUICK", 60)
    inputs = replace(inputs, files=inputs.files[:20])
    before = loop.measure(inputs)[1].ratio
    monkeypatch.setattr("device.loop.loop.judge", slowed(judge, 0.05))
    assert loop.measure(inputs)[1].ratio < before / 2


def test_a_slower_decision_has_a_higher_ratio(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kls.measure(inputs)[0].ratio
    monkeypatch.setattr("device.bench.kls.judge", slowed(judge, 0.002))
    assert kls.measure(inputs)[0].ratio > 2 * before


def test_a_loop_that_judges_nothing_is_no_figure(inputs: Inputs) -> None:
    dark = np.zeros((200, 200), np.uint8)
    with pytest.raises(UserError, match="40 of 40 pictures were not judged"):
        live(inputs, lambda _report: MemorySource([dark], 40))


def test_the_networks_work_is_that_of_its_convolutions() -> None:
    assert FLOP == 70_530_048


def test_a_frame_is_cut_into_the_patches_it_is_made_of(inputs: Inputs) -> None:
    patches = inputs.patches[:PATCHES]
    recipe = inputs.settings.recipe.model_copy(update={"regions": "grid"})
    cut = Cutter(recipe).cut(frame_of(patches))
    assert np.array_equal(np.stack(list(cut.patches)), patches)
    assert cut.regions[COLUMNS].y == 200


def test_a_filled_store_holds_what_it_says_and_is_kept(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(months, "IN_A_DAY", 100)
    store = months.filled(inputs.cache, inputs.settings, inputs.model_file, 300)
    made = (store.folder / "made").stat().st_mtime_ns
    again = months.filled(inputs.cache, inputs.settings, inputs.model_file, 300)
    assert again == store
    assert (store.folder / "made").stat().st_mtime_ns == made
    db = open_store(store.folder)
    counts = [
        db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("patches", "frames", "flags", "counters")
    ]
    in_cycle = db.execute(
        "SELECT count(*) FROM flags WHERE cycle = (SELECT max(id) FROM cycles)"
    ).fetchone()[0]
    lots = db.execute("SELECT count(DISTINCT lot) FROM frames").fetchone()[0]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert queries.queue(db, inputs.settings, store) > 0
    assert queries.today(db, inputs.settings, store) > 5
    db.close()
    assert counts == [300] * 4
    assert in_cycle == 100
    assert lots > 100


def test_queries_are_measured_on_two_stores(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "SMALL", 50)
    monkeypatch.setattr(queries, "LARGE_QUICK", 400)
    rows = measured("queries", inputs)
    assert [row.unit for row in rows] == ["ms", "ms"]
    assert {path.name for path in Path(inputs.cache).iterdir()} == {"store-50", "store-400"}
