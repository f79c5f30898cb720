"""The patches that every model is judged on and none learns from: golden ones, and new audits.

The golden set is a copy in the trainer's store, in versions. A version never changes: a later one
adds patches, and may end those that turned out wrong, so that the figures of every night stand.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from config.errors import UserError
from config.settings import PATCH_SIZE, Settings
from device.judging.kls import Ints
from device.judging.patches import Patches
from device.store.answers import LabelledPatches
from device.store.database import exclusive
from device.store.pictures import decode_png, encode_png
from trainer.labels.classes import place_of
from trainer.learning.dataset import class_folders


class Golden(NamedTuple):
    """A version of the golden set."""

    version: int
    """0: there is none."""
    patches: Patches
    """uint8 [N, 200, 200]."""
    classes: list[str]

    @property
    def digest(self) -> str:
        """SHA-256 over patches and classes, in hex."""
        classes = "\n".join(self.classes).encode()
        return hashlib.sha256(self.patches.tobytes() + classes).hexdigest()


class Judged(NamedTuple):
    """Patches to judge models on."""

    patches: Patches
    """uint8 [N, 200, 200]: the golden ones, then the audits."""
    labels: Ints
    """int64 [N]."""
    audit: NDArray[np.bool_]
    """bool [N]: drawn by chance from the stream, not golden."""


class Frozen(NamedTuple):
    """What freezing the golden folder changed."""

    version: int
    patches: int
    added: int
    ended: int


def golden_set(db: Database, settings: Settings, known: Iterable[str] = ()) -> Golden:
    """The newest version of the recipe's golden set; the first call takes it from the folder.

    `known` are names that its folders may have besides the recipe's classes.

    Raises:
        UserError: the first call, and the folder cannot be read or has an unknown class.
    """
    if _version(db, settings) == 0 and settings.trainer.golden is not None:
        freeze(db, settings, known)
    version = _version(db, settings)
    rows = db.execute(
        "SELECT id, png, class FROM golden WHERE recipe = ? AND since <= ? "
        "AND (until IS NULL OR until > ?) ORDER BY class, id",
        [settings.recipe.name, version, version],
    ).fetchall()
    patches = [decode_png(png, identity) for identity, png, _ in rows]
    stacked = np.stack(patches) if patches else np.empty((0, PATCH_SIZE, PATCH_SIZE), np.uint8)
    return Golden(version, stacked, [row[2] for row in rows])


def freeze(db: Database, settings: Settings, known: Iterable[str] = ()) -> Frozen:
    """Make the golden folder as it is now the next version, if it differs from the last.

    Besides the recipe's classes there may be those that operators have named, `known`.

    Raises:
        UserError: none is named, or it cannot be used.
    """
    folder, recipe = settings.trainer.golden, settings.recipe
    if folder is None:
        raise UserError("trainer.golden: not set; name a folder of class folders")
    dataset = class_folders(folder)
    allowed = [*recipe.classes, *known]
    if unknown := [name for name in dataset.classes if place_of(name, allowed) is None]:
        raise UserError(
            f"{folder}: has a folder {unknown[0]!r}, which is no class of recipe {recipe.name!r}"
        )
    found: dict[str, tuple[str, NDArray[np.uint8]]] = {}
    files: dict[str, Path] = {}
    for file, patch, c in zip(dataset.files, dataset.patches(), dataset.labels, strict=True):
        name, identity = dataset.classes[c], pixels_id(patch)
        if identity in found and found[identity][0] != name:
            raise UserError(
                f"{file}: the same picture as {files[identity]}, which is of another class; "
                "remove the wrong one"
            )
        found[identity], files[identity] = (name, patch), file
    with exclusive(db):
        rows = db.execute(
            "SELECT id, class FROM golden WHERE recipe = ? AND until IS NULL", [recipe.name]
        )
        before = dict(rows.fetchall())
        ended = [i for i, name in before.items() if i not in found or found[i][0] != name]
        added = [i for i, (name, _) in found.items() if before.get(i) != name]
        version = _version(db, settings)
        if ended or added:
            version += 1
            for identity in ended:
                db.execute(
                    "UPDATE golden SET until = ? WHERE recipe = ? AND id = ? AND until IS NULL",
                    [version, recipe.name, identity],
                )
            for identity in added:
                name, patch = found[identity]
                db.execute(
                    "INSERT INTO golden VALUES (?, ?, ?, ?, ?, NULL)",
                    [recipe.name, identity, name, encode_png(patch), version],
                )
    return Frozen(version, len(found), len(added), len(ended))


def write_golden(db: Database, settings: Settings, folder: Path, per_class: int) -> dict[str, int]:
    """Write labelled patches as a golden folder, up to so many of every class; how many of each.

    Only patches that were drawn by chance (`cold-start`, `audit`): those that were asked about for
    being hard would make every model look bad. Which of a class are taken follows from their ids.

    Raises:
        UserError: the folder holds something, cannot be written, or there is no such patch.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: not empty; name another folder")
    rows = db.execute(
        """
        SELECT p.id, p.png, l.class FROM patches p
        JOIN labels l ON l.rowid =
            (SELECT max(rowid) FROM labels WHERE patch_id = p.id AND NOT repeat)
        WHERE l.answer = 'class' AND EXISTS (
            SELECT 1 FROM flags f JOIN frames r ON r.id = f.frame_id
            WHERE f.patch_id = p.id AND f.reason IN ('cold-start', 'audit') AND r.recipe = ?)
        ORDER BY p.id
        """,
        [settings.recipe.name],
    )
    taken: Counter[str] = Counter()
    for identity, png, name in rows:
        if name in settings.recipe.classes and taken[name] < per_class:
            file = folder / name / f"{identity[:16]}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png)
            taken[name] += 1
    if not taken:
        raise UserError(
            f"{settings.trainer.data}: no labelled patch that was drawn by chance; answer the "
            "first day's questions, then push and merge them"
        )
    return dict(taken)


