"""The int8 form of a model judges only where it is faster here and judges alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from config.errors import UserError
from config.settings import Settings
from device.judging.int8 import pack
from device.judging.model import Model, load_model, load_model_bytes
from device.loop.loop import InspectionLoop
from device.models import race as races
from device.models.activation import activate
from device.models.race import FEWEST_PATCHES, race, record_race, stream_patches, variant_of
from device.store.database import open_store
from device.update.history import find_model
from device.watching.status import device_status, status_lines
from export.graph import build_onnx
from export.int8 import build_int8, grouped, measure_ranges
from tests.device.conftest import MakeModel, metadata
from trainer.learning.networks import GlobalPoolingNet, weights_of

Plates = NDArray[np.uint8]


@pytest.fixture
def two_forms(plates: Plates) -> bytes:
    """A model file with an int8 form, its verdicts far from every threshold."""
    weights = weights_of(GlobalPoolingNet("gapc", 4).eval())
    said = metadata(baselines=[[0.25] * 4] * 4, baseline_counts=[1] * 4, thresholds=[50.0] * 4)
    plain = build_onnx(weights, said)
    graph, step = build_int8(weights, measure_ranges(plain, plates))
    return build_onnx(weights, said, pack(graph, step))


@pytest.fixture
def both(two_forms: bytes) -> Model:
    """The same, loaded with its int8 form."""
    return load_model_bytes(two_forms, "test", variant="int8")


def test_the_int8_form_says_nearly_the_same(both: Model, plates: Plates) -> None:
    assert both.variant == "int8"
    exact = replace(both, int8=None).log_probabilities(plates)
    assert np.abs(both.log_probabilities(plates) - exact).max() < 0.05
    assert np.abs(exact - exact.mean(axis=0)).max() > 0.001  # else anything would be near


def test_the_first_convolution_on_groups_of_columns_is_the_same_convolution() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(2, 1, 3, 3)).astype(np.float32)
    row = rng.normal(size=(3, 12)).astype(np.float32)
    wide = np.pad(row, ((0, 0), (1, 1)))
    expected = [[(wide[:, 2 * x : 2 * x + 3] * w[0]).sum() for w in weight] for x in range(6)]
    columns = np.pad(row, ((0, 0), (4, 0))).reshape(3, 4, 4)  # rows, groups, columns
    found, bias = grouped((weight, np.zeros(2, np.float32)))
    parts = [np.einsum("ocrk,rkc->o", found, columns[:, g : g + 2]) for g in range(3)]
    assert np.allclose(np.concatenate(parts).reshape(6, 2), expected, atol=1e-5)
    assert len(bias) == 4


@pytest.fixture
def any_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights are not judged by their alikeness, nor this machine by its speed."""
    monkeypatch.setattr(races, "LEAST_SAME", 0.0)
    monkeypatch.setattr(races, "MOST_OTHER_CLASS", 1.0)
    monkeypatch.setattr(races, "speedup", lambda *_: 1.5)


@pytest.mark.usefixtures("any_wins")
def test_int8_judges_only_where_it_wins(
    two_forms: bytes, plates: Plates, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def winner(content: bytes = two_forms, patches: Plates = plates) -> str:
        return race(content, patches, settings).variant

    assert winner() == "int8"
    assert winner(patches=plates[: FEWEST_PATCHES - 1]) == "float32"
    with monkeypatch.context() as slow:
        slow.setattr(races, "speedup", lambda *_: 1.1)
        assert winner() == "float32"
    with monkeypatch.context() as strict:
        strict.setattr(races, "LEAST_SAME", 1.1)
        assert winner() == "float32"
    weights = weights_of(GlobalPoolingNet("gapc", 4).eval())
    assert winner(build_onnx(weights, metadata())) == "float32"
    damaged = race(build_onnx(weights, metadata(), "{"), plates, settings)
    assert (damaged.variant, "damaged" in damaged.why) == ("float32", True)
    never = settings.device.model_copy(update={"int8": "never"})
    without = settings.model_copy(update={"device": never})
    assert race(two_forms, plates, without).variant == "float32"


@pytest.mark.usefixtures("any_wins")
def test_from_a_won_race_to_the_kept_patch(
    two_forms: bytes, plates: Plates, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "two.onnx"
    file.write_bytes(two_forms)
    db = open_store(settings.device.data)
    model = activate(db, file, settings, "test", golden=plates)
    summary = InspectionLoop(settings, lambda _: None).run()
    assert summary.frames == len(plates)
    kept = db.execute("SELECT variant, count(*) FROM flags GROUP BY variant").fetchall()
    assert [row[0] for row in kept] == ["int8"]
    events = [row[0] for row in db.execute("SELECT text FROM events WHERE kind = 'model'")]
    assert f"{model.id[:12]} in use, its int8 form" in events
    found = find_model(db, model.id)
    assert found.race is not None
    assert found.race[0] == "int8"
    status = device_status(settings)
    assert status["model"]["form"] == "int8"
    assert any("judges in int8" in line for line in status_lines(status))
    db.close()


def test_the_stream_is_what_was_kept_by_chance_of_the_recipe(settings: Settings) -> None:
    InspectionLoop(settings, lambda _: None).run()
    db = open_store(settings.device.data)
    assert len(stream_patches(db, settings.recipe.name)) >= settings.asking.cold_start
    assert len(stream_patches(db, "another recipe")) == 0
    before = len(stream_patches(db, settings.recipe.name, most=1000))
    db.execute("UPDATE patches SET png = x'' WHERE id = (SELECT patch_id FROM flags LIMIT 1)")
    assert len(stream_patches(db, settings.recipe.name, most=1000)) == before - 1
    db.close()


def test_the_race_of_an_activation_is_on_record(settings: Settings, make_model: MakeModel) -> None:
    db = open_store(settings.device.data)
    model = activate(db, make_model(), settings, "test")
    assert len(stream_patches(db, settings.recipe.name)) == 0
    assert variant_of(db, model.id) == "float32"
    [(why,)] = db.execute("SELECT why FROM races").fetchall()
    assert "needed" in why or "no int8 form" in why
    record_race(db, model.id, races.Outcome("int8", "won"))
    assert variant_of(db, model.id) == "int8"
    db.close()


def test_a_damaged_int8_form_is_one_clear_line(both: Model, plates: Plates) -> None:
    weights = weights_of(GlobalPoolingNet("gapc", 4).eval())
    for text in ("{", '{"step": 0.05}', pack(b"no graph", 0.05), pack(b"", 7)):
        content = build_onnx(weights, metadata(), text)
        assert load_model_bytes(content, "m").variant == "float32"
        with pytest.raises(UserError, match="m: "):
            load_model_bytes(content, "m", variant="int8")


def test_a_model_file_without_one_judges_in_float32(make_model: MakeModel) -> None:
    assert load_model(make_model(), variant="int8").variant in {"float32", "int8"}
