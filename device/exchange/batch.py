"""A batch: one immutable SQLite file of what a device has that its trainer has not.

Its tables are those of the store, as far as a trainer needs them; the row classes here are the one
description of them. A device writes only rows that pass them, and a trainer merges no others.
"""

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from config.settings import PATCH_SIZE, Name, Region
from device.judging.patches import patch_id

FORMAT = 1
"""Version of the format: `user_version` of the file, and in the manifest."""
APPLICATION_ID = 0x6D696C6C
"""What marks a SQLite file as a batch: `mill`."""
LARGEST_BATCH = 256 * 1024 * 1024
"""Bytes of a batch; a device makes more of them rather than larger ones."""
LARGEST_MANIFEST = 16_384

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in hex."""
Text = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Words without control characters, so that none can hide or forge a line."""
Count = Annotated[int, Field(ge=0, lt=2**63)]
Signed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Pixels = Annotated[int, Field(ge=0, le=65_536)]
Probability = Annotated[float, Field(gt=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Row(BaseModel):
    """A row of a batch: fields in the order of the columns."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The names of the columns; `class` is a word of Python, so its field has an alias."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())


class Stamped(Row):
    """A row with a moment."""

    wall_ns: Count
    monotonic_ns: Count
    boot_id: Text
    clock_ok: Annotated[int, Field(ge=0, le=1)]


class FrameRow(Stamped):
    """A frame without its picture."""

    id: Id
    device: Name
    sequence: Count
    origin: Text
    width: Pixels
    height: Pixels
    recipe: Text
    model_id: Id | None
    verdict: Literal["pass", "fail", "unsure"]
    verdict_class: Text | None
    part: Text
    lot: Text

    @model_validator(mode="after")
    def _id_is_its_own(self) -> Self:
        identity = [self.device, self.boot_id, self.monotonic_ns, self.sequence]
        return self if self.id == _digest(identity) else _fail("its id is not that of its moment")


class PatchRow(Row):
    """A patch with its pixels."""

    id: Id
    device: Name
    x: Pixels
    y: Pixels
    width: Pixels
    height: Pixels
    png: Annotated[bytes, Field(max_length=1_000_000)]
    truth: Text | None
    fingerprint: Annotated[bytes, Field(max_length=10_000)] | None

    @model_validator(mode="after")
    def _id_is_that_of_its_pixels(self) -> Self:
        # The header first: it says how much memory decoding takes.
        if self.png[:26] != PNG_HEADER:
            _fail("its picture is no grey PNG of 200 × 200 pixels")
        image = cv2.imdecode(np.frombuffer(self.png, np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is None or image.shape != (PATCH_SIZE, PATCH_SIZE):
            _fail("its picture cannot be decoded")
        region = Region.model_construct(x=self.x, y=self.y, width=self.width, height=self.height)
        if patch_id(np.asarray(image, np.uint8), self.device, region) != self.id:
            _fail("its id is not that of its pixels and place")
        return self


PNG_HEADER = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + PATCH_SIZE.to_bytes(4) * 2 + b"\x08\x00"
)  # 8 bits, grey


class FlagRow(Row):
    """Why a patch was kept, and how likely that was."""

    patch_id: Id
    frame_id: Id
    cycle: Count
    reason: Literal["uncertain", "audit", "cold-start", "defect"]
    predicted: Text | None
    score: Finite
    draw_probability: Probability | None
    log_probabilities: Annotated[str, StringConstraints(max_length=20_000)] | None
    alike: Id | None

    @model_validator(mode="after")
    def _log_probabilities_are_numbers(self) -> Self:
        if self.log_probabilities is not None:
            try:
                values = json.loads(self.log_probabilities)
            except (ValueError, RecursionError):
                values = None
            if not isinstance(values, list) or not all(type(v) in {int, float} for v in values):
                _fail("its log_probabilities are no JSON list of numbers")
        return self


class LabelRow(Stamped):
    """An operator's answer; `number` is its place in the order of the device's answers."""

    number: Count
    id: Id
    patch_id: Id
    answer: Literal["class", "something new", "can't tell", "undone"]
    class_: Text | None = Field(alias="class")
    operator: Text
    repeat: Annotated[int, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _id_is_its_own(self) -> Self:
        if self.answer == "class" and not self.class_:
            _fail("it names no class")
        moment = [self.wall_ns, self.monotonic_ns, self.boot_id, self.clock_ok]
        said = [self.patch_id, self.answer, self.class_, self.operator]
        return self if self.id == _digest([*said, *moment]) else _fail("its id is not its own")


class EventRow(Stamped):
    """Something that happened on the device."""

    kind: Text
    text: Text


class ActivationRow(Stamped):
    """A model came into use."""

    model_id: Id
    reason: Text


class CounterRow(Row):
    """Frames of a minute."""

    minute: Count
    model_id: Text
    recipe: Text
    verdict: Text
    class_: Text = Field(alias="class")
    part: Text
    lot: Text
    frames: Count


class ScoreRow(Row):
    """Patches of an hour by their score."""

    hour: Count
    model_id: Text
    class_: Text = Field(alias="class")
    part: Text
    bin: Signed
    patches: Count


TABLES: dict[str, type[Row]] = {
    "frames": FrameRow,
    "patches": PatchRow,
    "flags": FlagRow,
    "labels": LabelRow,
    "events": EventRow,
    "activations": ActivationRow,
    "counters": CounterRow,
    "scores": ScoreRow,
}
"""The tables of a batch, in the order in which they are merged."""


class Manifest(BaseModel):
    """What is said of a batch beside it; written last, it makes the batch part of the exchange."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    device: Name
    sequence: Annotated[int, Field(ge=1, lt=10**8)]
    sha256: Id
    bytes: Annotated[int, Field(ge=0)]
    labels: Count
    patches: Count
    written_ns: Count
    """Wall clock of the device when it wrote this, in nanoseconds since 1970."""
    code_version: Text

    @property
    def name(self) -> str:
        """The batch's name on the exchange, without its ending."""
        return batch_name(self.device, self.sequence, self.sha256)


def batch_name(device: str, sequence: int, sha256: str) -> str:
    """`labels/<device>/<sequence>-<sha256>`."""
    return f"labels/{device}/{sequence:08}-{sha256}"


BATCH_NAME = re.compile(r"labels/(?P<device>[^/]+)/(?P<sequence>\d{8})-(?P<sha256>[0-9a-f]{64})")


def statements() -> list[str]:
    """What makes the tables of a batch, in the order of `TABLES`."""
    return [
        f"CREATE TABLE {name} ("
        + ", ".join(
            f"{f.alias or n} {_sql_type(f.annotation)}" for n, f in row.model_fields.items()
        )
        + ") STRICT"
        for name, row in TABLES.items()
    ]


def insert_statement(table: str, columns: tuple[str, ...]) -> str:
    """Inserts a row by its explicit columns; what is there already stays."""
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608


def create(path: Path) -> sqlite3.Connection:
    """A new, empty batch file, for its writer."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    for statement in statements():
        connection.execute(statement)
    return connection


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sql_type(annotation: Any) -> str:
    """The SQL type of a field; a union with None may be NULL."""
    kinds = set(_kinds(annotation))
    types = {str: "TEXT", int: "INTEGER", float: "REAL", bytes: "BLOB"}
    base = next(sql for kind, sql in types.items() if kind in kinds)
    return base if type(None) in kinds else f"{base} NOT NULL"


def _kinds(annotation: Any) -> Iterator[type]:
    """The plain types in an annotation: of unions, of the values of a Literal, without bounds."""
    inner = get_args(annotation)
    if not inner:
        yield annotation if isinstance(annotation, type) else type(annotation)
        return
    for part in inner[:1] if get_origin(annotation) is Annotated else inner:
        yield from _kinds(part)


def _digest(identity: list[Any]) -> str:
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def _fail(why: str) -> Any:
    raise ValueError(why)
