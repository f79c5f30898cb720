"""Maps of scanned plates in the store."""

import json
from typing import NamedTuple

import cv2
import numpy as np
from sqlite_utils import Database

from device.judging.plate import Plate, PlatePatch, Rect
from device.system.clock import stamp


def add_plate(db: Database, plate: Plate) -> None:
    """Store a plate, and let go of those of its recipe that are too many."""
    mosaic = cv2.imencode(".jpg", plate.mosaic, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    heat = cv2.imencode(".png", plate.heat)[1].tobytes()
    patches = [[*(round(v, 3) for v in patch[:4]), *patch[4:]] for patch in plate.patches]
    db.execute(
        "INSERT INTO plates (part, lot, recipe, model_id, verdict, class, x_mm, y_mm, width_mm, "
        "height_mm, mosaic, heat, patches, wall_ns, monotonic_ns, boot_id, clock_ok) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            plate.part, plate.lot, plate.recipe, plate.model_id, plate.verdict, plate.name,
            *plate.area, mosaic, heat, json.dumps(patches),
            *stamp(plate.wall_ns, plate.monotonic_ns),
        ],
    )  # fmt: skip
    db.execute(
        "DELETE FROM plates WHERE recipe = ?1 AND id NOT IN "
        "(SELECT id FROM plates WHERE recipe = ?1 ORDER BY id DESC LIMIT ?2)",
        [plate.recipe, plate.keep],
    )


class PlateLine(NamedTuple):
    """A plate in a list."""

    id: int
    part: str
    lot: str
    verdict: str
    name: str
    wall_ns: int


class StoredPlate(NamedTuple):
    """A plate without its pictures."""

    line: PlateLine
    area: Rect
    patches: list[PlatePatch]
    before: int | None
    """The plate before it; None: it is the first that is kept."""
    after: int | None


def count_plates(db: Database) -> int:
    """How many plates are kept."""
    return int(db.execute("SELECT count(*) FROM plates").fetchone()[0])


def plates(db: Database, count: int, skip: int = 0) -> list[PlateLine]:
    """Plates, the latest first."""
    rows = db.execute(
        "SELECT id, part, lot, verdict, class, wall_ns FROM plates ORDER BY id DESC LIMIT ? "
        "OFFSET ?",
        [count, skip],
    )
    return [PlateLine(*row) for row in rows]


def find_plate(db: Database, plate_id: int) -> StoredPlate | None:
    """A plate, or None: it is not kept."""
    row = db.execute(
        "SELECT id, part, lot, verdict, class, wall_ns, x_mm, y_mm, width_mm, height_mm, patches, "
        "(SELECT max(id) FROM plates WHERE id < p.id), "
        "(SELECT min(id) FROM plates WHERE id > p.id) FROM plates p WHERE id = ?",
        [plate_id],
    ).fetchone()
    if row is None:
        return None
    patches = [PlatePatch(*patch) for patch in json.loads(row[10])]
    return StoredPlate(PlateLine(*row[:6]), Rect(*row[6:10]), patches, row[11], row[12])


def plate_picture(db: Database, plate_id: int, *, heat: bool) -> bytes | None:
    """The mosaic as JPEG, with the heat laid over it where it is asked for; None: no such plate."""
    row = db.execute("SELECT mosaic, heat FROM plates WHERE id = ?", [plate_id]).fetchone()
    if row is None:
        return None
    if not heat:
        return bytes(row[0])
    mosaic = cv2.imdecode(np.frombuffer(row[0], np.uint8), cv2.IMREAD_COLOR)
    warm = cv2.imdecode(np.frombuffer(row[1], np.uint8), cv2.IMREAD_GRAYSCALE)
    if mosaic is None or warm is None:
        return None
    size = (mosaic.shape[1], mosaic.shape[0])
    smooth = cv2.resize(warm, size, interpolation=cv2.INTER_LINEAR)
    colour = cv2.applyColorMap(smooth, cv2.COLORMAP_JET)
    weight = 0.6 * (smooth / 255.0)[..., None]
    laid = ((1 - weight) * mosaic + weight * colour).astype(np.uint8)
    return cv2.imencode(".jpg", laid, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
