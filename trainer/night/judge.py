"""Champion against challenger: whether tonight's model may go out.

Both judge the same patches, which neither has learnt from. Every criterion says its figures and its
limit; one that fails keeps the champion. Where there is no champion yet, only the floors count.
"""

import time
from dataclasses import asdict, dataclass
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.settings import Trainer
from device.judging.kls import Ints
from device.judging.model import LARGEST_BYTES, Model
from device.judging.verdict import Judged
from export.export import LARGEST_DIFFERENCE

LEVEL = 0.05
"""A drop is significant where chance alone would bring it in fewer than one of twenty nights."""
ONE_PATCH = 1
"""A class may lose one patch whatever its share: two of ten can be chance, one of ten always."""
LATENCY_RATIO = 1.1
TIMED = 31
"""Patches timed, champion and challenger in turn."""
ROUNDS = 5
"""So often, before a model is called too slow."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One question of the judge, and its answer."""

    name: str
    passed: bool
    found: str
    """The figures."""
    limit: str
    """What they had to be."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a model may go out, and why."""

    criteria: list[Criterion]
    patches: int
    """Patches it was judged on."""

    @property
    def publish(self) -> bool:
        """Whether every criterion is met."""
        return all(criterion.passed for criterion in self.criteria)

    @property
    def reasons(self) -> list[str]:
        """What keeps the model back, one line each."""
        return [f"{c.name}: {c.found}, must be {c.limit}" for c in self.criteria if not c.passed]

    def as_json(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {
            "publish": self.publish,
            "patches": self.patches,
            "criteria": [asdict(criterion) for criterion in self.criteria],
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Judgement":
        """What `as_json` gave."""
        return cls([Criterion(**criterion) for criterion in said["criteria"]], said["patches"])


def mcnemar_worse(lost: int, won: int) -> float:
    """The chance of at least so many losses if both were equally good: exact, one-sided.

    `lost` are patches that only the champion judges rightly, `won` those that only the challenger
    does (McNemar, Psychometrika 12, 1947; exact binomial form). 1 where they never differ.
    """
    differ = lost + won
    return float(sum(comb(differ, k) for k in range(lost, differ + 1)) / 2**differ)


def judge_labels(
    champion: Ints | None,
    challenger: Ints,
    labels: Ints,
    classes: list[str],
    limits: Trainer,
    audit: NDArray[np.bool_] | None = None,
) -> list[Criterion]:
    """What the predictions [N] of both on the same N labelled patches say; `audit` [N] marks those
    that were drawn from the stream, on which alone it must not be worse either."""
    right = challenger == labels
    criteria = [
        Criterion(
            "accuracy",
            bool(right.mean() >= limits.least_accuracy),
            f"{100 * right.mean():.1f} % of {len(labels)}",
            f"at least {100 * limits.least_accuracy:g} %",
        )
    ]
    if champion is not None:
        before = champion == labels
        criteria.append(_not_worse("not significantly worse", before, right))
        if audit is not None and audit.any():
            name = "not significantly worse on audits"
            criteria.append(_not_worse(name, before[audit], right[audit]))
        drop = float(before.mean() - right.mean())
        few = before.sum() - right.sum() <= ONE_PATCH
        criteria.append(
            Criterion(
                "no large drop",
                bool(few or drop <= limits.largest_drop),
                f"{100 * drop:+.1f} points of accuracy lost",
                f"at most {100 * limits.largest_drop:g} points, or one patch",
            )
        )
    for c, name in enumerate(classes):
        own = labels == c
        if not own.any():
            continue
        now = int(right[own].sum())
        then = None if champion is None else int((champion[own] == c).sum())
        least = limits.least_recall * own.sum()
        if then is not None:
            least = max(min(least, then), then - limits.largest_recall_drop * own.sum())
        criteria.append(
            Criterion(
                f"recall of {name}",
                bool(now >= min(least, own.sum() - ONE_PATCH)),
                f"{now} of {own.sum()}" + ("" if then is None else f", champion {then}"),
                f"at least {least:.1f}, or all but one",
            )
        )
    return criteria


def _not_worse(name: str, before: NDArray[np.bool_], now: NDArray[np.bool_]) -> Criterion:
    """Whether what was lost may be chance; both bool [N], right or not."""
    lost, won = int((before & ~now).sum()), int((~before & now).sum())
    p = mcnemar_worse(lost, won)
    return Criterion(
        name,
        p >= LEVEL,
        f"{lost} patches lost and {won} won against the champion, p = {p:.3g}",
        f"p of at least {LEVEL} (exact one-sided McNemar test)",
    )


def judge_models(
    champion: Model | None,
    challenger: Model,
    trained_log_p: NDArray[np.floating],
    theirs: Judged | None,
    ours: Judged,
    labels: Ints,
    limits: Trainer,
    audit: NDArray[np.bool_] | None = None,
) -> Judgement:
    """Judge a challenger by what both say of patches that neither has learnt from: `theirs` is the
    champion's opinion and `ours` the challenger's, of N patches with labels int64 [N].

    `trained_log_p`, [N, C], is what the trained network says of them, before the export. `audit`,
    bool [N], marks those that were drawn from the stream.
    """
    classes = challenger.metadata.classes
    gap = float(np.abs(ours.log_probabilities - trained_log_p).max(initial=0))
    same = bool((trained_log_p.argmax(axis=1) == ours.predicted).all())
    known = sum(threshold is not None for threshold in challenger.metadata.thresholds)
    criteria = [
        Criterion(
            "golden patches",
            len(labels) >= limits.least_golden,
            f"{len(labels)}",
            f"at least {limits.least_golden}, or nothing can be said",
        ),
        *judge_labels(
            None
            if theirs is None or champion is None
            else in_classes(theirs.predicted, champion, classes),
            ours.predicted,
            labels,
            classes,
            limits,
            audit,
        ),
        Criterion(
            "file equals network",
            gap <= LARGEST_DIFFERENCE and same,
            f"largest difference {gap:.1e}, {'the same' if same else 'other'} classes",
            f"at most {LARGEST_DIFFERENCE:g} and the same classes",
        ),
        Criterion(
            "size",
            challenger.size <= LARGEST_BYTES,
            f"{challenger.size} bytes",
            f"at most {LARGEST_BYTES}",
        ),
        Criterion(
            "thresholds",
            known > 0,
            f"{known} of {len(classes)} classes have one",
            "at least one, or every part is unsure",
        ),
    ]
    unsure = float(ours.unsure.mean()) if len(labels) else 1.0
    before = None if theirs is None else float(theirs.unsure.mean())
    if before is not None:
        criteria.append(
            Criterion(
                "unsure share",
                unsure <= before + limits.largest_unsure_rise,
                f"{100 * unsure:.1f} %, champion {100 * before:.1f} %",
                f"at most {100 * limits.largest_unsure_rise:g} points more",
            )
        )
    if champion is not None:
        ratio = latency_ratio(champion, challenger)
        criteria.append(
            Criterion(
                "latency",
                ratio <= LATENCY_RATIO,
                f"{ratio:.2f} × champion",
                f"at most {LATENCY_RATIO} ×",
            )
        )
    return Judgement(criteria, len(labels))


def in_classes(predicted: Ints, model: Model, classes: list[str]) -> Ints:
    """Predictions of a model in the numbering of another list of classes; −1: not in it."""
    own = model.metadata.classes
    places = np.array([classes.index(name) if name in classes else -1 for name in own])
    return np.asarray(places[predicted])


def latency_ratio(champion: Model, challenger: Model) -> float:
    """The challenger's time for one patch over the champion's: the least of many each, in turn.

    The least, because what else the machine does can only lengthen it; and looked at again, a few
    times, before a model is called slow.
    """
    patch = np.zeros((1, 200, 200), np.uint8)
    least = {champion.id: np.inf, challenger.id: np.inf}
    for _ in range(ROUNDS):
        for _ in range(TIMED):
            for model in (champion, challenger):
                began = time.perf_counter()
                model.log_probabilities(patch)
                least[model.id] = min(least[model.id], time.perf_counter() - began)
        if least[challenger.id] <= LATENCY_RATIO * least[champion.id]:
            break
    return least[challenger.id] / least[champion.id]
