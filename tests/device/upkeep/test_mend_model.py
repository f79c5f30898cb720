"""A model file that is damaged or missing, or whose recipe nobody knows any more."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from config.document import to_toml
from config.recipes import load_recipes
from config.settings import Backup, Settings
from device.models.activation import activate, is_whole, model_path
from device.models.models_in_use import in_force, refuse
from device.store.database import STORE_FILE, exclusive, open_store
from device.upkeep.backup import back_up
from device.upkeep.mend import mend
from device.upkeep.mend_model import mend_model
from tests.device.conftest import MakeModel
from tests.device.loop.test_loop import change, run, use_model
from tests.device.upkeep.conftest import in_use


def test_a_damaged_model_comes_back_from_the_copy_or_the_one_before_is_used(
    filled: Settings, make_model: MakeModel, tmp_path: Path, plates: np.ndarray
) -> None:
    first = in_use(filled)
    second = use_model(filled, make_model(7, "second.onnx"))
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    db = open_store(settings.device.data)
    back_up(settings, db)
    db.close()
    path = settings.device.data / "models" / f"{second}.onnx"
    path.write_bytes(path.read_bytes()[:999])
    events = run(settings, list(plates[:5]))
    assert any(e.startswith("model-mended") and "back from" in e for e in events)
    assert is_whole(model_path(settings.device.data, second), second)
    path.write_bytes(path.read_bytes()[:999])
    shutil.rmtree(tmp_path / "copies")
    events = run(settings, list(plates[:5]))
    assert any(e.startswith("model-mended") and "the model before" in e for e in events)
    assert in_use(settings) == first


def test_no_refused_and_no_unfit_model_takes_the_place_of_a_damaged_one(
    filled: Settings, make_model: MakeModel
) -> None:
    first = in_use(filled)
    refused = use_model(filled, make_model(7, "refused.onnx"))
    last = use_model(filled, make_model(8, "last.onnx"))
    path = filled.device.data / "models" / f"{last}.onnx"
    path.write_bytes(path.read_bytes()[:999])
    db = open_store(filled.device.data)
    with exclusive(db):
        refuse(db, refused, "it did worse")
    other = change(filled, "recipe", pass_classes=["clean", "scratch"])
    event = mend_model(db, other, last, "")
    assert event is not None
    assert (event.kind, in_use(filled)) == ("model-damaged", last)
    event = mend_model(db, filled, last, "")
    assert event is not None
    assert (event.kind, in_use(filled)) == ("model-mended", first)
    db.close()


def lose(settings: Settings) -> None:
    """Damage of which nothing can be read."""
    (settings.device.data / STORE_FILE).write_bytes(random.Random(0).randbytes(500_000))
    mended = mend(settings)
    assert mended is not None
    assert mended.how == "lost"


def test_a_model_comes_back_to_its_own_recipe_or_to_none(
    filled: Settings, make_model: MakeModel, tmp_path: Path
) -> None:
    settings = filled.model_copy(update={"backup": Backup(folder=tmp_path / "copies")})
    assert filled.device.recipes is not None
    filled.device.recipes.mkdir(exist_ok=True)
    (filled.device.recipes / "ring.toml").write_text("[recipe]\n")
    ring = load_recipes(filled).named("ring")
    assert ring is not None
    first = in_use(settings)
    refused = use_model(settings, make_model(6, "refused.onnx"))
    db = open_store(settings.device.data)
    its = activate(db, make_model(7, "ring.onnx"), ring, "test", "ring").id
    with exclusive(db):
        refuse(db, refused, "it did worse")
    back_up(settings, db)
    db.close()

    def in_force_now() -> tuple[str | None, str | None]:
        db = open_store(settings.device.data)
        found = in_force(db).model_id, in_force(db, "ring").model_id
        db.close()
        return found

    lose(settings)
    assert in_force_now() == (first, its)
    shutil.rmtree(tmp_path / "copies")
    lose(settings)
    assert in_force_now() == (None, None), "nothing says whose they are"
    file = settings.device.data / "models" / f"{its}.onnx"
    file.with_suffix(".companion.json").write_text('{"recipe": "ring"}')
    lose(settings)
    assert in_force_now() == (None, its)


def test_check_names_the_damaged_model_of_any_recipe(
    filled: Settings, make_model: MakeModel, tmp_path: Path
) -> None:
    assert filled.device.recipes is not None
    filled.device.recipes.mkdir(exist_ok=True)
    (filled.device.recipes / "ring.toml").write_text("[recipe]\n")
    ring = load_recipes(filled).named("ring")
    assert ring is not None
    db = open_store(filled.device.data)
    model = activate(db, make_model(7, "ring.onnx"), ring, "test", "ring").id
    db.close()
    config = tmp_path / "millsight.toml"
    config.write_text(to_toml(filled))
    command = [sys.executable, "-m", "millsight", "device", "check", "--config", str(config)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    path = filled.device.data / "models" / f"{model}.onnx"
    path.write_bytes(path.read_bytes()[:999])
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert f"{model[:12]} is damaged" in said.stderr
