"""How unsure a model is of each candidate: utilities in scikit-activeml's sense, higher = ask.

The paper's four (KLS, LC, MS, EN), two variants of KLS, and disagreement between views. All take
log-probabilities in float64, so that two patches the model is nearly certain of are still told
apart.
"""

from collections.abc import Callable

import numpy as np

from device.judging.kls import Baselines, Floats, fit_baselines, kls, kls_floor, predicted_classes
from trainer.lab.candidates import Candidates, averaged

Utility = Callable[[Candidates], Floats]
"""float64 [N] of N candidates."""


def least_confident(candidates: Candidates) -> Floats:
    """LC: one minus the largest probability, as the sum of the others, which no rounding eats."""
    return np.asarray(_ordered(candidates)[:, :-1].sum(axis=1))


def margin(candidates: Candidates) -> Floats:
    """MS: one minus the lead of the most probable class over the second."""
    ordered = _ordered(candidates)
    return np.asarray(ordered[:, :-1].sum(axis=1) + ordered[:, -2])


def entropy(candidates: Candidates) -> Floats:
    """EN: entropy of the distribution over classes, in nats."""
    return _entropy(candidates.unlabelled.log_probabilities)


def divergence(candidates: Candidates) -> Floats:
    """KLS (Eq. 4–6): divergence of each distribution from its predicted class's baseline."""
    return kls(candidates.unlabelled.log_probabilities, _baselines(candidates))


def floored_divergence(candidates: Candidates) -> Floats:
    """KLS with both distributions floored before the divergence."""
    return kls_floor(candidates.unlabelled.log_probabilities, _baselines(candidates))


def reverse_divergence(candidates: Candidates) -> Floats:
    """KL(distribution ‖ baseline): KL-Matching (Hendrycks et al., arXiv 1911.11132).

    +inf where the class has no baseline, or where the baseline rules out what the model holds
    possible.
    """
    log_p = candidates.unlabelled.log_probabilities
    p = np.exp(log_p)
    b = _baselines(candidates).pdc[predicted_classes(log_p)]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p == 0, 0.0, p * (log_p - np.log(b)))
    total = terms.sum(axis=1)
    total[np.isnan(total) | np.isnan(b).any(axis=1)] = np.inf
    return np.asarray(np.maximum(total, 0.0))


def disagreement(candidates: Candidates) -> Floats:
    """How far the eight orientations of a patch are from one pseudo-label: their generalised
    Jensen-Shannon divergence, the entropy of the mean less the mean entropy, in nats.

    Training with unlabelled patches takes its pseudo-labels from such views; where they disagree,
    it would teach itself at random. After consistency-based active learning (Gao et al., ECCV
    2020), which takes the variance. Raises ValueError if there are no patches to judge again.
    """
    views = candidates.views(np.arange(len(candidates)))
    own = sum(_entropy(view) for view in views) / len(views)  # in one order however many patches
    return np.asarray(np.maximum(_entropy(averaged(views)) - own, 0))


def _entropy(log_p: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # 0 · log 0 is 0
        return np.asarray(-np.nan_to_num(np.exp(log_p) * log_p).sum(axis=-1))


def _ordered(candidates: Candidates) -> Floats:
    """Probabilities, float64 [N, C], rising in each row."""
    return np.exp(np.sort(candidates.unlabelled.log_probabilities, axis=1))


def _baselines(candidates: Candidates) -> Baselines:
    return fit_baselines(candidates.labelled.log_probabilities)


UTILITIES: dict[str, Utility] = {
    "kls": divergence,
    "kls_floor": floored_divergence,
    "reverse": reverse_divergence,
    "lc": least_confident,
    "ms": margin,
    "en": entropy,
    "disagree": disagreement,
}
