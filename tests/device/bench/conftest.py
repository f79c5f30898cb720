"""What rows are measured with here: little of everything."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from camera.milled_steel import CLASSES
from config.settings import Recipe, Settings
from device.bench.row import Inputs
from device.judging.model import load_model
from trainer.bench.untrained import untrained_model

RECIPE = Recipe(classes=list(CLASSES), pass_classes=["clean"])


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory, plates: NDArray[np.uint8]) -> Path:
    """A model file with random weights, its int8 form in it."""
    file = tmp_path_factory.mktemp("untrained") / "model.onnx"
    untrained_model(file, RECIPE, plates)
    return file


@pytest.fixture
def inputs(
    tmp_path: Path, plate_folder: Path, plates: NDArray[np.uint8], untrained: Path
) -> Inputs:
    """The simulated patches and an untrained model; one run, quick."""
    (tmp_path / "scratch").mkdir()
    return Inputs(
        Settings(recipe=RECIPE),
        sorted(plate_folder.rglob("*.png")),
        plates,
        untrained,
        load_model(untrained),
        runs=1,
        quick=True,
        scratch=tmp_path / "scratch",
        cache=tmp_path / "cache",
    )
