"""BADGE, CoreSet and TypiClust beside scikit-activeml's."""

import numpy as np
import pytest
from skactiveml.classifier import SklearnClassifier
from skactiveml.pool import Badge as TheirBadge
from skactiveml.pool import CoreSet as TheirCoreSet
from skactiveml.pool import TypiClust as TheirTypiClust
from sklearn.linear_model import LogisticRegression

from tests.trainer.lab.conftest import random_candidates
from trainer.lab.candidates import Candidates, Judged
from trainer.lab.diversity import (
    Badge,
    CoreSet,
    TypiClust,
    squared_gradient_distances,
    squared_norms,
    typicality,
)


def as_theirs(candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """X with the labelled patches first, and y with NaN for the others."""
    known = len(candidates.labelled)
    x = np.concatenate([candidates.labelled.features, candidates.unlabelled.features])
    labels = np.full(len(x), np.nan)
    labels[:known] = candidates.labelled.log_probabilities.argmax(axis=1)
    return x.astype(np.float64), labels


@pytest.mark.parametrize("seed", range(4))
def test_coreset_chooses_what_scikit_activeml_chooses(seed: int) -> None:
    candidates = random_candidates(seed)
    x, y = as_theirs(candidates)
    theirs = TheirCoreSet(random_state=0).query(x, y, batch_size=12)
    ours = CoreSet().query(candidates, 12)
    np.testing.assert_array_equal(ours, np.asarray(theirs) - len(candidates.labelled))


@pytest.mark.parametrize("seed", range(3))
def test_badge_draws_with_the_probabilities_of_scikit_activeml(seed: int) -> None:
    """Along the choices of theirs, the closed form gives the same distribution at every draw."""
    candidates = random_candidates(seed)
    x, y = as_theirs(candidates)
    model = SklearnClassifier(LogisticRegression(), classes=range(4), random_state=0).fit(x, y)
    theirs, utilities = TheirBadge(random_state=seed).query(
        x, y, model, fit_clf=False, batch_size=8, return_utilities=True
    )
    known = len(candidates.labelled)
    p = model.predict_proba(x[known:])
    judged = Judged(np.log(p), candidates.unlabelled.features)
    features = judged.features.astype(np.float64)
    error = p - np.eye(4)[p.argmax(axis=1)]
    picks = np.asarray(theirs) - known
    nearest = squared_norms(error, features)
    for number, pick in enumerate(picks):
        # Theirs keeps the distance from the origin as a bound; the authors' code and ours do not.
        expected = utilities[number, known:]
        share = nearest / nearest.sum()
        open_ones = ~np.isnan(expected)
        np.testing.assert_allclose(share[open_ones], expected[open_ones], atol=1e-9)
        distance = squared_gradient_distances(error, features, int(pick))
        nearest = np.minimum(nearest, distance)
    first = Badge(seed).query(Candidates(judged, candidates.labelled), 1)
    np.testing.assert_array_equal(first, picks[:1])


def test_badge_goes_on_when_all_gradients_are_equal() -> None:
    judged = Judged(np.log(np.full((5, 2), 0.5)), np.ones((5, 3), np.float32))
    assert sorted(Badge().query(Candidates(judged, judged), 5)) == [0, 1, 2, 3, 4]


def test_typicality_is_that_of_scikit_activeml() -> None:
    """And the first choice is the most typical patch of a largest uncovered cluster."""
    candidates = random_candidates(3)
    x, y = as_theirs(candidates)
    theirs, utilities = TheirTypiClust(
        random_state=0, k=20, cluster_algo_dict={"n_init": 1, "random_state": 0}
    ).query(x, y, batch_size=10, return_utilities=True)
    known = len(candidates.labelled)
    for number in range(10):
        members = np.flatnonzero(np.isfinite(utilities[number]))
        if len(members) == np.isnan(utilities[number]).sum():
            continue
        ours = typicality(x[members])
        np.testing.assert_allclose(ours, utilities[number, members], rtol=1e-5)
    chosen = TypiClust(0).query(candidates, 10)
    common = np.intersect1d(chosen, np.asarray(theirs) - known)
    assert len(common) >= 5, "clusters of equal size are taken in another order, no more"
