"""Made-up batches pass every check of a merge, and a night learns from them."""

from pathlib import Path

import pytest

from config.settings import Settings
from device.exchange.folder import FolderPlace
from device.store.answers import labelled_patches
from device.store.database import open_store
from trainer.bench.scale.batches import pictures, push_batch, site
from trainer.bench.scale.labels import steps_of
from trainer.labels.merge import merge
from trainer.learning.training import Training
from trainer.publishing.keys import make_keys


def test_every_answer_of_every_device_comes_through(tmp_path: Path) -> None:
    settings = site(Settings(), tmp_path)
    (tmp_path / "exchange").mkdir()
    make_keys(settings, tmp_path / "stick")
    seen = pictures(4)
    for number in range(3):
        push_batch(FolderPlace(tmp_path / "exchange"), tmp_path, f"box {number}", seen)
    merged = merge(settings)
    assert (merged.new_labels, merged.refused, merged.waiting) == (12, [], [])
    db = open_store(settings.trainer.data)
    labelled = labelled_patches(db)
    db.close()
    assert sorted(labelled.classes) == sorted([picture.name for picture in seen] * 3)
    assert len(set(labelled.ids)) == 12
    assert {patch.tobytes() for patch in labelled.patches} == {
        picture.pixels.tobytes() for picture in seen
    }
    assert len(list((tmp_path / "exchange" / "acknowledged").glob("*.json"))) == 3


@pytest.mark.parametrize(("folds", "trainings"), [(0, [1000]), (2, [1000, 500, 500])])
def test_steps_of_all_trainings_count(folds: int, trainings: list[int]) -> None:
    assert steps_of(1000, folds) == sum(Training().steps(labels) for labels in trainings)
