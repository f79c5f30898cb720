"""What happened to a lot, read from the store for the quality file."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlite_utils import Database

from device.reports.day import MINUTE_NS

PAGE = 100
"""Pictures, questions and lines of the audit trail on one page of a report."""


class Lot(NamedTuple):
    """A lot of a part, whenever it was in work."""

    id: int
    """Of its last beginning."""
    part: str
    lot: str
    began_ns: int


def lots(db: Database, limit: int, start: int = 0) -> list[Lot]:
    """The lots, the one last begun first."""
    rows = db.execute(
        """
        SELECT max(id), part, lot, wall_ns FROM lots WHERE part != '' OR lot != ''
        GROUP BY part, lot ORDER BY 1 DESC LIMIT ? OFFSET ?
        """,
        [limit, start],
    )
    return [Lot(*row) for row in rows]


def count_lots(db: Database) -> int:
    """How many there are."""
    return int(
        db.execute(
            "SELECT count(*) FROM "
            "(SELECT 1 FROM lots WHERE part != '' OR lot != '' GROUP BY part, lot)"
        ).fetchone()[0]
    )


def find_lot(db: Database, number: int) -> Lot | None:
    """The lot that a beginning belongs to."""
    row = db.execute("SELECT id, part, lot, wall_ns FROM lots WHERE id = ?", [number]).fetchone()
    return None if row is None else Lot(*row)


class Frames(NamedTuple):
    """What was counted of a lot."""

    verdicts: dict[str, int]
    classes: dict[str, int]
    """Failed frames by class, the most frequent first."""
    begin_ns: int
    end_ns: int
    """From its first minute to the end of its last one; both 0: no frame was counted."""
    models: list[str]


def frames(db: Database, lot: Lot) -> Frames:
    """Count the frames of a lot."""
    rows = db.execute(
        "SELECT verdict, class, model_id, sum(frames), min(minute), max(minute) FROM counters "
        "WHERE lot = ? AND part = ? GROUP BY verdict, class, model_id ORDER BY 4 DESC",
        [lot.lot, lot.part],
    ).fetchall()
    verdicts = {"pass": 0, "unsure": 0, "fail": 0, "fault": 0}
    classes: dict[str, int] = {}
    for verdict, name, _, count, _, _ in rows:
        verdicts[verdict] += count
        if verdict == "fail":
            classes[name] = classes.get(name, 0) + count
    begin = min((row[4] for row in rows), default=0)
    end = max((row[5] + 1 for row in rows), default=0)
    models = sorted({row[2] for row in rows if row[2]})
    return Frames(verdicts, classes, begin * MINUTE_NS, end * MINUTE_NS, models)


class Defect(NamedTuple):
    """A failed frame of which a picture is kept."""

    wall_ns: int
    frame: str
    class_name: str | None
    patch: str


def count_defects(db: Database, lot: Lot) -> int:
    """Failed frames of which a picture is kept."""
    return int(
        db.execute(
            "SELECT count(*) FROM frames INDEXED BY frames_lot "
            "WHERE lot = ? AND part = ? AND verdict = 'fail'",
            [lot.lot, lot.part],
        ).fetchone()[0]
    )


def defects(db: Database, lot: Lot, start: int = 0) -> list[Defect]:
    """A page of them by time; the patch that failed the frame, or else another one kept of it."""
    rows = db.execute(
        """
        SELECT r.wall_ns, r.id, r.verdict_class,
            (SELECT patch_id FROM flags WHERE frame_id = r.id
             ORDER BY reason != 'defect' LIMIT 1)
        FROM frames r INDEXED BY frames_lot
        WHERE r.lot = ? AND r.part = ? AND r.verdict = 'fail'
        ORDER BY r.wall_ns LIMIT ? OFFSET ?
        """,
        [lot.lot, lot.part, PAGE, start],
    )
    return [Defect(*row) for row in rows]


class Answer(NamedTuple):
    """What somebody said of a patch."""

    wall_ns: int
    who: str
    answer: str
    class_name: str | None
    repeat: bool


class Question(NamedTuple):
    """A patch that was asked about."""

    wall_ns: int
    patch: str
    frame: str
    reasons: str
    predicted: str | None
    score: float
    answers: list[Answer]
    alike: list[str]
    """Near-identical patches that it stands for."""


def count_questions(db: Database, lot: Lot) -> int:
    """Patches of the lot that were asked about."""
    return int(
        db.execute(
            """
            SELECT count(DISTINCT f.patch_id) FROM frames r INDEXED BY frames_lot
            CROSS JOIN flags f INDEXED BY flags_frame ON f.frame_id = r.id
            WHERE r.lot = ? AND r.part = ? AND f.reason != 'defect' AND f.alike IS NULL
            """,
            [lot.lot, lot.part],
        ).fetchone()[0]
    )


def questions(db: Database, lot: Lot, start: int = 0) -> list[Question]:
    """A page of them by time, with all that was said of them."""
    rows = db.execute(
        """
        SELECT min(r.wall_ns), f.patch_id, r.id, group_concat(DISTINCT f.reason)
        FROM frames r INDEXED BY frames_lot
        CROSS JOIN flags f INDEXED BY flags_frame ON f.frame_id = r.id
        WHERE r.lot = ? AND r.part = ? AND f.reason != 'defect' AND f.alike IS NULL
        GROUP BY f.patch_id ORDER BY 1, f.patch_id LIMIT ? OFFSET ?
        """,
        [lot.lot, lot.part, PAGE, start],
    ).fetchall()
    return [
        Question(
            wall_ns, patch, frame, reasons, *_judged(db, patch), _answers(db, patch),
            _alike(db, patch),
        )
        for wall_ns, patch, frame, reasons in rows
    ]  # fmt: skip


def _judged(db: Database, patch: str) -> tuple[str | None, float]:
    """What the model said; of several reasons the one whose score is the model's."""
    row = db.execute(
        "SELECT predicted, score FROM flags WHERE patch_id = ? AND reason != 'defect' "
        "ORDER BY reason != 'uncertain', id LIMIT 1",
        [patch],
    ).fetchone()
    return row[0], row[1]


