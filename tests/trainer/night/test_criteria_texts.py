"""Everything the trainer can say of a criterion is said on the page of every language."""

import time
from pathlib import Path

import numpy as np
import pytest

from config.settings import Asking, Settings, Trainer
from device.judging.kls import Ints
from device.judging.model import Model, load_model
from device.judging.verdict import Judged
from device.review.night import criterion_name, in_language
from device.review.nights import Criterion as Told
from device.review.texts import languages, texts
from device.store.database import open_store
from tests.device.conftest import model_file
from tests.trainer.night.night_site import plates
from trainer.night.forecast import forecast
from trainer.night.judge import Criterion, judge_models
from trainer.night.night import CANDIDATE_IS_STOPPED, NO_GOLDEN

LABELS = np.repeat([0, 1, 2, 3], 10)


def said_of(predicted: Ints, unsure: int = 0) -> Judged:
    log_p = np.log(np.full((len(predicted), 4), 0.1) + 0.6 * np.eye(4)[predicted])
    flags = np.arange(len(predicted)) < unsure
    return Judged(log_p.astype(np.float32), predicted, np.zeros(len(predicted)), flags)


def criteria_of(folder: Path) -> list[Criterion]:
    """What the judge and the forecast say, with and without a model in use."""
    model: Model = load_model(model_file(folder / "m.onnx", plates(0, 16)[0]))
    theirs, ours = said_of(LABELS), said_of((LABELS + 1) % 4, 5)
    audit = LABELS < 2
    found = [CANDIDATE_IS_STOPPED, NO_GOLDEN]
    for champion, before, trained in ((None, None, ours), (model, theirs, theirs)):
        judged = judge_models(
            champion, model, trained.log_probabilities, before, ours, LABELS, Trainer(), audit
        )
        found += judged.criteria
    db = open_store(folder)
    known = Settings(asking=Asking(labels_per_shift=50))
    found.append(forecast(db, known, model, theirs, ours))
    db.execute(
        "INSERT INTO fleet_scores VALUES ('line 3', ?, ?, ?, '', 0, 900)",
        [int(time.time() / 3600), model.id, model.metadata.classes[0]],
    )
    for labels_per_shift in (0, 50):
        settings = Settings(asking=Asking(labels_per_shift=labels_per_shift))
        found.append(forecast(db, settings, model, theirs, ours))
    db.close()
    return found


def test_every_word_of_the_trainer_is_known(tmp_path: Path) -> None:
    criteria = criteria_of(tmp_path)
    assert len({criterion.name.split(" of ")[0] for criterion in criteria}) == 13
    for criterion in criteria:
        for words in (criterion.found, criterion.limit):
            assert in_language(words, texts("en")) == words  # the trainer's own
            for language in languages().keys() - {"en"}:
                assert in_language(words, texts(language)) != words or words.isdecimal()
        told = Told(criterion.name, criterion.passed, criterion.found, criterion.limit)
        for language in languages():
            assert criterion_name(told, texts(language)) != criterion.name


@pytest.mark.parametrize(
    ("words", "chinese"),
    [
        ("4 of 4 classes have one", "4 类中有 4 类"),
        ("58 of 60, champion 60", "60 个中的 58 个，现有模型 60 个"),
        ("80 of 800 patches a shift on line 3, champion 20",
         "line 3 每班次 800 块中的 80 块，现有模型 20 块"),
        ("words of another edition", "words of another edition"),
    ],
)  # fmt: skip
def test_numbers_keep_their_places(words: str, chinese: str) -> None:
    assert in_language(words, texts("zh")) == chinese
