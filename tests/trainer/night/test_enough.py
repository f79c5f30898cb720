"""Whether more labels still change the model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from device.judging.model import load_model
from device.judging.verdict import judge
from device.models.activation import model_path
from device.store.database import open_store
from tests.trainer.night.night_site import make_site, plates, store
from trainer.night.enough import agreement
from trainer.night.history import past_nights
from trainer.night.night import Night, run_night

ENOUGH = 32
"""Patches that are enough to compare two models on; real nights need more."""


def test_a_night_with_twice_the_labels_is_compared_with_the_one_of_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.night.enough.LEAST_PATCHES", ENOUGH)
    site = make_site(tmp_path, labels=12, golden=ENOUGH, enough_agreement=0.0001)
    first = run_night(site)
    assert isinstance(first, Night)
    assert first.published
    assert json.loads(first.report.with_suffix(".json").read_text())["enough"] is None
    db = open_store(site.trainer.data)
    store(db, *plates(9000, 12))
    db.close()
    second = run_night(site)
    assert isinstance(second, Night)
    report = json.loads(second.report.with_suffix(".json").read_text())
    found = report["enough"]
    assert (found["model"], found["labels"]) == (first.model_id, 12)
    assert found["patches"] == ENOUGH
    assert -1 <= found["kappa"] <= 1
    assert found["enough"] == (found["kappa"] >= 0.0001)
    assert found["text"][1:] in second.report.read_text()
    assert (found["text"] in second.notes) == found["enough"]

    # The same question, with answers that are known.
    db = open_store(site.trainer.data)
    past = past_nights(db, site.recipe.name)[:1]
    db.close()
    path = model_path(site.trainer.data, first.model_id)
    patches, _ = plates(5000, ENOUGH)
    own = judge(load_model(path), patches).predicted
    names, data = site.recipe.classes, site.trainer.data
    same = agreement(past, data, 24, patches, own, names, 0.99)
    assert same is not None
    assert (same.kappa, same.enough) == (1.0, True)
    assert same.text() == (
        "more labels no longer change the model: it agrees with the model of 12 labels by a kappa "
        f"of 1.000 on {ENOUGH} patches"
    )
    unlimited = agreement(past, data, 24, patches, own, names, None)
    assert unlimited is not None
    assert not unlimited.enough
    assert unlimited.text().startswith("it agrees with the model of 12 labels")
    turned = agreement(past, data, 24, patches, (own + 1) % 4, names, 0.99)
    assert turned is not None
    assert turned.kappa < 0.5
    assert not turned.enough
    few = ENOUGH - 1
    assert agreement(past, data, 24, patches[:few], own[:few], names, 0.99) is None
    assert agreement(past, data, 23, patches, own, names, 0.99) is None
    kept_back = [replace(past[0], published=False)]
    assert agreement(kept_back, data, 24, patches, own, names, 0.99) is None
    path.unlink()
    assert agreement(past, data, 24, patches, own, names, 0.99) is None
