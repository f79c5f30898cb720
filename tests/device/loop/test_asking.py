"""What is remembered of a cycle's questions."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from config.settings import PATCH_SIZE, Region, Settings
from device.loop.asking import Asker
from device.store.database import open_store

WHOLE = Region(x=0, y=0, width=PATCH_SIZE, height=PATCH_SIZE)


def noisy(plate: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, 2, plate.shape)
    return np.clip(plate + noise, 0, 255).astype(np.uint8)


def test_a_halted_machine_fills_no_memory(settings: Settings, plates: NDArray[np.uint8]) -> None:
    db = open_store(settings.device.data)
    log_p = np.log(np.full((1, 4), 0.25, np.float32))
    cold, warm = Asker(settings, db, 1), Asker(settings, db, 1, settings.recipe.classes)
    kept = []
    for seed in range(200):
        patch = noisy(plates[0], seed)
        kept += cold.choose_cold([patch], [WHOLE])
        kept += warm.choose([patch], [WHOLE], [0], [1.0 + seed], log_p)
    assert len(kept) == 2 * settings.keeping.alike
    for asker in (cold, warm):
        assert len(asker._asked) == settings.keeping.alike
    db.close()


def test_a_defect_that_could_not_be_kept_ends_no_question(
    settings: Settings, plates: NDArray[np.uint8]
) -> None:
    db = open_store(settings.device.data)
    asker = Asker(settings, db, 1, settings.recipe.classes)
    log_p = np.log(np.full((1, 4), 0.25, np.float32))
    (asked,) = asker.choose([plates[0]], [WHOLE], [0], [1.0], log_p)
    asker.forget([replace(asked, reason="defect")])  # the same picture, which now failed
    assert asker.choose([plates[0]], [WHOLE], [0], [1.0], log_p) == []
    db.close()
