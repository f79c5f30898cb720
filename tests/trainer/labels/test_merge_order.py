"""Whatever order batches come in, the trainer's store is the same."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from config.settings import Settings
from device.exchange.push import push
from device.store.answers import UNDONE, add_answer
from device.store.database import STORE_FILE, open_store
from device.upkeep.backup import back_up, restore
from device.upkeep.mend import mend
from tests.filled import answer, device_settings, fill, last_answers, rows
from tests.trainer.labels.merge_site import dump
from trainer.labels.merge import merge

Operation = tuple[str, int, int]


def live(box: Settings, ids: list[str], operations: list[Operation]) -> None:
    """A device's life: answers, undos, repeats, pushes, and pushes that got lost."""
    for what, patch, said in operations:
        if what == "push":
            push(box)
            continue
        db = open_store(box.device.data)
        if what == "lost":  # what was sent and not acknowledged goes once more
            db.execute("DELETE FROM sent_labels")
            db.execute("UPDATE batches SET state = 'refused'")
            db.execute("DELETE FROM state WHERE key = 'exchange marks'")
        elif what == "undo":
            add_answer(db, ids[patch], UNDONE, None, "anna")
        else:
            name = ["clean", "patch", "scratch"][said]
            add_answer(db, ids[patch], "class", name, "anna", repeat=what == "repeat")
        db.conn.commit()
        db.close()
    push(box)


@pytest.fixture(scope="module")
def two_boxes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """Two devices with patches and no answers, to be copied."""
    folder = tmp_path_factory.mktemp("boxes")
    ids = {name: fill(device_settings(folder, name), 4) for name in ("box 1", "box 2")}
    return folder, ids


operations = st.lists(
    st.tuples(
        st.sampled_from(["answer", "answer", "undo", "repeat", "push", "push", "lost"]),
        st.integers(0, 3),
        st.integers(0, 2),
    ),
    max_size=10,
)


@given_settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), lives=st.tuples(operations, operations))
def test_batches_in_any_order_give_the_same_store(
    data: st.DataObject,
    lives: tuple[list[Operation], list[Operation]],
    two_boxes: tuple[Path, dict[str, list[str]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    template, ids = two_boxes
    folder = tmp_path_factory.mktemp("any-order")
    answers: dict[str, str] = {}
    for name, operations in zip(ids, lives, strict=True):
        box = device_settings(folder, name)
        shutil.copytree(template / name, box.device.data)
        live(box, ids[name], operations)
        db = open_store(box.device.data)
        answers |= last_answers(db)
        db.close()
    in_order = device_settings(folder, "box 1")
    merge(in_order)
    expected = dump(in_order.trainer.data)
    assert dict(expected["last"]) == answers  # what the devices themselves say

    manifests = sorted(Path(in_order.exchange.url, "labels").rglob("*.json"))
    shuffled = data.draw(st.permutations(manifests))
    other = device_settings(folder / "other", "box 1")
    for manifest in shuffled:
        there = Path(other.exchange.url) / manifest.relative_to(in_order.exchange.url)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(manifest.with_suffix(".db"), there.with_suffix(".db"))
        shutil.copy(manifest, there)
        for _ in range(data.draw(st.integers(0, 2))):  # not merged yet, merged, merged twice
            merge(other)
    merge(other)
    assert dump(other.trainer.data) == expected
    shutil.rmtree(folder)


def test_after_a_copy_was_brought_back_the_last_answer_counts(tmp_path: Path) -> None:
    """The disk is lost, and with it answers that the trainer has: the copy asks for them again."""
    box = device_settings(tmp_path, "box 1", backup={"folder": str(tmp_path / "backup")})
    ids = fill(box, 4)
    answer(box, ids[:1])
    db = open_store(box.device.data)
    back_up(box, db)
    db.close()
    for _ in range(2):  # and a second time, from the same copy
        answer(box, [*ids, *ids], "patch")
        push(box)
        merge(box)
        shutil.rmtree(box.device.data)
        restore(box, None, "anna")
        answer(box, ids[3:], "scratch")
        push(box)
        assert merge(box).new_labels == 1
        db = open_store(box.trainer.data)
        assert last_answers(db) == dict.fromkeys(ids[:3], "patch") | {ids[3]: "scratch"}
        db.close()


def test_after_a_store_was_mended_the_last_answer_counts(tmp_path: Path) -> None:
    """The log of answers no longer has what the trainer has, so the mended store has neither."""
    box = device_settings(tmp_path, "box 1", backup={"folder": str(tmp_path / "backup")})
    (patch,) = fill(box, 1)
    answer(box, [patch])
    db = open_store(box.device.data)
    back_up(box, db)
    db.close()
    answer(box, [patch] * 5, "patch")
    push(box)
    merge(box)
    (box.device.data / "answers.log").unlink()
    for file in box.device.data.glob(f"{STORE_FILE}*"):
        file.write_bytes(b"nothing of a database" * 1000)
    assert mend(box) is not None
    answer(box, [patch], "clean")
    push(box)
    merge(box)
    db = open_store(box.trainer.data)
    assert last_answers(db) == {patch: "clean"}
    db.close()


def test_the_last_answer_counts_whichever_batch_comes_first(tmp_path: Path) -> None:
    box = device_settings(tmp_path, "box 1")
    (patch,) = fill(box, 1)
    for name in ("scratch", "patch", "clean"):
        answer(box, [patch], name)
        push(box)
    labels, away = Path(box.exchange.url, "labels/box 1"), tmp_path / "away"
    shutil.move(labels, away)
    for manifest in sorted(away.glob("*.json"), reverse=True):
        labels.mkdir(exist_ok=True)
        for path in (manifest, manifest.with_suffix(".db")):
            shutil.copy(path, labels)
        assert merge(box).new_labels == 1
        db = open_store(box.trainer.data)
        assert last_answers(db) == {patch: "clean"}
        db.close()
    said = rows(box.trainer.data, "SELECT class FROM labels ORDER BY rowid")
    assert said == [("scratch",), ("patch",), ("clean",)]
