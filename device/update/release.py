"""What the trainer publishes: the releases of a channel, and the companion of a model.

A channel is the models of one recipe. Its list of releases and its files are signed by the
channel's own key (The Update Framework; `trainer.publishing.repository`).

    <recipe>/channel.json              Channel: every release, and which devices it is for
    <recipe>/<model>.onnx              the model
    <recipe>/<model>.companion.json    Companion: golden patches and what is said of them
    <recipe>/<model>.report.json, .html   the night's report
"""

import base64
import hashlib
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.errors import UserError
from config.settings import Name
from device.judging.model import Model
from device.judging.patches import Patches
from device.judging.verdict import judge
from device.store.pictures import decode_png, encode_png

LARGEST_CHANNEL = 1_000_000
LARGEST_COMPANION = 4_000_000
"""Bytes; larger ones are neither published nor taken."""
LARGEST_REPORT = 16_000_000

Hex = Field(pattern=r"^[0-9a-f]{64}$")


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RollOut(_Document):
    """Which devices a release is for: the named ones, and a share of all."""

    devices: list[Name] = []
    percent: float = Field(default=100, ge=0, le=100)
    """Share of all devices, in percent; a device that is in stays in when it grows."""

    def includes(self, device: str, model_id: str) -> bool:
        """Whether a device is in: named, or by the hash of its name and the model's id."""
        return device in self.devices or place_in_roll_out(device, model_id) < self.percent


def place_in_roll_out(device: str, model_id: str) -> float:
    """A device's place from 0 to 100: the same for ever, another for every model."""
    digest = hashlib.sha256(f"{model_id} {device}".encode()).digest()
    return 100 * int.from_bytes(digest[:8], "big") / 2**64


class Release(_Document):
    """A published model."""

    number: int = Field(ge=1)
    """Grows with every release of the channel."""
    model: str = Hex
    """Id of the model: SHA-256 of its file."""
    published_at: str
    """When, in UTC, ISO 8601."""
    roll_out: RollOut
    withdrawn: str | None = None
    """Why no device shall run it any more; None: it may be run."""


class Channel(_Document):
    """The releases of one recipe."""

    format: int = Field(default=1, ge=1, le=1)
    recipe: Name
    releases: list[Release] = []
    """By number, the oldest first."""


class GoldenPatch(_Document):
    """A patch, and what the trainer's CPU made of it."""

    png: str
    """200 × 200 grey, as PNG in base64."""
    predicted: str
    """The most probable class."""
    unsure: bool
    log_probabilities: list[float]


class Companion(_Document):
    """What a device needs to see that a model works on it as it did where it was made."""

    format: int = Field(default=1, ge=1, le=1)
    model: str = Hex
    recipe: Name
    patches: list[GoldenPatch] = Field(min_length=1, max_length=1000)


def make_companion(model: Model, recipe: str, patches: Patches, most: int) -> Companion:
    """The companion of a model over at most `most` of the patches, uint8 [N, 200, 200].

    Every predicted class in turn, its least and its most certain patches first: what is near a
    decision shows a wrong CPU soonest.
    """
    judged = judge(model, patches)
    names = model.metadata.classes
    certainty = judged.log_probabilities.max(axis=1)
    queues = []
    for c in range(len(names)):
        own = np.flatnonzero(judged.predicted == c)
        own = own[np.argsort(certainty[own])]
        ends = [own[i // 2] if i % 2 == 0 else own[-1 - i // 2] for i in range(len(own))]
        queues.append(ends)
    rounds = max(map(len, queues), default=0)
    chosen = [queue[i] for i in range(rounds) for queue in queues if i < len(queue)][:most]
    return Companion(
        model=model.id,
        recipe=recipe,
        patches=[
            GoldenPatch(
                png=base64.b64encode(encode_png(patches[i])).decode(),
                predicted=names[judged.predicted[i]],
                unsure=bool(judged.unsure[i]),
                log_probabilities=[float(p) for p in judged.log_probabilities[i]],
            )
            for i in chosen
        ],
    )


def pixels_of(patch: GoldenPatch) -> NDArray[np.uint8]:
    """The pixels of a golden patch, uint8 [200, 200].

    Raises:
        UserError: they cannot be decoded, or are of another size.
    """
    try:
        png = base64.b64decode(patch.png, validate=True)
    except ValueError:
        png = b""
    image = decode_png(png, "of the companion") if png else None
    if image is None or image.shape != (200, 200):
        raise UserError("a golden patch of the companion is no picture of 200 × 200 pixels")
    return image


Document = TypeVar("Document", Channel, Companion)


def parse(kind: type[Document], content: bytes, name: str) -> Document:
    """Read a document of the channel; `name` stands in the errors.

    Raises:
        UserError: it is not what it should be.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first: Any = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise UserError(
            f"{name}: not a {kind.__name__.lower()} this program knows ({where}: {first['msg']}); "
            "update millsight, or publish again"
        ) from None


def channel_path(recipe: str) -> str:
    """The list of releases of a recipe."""
    return f"{recipe}/channel.json"


def model_target(recipe: str, model_id: str) -> str:
    """The file of a model."""
    return f"{recipe}/{model_id}.onnx"


def companion_target(recipe: str, model_id: str) -> str:
    """The companion of a model."""
    return f"{recipe}/{model_id}.companion.json"


def report_target(recipe: str, model_id: str, suffix: str) -> str:
    """The report of the night that made a model; `suffix` is `json` or `html`."""
    return f"{recipe}/{model_id}.report.{suffix}"
