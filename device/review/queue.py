"""The queue of questions as several screens share it: leases, answers, undo, skip.

Plain functions over a `Database`. A holder is one open page. Each function is one transaction of
its own, or part of the one that is open: what it returned from is on the disk with the commit.
"""

from collections.abc import Collection
from typing import Literal

from sqlite_utils import Database

from device.store.answers import (
    UNDONE,
    Question,
    Quotas,
    add_answer,
    is_labelled,
    last_question,
    waiting,
)
from device.store.database import exclusive
from device.system.clock import Stamp, stamp

LEASE_S = 60.0
"""How long a question stays with a page that is not heard of, in seconds."""
SHARE_OF = 1000
"""Last answers of which the repeats are a share."""
REPEATS_FROM = 500
"""Last answers of which some are asked again of somebody else."""
UNDOABLE = 10
"""Answers of a page that can be taken back."""

Outcome = Literal["stored", "late"]
"""`late`: another page has, or has answered, the question; nothing was stored."""


def claim_next(
    db: Database,
    holder: str,
    quotas: Quotas,
    have: Collection[str] = (),
    waits: list[Question] | None = None,
) -> Question | None:
    """Lease the next question to a page for `LEASE_S`; None: nothing waits that is free.

    The most useful first, what this page skipped behind all others. `have` are patches
    the page shows already; a lease it has without knowing (the reply was lost) comes first.
    `waits` is what `waiting` returned in the same transaction, if it was asked already.
    """
    with exclusive(db):
        holders = _holders(db)
        skipped = _skipped(db, holder)
        free = [
            question
            for question in (waiting(db, quotas) if waits is None else waits)
            if question.patch_id not in have and holders.get(question.patch_id, holder) == holder
        ]
        if not free:
            return None
        chosen = min(free, key=lambda q: (q.patch_id not in holders, skipped.get(q.patch_id, 0)))
        _lease(db, chosen.patch_id, holder)
        return chosen


def claim_repeat(
    db: Database,
    holder: str,
    operator: str,
    share: float,
    recipes: Collection[str],
    have: Collection[str] = (),
) -> Question | None:
    """Lease an answered question again, to see whether operators agree; None: none is due.

    Blind: it looks like any other. Due while repeats are fewer than this share of the answers; it
    is asked of somebody else than the one who answered, and of one person only. `recipes` are the
    keys of those that there are.
    """
    with exclusive(db):
        holders = _holders(db)
        leased = db.execute(
            "SELECT patch_id FROM claims WHERE holder = ? AND repeat", [holder]
        ).fetchall()
        mine = [patch_id for (patch_id,) in leased if holders.get(patch_id) == holder]
        if lost := [patch_id for patch_id in mine if patch_id not in have]:
            return last_question(db, lost[0])
        given, repeats = db.execute(
            "SELECT total((1 - 2 * (answer = 'undone')) * (NOT repeat)), "
            "total((1 - 2 * (answer = 'undone')) * repeat) "
            "FROM (SELECT answer, repeat FROM labels ORDER BY rowid DESC LIMIT ?)",
            [SHARE_OF],
        ).fetchone()
        if repeats + len(mine) >= share * given:
            return None
        rows = db.execute(
            """
            SELECT l.patch_id FROM (
                SELECT rowid AS number, patch_id, answer, operator, repeat, id FROM labels
                ORDER BY rowid DESC LIMIT ?
            ) l WHERE l.answer IN ('class', 'can''t tell') AND l.operator != ? AND NOT l.repeat
                AND l.number = (SELECT max(rowid) FROM labels WHERE patch_id = l.patch_id)
                AND EXISTS (
                    SELECT 1 FROM flags WHERE patch_id = l.patch_id AND reason != 'defect')
                AND NOT EXISTS (SELECT 1 FROM second_looks WHERE label_id = l.id)
                AND NOT EXISTS (SELECT 1 FROM pictures_gone WHERE patch_id = l.patch_id)
            ORDER BY l.id
            """,
            [REPEATS_FROM, operator],
        )
        skipped = _skipped(db, holder)
        for (patch_id,) in rows:
            if patch_id in have or patch_id in holders or patch_id in skipped:
                continue
            question = last_question(db, patch_id)
            if question is not None and question.recipe in recipes:
                _lease(db, patch_id, holder, repeat=True)
                return question
        return None


def renew(db: Database, holder: str, patch_ids: Collection[str]) -> list[str]:
    """Prolong a page's leases; the patches that are still its own.

    A lease that ran out is given again, unless another page has the patch or it has an answer.
    """
    with exclusive(db):
        holders = _holders(db)
        kept = [
            patch_id
            for patch_id in patch_ids
            if holders.get(patch_id, holder) == holder
            and _is_known(db, patch_id)
            and (not is_labelled(db, patch_id) or _is_repeat(db, patch_id, holder))
        ]
        for patch_id in kept:
            _lease(db, patch_id, holder, repeat=_is_repeat(db, patch_id, holder))
        return kept


