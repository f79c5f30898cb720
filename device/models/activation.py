"""Bringing a model into use: checked first, then switched to in one step."""

import hashlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sqlite_utils import Database

from config.errors import UserError
from config.recipes import Under
from config.settings import PATCH_SIZE, Recipe, Settings
from device.judging.model import (
    Model,
    ModelMetadata,
    Unfit,
    load_model,
    load_model_bytes,
    read_model_file,
)
from device.judging.patches import Patches
from device.models.models_in_use import add_model, in_force, record_activation, refuse
from device.models.race import race, record_race, stream_patches
from device.store.database import STORE_FILE, exclusive, explain_errors
from device.store.trail import add_action
from device.system.durable import write_durably


def model_path(data: Path, model_id: str) -> Path:
    """Where a device keeps the file of a model."""
    return data / "models" / f"{model_id}.onnx"


def is_whole(file: Path, model_id: str) -> bool:
    """Whether a file is the model of this id, to the byte."""
    try:
        return hashlib.sha256(read_model_file(file)).hexdigest() == model_id
    except UserError:
        return False


def check_recipe(metadata: ModelMetadata, recipe: Recipe, name: str) -> None:
    """Refuse a model for other classes or pictures than the recipe's.

    The recipe's classes come first, in their order. Behind them a model may have classes that
    operators named meanwhile; what shows one of these fails, for nobody has said that it is good.

    Raises:
        Unfit: the recipe's classes are not the model's first ones, others pass, or one of the
            two has levelled pictures and the other plain ones.
    """
    first = metadata.classes[: len(recipe.classes)]
    if (first, set(metadata.pass_classes)) != (recipe.classes, set(recipe.pass_classes)):
        raise Unfit(
            f"{name}: made for classes {metadata.classes} (passing: {metadata.pass_classes}), but "
            f"recipe {recipe.name!r} has {recipe.classes} (passing: {recipe.pass_classes}); "
            "use the matching model, or retrain"
        )
    if metadata.levelled != recipe.shared_maps:
        made = "levelled" if metadata.levelled else "plain"
        raise Unfit(
            f"{name}: made for {made} pictures, but recipe {recipe.name!r} has shared_maps = "
            f"{str(recipe.shared_maps).lower()}; use the matching model, or retrain"
        )


def activate(
    db: Database,
    file: Path,
    settings: Settings,
    reason: str,
    recipe: str = "",
    also: Callable[[Model], None] | None = None,
    golden: Patches | None = None,
) -> Model:
    """Check a model file, keep a copy under its id, and make it the model in use.

    `settings` hold the recipe it is for; `recipe` is '' for that of the settings file, else its
    name. Which form of the model judges, float32 or int8, is decided here by a race
    (`device.models.race`), on pictures of the device's own stream and on the trainer's `golden`
    patches, uint8 [N, 200, 200], where there are some. A power cut at any moment leaves either the
    old model in use or the new one whole. `also` is done in the same transaction.

    Raises:
        UserError: the file is no model for this recipe, or cannot be kept.
    """
    data = settings.device.data
    content = read_model_file(file)
    model = load_model_bytes(content, str(file), settings.device.threads)
    check_recipe(model.metadata, settings.recipe, str(file))
    path = model_path(data, model.id)
    _write(path, content)
    seen = stream_patches(db, settings.recipe.name)
    outcome = race(content, seen if golden is None else np.concatenate([golden, seen]), settings)
    judging = model
    if outcome.variant == "int8":
        judging = load_model_bytes(content, str(file), settings.device.threads, "int8")
    latency_ms = measure_latency(judging)
    with explain_errors(data / STORE_FILE), exclusive(db):
        if not path.exists():  # a clean-up took it for an old one of no use
            _write(path, content)
        add_model(db, model, latency_ms)
        record_race(db, model.id, outcome)
        record_activation(db, model.id, reason, recipe)
        if also is not None:
            also(model)
    return model


def _write(path: Path, content: bytes) -> None:
    try:
        write_durably(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


def go_back(db: Database, model_id: str, under: Under, who: str) -> Model:
    """Bring an earlier model of this device into use again for a recipe, and record who did it.

    The model that is left is not taken from the exchange again.

    Raises:
        UserError: it is in use already, is not known here, or its file is missing, damaged or for
            other classes; nothing was changed.
    """
    settings = under.settings
    data = settings.device.data
    left = in_force(db, under.key).model_id
    if model_id == left:
        raise UserError(f"{model_id[:12]}: is the model in use already")
    if not db.execute("SELECT 1 FROM models WHERE id = ?", [model_id]).fetchone():
        raise UserError(f"{model_id[:12]}: no model of this device")
    path = model_path(data, model_id)
    model = load_model(path, settings.device.threads)
    if model.id != model_id:
        raise UserError(f"{path}: not the model it was; go back to another one")
    check_recipe(model.metadata, settings.recipe, str(path))
    with explain_errors(data / STORE_FILE), exclusive(db):
        if not path.exists():
            raise UserError(f"{path}: went meanwhile; go back to another one")
        record_activation(db, model_id, f"rolled back by {who}", under.key)
        if left is not None:
            refuse(db, left, f"rolled back by {who}", under.key)
        of = f" for recipe {under.key}" if under.key else ""
        add_action(db, who, "rolled back", f"{model_id}{of}")
    return model


def measure_latency(model: Model) -> float:
    """The time of one patch through a model on this device, in milliseconds: median of 15."""
    patch = np.zeros((1, PATCH_SIZE, PATCH_SIZE), np.uint8)
    times = []
    for _ in range(15):
        began = time.perf_counter()
        model.log_probabilities(patch)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)
