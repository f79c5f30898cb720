"""What is kept how long: the least useful pictures go where room or time runs out.

The order, also in docs/disk.md: near-identical copies; what nobody is asked about any more, by
rising KLS; random draws that nobody is asked about any more; pictures of answers that the trainer
has acknowledged, the oldest first, and then these answers; questions that wait, the least useful
first. An answer that is not acknowledged never goes, nor does its picture.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from sqlite_utils import Database

from config.recipes import load_recipes
from config.settings import KeepRule, Settings
from device.exchange.may_go import MAY_GO
from device.store.answers import waiting
from device.store.answers_log import PATCH, logged_answers, trim_log
from device.store.database import exclusive
from device.store.pictures import remove_frame_without_flags
from device.system.clock import stamp
from device.system.disk import MB, free_bytes

BATCH = 100
"""Patches removed in one transaction: the inspection wants to write too."""
GIVE_AT_ONCE = 500
"""Free pages given back in one transaction."""
LOOK_AT = 2000
"""Patches looked for at once."""
YOUNG_LABELS = 1000
"""The last answers keep their pictures: they may be taken back, or asked again of somebody else."""
SOME_MORE = 0.1
"""Share of the budget or floor that is freed beyond it, so that not every picture removes one."""

MAY_EMPTY = f"id = ? AND png != x'' AND {MAY_GO}"
FREE = """
    NOT EXISTS (SELECT 1 FROM labels WHERE patch_id = f.patch_id)
    AND NOT EXISTS (SELECT 1 FROM claims WHERE patch_id = f.patch_id)
