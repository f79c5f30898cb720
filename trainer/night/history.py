"""What nights were: the finished ones, the champion, and what an unfinished one has left."""

import hashlib
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from config.errors import UserError
from config.settings import Settings
from device.judging.model import Model, load_model
from device.models.activation import is_whole, model_path
from device.system.clock import stamp
from device.system.durable import write_durably
from device.update.client import TARGETS
from trainer.learning.memory import Memory
from trainer.publishing.keys import repository_folder


def nights_folder(settings: Settings) -> Path:
    """Where the reports of the recipe's nights lie."""
    return settings.trainer.data / "nights" / settings.recipe.name


@dataclass(frozen=True, slots=True)
class Past:
    """A finished night."""

    model_id: str
    published: bool
    inputs: str
    last_label: int
    report: dict[str, Any]
    wall_ns: int


def past_nights(db: Database, recipe: str) -> list[Past]:
    """The finished nights of a recipe, the oldest first."""
    rows = db.execute(
        "SELECT model_id, published, inputs, last_label, report, wall_ns FROM nights "
        "WHERE recipe = ? ORDER BY id",
        [recipe],
    )
    return [
        Past(model, bool(published), inputs, last, json.loads(report), wall)
        for model, published, inputs, last, report, wall in rows
    ]


def record_night(
    db: Database, settings: Settings, report: dict[str, Any], inputs: str, last_label: int
) -> None:
    """Record a finished night."""
    db.execute(
        "INSERT INTO nights (recipe, model_id, champion_id, published, classes, labels, "
        "last_label, inputs, report, wall_ns, monotonic_ns, boot_id, clock_ok) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            settings.recipe.name, report["model"], report["champion"], int(report["publish"]),
            json.dumps(report["classes"]), report["labels"], last_label, inputs,
            json.dumps(report), *stamp(),
        ],
    )  # fmt: skip


def champion_id(db: Database, settings: Settings, withdrawn: Collection[str] = ()) -> str | None:
    """The id of the model in use for the recipe; None: there is none.

    The last one that came into force for it in this store and was not withdrawn. Rows without the
    name of a recipe are of an older program: they count unless a night of another recipe made the
    model, or it is for other classes.
    """
    recipe = settings.recipe
    rows = db.execute(
        "SELECT model_id, recipe = '', "
        "(SELECT json_extract(metadata, '$.classes') FROM models WHERE id = a.model_id) "
        "FROM activations a WHERE recipe = :recipe OR (recipe = '' AND NOT EXISTS (SELECT 1 "
        "FROM nights n WHERE n.model_id = a.model_id AND n.recipe != :recipe)) ORDER BY id DESC",
        {"recipe": recipe.name},
    )
    for model_id, unnamed, classes in rows:
        if unnamed and json.loads(classes or "[]")[: len(recipe.classes)] != recipe.classes:
            continue
        if model_id not in withdrawn:
            return str(model_id)
    return None


def champion_of(db: Database, settings: Settings) -> Model | None:
    """The model in use for the recipe; None: there is none, or its file is gone for good."""
    known = champion_id(db, settings)
    return None if known is None else load_champion(settings, known)


def load_champion(settings: Settings, model_id: str) -> Model | None:
    """A model that was in use; a file that is lost or damaged is made good from what was published.
    None: that is gone too.

    Raises:
        UserError: it is whole, and not for this program; or it cannot be written.
    """
    path = model_path(settings.trainer.data, model_id)
    if not is_whole(path, model_id):
        # a published file bears its digest in front of its name, and a model's name is its digest
        targets = repository_folder(settings) / TARGETS / settings.recipe.name
        published = targets / f"{model_id}.{model_id}.onnx"
        if not is_whole(published, model_id):
            return None
        try:
            write_durably(path, published.read_bytes())
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    return load_model(path)


def last_label(db: Database) -> int:
    """The row of the last answer in the store."""
    row = db.execute("SELECT max(rowid) FROM labels").fetchone()
    return row[0] or 0


def learnt_up_to(db: Database, champion: Model | None) -> int:
    """The row of the last answer that the model in use may have learnt from.

    Rows and not clocks, for devices wake up in 1970. Of a model that no night has made nothing is
    known; it may have learnt from all of them.
    """
    if champion is None:
        return 0
    row = db.execute(
        "SELECT max(last_label) FROM nights WHERE model_id = ?", [champion.id]
    ).fetchone()
    return last_label(db) if row[0] is None else row[0]


class Unfinished:
    """What a night has done so far; it lies on the disk, so that the next one goes on with it.

    It belongs to one set of inputs, by their digest; with others the night begins anew.
    """

    def __init__(self, folder: Path, inputs: str) -> None:
        self.folder = folder
        known = self._read("night.json")
        if known is None or known["inputs"] != inputs:
            shutil.rmtree(folder, ignore_errors=True)
            known = {
                "inputs": inputs,
                "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            self._write("night.json", known)
        self.created_at: str = known["created_at"]
        """When the night began first: it stands in the model, which shall come out the same."""
        self.memory = Memory(folder)
        self.candidate = folder / "candidate.onnx"

    def recall(self, step: str, inputs: Any) -> Any:
        """What a step gave with the same inputs; None: it was not finished."""
        known = self._read(f"{step}.json")
        return known["result"] if known and known["inputs"] == digest(inputs) else None

    def keep(self, step: str, inputs: Any, result: Any) -> None:
        """Remember what a step gave."""
        self._write(f"{step}.json", {"inputs": digest(inputs), "result": result})

    def close(self) -> None:
        """The night is finished: nothing of it is needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, name: str) -> Any:
        """A value that was written; None: it is not there, or damaged."""
        try:
            return json.loads((self.folder / name).read_bytes())
        except (OSError, ValueError):
            return None

    def _write(self, name: str, value: Any) -> None:
        write_durably(self.folder / name, json.dumps(value).encode())


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
