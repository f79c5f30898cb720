"""Drift in the store: blocks go in, alarms come out; their pictures; the way back to quiet.

Everything that is compared is read from the store, so a restart of the loop changes nothing. The
reference of a part's frames begins at its first block, or at the last reset by a supervisor; that
of its scores with every model. Both grow to `drift.reference_blocks`, and not while an alarm lasts.
"""

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sqlite_utils import Database

from camera.source import Event, GreyImage
from config.settings import Drift
from device.drift.detection import (
    BINS,
    CONTRAST,
    LAG,
    LIGHT,
    MIX,
    NEW_SURFACE,
    SCORE,
    SHARPNESS,
    UNUSUAL_SHARE,
    Block,
    Moved,
    ScoreReference,
    frames_moved,
    kind_of,
)
from device.judging.kls import Ints
from device.store.live import thumbnail
from device.store.trail import add_action
from device.system.clock import stamp

PICTURE_PX = 480
"""Longest side of a kept picture."""
PICTURES = 3
"""Blocks before and after an alarm of which pictures are kept."""


@dataclass(frozen=True, slots=True)
class EndedBlock:
    """A block as the loop hands it over."""

    block: Block
    recipe: str
    part: str
    model_id: str
    classes: list[str]
    usual: GreyImage
    """Its first frame, uint8 [H, W]."""
    odd: GreyImage | None
    """The frame with the highest score; None: there was no model."""


class Alarm(NamedTuple):
    """Something moved."""

    id: int
    wall_ns: int
    recipe: str
    part: str
    model_id: str
    kind: str
    moved: list[Moved]
    before: list[int]
    """Blocks with pictures, the oldest first."""
    after: list[int]
    ended_ns: int | None


def add_block(db: Database, ended: EndedBlock, settings: Drift) -> list[Event]:
    """Store a block, compare it with the reference, and say what moved.

    Part of the transaction that is open. The events are to be reported once it is committed.
    """
    block, (light, contrast, sharpness) = ended.block, ended.block.looks.tolist()
    db.execute(
        "INSERT INTO drift_blocks (wall_ns, monotonic_ns, boot_id, clock_ok, recipe, part, "
        "model_id, frames, light, contrast, sharpness, scores) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            *stamp(), ended.recipe, ended.part, ended.model_id, block.frames,
            light, contrast, sharpness, json.dumps(_sparse(block.scores)),
        ],
    )  # fmt: skip
    number = int(db.execute("SELECT max(id) FROM drift_blocks").fetchone()[0])
    for what, image in (("usual", ended.usual), ("odd", ended.odd)):
        if image is not None:
            db.execute(
                "INSERT INTO drift_pictures VALUES (?, ?, ?)",
                [number, what, thumbnail(image, PICTURE_PX)],
            )
    start = _start(db, ended.recipe, ended.part)
    moved = _compare(db, ended, start)
    open_now = [
        alarm for alarm in alarms(db, [ended.recipe], lasting=True) if alarm.part == ended.part
    ]
    events = _end_alarms(db, open_now, moved)
    kind = kind_of(moved)
    _keep_largest(db, open_now, kind, moved)
    if kind is not None and _is_news(db, ended, kind, number, open_now, settings):
        alarm = _raise_alarm(db, ended, kind, moved, number, start)
        events.append(Event("drift", say(alarm)))
    elif not moved:
        _grow(db, ended, start, settings)
    _forget_pictures(db, ended, start)
    return events


def _compare(db: Database, ended: EndedBlock, start: int) -> list[Moved]:
    """What of the last blocks is not as in the reference."""
    of_part = [ended.recipe, ended.part, start]
    rows = db.execute(
        "SELECT light, contrast, sharpness FROM drift_blocks "
        "WHERE recipe = ? AND part = ? AND id > ? AND frames_reference ORDER BY id",
        of_part,
    ).fetchall()
    last = db.execute(
        "SELECT light, contrast, sharpness, scores, model_id FROM drift_blocks "
        "WHERE recipe = ? AND part = ? AND id > ? AND NOT frames_reference "
        "ORDER BY id DESC LIMIT ?",
        [*of_part, LAG],
    ).fetchall()[::-1]
    moved = frames_moved(
        np.array([row[:3] for row in rows]).reshape(-1, 3),
        np.array([row[:3] for row in last]).reshape(-1, 3),
    )
    if not ended.model_id:
        return moved
    known = db.execute(
        "SELECT scores FROM drift_blocks WHERE recipe = ? AND part = ? AND id > ? "
        "AND scores_reference AND model_id = ? ORDER BY id",
        [*of_part, ended.model_id],
    ).fetchall()
    recent = [row[3] for row in last if row[4] == ended.model_id]
    if not known or not recent:
        return moved
    classes = len(ended.classes)
    reference = ScoreReference(np.stack([_dense(row[0], classes) for row in known]))
    return moved + reference.moved(
        np.stack([_dense(text, classes) for text in recent]), ended.classes
    )


