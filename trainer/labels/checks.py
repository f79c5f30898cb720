"""What is wrong with the labels of a recipe, before anything learns from them.

Nothing is deleted: what cannot be used is left out of this night and told in its report, and what
only an operator can decide is asked again (`device.store.second_look`).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from config.errors import UserError
from config.settings import PATCH_SIZE, Region
from device.judging.kls import Ints
from device.judging.patches import patch_id
from device.store.answers import LabelledPatches
from device.store.pictures import decode_png
from device.store.second_look import Doubt
from trainer.labels.classes import LAST_ANSWERS, place_of

ASKED_AGAIN = ("disputed", "unknown class", "suspicious")
"""The findings that an answer can settle, the most certain first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one labelled patch."""

    patch_id: str
    kind: str
    """`unreadable`, `changed`, `unknown class`, `disputed` or `suspicious`."""
    text: str
    left_out: bool
    """Whether this night learns nothing from the patch."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The labels of a recipe."""

    labelled: LabelledPatches
    """What can be learnt from, in the order of the patches' ids."""
    findings: list[Finding]
    named: int
    """Patches with a new name that is no class yet: they wait."""


def check_labels(db: Database, recipe: str, classes: list[str]) -> Checked:
    """The labelled patches of a recipe's frames that can be learnt from, and what is wrong with
    others; `classes` are tonight's."""
    rows = db.execute(f"{LAST_ANSWERS} ORDER BY p.id", {"recipe": recipe}).fetchall()
    disputed = disputes(db)
    findings: list[Finding] = []
    images, names, ids = [], [], []
    named = 0
    for identity, device, x, y, width, height, png, answer, said, _label in rows:
        name = place_of(said or "", classes)
        if name is None and answer != "class":
            named += 1
            continue
        region = Region.model_construct(x=x, y=y, width=width, height=height)
        image, wrong = _readable(identity, device, region, png)
        if wrong is None and name is None:
            wrong = Finding(identity, "unknown class", f"labelled {said!r}", left_out=True)
        if wrong is None and identity in disputed:
            text = f"labelled {said!r}, asked again: {', '.join(disputed[identity])}"
            wrong = Finding(identity, "disputed", text, left_out=True)
        if wrong is not None or image is None or name is None:
            assert wrong is not None
            findings.append(wrong)
            continue
        images.append(image)
        names.append(name)
        ids.append(identity)
    stacked = np.stack(images) if images else np.empty((0, PATCH_SIZE, PATCH_SIZE), np.uint8)
    return Checked(LabelledPatches(stacked, names, ids), findings, named)


def _readable(
    identity: str, device: str, region: Region, png: bytes
) -> tuple[NDArray[np.uint8] | None, Finding | None]:
    """The pixels of a stored patch, or what is wrong with them."""
    try:
        image = decode_png(png, identity)
    except UserError as error:
        return None, Finding(identity, "unreadable", str(error), left_out=True)
    if image.shape != (PATCH_SIZE, PATCH_SIZE):
        return None, Finding(identity, "unreadable", f"it is {image.shape}", left_out=True)
    if patch_id(image, device, region) != identity:
        return None, Finding(identity, "changed", "its pixels are not those of its id", True)
    return image, None


def disputes(db: Database) -> dict[str, list[str]]:
    """What others said of a patch when they were asked again, where it was something else.

    An ordinary answer that came after that has settled it.
    """
    rows = db.execute(
        """
        SELECT r.patch_id, r.operator, r.class, l.class FROM labels r
        JOIN labels l ON l.rowid =
            (SELECT max(rowid) FROM labels WHERE patch_id = r.patch_id AND NOT repeat)
        WHERE r.repeat AND r.rowid > l.rowid
            AND r.answer IN ('class', 'something new') AND l.answer IN ('class', 'something new')
            AND r.rowid = (SELECT max(rowid) FROM labels
                WHERE patch_id = r.patch_id AND repeat AND operator = r.operator)
        ORDER BY r.rowid
        """
    )
    found: dict[str, list[str]] = {}
    for identity, operator, said, before in rows:
        if place_of(said, [before]) is None:
            found.setdefault(identity, []).append(f"{operator} {said}")
    return found


def suspicious(
    labelled: LabelledPatches, labels: Ints, log_probabilities: NDArray[np.floating]
) -> list[Finding]:
    """Labels that predictions by networks that did not learn from them speak against.

    Confident learning (Northcutt, Jiang & Chuang, JAIR 70, 2021, Eq. 1 and 2): of each class the
    average confidence in it where it is the label is its threshold; a label is suspicious where
    another class reaches its own threshold, and more than any other. `log_probabilities` is [N, C].
    They stay in the training: a hard patch looks the same as a wrong label. Worst first.
    """
    p = np.exp(np.asarray(log_probabilities, np.float64))
    count = p.shape[1]
    thresholds = np.array([
        p[labels == c, c].mean() if (labels == c).any() else np.inf for c in range(count)
    ])  # fmt: skip
    confident = np.where(p >= thresholds, p, -1.0)
    likely = confident.argmax(axis=1)
    wrong = np.flatnonzero((confident.max(axis=1) >= 0) & (likely != labels))
    order = wrong[np.argsort(p[wrong, labels[wrong]], kind="stable")]
    names = labelled.classes
    known = {int(c): name for c, name in zip(labels, names, strict=True)}
    return [
        Finding(
            labelled.ids[i],
            "suspicious",
            f"labelled {names[i]!r} ({100 * p[i, labels[i]]:.0f} %), looks like "
            f"{known[int(likely[i])]!r} ({100 * p[i, likely[i]]:.0f} %)",
            left_out=False,
        )
        for i in order
    ]


def doubts(db: Database, findings: Iterable[Finding], most: int) -> list[Doubt]:
    """The labels to ask again that are not asked yet: at most so many, the most certain findings
    first. Some of those that are asked nobody can answer, as their picture has gone.

    A label that somebody gave after his patch was asked about again has been confirmed: it is not
    asked about for being suspicious once more.
    """
    asked = dict(
        db.execute("SELECT patch_id, label_id FROM second_looks ORDER BY rowid").fetchall()
    )
    found = sorted(
        (f for f in findings if f.kind in ASKED_AGAIN), key=lambda f: ASKED_AGAIN.index(f.kind)
    )
    last = (
        Doubt(
            finding.patch_id,
            db.execute(
                "SELECT id FROM labels WHERE patch_id = ? AND NOT repeat ORDER BY rowid DESC",
                [finding.patch_id],
            ).fetchone()[0],
            finding.kind,
        )
        for finding in found
        if finding.kind != "suspicious" or finding.patch_id not in asked
    )
    return list(islice((d for d in last if asked.get(d.patch_id) != d.label_id), most))


def count_kinds(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each kind."""
    return dict(Counter(finding.kind for finding in findings))
