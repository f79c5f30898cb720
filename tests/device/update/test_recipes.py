"""Two recipes, two channels: what happens to one does not touch the other."""

import json
from collections import Counter
from pathlib import Path

import pytest

from config.document import to_toml
from config.load import load_settings
from config.recipes import Under, load_recipes
from config.settings import Settings
from device.models.models_in_use import in_force, refused_models
from device.store.database import open_store
from device.update.memory import last_refusal, last_taken
from device.update.probation import Judging, note_judged, running_probations, watch
from tests.device.update.conftest import Site
from trainer.publishing.keys import make_keys, replace_keys, role_states
from trainer.publishing.publish import publish, set_roll_out
from trainer.publishing.publish import releases as published

RING = """[recipe]
index = 1
classes = ["clean", "patch", "pitted_surface", "scratch"]
pass_classes = ["clean"]
"""


@pytest.fixture
def ring(site: Site) -> Under:
    """A second recipe, and its channel; a busy machine is no reason to refuse a model."""
    update = site.settings.update.model_copy(update={"largest_slowdown": 100.0})
    site.settings = site.settings.model_copy(update={"update": update})
    site.config.write_text(to_toml(site.settings))
    folder = site.settings.device.recipes
    folder.mkdir()
    (folder / "ring.toml").write_text(RING)
    replace_keys(site.settings, [], site.offline)
    return load_recipes(site.settings).under("ring")


def models_in_use(site: Site) -> dict[str, str | None]:
    db = open_store(site.settings.device.data)
    found = {key: in_force(db, key).model_id for key in ("", "ring")}
    db.close()
    return found


def test_each_recipe_takes_in_its_own_channel(
    site: Site, ring: Under, three_models: list[Path]
) -> None:
    status, said = site.sync()
    assert status == 0
    assert "models: recipe my part: nothing is published for this device" in said
    assert "models: recipe ring: nothing is published for this device" in said
    first = publish(ring.settings, three_models[0], site.plates[:12])
    assert models_in_use(site) == {"": None, "ring": None}
    status, said = site.sync()
    assert f"models: recipe ring: {first.model[:12]} in use (release 1: newest release)" in said
    assert models_in_use(site) == {"": None, "ring": first.model}
    second = site.publish(three_models[1])
    third = site.publish(three_models[2])
    assert site.sync()[0] == 0
    assert models_in_use(site) == {"": third.model, "ring": first.model}
    db = open_store(site.settings.device.data)
    assert (last_taken(db), last_taken(db, "ring")) == (2, 1)
    db.close()
    # The same file in both channels is taken for both.
    assert publish(ring.settings, three_models[2], site.plates[:12]).number == 2
    site.sync()
    assert models_in_use(site) == {"": third.model, "ring": third.model}
    _, said = site.run("device", "models")
    assert f"* {third.model[:12]}" in said
    assert "recipe ring: " in said
    assert second.model[:12] not in said
    _, said = site.run("device", "models", "--recipe", "my part")
    assert said == ""  # the only one it had is the ring's as well, and that came last


def test_a_recipe_without_a_channel_has_nothing_published(
    site: Site, three_models: list[Path]
) -> None:
    folder = site.settings.device.recipes
    folder.mkdir()
    (folder / "ring.toml").write_text(RING)
    release = site.publish(three_models[0])
    status, said = site.sync()
    assert status == 0
    assert "models: recipe ring: nothing is published" in said
    assert site.in_use() == release.model
    assert site.events("update-refused") == []
    status, said = site.run("trainer", "releases", "--recipe", "ring")
    assert status == 1
    assert "has no channel yet" in said


def test_what_is_refused_for_one_recipe_keeps_back_no_other(
    site: Site, ring: Under, three_models: list[Path]
) -> None:
    site.publish(three_models[0])
    site.sync()
    bad = site.sign_anything(b"no model at all")
    good = publish(ring.settings, three_models[1], site.plates[:12])
    for _ in range(2):
        status, said = site.sync()
        assert models_in_use(site)["ring"] == good.model
    # The second time it is known, and not looked at again.
    assert status == 0
    assert f"models: recipe my part: {bad[:12]} is not taken" in said
    assert len(site.events("update-refused")) == 1
    db = open_store(site.settings.device.data)
    assert [(one.model_id, one.recipe) for one in refused_models(db)] == [(bad, "")]
    assert last_refusal(db, "ring") == ""
    db.close()
    # And a recipe whose file has a mistake: the others go on, and it is said.
    (site.settings.device.recipes / "odd.toml").write_text("[recipe]\nclasses = 3\n")
    newer = publish(ring.settings, three_models[2], site.plates[:12])
    status, said = site.sync()
    assert status == 1
    assert "odd.toml: recipe.classes: found 3" in said
    assert models_in_use(site)["ring"] == newer.model