def _end_alarms(db: Database, lasting: Sequence[Alarm], moved: Sequence[Moved]) -> list[Event]:
    """End the alarms of which nothing is moved any more."""
    still = {(one.what, one.class_name) for one in moved}
    events = []
    for alarm in lasting:
        if not still & {(one.what, one.class_name) for one in alarm.moved}:
            _end(db, alarm.id)
            events.append(Event("drift-ended", f"{alarm.kind}: as in the reference again"))
    return events


def _keep_largest(
    db: Database, lasting: Sequence[Alarm], kind: str | None, moved: Sequence[Moved]
) -> None:
    """Let an alarm that lasts say how far it went: at first the windows held few changed blocks."""
    for alarm in lasting:
        if alarm.kind == kind and moved[0].size > alarm.moved[0].size:
            db.execute(
                "UPDATE drift_alarms SET moved = ? WHERE id = ?", [json.dumps(moved), alarm.id]
            )


def _end(db: Database, alarm: int) -> None:
    db.execute("UPDATE drift_alarms SET ended_ns = ? WHERE id = ?", [time.time_ns(), alarm])


def _is_news(
    db: Database,
    ended: EndedBlock,
    kind: str,
    number: int,
    lasting: Sequence[Alarm],
    settings: Drift,
) -> bool:
    """Whether an alarm of this kind says something that nobody was told lately.

    Where the pictures are known to have changed, the scores change with them.
    """
    if any(kind in {alarm.kind, NEW_SURFACE} for alarm in lasting):
        return False
    last = db.execute(
        "SELECT max(block) FROM drift_alarms WHERE recipe = ? AND part = ? AND kind = ?",
        [ended.recipe, ended.part, kind],
    ).fetchone()[0]
    if last is None:
        return True
    since = db.execute(
        "SELECT count(*) FROM drift_blocks WHERE recipe = ? AND part = ? AND id > ? AND id <= ?",
        [ended.recipe, ended.part, last, number],
    ).fetchone()[0]
    return bool(since > settings.quiet_blocks or last <= _start(db, ended.recipe, ended.part))


def _raise_alarm(
    db: Database, ended: EndedBlock, kind: str, moved: list[Moved], number: int, start: int
) -> Alarm:
    """Store an alarm with the blocks whose pictures show it."""
    column = "scores_reference" if kind == NEW_SURFACE else "frames_reference"
    before = db.execute(
        f"SELECT id FROM drift_blocks b WHERE recipe = ? AND part = ? AND id > ? AND {column} "  # noqa: S608
        "AND EXISTS (SELECT 1 FROM drift_pictures WHERE block = b.id) ORDER BY id LIMIT ?",
        [ended.recipe, ended.part, start, PICTURES],
    ).fetchall()
    after = db.execute(
        "SELECT id FROM drift_blocks WHERE recipe = ? AND part = ? AND id > ? AND id <= ? "
        "ORDER BY id DESC LIMIT ?",
        [ended.recipe, ended.part, start, number, PICTURES],
    ).fetchall()[::-1]
    blocks = [row[0] for row in before], [row[0] for row in after]
    db.execute(
        "INSERT INTO drift_alarms (wall_ns, monotonic_ns, boot_id, clock_ok, recipe, part, "
        "model_id, kind, moved, block, before, after) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            *stamp(), ended.recipe, ended.part, ended.model_id, kind, json.dumps(moved), number,
            json.dumps(blocks[0]), json.dumps(blocks[1]),
        ],
    )  # fmt: skip
    return alarms(db, [ended.recipe], limit=1)[0]


