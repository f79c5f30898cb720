"""Eq. 8–11 beside scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from trainer.lab.metrics import evaluate


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_scikit_learns_macro_averages(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(5), 12))
    predicted = np.where(rng.random(60) < 0.6, labels, rng.integers(0, 4, 60))
    metrics = evaluate(predicted, labels, 5)
    expected = precision_recall_fscore_support(
        labels, predicted, labels=range(5), average="macro", zero_division=0
    )
    np.testing.assert_allclose([metrics.precision, metrics.recall, metrics.f1], expected[:3])
    assert metrics.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert metrics.accuracy == pytest.approx(metrics.recall)  # balanced classes
