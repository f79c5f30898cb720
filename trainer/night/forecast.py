"""How many parts a new model would leave to the operators, before it is let out.

What the devices have counted says how many patches a shift brings and of which classes the model in
use calls them. The share of each of those classes of which the new model is unsure is taken from
the patches that both were judged on; there is nothing else of which both opinions are known.
"""

import time
from dataclasses import dataclass

import numpy as np
from sqlite_utils import Database

from config.settings import Settings
from device.judging.model import Model
from device.judging.verdict import Judged
from trainer.night.judge import Criterion

DAYS = 7
"""Of counts that are looked at."""
MARGIN = 1.25
"""So much above the model in use is no reason to keep a model back: what is compared are shares of
a few hundred patches."""
LEAST_PATCHES = 100
"""Counted patches under which nothing is forecast."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What the busiest device saw lately."""

    device: str
    per_shift: float
    """Patches in a shift in which it worked."""
    mix: dict[str, float]
    """Share of the patches, over all devices, that the model in use calls each class."""


def stream(db: Database, settings: Settings, model_id: str) -> Stream | None:
    """The stream as the devices counted it under a model; None: too little is known of it."""
    since = int(time.time() / 3600) - 24 * DAYS
    rows = db.execute(
        "SELECT device, class, hour, sum(patches) FROM fleet_scores "
        "WHERE model_id = ? AND hour >= ? GROUP BY 1, 2, 3",
        [model_id, since],
    ).fetchall()
    total = sum(row[3] for row in rows)
    if total < LEAST_PATCHES:
        return None
    mix: dict[str, float] = {}
    hours: dict[str, dict[int, int]] = {}
    for device, name, hour, patches in rows:
        mix[name] = mix.get(name, 0) + patches / total
        worked = hours.setdefault(device, {})
        worked[hour] = worked.get(hour, 0) + patches
    shift_hours = 24 / len(settings.review.shifts)
    rates = {d: shift_hours * sum(worked.values()) / len(worked) for d, worked in hours.items()}
    busiest = max(rates, key=lambda device: rates[device])
    return Stream(busiest, rates[busiest], mix)


def unsure_share(mix: dict[str, float], champion: Model, theirs: Judged, said: Judged) -> float:
    """The share of a stream with this mix of the champion's classes of which a model is unsure.

    `theirs` and `said` are the champion's and the model's opinions of the same judged patches. A
    class that the champion saw in none of them counts with the share over all.
    """
    share = 0.0
    for name, weight in mix.items():
        known = name in champion.metadata.classes
        own = theirs.predicted == (champion.metadata.classes.index(name) if known else -1)
        share += weight * float(np.mean(said.unsure[own] if own.any() else said.unsure))
    return share


def forecast(
    db: Database, settings: Settings, champion: Model | None, theirs: Judged | None, ours: Judged
) -> Criterion:
    """Whether the parts of which the model will be unsure are within the operators' budget.

    They wait for a person, so they are the flags that a model decides over: the quota of further
    questions is the settings', whatever the model.
    """
    name = "forecast of unsure patches"
    budget = settings.asking.labels_per_shift
    seen = None if champion is None else stream(db, settings, champion.id)
    if champion is None or theirs is None or seen is None or not len(ours.unsure):
        return Criterion(name, True, "no counts of the model in use yet", "known, or nothing")
    now = seen.per_shift * unsure_share(seen.mix, champion, theirs, ours)
    before = seen.per_shift * unsure_share(seen.mix, champion, theirs, theirs)
    least = max(budget, MARGIN * before)
    return Criterion(
        name,
        not budget or now <= least,
        f"{now:.0f} of {seen.per_shift:.0f} patches a shift on {seen.device}, "
        f"champion {before:.0f}",
        "anything: asking.labels_per_shift is 0"
        if not budget
        else f"at most the budget of {budget} answers a shift, or {MARGIN} × champion",
    )
