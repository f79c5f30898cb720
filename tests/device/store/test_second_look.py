"""Answers that the trainer doubts come back as questions; a model may have classes of its own."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlite_utils import Database

from camera.milled_steel import CLASSES
from config.errors import UserError
from config.recipes import Under
from config.settings import FolderSource, Recipe, Settings
from device.exchange.may_go import patches_that_may_go
from device.loop.loop import InspectionLoop
from device.models.activation import activate, check_recipe
from device.models.models_in_use import classes_in_use
from device.review import queue
from device.store.answers import add_answer, is_labelled, waiting
from device.store.database import open_store
from device.store.second_look import Doubt, add_doubts, is_doubted
from tests.device.conftest import MakeModel, metadata, wider_model
from tests.trainer.night.night_site import plates as make_plates
from tests.trainer.night.night_site import store

PAGE = "page-0001"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A device's store with 4 labels of a cycle that is over."""
    db = open_store(tmp_path)
    store(db, *make_plates(0, 4))
    db.execute("UPDATE flags SET cycle = 0")
    yield db
    db.close()


def waits(db: Database) -> list[str]:
    return [question.patch_id for question in waiting(db, {"": (9, 54)})]


def test_a_doubted_answer_is_asked_again_until_there_is_a_newer_one(db: Database) -> None:
    patch, label = db.execute("SELECT patch_id, id FROM labels LIMIT 1").fetchone()
    assert waits(db) == []
    doubt = Doubt(patch, label, "suspicious")
    add_doubts(db, [doubt, Doubt(patch, "0" * 64, "suspicious"), Doubt("1" * 64, label, "x")])
    assert waits(db) == [patch]
    assert not is_labelled(db, patch)
    assert patch not in patches_that_may_go(db)
    found = queue.claim_next(db, PAGE, {"": (9, 54)})
    assert found is not None
    assert found.patch_id == patch
    assert queue.answer(db, "tap-0001", patch, PAGE, "class", "scratch", "ben") == "stored"
    assert (waits(db), is_doubted(db, patch)) == ([], False)
    add_doubts(db, [doubt])  # told of again: it was answered
    assert waits(db) == []
    assert queue.undo(db, "undo-0001", PAGE, "ben") == patch
    assert waits(db) == [patch]
    add_answer(db, patch, "can't tell", None, "carla")
    assert waits(db) == []


def test_a_doubted_answer_is_no_repeat_for_agreement(db: Database) -> None:
    rows = db.execute("SELECT patch_id, id FROM labels").fetchall()
    add_doubts(db, [Doubt(patch, label, "suspicious") for patch, label in rows])
    assert queue.claim_repeat(db, PAGE, "ben", 0.5, [""]) is None


def test_only_classes_behind_the_recipes_are_taken(make_model: MakeModel) -> None:
    recipe = Recipe(classes=list(CLASSES), pass_classes=["clean"])
    check_recipe(metadata(), recipe, "m")
    more = {"baselines": [None] * 5, "baseline_counts": [0] * 5, "thresholds": [None] * 5}
    check_recipe(metadata(classes=[*CLASSES, "Burn"], **more), recipe, "m")
    for wrong in (
        {"classes": ["Burn", *CLASSES], **more},
        {"classes": [*CLASSES[:3], "Burn", CLASSES[3]], **more},
        {"classes": [*CLASSES, "Burn"], "pass_classes": ["clean", "Burn"], **more},
        {"classes": CLASSES[::-1]},
    ):
        with pytest.raises(UserError, match="m: made for classes"):
            check_recipe(metadata(**wrong), recipe, "m")


def test_a_device_judges_with_a_class_more(
    settings: Settings, plates: NDArray[np.uint8], tmp_path: Path
) -> None:
    db = open_store(settings.device.data)
    assert classes_in_use(db, Under(settings)) == list(CLASSES)
    file = wider_model(tmp_path / "m.onnx", plates, [*CLASSES, "Burn"])
    activate(db, file, settings, "test")
    assert classes_in_use(db, Under(settings)) == [*CLASSES, "Burn"]
    assert isinstance(settings.camera.folder, FolderSource)
    summary = InspectionLoop(settings, lambda _event: None).run()
    assert summary.frames == 120
    flagged = {row[0] for row in db.execute("SELECT DISTINCT predicted FROM flags")}
    assert flagged <= {*CLASSES, "Burn"}
    db.close()
