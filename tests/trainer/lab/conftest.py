"""Candidates and data sets of the laboratory's tests."""

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from camera.milled_steel import random_patch
from trainer.lab.candidates import Candidates, Judged
from trainer.lab.protocol import LabData, lab_data


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def random_candidates(
    seed: int, count: int = 60, labelled: int = 20, classes: int = 4, width: int = 8
) -> Candidates:
    rng = np.random.default_rng(seed)

    def judged(number: int) -> Judged:
        logits = rng.normal(0, 3, (number, classes))
        features = rng.normal(0, 1, (number, width)).astype(np.float32)
        return Judged(log_softmax(logits), features)

    unlabelled = judged(count)
    sharper = log_softmax(2 * unlabelled.log_probabilities)
    return Candidates(unlabelled, judged(labelled), lambda chosen: np.stack([sharper[chosen]] * 8))


@st.composite
def any_candidates(draw: st.DrawFn) -> Candidates:
    """Logits from uniform to nearly certain, ties included; every class may lack a baseline."""
    classes = draw(st.integers(2, 5))

    def judged(number: int) -> Judged:
        values = st.floats(-60, 60).map(lambda x: round(x, 1))
        logits = draw(npst.arrays(np.float64, (number, classes), elements=values))
        features = draw(npst.arrays(np.float32, (number, 3), elements=st.floats(-9, 9, width=32)))
        return Judged(log_softmax(logits), features)

    unlabelled = judged(draw(st.integers(1, 25)))
    turned = log_softmax(unlabelled.log_probabilities[:, ::-1] / 2)

    def look_again(chosen: np.ndarray) -> np.ndarray:
        return np.stack([unlabelled.log_probabilities[chosen], turned[chosen]] * 4)

    return Candidates(unlabelled, judged(draw(st.integers(1, 8))), look_again)


@pytest.fixture(scope="session")
def two_classes() -> LabData:
    """40 patches: clean milled steel, and noise."""
    rng = np.random.default_rng(0)
    clean = [random_patch(seed, "clean").image for seed in range(20)]
    noise = [rng.integers(0, 256, (200, 200), dtype=np.uint8) for _ in range(20)]
    return lab_data("two", np.stack(clean + noise), np.repeat([0, 1], 20), ["clean", "noise"])
