"""The last night, as the trainer's store tells it: what it trained, and whether that went out."""

import contextlib
import json
import sqlite3
from typing import NamedTuple

from config.settings import Settings
from device.store.database import STORE_FILE


class Criterion(NamedTuple):
    """One of the criteria that a new model had to meet."""

    name: str
    passed: bool
    found: str
    limit: str


class Night(NamedTuple):
    """What a night came to."""

    wall_ns: int
    model_id: str
    """What it trained."""
    published: bool
    labels: int
    """Labels it learnt from."""
    criteria: list[Criterion]

    @property
    def reasons(self) -> list[Criterion]:
        """The criteria that kept the model back."""
        return [criterion for criterion in self.criteria if not criterion.passed]


def last_night(settings: Settings) -> Night | None:
    """The last finished night of the recipe; None: there was none, or the trainer is elsewhere.

    Reads only: the store is the trainer's, and a night may be writing it.
    """
    path = settings.trainer.data / STORE_FILE
    if not path.is_file():
        return None
    address = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=0.2)) as db:
            row = db.execute(
                "SELECT wall_ns, model_id, published, labels, report FROM nights "
                "WHERE recipe = ? ORDER BY id DESC LIMIT 1",
                [settings.recipe.name],
            ).fetchone()
    except sqlite3.Error:  # no such table yet, or being written this very moment
        return None
    if row is None:
        return None
    wall_ns, model_id, published, labels, report = row
    try:
        said = json.loads(report).get("criteria", [])
        criteria = [Criterion(c["name"], c["passed"], c["found"], c["limit"]) for c in said]
    except (ValueError, KeyError, TypeError, AttributeError):  # of another edition of the trainer
        return None
    return Night(wall_ns, model_id, bool(published), labels, criteria)
