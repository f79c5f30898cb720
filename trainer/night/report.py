"""The report of a night: one JSON document, and one page that needs nothing besides itself.

The page is drawn from the document alone, but for the pictures of odd labels; both travel with the
model.
"""

import base64
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from sqlite_utils import Database

from device.judging.kls import LEAST_BIN, MOST_BIN, Ints, score_bins
from device.judging.model import Model
from device.judging.verdict import Judged as Opinion
from device.store.second_look import Doubt
from trainer.labels.checks import Finding, count_kinds
from trainer.labels.merge import Merged
from trainer.learning.retrain import Retrained
from trainer.night.enough import Agreement
from trainer.night.figures import curve, scores
from trainer.night.history import Past
from trainer.night.judge import Judgement, in_classes
from trainer.night.material import Material

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True
)
MOST_PICTURES = 40
"""Pictures of odd labels on a page, the oddest first."""
MOST_FINDINGS = 1000
"""Findings in the document."""
MOST_NIGHTS = 365
"""Nights in the learning curve."""


def night_report(
    material: Material,
    result: Retrained,
    judgement: Judgement,
    findings: list[Finding],
    again: list[Doubt],
    merged: Merged,
    seconds: dict[str, float],
    theirs: Opinion | None,
    ours: Opinion | None,
    past: list[Past],
    settled: Agreement | None = None,
) -> dict[str, Any]:
    """Everything about a night, ready for JSON."""
    names, champion = material.classes.names, material.champion
    labels = material.judged.labels
    before = None
    if champion is not None and theirs is not None:
        before = in_classes(theirs.predicted, champion, names)
    now = None if ours is None else ours.predicted
    metadata = result.model.metadata
    return judgement.as_json() | {
        "model": result.model.id,
        "champion": None if champion is None else champion.id,
        "recipe": material.settings.recipe.name,
        "created_at": metadata.created_at,
        "code_version": metadata.code_version,
        "classes": names,
        "classes_grown": material.classes.grown,
        "classes_gone": material.classes.gone,
        "named": material.classes.named,
        "labels": len(material.learnt.ids),
        "labels_digest": metadata.labels_digest,
        "labels_by_class": dict(Counter(material.learnt.classes)),
        "devices": devices(merged),
        "merged": merged.as_json(),
        "golden": {
            "version": material.golden.version,
            "digest": material.golden.digest,
            "patches": len(material.golden.classes),
        },
        "audits": int(material.judged.audit.sum()),
        "metrics": metadata.metrics,
        "accuracy": None if now is None else share(now == labels),
        "champion_accuracy": None if before is None else share(before == labels),
        "unsure": None if ours is None else share(ours.unsure),
        "champion_unsure": None if theirs is None else share(theirs.unsure),
        "confusion": None if now is None else confusion(labels, now, len(names)).tolist(),
        "champion_confusion": None
        if before is None
        else confusion(labels, before, len(names)).tolist(),
        "changed": changed(labels, before, now, names),
        "kls": histograms_of(champion, theirs, names) | histograms_of(result.model, ours, names),
        "findings": [
            {"patch": f.patch_id, "kind": f.kind, "text": f.text, "left_out": f.left_out}
            for f in findings[:MOST_FINDINGS]
        ],
        "findings_by_kind": count_kinds(findings),
        "asked_again": [{"patch": d.patch_id, "reason": d.reason} for d in again],
        "enough": None if settled is None else settled.as_json(),
        "seconds": seconds,
        "nights": [
            {key: night.report.get(key) for key in ("created_at", "labels", "accuracy", "publish")}
            | {"held_out": night.report["metrics"].get("held_out_accuracy")}
            for night in past[-MOST_NIGHTS:]
        ],
    }  # fmt: skip


def devices(merged: Merged) -> dict[str, int]:
    """The answers that came from each device."""
    count: Counter[str] = Counter()
    for batch in merged.batches:
        count[batch.device] += batch.new_labels
    return dict(count)


def share(right: Any) -> float | None:
    """The share of what is true; None of nothing."""
    return float(np.mean(right)) if len(right) else None


def confusion(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """Patches by true class (rows) and judged class (columns), int64 [C, C]; −1 is left out."""
    known = predicted >= 0
    pairs = labels[known] * classes + predicted[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def changed(
    labels: Ints, before: Ints | None, now: Ints | None, names: list[str]
) -> list[dict[str, Any]]:
    """What is other than with the model in use, class by class: recall, precision, won and lost."""
    if now is None:
        return []
    rows = []
    for c, name in enumerate(names):
        own = labels == c
        row: dict[str, Any] = {"class": name, "patches": int(own.sum())}
        for key, predicted in (("champion", before), ("challenger", now)):
            row[f"{key}_recall"] = None if predicted is None else share(predicted[own] == c)
            row[f"{key}_precision"] = (
                None if predicted is None else share(labels[predicted == c] == c)
            )
        if before is not None:
            row["won"] = int((own & (before != c) & (now == c)).sum())
            row["lost"] = int((own & (before == c) & (now != c)).sum())
        rows.append(row)
    return rows


def histograms_of(model: Model | None, said: Opinion | None, names: list[str]) -> dict[str, Any]:
    """By the model's id and class: how its scores of the judged patches are spread."""
    if model is None or said is None:
        return {}
    bins = score_bins(said.scores)
    numbers = range(LEAST_BIN, MOST_BIN + 1)
    found = {}
    for c, name in enumerate(model.metadata.classes):
        if name in names:
            own = Counter(bins[said.predicted == c].tolist())
            found[name] = {
                "bins": [own[number] for number in numbers],
                "threshold": model.metadata.thresholds[c],
            }
    return {model.id: found}


def report_page(db: Database, report: dict[str, Any]) -> str:
    """The report as one HTML file."""
    odd = [
        finding | {"picture": picture(db, finding["patch"])}
        for finding in report["findings"][:MOST_PICTURES]
    ]
    matrices = [
        (title, report[key])
        for title, key in (
            ("Model in use", "champion_confusion"),
            ("Tonight’s model", "confusion"),
        )
        if report[key] is not None
    ]
    distributions = [
        (title, scores(title, report["kls"][model]))
        for title, model in (
            ("Model in use", report["champion"]),
            ("Tonight’s model", report["model"]),
        )
        if model in report["kls"]
    ]
    return TEMPLATES.get_template("night.html").render(
        report=report,
        odd=odd,
        matrices=matrices,
        distributions=distributions,
        curve=curve(
            [*report["nights"], report | {"held_out": report["metrics"].get("held_out_accuracy")}]
        ),
        total=sum(report["seconds"].values()),
    )


def picture(db: Database, patch_id: str) -> str:
    """A stored patch as base64; empty: there is none."""
    row = db.execute("SELECT png FROM patches WHERE id = ?", [patch_id]).fetchone()
    return "" if row is None else base64.b64encode(row[0]).decode()
