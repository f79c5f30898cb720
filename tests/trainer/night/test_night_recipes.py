"""A night of several recipes: one after the other, and none mixes with another."""

from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from camera.milled_steel import CLASSES
from config.document import to_toml
from config.errors import UserError
from config.load import load_settings
from config.recipes import load_recipes
from config.settings import Settings
from device.models.models_in_use import in_force
from device.store.answers import labelled_patches
from device.store.database import open_store
from tests.device.conftest import model_file
from tests.trainer.night.night_site import golden_folder, make_site, plates, store
from tests.trainer.night.test_night_whole import millsight
from trainer.labels.golden import golden_set
from trainer.night.history import champion_of, nights_folder, past_nights
from trainer.night.night import Idle, Night, run_nights
from trainer.publishing.keys import replace_keys
from trainer.publishing.publish import publish, record_champion, releases

RING = """[recipe]
index = 1
classes = ["fine", "burr"]
pass_classes = ["fine"]
[trainer]
golden = "ring-golden"
"""
NAMES = {"clean": "fine", "patch": "fine", "pitted_surface": "burr", "scratch": "burr"}


def ring_plates(first: int, count: int) -> tuple[Any, list[str]]:
    """Plates of the ring: other pictures and other classes than the site's."""
    images, names = plates(first, count)
    return images, [NAMES[name] for name in names]


@pytest.fixture
def both(tmp_path: Path) -> dict[str, Settings]:
    """The settings under two recipes, labels of both in one store, golden plates of both."""
    site = make_site(tmp_path)
    site.device.recipes.mkdir()
    (site.device.recipes / "ring.toml").write_text(RING)
    golden_folder(site.device.recipes / "ring-golden", *ring_plates(6000, 32))
    replace_keys(site, [], tmp_path / "stick")
    db = open_store(site.trainer.data)
    store(db, *ring_plates(1000, 16), recipe="ring")
    db.close()
    (tmp_path / "millsight.toml").write_text(to_toml(site))
    return load_recipes(site).all()


def champions(db: Database, both: dict[str, Settings]) -> dict[str, str | None]:
    found = {name: champion_of(db, settings) for name, settings in both.items()}
    return {name: None if model is None else model.id for name, model in found.items()}


def nights(both: dict[str, Settings], **how: Any) -> dict[str, Night | Idle | UserError]:
    return {ended.recipe: ended.result for ended in run_nights(list(both.values()), **how)}


def test_every_recipe_learns_from_its_own_labels(both: dict[str, Settings]) -> None:
    stages: list[str] = []
    ended = nights(both, on_stage=stages.append)
    default, ring = ended["default"], ended["ring"]
    assert isinstance(default, Night)
    assert isinstance(ring, Night)
    assert default.published
    assert ring.published
    assert (default.labels, ring.labels) == (24, 16)
    assert (default.classes.names, ring.classes.names) == (list(CLASSES), ["fine", "burr"])
    assert stages.count("merge") == 1
    assert {"default: check labels", "ring: check labels", "ring: publish"} <= set(stages)
    assert "refresh" in default.seconds  # of which only the first had any
    assert "refresh" not in ring.seconds
    published = {name: [r.model for r in releases(settings)] for name, settings in both.items()}
    assert published == {"default": [default.model_id], "ring": [ring.model_id]}
    db = open_store(both["ring"].trainer.data)
    assert champions(db, both) == {"default": default.model_id, "ring": ring.model_id}
    golden = {name: golden_set(db, settings) for name, settings in both.items()}
    assert set(golden["ring"].classes) == {"fine", "burr"}
    assert not set(golden["ring"].classes) & set(golden["default"].classes)
    # One has something new, the other has not.
    store(db, *ring_plates(1500, 4), recipe="ring")
    again = nights(both)
    assert isinstance(again["default"], Idle)
    newer = again["ring"]
    assert isinstance(newer, Night)
    assert newer.champion_id == ring.model_id
    assert champions(db, both) == {"default": default.model_id, "ring": newer.model_id}
    assert [night.model_id for night in past_nights(db, "default")] == [default.model_id]
    assert len(labelled_patches(db).ids) == len(labelled_patches(db, "default").ids) + 20
    db.close()


