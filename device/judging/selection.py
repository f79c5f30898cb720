"""Which patches to ask about: the k most unsure of each predicted class.

The paper selects from a pool (Algorithm I, lines 7–8); a device sees a stream. Both rules stand
here side by side, because they must select the same patches from the same finite stream.
"""

import heapq
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from device.judging.kls import Ints

Key = TypeVar("Key")


def pool_top_k(scores: NDArray[np.floating], predicted: Ints, k: int) -> Ints:
    """The pool rule: indices of the k highest scores of every predicted class.

    `scores` and `predicted` are [N]; the result is ordered by class, then by falling score.
    Equal scores: the earlier patch wins, as it does on a stream.
    """
    order = np.lexsort((np.arange(len(scores)), -np.asarray(scores, np.float64), predicted))
    groups = np.asarray(predicted)[order]
    starts = np.searchsorted(groups, groups, side="left")
    return order[np.arange(len(order)) - starts < k]


class StreamTopK(Generic[Key]):
    """The stream rule: takes patches one by one, remembers the k highest of each class."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._heaps: dict[int, list[tuple[float, int, Key]]] = {}
        self._arrivals = 0

    def would_take(self, predicted: int, score: float) -> bool:
        """Whether `take` would select a patch of this class and score now."""
        heap = self._heaps.get(predicted, [])
        return self._k > 0 and (len(heap) < self._k or score > heap[0][0])

    def take(self, predicted: int, score: float, key: Key) -> bool:
        """Offer a patch; True if it is among the k highest of its class so far.

        It may push out an earlier one. Equal scores: the earlier patch stays.
        """
        if not self.would_take(predicted, score):
            return False
        heap = self._heaps.setdefault(predicted, [])
        self._arrivals += 1
        # Among equal scores the latest arrival must be the smallest of the heap.
        entry = (score, -self._arrivals, key)
        if len(heap) < self._k:
            heapq.heappush(heap, entry)
        else:
            heapq.heapreplace(heap, entry)
        return True

    def forget(self, key: Key) -> None:
        """Give back the place of a patch; what it pushed out does not come back."""
        for heap in self._heaps.values():
            if any(entry[2] == key for entry in heap):
                heap[:] = [entry for entry in heap if entry[2] != key]
                heapq.heapify(heap)

    def selected(self) -> list[Key]:
        """Keys of all selected patches, by class, then by falling score."""
        return [
            key
            for predicted in sorted(self._heaps)
            for _, _, key in sorted(self._heaps[predicted], key=lambda e: (-e[0], -e[1]))
        ]
