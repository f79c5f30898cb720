"""Batches as devices push them, made without the devices: their stores would take an hour."""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from camera.milled_steel import CLASSES, random_patch
from config.settings import PATCH_SIZE, Region, Settings
from device.exchange.batch import (
    FORMAT,
    TABLES,
    Manifest,
    batch_name,
    create,
    file_digest,
    insert_statement,
)
from device.exchange.folder import FolderPlace
from device.judging.patches import Patches, patch_id

WHOLE = Region(x=0, y=0, width=PATCH_SIZE, height=PATCH_SIZE)
BEGAN_NS = 1_800_000_000_000_000_000
"""When the first plate was seen: any moment will do."""


class Picture(NamedTuple):
    """A plate that all devices see."""

    pixels: Patches
    """uint8 [200, 200]."""
    png: bytes
    name: str
    """What the operator says."""


def pictures(count: int) -> list[Picture]:
    """Plates of the simulated platform, all classes in turn."""
    made = []
    for i in range(count):
        name = CLASSES[i % len(CLASSES)]
        pixels = random_patch(50_000 + i, name).image
        made.append(Picture(pixels, cv2.imencode(".png", pixels)[1].tobytes(), name))
    return made


def push_batch(place: FolderPlace, scratch: Path, device: str, seen: Sequence[Picture]) -> None:
    """Put a device's first batch on the exchange: every picture a frame, a flag and an answer."""
    path = scratch / "batch.db"
    path.unlink(missing_ok=True)
    connection = create(path)
    connection.execute("BEGIN")
    for number, picture in enumerate(seen, 1):
        for table, row in _rows(device, number, picture).items():
            assert tuple(row) == TABLES[table].columns()
            connection.execute(insert_statement(table, tuple(row)), list(row.values()))
    connection.execute("COMMIT")
    connection.close()
    sha256 = file_digest(path)
    manifest = Manifest(
        format=FORMAT,
        device=device,
        sequence=1,
        sha256=sha256,
        bytes=path.stat().st_size,
        labels=len(seen),
        patches=len(seen),
        written_ns=BEGAN_NS,
        code_version=version("millsight"),
    )
    name = batch_name(device, 1, sha256)
    place.put(f"{name}.db", path)
    place.put(f"{name}.json", manifest.model_dump_json().encode())


def _rows(device: str, number: int, picture: Picture) -> dict[str, dict[str, Any]]:
    stamp = {
        "wall_ns": BEGAN_NS + number,
        "monotonic_ns": number,
        "boot_id": "bench",
        "clock_ok": 1,
    }
    frame = _digest([device, "bench", number, number])
    patch = patch_id(picture.pixels, device, WHOLE)
    side = {"width": PATCH_SIZE, "height": PATCH_SIZE}
    said = {"patch_id": patch, "answer": "class", "class": picture.name, "operator": "anna"}
    return {
        "frames": stamp
        | {"id": frame, "device": device, "sequence": number, "origin": "bench", **side}
        | {"recipe": "default", "model_id": None, "verdict": "unsure", "verdict_class": None}
        | {"part": "", "lot": ""},
        "patches": {"id": patch, "device": device, "x": 0, "y": 0, **side}
        | {"png": picture.png, "truth": None, "fingerprint": None},
        "flags": {"patch_id": patch, "frame_id": frame, "cycle": 1, "reason": "cold-start"}
        | {"predicted": None, "score": 0.0, "draw_probability": 0.1}
        | {"log_probabilities": None, "alike": None},
        "labels": stamp
        | {"number": number, "id": _digest([*said.values(), *stamp.values()])}
        | said
        | {"repeat": 0},
    }


def _digest(identity: list[Any]) -> str:
    """As `device.exchange.batch` has it: a batch with other ids is refused."""
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def site(settings: Settings, folder: Path) -> Settings:
    """The settings of a trainer of its own, whose exchange is a folder beside it."""
    exchange = settings.exchange.model_copy(update={"url": str(folder / "exchange")})
    trainer = settings.trainer.model_copy(update={"data": folder / "trainer", "golden": None})
    device = settings.device.model_copy(update={"data": folder / "device"})
    recipe = settings.recipe.model_copy(
        update={"classes": list(CLASSES), "pass_classes": [CLASSES[0]]}
    )
    return settings.model_copy(
        update={"exchange": exchange, "trainer": trainer, "device": device, "recipe": recipe}
    )
