"""Simulated shifts: a stream whose truth is known goes through the real choice of questions.

Everything between the stream and the figure is the product's own: KLS, `Asker`, the store, the
order and the limit of questions, the estimate.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from config.recipes import Recipes
from config.settings import Asking, Device, Recipe, Region, Settings
from device.judging.kls import Baselines, fit_baselines, kls, predicted_classes, score_bins
from device.loop.asking import Asker
from device.loop.keeper import KeptPatch
from device.models.models_in_use import in_force, record_activation
from device.reports.estimate import Accuracy, accuracy
from device.reports.statistics import Interval, clopper_pearson
from device.store.answers import add_answer, waiting
from device.store.database import open_store

CLASSES = ["clean", "patch", "pitted_surface", "scratch"]
SHARES = [0.7, 0.15, 0.1, 0.05]
REGION = Region(x=0, y=0, width=200, height=200)


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What a shift is like."""

    patches: int = 3000
    error: float = 0.03
    """About which share of the verdicts is wrong."""
    audit_share: float = 0.03
    budget: int = 0
    """Most answers; 0: no limit."""
    halted: float = 0.1
    """Share of the stream that shows the plate before once more, with fresh noise."""
    hard_to_tell: float = 0.0
    """Chance that nobody can tell a patch that the model is unsure of."""


class Outcome(NamedTuple):
    """A shift's truth and what is said of it."""

    truth: float
    """Share of right verdicts among patches that people can tell."""
    found: Accuracy
    audits_only: Interval
    """Of Clopper and Pearson, from answered spot checks alone."""
    naive: float
    """Share of right verdicts among everything that was answered."""
    precisions: dict[str, float]
    recalls: dict[str, float]


class Stream(NamedTuple):
    """Patches of a shift as a model sees them."""

    true: NDArray[np.int64]
    log_p: NDArray[np.float64]
    same_as: NDArray[np.int64]
    """Index of the plate shown; a halted machine shows the one before."""
    can_tell: NDArray[np.bool_]


def stream(rng: np.random.Generator, now: Conditions) -> Stream:
    """Draw a shift: classes come in runs, errors where the model is unsure, and some where not."""
    n, c = now.patches, len(CLASSES)
    runs = rng.geometric(1 / 15, n)
    true = np.repeat(rng.choice(c, n, p=SHARES), runs)[:n]
    halted = rng.random(n) < now.halted
    same_as = np.arange(n)
    for i in range(1, n):
        if halted[i]:
            same_as[i] = same_as[i - 1]
    true = true[same_as]
    # Margins as wide as the errors wanted; of the wrong a fifth is confidently wrong.
    logits = rng.normal(0, 1, (n, c))
    hard = rng.random(n) < min(1.0, 2.2 * now.error)
    logits[np.arange(n), true] += np.where(hard, rng.normal(1.2, 1.5, n), rng.normal(8, 1.5, n))
    sure_wrong = rng.random(n) < now.error / 5
    logits[np.arange(n), rng.integers(0, c, n)] += np.where(sure_wrong, 12, 0)
    logits = logits[same_as] + rng.normal(0, 0.05, (n, c))
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    can_tell = ~((rng.random(n) < now.hard_to_tell) & hard)
    return Stream(true, log_p, same_as, can_tell[same_as])


