"""A store with much work behind it, as months of inspection leave it.

Written straight into its tables, for the loop itself would take an hour. Pictures are blank and
small: what is asked of the tables never reads them, and each is large enough to take the room in
its row that a real one takes (the rest of a real one lies on pages of its own).
"""

import hashlib
import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from config.settings import Settings
from device.judging.kls import LEAST_BIN, MOST_BIN
from device.models.activation import activate
from device.models.models_in_use import in_force
from device.reports.day import HOUR_NS, MINUTE_NS
from device.store.cycles import start_cycle
from device.store.database import open_store
from device.store.trail import begin_lot

FORM = 1
"""To be counted up where what is written here changes: stores made before are made anew."""
LASTS_S = 7 * 86400
"""A store older than this is made anew, for then its last days lie too far back."""
LOTS, PARTS = 500, 20
PICTURE_BYTES = 600
IN_A_DAY = 1000
"""Patches kept per day: as many are in the present cycle."""
DAY_NS = 24 * HOUR_NS
AT_ONCE = 100_000
"""Rows in a transaction: each writes most pages of the tables' indexes anew."""


class Months(NamedTuple):
    """A filled store."""

    folder: Path
    now_ns: int
    """The moment that its last row is from."""


def filled(cache: Path, settings: Settings, model_file: Path, patches: int) -> Months:
    """A store of so many patches with `IN_A_DAY` of them a day; kept in a folder for a week."""
    folder = cache / f"store-{patches}"
    mark = folder / "made"
    if not _is_fresh(mark):
        shutil.rmtree(folder, ignore_errors=True)
        device = settings.device.model_copy(update={"data": folder})
        now_ns = time.time_ns()
        db = open_store(folder)
        activate(db, model_file, settings.model_copy(update={"device": device}), "bench")
        days = range(-(-patches // IN_A_DAY))
        fill(db, settings, patches, IN_A_DAY, patches, now_ns=now_ns, cycles=len(days))
        db.close()
        mark.write_text(f"{FORM} {now_ns}")
    return Months(folder, int(mark.read_text().split()[1]))


def _is_fresh(mark: Path) -> bool:
    try:
        form, now_ns = map(int, mark.read_text().split())
    except (OSError, ValueError):
        return False
    return form == FORM and 0 <= time.time_ns() - now_ns < LASTS_S * 10**9


def fill(
    db: Database,
    settings: Settings,
    kept: int,
    asked: int,
    counters: int,
    *,
    now_ns: int,
    cycles: int = 2,
    in_a_day: int = IN_A_DAY,
    picture_bytes: int = PICTURE_BYTES,
) -> None:
    """Fill a store whose model is in use with the work before a moment.

    `kept` patches, so many a day, in so many cycles of which the last has the `asked` latest; one
    of ten a random draw, one of ten a defect, one of five answered but for the latest. `counters`
    rows of counters, one of six to a minute; scores of as many hours.
    """
    rng = random.Random(1)  # noqa: S311
    db.conn.execute("PRAGMA synchronous = OFF")
    db.conn.execute("PRAGMA cache_size = -400000")
    for lot in range(LOTS):
        begin_lot(db, *_lot(lot), "Anna")
    model = in_force(db).model_id or ""
    with db.atomic():
        rows = _counters(settings, model, counters, now_ns, rng)
        db.conn.executemany("INSERT OR IGNORE INTO counters VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        hours = _scores(settings, model, max(1, counters // 360), now_ns)
        db.conn.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?, ?, ?)", hours)
    older = kept - asked
    in_cycle = max(1, -(-older // max(1, cycles - 1)))
    begins = {*range(0, older, in_cycle), max(0, older)}
    step, cycle = DAY_NS // in_a_day, 0
    for first in range(0, kept, AT_ONCE):
        with db.atomic():
            for i in range(first, min(first + AT_ONCE, kept)):
                if i in begins:
                    start_cycle(db, "bench")
                    cycle = in_force(db).cycle
                age = kept - i
                work = Work(i, cycle, now_ns - age * step, _lot(LOTS * (age - 1) // kept))
                _keep(db, settings, model, work, rng, picture_bytes)
                if i % 10 < 2 and age > asked // 2:
                    _answer(db, settings, work)
    db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.conn.execute("PRAGMA optimize")  # as the clean-up does
    db.conn.execute("PRAGMA synchronous = FULL")


class Work(NamedTuple):
    """A patch that is kept."""

    number: int
    cycle: int
    wall_ns: int
    lot: tuple[str, str]
    """Part and lot."""

    @property
    def patch(self) -> str:
        """Its id."""
        return hashlib.sha256(f"p{self.number}".encode()).hexdigest()


def _lot(age: int) -> tuple[str, str]:
    """Part and lot; `age` 0 is the one in work."""
    return f"P{age % PARTS}", f"L{LOTS - 1 - age}"


def _counters(
    settings: Settings, model: str, count: int, now_ns: int, rng: random.Random
) -> Iterator[tuple[object, ...]]:
    classes, last = settings.recipe.classes, now_ns // MINUTE_NS
    verdicts = ("pass", "unsure", "fail", "fail", "fail", "fault")
    names = (classes[0], classes[1], *(classes[i % len(classes)] for i in (1, 2, 3)), "dark")
    for i in range(count):
        yield (
            last - i // 6, model, settings.recipe.name, verdicts[i % 6], names[i % 6],
            *_lot(LOTS * i // count), rng.randrange(1, 99),
        )  # fmt: skip


def _scores(
    settings: Settings, model: str, hours: int, now_ns: int
) -> Iterator[tuple[object, ...]]:
    for hour in range(hours):
        for name in settings.recipe.classes:
            for part in range(2):
                for number in range(LEAST_BIN, MOST_BIN + 1):
                    yield now_ns // HOUR_NS - hour, model, name, f"P{part}", number, 50


def _keep(
    db: Database,
    settings: Settings,
    model: str,
    work: Work,
    rng: random.Random,
    picture_bytes: int,
) -> None:
    i, classes = work.number, settings.recipe.classes
    predicted = classes[i % len(classes)]
    frame = hashlib.sha256(f"f{i}".encode()).hexdigest()
    verdict = "fail" if i % 3 == 0 else "unsure"
    reason = "audit" if i % 10 == 0 else "defect" if i % 10 == 5 else "uncertain"
    db.conn.execute(
        "INSERT INTO frames VALUES "
        "(?, 'box', ?, ?, 0, '', 1, '', 200, 200, ?, ?, ?, ?, NULL, ?, ?)",
        [frame, i, work.wall_ns, settings.recipe.name, model, verdict, predicted, *work.lot],
    )
    db.conn.execute(
        "INSERT INTO patches VALUES (?, 'box', 0, 0, 200, 200, zeroblob(?), NULL, NULL)",
        [work.patch, picture_bytes],
    )
    db.conn.execute(
        "INSERT INTO flags (patch_id, frame_id, cycle, reason, predicted, score, "
        "log_probabilities, draw_probability) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            work.patch, frame, work.cycle, reason, predicted, rng.random(),
            json.dumps([-1.5] * len(classes)), 0.002 if reason == "audit" else None,
        ],
    )  # fmt: skip


def _answer(db: Database, settings: Settings, work: Work) -> None:
    """An answer, one of seven not the predicted class; of one of a hundred a second one, blind."""
    i, classes = work.number, settings.recipe.classes
    said = classes[(i + (i % 7 == 0)) % len(classes)]
    for repeat, operator in enumerate(("Anna", "Bernd")[: 1 + (i % 100 == 0)]):
        db.conn.execute(
            "INSERT INTO labels VALUES (?, ?, 'class', ?, ?, ?, 0, '', 1, ?)",
            [f"{i}-{repeat}", work.patch, said, operator, work.wall_ns, repeat],
        )