def _version(db: Database, settings: Settings) -> int:
    row = db.execute(
        "SELECT max(max(since), coalesce(max(until), 0)) FROM golden WHERE recipe = ?",
        [settings.recipe.name],
    ).fetchone()
    return row[0] or 0


def new_audits(db: Database, after: int) -> set[str]:
    """The audits whose first answer came into this store after a label's row: no model of before
    has learnt from them.

    Tonight's is judged on them too, so it does not learn from them; the next one may.
    """
    rows = db.execute(
        "SELECT DISTINCT f.patch_id FROM flags f WHERE f.reason = 'audit' AND "
        "(SELECT min(rowid) FROM labels WHERE patch_id = f.patch_id) > ?",
        [after],
    )
    return {row[0] for row in rows}


def separate(
    labelled: LabelledPatches, golden: Golden, audits: set[str], classes: list[str]
) -> tuple[LabelledPatches, Judged]:
    """What may be learnt from, and what both models are judged on.

    A labelled patch that looks exactly like a golden one is not learnt from. A golden patch of a
    class that tonight's model cannot have is left out.
    """
    shown = {pixels_id(patch) for patch in golden.patches}
    same = np.array([pixels_id(patch) in shown for patch in labelled.patches], bool)
    audit = np.array([identity in audits for identity in labelled.ids], bool) & ~same
    labels = np.array([classes.index(name) for name in labelled.classes], np.int64)
    places = [place_of(name, classes) for name in golden.classes]
    known = np.array([place is not None for place in places], bool)
    golden_labels = np.array([classes.index(p) for p in places if p is not None], np.int64)
    judged = Judged(
        np.concatenate([golden.patches[known], labelled.patches[audit]]),
        np.concatenate([golden_labels, labels[audit]]),
        np.arange(known.sum() + audit.sum()) >= known.sum(),
    )
    return subset(labelled, ~(audit | same)), judged


def subset(labelled: LabelledPatches, chosen: NDArray[np.bool_]) -> LabelledPatches:
    """Some of the labelled patches; `chosen` is bool [N]."""
    where = np.flatnonzero(chosen)
    return LabelledPatches(
        labelled.patches[where],
        [labelled.classes[i] for i in where],
        [labelled.ids[i] for i in where],
    )


def pixels_id(patch: NDArray[np.uint8]) -> str:
    """SHA-256 of a patch's pixels, in hex."""
    return hashlib.sha256(np.ascontiguousarray(patch).tobytes()).hexdigest()
