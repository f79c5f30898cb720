"""Quota and budget of questions that a recipe has of its own."""

import hashlib
from pathlib import Path

import pytest
from sqlite_utils import Database

from config.recipes import load_recipes
from config.settings import Settings
from device.loop.recipe_budget import recipes_spent
from device.review.queue import claim_next
from device.store.answers import add_answer, waiting
from device.store.cycles import start_cycle
from device.store.database import open_store
from device.system.clock import stamp
from device.upkeep.old_rows import release_stale_claims

CLASSES = 'classes = ["clean", "patch", "pitted_surface", "scratch"]\n'


def ask(db: Database, recipe: str, count: int, number: int) -> list[str]:
    """Questions about parts of a recipe, the most unsure first, in its present cycle."""
    frame = f"frame-{number}"
    db.execute(
        "INSERT INTO frames VALUES (?, 'box', 0, ?, ?, ?, ?, '', 200, 200, ?, NULL, "
        "'unsure', NULL, NULL, '', '')",
        [frame, *stamp(), recipe],
    )
    cycle = db.execute("SELECT max(id) FROM cycles").fetchone()[0]
    ids = [hashlib.sha256(f"{recipe}{i}".encode()).hexdigest() for i in range(count)]
    for i, patch in enumerate(ids):
        db.execute(
            "INSERT INTO patches VALUES (?, 'box', 0, 0, 200, 200, x'', NULL, NULL)", [patch]
        )
        db.execute(
            "INSERT INTO flags (patch_id, frame_id, cycle, reason, predicted, score) "
            "VALUES (?, ?, ?, 'uncertain', 'scratch', ?)",
            [patch, frame, cycle, 1 - i / 100],
        )
    db.conn.commit()
    return ids


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Settings:
    device = settings.device.model_copy(update={"recipes": tmp_path / "recipes"})
    device.recipes.mkdir()
    asking = settings.asking.model_copy(update={"k": 4, "labels_per_shift": 100})
    return settings.model_copy(update={"device": device, "asking": asking})


def test_a_recipe_asks_no_more_than_its_own_budget(site: Settings) -> None:
    file = site.device.recipes / "ring.toml"
    file.write_text(f"[recipe]\n{CLASSES}[asking]\nk = 7\nlabels_per_shift = 2\n")
    db = open_store(site.device.data)
    start_cycle(db, "first use")
    of_site = ask(db, site.recipe.name, 9, 1)
    start_cycle(db, "first use", "ring")
    of_ring = ask(db, "ring", 9, 2)
    recipes = load_recipes(site)
    waits = waiting(db, recipes.quotas)
    found = {q.patch_id for q in waits}
    assert found == {*of_site[:4], *of_ring[:7]}, "each by its own quota"
    assert recipes_spent(db, recipes) == set()
    add_answer(db, of_site[0], "class", "scratch", "Anna")
    add_answer(db, of_ring[0], "class", "scratch", "Anna")
    assert recipes_spent(db, recipes) == set()
    add_answer(db, of_ring[1], "class", "scratch", "Anna")
    assert recipes_spent(db, recipes) == {"ring"}
    add_answer(db, of_ring[1], "undone", None, "Anna")
    assert recipes_spent(db, recipes) == set(), "one that was taken back does not count"
    file.write_text(f"[recipe]\n{CLASSES}[asking]\nlabels_per_shift = 1\n")
    assert recipes_spent(db, load_recipes(site)) == {"ring"}
    db.close()


def test_what_a_closed_page_had_before_it_is_not_counted_for_ever(site: Settings) -> None:
    file = site.device.recipes / "ring.toml"
    file.write_text(f"[recipe]\n{CLASSES}[asking]\nlabels_per_shift = 2\n")
    db = open_store(site.device.data)
    start_cycle(db, "first use", "ring")
    ask(db, "ring", 3, 1)
    recipes = load_recipes(site)
    for _ in range(2):
        assert claim_next(db, "a-page", recipes.quotas, []) is not None
        db.execute("UPDATE claims SET holder = 'another', repeat = 1")
    assert recipes_spent(db, recipes) == {"ring"}
    db.execute("UPDATE claims SET expires_ns = 0")
    release_stale_claims(db)
    assert recipes_spent(db, recipes) == set()
    db.close()