def test_what_fails_for_one_recipe_stops_no_other(
    both: dict[str, Settings], tmp_path: Path
) -> None:
    golden = both["default"].device.recipes / "ring-golden"
    golden_folder(golden, plates(0, 1)[0], ["not a class"])
    (both["default"].device.recipes / "odd.toml").write_text("[recipe]\nclasses = 3\n")
    said = millsight("trainer", "night", "-c", str(tmp_path / "millsight.toml"), ok=False)
    assert "default: published " in said
    assert "millsight: " in said
    assert "odd.toml: recipe.classes: found 3" in said
    assert "ring: " in said
    assert "'not a class', which is no class of recipe 'ring'" in said
    assert "Traceback" not in said
    said = millsight(
        "trainer", "night", "-c", str(tmp_path / "millsight.toml"), "--recipe", "default"
    )
    assert said.splitlines()[-1].startswith("nothing to do: no label")
    db = open_store(both["ring"].trainer.data)
    assert past_nights(db, "ring") == []
    assert len(past_nights(db, "default")) == 1
    db.close()


def test_a_disk_that_fails_one_recipe_stops_no_other(both: dict[str, Settings]) -> None:
    """As where its folder is on a disk that is full, or belongs to somebody else."""
    folder = nights_folder(both["default"])
    folder.parent.mkdir()
    folder.touch()
    ended = nights(both)
    assert isinstance(ended["default"], UserError)
    assert str(ended["default"]).startswith(str(folder))
    assert isinstance(ended["ring"], Night)


def test_after_a_stopped_training_no_other_begins(both: dict[str, Settings]) -> None:
    began = []

    def on_step(name: str, _progress: object) -> None:
        began.append(name)
        raise KeyboardInterrupt

    ended = nights(both, on_step=on_step)
    default, ring = ended["default"], ended["ring"]
    assert isinstance(default, Night)
    assert default.stopped
    assert not default.published
    assert isinstance(ring, UserError)
    assert str(ring).startswith("not begun")
    assert all(name.startswith("default: ") for name in began)


def test_a_champion_is_never_another_recipes(both: dict[str, Settings], tmp_path: Path) -> None:
    site, ring = both["default"], both["ring"]
    images, _ = plates(0, 12)
    first = model_file(tmp_path / "first.onnx", images, 0)
    second = model_file(tmp_path / "second.onnx", images, 1)
    db = open_store(site.trainer.data)
    publish(site, first, images)
    record_champion(db, first, site, "by hand")
    known = champions(db, both)
    assert known["default"] is not None
    assert known["ring"] is None
    # A copy of the site's recipe, for which the same file is published, and then another one.
    (site.device.recipes / "twin.toml").write_text(
        f'[recipe]\nclasses = {list(CLASSES)}\npass_classes = ["clean"]\n'.replace("'", '"')
    )
    replace_keys(site, [], tmp_path / "stick")
    twin = load_recipes(site).under("twin").settings
    both = {**both, "twin": twin}
    assert champions(db, both)["twin"] is None
    publish(twin, first, images)
    record_champion(db, first, twin, "by hand")
    assert champions(db, both) == {**known, "twin": known["default"]}
    publish(twin, second, images)
    record_champion(db, second, twin, "by hand")
    found = champions(db, both)
    assert found["default"] == known["default"]
    assert found["twin"] not in {None, known["default"]}
    # What an older program recorded without the name of a recipe.
    db.execute("UPDATE activations SET recipe = '' WHERE recipe = 'default'")
    db.conn.commit()
    assert in_force(db, "default").model_id is None
    assert champions(db, both) == {**found, "ring": None}
    assert champion_of(db, ring) is None
    db.close()


def test_the_settings_of_a_command_are_those_under_its_recipe(
    both: dict[str, Settings], tmp_path: Path
) -> None:
    config = str(tmp_path / "millsight.toml")
    assert load_settings(Path(config)).recipe.name == "default"
    out = tmp_path / "made"
    said = millsight(
        "trainer", "golden", str(out), "-c", config, "--recipe", "ring", "--per-class", "2"
    )
    assert sorted(path.name for path in out.iterdir()) == ["burr", "fine"]
    assert said.rstrip().endswith("ring.toml")
    said = millsight("trainer", "freeze", "-c", config, "--recipe", "ring")
    assert said.startswith("version 1: 32 patches")
    db = open_store(both["ring"].trainer.data)
    assert golden_set(db, both["ring"]).version == 1
    assert db.execute("SELECT DISTINCT recipe FROM golden").fetchall() == [("ring",)]
    db.close()
