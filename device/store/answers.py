"""Questions, and the answers that people gave: labels."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from config.errors import UserError
from device.judging.alike import fingerprint
from device.store.answers_log import log_answer
from device.store.database import exclusive
from device.store.pictures import decode_png
from device.store.second_look import is_doubted, open_doubts
from device.system.clock import stamp

CLASS = "class"
CANT_TELL = "can't tell"
SOMETHING_NEW = "something new"
UNDONE = "undone"
"""The kinds of answers; the last answer of a patch counts, and an undone patch waits again."""

LAST_ANSWER = (
    "(SELECT answer FROM labels WHERE patch_id = {} AND NOT repeat ORDER BY rowid DESC LIMIT 1)"
)


class Question(NamedTuple):
    """A flagged patch that waits for an operator."""

    patch_id: str
    reason: str
    predicted: str | None
    score: float
    recipe: str
    """The recipe it was asked under: '' for that of the settings file, else its name."""


Quotas = Mapping[str, tuple[int, int]]
"""k and cold_start of every recipe that there is, by its key: '' or its name."""


def waiting(db: Database, quotas: Quotas) -> list[Question]:
    """The questions of each recipe's present cycle that have no answer yet, the most useful first.

    Every flag ever kept stays in the store; the recipe's quota is applied here: the k highest
    scores of each predicted class, the `cold_start` highest priorities without a model, and all
    audits. This is what makes the stream's selection equal to the pool's. Of a recipe that is no
    more nothing is asked.

    Order: parts whose verdict is unsure, for they wait; then answers that the trainer doubts
    (`device.store.second_look`), which belong to no cycle and no quota; then the others; in the
    first and last the highest score of every class, then the second of every class, and so on;
    audits last.
    """
    recipe_of = {
        cycle: recipe
        for cycle, recipe in db.execute("SELECT max(id), recipe FROM cycles GROUP BY recipe")
        if recipe in quotas
    }
    cycles = list(recipe_of)
    # Ranked here and not by a window function, which takes four times as long.
    flags = db.execute(
        "SELECT f.patch_id, f.reason, f.predicted, f.score, r.verdict, f.cycle "  # noqa: S608
        "FROM flags f "
        "JOIN frames r INDEXED BY frames_facts ON r.id = f.frame_id "
        f"WHERE cycle IN ({_marks(cycles)}) AND reason != 'defect' AND alike IS NULL "
        "ORDER BY score DESC, f.id",
        cycles,
    ).fetchall()
    answered = _answered(db, cycles)
    limits = {
        (cycle, reason): limit
        for cycle, recipe in recipe_of.items()
        for reason, limit in zip(("uncertain", "cold-start"), quotas[recipe], strict=True)
    }
    ranks: Counter[tuple[int, str, str | None]] = Counter()
    best: dict[str, tuple[tuple[int, int], Question]] = {}
    for patch_id, reason, predicted, score, verdict, cycle in flags:
        rank = ranks[cycle, reason, predicted] = ranks[cycle, reason, predicted] + 1
        if rank > limits.get((cycle, reason), rank) or patch_id in answered:
            continue
        group = 3 if reason == "audit" else 0 if verdict == "unsure" else 2
        ranked = (group, rank), Question(patch_id, reason, predicted, score, recipe_of[cycle])
        if patch_id not in best or ranked[0] < best[patch_id][0]:
            best[patch_id] = ranked
    for number, doubt in enumerate(open_doubts(db)):
        question = last_question(db, doubt.patch_id)
        if question is not None and question.recipe in quotas:
            best[doubt.patch_id] = (1, number), question
    # Equal ranks stay in the order of their scores: sorting is stable.
    return [question for _, question in sorted(best.values(), key=itemgetter(0))]


def _marks(values: Sequence[int]) -> str:
    return ", ".join("?" * len(values))


def _answered(db: Database, cycles: Sequence[int]) -> set[str]:
    """The patches flagged in these cycles that have an answer which was not taken back."""
    rows = db.execute(
        f"""
        SELECT DISTINCT f.patch_id FROM flags f JOIN labels l ON l.patch_id = f.patch_id
        WHERE f.cycle IN ({_marks(cycles)}) AND l.answer != 'undone' AND l.rowid =
            (SELECT max(rowid) FROM labels WHERE patch_id = f.patch_id AND NOT repeat)
        """,  # noqa: S608 - nothing but question marks
        cycles,
    )
    return {row[0] for row in rows}


def last_question(db: Database, patch_id: str) -> Question | None:
    """The last question that was asked about a patch; None: none ever was."""
    row = db.execute(
        "SELECT f.patch_id, f.reason, f.predicted, f.score, coalesce(c.recipe, '') FROM flags f "
        "LEFT JOIN cycles c ON c.id = f.cycle "
        "WHERE f.patch_id = ? AND f.reason != 'defect' ORDER BY f.id DESC LIMIT 1",
        [patch_id],
    ).fetchone()
    return None if row is None else Question(*row)


def truth_of(db: Database, patch_id: str) -> str | None:
    """The class of a patch, where its source knew it."""
    row = db.execute("SELECT truth FROM patches WHERE id = ?", [patch_id]).fetchone()
    return None if row is None else row[0]


def add_label(db: Database, patch_id: str, class_name: str, operator: str) -> None:
    """Record an operator's answer: this patch shows this class. On the disk on return.

    Raises:
        UserError: no such patch.
    """
    add_answer(db, patch_id, CLASS, class_name, operator)


def add_answer(
    db: Database,
    patch_id: str,
    answer: str,
    class_name: str | None,
    operator: str,
    *,
    repeat: bool = False,
) -> str:
    """Record an answer of any kind; the id of its row. On the disk with the transaction.

    A `repeat` shows how far operators agree and changes nothing of what the patch is.

    Raises:
        UserError: no such patch.
    """
    moment = stamp()
    identity = json.dumps([patch_id, answer, class_name, operator, *moment])
    label_id = hashlib.sha256(identity.encode()).hexdigest()
    with exclusive(db):  # else what nobody has answered could go meanwhile
        if not db.execute("SELECT 1 FROM patches WHERE id = ?", [patch_id]).fetchone():
            raise UserError(
                f"patch {patch_id}: not in the store; `millsight device questions` lists"
            )
        row = [label_id, patch_id, answer, class_name, operator, *moment, int(repeat)]
        db.execute("INSERT OR IGNORE INTO labels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        log_answer(db, row)
    return label_id


class LabelledPatches(NamedTuple):
    """What a training run learns from, in the order of patch ids."""

    patches: NDArray[np.uint8]
    """uint8 [N, 200, 200]."""
    classes: list[str]
    ids: list[str]


def labelled_patches(db: Database, recipe: str | None = None) -> LabelledPatches:
    """Every patch of a recipe's frames, or of all, with the class its last answer gave it.

    Raises:
        UserError: a stored picture cannot be decoded.
    """
    rows = db.execute(
        """
        SELECT p.id, p.png, l.class FROM patches p
        JOIN labels l ON l.rowid =
            (SELECT max(rowid) FROM labels WHERE patch_id = p.id AND NOT repeat)
        WHERE l.answer = 'class' AND p.id NOT IN (SELECT patch_id FROM pictures_gone)
        AND (:recipe IS NULL OR EXISTS (
            SELECT 1 FROM flags f JOIN frames r ON r.id = f.frame_id
            WHERE f.patch_id = p.id AND r.recipe = :recipe))
        ORDER BY p.id
        """,
        {"recipe": recipe},
    ).fetchall()
    images = [decode_png(png, patch_id) for patch_id, png, _ in rows]
    stacked = np.stack(images) if images else np.empty((0, 200, 200), np.uint8)
    return LabelledPatches(stacked, [row[2] for row in rows], [row[0] for row in rows])


def is_labelled(db: Database, patch_id: str) -> bool:
    """Whether a patch has an answer that was not taken back and that the trainer does not doubt."""
    row = db.execute("SELECT " + LAST_ANSWER.format("?"), [patch_id]).fetchone()
    return row[0] not in {None, UNDONE} and not is_doubted(db, patch_id)


def flags_of_cycle(
    db: Database, cycle: int
) -> list[tuple[str, str, str | None, float, str | None]]:
    """(patch id, reason, predicted class, score, near-identical patch) of every question of a
    cycle, oldest first."""
    return [
        tuple(row)
        for row in db.execute(
            "SELECT patch_id, reason, predicted, score, alike FROM flags "
            "WHERE cycle = ? AND reason != 'defect' ORDER BY id",
            [cycle],
        )
    ]


def fingerprint_of(db: Database, patch_id: str) -> bytes | None:
    """The fingerprint of a stored patch (`device.judging.alike`), made where it has none.

    None: its picture has gone (`device.upkeep.retention`).

    Raises:
        UserError: the stored picture cannot be decoded.
    """
    png, print_ = db.execute(
        "SELECT png, fingerprint FROM patches WHERE id = ?", [patch_id]
    ).fetchone()
    return print_ or (fingerprint(decode_png(png, patch_id)) if png else None)
