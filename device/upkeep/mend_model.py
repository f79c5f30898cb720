"""A model file that is damaged or missing: brought back from a copy, or the one before is used."""

from pydantic import ValidationError
from sqlite_utils import Database

from camera.source import Event
from config.errors import UserError
from config.recipes import Under, load_recipes
from config.settings import Settings
from device.judging.model import ModelMetadata
from device.models.activation import check_recipe, is_whole, model_path
from device.models.models_in_use import record_activation, why_refused
from device.system.durable import write_durably
from device.upkeep.backup import copies


def mend_model(db: Database, settings: Settings, model_id: str, key: str) -> Event | None:
    """Do something about a model in use whose file is damaged; None: it is whole.

    Its file comes back from a copy (`[backup]`); else the last model before it that was not
    refused and fits the recipe comes into use again, and without one the operators are asked as
    before the first model. `key` is the recipe's, '' for that of the settings file.

    Raises:
        OSError: the disk fails.
    """
    data = settings.device.data
    path = model_path(data, model_id)
    if is_whole(path, model_id):
        return None
    for copy in copies(settings):
        file = copy.folder / "models" / path.name
        if is_whole(file, model_id):
            write_durably(path, file.read_bytes())
            return Event("model-mended", f"{path}: was damaged; it is back from {copy.folder}")
    rows = db.execute(
        "SELECT a.model_id, m.metadata FROM activations a JOIN models m ON m.id = a.model_id "
        "WHERE a.recipe = ? AND a.model_id != ? GROUP BY a.model_id ORDER BY max(a.id) DESC",
        [key, model_id],
    ).fetchall()
    under = load_recipes(settings).keyed(key)
    for before, metadata in rows:
        if why_refused(db, before, key) is not None:
            continue
        if is_whole(model_path(data, before), before) and _fits(metadata, under):
            record_activation(db, before, f"the file of {model_id[:12]} is damaged", key)
            text = f"{path}: damaged, and no copy has it; the model before, {before[:12]}, is used"
            return Event("model-mended", text)
    return Event("model-damaged", f"{path}: damaged, and nothing takes its place; retrain or sync")


def _fits(metadata: str, under: Under | None) -> bool:
    """Whether a model is one for the recipe as it is now; its columns as the store has them."""
    try:
        if under is not None:
            found = ModelMetadata.model_validate_json(metadata)
            check_recipe(found, under.settings.recipe, under.name)
    except (UserError, ValidationError):
        return False
    return True
