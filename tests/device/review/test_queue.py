"""The queue: order, leases, answers once, undo; over one store that several pages share."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlite_utils import Database

from config.errors import UserError
from config.settings import Settings
from device.review import people, queue
from device.review.desk import Desk
from device.review.messages import TakeBack
from device.review.queue import claim_next, renew, skip, undo
from device.store.answers import (
    CANT_TELL,
    CLASS,
    SOMETHING_NEW,
    add_label,
    is_labelled,
    labelled_patches,
    waiting,
)
from device.store.cycles import start_cycle
from device.store.database import exclusive, open_store
from tests.device.review.conftest import HOLDER, OTHER, fill


def claim(db: Database, holder: str = HOLDER, *have: str) -> str | None:
    question = claim_next(db, holder, {"": (1000, 1000)}, have)
    return None if question is None else question.patch_id


def give(db: Database, number: int, patch: str, holder: str = HOLDER) -> str:
    return queue.answer(db, f"answer-{number}", patch, holder, CLASS, "scratch", "anna")


def expire(db: Database) -> None:
    """A minute without a word from any page."""
    db.execute("UPDATE claims SET expires_ns = 0")


def test_most_unsure_first_audits_last(db: Database) -> None:
    audits, unsure = fill(db, 3, "audit"), fill(db, 3)
    order: list[str] = []
    while (patch := claim(db, HOLDER)) is not None:
        give(db, len(order), patch)
        order.append(patch)
    assert order == [*unsure, *audits]


def test_two_pages_never_have_the_same_question(db: Database) -> None:
    ids = fill(db, 3)
    assert claim(db, HOLDER) == ids[0]
    assert claim(db, OTHER) == ids[1]
    assert claim(db, HOLDER, ids[0]) == ids[2]
    assert claim(db, OTHER, ids[1]) is None


def test_a_lost_reply_brings_the_same_question_again(db: Database) -> None:
    ids = fill(db, 3)
    assert [claim(db), claim(db)] == [ids[0], ids[0]]


def test_a_lease_that_ran_out_returns_to_the_queue_and_is_not_renewed(db: Database) -> None:
    ids = fill(db, 2)
    assert claim(db, HOLDER) == ids[0]
    expire(db)
    assert renew(db, HOLDER, [ids[0]]) == [ids[0]]  # nobody took it meanwhile
    expire(db)
    assert claim(db, OTHER) == ids[0]
    assert renew(db, HOLDER, [ids[0], "0" * 64]) == []
    assert give(db, 1, ids[0], HOLDER) == "late"
    assert give(db, 2, ids[0], OTHER) == "stored"


def test_leases_of_another_boot_have_run_out(db: Database) -> None:
    (patch,) = fill(db, 1)
    assert claim(db, HOLDER) == patch
    db.execute("UPDATE claims SET boot_id = 'before'")
    assert claim(db, OTHER) == patch


def test_the_same_tap_twice_is_stored_once(db: Database) -> None:
    (patch,) = fill(db, 1)
    assert [give(db, 1, patch), give(db, 1, patch)] == ["stored", "stored"]
    assert db.execute("SELECT count(*) FROM labels").fetchone()[0] == 1


def test_a_tap_for_a_patch_that_has_an_answer_is_late(db: Database) -> None:
    (patch,) = fill(db, 1)
    claim(db, HOLDER)
    add_label(db, patch, "clean", "command line")
    assert give(db, 1, patch) == "late"
    assert renew(db, HOLDER, [patch]) == []
    assert db.execute("SELECT class FROM labels").fetchall() == [("clean",)]


def test_a_tap_after_the_lease_counts_while_nobody_else_took_the_question(db: Database) -> None:
    (patch,) = fill(db, 1)
    claim(db, HOLDER)
    expire(db)
    assert give(db, 1, patch) == "stored"


def test_an_unknown_patch_is_refused(db: Database) -> None:
    with pytest.raises(UserError, match="not in the store"):
        give(db, 1, "0" * 64)
    skip(db, "skip-1", "0" * 64, HOLDER)
    assert db.execute("SELECT count(*) FROM skips").fetchone()[0] == 0


def test_skipped_questions_come_behind_the_others_for_this_page_only(db: Database) -> None:
    ids = fill(db, 3)
    claim(db, HOLDER)
    skip(db, "skip-1", ids[0], HOLDER)
    assert claim(db, OTHER) == ids[0]
    db.execute("DELETE FROM claims")
    assert claim(db, HOLDER) == ids[1]
    skip(db, "skip-2", ids[1], HOLDER)
    skip(db, "skip-3", ids[2], HOLDER)
    assert claim(db, HOLDER) == ids[0]  # the one skipped longest ago
    assert db.execute("SELECT count(*) FROM labels").fetchone()[0] == 0


def test_cant_tell_and_something_new_are_answers_but_train_nothing(db: Database) -> None:
    ids = fill(db, 3)
    queue.answer(db, "answer-1", ids[0], HOLDER, CANT_TELL, None, "anna")
    queue.answer(db, "answer-2", ids[1], HOLDER, SOMETHING_NEW, "burr", "anna")
    assert len(labelled_patches(db).ids) == 0
    assert [q.patch_id for q in waiting(db, {"": (9, 9)})] == [ids[2]]
    assert queue.new_names(db) == ["burr"]
    assert is_labelled(db, ids[0])


def test_undo_makes_the_last_ten_answers_wait_again_in_turn(db: Database) -> None:
    ids = fill(db, 12)
    for i, patch in enumerate(ids):
        give(db, i, patch)
    assert queue.count_undoable(db, HOLDER) == 10
    back = [undo(db, f"undo-{i}", HOLDER, "anna") for i in range(12)]
    assert back == [*reversed(ids[2:]), None, None]
    assert [q.patch_id for q in waiting(db, {"": (99, 9)})] == ids[2:]
    assert not is_labelled(db, ids[5])
    assert db.execute("SELECT count(*) FROM labels").fetchone()[0] == 22  # nothing is deleted
    assert claim(db, OTHER) is None  # they are this page's


def test_undo_is_done_once_however_often_it_is_delivered(db: Database) -> None:
    ids = fill(db, 2)
    for i, patch in enumerate(ids):
        give(db, i, patch)
    assert undo(db, "undo-1", HOLDER, "anna") == undo(db, "undo-1", HOLDER, "anna") == ids[1]
    assert queue.count_undoable(db, HOLDER) == 1


def test_undo_leaves_alone_what_others_answered(db: Database) -> None:
    ids = fill(db, 2)
    give(db, 1, ids[0], OTHER)
    assert undo(db, "undo-1", HOLDER, "anna") is None
    give(db, 2, ids[1], HOLDER)
    add_label(db, ids[1], "clean", "supervisor")  # the last answer counts, and is not ours
    assert undo(db, "undo-2", HOLDER, "anna") is None


def test_an_undone_patch_can_be_answered_again_and_then_counts(db: Database) -> None:
    (patch,) = fill(db, 1)
    give(db, 1, patch)
    undo(db, "undo-1", HOLDER, "anna")
    assert claim(db) == patch
    assert queue.answer(db, "answer-2", patch, HOLDER, CLASS, "clean", "anna") == "stored"
    kinds = db.execute("SELECT answer, class FROM labels ORDER BY rowid").fetchall()
    assert kinds == [("class", "scratch"), ("undone", None), ("class", "clean")]
    assert waiting(db, {"": (9, 9)}) == []


def test_a_new_cycle_asks_nothing_of_the_old_one_but_takes_its_late_answers(db: Database) -> None:
    (patch,) = fill(db, 1)
    claim(db)
    start_cycle(db, "test")
    assert claim(db) is None
    assert give(db, 1, patch) == "stored"


def test_what_fails_half_way_is_not_stored(db: Database) -> None:
    (patch,) = fill(db, 1)
    with pytest.raises(ZeroDivisionError), exclusive(db):
        give(db, 1, patch)
        raise ZeroDivisionError
    assert waiting(db, {"": (9, 9)})[0].patch_id == patch
    assert give(db, 1, patch) == "stored"


def repeat(db: Database, operator: str = "ben", holder: str = OTHER, *have: str) -> str | None:
    question = queue.claim_repeat(db, holder, operator, 0.05, [""], have)
    return None if question is None else question.patch_id


def test_one_answer_in_twenty_is_asked_again_of_somebody_else(db: Database) -> None:
    ids = fill(db, 200)
    assert repeat(db) is None  # nothing was answered yet
    repeats = []
    for i, patch in enumerate(ids):
        give(db, i, patch)
        assert repeat(db, "anna") is None
        if again := repeat(db):
            assert queue.answer(db, f"again-{i}", again, OTHER, CLASS, "patch", "ben") == "stored"
            repeats.append(again)
    assert len(repeats) == len(set(repeats)) == 10
    assert set(labelled_patches_by_class(db)) == {"scratch"}  # a repeat changes no label
    assert db.execute("SELECT count(*) FROM labels WHERE repeat").fetchone()[0] == 10
    assert waiting(db, {"": (1000, 9)}) == []


def labelled_patches_by_class(db: Database) -> list[str]:
    return [
        row[0]
        for row in db.execute(
            "SELECT class FROM labels l WHERE rowid = "
            "(SELECT max(rowid) FROM labels WHERE patch_id = l.patch_id AND NOT repeat)"
        )
    ]


def test_a_repeat_is_leased_renewed_skipped_and_undone_like_any_question(db: Database) -> None:
    ids = fill(db, 40)
    for i, patch in enumerate(ids):
        give(db, i, patch)
    again = repeat(db)
    assert again is not None
    assert repeat(db) == again  # its reply was lost
    assert repeat(db, "ben", OTHER, again) != again
    assert renew(db, OTHER, [again]) == [again]
    assert renew(db, "holder-3", [again]) == []
    assert queue.answer(db, "a-1", again, "holder-3", CLASS, "clean", "cara") == "late"
    expire(db)
    assert queue.answer(db, "a-2", again, OTHER, CLASS, "clean", "ben") == "stored"
    assert undo(db, "undo-a", OTHER, "ben") == again
    assert is_labelled(db, again)
    assert set(labelled_patches_by_class(db)) == {"scratch"}
    assert queue.answer(db, "a-3", again, OTHER, CLASS, "patch", "ben") == "stored"
    rows = db.execute("SELECT answer, repeat FROM labels WHERE patch_id = ?", [again]).fetchall()
    assert rows == [("class", 0), ("class", 1), ("undone", 1), ("class", 1)]
    other = repeat(db)
    assert other not in {None, again}
    skip(db, "skip-a", str(other), OTHER)
    assert repeat(db) != other


def test_an_answer_about_what_nobody_was_asked_stops_no_page(db: Database) -> None:
    """`millsight device label` takes the picture of a defect too."""
    defect, patch = fill(db, 2)
    db.execute("UPDATE flags SET reason = 'defect' WHERE patch_id = ?", [defect])
    for one in (defect, patch):
        add_label(db, one, "scratch", "anna")
    again = queue.claim_repeat(db, OTHER, "ben", 1.0, [""])
    assert again is not None
    assert again.patch_id == patch
    db.execute("DELETE FROM flags")  # as damage does; the page did not get the reply
    assert queue.claim_repeat(db, OTHER, "ben", 1.0, [""]) is None


def test_the_first_answer_can_be_undone_although_it_was_asked_again(db: Database) -> None:
    (patch,) = fill(db, 1)
    give(db, 1, patch)
    assert queue.claim_repeat(db, OTHER, "ben", 1.0, [""]) is not None
    queue.answer(db, "again-1", patch, OTHER, CLASS, "clean", "ben")
    assert undo(db, "undo-1", HOLDER, "anna") == patch
    assert [q.patch_id for q in waiting(db, {"": (9, 9)})] == [patch]


def flag(db: Database, patch: str, predicted: str, score: float, verdict: str) -> str:
    """Store a question of this class and score, about a part of this verdict."""
    fill(db, 0, verdict)
    db.execute("UPDATE frames SET verdict = ? WHERE id = ?", [verdict, "frame" + verdict])
    db.execute("INSERT INTO patches VALUES (?, 'box', 0, 0, 200, 200, x'', NULL, NULL)", [patch])
    db.execute(
        "INSERT INTO flags (patch_id, frame_id, cycle, reason, predicted, score) "
        "VALUES (?, ?, (SELECT max(id) FROM cycles), 'uncertain', ?, ?)",
        [patch, "frame" + verdict, predicted, score],
    )
    return patch


def test_parts_that_wait_come_first_then_the_classes_in_turn(db: Database) -> None:
    audit = fill(db, 1, "audit")
    for name, score in (("a", 9), ("b", 8), ("c", 7)):
        flag(db, f"scratch-{name}", "scratch", score, "fail")
    flag(db, "pit-a", "pit", 1, "fail")
    flag(db, "pit-b", "pit", 0.5, "unsure")
    flag(db, "scratch-d", "scratch", 0.1, "unsure")
    order = [q.patch_id for q in waiting(db, {"": (9, 9)})]
    assert order == [
        "pit-b", "scratch-d", "scratch-a", "pit-a", "scratch-b", "scratch-c", *audit,
    ]  # fmt: skip
    assert [q.patch_id for q in waiting(db, {"": (1, 9)})] == ["scratch-a", "pit-a", *audit]


steps = st.lists(
    st.tuples(
        st.sampled_from(["claim", "answer", "skip", "undo", "expire", "again"]),
        st.sampled_from([HOLDER, OTHER]),
    ),
    max_size=40,
)


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps)
def test_whatever_happens_no_answer_is_stored_twice_or_on_anothers_question(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    db = open_store(tmp_path_factory.mktemp("store"))
    fill(db, 4)
    shown: dict[str, str | None] = {HOLDER: None, OTHER: None}
    stored: list[tuple[str, str]] = []  # (answer id, patch) that counts
    given_ids: list[tuple[str, str, str]] = []
    for number, (step, holder) in enumerate(steps):
        patch = shown[holder]
        if step == "claim":
            shown[holder] = claim(db, holder)
        elif step == "expire":
            expire(db)
        elif step == "undo":
            back = undo(db, f"undo-{number}", holder, "anna")
            if back is not None:
                assert [p for _, p in stored].count(back) == 1
                stored = [(i, p) for i, p in stored if p != back]
        elif step == "again" and given_ids:
            identity, old, by = given_ids[-1]
            queue.answer(db, identity, old, by, CLASS, "scratch", "anna")
        elif patch is not None and step == "skip":
            skip(db, f"skip-{number}", patch, holder)
            shown[holder] = None
        elif patch is not None and step == "answer":
            identity = f"answer-{number}"
            taken = patch in [p for _, p in stored]
            result = queue.answer(db, identity, patch, holder, CLASS, "scratch", "anna")
            if taken:
                assert result == "late"
            if result == "stored":
                stored.append((identity, patch))
                given_ids.append((identity, patch, holder))
            shown[holder] = None
        waits = {q.patch_id for q in waiting(db, {"": (99, 99)})}
        assert len(waits) == 4 - len(stored)
        assert not waits & {p for _, p in stored}
    db.close()


CLAIMER = textwrap.dedent("""
    import sys
    import time
    from pathlib import Path
    from device.review.queue import answer, claim_next
    from device.store.database import open_store

    db, holder = open_store(Path(sys.argv[1])), sys.argv[2]
    print("ready", flush=True)
    sys.stdin.readline()
    while (question := claim_next(db, holder, {"": (1000, 1000)})) is not None:
        patch = question.patch_id
        assert answer(db, f"{holder}-{patch}", patch, holder, "class", "x", holder) == "stored"
        time.sleep(0.002)  # a person is slower still; SQLite itself is not fair
