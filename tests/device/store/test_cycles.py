"""A new day frees the quota of questions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from device.store.cycles import DAY_NS, begin_day, start_cycle
from device.store.database import open_store
from device.store.shifts import shift_at
from device.system.clock import stamp

NOON = shift_at(["12:00"], stamp().wall_ns).begin_ns


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    store = open_store(tmp_path)
    yield store
    store.close()


def put_back(db: Database, wall_ns: int, recipe: str = "") -> None:
    """As if the last cycle of a recipe had begun at a moment."""
    db.execute(
        "UPDATE cycles SET wall_ns = ? WHERE id = (SELECT max(id) FROM cycles WHERE recipe = ?)",
        [wall_ns, recipe],
    )


def cycles(db: Database) -> int:
    return int(db.execute("SELECT count(*) FROM cycles").fetchone()[0])


def test_a_day_begins_once_and_with_its_first_shift(db: Database) -> None:
    put_back(db, NOON)
    assert begin_day(db, "06:00", NOON + 1) == []
    assert begin_day(db, "06:00", NOON + 17 * DAY_NS // 24) == []  # 05:00 or so, still the same
    assert begin_day(db, "06:00", NOON + DAY_NS) == [""]
    put_back(db, NOON + DAY_NS)
    assert begin_day(db, "06:00", NOON + DAY_NS + 1) == []
    assert cycles(db) == 2


def test_every_recipe_has_its_own(db: Database) -> None:
    start_cycle(db, "first use", "ring")
    put_back(db, NOON)
    put_back(db, NOON + DAY_NS, "ring")
    assert begin_day(db, "06:00", NOON + DAY_NS) == [""]


@pytest.mark.parametrize("began", [0, NOON + 3650 * DAY_NS])
def test_a_cycle_that_a_wrong_clock_began_ends(db: Database, began: int) -> None:
    put_back(db, began)
    assert begin_day(db, "06:00", NOON) == [""]


def test_a_clock_that_is_surely_wrong_begins_nothing(db: Database) -> None:
    put_back(db, NOON)
    assert begin_day(db, "06:00", 10**15) == []
