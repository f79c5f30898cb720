"""What a strategy may look at when it chooses the patches to ask about."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.judging.kls import Floats, Ints, predicted_classes


@dataclass(frozen=True, slots=True)
class Judged:
    """What a classifier says of N patches."""

    log_probabilities: Floats
    """float64 [N, C], from log-softmax in float64."""
    features: NDArray[np.float32]
    """float32 [N, D]: what its last layer sees."""

    def __len__(self) -> int:
        return len(self.log_probabilities)

    @property
    def predicted(self) -> Ints:
        """The predicted class of each patch, int64 [N] (Eq. 2)."""
        return predicted_classes(self.log_probabilities)

    def part(self, indices: NDArray[np.integer]) -> "Judged":
        """Only these patches."""
        return Judged(self.log_probabilities[indices], self.features[indices])


@dataclass(frozen=True, slots=True)
class Candidates:
    """N patches without a label, beside the labelled ones, under one model."""

    unlabelled: Judged
    labelled: Judged
    look_again: Callable[[Ints], Floats] | None = None
    """Log-probabilities, float64 [8, n, C], of some candidates in their eight orientations; None:
    the patches themselves are not at hand."""

    def __len__(self) -> int:
        return len(self.unlabelled)

    @property
    def predicted(self) -> Ints:
        """The predicted class of each candidate, int64 [N] (Eq. 2)."""
        return self.unlabelled.predicted

    def views(self, chosen: Ints) -> Floats:
        """Log-probabilities, float64 [8, n, C], of some candidates in their eight orientations.

        Raises:
            ValueError: the patches themselves are not at hand.
        """
        if self.look_again is None:
            raise ValueError("judging candidates again needs Candidates.look_again")
        return self.look_again(chosen)

    def part(self, indices: Ints) -> "Candidates":
        """Only these candidates; the labelled patches stay."""
        again = self.look_again
        inner = None if again is None else (lambda chosen: again(indices[chosen]))
        return Candidates(self.unlabelled.part(indices), self.labelled, inner)


def averaged(views: Floats) -> Floats:
    """Log of the mean probability over views: float64 [V, N, C] to [N, C]."""
    return np.asarray(np.logaddexp.reduce(views, axis=0) - np.log(len(views)))