def answer(
    db: Database,
    answer_id: str,
    patch_id: str,
    holder: str,
    kind: str,
    class_name: str | None,
    operator: str,
) -> Outcome:
    """Store a tap; the same `answer_id` again is stored already.

    A tap is late if another page holds the question now, or the patch has an answer: the first
    one stands. A lease that ran out does no harm while nobody else took the question.

    Raises:
        UserError: no such patch.
    """
    with exclusive(db):
        if db.execute("SELECT 1 FROM answers WHERE id = ?", [answer_id]).fetchone():
            return "stored"
        repeat = _is_repeat(db, patch_id, holder)
        held_elsewhere = _holders(db).get(patch_id, holder) != holder
        if held_elsewhere or (is_labelled(db, patch_id) and not repeat):
            return "late"
        label_id = add_answer(db, patch_id, kind, class_name, operator, repeat=repeat)
        db.execute("INSERT INTO answers VALUES (?, ?, ?, NULL)", [answer_id, holder, label_id])
        _release(db, patch_id, holder)
    return "stored"


def skip(db: Database, skip_id: str, patch_id: str, holder: str) -> None:
    """Put a question behind all others of this page, and free it for other pages."""
    with exclusive(db):
        if _is_known(db, patch_id):
            db.execute("INSERT OR IGNORE INTO skips VALUES (?, ?, ?)", [skip_id, holder, patch_id])
            _release(db, patch_id, holder)


def undo(db: Database, undo_id: str, holder: str, operator: str) -> str | None:
    """Take back the last answer of a page: its patch waits again, leased to this page.

    Of the last ten answers. The same `undo_id` again takes back nothing more. None: there is
    nothing to take back.
    """
    with exclusive(db):
        done = db.execute(
            "SELECT l.patch_id FROM answers a JOIN labels l ON l.id = a.label_id WHERE a.id = ?",
            [undo_id],
        ).fetchone()
        if done:
            return str(done[0])
        found = _undoable(db, holder)
        if not found:
            return None
        answer_id, patch_id, repeat = found[0]
        label_id = add_answer(db, patch_id, UNDONE, None, operator, repeat=repeat)
        db.execute(
            "INSERT INTO answers VALUES (?, ?, ?, ?)", [undo_id, holder, label_id, answer_id]
        )
        db.execute("DELETE FROM claims WHERE patch_id = ?", [patch_id])
        _lease(db, patch_id, holder, repeat=repeat)
        return patch_id


def count_undoable(db: Database, holder: str) -> int:
    """How many answers this page can take back."""
    return len(_undoable(db, holder))


def new_names(db: Database, recipe: str = "", classes: Collection[str] = ()) -> list[str]:
    """The names that operators gave to something new under a recipe ('' or its name), the latest
    first, but for these classes."""
    rows = db.execute(
        # The words stand here, not a parameter, or the partial index would not be used.
        "SELECT l.class FROM labels l WHERE l.answer = 'something new' AND EXISTS ("
        "SELECT 1 FROM flags f LEFT JOIN cycles c ON c.id = f.cycle "
        "WHERE f.patch_id = l.patch_id AND coalesce(c.recipe, '') = ?) "
        "GROUP BY l.class ORDER BY max(l.rowid) DESC",
        [recipe],
    )
    return [row[0] for row in rows if row[0] not in classes]


def _undoable(db: Database, holder: str) -> list[tuple[str, str, bool]]:
    """(answer id, patch id, whether it was a repeat) of what a page can take back, latest first."""
    rows = db.execute(
        """
        SELECT a.id, l.patch_id, l.repeat FROM (
            SELECT rowid AS number, id, label_id FROM answers
            WHERE holder = ? AND undoes IS NULL ORDER BY rowid DESC LIMIT ?
        ) a JOIN labels l ON l.id = a.label_id
        WHERE l.rowid =
            (SELECT max(rowid) FROM labels WHERE patch_id = l.patch_id AND repeat = l.repeat)
        ORDER BY a.number DESC
        """,
        [holder, UNDOABLE],
    )
    return [(row[0], row[1], bool(row[2])) for row in rows]


def _holders(db: Database) -> dict[str, str]:
    """The holder of every leased patch."""
    now = stamp()
    rows = db.execute(
        "SELECT patch_id, holder FROM claims WHERE boot_id = ? AND expires_ns > ?",
        [now.boot_id, now.monotonic_ns],
    )
    return dict(rows.fetchall())


def _skipped(db: Database, holder: str) -> dict[str, int]:
    """When a page last skipped a patch, as a number that grows."""
    rows = db.execute(
        "SELECT patch_id, max(rowid) FROM skips WHERE holder = ? GROUP BY patch_id", [holder]
    )
    return dict(rows.fetchall())


def _lease(db: Database, patch_id: str, holder: str, *, repeat: bool = False) -> None:
    now: Stamp = stamp()
    expires = now.monotonic_ns + int(LEASE_S * 1e9)
    db.execute(
        "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?)",
        [patch_id, holder, expires, now.boot_id, int(repeat)],
    )


def _release(db: Database, patch_id: str, holder: str) -> None:
    db.execute("DELETE FROM claims WHERE patch_id = ? AND holder = ?", [patch_id, holder])


def _is_repeat(db: Database, patch_id: str, holder: str) -> bool:
    """Whether a page was given a patch as a repeat, also where the lease has run out."""
    row = db.execute(
        "SELECT 1 FROM claims WHERE patch_id = ? AND holder = ? AND repeat", [patch_id, holder]
    ).fetchone()
    return row is not None


def _is_known(db: Database, patch_id: str) -> bool:
    return db.execute("SELECT 1 FROM patches WHERE id = ?", [patch_id]).fetchone() is not None
