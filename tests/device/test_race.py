"""The int8 form of a model judges only where it is faster here and judges alike."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from config.errors import UserError
from config.settings import Settings
from device import race as races
from device.activation import activate
from device.int8 import pack
from device.model import Model, load_model, load_model_bytes
from device.race import FEWEST_PATCHES, race, record_race, stream_patches, variant_of
from device.store import open_store
from export.graph import build_onnx
from export.int8 import build_int8, grouped, measure_ranges
from tests.device.conftest import MakeModel, metadata
from trainer.networks import GlobalPoolingNet, weights_of

Plates = NDArray[np.uint8]


@pytest.fixture
def both(plates: Plates) -> Model:
    """A model loaded with its int8 form, its verdicts far from every threshold."""
    weights = weights_of(GlobalPoolingNet("gapc", 4).eval())
    said = metadata(baselines=[[0.25] * 4] * 4, baseline_counts=[1] * 4, thresholds=[50.0] * 4)
    plain = build_onnx(weights, said)
    graph, step = build_int8(weights, measure_ranges(plain, plates))
    return load_model_bytes(build_onnx(weights, said, pack(graph, step)), "test", variant="int8")


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


def test_int8_judges_only_where_it_wins(
    both: Model, plates: Plates, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(races, "LEAST_SAME", 0.0)
    monkeypatch.setattr(races, "MOST_OTHER_CLASS", 1.0)
    monkeypatch.setattr(races, "speedup", lambda *_: 1.5)
    assert race(both, plates, settings).variant == "int8"
    monkeypatch.setattr(races, "speedup", lambda *_: 1.1)
    assert race(both, plates, settings).variant == "float32"
    monkeypatch.setattr(races, "speedup", lambda *_: 1.5)
    monkeypatch.setattr(races, "LEAST_SAME", 1.1)
    assert race(both, plates, settings).variant == "float32"
    monkeypatch.setattr(races, "LEAST_SAME", 0.0)
    assert race(both, plates[: FEWEST_PATCHES - 1], settings).variant == "float32"
    assert race(replace(both, int8=None), plates, settings).variant == "float32"
    never = settings.device.model_copy(update={"int8": "never"})
    assert race(both, plates, settings.model_copy(update={"device": never})).variant == "float32"


def test_the_race_of_an_activation_is_on_record(settings: Settings, make_model: MakeModel) -> None:
    db = open_store(settings.device.data)
    model = activate(db, make_model(), settings, "test")
    assert len(stream_patches(db)) == 0
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
