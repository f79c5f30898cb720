"""What the loop has counted since it last handed its counts over to be stored."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from device.judging.model import Model
from device.loop.keeper import Counts
from device.loop.recipe_book import Loaded
from device.store.counters import Counted, Scored
from device.update.probation import Judging

HOUR_NS = 3_600_000_000_000


class Tally:
    """Frames by verdict, patches by score, and what each model judged under each recipe."""

    def __init__(self) -> None:
        self.frames: Counter[Counted] = Counter()
        self._scores: Counter[Scored] = Counter()
        self._judging: dict[tuple[str, str], Judging] = {}
        self._handed_over = time.monotonic()

    def judging_of(self, one: Loaded, model: Model) -> Judging:
        """What was judged by a recipe with a model; the loop adds to it."""
        key = one.key, model.id
        if key not in self._judging:
            self._judging[key] = Judging(*key)
        return self._judging[key]

    def gather_scores(self, one: Loaded) -> None:
        """Put the scores of a recipe so far down to the present hour, model and part."""
        if one.model is None or not one.bins:
            return
        hour = time.time_ns() // HOUR_NS
        classes = one.model.metadata.classes
        for (c, number), patches in one.bins.items():
            self._scores[hour, one.model.id, classes[c], one.now.part, number] += patches
            self.judging_of(one, one.model).mix[classes[c]] += patches
        one.bins.clear()

    def hand_over(self, put: Callable[[Counts], bool], state: dict[str, Any]) -> None:
        """Give all counts away and begin anew; count on where `put` has no room for them."""
        now = time.monotonic()
        judged = list(self._judging.values())
        for judging in judged:
            judging.elapsed += now - self._handed_over
        if put(Counts(self.frames, self._scores, state, judged)):
            self.frames, self._scores, self._judging = Counter(), Counter(), {}
        self._handed_over = now
