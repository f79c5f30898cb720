"""The figures of small stores made by hand, whose answers are known."""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from device.judging.kls import LEAST_BIN, MOST_BIN, bin_edge
from device.models.models_in_use import record_activation
from device.reports.day import (
    HOUR_NS,
    MINUTE_NS,
    Asked,
    Choice,
    ScoresOf,
    asked,
    defects,
    operators_agreement,
    parts,
    scores,
    verdicts,
)
from device.store.database import open_store
from device.store.shifts import Shift
from device.store.trail import begin_lot

BEGIN = 1_800_000_000 // 3600 * 3600 * 10**9
SHIFT = Shift(BEGIN, BEGIN + 8 * HOUR_NS)
MODEL = "m" * 64
CLASSES = ["clean", "pit", "scratch"]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A store with a model in use."""
    store = open_store(tmp_path)
    for number, model in enumerate((MODEL, "o" * 64)):
        store.execute(
            "INSERT INTO models VALUES (?, 1, '{}', ?, 0, '', 1, NULL)", [model, BEGIN + number]
        )
        for i, name in enumerate(CLASSES):
            store.execute(
                "INSERT INTO baselines VALUES (?, ?, ?, 1, NULL, ?)",
                [model, i, name, [0.1, None, 1.0][i]],
            )
    record_activation(store, MODEL, "test")
    yield store
    store.close()


def count(db: Database, minute: int, verdict: str, name: str, frames: int, part: str = "") -> None:
    """Count frames, minutes after the shift's begin."""
    db.execute(
        "INSERT INTO counters VALUES (?, ?, 'r', ?, ?, ?, '', ?)",
        [BEGIN // MINUTE_NS + minute, MODEL, verdict, name, part, frames],
    )


def flag(
    db: Database,
    name: str,
    reason: str = "audit",
    predicted: str = "pit",
    *,
    at: int = BEGIN,
    part: str = "",
    model: str | None = MODEL,
    alike: str | None = None,
) -> str:
    """Keep a patch, and its frame; the patch's id."""
    patch = hashlib.sha256(name.encode()).hexdigest()
    db.execute(
        "INSERT OR IGNORE INTO frames VALUES (?, 'box', 0, ?, 0, '', 1, '', 200, 200, 'r', ?, "
        "'unsure', NULL, NULL, ?, 'L1')",
        ["frame" + name, at, model, part],
    )
    db.execute(
        "INSERT OR IGNORE INTO patches VALUES (?, 'box', 0, 0, 9, 9, x'', NULL, NULL)", [patch]
    )
    db.execute(
        "INSERT INTO flags (patch_id, frame_id, cycle, reason, predicted, score, alike) "
        "VALUES (?, ?, (SELECT max(id) FROM cycles), ?, ?, 1, ?)",
        [patch, "frame" + name, reason, predicted, alike],
    )
    return patch


def say(
    db: Database,
    patch: str,
    answer: str,
    name: str | None = None,
    who: str = "Anna",
    *,
    repeat: bool = False,
    at: int = BEGIN,
) -> None:
    """Answer a question."""
    number = db.execute("SELECT count(*) FROM labels").fetchone()[0]
    db.execute(
        "INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?, 0, '', 1, ?)",
        [str(number), patch, answer, name, who, at, repeat],
    )


def test_verdicts_by_the_quarter_of_an_hour(db: Database) -> None:
    count(db, -1, "pass", "clean", 99)
    count(db, 0, "pass", "clean", 5)
    count(db, 14, "pass", "clean", 2, "P")
    count(db, 15, "fail", "pit", 3, "P")
    count(db, 479, "fault", "frozen", 4)
    count(db, 480, "pass", "clean", 99)
    quarters = verdicts(db, Choice(SHIFT))
    assert len(quarters) == 32
    assert [dict(q) for q in quarters if q] == [{"pass": 7}, {"fail": 3}, {"fault": 4}]
    assert quarters[31] == {"fault": 4}
    only = verdicts(db, Choice(SHIFT, part="P"))
    assert [dict(q) for q in only if q] == [{"pass": 2}, {"fail": 3}]
    only = verdicts(db, Choice(SHIFT, class_name="clean"))
    assert [dict(q) for q in only if q] == [{"pass": 7}]


def test_defects_by_class(db: Database) -> None:
    count(db, 0, "fail", "pit", 3)
    count(db, 9, "fail", "scratch", 4, "P")
    count(db, 10, "fail", "pit", 3)
    count(db, 10, "fault", "frozen", 9)
    count(db, 480, "fail", "pit", 9)
    assert defects(db, Choice(SHIFT)) == [("pit", 6), ("scratch", 4)]
    assert defects(db, Choice(SHIFT, part="P")) == [("scratch", 4)]
    assert defects(db, Choice(SHIFT, class_name="pit")) == [("pit", 6)]


def test_how_many_patches_were_asked_about(db: Database) -> None:
    hour = BEGIN // HOUR_NS
    for i, (at, name, part, patches) in enumerate(
        [(0, "pit", "", 60), (7, "clean", "P", 40), (8, "pit", "", 9), (-1, "pit", "", 9)]
    ):
        db.execute(
            "INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?)",
            [hour + at, MODEL, name, part, i, patches],
        )
    flag(db, "a")
    flag(db, "a", "uncertain")  # for two reasons, once
    flag(db, "b", "uncertain", "clean", part="P")
    flag(db, "c", "defect")
    flag(db, "d", "cold-start", model=None)
    flag(db, "e", at=SHIFT.end_ns)
    flag(db, "f", "uncertain", alike=flag(db, "g", at=SHIFT.end_ns))
    assert asked(db, Choice(SHIFT)) == (2, 100)
    assert asked(db, Choice(SHIFT)).share == 0.02
    assert asked(db, Choice(SHIFT, part="P")) == (1, 40)
    assert asked(db, Choice(SHIFT, class_name="pit")) == (1, 60)
    assert Asked(0, 0).share is None


def test_scores_and_the_share_over_the_threshold(db: Database) -> None:
    hour = BEGIN // HOUR_NS
    for name, part, number, patches in [
        ("clean", "", -5, 30), ("clean", "P", -4, 10), ("clean", "P", 0, 5), ("pit", "", 8, 7),
    ]:  # fmt: skip
        db.execute(
            "INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?)",
            [hour, MODEL, name, part, number, patches],
        )
    db.execute("INSERT INTO scores VALUES (?, 'another', 'clean', '', 0, 99)", [hour])
    clean, pit, scratch = scores(db, MODEL, Choice(SHIFT))
    assert [s.class_name for s in (clean, pit, scratch)] == CLASSES
    assert clean.bins[-5 - LEAST_BIN] == 30
    assert clean.patches == 45
    assert clean.share_over == pytest.approx(15 / 45)  # the threshold is where bin -4 begins
    assert pit.share_over == 1  # no threshold
    assert scratch.share_over is None  # no patch
    assert [s.patches for s in scores(db, MODEL, Choice(SHIFT, "P", "clean"))] == [15]


def test_scores_are_held_against_the_two_days_before(db: Database) -> None:
    hour = BEGIN // HOUR_NS
    for at, model, number, patches in [
        (hour, MODEL, 0, 9), (hour - 1, MODEL, 0, 30), (hour - 48, MODEL, -9, 10),
        (hour - 49, MODEL, 0, 99), (hour - 1, "another", 0, 99),
    ]:  # fmt: skip
        db.execute(
            "INSERT INTO scores VALUES (?, ?, 'clean', '', ?, ?)", [at, model, number, patches]
        )
    clean = scores(db, MODEL, Choice(SHIFT))[0]
    assert clean.patches == 9
    assert sum(clean.usual) == 40
    assert clean.share_over == 1
    assert clean.usual_over == pytest.approx(0.75)


def test_the_bin_of_the_threshold_counts_in_part() -> None:
    bins = [0] * (MOST_BIN - LEAST_BIN + 1)
    bins[-LEAST_BIN] = 8
    middle = math.sqrt(bin_edge(0) * bin_edge(1))
    assert ScoresOf("pit", bins, middle, bins).share_over == pytest.approx(0.5)
    assert ScoresOf("pit", bins, 1e9, []).share_over == 0


def test_agreement_from_blinded_repeats(db: Database) -> None:
    answers = [("class", "pit"), ("class", "scratch"), ("can't tell", None)]
    for i, (first, second) in enumerate([(0, 0), (1, 1), (2, 2), (0, 1), (1, 0), (0, 0)]):
        patch = flag(db, str(i))
        say(db, patch, *answers[first])
        say(db, patch, *answers[second], "李伟", repeat=True)
    taken_back = flag(db, "taken back")
    say(db, taken_back, "class", "pit")
    say(db, taken_back, "class", "pit", "李伟", repeat=True)
    say(db, taken_back, "undone", None, "李伟", repeat=True)
    oneself = flag(db, "oneself")
    say(db, oneself, "class", "pit")
    say(db, oneself, "class", "pit", repeat=True)
    found = operators_agreement(db, BEGIN)
    assert found[:2] == (6, 4)
    assert found.people == ("Anna", "李伟")
    # Shares 3/6, 2/6, 1/6 of both: chance 14/36.
    assert found.kappa == pytest.approx((4 / 6 - 14 / 36) / (1 - 14 / 36))
    assert operators_agreement(db, BEGIN + 29 * 24 * HOUR_NS).pairs == 0
    third = flag(db, "third")
    say(db, third, "class", "pit")
    say(db, third, "class", "pit", "Zoe", repeat=True)
    assert operators_agreement(db, BEGIN).people is None


def test_a_new_thing_called_like_a_class_is_not_the_class(db: Database) -> None:
    patch = flag(db, "a")
    say(db, patch, "class", "something new")
    say(db, patch, "something new", "pit", "李伟", repeat=True)
    assert operators_agreement(db, BEGIN).alike == 0


def test_parts_are_those_of_the_lots(db: Database) -> None:
    for part in ("A", "B", "", "A"):
        begin_lot(db, part, "L", "Anna")
    assert parts(db) == ["A", "B"]


def test_an_empty_store_has_empty_figures(tmp_path: Path) -> None:
    db = open_store(tmp_path / "empty")
    choice = Choice(SHIFT)
    assert sum(verdicts(db, choice), start=verdicts(db, choice)[0]) == {}
    assert defects(db, choice) == []
    assert asked(db, choice) == (0, 0)
    assert scores(db, MODEL, choice) == []
    assert operators_agreement(db, BEGIN).kappa is None
    assert parts(db) == []
    assert json.dumps(asked(db, choice).share) == "null"
    db.close()