def shift(
    db: Database, settings: Settings, rng: np.random.Generator, now: Conditions, name: str
) -> Outcome:
    """Run a shift of a new model; its truth and what is estimated."""
    seen = stream(rng, now)
    predicted = predicted_classes(seen.log_p)
    sample = rng.choice(now.patches, 300, replace=False)
    baselines = fit_baselines(seen.log_p[sample])
    model = new_model(db, name, baselines)
    asker = Asker(settings, db, in_force(db).cycle)
    scores = kls(seen.log_p, baselines)
    noise = rng.integers(0, 256, 4_000_000, np.uint8)
    plate = noise[:0]
    index_of: dict[str, int] = {}
    with db.atomic():
        count_scores(db, model, predicted, scores)
        for i in range(now.patches):
            if seen.same_as[i] == i:
                place = rng.integers(len(noise) - 40_000)
                plate = noise[place : place + 40_000].reshape(200, 200)
            noisy = plate.copy()
            noisy[0] = rng.integers(0, 256, 200, np.uint8)
            kept = asker.choose(
                noisy[None],
                [REGION],
                [int(predicted[i])],
                [float(scores[i])],
                seen.log_p[i : i + 1].astype(np.float32),
            )
            if kept:
                index_of[kept[0].id] = i
                store(db, model, asker.cycle, kept, i)
    answered: list[int] = []
    with db.atomic():
        for question in waiting(db, Recipes(settings).quotas):
            if now.budget and len(answered) >= now.budget:
                break
            i = index_of[question.patch_id]
            answered.append(i)
            kind = "class" if seen.can_tell[i] else "can't tell"
            truth = CLASSES[seen.true[i]] if seen.can_tell[i] else None
            add_answer(db, question.patch_id, kind, truth, "Anna")
    found = accuracy(db, model, settings.asking.k)
    right = seen.true == predicted
    telling = seen.can_tell
    checks = [
        right[index_of[row[0]]]
        for row in db.execute(
            "SELECT f.patch_id FROM flags f JOIN labels l ON l.patch_id = f.patch_id "
            "WHERE f.reason = 'audit' AND f.cycle = ? AND l.answer = 'class'",
            [asker.cycle],
        )
    ]
    told = [i for i in answered if telling[i]]
    return Outcome(
        float(right[telling].mean()),
        found,
        clopper_pearson(sum(checks), len(checks)),
        float(right[told].mean()),
        {
            CLASSES[c]: float(right[telling & (predicted == c)].mean())
            for c in range(len(CLASSES))
            if (telling & (predicted == c)).any()
        },
        {
            CLASSES[c]: float(right[telling & (seen.true == c)].mean())
            for c in range(len(CLASSES))
            if (telling & (seen.true == c)).any()
        },
    )


def new_model(db: Database, name: str, baselines: Baselines) -> str:
    """Bring a model into use."""
    model = name.ljust(64, "0")
    db.execute("INSERT INTO models VALUES (?, 1, '{}', 0, 0, '', 1, NULL)", [model])
    for i, class_name in enumerate(CLASSES):
        db.execute(
            "INSERT INTO baselines VALUES (?, ?, ?, ?, NULL, 0.1)",
            [model, i, class_name, int(baselines.counts[i])],
        )
    record_activation(db, model, "simulated")
    return model


def count_scores(
    db: Database, model: str, predicted: NDArray[np.int64], scores: NDArray[np.float64]
) -> None:
    """Count the patches as the loop does."""
    hour = db.execute("SELECT max(wall_ns) FROM cycles").fetchone()[0] // (3600 * 10**9)
    pairs = np.stack([predicted, score_bins(scores)], 1)
    for (c, number), patches in zip(*np.unique(pairs, axis=0, return_counts=True), strict=True):
        db.execute(
            "INSERT INTO scores VALUES (?, ?, ?, '', ?, ?)",
            [hour, model, CLASSES[c], int(number), int(patches)],
        )


def store(db: Database, model: str, cycle: int, kept: list[KeptPatch], number: int) -> None:
    """Store what was kept, as the keeper does, without its pixels."""
    frame = f"{model[:20]}-{number}"
    db.execute(
        "INSERT INTO frames VALUES (?, 'box', ?, 0, 0, '', 1, '', 200, 200, 'r', ?, 'unsure', "
        "NULL, NULL, '', '')",
        [frame, number, model],
    )
    for patch in kept:
        db.execute(
            "INSERT OR IGNORE INTO patches VALUES (?, 'box', 0, 0, 200, 200, x'', NULL, ?)",
            [patch.id, patch.fingerprint],
        )
        db.execute(
            "INSERT INTO flags (patch_id, frame_id, cycle, reason, predicted, score, "
            "draw_probability, alike) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                patch.id, frame, cycle, patch.reason, patch.predicted, patch.score,
                patch.draw_probability, patch.alike,
            ],
        )  # fmt: skip


def many_shifts(folder: Path, shifts: int, now: Conditions, seed: int) -> Iterator[Outcome]:
    """One simulated shift after the other, each of a new model on the same device."""
    settings = Settings(
        device=Device(name="box", data=folder),
        recipe=Recipe(classes=CLASSES, pass_classes=["clean"]),
        asking=Asking(audit_share=now.audit_share, seed=seed, labels_per_shift=now.budget),
    )
    db = open_store(folder)
    rng = np.random.default_rng(seed)
    for number in range(shifts):
        yield shift(db, settings, rng, now, f"{seed}-{number}-")
    db.close()