def test_probation_and_going_back_are_of_one_recipe(
    site: Site, ring: Under, three_models: list[Path]
) -> None:
    old, new = three_models[:2]
    for file in (old, new):
        site.publish(file)
        publish(ring.settings, file, site.plates[:12])
        site.sync()
    both = models_in_use(site)
    assert both[""] == both["ring"]
    db = open_store(site.settings.device.data)
    assert [one.recipe for one in running_probations(db)] == ["", "ring"]
    model = str(both[""])
    usual = {"frames": 60, "unsure": 3, "mix": {"clean": 60}, "patch_ms": None}
    with db.atomic():
        db.execute("UPDATE probations SET before = ?", [json.dumps(usual)])
        note_judged(db, Judging("", model, 60, 3, Counter(clean=60), 60, 0.1))
        note_judged(db, Judging("ring", model, 60, 60, Counter(clean=60), 60, 0.1))
    (event,) = watch(db, site.settings)
    assert event.kind == "rolled-back"
    assert f"from {model[:12]} of recipe ring to" in event.text
    assert [one.recipe for one in running_probations(db)] == [""]
    assert [(one.model_id, one.recipe) for one in refused_models(db)] == [(model, "ring")]
    before = in_force(db, "ring").model_id
    db.close()
    assert before != model
    assert models_in_use(site) == {"": model, "ring": before}
    status, said = site.sync()
    assert status == 0
    assert f"recipe ring: {model[:12]} is not taken: probation:" in said
    assert models_in_use(site) == {"": model, "ring": before}


def test_a_person_goes_back_for_one_recipe(
    site: Site, ring: Under, three_models: list[Path]
) -> None:
    for file in three_models[:2]:
        site.publish(file)
        publish(ring.settings, file, site.plates[:12])
        site.sync()
    releases = published(site.settings)
    status, said = site.run(
        "device", "rollback", releases[0].model[:12], "--who", "Zoe", "--recipe", "my part"
    )
    assert status == 0, said
    assert models_in_use(site) == {"": releases[0].model, "ring": releases[1].model}
    # Nobody may take up again what was left, but for the recipe that still runs it.
    site.sync()
    assert models_in_use(site) == {"": releases[0].model, "ring": releases[1].model}
    status, said = site.run("device", "rollback", releases[0].model, "--who", "Zoe",
                            "--recipe", "gone")  # fmt: skip
    assert status == 1
    assert "gone: no recipe; known: my part, ring" in said
    set_roll_out(ring.settings, releases[1].model, releases[1].roll_out)  # the ring's own channel


def test_keys_are_made_and_replaced_for_every_channel(
    site: Site, ring: Under, tmp_path: Path, three_models: list[Path]
) -> None:
    def keys() -> dict[str, list[str]]:
        return {state.role: state.keys for state in role_states(site.settings)}

    before = keys()
    assert {"recipe-my part", "recipe-ring"} <= before.keys()
    status, said = site.run("trainer", "keys", "rotate", "--offline", str(site.offline))
    assert status == 0, said
    after = keys()
    for role in ("recipe-my part", "recipe-ring"):
        assert not set(before[role]) & set(after[role])
    publish(ring.settings, three_models[0], site.plates[:12])
    assert site.sync()[0] == 0
    assert models_in_use(site)["ring"] is not None
    # From the beginning: every recipe of the site has a channel.
    other = tmp_path / "other"
    other.mkdir()
    config = other / "millsight.toml"
    config.write_text(to_toml(Settings()))
    (other / "recipes").mkdir()
    (other / "recipes" / "disc.toml").write_text(RING)
    settings = load_settings(config)
    make_keys(settings, other / "stick")
    roles = {state.role for state in role_states(settings)}
    assert {"recipe-default", "recipe-disc"} <= roles
