"""Query strategies by name, in scikit-activeml's convention, and what any of them can wear.

A strategy answers `query(candidates, batch_size)` with the indices of the patches to ask about, the
most useful first. Names are the paper's in small letters; `+quota` behind a name has the strategy
choose inside each predicted class, `+again` has unsure patches judged again in eight orientations
first: `lc+quota`, `kls+quota+again`. The paper's KLS is `kls+quota`.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from config.errors import UserError
from device.judging.kls import Ints
from device.judging.selection import StreamTopK
from trainer.lab.candidates import Candidates, Judged, averaged
from trainer.lab.diversity import Badge, CoreSet, TypiClust
from trainer.lab.utilities import UTILITIES, Utility

SECOND_LOOKS = 3
"""Patches judged again for each patch asked about."""


class Strategy(Protocol):
    """Chooses patches to ask about."""

    def query(self, candidates: Candidates, batch_size: int) -> Ints:
        """Indices of at most `batch_size` different candidates, the most useful first."""
        ...


@dataclass(frozen=True, slots=True)
class Highest:
    """The candidates with the highest utilities; equal ones in their own order."""

    utility: Utility

    def query(self, candidates: Candidates, batch_size: int) -> Ints:
        """See `Strategy`."""
        return np.argsort(-self.utility(candidates), kind="stable")[:batch_size]


class RandomSampling:
    """RS: an even draw."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def query(self, candidates: Candidates, batch_size: int) -> Ints:
        """See `Strategy`."""
        return self._rng.permutation(len(candidates))[:batch_size]


@dataclass(frozen=True, slots=True)
class PerPredictedClass:
    """The quota: an equal share of the batch for each predicted class (Algorithm I, line 8).

    Shares differ by one where the batch does not divide. What a class has too few members for is
    chosen by the inner strategy from all that is left, so that every strategy asks equally often;
    in the paper's setting every class has enough.
    """

    inner: Strategy

    def query(self, candidates: Candidates, batch_size: int) -> Ints:
        """See `Strategy`; ordered by class."""
        groups = np.unique(candidates.predicted)
        chosen: list[Ints] = []
        for number, group in enumerate(groups):
            share = batch_size // len(groups) + (number < batch_size % len(groups))
            members = np.flatnonzero(candidates.predicted == group)
            if share:
                chosen.append(members[self.inner.query(candidates.part(members), share)])
        taken = np.concatenate(chosen) if chosen else np.empty(0, np.int64)
        missing = min(batch_size, len(candidates)) - len(taken)
        if missing > 0:
            rest = np.setdiff1d(np.arange(len(candidates)), taken)
            more = rest[self.inner.query(candidates.part(rest), missing)]
            taken = np.concatenate([taken, more])
        return taken


@dataclass(frozen=True, slots=True)
class SecondLook:
    """Judges the likeliest choices again in eight orientations, then chooses among them."""

    inner: Strategy

    def query(self, candidates: Candidates, batch_size: int) -> Ints:
        """See `Strategy`. Raises ValueError if the candidates cannot be looked at again."""
        first = self.inner.query(candidates, SECOND_LOOKS * batch_size)
        again = candidates.unlabelled.part(first)
        seen = Judged(averaged(candidates.views(first)), again.features)
        return first[self.inner.query(Candidates(seen, candidates.labelled), batch_size)]


class StreamQuery:
    """The stream form of a strategy with utilities: the highest k so far, of each class or of all.

    As in scikit-activeml `query` only answers which of the arriving candidates it would take, and
    `update` makes it so. Utilities must not depend on what else is among the candidates, as
    none in `UTILITIES` does.
    """

    def __init__(self, utility: Utility, k: int, *, quota: bool) -> None:
        self._utility, self._quota = utility, quota
        self._top: StreamTopK[int] = StreamTopK(k)
        self._seen = 0

    def query(self, candidates: Candidates) -> Ints:
        """Indices of the candidates that would be taken if they arrived now, in this order."""
        return self._offer(copy.deepcopy(self._top), candidates)

    def update(self, candidates: Candidates) -> None:
        """The candidates have arrived."""
        self._offer(self._top, candidates)
        self._seen += len(candidates)

    def selected(self) -> Ints:
        """Arrival numbers, from 0, of the patches taken and not pushed out since."""
        return np.array(self._top.selected(), np.int64)

    def _offer(self, top: StreamTopK[int], candidates: Candidates) -> Ints:
        groups = candidates.predicted if self._quota else np.zeros(len(candidates), np.int64)
        scores = self._utility(candidates)
        taken = [
            index
            for index, (group, score) in enumerate(zip(groups, scores, strict=True))
            if top.take(int(group), float(score), self._seen + index)
        ]
        return np.array(taken, np.int64)


def make_strategy(name: str, seed: int = 0) -> Strategy:
    """The strategy of this name; `seed` matters to those that draw.

    Raises:
        UserError: no such strategy.
    """
    base, *wear = name.split("+")
    drawing: dict[str, Callable[[], Strategy]] = {
        "rs": lambda: RandomSampling(seed),
        "badge": lambda: Badge(seed),
        "coreset": CoreSet,
        "typiclust": lambda: TypiClust(seed),
    }
    strategy: Strategy
    if base in UTILITIES:
        strategy = Highest(UTILITIES[base])
    elif base in drawing:
        strategy = drawing[base]()
    else:
        known = ", ".join([*UTILITIES, *drawing])
        raise UserError(f"no strategy {base!r}; there are {known}, each with +quota, +again")
    for piece in wear:
        if piece == "quota":
            strategy = PerPredictedClass(strategy)
        elif piece == "again":
            strategy = SecondLook(strategy)
        else:
            raise UserError(f"{name}: a strategy can wear +quota and +again, not +{piece}")
    return strategy