def _grow(db: Database, ended: EndedBlock, start: int, settings: Drift) -> None:
    """Take the block that is `LAG` older into the references that are not full yet."""
    for column, of_model in (("frames_reference", None), ("scores_reference", ended.model_id)):
        if of_model == "":
            continue
        where = "recipe = :recipe AND part = :part AND id > :start AND (:model IS NULL OR "
        where += "model_id = :model)"
        values = {"recipe": ended.recipe, "part": ended.part, "start": start, "model": of_model}
        known, newest = db.execute(
            f"SELECT count(*), coalesce(max(id), 0) FROM drift_blocks WHERE {where} AND {column}",  # noqa: S608
            values,
        ).fetchone()
        if known >= settings.reference_blocks:
            continue
        waiting = db.execute(
            f"SELECT id FROM drift_blocks WHERE {where} AND id > :newest "  # noqa: S608
            "ORDER BY id DESC LIMIT :lag",
            values | {"newest": newest, "lag": LAG + 1},
        ).fetchall()
        if len(waiting) > LAG:
            db.execute(
                f"UPDATE drift_blocks SET {column} = 1 WHERE id = ?",  # noqa: S608
                [waiting[-1][0]],
            )


def _forget_pictures(db: Database, ended: EndedBlock, start: int) -> None:
    """Keep pictures of the first reference blocks, of alarms and of the latest blocks only."""
    old = db.execute(
        "SELECT id FROM drift_blocks WHERE recipe = ? AND part = ? "
        "ORDER BY id DESC LIMIT 1 OFFSET ?",
        [ended.recipe, ended.part, LAG + 1],
    ).fetchone()
    if old is None:
        return
    first: set[int] = set()
    for column, model in (("frames_reference", None), ("scores_reference", ended.model_id)):
        first |= {
            row[0]
            for row in db.execute(
                f"SELECT id FROM drift_blocks WHERE recipe = ? AND part = ? AND id > ? "  # noqa: S608
                f"AND {column} AND (?4 IS NULL OR model_id = ?4) ORDER BY id LIMIT ?5",
                [ended.recipe, ended.part, start, model, PICTURES],
            )
        }
    shown = {
        block
        for before, after in db.execute("SELECT before, after FROM drift_alarms")
        for block in [*json.loads(before), *json.loads(after)]
    }
    rows = db.execute(
        "SELECT DISTINCT p.block FROM drift_pictures p JOIN drift_blocks b ON b.id = p.block "
        "WHERE b.recipe = ? AND b.part = ? AND b.id <= ?",
        [ended.recipe, ended.part, old[0]],
    ).fetchall()
    for (block,) in rows:
        if block not in first and block not in shown:
            db.execute("DELETE FROM drift_pictures WHERE block = ?", [block])


def _start(db: Database, recipe: str, part: str) -> int:
    """The block that the reference of a part comes after."""
    row = db.execute(
        "SELECT max(block) FROM drift_resets WHERE recipe = ? AND (part IS NULL OR part = ?)",
        [recipe, part],
    ).fetchone()
    return int(row[0] or 0)


def _sparse(scores: Ints) -> list[list[list[int]]]:
    return [[[int(i), int(row[i])] for i in np.flatnonzero(row)] for row in scores]


def _dense(text: str, classes: int) -> Ints:
    """Scores of a block, int64 [C, BINS]; of another number of classes: nothing."""
    scores = np.zeros((classes, BINS), np.int64)
    for row, pairs in zip(scores, json.loads(text), strict=False):
        for i, patches in pairs:
            row[i] = patches
    return scores


# --- what people see and do -----------------------------------------------------------------


def alarms(
    db: Database,
    recipes: Collection[str],
    *,
    lasting: bool = False,
    limit: int = 100,
    since_ns: int = 0,
) -> list[Alarm]:
    """The alarms of these recipes, the latest first; `lasting`: only those that have not ended."""
    rows = db.execute(
        "SELECT id, wall_ns, recipe, part, model_id, kind, moved, before, after, ended_ns "
        "FROM drift_alarms WHERE recipe IN (SELECT value FROM json_each(?)) "
        "AND (NOT ? OR ended_ns IS NULL) AND wall_ns >= ? ORDER BY id DESC LIMIT ?",
        [json.dumps(list(recipes)), lasting, since_ns, limit],
    )
    return [
        Alarm(
            number, wall_ns, recipe, part, model, kind, [Moved(*one) for one in json.loads(moved)],
            json.loads(before), json.loads(after), ended_ns,
        )
        for number, wall_ns, recipe, part, model, kind, moved, before, after, ended_ns in rows
    ]  # fmt: skip


