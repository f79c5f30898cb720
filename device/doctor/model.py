"""Is there a model, undamaged, and made for the recipe?"""

import sqlite3
from collections.abc import Iterator

from sqlite_utils import Database

from config.errors import UserError
from device.doctor.database import reading
from device.doctor.finding import Box, Finding
from device.judging.model import load_model
from device.models.activation import check_recipe, model_path
from device.models.models_in_use import in_force
from device.store.database import STORE_FILE

AGAIN = "go back to another one: millsight device models, millsight device rollback"


def look(box: Box) -> Iterator[Finding]:
    """The model in use: it is loaded, and tries itself."""
    data = box.settings.device.data
    model_id = None
    if (data / STORE_FILE).exists():
        try:
            with reading(box) as connection:
                model_id = in_force(Database(connection)).model_id
        except sqlite3.Error as error:
            yield Finding.fault(f"which one is in use is not known: {error}", "see database")
            return
    if model_id is None:
        yield Finding.warning(
            "none yet: patches are only collected", "label the questions and train, or activate one"
        )
        return
    path = model_path(data, model_id)
    try:
        model = load_model(path)
        check_recipe(model.metadata, box.settings.recipe, str(path))
    except UserError as error:
        yield Finding.fault(str(error), AGAIN)
        return
    if model.id != model_id:
        yield Finding.fault(f"{path}: not the model it was", AGAIN)
        return
    yield Finding.ok(f"{model.id[:12]}, {model.metadata.labels} labels")
