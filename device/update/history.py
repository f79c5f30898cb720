"""The models of a device, as its store remembers them."""

from typing import NamedTuple

from sqlite_utils import Database

from config.errors import UserError
from device.judging.model import ModelMetadata, Variant
from device.models.models_in_use import in_force, why_refused
from device.models.race import last_race
from device.update.probation import Probation, running_probations


class Use(NamedTuple):
    """When a model came into use, and why."""

    wall_ns: int
    reason: str
    recipe: str
    """'' for that of the settings file, else its name."""


class StoredModel(NamedTuple):
    """A model that was in use, or is."""

    id: str
    wall_ns: int
    """When it first came."""
    metadata: ModelMetadata
    size: int
    """Bytes of its file."""
    latency_ms: float | None
    """Of one patch on this device, in milliseconds, in the form that judges."""
    race: tuple[Variant, str] | None
    """The form that judges here, and why; None: from before there were two."""
    uses: list[Use]
    """Every time it came into use, the first one first."""
    in_use: bool
    """By any recipe."""
    probation: Probation | None
    """Where it is on probation."""
    refused: str | None
    """Why it is not taken from the exchange again for its recipe; None: it may be."""

    @property
    def recipe(self) -> str:
        """The recipe it came into use for last: '' for that of the settings file, else its name."""
        return self.uses[-1].recipe if self.uses else ""


def count_models(db: Database) -> int:
    """How many models there are."""
    return int(db.execute("SELECT count(*) FROM models").fetchone()[0])


def models(db: Database, limit: int = -1, start: int = 0) -> list[StoredModel]:
    """The models, the one that came last first; a limit of -1 is none."""
    rows = db.execute(
        "SELECT id FROM models ORDER BY rowid DESC LIMIT ? OFFSET ?", [limit, start]
    ).fetchall()
    return [find_model(db, row[0]) for row in rows]


def find_model(db: Database, beginning: str) -> StoredModel:
    """The one model whose id begins so.

    Raises:
        UserError: there is none, or more than one.
    """
    rows = db.execute(
        "SELECT id, wall_ns, metadata, size, latency_ms FROM models "
        "WHERE id >= ?1 AND substr(id, 1, length(?1)) = ?1 ORDER BY id LIMIT 2",
        [beginning],
    ).fetchall()
    if len(rows) != 1:
        what = "no model" if not rows else "more than one model"
        raise UserError(f"{beginning}: {what} of this device; `millsight device models` lists")
    model_id, wall_ns, metadata, size, latency_ms = rows[0]
    came = db.execute(
        "SELECT wall_ns, reason, recipe FROM activations WHERE model_id = ? ORDER BY id",
        [model_id],
    )
    uses = [Use(*row) for row in came]
    recipes = dict.fromkeys(use.recipe for use in reversed(uses))
    probations = [p for p in running_probations(db) if p.model_id == model_id]
    reasons = [why_refused(db, model_id, recipe) for recipe in recipes or [""]]
    return StoredModel(
        model_id,
        wall_ns,
        ModelMetadata.model_validate_json(metadata),
        size,
        latency_ms,
        last_race(db, model_id),
        uses,
        any(model_id == in_force(db, recipe).model_id for recipe in recipes),
        probations[0] if probations else None,
        next((reason for reason in reasons if reason), None),
    )


def predecessor(db: Database, model: StoredModel) -> StoredModel | None:
    """Its parent, or else the model that it took the place of; None: it was the first."""
    parent = model.metadata.parent
    known = db.execute("SELECT id FROM models WHERE id = ?", [parent]).fetchone()
    row = (
        known
        or db.execute(
            """
        SELECT model_id FROM activations WHERE model_id != ?1 AND recipe = ?2
            AND id < (SELECT min(id) FROM activations WHERE model_id = ?1)
        ORDER BY id DESC LIMIT 1
        """,
            [model.id, model.recipe],
        ).fetchone()
    )
    return None if row is None or row[0] == model.id else find_model(db, row[0])
