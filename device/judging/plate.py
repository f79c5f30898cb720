"""The map of a scanned plate: its pictures side by side, and each patch's verdict and heat at its
place in millimetres.

The stage's x grows to the right of the picture and its y upwards; the mosaic shows the plate so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from camera.source import Box, Frame
from config.settings import Region, Scan
from device.judging.model import Model
from device.judging.verdict import Judged

MOSAIC_PX = 1600
"""Longest side of a mosaic, in pixels."""
HEAT_SHARE = 4
"""A heat map has so many times fewer pixels a side: 13 for each patch are enough."""
SEVERITY = {"pass": 0, "unsure": 1, "fault": 2, "fail": 3}

Grey = NDArray[np.uint8]


class Rect(NamedTuple):
    """A rectangle on the stage, in millimetres; `y_mm` is its lower edge."""

    x_mm: float
    y_mm: float
    width_mm: float
    height_mm: float


class PlatePatch(NamedTuple):
    """A patch at its place."""

    x_mm: float
    y_mm: float
    width_mm: float
    height_mm: float
    verdict: str
    """`pass`, `fail`, `unsure` or `fault`."""
    name: str
    """The class, or the name of the fault; empty: neither."""


@dataclass(frozen=True)
class Plate:
    """A plate all of whose pieces were photographed."""

    part: str
    lot: str
    recipe: str
    model_id: str
    verdict: str
    name: str
    area: Rect
    mosaic: Grey
    """uint8 [H, W]."""
    heat: Grey
    """uint8 [H / HEAT_SHARE, W / HEAT_SHARE]: see `heat_of`."""
    patches: list[PlatePatch]
    keep: int
    """Plates that are kept."""
    wall_ns: int
    monotonic_ns: int


class Shown(NamedTuple):
    """What was said of one picture of a plate."""

    verdict: str
    name: str
    regions: Sequence[Region] = ()
    """In pixels of the picture; empty: it was not cut."""
    judged: Judged | None = None
    """None: there is no model, or the picture has a fault."""


def heat_of(
    log_probabilities: NDArray[np.float32], maps: NDArray[np.float32], passes: list[bool]
) -> NDArray[np.float64]:
    """What speaks for a defect: float64 [N, 13, 13], from 0 to 1.

    Of the most probable failing class the class activation map (Fig. 9), its warmest spot as warm
    as that class is probable: a patch that surely passes stays cold everywhere. `log_probabilities`
    is float32 [N, C], `maps` float32 [N, C, 13, 13].
    """
    failing = [c for c, good in enumerate(passes) if not good]
    if not failing:
        return np.zeros((len(maps), *maps.shape[2:]))
    log_p = log_probabilities[:, failing].astype(np.float64)
    best = log_p.argmax(axis=1)
    rows = np.arange(len(maps))
    warm = np.maximum(maps[rows, np.array(failing)[best]], 0).astype(np.float64)
    most = np.maximum(warm.max(axis=(1, 2), keepdims=True), 1e-12)
    found: NDArray[np.float64] = warm / most * np.exp(log_p[rows, best])[:, None, None]
    return found


@dataclass
class Canvas:
    """A plate that is being scanned."""

    scan: Scan
    first: Frame
    area: Rect
    scale: float
    """Pixels of the mosaic for a millimetre."""
    mosaic: Grey
    heat: Grey
    patches: list[PlatePatch] = field(default_factory=list)
    pieces: int = 0
    worst: tuple[str, str] | None = None


class PlateMaps:
    """Puts the pictures of plates together, on the loop's thread."""

    def __init__(self) -> None:
        self._canvas: Canvas | None = None

    def see(self, frame: Frame, scan: Scan, model: Model | None, shown: Shown) -> Canvas | None:
        """Take a picture with what was said of it; the plate, once it is its last one.

        A plate of which a piece is missing is given up.
        """
        piece, place = frame.piece, frame.place_mm
        if piece is None or place is None or not scan.keep_plates:
            return None
        if piece.number == 0:
            self._canvas = _begin(frame, scan)
        canvas = self._canvas
        if (
            canvas is None
            or canvas.first.piece is None
            or canvas.first.piece.plate != piece.plate
            or canvas.pieces != piece.number
        ):
            self._canvas = None
            return None
        canvas.pieces += 1
        scan = canvas.scan
        field_area = Rect(
            place[0] - scan.field_width_mm / 2, place[1] - scan.field_height_mm / 2,
            scan.field_width_mm, scan.field_height_mm,
        )  # fmt: skip
        _paste(canvas.mosaic, frame.image, _pixels(canvas, field_area))
        _add_patches(canvas, frame, field_area, model, shown)
        if canvas.worst is None or SEVERITY[shown.verdict] > SEVERITY[canvas.worst[0]]:
            canvas.worst = (shown.verdict, shown.name)
        if canvas.pieces < piece.pieces:
            return None
        self._canvas = None
        return canvas


