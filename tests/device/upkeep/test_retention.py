"""What goes first when room or time runs out, what never goes, and what a wrong clock cannot do."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from config.errors import UserError
from config.recipes import load_recipes
from config.settings import Keeping, KeepRule, Settings
from device.exchange.push import push
from device.judging.patches import Patches
from device.models import activation
from device.models.activation import model_path
from device.models.race import Outcome, race
from device.store import answers_log
from device.store.answers import add_answer, add_label, waiting
from device.store.clock_watch import believe_clock, clock_is_doubtful, follow_clock
from device.store.cycles import start_cycle
from device.store.database import STORE_FILE, get_state, open_store, set_state
from device.store.second_look import Doubt, add_doubts
from device.store.trail import add_event, begin_lot
from device.system.clock import Stamp, stamp
from device.system.disk import MB, free_bytes
from device.upkeep.old_rows import remove_old_models, remove_old_rows
from device.upkeep.retention import (
    Removed,
    Scope,
    forget_answers,
    give_back,
    keep_in_bounds,
    make_room,
    remove,
    shrink,
    used_bytes,
)
from device.upkeep.tidy import tidy
from tests.device.conftest import MakeModel, device_in, model_file
from tests.device.loop.test_loop import change, run, use_model

DAY_NS = 86_400 * 10**9
ALL = Scope(questions=True)


@pytest.fixture(scope="module")
def inspected(
    tmp_path_factory: pytest.TempPathFactory, plate_folder: Path, plates: np.ndarray
) -> Settings:
    """A store with questions of an earlier cycle and of today; each test has a copy of it."""
    settings = asking(device_in(tmp_path_factory.mktemp("inspected"), plate_folder))
    use_model(settings, model_file(settings.device.data.parent / "model.onnx", plates))
    run(settings, list(plates[:80]))
    db = open_store(settings.device.data)
    start_cycle(db, "test")
    db.close()
    run(settings, list(plates[80:]))
    return settings


def asking(settings: Settings) -> Settings:
    return change(settings, "asking", k=100, audit_share=0.2)


@pytest.fixture
def filled(settings: Settings, inspected: Settings) -> Settings:
    """That device, to be changed."""
    shutil.copytree(inspected.device.data, settings.device.data)
    return asking(settings)


def pictures(settings: Settings) -> set[str]:
    db = open_store(settings.device.data)
    found = {row[0] for row in db.execute("SELECT id FROM patches WHERE length(png) > 0")}
    db.close()
    return found


def test_low_kls_without_an_answer_goes_first_and_no_unacknowledged_answer(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.upkeep.retention.YOUNG_LABELS", 0)
    db = open_store(filled.device.data)
    rows = db.execute(
        "SELECT f.patch_id, f.score FROM flags f WHERE reason = 'uncertain' AND cycle = "
        "(SELECT min(cycle) FROM flags) AND NOT EXISTS (SELECT 1 FROM flags WHERE "
        "patch_id = f.patch_id AND reason != 'uncertain') ORDER BY score"
    ).fetchall()
    answered = [patch for patch, _ in rows[:5]]  # the lowest, which would go first of all
    for patch in answered:
        add_label(db, patch, "scratch", "anna")
    left = iter([False] * 2 + [True] * 9)
    removed = shrink(db, filled, ALL, lambda: next(left))
    assert removed.unlabelled > 0
    have = pictures(filled)
    assert set(answered) <= have
    gone = [score for patch, score in rows if patch not in have]
    there = [score for patch, score in rows if patch in have and patch not in answered]
    assert gone
    assert not there or max(gone) <= min(there)
    everything = shrink(db, filled, ALL, lambda: False)
    assert everything.labelled == 0
    newest = db.execute("SELECT patch_id FROM flags ORDER BY id DESC").fetchone()
    assert pictures(filled) == {*answered, *newest}
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert db.execute("SELECT count(*) FROM labels").fetchone()[0] == 5
    assert db.execute(
        "SELECT count(*) FROM frames WHERE id NOT IN (SELECT frame_id FROM flags)"
    ).fetchone() == (0,)
    db.close()


def test_pictures_of_acknowledged_answers_go_and_the_answers_stay(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.upkeep.retention.YOUNG_LABELS", 0)
    db = open_store(filled.device.data)
    patches = [row[0] for row in db.execute("SELECT id FROM patches LIMIT 12")]
    for patch in patches[:10]:
        add_label(db, patch, "scratch", "anna")
    db.close()
    push(filled)
    db = open_store(filled.device.data)
    db.execute("UPDATE batches SET state = 'acknowledged'")  # what the trainer's word does
    for patch in patches[10:]:
        add_label(db, patch, "scratch", "anna")  # after the push: the trainer lacks these
    removed = shrink(db, filled, ALL, lambda: False)
    assert removed.labelled == 10
    newest = db.execute("SELECT patch_id FROM flags ORDER BY id DESC").fetchone()
    assert pictures(filled) == {*patches[10:], *newest}
    assert db.execute("SELECT count(*) FROM labels").fetchone()[0] == 12
    assert remove(db, patches).pictures == 0  # nothing twice, nothing that may not go
    db.close()
    run(filled, [])  # a start over a store whose pictures are gone


def test_answers_that_the_trainer_has_go_before_questions_and_do_not_come_back(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their rows grow for as long as people answer: pictures alone would not keep a budget."""
    monkeypatch.setattr("device.upkeep.retention.YOUNG_LABELS", 2)
    data = filled.device.data
    db = open_store(data)
    waits = {question.patch_id for question in waiting(db, {"": (100, 20)})}
    others = [row[0] for row in db.execute("SELECT id FROM patches") if row[0] not in waits]
    for patch in others[:10]:
        add_label(db, patch, "scratch", "anna")
    db.close()
    push(filled)
    db = open_store(data)
    db.execute("UPDATE batches SET state = 'acknowledged'")  # what the trainer's word does
    db.conn.commit()
    add_label(db, others[3], "pore", "ben")  # which the trainer lacks
    removed = shrink(db, filled, Scope(), lambda: False)
    assert (removed.labelled, removed.answers) == (8, 0)  # but others[3] and the last two answers
    # Damage took the picture of the last answer the trainer has: its number must not come again.
    db.execute("UPDATE patches SET png = x'' WHERE id = ?", [others[9]])
    db.execute("INSERT INTO pictures_gone VALUES (?, ?, ?, ?, ?)", [others[9], *stamp()])
    left = iter([False, True])
    forgotten = forget_answers(db, filled, lambda: next(left))
    assert forgotten == Removed(answers=8)
    answered = [row[0] for row in db.execute("SELECT DISTINCT patch_id FROM labels ORDER BY rowid")]
    assert answered == [others[3], others[9]]
    assert waits == {question.patch_id for question in waiting(db, {"": (100, 20)})}
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert answers_log.put_back_answers(db, data, "box") == 0
    assert make_room(db, filled, lambda: False).answers == 0
    assert len(waits & pictures(filled)) <= 1  # the one that was flagged last stays
    db.close()


