"""The figures of a shift, a part and a class, read from the store.

Plain functions over a `Database`. What a quality engineer must know of each figure stands in
docs/today.md.
"""

import math
from collections import Counter
from typing import NamedTuple

from sqlite_utils import Database

from device.judging.kls import LEAST_BIN, MOST_BIN, bin_edge
from device.reports.statistics import Agreement, Rating, agreement
from device.store.shifts import Shift

MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS
QUARTER = 15
"""Minutes."""
USUAL_HOURS = 48
"""How far before a shift the scores are taken that its own are held against: every shift twice."""
AGREEMENT_NS = 28 * 24 * HOUR_NS
"""How far back repeated questions count: people, and what they learnt, change."""


class Choice(NamedTuple):
    """What the figures are of; None: all."""

    shift: Shift
    part: str | None = None
    class_name: str | None = None

    def values(self) -> dict[str, int | str | None]:
        """The blanks of the statements below."""
        return {
            "begin": self.shift.begin_ns,
            "end": self.shift.end_ns,
            "part": self.part,
            "class": self.class_name,
        }


def verdicts(db: Database, choice: Choice) -> list[Counter[str]]:
    """Frames by verdict in every quarter of an hour of the shift."""
    first, last = (ns // MINUTE_NS for ns in choice.shift)
    quarters: list[Counter[str]] = [Counter() for _ in range(-(-(last - first) // QUARTER))]
    rows = db.execute(
        """
        SELECT (minute - :begin) / :quarter, verdict, sum(frames) FROM counters
        WHERE minute >= :begin AND minute < :end
            AND (:part IS NULL OR part = :part) AND (:class IS NULL OR class = :class)
        GROUP BY 1, 2
        """,
        choice.values() | {"begin": first, "end": last, "quarter": QUARTER},
    )
    for quarter, verdict, frames in rows:
        quarters[quarter][verdict] += frames
    return quarters


def defects(db: Database, choice: Choice) -> list[tuple[str, int]]:
    """(class, failed frames) of the shift, the most frequent first."""
    rows = db.execute(
        """
        SELECT class, sum(frames) FROM counters
        WHERE minute >= :begin AND minute < :end AND verdict = 'fail'
            AND (:part IS NULL OR part = :part) AND (:class IS NULL OR class = :class)
        GROUP BY class ORDER BY 2 DESC, class
        """,
        choice.values()
        | {"begin": choice.shift.begin_ns // MINUTE_NS, "end": choice.shift.end_ns // MINUTE_NS},
    )
    return [(row[0], row[1]) for row in rows]


class Asked(NamedTuple):
    """Of how many judged patches how many were asked about."""

    asked: int
    judged: int

    @property
    def share(self) -> float | None:
        """None: nothing was judged."""
        return self.asked / self.judged if self.judged else None


def asked(db: Database, choice: Choice) -> Asked:
    """Patches of the shift that a model judged, and those of them that were asked about.

    Both in whole hours, for scores are counted by the hour: from the hour in which the shift
    begins up to that in which it ends.
    """
    begin, end = (ns // HOUR_NS for ns in choice.shift)
    values = choice.values()
    judged = db.execute(
        """
        SELECT coalesce(sum(patches), 0) FROM scores WHERE hour >= :begin AND hour < :end
            AND (:part IS NULL OR part = :part) AND (:class IS NULL OR class = :class)
        """,
        values | {"begin": begin, "end": end},
    ).fetchone()[0]
    count = db.execute(
        """
        SELECT count(DISTINCT f.patch_id) FROM frames r CROSS JOIN flags f ON f.frame_id = r.id
        WHERE r.wall_ns >= :begin AND r.wall_ns < :end AND r.model_id IS NOT NULL
            AND f.reason IN ('uncertain', 'audit') AND f.alike IS NULL
            AND (:part IS NULL OR r.part = :part)
            AND (:class IS NULL OR f.predicted = :class)
        """,
        values | {"begin": begin * HOUR_NS, "end": end * HOUR_NS},
    ).fetchone()[0]
    return Asked(count, judged)


class ScoresOf(NamedTuple):
    """How the scores of patches predicted as one class are spread."""

    class_name: str
    bins: list[int]
    """Patches per bin, from `LEAST_BIN` to `MOST_BIN`."""
    threshold: float | None
    """Above it a patch is unsure; None: every patch is."""
    usual: list[int]
    """The same bins over the `USUAL_HOURS` before: what this model usually found."""

    @property
    def patches(self) -> int:
        """All of them."""
        return sum(self.bins)

    @property
    def share_over(self) -> float | None:
        """About which share is over the threshold; None: there is no patch."""
        return _share_over(self.bins, self.threshold)

    @property
    def usual_over(self) -> float | None:
        """The same of what was before."""
        return _share_over(self.usual, self.threshold)


def _share_over(bins: list[int], threshold: float | None) -> float | None:
    """Of the bin that holds the threshold the part above it counts, by the logarithm."""
    total = sum(bins)
    if not total:
        return None
    if threshold is None:
        return 1.0
    over = 0.0
    for number, patches in enumerate(bins, LEAST_BIN):
        low, high = bin_edge(number), bin_edge(number + 1)
        if threshold <= low:
            over += patches
        elif threshold < high:
            over += patches * math.log(high / threshold) / math.log(high / low)
    return over / total


def scores(db: Database, model_id: str, choice: Choice) -> list[ScoresOf]:
    """The scores of the shift's patches by a model, for each of its classes in their order.

    The shift counts in whole hours, as for `asked`.
    """
    thresholds = db.execute(
        "SELECT class, threshold FROM baselines WHERE model_id = ? "
        "AND (?2 IS NULL OR class = ?2) ORDER BY class_index",
        [model_id, choice.class_name],
    ).fetchall()
    begin, end = (ns // HOUR_NS for ns in choice.shift)

    def patches_of(first: int, last: int) -> dict[str, list[int]]:
        rows = db.execute(
            """
            SELECT class, bin, sum(patches) FROM scores
            WHERE hour >= :begin AND hour < :end AND model_id = :model
                AND (:part IS NULL OR part = :part)
            GROUP BY class, bin
            """,
            choice.values() | {"begin": first, "end": last, "model": model_id},
        )
        found = {name: [0] * (MOST_BIN - LEAST_BIN + 1) for name, _ in thresholds}
        for name, number, patches in rows:
            if name in found:
                found[name][number - LEAST_BIN] = patches
        return found

    now, usual = patches_of(begin, end), patches_of(begin - USUAL_HOURS, begin)
    return [ScoresOf(name, now[name], threshold, usual[name]) for name, threshold in thresholds]


def operators_agreement(db: Database, now_ns: int) -> Agreement:
    """How far people agree on the questions that were asked twice, blind, in the last 28 days.

    An answer that was taken back is left out; can't tell and something new, whatever its name,
    are categories like the classes.
    """
    rows = db.execute(
        """
        SELECT a.operator, CASE a.answer WHEN 'class' THEN 'class ' || a.class ELSE a.answer END,
            b.operator, CASE b.answer WHEN 'class' THEN 'class ' || b.class ELSE b.answer END
        FROM labels b JOIN labels a ON a.rowid =
            (SELECT max(rowid) FROM labels WHERE patch_id = b.patch_id AND NOT repeat)
        WHERE b.repeat = 1 AND b.wall_ns >= ? AND b.rowid =
            (SELECT max(rowid) FROM labels WHERE patch_id = b.patch_id AND repeat)
            AND a.answer != 'undone' AND b.answer != 'undone' AND a.operator != b.operator
        """,
        [now_ns - AGREEMENT_NS],
    )
    return agreement(
        [(Rating(who, said), Rating(other, others)) for who, said, other, others in rows]
    )


def parts(db: Database) -> list[str]:
    """Every part that was named when a lot began, the latest first."""
    rows = db.execute("SELECT part FROM lots WHERE part != '' GROUP BY part ORDER BY max(id) DESC")
    return [row[0] for row in rows]
