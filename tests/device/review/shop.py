"""A store as a shop floor leaves it: counters, scores, answers and repeats of the last shifts."""

import random
import time

from sqlite_utils import Database

from config.settings import Settings
from device.models.models_in_use import in_force
from device.reports.day import HOUR_NS, MINUTE_NS
from device.store.shifts import last_shifts
from device.store.trail import begin_lot
from device.system.clock import stamp

PART, LOT = "4711-B <b>", "L-2026-118"


def work_shifts(db: Database, settings: Settings, shifts: int = 7, seed: int = 1) -> None:
    """Fill the last shifts: frames by the minute, scores by the hour, and answers of two people.

    The first third of the flags is an audit, so that there is something to estimate from.
    """
    rng = random.Random(seed)
    now = time.time_ns()
    model = in_force(db).model_id
    classes = settings.recipe.classes
    begin_lot(db, PART, LOT, "Anna")
    with db.atomic():
        for before, shift in enumerate(last_shifts(settings.review.shifts, now, shifts)):
            middle = -9 if before else -8  # patches look more unusual than they did
            for minute in range(shift.begin_ns // MINUTE_NS, min(shift.end_ns, now) // MINUTE_NS):
                for verdict, name, mean in [
                    ("pass", "clean", 50), ("unsure", "scratch", 2), ("fail", classes[1], 2.5),
                    ("fail", classes[2], 1), ("fail", classes[3], 0.4), ("fault", "dark", 0.2),
                ]:  # fmt: skip
                    frames = int(rng.expovariate(1 / mean) if verdict != "pass" else mean)
                    if frames:
                        db.execute(
                            "INSERT OR IGNORE INTO counters VALUES (?, ?, 'r', ?, ?, ?, ?, ?)",
                            [minute, model or "", verdict, name, PART, LOT, frames],
                        )
            for hour in range(shift.begin_ns // HOUR_NS, min(shift.end_ns, now) // HOUR_NS + 1):
                for name in classes:
                    for number in range(-20, 9):
                        patches = int(300 * 2.7 ** (-(((number - middle) / 4) ** 2) / 2))
                        if patches:
                            db.execute(
                                "INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?, ?, ?)",
                                [hour, model, name, PART, number, patches],
                            )
        db.execute("UPDATE frames SET part = ?, lot = ?", [PART, LOT])
        db.execute(
            "UPDATE frames SET verdict = 'fail', verdict_class = 'scratch' WHERE sequence < 2"
        )
        db.execute(
            "INSERT OR IGNORE INTO flags (patch_id, frame_id, cycle, reason, predicted, score) "
            "SELECT f.patch_id, f.frame_id, f.cycle, 'defect', 'scratch', 0.1 FROM flags f "
            "JOIN frames r ON r.id = f.frame_id WHERE r.verdict = 'fail' GROUP BY r.id"
        )
        copies = db.execute("SELECT id FROM flags WHERE reason = 'uncertain' LIMIT 3").fetchall()
        db.execute(
            "UPDATE flags SET alike = (SELECT patch_id FROM flags WHERE id = ?) WHERE id IN (?, ?)",
            [copies[0][0], copies[1][0], copies[2][0]],
        )
        flags = db.execute(
            "SELECT patch_id, predicted FROM flags WHERE reason = 'audit' AND alike IS NULL "
            "ORDER BY id"
        ).fetchall()
        for i, (patch, predicted) in enumerate(flags):
            answer = predicted if rng.random() < 0.85 else classes[i % len(classes)]
            for repeat in (0, 1):
                db.execute(
                    "INSERT INTO labels VALUES (?, ?, 'class', ?, ?, ?, ?, ?, ?, ?)",
                    [
                        f"{i}-{repeat}", patch,
                        answer if rng.random() < 0.9 else classes[0],
                        settings.review.operators[repeat], *stamp(), repeat,
                    ],
                )  # fmt: skip
