"""A model file that is damaged or missing: brought back from a copy, or the one before is used."""

import hashlib
from pathlib import Path

from sqlite_utils import Database

from camera.source import Event
from config.settings import Settings
from device.models.activation import model_path
from device.models.models_in_use import record_activation
from device.system.durable import write_durably
from device.upkeep.backup import copies


def is_whole(data: Path, model_id: str) -> bool:
    """Whether the file of a model is there, as it was."""
    try:
        content = model_path(data, model_id).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content).hexdigest() == model_id


def mend_model(db: Database, settings: Settings, model_id: str, key: str) -> Event | None:
    """Do something about a model in use whose file is damaged; None: it is whole.

    Its file comes back from a copy (`[backup]`); else the model before it comes into use again, and
    without one the operators are asked as before the first model. `key` is the recipe's, '' for
    that of the settings file.

    Raises:
        OSError: the disk fails.
    """
    data = settings.device.data
    if is_whole(data, model_id):
        return None
    path = model_path(data, model_id)
    for copy in copies(settings):
        file = copy.folder / "models" / path.name
        content = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(content).hexdigest() == model_id:
            write_durably(path, content)
            return Event("model-mended", f"{path}: was damaged; it is back from {copy.folder}")
    rows = db.execute(
        "SELECT model_id FROM activations WHERE recipe = ? AND model_id != ? "
        "GROUP BY model_id ORDER BY max(id) DESC",
        [key, model_id],
    ).fetchall()
    for (before,) in rows:
        if is_whole(data, before):
            record_activation(db, before, f"the file of {model_id[:12]} is damaged", key)
            text = f"{path}: damaged, and no copy has it; the model before, {before[:12]}, is used"
            return Event("model-mended", text)
    return Event("model-damaged", f"{path}: damaged, and nothing takes its place; retrain or sync")
