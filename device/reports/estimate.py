"""How often a model is right, estimated from answers whose chance of being asked for is known.

What operators are asked about is no fair sample: most questions are asked because they are hard.
So the patches that a model judged are taken apart into two strata:

- the asked: the k highest scores of each predicted class and cycle that have an answer. Which ones
  they are follows from the scores alone, so their inclusion probability is 1 and what they show is
  counted, not estimated;
- the rest: of it only spot checks speak (`audit`), each drawn with a stored probability p. A check
  weighs 1 / (p · r), r being the share answered of the checks of its predicted class and cycle.

Accuracy is the mean of the two, weighted by their sizes (inverse-probability weighting with a
certainty stratum); the interval is that of the rest, moved and narrowed by the asked. Why so, what
it was measured to hold, and where it misleads stands in docs/accuracy.md.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlite_utils import Database

from device.reports.statistics import Interval, clopper_pearson
from device.store.answers import CANT_TELL, CLASS, SOMETHING_NEW

LEAST = 10
"""Answered spot checks under which no share is named, only its interval."""
LATEST = 2000
"""Spot checks looked at; where there were more, the asked are left out, for they are of longer."""
SEARCHED = 10_000
"""Spot checks among which those of a part, class or lot are looked for."""
MOST_ASKED = 5000
"""Questions among which the asked may have to be looked for; where there may be more, they are left
out, for then a page would wait for them."""
CYCLES = 60
"""Last cycles looked at: what is older hides a change."""
SMALL_CELL = 5
"""Answered spot checks under which the share of answers is pooled over cycles or classes."""
HOUR_NS = 3600 * 10**9


class Share(NamedTuple):
    """A share and its 95 % interval."""

    value: float | None
    """None: fewer than `LEAST` spot checks have an answer."""
    low: float
    high: float
    checks: int
    """Answered spot checks that it is estimated from."""
    asked: int
    """Answered questions of the certainty stratum that are counted in."""


class Accuracy(NamedTuple):
    """What is known of how often a model is right."""

    overall: Share
    precision: dict[str, Share]
    """Of what is predicted as a class, the share that is of it."""
    recall: dict[str, Share]
    """Of what is of a class, the share that is predicted so; from spot checks alone."""
    drawn: int
    """Spot checks drawn."""
    cant_tell: int
    """Of those, the ones that nobody could tell; they are left out."""
    waiting: int
    """Of those, the ones without an answer, or with one that was taken back."""
    judged: int
    """Patches that the model judged in the time looked at; estimated where not counted."""


class Answered(NamedTuple):
    """A patch that was asked about, and what was said."""

    cycle: int | str
    """Of the device, and on a trainer with its name."""
    patch: str
    predicted: str
    probability: float
    """Of being drawn; 1 for the asked."""
    answer: str | None
    """A kind of answer; None: there is none that stands."""
    true: str | None
    """The class that the answer gave."""

    @property
    def tells(self) -> bool:
        """Whether the answer says if the model was right."""
        return self.answer in {CLASS, SOMETHING_NEW}

    @property
    def right(self) -> bool:
        """Whether it was."""
        return self.answer == CLASS and self.true == self.predicted


def accuracy(
    db: Database,
    model_id: str,
    k: int,
    *,
    part: str | None = None,
    class_name: str | None = None,
    lot: str | None = None,
    many_devices: bool = False,
    per_class: bool = True,
) -> Accuracy:
    """Estimate how often a model was right, of a part, a predicted class, a lot; None: of all.

    `k` is `asking.k`. `many_devices`: the store is a trainer's. All spot checks are merged into it,
    but of other questions the answered ones only, so which of them were among the k highest cannot
    be told, and they are left out. Without `per_class` only the overall share is worked out.
    """
    first = 0 if many_devices else _first_cycle(db, model_id)
    drawn = _spot_checks(db, model_id, first, part, class_name, lot, many_devices)
    certain: list[Answered] = []
    judged: dict[str, int] = {}
    if len(drawn) < LATEST and not many_devices:
        certain = _asked(db, model_id, first, k, part, class_name, lot)
        judged = _judged(db, model_id, first, part, class_name) if lot is None else {}
    drawn_by: defaultdict[str, list[Answered]] = defaultdict(list)
    certain_by: defaultdict[str, list[Answered]] = defaultdict(list)
    for check in drawn:
        drawn_by[check.predicted].append(check)
    for one in certain:
        certain_by[one.predicted].append(one)
    overall, size = share_right(drawn, certain, sum(judged.values()))
    precision = {
        name: share_right(drawn_by[name], certain_by[name], judged.get(name, 0))[0]
        for name in sorted(judged.keys() | drawn_by.keys() | certain_by.keys())
        if per_class
    }
    names = {check.true for check in drawn if check.answer == CLASS and check.true is not None}
    recall = {
        name: weighted_share([c for c in drawn if c.answer in {CLASS, None} or c.tells], name)
        for name in sorted(names)
        if per_class and class_name is None
    }
    return Accuracy(
        overall,
        precision,
        recall,
        len(drawn),
        sum(check.answer == CANT_TELL for check in drawn),
        sum(check.answer is None for check in drawn),
        size,
    )


# --- the estimators ---------------------------------------------------------------------------


def share_right(
    drawn: Sequence[Answered], certain: Sequence[Answered], judged: int
) -> tuple[Share, int]:
    """The share of right verdicts, and the size of the population, from both strata.

    `drawn` are all spot checks, answered or not, `certain` the asked with an answer, `judged` how
    many patches there were, 0 where that is not known: then the draws say it (Σ 1/p).

    A = W·a + (1 - W)·b, where a is what the asked show, b the weighted share of the rest, and W
    the part of the asked among what people can tell. The interval of b is Korn and Graubard's
    (1998): Clopper and Pearson's at the effective number of checks, (Σw)² / Σw² (Kish).
    """
    in_certain = {(one.cycle, one.patch) for one in certain}
    rest = [check for check in drawn if (check.cycle, check.patch) not in in_certain]
    by_draws = sum(1 / check.probability for check in rest)
    size = max(judged, len(certain) + len(rest)) if judged else len(certain) + round(by_draws)
    told = [one for one in certain if one.tells]
    right = sum(one.right for one in told)
    weights = response_weights(rest)
    telling = [(w, check) for w, check in weights if check.tells]
    total = sum(w for w, _ in telling)
    answered = sum(w for w, _ in weights)
    bounds, value = _weighted([(w, check.right) for w, check in telling])
    can_tell = total / answered if answered else 1.0
    rest_size = max(size - len(certain), len(rest)) * can_tell
    if not told:
        share_certain = 0.0
    elif not rest_size:
        share_certain = 1.0
    else:
        share_certain = len(told) / (len(told) + rest_size)
    seen = right / len(told) if told else 0.0

    def mixed(of_rest: float) -> float:
        return share_certain * seen + (1 - share_certain) * of_rest

    enough = value is not None and len(telling) >= LEAST
    return (
        Share(
            mixed(value) if enough and value is not None else None,
            mixed(bounds.low),
            mixed(bounds.high),
            len(telling),
            len(told),
        ),
        size,
    )


def weighted_share(drawn: Sequence[Answered], true: str) -> Share:
    """Of what is truly of a class, the share predicted so, from spot checks alone.

    How many patches are truly of a class is not known, so the asked cannot be weighed against the
    rest; every check counts, also of what was asked anyway.
    """
    of_class = [
        (w, check)
        for w, check in response_weights(drawn)
        if check.answer == CLASS and check.true == true
    ]
    bounds, value = _weighted([(w, check.right) for w, check in of_class])
    return Share(value if len(of_class) >= LEAST else None, *bounds, len(of_class), 0)


def response_weights(drawn: Sequence[Answered]) -> list[tuple[float, Answered]]:
    """Each answered check with its weight, 1 / (probability · share answered of its cell).

    A cell is a predicted class of a cycle, for the queue asks the first check of every class, then
    the second of every class, each in the order of a random priority: which ones of a cell have an
    answer is chance, how many is not. Cells with few answers are pooled over the cycles, and what
    is still too small over the classes.
    """
    cells: defaultdict[tuple[int | str, str], list[Answered]] = defaultdict(list)
    for check in drawn:
        cells[check.cycle, check.predicted].append(check)
    of_class: defaultdict[str, list[Answered]] = defaultdict(list)
    whole: list[Answered] = []
    groups = []
    for (_, predicted), cell in cells.items():
        if _many_answers(cell):
            groups.append(cell)
        else:
            of_class[predicted] += cell
    for cell in of_class.values():
        if _many_answers(cell):
            groups.append(cell)
        else:
            whole += cell
    found = []
    for cell in [*groups, whole]:
        answered = [check for check in cell if check.answer is not None]
        if answered:
            share = sum(1 / c.probability for c in answered) / sum(1 / c.probability for c in cell)
            found += [(1 / (check.probability * share), check) for check in answered]
    return found


def _many_answers(cell: Sequence[Answered]) -> bool:
    return sum(check.answer is not None for check in cell) >= SMALL_CELL


def _weighted(found: Iterable[tuple[float, bool]]) -> tuple[Interval, float | None]:
    """The interval and the value of a weighted share; (weight, whether it is so) of each."""
    pairs = list(found)
    total = sum(w for w, _ in pairs)
    if not total:
        return Interval(0.0, 1.0), None
    effective = total**2 / sum(w * w for w, _ in pairs)
    # Exactly 0 or 1 where all are alike: rounding would open the wrong end of the interval.
    so = [yes for _, yes in pairs]
    value = float(all(so)) if all(so) or not any(so) else sum(w for w, y in pairs if y) / total
    return clopper_pearson(value * effective, effective), value


# --- what the store knows ---------------------------------------------------------------------


def _first_cycle(db: Database, model_id: str) -> int:
    """The first cycle looked at: not before the model first came, and not before the last 60."""
    return int(
        db.execute(
            "SELECT max(coalesce((SELECT min(id) FROM cycles WHERE reason LIKE ?), 0), "
            "coalesce((SELECT max(id) FROM cycles), 0) - ?)",
            [f"model {model_id[:12]}:%", CYCLES - 1],
        ).fetchone()[0]
    )


LAST_LABEL = "(SELECT max(rowid) FROM labels WHERE patch_id = {}.patch_id AND NOT repeat)"
OF_WHAT = "(:part IS NULL OR r.part = :part) AND (:lot IS NULL OR r.lot = :lot)"


def _spot_checks(
    db: Database,
    model_id: str,
    first: int,
    part: str | None,
    class_name: str | None,
    lot: str | None,
    many_devices: bool,
) -> list[Answered]:
    """The latest spot checks of a model, answered or not."""
    cycle = "r.device || ' ' || f.cycle" if many_devices else "f.cycle"
    row = db.execute(
        "SELECT id FROM flags INDEXED BY flags_audit WHERE reason = 'audit' AND cycle >= ? "
        "ORDER BY cycle DESC, id DESC LIMIT 1 OFFSET ?",
        [first, SEARCHED],
    ).fetchone()
    rows = db.execute(
        f"""
        SELECT {cycle}, f.patch_id, f.predicted, f.draw_probability, l.answer, l.class
        FROM flags f INDEXED BY flags_audit
        CROSS JOIN frames r INDEXED BY frames_facts ON r.id = f.frame_id
        LEFT JOIN labels l ON l.rowid = {LAST_LABEL.format("f")}
        WHERE f.reason = 'audit' AND f.cycle >= :first AND f.id >= :oldest
            AND f.draw_probability > 0 AND r.model_id = :model AND {OF_WHAT}
            AND (:class IS NULL OR f.predicted = :class)
        ORDER BY f.cycle DESC, f.id DESC LIMIT :latest
        """,  # noqa: S608 - our own words
        {
            "model": model_id,
            "first": first,
            "part": part,
            "class": class_name,
            "lot": lot,
            "latest": LATEST,
            "oldest": 0 if row is None else row[0],
        },
    )
    return [_answered(*row) for row in rows]


def _asked(
    db: Database,
    model_id: str,
    first: int,
    k: int,
    part: str | None,
    class_name: str | None,
    lot: str | None,
) -> list[Answered]:
    """The certainty stratum: the k highest scores of each class and cycle that have an answer.

    The rank is that among all parts. What was pushed out of the highest k later is left to the
    rest, even where it was answered: whether it was may hang on its having been drawn as well.
    """
    classes = [
        row[0]
        for row in db.execute("SELECT class FROM baselines WHERE model_id = ?", [model_id])
        if class_name in {None, row[0]}
    ]
    last = db.execute("SELECT max(id) FROM cycles").fetchone()[0] or 0
    if k * len(classes) * (last + 1 - first) > MOST_ASKED:
        return []
    found: list[Answered] = []
    for cycle in range(first, last + 1):
        for name in classes:
            rows = db.execute(
                f"""
                SELECT top.cycle, top.patch_id, top.predicted, 1.0, l.answer, l.class
                FROM (
                    SELECT cycle, patch_id, predicted, frame_id FROM flags INDEXED BY flags_cycle
                    WHERE cycle = :cycle AND reason = 'uncertain' AND predicted = :name
                        AND alike IS NULL
                    ORDER BY score DESC, id LIMIT :k
                ) top
                CROSS JOIN frames r INDEXED BY frames_facts ON r.id = top.frame_id
                JOIN labels l ON l.rowid = {LAST_LABEL.format("top")}
                WHERE r.model_id = :model AND {OF_WHAT} AND l.answer != 'undone'
                """,  # noqa: S608 - our own words
                {
                    "cycle": cycle,
                    "name": name,
                    "k": k,
                    "model": model_id,
                    "part": part,
                    "lot": lot,
                },
            )
            found += [_answered(*row) for row in rows]
    return found


def _answered(
    cycle: int | str,
    patch: str,
    predicted: str,
    probability: float,
    answer: str | None,
    true: str | None,
) -> Answered:
    stands = None if answer == "undone" else answer
    return Answered(cycle, patch, predicted, probability, stands, true if stands else None)


def _judged(
    db: Database, model_id: str, first: int, part: str | None, class_name: str | None
) -> dict[str, int]:
    """Patches by predicted class since a cycle began, in whole hours; empty: not counted."""
    row = db.execute("SELECT wall_ns FROM cycles WHERE id = ?", [first]).fetchone()
    return dict(
        db.execute(
            """
            SELECT class, sum(patches) FROM scores
            WHERE hour >= :begin AND model_id = :model AND (:part IS NULL OR part = :part)
                AND (:class IS NULL OR class = :class)
            GROUP BY class
            """,
            {
                "begin": row[0] // HOUR_NS if row else 0,
                "model": model_id,
                "part": part,
                "class": class_name,
            },
        ).fetchall()
    )
