"""From patches to the verdict of a frame."""

from dataclasses import replace
from typing import cast

import numpy as np
import onnxruntime as ort
import pytest

from device.judging.model import load_model
from device.judging.verdict import FEW, frame_verdict, judge
from tests.device.conftest import MakeModel

PASSES = [True, False, False]


@pytest.mark.parametrize(
    ("predicted", "unsure", "verdict"),
    [
        ([0, 0], [False, False], ("pass", 0)),
        ([0, 2], [False, False], ("fail", 2)),
        ([0, 2], [True, False], ("fail", 2)),
        ([0, 2], [False, True], ("unsure", -1)),
        ([0, 0], [False, True], ("unsure", -1)),
        ([], [], ("unsure", -1)),
    ],
)
def test_one_sure_defect_fails_and_one_doubt_withholds(
    predicted: list[int], unsure: list[bool], verdict: tuple[str, int]
) -> None:
    assert frame_verdict(predicted, unsure, PASSES) == verdict


def test_the_threshold_of_the_predicted_class_decides(
    make_model: MakeModel, plates: np.ndarray
) -> None:
    lax = judge(load_model(make_model(thresholds=[1e9] * 4)), plates)
    assert not lax.unsure.any()
    strict = judge(load_model(make_model(thresholds=[0.0] * 4)), plates)
    assert strict.unsure.sum() > 100
    one = judge(load_model(make_model(thresholds=[1e9, None, 1e9, 1e9])), plates)
    np.testing.assert_array_equal(one.unsure, one.predicted == 1)


def test_a_class_without_baseline_is_unsure(make_model: MakeModel, plates: np.ndarray) -> None:
    model = load_model(make_model())
    rows = list(model.metadata.baselines)
    rows[2] = None
    judged = judge(load_model(make_model(baselines=rows, thresholds=[1e9] * 4)), plates)
    np.testing.assert_array_equal(judged.unsure, judged.predicted == 2)
    assert (judged.predicted == 2).any()


@pytest.mark.parametrize("strategy", ["kls", "kls_floor"])
def test_a_few_patches_are_judged_as_among_many(
    make_model: MakeModel, plates: np.ndarray, strategy: str
) -> None:
    model = load_model(make_model(thresholds=[0.5, None, 0.05, 0.2], strategy=strategy))
    many = judge(model, plates)
    assert 0 < many.unsure.sum() < len(plates)
    for start in range(0, len(plates), FEW):
        part = slice(start, start + FEW)
        few, expected = judge(model, plates[part]), many.part(part)
        for name in ("log_probabilities", "predicted", "unsure"):
            np.testing.assert_array_equal(getattr(few, name), getattr(expected, name))
            assert getattr(few, name).dtype == getattr(expected, name).dtype
        np.testing.assert_allclose(few.scores, expected.scores, rtol=1e-12, atol=1e-12)


def test_what_is_no_number_is_unsure(make_model: MakeModel, plates: np.ndarray) -> None:
    class Broken:
        def run(self, *_: object) -> list[np.ndarray]:
            return [np.full((1, 4), np.nan, np.float32)]

    model = load_model(make_model(thresholds=[1e9] * 4))
    broken = replace(model, session=cast(ort.InferenceSession, Broken()))
    for count in (1, FEW + 1):
        judged = judge(broken, plates[:count])
        assert judged.unsure.all()
        assert np.isinf(judged.scores).all()
