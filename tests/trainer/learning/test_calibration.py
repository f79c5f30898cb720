"""Calibration: one temperature, found where it was put, that changes no prediction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.learning.calibration import calibration_error, fit_temperature, temper


def predictions(temperature: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from probabilities, and what a network says that is wrong by a temperature."""
    rng = np.random.default_rng(seed)
    true = temper(3 * rng.normal(size=(count, 4)), 1)
    labels = np.array([rng.choice(4, p=np.exp(row)) for row in true])
    return temper(true, 1 / temperature), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_and_mends_the_confidence(temperature: float) -> None:
    log_p, labels = predictions(temperature, 4000, 1)
    found = fit_temperature(log_p, labels)
    assert found == pytest.approx(temperature, rel=0.08)
    mended = calibration_error(temper(log_p, found), labels)
    assert mended < 0.02
    if temperature != 1:
        assert calibration_error(log_p, labels) > 3 * mended


@given(st.integers(0, 100), st.floats(0.2, 5))
def test_no_prediction_changes_and_probabilities_stay_probabilities(
    seed: int, temperature: float
) -> None:
    log_p, _ = predictions(1, 20, seed)
    tempered = temper(log_p, temperature)
    assert (tempered.argmax(axis=1) == log_p.argmax(axis=1)).all()
    np.testing.assert_allclose(np.exp(tempered).sum(axis=1), 1)


def test_few_or_all_right_predictions_want_no_certainty() -> None:
    log_p, labels = predictions(2.0, 20, 1)
    assert fit_temperature(log_p, labels) == 1.0
    sure = temper(np.where(np.eye(4)[np.arange(100) % 4] > 0, 4.0, 0.0), 1)
    found = fit_temperature(sure, np.arange(100) % 4)
    assert 0.3 < found < 1  # all right: a little surer, not endlessly
