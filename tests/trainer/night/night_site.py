"""A site whose nights take seconds: plates, their labels, golden plates, an exchange, keys."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from camera.milled_steel import CLASSES, random_patch
from config.load import parse_settings
from config.settings import Region, Settings
from device.judging.patches import patch_id
from device.store.answers import add_answer
from device.store.database import open_store
from device.store.pictures import encode_png
from device.system.clock import stamp
from trainer.publishing.keys import make_keys

WHOLE = Region(x=0, y=0, width=200, height=200)
FREE = {
    "threads": 1, "most_steps": 12, "most_wrong": 0.99, "least_accuracy": 0.0, "least_recall": 0.0,
    "largest_drop": 1.0, "largest_recall_drop": 1.0, "largest_unsure_rise": 1.0,
}  # fmt: skip
"""A trainer that takes little time, and lets nearly everything out."""


def plates(first: int, count: int) -> tuple[NDArray[np.uint8], list[str]]:
    """Simulated plates, uint8 [count, 200, 200], the four classes in turn."""
    names = [CLASSES[i % 4] for i in range(count)]
    return np.stack([random_patch(first + i, n).image for i, n in enumerate(names)]), names


def store(
    db: Database,
    patches: NDArray[np.uint8],
    names: list[str],
    reason: str = "cold-start",
    *,
    answer: str = "class",
    recipe: str = "default",
    device: str = "box",
) -> list[str]:
    """Store labelled patches as a device and its operator do; their ids."""
    ids = []
    with db.atomic():
        db.execute(
            "INSERT OR IGNORE INTO frames VALUES (?, ?, 0, ?, ?, ?, ?, '', 200, 200, ?, "
            "NULL, 'unsure', NULL, NULL, '', '')",
            [f"f {recipe}", device, *stamp(), recipe],
        )
        for patch, name in zip(patches, names, strict=True):
            ids.append(patch_id(patch, device, WHOLE))
            db.execute(
                "INSERT OR IGNORE INTO patches VALUES (?, ?, 0, 0, 200, 200, ?, NULL, NULL)",
                [ids[-1], device, encode_png(patch)],
            )
            db.execute(
                "INSERT OR IGNORE INTO flags (patch_id, frame_id, cycle, reason, score) "
                "VALUES (?, ?, 1, ?, 1)",
                [ids[-1], f"f {recipe}", reason],
            )
            add_answer(db, ids[-1], answer, name, "anna")
    return ids


def golden_folder(folder: Path, patches: NDArray[np.uint8], names: list[str]) -> Path:
    """Write patches into a folder of class folders."""
    for i, (patch, name) in enumerate(zip(patches, names, strict=True)):
        file = folder / name / f"{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cv2.imencode(".png", patch)[1].tobytes())
    return folder


def make_site(folder: Path, labels: int = 24, golden: int = 32, **trainer: object) -> Settings:
    """A trainer with labels in its store, golden plates, an empty exchange, and keys."""
    settings = parse_settings(
        {
            "device": {"name": "box", "data": str(folder / "data")},
            "recipe": {"classes": list(CLASSES), "pass_classes": ["clean"]},
            "trainer": {
                "golden": str(golden_folder(folder / "golden", *plates(5000, golden))),
                **FREE,
                **trainer,
            },
        },
        folder / "millsight.toml",
    )
    make_keys(settings, folder / "stick")
    if labels:
        db = open_store(settings.trainer.data)
        store(db, *plates(0, labels))
        db.close()
    return settings


def changed(settings: Settings, **changes: object) -> Settings:
    """The same site with another trainer."""
    return settings.model_copy(update={"trainer": settings.trainer.model_copy(update=changes)})
