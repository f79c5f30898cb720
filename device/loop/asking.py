"""Which patches of the stream are kept for the operator, and why."""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from config.settings import Region, Settings
from device.judging.alike import Seen, fingerprint
from device.judging.patches import Some, patch_id
from device.judging.selection import StreamTopK
from device.loop.keeper import KeptPatch
from device.store.answers import fingerprint_of, flags_of_cycle, is_labelled


class Asker:
    """Chooses, patch by patch, the questions of one cycle.

    With a model: the k highest scores of every predicted class (`uncertain`), and each patch with
    the small probability `asking.audit_share` (`audit`). Without: an even sample of the stream,
    by the highest of random priorities (`cold-start`). A patch with an answer, or asked about in
    this cycle, is not asked about again; one that is near-identical to such a patch is kept beside
    it and takes up no quota. Audits stay random draws. What an earlier run of the cycle chose is
    taken up.
    """

    def __init__(
        self, settings: Settings, db: Database, cycle: int, classes: list[str] | None = None
    ) -> None:
        """`classes` are the model's; None: there is none, or it has the recipe's."""
        self.cycle = cycle
        self._device = settings.device.name
        self._classes = classes or settings.recipe.classes
        self._audit_share = settings.asking.audit_share
        self._db = db
        self._uncertain: StreamTopK[str] = StreamTopK(settings.asking.k)
        self._cold: StreamTopK[str] = StreamTopK(settings.asking.cold_start)
        self._asked: set[str] = set()
        self._seen = Seen()
        self._copies: Counter[str] = Counter()
        self._most_copies = settings.keeping.alike - 1
        flags = flags_of_cycle(db, cycle)
        for patch, reason, predicted, score, alike in flags:
            self._asked.add(patch)
            if alike is not None:
                self._copies[alike] += 1
                continue
            if reason in {"uncertain", "cold-start"} and (print_ := fingerprint_of(db, patch)):
                self._seen.add(patch, print_)
            if reason == "uncertain" and predicted in self._classes:
                self._uncertain.take(self._classes.index(predicted), score, patch)
            elif reason == "cold-start":
                self._cold.take(0, score, patch)
        # Another start of the same cycle must not repeat the draws of the one before.
        self._rng = random.Random(f"{settings.asking.seed} {cycle} {len(flags)}")  # noqa: S311

    def choose(
        self,
        patches: Some,
        regions: Sequence[Region],
        predicted: Sequence[int],
        scores: Sequence[float],
        log_probabilities: NDArray[np.float32],
    ) -> list[KeptPatch]:
        """The questions about a frame's N judged patches."""
        kept: list[KeptPatch] = []
        for i, (c, score) in enumerate(zip(predicted, scores, strict=True)):
            audit = self._rng.random() < self._audit_share
            if not audit and not self._uncertain.would_take(c, score):
                continue
            identity = self._new_identity(patches[i], regions[i])
            if identity is None:
                continue
            reasons: list[tuple[str, float, float | None]] = []
            print_, alike = fingerprint(patches[i]), None
            if self._uncertain.would_take(c, score):
                alike = self._seen.find(print_)
                if alike is None:
                    self._uncertain.take(c, score, identity)
                    self._seen.add(identity, print_)
                if alike is None or self._has_room(alike):
                    reasons.append(("uncertain", score, None))
            if audit:
                reasons.append(("audit", self._rng.random(), self._audit_share))
            if not reasons:  # a halted machine shows its plate a million times, never quite alike
                self._asked.discard(identity)
                continue
            pixels = patches[i].copy()  # the frame's memory may be large
            kept += [
                KeptPatch(
                    identity,
                    pixels,
                    regions[i],
                    reason,
                    value,
                    self._classes[c],
                    share,
                    log_probabilities[i].tolist(),
                    print_,
                    alike if reason == "uncertain" else None,
                )
                for reason, value, share in reasons
            ]
        return kept

    def choose_cold(self, patches: Some, regions: Sequence[Region]) -> list[KeptPatch]:
        """The questions about a frame's N patches while there is no model."""
        kept: list[KeptPatch] = []
        for patch, region in zip(patches, regions, strict=True):
            priority = self._rng.random()
            if not self._cold.would_take(0, priority):
                continue
            identity = self._new_identity(patch, region)
            if identity is None:
                continue
            print_ = fingerprint(patch)
            alike = self._seen.find(print_)
            if alike is None:
                self._cold.take(0, priority, identity)
                self._seen.add(identity, print_)
            elif not self._has_room(alike):
                self._asked.discard(identity)
                continue
            kept.append(
                KeptPatch(
                    identity,
                    patch.copy(),
                    region,
                    "cold-start",
                    priority,
                    fingerprint=print_,
                    alike=alike,
                )
            )
        return kept

    def forget(self, kept: Sequence[KeptPatch]) -> None:
        """These could not be kept: they take up no place, and are asked about when seen again."""
        for patch in kept:
            if patch.reason == "defect":  # that was no question
                continue
            self._asked.discard(patch.id)
            self._seen.forget(patch.id)
            self._uncertain.forget(patch.id)
            self._cold.forget(patch.id)
            if patch.alike is not None:
                self._copies[patch.alike] -= 1

    def _has_room(self, alike: str) -> bool:
        """Whether one more near-identical patch is kept beside this one; it is counted."""
        self._copies[alike] += 1
        return self._copies[alike] <= self._most_copies

    def _new_identity(self, patch: NDArray[np.uint8], region: Region) -> str | None:
        """The identity of a patch that may be asked about, remembered; None: it may not be."""
        identity = patch_id(patch, self._device, region)
        if identity in self._asked or is_labelled(self._db, identity):
            return None
        self._asked.add(identity)
        return identity
