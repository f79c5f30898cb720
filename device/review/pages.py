"""What the touch page is told: a question in an operator's words, and its pictures."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sqlite_utils import Database

from config.errors import UserError
from config.recipes import Under
from device.inspect_images import draw_heat
from device.judging.model import Model, load_model
from device.models.activation import model_path
from device.models.models_in_use import classes_in_use, in_force
from device.store.answers import Question
from device.store.pictures import decode_png

GUESSES = 3
HEAT_SIZE = 400
"""Side of a heat map in pixels: twice the patch, so that its blur is smooth."""


def question_page(db: Database, question: Question, under: Under) -> dict[str, Any]:
    """A question as the page shows it under its recipe, ready for JSON."""
    flag = db.execute(
        """
        SELECT f.log_probabilities, f.frame_id, r.jpeg IS NOT NULL, r.width, r.height,
            p.x, p.y, p.width, p.height, f.predicted
        FROM flags f JOIN frames r ON r.id = f.frame_id JOIN patches p ON p.id = f.patch_id
        WHERE f.patch_id = ? AND f.reason != 'defect' ORDER BY f.id DESC LIMIT 1
        """,
        [question.patch_id],
    ).fetchone()
    log_p, frame_id, has_jpeg, width, height, *place, predicted = flag
    part = place[2] < width or place[3] < height
    model_id = in_force(db, under.key).model_id
    return {
        "patch": question.patch_id,
        "recipe": under.name,
        "reason": question.reason,
        "predicted": predicted,
        "guesses": guesses(log_p, classes_in_use(db, under)),
        "picture": f"/patches/{question.patch_id}.png",
        "heat": model_id and f"/heat/{model_id}/{question.patch_id}.png",
        "alike": db.execute(
            "SELECT count(DISTINCT patch_id) FROM flags WHERE alike = ?", [question.patch_id]
        ).fetchone()[0],
        "frame": f"/frames/{frame_id}/{question.patch_id}.jpg" if has_jpeg and part else None,
    }


def guesses(log_probabilities: str | None, classes: list[str]) -> list[str]:
    """The model's most probable classes, best first; none without a model for these classes."""
    values = json.loads(log_probabilities or "[]")
    if len(values) != len(classes):
        return []
    ranked = sorted(zip(values, classes, strict=True), key=lambda pair: -pair[0])
    return [name for _, name in ranked[:GUESSES]]


def patch_png(db: Database, patch_id: str) -> bytes | None:
    """The picture of a patch; None: there is none, or it has gone (`device.upkeep.retention`)."""
    row = db.execute("SELECT png FROM patches WHERE id = ?", [patch_id]).fetchone()
    return row[0] or None if row else None


def frame_jpeg(db: Database, frame_id: str, patch_id: str) -> bytes | None:
    """A frame with one of its patches marked, or None."""
    row = db.execute(
        "SELECT r.jpeg, p.x, p.y, p.width, p.height FROM flags f "
        "JOIN frames r ON r.id = f.frame_id JOIN patches p ON p.id = f.patch_id "
        "WHERE f.frame_id = ? AND f.patch_id = ?",
        [frame_id, patch_id],
    ).fetchone()
    if row is None or row[0] is None:
        return None
    image = cv2.imdecode(np.frombuffer(row[0], np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return None
    x, y, width, height = row[1:]
    thick = max(2, max(image.shape) // 160)
    # Black around yellow: seen on dark and on bright steel.
    for colour, line in (((0, 0, 0), 3 * thick), ((0, 220, 255), thick)):
        cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), colour, line)
    return cv2.imencode(".jpg", image)[1].tobytes()


class HeatMaps:
    """Draws class activation maps; remembers the models it has loaded lately."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._models: OrderedDict[str, Model] = OrderedDict()

    def png(self, db: Database, model_id: str, patch_id: str) -> bytes | None:
        """The predicted class's map over a patch; None: there is no such patch or model.

        Raises:
            UserError: the model's file is missing or damaged, or the patch is.
        """
        known = db.execute("SELECT 1 FROM models WHERE id = ?", [model_id]).fetchone()
        png = patch_png(db, patch_id)
        if known is None or png is None:
            return None
        patch = decode_png(png, patch_id)
        outputs = self._model(model_id).outputs(patch[None])
        large = cv2.resize(patch, (HEAT_SIZE, HEAT_SIZE), interpolation=cv2.INTER_LINEAR)
        picture = np.asarray(cv2.cvtColor(large, cv2.COLOR_GRAY2BGR), np.uint8)
        draw_heat(picture, outputs.activation_maps[0, int(outputs.log_probabilities[0].argmax())])
        return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()

    def _model(self, model_id: str) -> Model:
        if model_id not in self._models:
            path: Path = model_path(self._data, model_id)
            model = load_model(path)
            if model.id != model_id:
                raise UserError(f"{path}: not the model it was; activate it again")
            self._models[model_id] = model
            if len(self._models) > 2:
                self._models.popitem(last=False)
        return self._models[model_id]
