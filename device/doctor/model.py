"""Has every recipe a model, undamaged, and made for it?"""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

from sqlite_utils import Database

from config.errors import UserError
from config.recipes import Under, load_recipes
from device.doctor.database import reading
from device.doctor.finding import Box, Finding
from device.judging.model import load_model
from device.models.activation import check_recipe, model_path
from device.models.models_in_use import in_force
from device.store.database import STORE_FILE

AGAIN = "go back to another one: millsight device models, millsight device rollback"


def look(box: Box) -> Iterator[Finding]:
    """The models in use, a recipe each: they are loaded, and try themselves."""
    data = box.settings.device.data
    recipes = load_recipes(box.settings)
    in_use: dict[str, str | None] = {}
    if (data / STORE_FILE).exists():
        try:
            with reading(box) as connection:
                db = Database(connection)
                in_use = {one.key: in_force(db, one.key).model_id for one in recipes.each()}
        except sqlite3.Error as error:
            yield Finding.fault(f"which one is in use is not known: {error}", "see database")
            return
    for mistake in recipes.errors:
        yield Finding.fault(mistake, "mend the file, or millsight recipe edit")
    for one in recipes.each():
        found = _look(one, in_use.get(one.key))
        of = f"recipe {one.name}: " if recipes.several else ""
        yield replace(found, text=of + found.text)


def _look(under: Under, model_id: str | None) -> Finding:
    """The model of one recipe."""
    if model_id is None:
        return Finding.warning(
            "none yet: patches are only collected", "label the questions and train, or activate one"
        )
    path = model_path(under.settings.device.data, model_id)
    try:
        model = load_model(path)
        check_recipe(model.metadata, under.settings.recipe, str(path))
    except UserError as error:
        return Finding.fault(str(error), AGAIN)
    if model.id != model_id:
        return Finding.fault(f"{path}: not the model it was", AGAIN)
    return Finding.ok(f"{model.id[:12]}, {model.metadata.labels} labels")
