"""What is found wrong with labels, what is asked again, and which classes there are."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database

from camera.milled_steel import CLASSES
from config.settings import Recipe
from device.store.answers import add_answer, add_label
from device.store.database import open_store
from device.store.pictures import encode_png
from device.store.second_look import add_doubts, open_doubts
from tests.trainer.night.night_site import plates, store
from trainer.labels.checks import check_labels, count_kinds, doubts, suspicious
from trainer.labels.classes import classes_of_tonight, place_of

RECIPE = Recipe(classes=list(CLASSES), pass_classes=["clean"])


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A trainer's store with 16 labels."""
    db = open_store(tmp_path)
    store(db, *plates(0, 16))
    yield db
    db.close()


def ids_of(db: Database) -> list[str]:
    return [row[0] for row in db.execute("SELECT id FROM patches ORDER BY rowid")]


def test_bad_labels_are_found_left_out_told_and_asked_again(db: Database) -> None:
    ids = ids_of(db)
    db.execute("UPDATE patches SET png = x'00' WHERE id = ?", [ids[0]])
    other = encode_png(plates(1, 1)[0][0])
    db.execute("UPDATE patches SET png = ? WHERE id = ?", [other, ids[1]])
    add_label(db, ids[2], "rust", "anna")
    add_answer(db, ids[3], "class", "patch", "ben", repeat=True)
    add_answer(db, ids[4], "class", "scratch", "ben", repeat=True)
    add_label(db, ids[4], "clean", "anna")  # an ordinary answer settles it
    add_answer(db, ids[5], "class", CLASSES[5 % 4], "ben", repeat=True)  # they agree
    checked = check_labels(db, "default", list(CLASSES))
    found = sorted(checked.findings, key=lambda f: ids.index(f.patch_id))
    assert [f.patch_id for f in found] == ids[:4]
    assert count_kinds(found) == {
        "unreadable": 1, "changed": 1, "unknown class": 1, "disputed": 1,
    }  # fmt: skip
    assert len(checked.labelled.ids) == 12
    assert {ids[4], ids[5]} <= set(checked.labelled.ids)
    assert "ben patch" in next(f.text for f in found if f.kind == "disputed")
    asked = doubts(db, found, 10)
    assert [(d.patch_id, d.reason) for d in asked] == [
        (ids[3], "disputed"), (ids[2], "unknown class"),
    ]  # fmt: skip
    assert [d.patch_id for d in doubts(db, found, 1)] == [ids[3]]
    add_doubts(db, asked)
    add_doubts(db, asked)
    assert {d.patch_id for d in open_doubts(db)} == {ids[2], ids[3]}
    assert open_doubts(db, "another device") == []
    add_label(db, ids[2], "patch", "carla")
    assert {d.patch_id for d in open_doubts(db)} == {ids[3]}
    add_answer(db, ids[2], "undone", None, "carla")  # taken back: it is a question again
    assert {d.patch_id for d in open_doubts(db)} == {ids[2], ids[3]}


def test_labels_that_nobody_can_answer_keep_no_other_from_being_asked(db: Database) -> None:
    """Of a device that is no more, or whose picture went to make room there."""
    ids = sorted(ids_of(db))[:3]
    for identity in ids:
        add_label(db, identity, "rust", "anna")
    asked = []
    for _night in range(3):
        found = doubts(db, check_labels(db, "default", list(CLASSES)).findings, 2)
        add_doubts(db, found)
        asked.append([d.patch_id for d in found])
    assert asked == [ids[:2], ids[2:], []]
    add_label(db, ids[0], "rusty", "ben")  # looked at again, and still no class
    again = doubts(db, check_labels(db, "default", list(CLASSES)).findings, 2)
    assert [d.patch_id for d in again] == ids[:1]


def test_confident_learning_finds_the_flipped_labels_once(db: Database) -> None:
    labelled = check_labels(db, "default", list(CLASSES)).labelled
    labels = np.array([CLASSES.index(name) for name in labelled.classes])
    p = np.full((16, 4), 0.05)
    p[np.arange(16), labels] = 0.85
    flipped = [3, 7, 14]
    p[flipped, labels[flipped]] = 0.9
    wrong = labels.copy()
    wrong[flipped] = (wrong[flipped] + 1) % 4
    named = labelled._replace(classes=[CLASSES[c] for c in wrong])
    found = suspicious(named, wrong, np.log(p))
    assert {f.patch_id for f in found} == {labelled.ids[i] for i in flipped}
    assert not any(f.left_out for f in found)
    asked = doubts(db, found, 10)
    assert {d.patch_id for d in asked} == {labelled.ids[i] for i in flipped}
    add_doubts(db, asked)
    add_label(db, asked[0].patch_id, "clean", "carla")  # whoever looked again, has looked
    assert doubts(db, found, 10) == []


def test_names_of_something_new_become_classes_when_there_are_enough(db: Database) -> None:
    ids = ids_of(db)
    for patch in ids[:3]:
        add_answer(db, patch, "something new", "Burn mark", "anna")
    add_answer(db, ids[3], "something new", "burn  Mark", "ben")
    add_answer(db, ids[4], "something new", "pitted surface", "ben")  # has a class already
    found = classes_of_tonight(db, RECIPE, None, 5)
    assert (found.names, found.named) == (list(CLASSES), {"Burn mark": 4})
    assert check_labels(db, "default", found.names).named == 4
    found = classes_of_tonight(db, RECIPE, None, 4)
    assert found.grown == ["Burn mark"]
    checked = check_labels(db, "default", found.names)
    assert (checked.named, checked.findings) == (0, [])
    assert checked.labelled.classes.count("Burn mark") == 4
    assert checked.labelled.classes[checked.labelled.ids.index(ids[4])] == "pitted_surface"
    # What the model in use has stays while any patch has it, in its place; else it goes.
    found = classes_of_tonight(db, RECIPE, [*CLASSES, "Rust", "Burn mark"], 20)
    assert (found.names, found.gone) == ([*CLASSES, "Burn mark"], ["Rust"])
    assert place_of("BURN_MARK", found.names) == "Burn mark"


def test_a_class_that_left_the_recipe_does_not_come_back_by_itself(db: Database) -> None:
    smaller = Recipe(classes=list(CLASSES[:3]), pass_classes=["clean"])
    found = classes_of_tonight(db, smaller, None, 2)
    assert (found.names, found.grown, found.named) == (list(CLASSES[:3]), [], {})