def test_what_the_trainer_doubts_stays_until_it_is_answered_anew(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.upkeep.retention.YOUNG_LABELS", 0)
    settings = change(filled, "keeping", rows_days=100)
    db = open_store(settings.device.data)

    def sent() -> None:  # what the trainer's word does
        db.conn.commit()
        push(settings)
        db.execute("UPDATE batches SET state = 'acknowledged'")
        db.conn.commit()

    patches = [row[0] for row in db.execute("SELECT id FROM patches LIMIT 3")]
    for patch in patches:
        label = add_answer(db, patch, "class", "scratch", "anna")
        add_doubts(db, [Doubt(patch, label, "suspicious")])
    sent()
    shrink(db, settings, Scope(), lambda: False)
    assert set(patches) <= pictures(settings)
    add_label(db, patches[0], "pore", "ben")
    add_label(db, patches[1], "pore", "ben")
    add_answer(db, patches[1], "undone", None, "ben")
    sent()
    shrink(db, settings, Scope(), lambda: False)
    assert set(patches) - pictures(settings) == {patches[0]}
    remove_old_rows(db, settings)
    shrink(db, settings, Scope(), lambda: False)
    assert set(patches) - pictures(settings) == {patches[0]}
    old = "UPDATE second_looks SET wall_ns = wall_ns - ? WHERE patch_id = ?"
    db.execute(old, [101 * DAY_NS, patches[2]])
    db.conn.commit()
    remove_old_rows(db, settings)
    shrink(db, settings, Scope(), lambda: False)
    assert set(patches) - pictures(settings) == {patches[0], patches[2]}
    db.close()


def test_a_picture_that_came_again_goes_again(
    filled: Settings, plates: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.upkeep.retention.YOUNG_LABELS", 0)
    db = open_store(filled.device.data)
    patches = [row[0] for row in db.execute("SELECT id FROM patches")]
    for patch in patches:
        add_label(db, patch, "scratch", "anna")
    db.close()
    push(filled)
    db = open_store(filled.device.data)
    db.execute("UPDATE batches SET state = 'acknowledged'")
    db.conn.commit()
    shrink(db, filled, Scope(), lambda: False)
    assert not pictures(filled)
    start_cycle(db, "test")
    begin_lot(db, "P", "another", "anna")
    run(filled, [np.zeros((1, 1), np.uint8), *plates])  # the very same pictures, at other times
    came = pictures(filled)
    assert came
    gone = {row[0] for row in db.execute("SELECT patch_id FROM pictures_gone")}
    assert not came & gone
    assert shrink(db, filled, Scope(), lambda: False).labelled == len(came & set(patches))
    assert not pictures(filled) & set(patches)
    assert not push(filled).left_out  # flags of pictures that the trainer has are no failure
    db.execute("UPDATE patches SET png = x'00' WHERE id = ?", [patches[0]])  # of older versions
    assert shrink(db, filled, Scope(), lambda: False).labelled == 1
    db.close()


def test_the_last_answers_keep_their_pictures(filled: Settings) -> None:
    db = open_store(filled.device.data)
    patch = db.execute("SELECT id FROM patches").fetchone()[0]
    add_label(db, patch, "scratch", "anna")
    db.close()
    push(filled)
    db = open_store(filled.device.data)
    db.execute("UPDATE batches SET state = 'acknowledged'")
    assert shrink(db, filled, Scope(), lambda: False).labelled == 0
    db.close()


def test_questions_that_wait_go_last_of_all(filled: Settings) -> None:
    db = open_store(filled.device.data)
    waits = [q.patch_id for q in waiting(db, {"": (100, 20)})]
    assert waits
    total = db.execute("SELECT count(*) FROM patches").fetchone()[0]
    first = []

    def looked() -> bool:
        first.append(1)
        return len(first) > 2

    monkey = pytest.MonkeyPatch()
    monkey.setattr("device.upkeep.retention.BATCH", total - len(set(waits)))
    shrink(db, filled, ALL, looked)
    monkey.undo()
    assert pictures(filled) == set(waits)
    db.close()


def test_a_budget_is_kept_and_the_file_shrinks(filled: Settings) -> None:
    db = open_store(filled.device.data)
    before = used_bytes(db)
    db.close()
    monkey = pytest.MonkeyPatch()
    monkey.setattr("device.upkeep.retention.MB", before // 40)  # 20 "MB" are half of it
    small = change(filled, "keeping", budget_mb=20, floor_mb=0)
    said = tidy(small, lambda _: None)
    assert said.removed.unlabelled > 0
    assert said.used < before // 2
    file = filled.device.data / STORE_FILE
    assert said.used < file.stat().st_size <= before // 2
    assert said.given_back >= before - before // 2
    # The disk wants all that is free: not one page is left to be used again.
    monkey.setattr("device.upkeep.retention.free_bytes", lambda _: 0)
    db = open_store(filled.device.data)
    used = used_bytes(db)
    assert give_back(db, change(small, "keeping", floor_mb=1)) > 0
    assert db.execute("PRAGMA freelist_count").fetchone()[0] == 0
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()
    monkey.undo()
    assert file.stat().st_size <= used


def test_a_rule_bounds_one_reason_only(filled: Settings) -> None:
    db = open_store(filled.device.data)
    db.execute("UPDATE frames SET clock_ok = 1, wall_ns = ?", [stamp().wall_ns - 40 * DAY_NS])
    db.execute(  # spot checks that nothing else was asked for
        "DELETE FROM flags WHERE reason != 'audit' AND cycle = 2 AND patch_id IN "
        "(SELECT patch_id FROM flags WHERE reason = 'audit' AND cycle = 2)"
    )
    keeping = Keeping(rules=[KeepRule(reason="audit", days=30)], floor_mb=0)
    settings = filled.model_copy(update={"keeping": keeping})
    audits = (
        "SELECT count(*) FROM flags WHERE reason = 'audit' "
        "AND cycle < (SELECT max(cycle) FROM flags)"
    )
    assert db.execute(audits).fetchone()[0] > 0
    others = db.execute("SELECT count(*) FROM flags WHERE reason = 'defect'").fetchone()
    assert keep_in_bounds(db, settings, ages=False).pictures == 0
    assert keep_in_bounds(db, settings, ages=True).pictures > 0
    both = "(SELECT 1 FROM flags o WHERE o.patch_id = flags.patch_id AND o.reason != 'audit')"
    assert db.execute(f"{audits} AND NOT EXISTS {both}").fetchone()[0] == 0
    assert db.execute("SELECT count(*) FROM flags WHERE reason = 'defect'").fetchone() == others
    db.close()


def test_old_rows_go_and_young_ones_stay(settings: Settings) -> None:
    db = open_store(settings.device.data)
    now = stamp()
    for age in (500, 0):
        then = now.wall_ns - age * DAY_NS
        moment = [then, 1, "b", 1]
        db.execute(
            "INSERT INTO parts (number, part, lot, tool, recipe, model_id, verdict, class, code, "
            "took_ms, wall_ns, monotonic_ns, boot_id, clock_ok) "
            "VALUES (1, '', '', '', '', '', 'pass', '', 0, 1, ?, ?, ?, ?)",
            moment,
        )
        db.execute(
            "INSERT INTO events (kind, text, wall_ns, monotonic_ns, boot_id, clock_ok) "
            "VALUES ('k', 't', ?, ?, ?, ?)",
            moment,
        )
        minute = then // 60_000_000_000
        db.execute("INSERT INTO counters VALUES (?, '', '', 'pass', '', '', '', 1)", [minute])
    keeping = Keeping(rows_days=100)
    settings = settings.model_copy(update={"keeping": keeping})
    remove_old_rows(db, settings)
    left = [db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("parts", "events")]
    assert left == [1, 1]
    db.close()


def test_a_number_that_somebody_follows_never_comes_again(settings: Settings) -> None:
    """As after a holiday in which nothing happened, or after all that was kept last went."""
    db = open_store(settings.device.data)
    add_event(db, "k", "t")
    before = db.execute("SELECT max(id) FROM events").fetchone()[0]
    db.execute("UPDATE events SET wall_ns = ?", [stamp().wall_ns - 500 * DAY_NS])
    remove_old_rows(db, settings)
    add_event(db, "k", "t")
    assert db.execute("SELECT max(id) FROM events").fetchone()[0] > before
    db.close()
    run(settings)
    db = open_store(settings.device.data)
    before = db.execute("SELECT max(id) FROM flags").fetchone()[0]
    assert shrink(db, settings, ALL, lambda: False).pictures > 1
    assert db.execute("SELECT id FROM flags").fetchall() == [(before,)]
    db.close()


def test_an_answer_whose_picture_damage_took_stays_until_the_trainer_has_it(
    filled: Settings,
) -> None:
    db = open_store(filled.device.data)
    one, other = (q.patch_id for q in waiting(db, load_recipes(filled).quotas)[:2])
    for patch in (one, other):
        add_label(db, patch, "clean", "Anna")
        db.execute("UPDATE patches SET png = x'' WHERE id = ?", [patch])
        old = stamp(stamp().wall_ns - 200 * DAY_NS)
        db.execute("INSERT INTO pictures_gone VALUES (?, ?, ?, ?, ?)", [patch, *old])
        db.execute("UPDATE labels SET wall_ns = ? WHERE patch_id = ?", [old.wall_ns, patch])
    db.execute(
        "INSERT INTO batches (sequence, name, state, reason, bytes, labels, patches, "
        "begin, wall_ns, monotonic_ns, boot_id, clock_ok) "
        "VALUES (1, 'b', 'acknowledged', '', 1, 5, 5, '{}', 1, 1, '', 1)"
    )
    db.execute("INSERT INTO sent_labels SELECT id, 1 FROM labels WHERE patch_id = ?", [other])
    remove_old_rows(db, change(filled, "keeping", rows_days=100))
    assert db.execute("SELECT patch_id FROM labels").fetchall() == [(one,)]
    db.close()


def later(of: Stamp, wall_s: float, monotonic_s: float, boot: str | None = None) -> Stamp:
    return of._replace(
        wall_ns=of.wall_ns + int(wall_s * 1e9),
        monotonic_ns=of.monotonic_ns + int(monotonic_s * 1e9),
        boot_id=of.boot_id if boot is None else boot,
    )


def test_a_clock_that_jumps_ten_years_is_doubted_until_it_jumps_back(settings: Settings) -> None:
    db = open_store(settings.device.data)
    now, years = stamp(), 10 * 365 * 86_400.0
    assert follow_clock(db, now) is None
    assert follow_clock(db, later(now, 5, 5)) is None
    event = follow_clock(db, later(now, years, 10))
    assert event is not None
    assert "nothing is removed for its age" in event.text
    assert clock_is_doubtful(db)
    assert follow_clock(db, later(now, years + 86_400, 100, "other boot")) is None
    assert clock_is_doubtful(db)
    assert follow_clock(db, later(now, 20, 20, "third boot")) is not None
    assert not clock_is_doubtful(db)
    assert follow_clock(db, later(now, 30 * 86_400, 20, "after the holidays")) is None
    assert not clock_is_doubtful(db)
    follow_clock(db, later(now, years, 30, "fourth boot"))
    assert clock_is_doubtful(db)
    believe_clock(db)
    assert not clock_is_doubtful(db)
    db.close()


def test_a_box_that_wakes_up_in_1970_is_no_jump_once_its_clock_is_set(settings: Settings) -> None:
    db = open_store(settings.device.data)
    now = stamp()
    follow_clock(db, now)
    wrong = now._replace(wall_ns=10**9, clock_ok=0, boot_id="b", monotonic_ns=10**9)
    event = follow_clock(db, wrong)
    assert event is not None
    assert "surely wrong" in event.text
    assert follow_clock(db, wrong) is None  # said once
    right = later(now, 12 * 3600, 0)._replace(boot_id="b", monotonic_ns=60 * 10**9)
    assert follow_clock(db, right) is None
    assert not clock_is_doubtful(db)
    db.close()


def test_nothing_goes_for_its_age_while_the_clock_is_doubted(filled: Settings) -> None:
    keeping = Keeping(rules=[KeepRule(days=1)], rows_days=1, floor_mb=0)
    settings = filled.model_copy(update={"keeping": keeping})
    db = open_store(settings.device.data)
    db.execute("UPDATE frames SET clock_ok = 1, wall_ns = ?", [stamp().wall_ns - 40 * DAY_NS])
    db.execute("UPDATE counters SET minute = minute - 1000000 / 10")
    state = get_state(db, "clock")
    set_state(db, "clock", state | {"doubt_s": 3e8})
    before = pictures(settings)
    events = tidy(settings, lambda _: None)
    assert events.removed.pictures == events.rows == 0
    assert pictures(settings) == before
    tidied = tidy(settings, lambda _: None, clock_is_right=True)
    assert tidied.removed.pictures > 0
    db.close()


def test_models_in_use_and_before_stay(settings: Settings, make_model: MakeModel) -> None:
    ids = [use_model(settings, make_model(i, f"{i}.onnx")) for i in range(6)]
    settings = change(settings, "keeping", models=3)
    db = open_store(settings.device.data)
    use_model(settings, settings.device.data / "models" / f"{ids[0]}.onnx")
    remove_old_models(db, settings)
    left = {path.stem for path in (settings.device.data / "models").glob("*.onnx")}
    assert left == {ids[0], ids[5], ids[4]}
    db.close()


def test_a_model_that_comes_into_use_again_meanwhile_keeps_its_file(
    settings: Settings, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [make_model(seed, f"{seed}.onnx") for seed in range(4)]
    ids = [use_model(settings, file) for file in files]
    settings = change(settings, "keeping", models=2)

    def tidied_meanwhile(content: bytes, patches: Patches, settings: Settings) -> Outcome:
        db = open_store(settings.device.data)
        assert model_path(settings.device.data, ids[0]) in remove_old_models(db, settings)
        db.close()
        return race(content, patches, settings)

    monkeypatch.setattr(activation, "race", tidied_meanwhile)
    assert use_model(settings, files[0]) == ids[0]
    assert model_path(settings.device.data, ids[0]).exists()


def test_without_its_disk_nothing_is_written(settings: Settings, tmp_path: Path) -> None:
    settings = change(settings, "device", must_be_mount=tmp_path)
    with pytest.raises(UserError, match="no disk is mounted there"):
        run(settings)
    assert not settings.device.data.exists()


def test_a_question_that_went_meanwhile_is_said_to_be_gone(filled: Settings) -> None:
    db = open_store(filled.device.data)
    patch = db.execute("SELECT id FROM patches").fetchone()[0]
    assert remove(db, [patch]).unlabelled == 1
    with pytest.raises(UserError, match="not in the store"):
        add_label(db, patch, "scratch", "anna")
    db.close()


def test_a_disk_that_is_short_of_room_gets_it_back(
    settings: Settings, small_disk: Path, inspected: Settings
) -> None:
    """On a real disk: what was removed is no use to anybody while the file keeps it."""
    ballast = small_disk / "ballast"
    ballast.unlink()
    shutil.copytree(inspected.device.data, small_disk / "data")
    asked = asking(settings).model_copy(
        update={"device": settings.device.model_copy(update={"data": small_disk / "data"})}
    )
    floor_mb = 10
    ballast.write_bytes(bytes(free_bytes(small_disk) - floor_mb * MB + MB // 4))
    assert free_bytes(small_disk) < floor_mb * MB
    said = tidy(change(asked, "keeping", floor_mb=floor_mb), lambda _: None)
    assert said.removed.unlabelled > 0
    assert free_bytes(small_disk) >= floor_mb * MB