"""
"""Condition on a flag `f`: its patch has no answer, and nobody is being asked about it."""


NEWEST_FLAGGED = "(SELECT patch_id FROM flags ORDER BY id DESC LIMIT 1)"
"""A patch that stays: the number of its flag would come again, and a new flag be taken for one that
was sent."""


class Removed(NamedTuple):
    """What went."""

    unlabelled: int = 0
    """Patches without an answer, whole."""
    labelled: int = 0
    """Pictures of patches whose answers the trainer has; the answers stay."""
    answers: int = 0
    """Patches without a picture, with the answers that the trainer has."""

    def __add__(self, other: object) -> "Removed":
        assert isinstance(other, Removed)
        return Removed(*map(sum, zip(self, other, strict=True)))

    @property
    def pictures(self) -> int:
        """How many pictures went."""
        return self.unlabelled + self.labelled


@dataclass(frozen=True, slots=True)
class Scope:
    """Which flags are meant."""

    recipe: str = ""
    reason: str = ""
    before_ns: int = 0
    """Of frames before this wall clock; 0: of any."""
    questions: bool = False
    """Questions that wait, too."""

    @property
    def condition(self) -> str:
        """Condition on a flag `f`, with the named parameters of `values`."""
        found = ["1"]
        if self.reason:
            found.append("f.reason = :reason")
            # What was kept for another reason too is bounded by that one.
            found.append(
                "NOT EXISTS (SELECT 1 FROM flags o "
                "WHERE o.patch_id = f.patch_id AND o.reason != :reason)"
            )
        if self.recipe or self.before_ns:
            found.append(
                "EXISTS (SELECT 1 FROM frames r WHERE r.id = f.frame_id "
                "AND (:recipe = '' OR r.recipe = :recipe) "
                "AND (:before = 0 OR (r.clock_ok AND r.wall_ns < :before)))"
            )
        return " AND ".join(found)

    @property
    def values(self) -> dict[str, object]:
        """Parameters of the condition."""
        return {"recipe": self.recipe, "reason": self.reason, "before": self.before_ns}


def used_bytes(db: Database) -> int:
    """What the store holds, without the pages that are free inside of its file."""
    return (_pragma(db, "page_count") - _pragma(db, "freelist_count")) * _pragma(db, "page_size")


def keep_in_bounds(db: Database, settings: Settings, *, ages: bool) -> Removed:
    """Remove what is over the bounds of `[keeping]`; what went.

    `ages` is False while the clock cannot be believed: then nothing goes for its age. The floor
    counts free pages in the file as free: whoever calls gives them back (`give_back`).
    """
    keeping, removed = settings.keeping, Removed()
    for rule in keeping.rules:
        removed += _keep_rule(db, settings, rule, ages=ages)
    budget = keeping.budget_mb * MB
    if used_bytes(db) > budget:
        goal = budget * (1 - SOME_MORE)
        removed += make_room(db, settings, lambda: used_bytes(db) <= goal)
    floor = keeping.floor_mb * MB
    if _free_with_pages(db, settings) < floor * (1 + SOME_MORE / 2):
        goal = floor * (1 + SOME_MORE)
        removed += make_room(db, settings, lambda: _free_with_pages(db, settings) >= goal)
    return removed


def make_room(db: Database, settings: Settings, enough: Callable[[], bool]) -> Removed:
    """Remove what there is, in its order, until it is enough or nothing more may go."""
    removed = shrink(db, settings, Scope(), enough)
    removed += forget_answers(db, settings, enough)
    return removed + shrink(db, settings, Scope(questions=True), enough)


def give_back(db: Database, settings: Settings) -> int:
    """Give free pages of the file back to the disk: what it has over the budget, or, where the
    disk is short of room, all; bytes. What is free within the budget is used again.
    """
    size, pages = _pragma(db, "page_size"), _pragma(db, "page_count")
    short = free_bytes(settings.device.data) < settings.keeping.floor_mb * MB * (1 + SOME_MORE)
    goal = 0 if short else settings.keeping.budget_mb * MB // size
    over = min(_pragma(db, "freelist_count"), pages - goal)
    for left in range(over, 0, -GIVE_AT_ONCE):
        # `execute` would step once, and give back one page.
        db.conn.executescript(f"PRAGMA incremental_vacuum({min(GIVE_AT_ONCE, left)})")
    return max(0, pages - _pragma(db, "page_count")) * size


def shrink(db: Database, settings: Settings, scope: Scope, enough: Callable[[], bool]) -> Removed:
    """Remove pictures in a scope, in their order, until it is enough or nothing more may go."""
    removed = Removed()
    while not enough():
        found = _candidates(db, settings, scope)
        went = Removed()
        while (batch := list(islice(found, BATCH))) and not enough():
            went += remove(db, batch)
        removed += went
        if not went.pictures:
            break
    return removed


def remove(db: Database, patch_ids: Sequence[str]) -> Removed:
    """Remove patches without an answer, and the pictures of those whose answers are acknowledged.

    One transaction. A patch that got an answer or a claim meanwhile is passed over.
    """
    unlabelled = labelled = 0
    frames: set[str] = set()
    with exclusive(db):
        newest = db.execute(f"SELECT {NEWEST_FLAGGED}").fetchone()[0]
        for patch_id in patch_ids:
            its_frames = [
                row[0]
                for row in db.execute("SELECT frame_id FROM flags WHERE patch_id = ?", [patch_id])
            ]
            if db.execute("SELECT 1 FROM labels WHERE patch_id = ?", [patch_id]).fetchone():
                if not _remove_picture(db, patch_id):
                    continue
                labelled += 1
            elif (
                patch_id == newest
                or db.execute("SELECT 1 FROM claims WHERE patch_id = ?", [patch_id]).fetchone()
            ):
                continue
            else:
                _remove_patch(db, patch_id)
                unlabelled += 1
            frames.update(its_frames)
        for frame_id in sorted(frames):
            _tidy_frame(db, frame_id)
    return Removed(unlabelled, labelled)


def forget_answers(db: Database, settings: Settings, enough: Callable[[], bool]) -> Removed:
    """Remove the oldest answers that the trainer has and whose pictures have gone."""
    removed, folder = Removed(), settings.device.data
    while not enough():
        with exclusive(db):
            # What the log still had of them would be taken for lost.
            trim_log(db, folder, settings.keeping.rows_days, at_once=True)
            logged = {row[PATCH] for row in logged_answers(folder)}
            rows = db.execute(
                f"SELECT p.id FROM patches p JOIN pictures_gone g ON g.patch_id = p.id "  # noqa: S608
                f"WHERE p.png = x'' AND NOT {_is_young()} AND {MAY_GO} "
                f"AND p.id IS NOT {NEWEST_FLAGGED} ORDER BY p.rowid LIMIT {BATCH}"
            ).fetchall()
            gone = [patch_id for (patch_id,) in rows if patch_id not in logged]
            for patch_id in gone:
                remove_answered(db, patch_id)
        removed += Removed(answers=len(gone))
        if not gone:
            break
    return removed


def _is_young() -> str:
    """Condition on a patch `p`: one of its answers is among the last ones."""
    return (
        "EXISTS (SELECT 1 FROM labels WHERE patch_id = p.id AND rowid > "  # noqa: S608
        f"(SELECT coalesce(max(rowid), 0) FROM labels) - {YOUNG_LABELS})"
    )


def _keep_rule(db: Database, settings: Settings, rule: KeepRule, *, ages: bool) -> Removed:
    removed = Removed()
    if rule.days and ages:
        before = stamp().wall_ns - rule.days * 86_400 * 10**9
        scope = Scope(rule.recipe, rule.reason, before)
        removed += shrink(db, settings, scope, lambda: False)
    if rule.mb:
        scope = Scope(rule.recipe, rule.reason)
        over = _scope_bytes(db, scope) - rule.mb * MB
        if over > 0:
            goal = used_bytes(db) - over - rule.mb * MB * SOME_MORE
            removed += shrink(db, settings, scope, lambda: used_bytes(db) <= goal)
    return removed


def _scope_bytes(db: Database, scope: Scope) -> int:
    """What the pictures in a scope take; a picture with several flags counts once for each."""
    row = db.execute(
        f"SELECT total(length(p.png) + coalesce(length(r.jpeg), 0)) FROM flags f "  # noqa: S608
        f"JOIN patches p ON p.id = f.patch_id JOIN frames r ON r.id = f.frame_id "
        f"WHERE {scope.condition}",
        scope.values,
    ).fetchone()
    return int(row[0])


def _candidates(db: Database, settings: Settings, scope: Scope) -> Iterator[str]:
    """Ids of patches that may go, in their order; a few thousand of each kind."""
    waits = [question.patch_id for question in waiting(db, load_recipes(settings).quotas)]
    asked = set(waits)
    for kind, order in (
        ("f.alike IS NOT NULL", "f.id"),
        ("f.reason IN ('uncertain', 'defect')", "f.score, f.id"),
        ("f.reason IN ('audit', 'cold-start')", "f.cycle, f.score, f.id"),
    ):
        rows = db.execute(
            f"SELECT f.patch_id FROM flags f WHERE {kind} AND {scope.condition} AND {FREE} "  # noqa: S608
            f"AND f.patch_id NOT IN (SELECT value FROM json_each(:asked)) "
            f"ORDER BY {order} LIMIT {LOOK_AT}",
            scope.values | {"asked": json.dumps(waits)},
        ).fetchall()
        yield from dict.fromkeys(row[0] for row in rows)
    rows = db.execute(
        f"""
        SELECT p.id FROM patches p
        WHERE (p.id NOT IN (SELECT patch_id FROM pictures_gone) OR p.png != x'')
            AND EXISTS (SELECT 1 FROM flags f WHERE f.patch_id = p.id AND {scope.condition})
            AND NOT {_is_young()} AND {MAY_GO}
        ORDER BY p.rowid LIMIT {LOOK_AT}
        """,  # noqa: S608 - our own words
        scope.values,
    ).fetchall()
    yield from (row[0] for row in rows if row[0] not in asked)
    if scope.questions:
        yield from reversed(waits)


def _remove_patch(db: Database, patch_id: str) -> None:
    db.execute("DELETE FROM flags WHERE patch_id = ?", [patch_id])
    db.execute("UPDATE flags SET alike = NULL WHERE alike = ?", [patch_id])
    db.execute("DELETE FROM skips WHERE patch_id = ?", [patch_id])
    db.execute("DELETE FROM patches WHERE id = ?", [patch_id])


def remove_answered(db: Database, patch_id: str) -> None:
    """Remove a patch without a picture, and all that is known of it."""
    labels = "(SELECT id FROM labels WHERE patch_id = ?)"
    frames = db.execute("SELECT frame_id FROM flags WHERE patch_id = ?", [patch_id]).fetchall()
    # An answer that was taken back is referred to by the one that took it back.
    taps = f"(SELECT id FROM answers WHERE label_id IN {labels})"  # noqa: S608
    for statement in (
        f"UPDATE answers SET undoes = NULL WHERE undoes IN {taps}",  # noqa: S608
        f"DELETE FROM answers WHERE label_id IN {labels}",  # noqa: S608
        f"DELETE FROM sent_labels WHERE label_id IN {labels}",  # noqa: S608
        f"DELETE FROM merged_labels WHERE label_id IN {labels}",  # noqa: S608 - of a trainer in one
        "DELETE FROM second_looks WHERE patch_id = ?",
        "DELETE FROM labels WHERE patch_id = ?",
        "DELETE FROM flags WHERE patch_id = ?",
        "UPDATE flags SET alike = NULL WHERE alike = ?",
        "DELETE FROM skips WHERE patch_id = ?",
        "DELETE FROM claims WHERE patch_id = ?",
        "DELETE FROM pictures_gone WHERE patch_id = ?",
        "DELETE FROM patches WHERE id = ?",
    ):
        db.execute(statement, [patch_id])
    for (frame_id,) in frames:
        remove_frame_without_flags(db, frame_id)


def _remove_picture(db: Database, patch_id: str) -> bool:
    """Empty the picture of an answered patch; False: it may not go."""
    changed = db.execute(
        f"UPDATE patches AS p SET png = x'', fingerprint = NULL WHERE {MAY_EMPTY}",  # noqa: S608
        [patch_id],
    ).rowcount
    if changed:
        db.execute(
            "INSERT OR IGNORE INTO pictures_gone VALUES (?, ?, ?, ?, ?)", [patch_id, *stamp()]
        )
    return bool(changed)


def _tidy_frame(db: Database, frame_id: str) -> None:
    """Remove a frame without flags, and the picture of one whose patches have none."""
    flagged, pictures = db.execute(
        "SELECT count(*), count(*) - count(g.patch_id) FROM flags f "
        "LEFT JOIN pictures_gone g ON g.patch_id = f.patch_id WHERE f.frame_id = ?",
        [frame_id],
    ).fetchone()
    if not flagged:
        db.execute("DELETE FROM frames WHERE id = ?", [frame_id])
    elif not pictures:
        db.execute("UPDATE frames SET jpeg = NULL WHERE id = ?", [frame_id])


def _free_with_pages(db: Database, settings: Settings) -> int:
    pages = _pragma(db, "freelist_count") * _pragma(db, "page_size")
    return free_bytes(settings.device.data) + pages


def _pragma(db: Database, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