""")


def test_two_processes_answer_500_questions_and_none_twice(tmp_path: Path) -> None:
    db = open_store(tmp_path)
    ids = fill(db, 500)
    commands = [[sys.executable, "-c", CLAIMER, str(tmp_path), name] for name in (HOLDER, OTHER)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(c, stdin=pipe, stdout=pipe, stderr=pipe) for c in commands]
    for process in processes:  # on a busy machine one could be through before the other starts
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert errors == [b"", b""]
    rows = db.execute("SELECT patch_id, operator FROM labels").fetchall()
    db.close()
    assert sorted(row[0] for row in rows) == sorted(ids)
    assert {row[1] for row in rows} == {HOLDER, OTHER}


def test_two_programs_may_open_an_old_store_at_once(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from device.store.database import open_store\n"
    code += "open_store(Path(sys.argv[1])).close()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    assert [process.communicate(timeout=60)[1] for process in processes] == [b""] * 4


def test_an_answer_is_taken_back_although_damage_took_its_question(asking: Settings) -> None:
    desk = Desk(asking)
    db = open_store(asking.device.data)
    patch = waiting(db, {"": (9, 9)})[0].patch_id
    give(db, 1, patch)
    db.execute("DELETE FROM flags WHERE patch_id = ?", [patch])
    db.conn.commit()
    cookie = people.log_in(db, asking.review, None, people.Person("Anna", supervisor=False))
    message = TakeBack(holder=HOLDER, have=[], id="undo-0001", operator="Anna")
    assert desk.undo(db, cookie, message)["question"] is None
    assert not is_labelled(db, patch)
    desk.close()
    db.close()
