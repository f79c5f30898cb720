"""What a lot's report reads from a small store made by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from device.reports import lots
from device.reports.day import MINUTE_NS
from device.store.database import open_store
from device.store.trail import add_action, begin_lot

MINUTE = 30_000_000
MODEL = "m" * 64


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """Two lots of two parts; the first lot of part A was in work twice."""
    store = open_store(tmp_path)
    for part, lot in [("A", "1"), ("B", "1"), ("A", "2"), ("A", "1")]:
        begin_lot(store, part, lot, "Anna")
    yield store
    store.close()


def frame(db: Database, name: str, verdict: str, lot: lots.Lot, at: int = 0) -> None:
    """Keep a frame, minutes after the begin."""
    db.execute(
        "INSERT INTO frames VALUES (?, 'box', 0, ?, 0, '', 1, '', 9, 9, 'r', ?, ?, 'pit', NULL, "
        "?, ?)",
        [name, (MINUTE + at) * MINUTE_NS, MODEL, verdict, lot.part, lot.lot],
    )


def flag(
    db: Database, frame_id: str, patch: str, reason: str, score: float = 1, alike: str | None = None
) -> None:
    """Keep a patch of a frame."""
    db.execute(
        "INSERT OR IGNORE INTO patches VALUES (?, 'box', 0, 0, 9, 9, x'', NULL, NULL)", [patch]
    )
    db.execute(
        "INSERT INTO flags (patch_id, frame_id, cycle, reason, predicted, score, alike) "
        "VALUES (?, ?, 1, ?, 'pit', ?, ?)",
        [patch, frame_id, reason, score, alike],
    )


def say(db: Database, patch: str, answer: str, who: str, at: int, *, repeat: bool = False) -> None:
    """Answer a question, minutes after the begin."""
    db.execute(
        "INSERT INTO labels VALUES (?, ?, ?, 'pit', ?, ?, 0, '', 1, ?)",
        [f"{patch}{at}", patch, answer, who, (MINUTE + at) * MINUTE_NS, repeat],
    )


def test_lots_are_those_of_a_part_newest_first(db: Database) -> None:
    found = lots.lots(db, 10)
    assert [(lot.id, lot.part, lot.lot) for lot in found] == [
        (4, "A", "1"), (3, "A", "2"), (2, "B", "1"),
    ]  # fmt: skip
    assert [lot.id for lot in lots.lots(db, 1, 1)] == [3]
    begin_lot(db, "", "", "Anna")
    assert lots.count_lots(db) == 3
    assert lots.find_lot(db, 99) is None


def test_frames_defects_and_questions_are_of_this_lot_only(db: Database) -> None:
    one, other = lots.find_lot(db, 4), lots.find_lot(db, 2)
    assert one is not None
    assert other is not None
    for minute, verdict, name, part, count in [
        (5, "pass", "clean", "A", 90), (7, "fail", "pit", "A", 4), (9, "fail", "scratch", "A", 6),
        (9, "fault", "dark", "A", 1), (20, "pass", "clean", "B", 50),
    ]:  # fmt: skip
        db.execute(
            "INSERT INTO counters VALUES (?, ?, 'r', ?, ?, ?, '1', ?)",
            [MINUTE + minute, MODEL, verdict, name, part, count],
        )
    frames = lots.frames(db, one)
    assert frames.verdicts == {"pass": 90, "unsure": 0, "fail": 10, "fault": 1}
    assert list(frames.classes.items()) == [("scratch", 6), ("pit", 4)]
    assert frames.begin_ns == (MINUTE + 5) * MINUTE_NS
    assert frames.end_ns == (MINUTE + 10) * MINUTE_NS
    assert frames.models == [MODEL]

    frame(db, "f1", "fail", one, 1)
    frame(db, "f2", "fail", one)
    frame(db, "f3", "unsure", one)
    frame(db, "f4", "fail", other)
    flag(db, "f1", "asked too", "audit", 0.5)
    flag(db, "f1", "asked too", "uncertain", 2.5)
    flag(db, "f1", "shown", "defect")
    flag(db, "f2", "only", "uncertain")
    flag(db, "f3", "copy", "uncertain", alike="only")
    flag(db, "f4", "elsewhere", "uncertain")
    say(db, "only", "class", "Anna", 1)
    say(db, "only", "undone", "Anna", 2)
    say(db, "only", "class", "Zoe", 3, repeat=True)
    assert lots.count_defects(db, one) == 2
    assert [(d.frame, d.patch) for d in lots.defects(db, one)] == [("f2", "only"), ("f1", "shown")]
    assert lots.defects(db, one, 2) == []
    assert lots.count_questions(db, one) == 2
    only, both = lots.questions(db, one)
    assert both.patch == "asked too"
    assert set(both.reasons.split(",")) == {"audit", "uncertain"}
    assert both.score == 2.5  # not the audit's random number
    assert only.alike == ["copy"]
    assert [(a.who, a.answer, a.repeat) for a in only.answers] == [
        ("Anna", "class", False), ("Anna", "undone", False), ("Zoe", "class", True),
    ]  # fmt: skip


def test_settings_and_audit_trail_of_the_time(db: Database) -> None:
    assert lots.settings_between(db, 5, 15) == []
    for at in (0, 10, 20):
        db.execute(
            "INSERT INTO settings_in_force (digest, toml, wall_ns, monotonic_ns, boot_id, "
            "clock_ok) VALUES ('d', ?, ?, 0, '', 1)",
            [f'{at} "rtsp://a:b@c/d@e"', at],
        )
    assert [s.wall_ns for s in lots.settings_between(db, 5, 15)] == [0, 10]
    assert [s.wall_ns for s in lots.settings_between(db, 10, 11)] == [10]
    assert [s.wall_ns for s in lots.settings_between(db, 30, 40)] == [20]
    assert lots.settings_between(db, 30, 40)[0].toml == '20 "rtsp://a:b@c/d@e"'
    flag_frame = lots.find_lot(db, 4)
    assert flag_frame is not None
    frame(db, "f", "fail", flag_frame)
    flag(db, "f", "p", "audit")
    say(db, "p", "class", "Anna", 1)
    add_action(db, "Zoe", "changed settings", "http://x:y@z")
    begin, end = MINUTE * MINUTE_NS, 2**62
    trail = lots.acts(db, 0, end)
    assert lots.count_acts(db, 0, end) == len(trail) == 6
    assert [(act.who, act.action) for act in trail if act.action != "began lot"] == [
        ("Zoe", "changed settings"),
        ("Anna", "class"),
    ]
    assert lots.count_acts(db, begin, begin + 2 * MINUTE_NS) == 1


def test_a_lot_without_frames(db: Database) -> None:
    lot = lots.find_lot(db, 3)
    assert lot is not None
    assert lots.frames(db, lot).end_ns == 0
    assert lots.count_defects(db, lot) == lots.count_questions(db, lot) == 0
