"""The patches that every model is judged on and none learns from: golden ones, and new audits."""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from config.errors import UserError
from config.settings import PATCH_SIZE, Settings
from device.kls import Ints
from device.patches import Patches
from device.store import LabelledPatches, get_state, set_state
from trainer.dataset import class_folders


class Judged(NamedTuple):
    """Patches to judge models on."""

    patches: Patches
    """uint8 [N, 200, 200]."""
    labels: Ints
    """int64 [N]."""


def golden_set(db: Database, settings: Settings) -> Judged:
    """The golden patches of the settings, frozen by the first call; none where none are named.

    Raises:
        UserError: the folder cannot be read, has other classes than the recipe's, or has changed.
    """
    folder, recipe = settings.trainer.golden, settings.recipe
    if folder is None:
        return Judged(np.empty((0, PATCH_SIZE, PATCH_SIZE), np.uint8), np.empty(0, np.int64))
    dataset = class_folders(folder)
    if unknown := [name for name in dataset.classes if name not in recipe.classes]:
        raise UserError(
            f"{folder}: has a folder {unknown[0]!r}, which is no class of recipe {recipe.name!r}"
        )
    patches = dataset.patches()
    labels = np.array([recipe.classes.index(dataset.classes[c]) for c in dataset.labels])
    digest = hashlib.sha256(patches.tobytes() + labels.tobytes()).hexdigest()
    known = get_state(db, _key(settings))
    if known is None:
        set_state(db, _key(settings), {"digest": digest, "patches": len(labels)})
    elif known["digest"] != digest:
        raise UserError(
            f"{folder}: has changed since it was frozen with {known['patches']} patches, so nights "
            "could no longer be compared; put it back, or freeze it anew: millsight trainer freeze"
        )
    return Judged(patches, labels)


def freeze(db: Database, settings: Settings) -> int:
    """Take the golden folder as it is now; how many patches it has.

    Raises:
        UserError: none is named, or it cannot be used.
    """
    if settings.trainer.golden is None:
        raise UserError("trainer.golden: not set; name a folder of class folders")
    set_state(db, _key(settings), None)
    return len(golden_set(db, settings).labels)


def _key(settings: Settings) -> str:
    return f"golden {settings.recipe.name}"


def new_audits(db: Database, since_ns: int) -> set[str]:
    """The audits that were answered after a moment: no model of before has learnt from them.

    Tonight's is judged on them too, so it does not learn from them; the next one may.
    """
    rows = db.execute(
        "SELECT DISTINCT f.patch_id FROM flags f WHERE f.reason = 'audit' AND "
        "(SELECT min(wall_ns) FROM labels WHERE patch_id = f.patch_id) > ?",
        [since_ns],
    )
    return {row[0] for row in rows}


def separate(
    labelled: LabelledPatches, golden: Judged, audits: set[str], classes: list[str]
) -> tuple[LabelledPatches, Judged]:
    """What may be learnt from, and what both models are judged on.

    A labelled patch that looks exactly like a golden one is not learnt from.
    """
    shown = {_pixels(patch) for patch in golden.patches}
    same = np.array([_pixels(patch) in shown for patch in labelled.patches], bool)
    audit = np.array([identity in audits for identity in labelled.ids], bool)
    labels = np.array([classes.index(name) for name in labelled.classes], np.int64)
    judged = Judged(
        np.concatenate([golden.patches, labelled.patches[audit & ~same]]),
        np.concatenate([golden.labels, labels[audit & ~same]]),
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


def _pixels(patch: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(patch).tobytes()).digest()
