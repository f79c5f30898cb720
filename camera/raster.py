"""The places at which a plate is photographed so that all of it is seen."""

import math
from typing import NamedTuple

from config.settings import Scan


class Place(NamedTuple):
    """Where the middle of a picture lies, in the stage's millimetres."""

    x_mm: float
    y_mm: float


def plan_raster(scan: Scan) -> list[Place]:
    """Rows from the lower edge on, each in the other direction than the one before it.

    As few pictures as will cover the plate with the overlap, evenly spread; a plate smaller than
    a picture is seen by one from its middle.
    """
    across = _middles(scan.x_mm, scan.width_mm, scan.field_width_mm, scan.overlap_mm)
    up = _middles(scan.y_mm, scan.height_mm, scan.field_height_mm, scan.overlap_mm)
    return [
        Place(x, y)
        for row, y in enumerate(up)
        for x in (across if row % 2 == 0 else reversed(across))
    ]


def _middles(start: float, length: float, field: float, overlap: float) -> list[float]:
    count = 1 + math.ceil(round(max(0.0, length - field) / (field - overlap), 9))
    if count == 1:
        return [start + length / 2]
    step = (length - field) / (count - 1)
    return [start + field / 2 + step * i for i in range(count)]