def reset(db: Database, recipe: str, part: str | None, who: str) -> None:
    """What comes from now on is how it should be; of a part, or of all. Ends its alarms."""
    with db.atomic():
        last = db.execute("SELECT coalesce(max(id), 0) FROM drift_blocks").fetchone()[0]
        db.execute(
            "INSERT INTO drift_resets (wall_ns, monotonic_ns, boot_id, clock_ok, recipe, part, "
            "block, who) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [*stamp(), recipe, part, last, who],
        )
        for alarm in alarms(db, [recipe], lasting=True):
            if part in {None, alarm.part}:
                _end(db, alarm.id)
        add_action(db, who, "reset drift", "every part" if part is None else part or "-")


def picture(db: Database, block: int, kind: str) -> bytes | None:
    """The JPEG of a block that shows an alarm of this kind; None: it is not kept."""
    row = db.execute(
        "SELECT jpeg FROM drift_pictures WHERE block = ? ORDER BY what != ? LIMIT 1",
        [block, "odd" if kind == NEW_SURFACE else "usual"],
    ).fetchone()
    return None if row is None else row[0]


class Progress(NamedTuple):
    """How far the reference of a part is."""

    part: str
    blocks: int
    """Since the last reset."""
    frames_reference: int
    scores_reference: int
    """Of the model in use."""


def progress(db: Database, recipe: str, model_id: str) -> list[Progress]:
    """The references of every part seen."""
    parts = db.execute(
        "SELECT part FROM drift_blocks WHERE recipe = ? GROUP BY part ORDER BY part", [recipe]
    ).fetchall()
    found = []
    for (part,) in parts:
        row = db.execute(
            "SELECT count(*), total(frames_reference), "
            "total(scores_reference AND model_id = ?) FROM drift_blocks "
            "WHERE recipe = ? AND part = ? AND id > ?",
            [model_id, recipe, part, _start(db, recipe, part)],
        ).fetchone()
        found.append(Progress(part, row[0], int(row[1]), int(row[2])))
    return found


KIND_WORDS = {
    "light": "the light has changed",
    "lens": "the pictures are less sharp: lens or focus",
    "material": "the material looks different",
    "new surface": "a new kind of surface",
}


def say(alarm: Alarm) -> str:
    """An alarm in one line, for the log and the command."""
    part = f" (part {alarm.part})" if alarm.part else ""
    return f"{KIND_WORDS[alarm.kind]}{part}: {'; '.join(say_moved(one) for one in alarm.moved)}"


def say_moved(one: Moved) -> str:
    """What moved, in words."""
    more = one.after > one.before
    change = f"{abs(one.after / one.before - 1):.0%}" if one.before else ""
    name = one.class_name or ""
    words = {
        LIGHT: f"{change} {'brighter' if more else 'darker'}, grey value "
        f"{one.before:.0f} to {one.after:.0f}",
        CONTRAST: f"{change} {'more' if more else 'less'} contrast",
        SHARPNESS: f"{change} {'sharper' if more else 'softer'}",
        UNUSUAL_SHARE: f"{one.after:.1%} of the patches look unusual, before {one.before:.1%}",
        SCORE: f"what is called {name} looks less usual",
        MIX: f"{one.after:.0%} are called {name}, before {one.before:.0%}",
    }
    return words[one.what]


def alarm_object(alarm: Alarm) -> dict[str, Any]:
    """An alarm, ready for JSON."""
    return {
        "id": alarm.id,
        "wall_ns": alarm.wall_ns,
        "recipe": alarm.recipe,
        "part": alarm.part,
        "model": alarm.model_id or None,
        "kind": alarm.kind,
        "moved": [one._asdict() for one in alarm.moved],
        "ended_ns": alarm.ended_ns,
        "text": say(alarm),
    }
