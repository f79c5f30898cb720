"""The page of a night: every criterion, what changed class by class, and which labels look odd."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from sqlite_utils import Database

from config.settings import Settings
from device.kls import Ints
from device.model import ModelMetadata

if TYPE_CHECKING:
    from trainer.night import Night

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True
)
MOST_PICTURES = 40
"""Pictures of odd labels on a page, the oddest first."""


def report_page(
    db: Database,
    night: "Night",
    metadata: ModelMetadata,
    predictions: Sequence[Ints | None],
    labels: Ints,
    settings: Settings,
) -> str:
    """The report as one HTML file; `predictions` [N] are the champion's and the challenger's."""
    matrices = [
        (title, confusion(labels, predicted, len(metadata.classes)).tolist())
        for title, predicted in zip(("Model in use", "Tonight’s model"), predictions, strict=True)
        if predicted is not None and len(labels)
    ]
    odd = [(finding, picture(db, finding.patch_id)) for finding in night.findings[:MOST_PICTURES]]
    values: dict[str, Any] = {
        "night": night,
        "metadata": metadata,
        "recipe": settings.recipe.name,
        "matrices": matrices,
        "odd": odd,
    }
    return TEMPLATES.get_template("night.html").render(values)


def confusion(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """Patches by true class (rows) and judged class (columns), int64 [C, C]; −1 is left out."""
    known = predicted >= 0
    pairs = labels[known] * classes + predicted[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def picture(db: Database, patch_id: str) -> str:
    """A stored patch as base64; empty: there is none."""
    row = db.execute("SELECT png FROM patches WHERE id = ?", [patch_id]).fetchone()
    return "" if row is None else base64.b64encode(row[0]).decode()