def _begin(frame: Frame, scan: Scan) -> Canvas:
    # As in camera.raster: a plate smaller than a picture lies in its middle.
    width = max(scan.width_mm, scan.field_width_mm)
    height = max(scan.height_mm, scan.field_height_mm)
    area = Rect(
        scan.x_mm + (scan.width_mm - width) / 2, scan.y_mm + (scan.height_mm - height) / 2,
        width, height,
    )  # fmt: skip
    rows, columns = frame.image.shape
    finest = max(columns / scan.field_width_mm, rows / scan.field_height_mm)
    scale = min(MOSAIC_PX / max(width, height), finest)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = tuple(max(1, side // HEAT_SHARE) for side in size)
    return Canvas(scan, frame, area, scale, np.zeros(size, np.uint8), np.zeros(small, np.uint8))


def _pixels(canvas: Canvas, rect: Rect, shape: tuple[int, ...] | None = None) -> Box:
    """Left, top, width and height of a rectangle of the stage in a picture of the plate."""
    rows, columns = canvas.mosaic.shape if shape is None else shape
    area = canvas.area
    x_scale, y_scale = columns / area.width_mm, rows / area.height_mm
    left = round((rect.x_mm - area.x_mm) * x_scale)
    right = round((rect.x_mm + rect.width_mm - area.x_mm) * x_scale)
    top = round((area.y_mm + area.height_mm - rect.y_mm - rect.height_mm) * y_scale)
    bottom = round((area.y_mm + area.height_mm - rect.y_mm) * y_scale)
    return left, top, max(1, right - left), max(1, bottom - top)


def _paste(into: Grey, image: Grey, box: Box, *, brighter: bool = False) -> None:
    """Put a picture into its box, as far as that lies inside; `brighter`: where it is brighter."""
    left, top, width, height = box
    way = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(image, (width, height), interpolation=way), np.uint8)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + height, into.shape[0]), min(left + width, into.shape[1])
    if y0 >= y1 or x0 >= x1:
        return
    there = into[y0:y1, x0:x1]
    new = scaled[y0 - top : y1 - top, x0 - left : x1 - left]
    there[:] = np.maximum(there, new) if brighter else new


def _add_patches(
    canvas: Canvas, frame: Frame, field_area: Rect, model: Model | None, shown: Shown
) -> None:
    rows, columns = frame.image.shape
    x_mm, y_mm = field_area.width_mm / columns, field_area.height_mm / rows
    judged = shown.judged
    if not shown.regions:
        canvas.patches.append(PlatePatch(*field_area, shown.verdict, shown.name))
        return
    heat = None
    if judged is not None and judged.maps is not None and model is not None:
        heat = heat_of(judged.log_probabilities, judged.maps, model.passes)
    for i, region in enumerate(shown.regions):
        rect = Rect(
            field_area.x_mm + region.x * x_mm,
            field_area.y_mm + field_area.height_mm - (region.y + region.height) * y_mm,
            region.width * x_mm,
            region.height * y_mm,
        )
        verdict, name = "unsure", ""
        if judged is not None and model is not None:
            c = int(judged.predicted[i])
            name = model.metadata.classes[c]
            if not judged.unsure[i]:
                verdict = "pass" if model.passes[c] else "fail"
        canvas.patches.append(PlatePatch(*rect, verdict, name))
        if heat is not None:
            grey = np.asarray(np.round(255 * heat[i]), np.uint8)
            _paste(canvas.heat, grey, _pixels(canvas, rect, canvas.heat.shape), brighter=True)


def plate_of(
    canvas: Canvas, frame: Frame, *, part: str, lot: str, recipe: str, model_id: str
) -> Plate:
    """The finished plate; `frame` is its last picture."""
    return Plate(
        part,
        lot,
        recipe,
        model_id,
        *(canvas.worst or ("unsure", "")),
        canvas.area,
        canvas.mosaic,
        canvas.heat,
        canvas.patches,
        canvas.scan.keep_plates,
        frame.wall_ns,
        frame.monotonic_ns,
    )