def _answers(db: Database, patch: str) -> list[Answer]:
    rows = db.execute(
        "SELECT wall_ns, operator, answer, class, repeat FROM labels WHERE patch_id = ? "
        "ORDER BY rowid",
        [patch],
    )
    return [
        Answer(wall_ns, who, answer, name, bool(repeat))
        for wall_ns, who, answer, name, repeat in rows
    ]


def _alike(db: Database, patch: str) -> list[str]:
    rows = db.execute("SELECT DISTINCT patch_id FROM flags WHERE alike = ? ORDER BY id", [patch])
    return [row[0] for row in rows]


class UsedModel(NamedTuple):
    """A model that judged frames of the lot."""

    id: str
    labels: int
    created_at: str
    metrics: dict[str, float]


def used_models(db: Database, ids: Sequence[str]) -> list[UsedModel]:
    """Those of these models that the store knows."""
    found = []
    for model_id in ids:
        row = db.execute("SELECT metadata FROM models WHERE id = ?", [model_id]).fetchone()
        if row is not None:
            said = json.loads(row[0])
            found.append(
                UsedModel(
                    model_id,
                    said.get("labels", 0),
                    said.get("created_at", ""),
                    said.get("metrics", {}),
                )
            )
    return found


class SettingsText(NamedTuple):
    """Settings, and since when they were in force."""

    wall_ns: int
    digest: str
    toml: str


def settings_between(db: Database, begin_ns: int, end_ns: int) -> list[SettingsText]:
    """The settings that were in force at any time between two moments."""
    rows = db.execute("SELECT wall_ns, digest, toml FROM settings_in_force ORDER BY id").fetchall()
    following = [*(row[0] for row in rows[1:]), None][: len(rows)]
    return [
        SettingsText(wall_ns, digest, toml)
        for (wall_ns, digest, toml), until in zip(rows, following, strict=True)
        if wall_ns < end_ns and (until is None or until > begin_ns)
    ]


class Act(NamedTuple):
    """A line of the audit trail."""

    wall_ns: int
    clock_ok: int
    who: str
    action: str
    subject: str


def count_acts(db: Database, begin_ns: int, end_ns: int) -> int:
    """Lines of the audit trail between two moments."""
    found: Any = db.execute(
        "SELECT count(*) FROM audit_trail WHERE wall_ns >= ? AND wall_ns < ?", [begin_ns, end_ns]
    ).fetchone()
    return int(found[0])


def acts(db: Database, begin_ns: int, end_ns: int, start: int = 0) -> list[Act]:
    """A page of them, by time."""
    rows = db.execute(
        "SELECT wall_ns, clock_ok, who, action, subject FROM audit_trail "
        "WHERE wall_ns >= ? AND wall_ns < ? ORDER BY wall_ns LIMIT ? OFFSET ?",
        [begin_ns, end_ns, PAGE, start],
    )
    return [
        Act(wall_ns, clock_ok, who, action, subject)
        for wall_ns, clock_ok, who, action, subject in rows
    ]
