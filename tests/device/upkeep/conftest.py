"""A store with a model, flags and answers, and what is in it."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from config.settings import Settings
from device.models.models_in_use import in_force
from device.store.answers import add_label
from device.store.database import STORE_FILE, open_store
from tests.device.conftest import device_in, model_file
from tests.device.loop.test_loop import run, use_model


@pytest.fixture(scope="module")
def inspected(
    tmp_path_factory: pytest.TempPathFactory, plate_folder: Path, plates: np.ndarray
) -> Settings:
    """A store with a model, flags and answers; each test has a copy of it."""
    settings = device_in(tmp_path_factory.mktemp("inspected"), plate_folder)
    use_model(settings, model_file(settings.device.data.parent / "model.onnx", plates))
    run(settings, list(plates))
    db = open_store(settings.device.data)
    for (patch,) in db.execute("SELECT id FROM patches ORDER BY id LIMIT 15").fetchall():
        add_label(db, patch, "scratch", "anna")
    db.close()
    return settings


@pytest.fixture
def filled(settings: Settings, inspected: Settings) -> Settings:
    """That device, to be changed."""
    shutil.copytree(inspected.device.data, settings.device.data)
    return settings


def answers(settings: Settings) -> list[tuple[object, ...]]:
    db = open_store(settings.device.data)
    found = db.execute("SELECT rowid, id, patch_id, class, wall_ns FROM labels ORDER BY 1")
    rows = [tuple(row) for row in found]
    db.close()
    return rows


def in_use(settings: Settings) -> str | None:
    db = open_store(settings.device.data)
    found = in_force(db).model_id
    db.close()
    return found


def damage(settings: Settings, seed: int = 0, pages: int = 8) -> None:
    """Overwrite pages in the middle of the file, as a failing disk does."""
    path = settings.device.data / STORE_FILE
    content = bytearray(path.read_bytes())
    rng = random.Random(seed)
    for page in rng.sample(range(len(content) // 4096 // 2, len(content) // 4096), pages):
        content[page * 4096 : (page + 1) * 4096] = rng.randbytes(4096)
    path.write_bytes(content)
