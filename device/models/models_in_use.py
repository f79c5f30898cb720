"""What models a device has, which one is in use, and which it never takes."""

import json
from typing import NamedTuple

from sqlite_utils import Database

from config.recipes import Under
from device.judging.model import Model
from device.store.cycles import start_cycle
from device.system.clock import stamp


def add_model(db: Database, model: Model, latency_ms: float | None = None) -> None:
    """Record a model and its baselines; recording it again changes nothing.

    `latency_ms` is the time of one patch on this device, in milliseconds.
    """
    metadata = model.metadata
    with db.atomic():
        db.execute(
            "INSERT OR IGNORE INTO models VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                model.id,
                model.size,
                metadata.model_dump_json(exclude_defaults=True),
                *stamp(),
                latency_ms,
            ],
        )
        for index, name in enumerate(metadata.classes):
            pdc = metadata.baselines[index]
            db.execute(
                "INSERT OR IGNORE INTO baselines VALUES (?, ?, ?, ?, ?, ?)",
                [
                    model.id,
                    index,
                    name,
                    metadata.baseline_counts[index],
                    None if pdc is None else json.dumps(pdc),
                    metadata.thresholds[index],
                ],
            )


def record_activation(db: Database, model_id: str, reason: str, recipe: str = "") -> None:
    """Make a recorded model the one in use; the cycle of questions begins anew with it.

    `recipe` is '' for that of the settings file, else its name.
    """
    with db.atomic():
        db.execute(
            "INSERT INTO activations (model_id, reason, recipe, wall_ns, monotonic_ns, boot_id, "
            "clock_ok) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [model_id, reason, recipe, *stamp()],
        )
        start_cycle(db, f"model {model_id[:12]}: {reason}", recipe)


class InForce(NamedTuple):
    """What the loop must follow."""

    activation: int
    """Number of the last activation, 0 before the first."""
    model_id: str | None
    cycle: int
    part: str
    """Number of the part in work; empty: none was named."""
    lot: str


def in_force(db: Database, recipe: str = "") -> InForce:
    """The model in use, the present cycle, and the lot in work.

    `recipe` is '' for that of the settings file, else its name. A recipe that was never in use
    has cycle 0.
    """
    row = db.execute(
        "SELECT a.id, a.model_id, c.id, l.part, l.lot "
        "FROM (SELECT max(id) AS id FROM cycles WHERE recipe = ?) c LEFT JOIN activations a "
        "ON a.id = (SELECT max(id) FROM activations WHERE recipe = ?) "
        "LEFT JOIN lots l ON l.id = (SELECT max(id) FROM lots)",
        [recipe, recipe],
    ).fetchone()
    return InForce(row[0] or 0, row[1], row[2] or 0, row[3] or "", row[4] or "")


def models_in_force(db: Database) -> dict[str, str]:
    """The model in use of every recipe that ever had one, by the recipe's key."""
    return dict(
        db.execute(
            "SELECT recipe, model_id FROM activations "
            "WHERE id IN (SELECT max(id) FROM activations GROUP BY recipe)"
        ).fetchall()
    )


def classes_in_use(db: Database, under: Under) -> list[str]:
    """The recipe's classes, and behind them those that its model in use has besides."""
    rows = db.execute(
        "SELECT class FROM baselines WHERE model_id = "
        "(SELECT model_id FROM activations WHERE recipe = ? ORDER BY id DESC LIMIT 1) "
        "ORDER BY class_index",
        [under.key],
    ).fetchall()
    known = under.settings.recipe.classes
    return [*known, *(name for (name,) in rows if name not in known)]


def refuse(db: Database, model_id: str, reason: str, recipe: str = "") -> None:
    """Never take this model for a recipe from the exchange again."""
    db.execute(
        "INSERT OR REPLACE INTO refused (model_id, recipe, reason, wall_ns, monotonic_ns, "
        "boot_id, clock_ok) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [model_id, recipe, reason, *stamp()],
    )


def why_refused(db: Database, model_id: str, recipe: str = "") -> str | None:
    """Why a model is not taken for a recipe; None: it may be."""
    row = db.execute(
        "SELECT reason FROM refused WHERE model_id = ? AND recipe = ?", [model_id, recipe]
    ).fetchone()
    return None if row is None else row[0]


class RefusedModel(NamedTuple):
    """A model that is not taken from the exchange."""

    model_id: str
    recipe: str
    """'' for that of the settings file, else its name."""
    reason: str


def refused_models(db: Database) -> list[RefusedModel]:
    """Every model that is not taken, the oldest first."""
    rows = db.execute("SELECT model_id, recipe, reason FROM refused ORDER BY rowid")
    return [RefusedModel(*row) for row in rows]
