"""Strategies that choose a batch as a whole, so that its patches differ from each other."""

import numpy as np
from numpy.typing import NDArray

from device.judging.kls import Floats, Ints, predicted_classes
from trainer.lab.candidates import Candidates

NEIGHBOURS = 20
"""Nearest neighbours that TypiClust measures typicality by (the paper's value)."""
MOST_CLUSTERS = 500


class Badge:
    """BADGE (Ash et al., ICLR 2020): k-means++ on the gradients of the last layer.

    The gradient of a patch for its predicted class is (p − e) ⊗ features; all distances follow
    from products of the two factors, so that the [N, C · D] embedding is never made.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def query(self, candidates: Candidates, batch_size: int) -> Ints:
        """Indices of the batch: the largest gradient first, then by squared distance."""
        log_p = candidates.unlabelled.log_probabilities
        error = np.exp(log_p)
        error[np.arange(len(log_p)), predicted_classes(log_p)] -= 1
        features = candidates.unlabelled.features.astype(np.float64)
        chosen: list[int] = []
        nearest = squared_norms(error, features)
        for _ in range(min(batch_size, len(candidates))):
            nearest[chosen] = 0
            if not chosen:
                pick = int(np.argmax(nearest))
            elif nearest.sum() > 0:
                pick = int(self._rng.choice(len(nearest), p=nearest / nearest.sum()))
            else:  # nothing left differs from what is chosen
                pick = int(np.setdiff1d(np.arange(len(nearest)), chosen)[0])
            distance = squared_gradient_distances(error, features, pick)
            nearest = np.minimum(nearest, distance) if chosen else distance
            chosen.append(pick)
        return np.array(chosen, np.int64)


def squared_norms(error: Floats, features: Floats) -> Floats:
    """Squared length of each gradient error ⊗ features, float64 [N]."""
    return np.asarray((error**2).sum(axis=1) * (features**2).sum(axis=1))


def squared_gradient_distances(error: Floats, features: Floats, pick: int) -> Floats:
    """Squared distance of every gradient from that of `pick`, float64 [N], never negative."""
    norms = squared_norms(error, features)
    products = (error @ error[pick]) * (features @ features[pick])
    return np.asarray(np.maximum(norms + norms[pick] - 2 * products, 0))


class CoreSet:
    """CoreSet (Sener & Savarese, ICLR 2018), greedy: always the patch farthest from all known."""

    def query(self, candidates: Candidates, batch_size: int) -> Ints:
        """Indices of the batch, the farthest first."""
        points = candidates.unlabelled.features.astype(np.float64)
        nearest = np.full(len(points), np.inf)
        for known in candidates.labelled.features.astype(np.float64):
            nearest = np.minimum(nearest, np.linalg.norm(points - known, axis=1))
        chosen: list[int] = []
        for _ in range(min(batch_size, len(points))):
            nearest[chosen] = -np.inf
            chosen.append(int(np.argmax(nearest)))
            distance = np.linalg.norm(points - points[chosen[-1]], axis=1)
            nearest = np.minimum(nearest, distance)
        return np.array(chosen, np.int64)


class TypiClust:
    """TypiClust (Hacohen et al., ICML 2022): the most typical patch of each uncovered cluster."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def query(self, candidates: Candidates, batch_size: int) -> Ints:
        """Indices of the batch: largest clusters with the fewest known patches first."""
        from sklearn.cluster import KMeans  # noqa: PLC0415

        new = candidates.unlabelled.features
        points = np.concatenate([candidates.labelled.features, new]).astype(np.float64)
        known = len(points) - len(new)
        wanted = min(batch_size, len(new))
        count = min(known + wanted, MOST_CLUSTERS, len(points))
        cluster = KMeans(count, n_init=1, random_state=self._seed).fit_predict(points)
        covered = np.bincount(cluster[:known], minlength=count)
        sizes = np.bincount(cluster, minlength=count)
        left = np.ones(len(new), bool)
        typical = np.array([-np.inf] * len(new))
        for number in np.unique(cluster[known:]):
            members = np.flatnonzero(cluster[known:] == number)
            typical[members] = typicality(points[known:][members])
        chosen: list[int] = []
        while len(chosen) < wanted:
            open_clusters = np.unique(cluster[known:][left])
            best = open_clusters[np.lexsort((-sizes[open_clusters], covered[open_clusters]))[0]]
            members = np.flatnonzero(left & (cluster[known:] == best))
            pick = int(members[np.argmax(typical[members])])
            chosen.append(pick)
            left[pick] = False
            covered[best] += 1
        return np.array(chosen, np.int64)


def typicality(points: NDArray[np.float64]) -> Floats:
    """One over the mean distance to the nearest neighbours among `points`, float64 [n]."""
    if len(points) == 1:
        return np.ones(1)
    squares = (points**2).sum(axis=1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0))
    np.fill_diagonal(distance, np.inf)
    nearest = np.sort(distance, axis=1)[:, : min(NEIGHBOURS, len(points) - 1)]
    return np.asarray(1 / np.maximum(nearest.mean(axis=1), 1e-12))
