"""What the bench measures with: pictures and a model, one's own or made up."""

import importlib.util
import os
from pathlib import Path

import cv2
import numpy as np

from camera.folder import find_images, read_grey
from camera.milled_steel import CLASSES, random_patch
from camera.quality import QualityGate
from camera.source import GreyImage
from config.errors import UserError
from config.load import ENVIRONMENT, find_settings, load_settings
from config.settings import Recipe, Settings
from device.bench.row import Inputs
from device.judging.model import Model, load_model
from device.judging.patches import Patches, to_patch
from device.models.activation import model_path
from device.models.models_in_use import in_force
from device.store.database import STORE_FILE, open_store

MOST_IMAGES = 2000
SIMULATED, SIMULATED_QUICK = 600, 120


def make_inputs(
    config: Path | None,
    frames: Path | None,
    model: Path | None,
    runs: int,
    scratch: Path,
    *,
    quick: bool,
) -> tuple[Inputs, str]:
    """Inputs of all rows, and what they are, for people.

    Pictures: of the folder named, else `camera.folder.path`, else of the simulated platform. Model:
    the one named, else the one in use, else an untrained one. The device that is measured is a new
    one, all its settings the defaults but `device.threads`.

    Raises:
        UserError: pictures or model cannot be used; no model is there and none can be made.
    """
    site = _settings(config)
    folder = frames or site.camera.folder.path
    most = SIMULATED_QUICK if quick else SIMULATED
    if folder is None:
        files, pictures = _simulated(scratch / "frames", most), "simulated patches"
    else:
        files, pictures = find_images(folder)[: most if quick else MOST_IMAGES], str(folder)
    good = {file: image for file in files if (image := _good(file)) is not None}
    if not good:
        raise UserError(f"{folder}: none of its pictures may be judged; name others with --frames")
    patches = np.stack(list(good.values()))
    file = model or _model_in_use(site)
    if file is not None:
        loaded, network = load_model(file), f"model {file}"
    else:
        file = scratch / "untrained.onnx"
        loaded, network = _untrained(file, site.recipe, patches), "an untrained network"
    recipe = Recipe(classes=loaded.metadata.classes, pass_classes=loaded.metadata.pass_classes)
    defaults = Settings(recipe=recipe)
    device = defaults.device.model_copy(update={"threads": site.device.threads})
    settings = defaults.model_copy(update={"device": device})
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "millsight"
    inputs = Inputs(settings, list(good), patches, file, loaded, runs, quick, scratch, cache)
    return inputs, f"{len(patches)} pictures ({pictures}), {network}"


def _settings(config: Path | None) -> Settings:
    """Those of the site; the defaults where nothing is set up."""
    if config is None and ENVIRONMENT not in os.environ:
        try:
            find_settings()
        except UserError:
            return Settings()
    return load_settings(config)


def _simulated(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    files = []
    for i in range(count):
        path = folder / f"{i:04}.jpg"
        cv2.imwrite(str(path), random_patch(i, CLASSES[i % 4]).image)
        files.append(path)
    return files


def _good(file: Path) -> GreyImage | None:
    """A picture as the network sees it; None: the quality gate refuses it."""
    patch = to_patch(read_grey(file))
    return None if QualityGate(Settings().camera.quality).fault(patch) else patch


def _model_in_use(settings: Settings) -> Path | None:
    data = settings.device.data
    if not (data / STORE_FILE).is_file():
        return None
    db = open_store(data)
    model_id = in_force(db).model_id
    db.close()
    return None if model_id is None else model_path(data, model_id)


def _untrained(path: Path, recipe: Recipe, patches: Patches) -> Model:
    if importlib.util.find_spec("onnx") is None:
        raise UserError(
            "no model in use, and none can be made without the `trainer` extra; name one with "
            "--model"
        )
    from trainer.bench.untrained import untrained_model  # noqa: PLC0415

    return untrained_model(path, recipe, patches)
