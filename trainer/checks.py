"""What is wrong with the labels of a day, before anything learns from them.

Nothing is deleted: what cannot be used is left out of this night and told in its report.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from config.errors import UserError
from config.settings import PATCH_SIZE, Region
from device.kls import Ints
from device.patches import patch_id
from device.store import LabelledPatches, decode_png


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one labelled patch."""

    patch_id: str
    kind: str
    """`unreadable`, `changed`, `unknown class`, `disputed` or `suspicious`."""
    text: str
    left_out: bool
    """Whether this night learns nothing from the patch."""


def check_labels(db: Database, classes: list[str]) -> tuple[LabelledPatches, list[Finding]]:
    """The labelled patches that can be learnt from, in the order of their ids, and what is wrong
    with the others."""
    rows = db.execute(
        """
        SELECT p.id, p.device, p.x, p.y, p.width, p.height, p.png, l.class FROM patches p
        JOIN labels l ON l.rowid =
            (SELECT max(rowid) FROM labels WHERE patch_id = p.id AND NOT repeat)
        WHERE l.answer = 'class' ORDER BY p.id
        """
    ).fetchall()
    disputed = disputes(db)
    findings: list[Finding] = []
    images, names, ids = [], [], []
    for identity, device, x, y, width, height, png, name in rows:
        region = Region.model_construct(x=x, y=y, width=width, height=height)
        image, wrong = _readable(identity, device, region, png)
        if wrong is None and name not in classes:
            wrong = Finding(identity, "unknown class", f"labelled {name!r}", left_out=True)
        if wrong is None and identity in disputed:
            text = f"labelled {name!r}, asked again: {', '.join(disputed[identity])}"
            wrong = Finding(identity, "disputed", text, left_out=True)
        if wrong is not None or image is None:
            assert wrong is not None
            findings.append(wrong)
            continue
        images.append(image)
        names.append(name)
        ids.append(identity)
    stacked = np.stack(images) if images else np.empty((0, PATCH_SIZE, PATCH_SIZE), np.uint8)
    return LabelledPatches(stacked, names, ids), findings


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
    """What others said of a patch when they were asked again, where it was something else."""
    rows = db.execute(
        """
        SELECT r.patch_id, r.operator || ' ' || coalesce(r.class, r.answer) FROM labels r
        JOIN labels l ON l.rowid =
            (SELECT max(rowid) FROM labels WHERE patch_id = r.patch_id AND NOT repeat)
        WHERE r.repeat AND r.answer = 'class' AND l.answer = 'class' AND r.class != l.class
            AND r.rowid = (SELECT max(rowid) FROM labels
                WHERE patch_id = r.patch_id AND repeat AND operator = r.operator)
        ORDER BY r.rowid
        """
    )
    found: dict[str, list[str]] = {}
    for identity, said in rows:
        found.setdefault(identity, []).append(said)
    return found


def suspicious(
    labelled: LabelledPatches, labels: Ints, log_probabilities: NDArray[np.float32]
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


def count_kinds(findings: list[Finding]) -> dict[str, int]:
    """How many findings there are of each kind."""
    return dict(Counter(finding.kind for finding in findings))
