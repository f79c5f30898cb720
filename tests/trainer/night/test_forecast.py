"""The forecast of what a model would leave to the operators."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database

from camera.milled_steel import CLASSES
from config.settings import Asking, Settings
from device.judging.model import Model, load_model
from device.judging.verdict import Judged
from device.store.database import open_store
from tests.device.conftest import model_file
from tests.trainer.night.night_site import plates
from trainer.night.forecast import forecast, stream


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A trainer's store."""
    db = open_store(tmp_path)
    yield db
    db.close()


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(model_file(tmp_path_factory.mktemp("m") / "m.onnx", plates(0, 16)[0]))


def opinion(predicted: list[int], unsure: list[bool]) -> Judged:
    count = len(predicted)
    scores = np.zeros(count)
    return Judged(np.zeros((count, 4), np.float32), np.array(predicted), scores, np.array(unsure))


def count(db: Database, model: Model, device: str, name: str, patches: int, hours: int) -> None:
    now = int(time.time() / 3600)
    for hour in range(hours):
        db.execute(
            "INSERT INTO fleet_scores VALUES (?, ?, ?, ?, '', 0, ?)",
            [device, now - hour, model.id, name, patches],
        )


def test_the_busiest_device_and_the_mix_of_all(db: Database, champion: Model) -> None:
    settings = Settings()
    assert stream(db, settings, champion.id) is None
    count(db, champion, "slow", CLASSES[0], 10, 10)
    count(db, champion, "busy", CLASSES[1], 300, 1)
    found = stream(db, settings, champion.id)
    assert found is not None
    assert (found.device, found.per_shift) == ("busy", 2400)
    assert found.mix == pytest.approx({CLASSES[0]: 0.25, CLASSES[1]: 0.75})


def test_a_model_that_floods_the_operators_is_kept_back(db: Database, champion: Model) -> None:
    settings = Settings(asking=Asking(labels_per_shift=100))
    theirs = opinion([0, 0, 0, 0, 1, 1, 1, 1], [False] * 7 + [True])
    flooding = opinion([0, 0, 0, 0, 1, 1, 1, 1], [False, False, False, False] + [True] * 4)
    assert forecast(db, settings, champion, theirs, flooding).passed  # nothing is known
    count(db, champion, "box", CLASSES[0], 90, 8)
    count(db, champion, "box", CLASSES[1], 10, 8)
    # 800 patches a shift, a tenth called the second class: champion 20, challenger 80.
    found = forecast(db, settings, champion, theirs, flooding)
    assert found.passed
    assert found.found == "80 of 800 patches a shift on box, champion 20"
    tight = Settings(asking=Asking(labels_per_shift=50))
    assert not forecast(db, tight, champion, theirs, flooding).passed
    assert forecast(db, tight, champion, theirs, theirs).passed
    assert forecast(db, tight, champion, flooding, flooding).passed  # no worse than it is
    assert forecast(
        db, Settings(asking=Asking(labels_per_shift=0)), champion, theirs, flooding
    ).passed
