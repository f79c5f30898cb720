"""A frame of many patches is cut into those patches, all of them."""

from pathlib import Path

import numpy as np
import pytest

from config.settings import Recipe
from device.bench.scale.patches import QUICK, SIZES, frame_of, one_frame
from device.judging.patches import Cutter
from trainer.bench.inputs import make_inputs


@pytest.mark.parametrize("size", sorted({*QUICK, *SIZES}))
def test_the_grid_gives_back_what_was_put_together(size: int) -> None:
    patches = np.random.default_rng(0).integers(0, 256, (5, 200, 200), np.uint8)
    cut = Cutter(Recipe(regions="grid")).cut(frame_of(patches, size))
    assert np.array_equal(cut.patches, patches[np.resize(np.arange(5), size)])


def test_all_patches_of_a_frame_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MILLSIGHT_CONFIG", raising=False)
    inputs, _ = make_inputs(None, None, None, 1, tmp_path, quick=True)
    recipe = inputs.settings.recipe.model_copy(update={"regions": "grid"})
    assert one_frame(inputs.model, Cutter(recipe), frame_of(inputs.patches, 4)) == 4
