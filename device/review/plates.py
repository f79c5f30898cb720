"""The maps of scanned plates: the list, and each with its verdicts and heat in millimetres."""

from collections import defaultdict
from typing import NamedTuple

from sqlite_utils import Database
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from device.judging.plate import Rect
from device.review.cards import Texts
from device.review.desk import Desk
from device.review.listing import Listing, list_page
from device.review.lot import minute
from device.review.shell import Shell
from device.review.texts import class_word, texts
from device.review.view import Cell
from device.store.plate_log import (
    PlateLine,
    StoredPlate,
    count_plates,
    find_plate,
    plate_picture,
    plates,
)

PICTURE = {"mosaic.jpg": False, "heat.jpg": True}
RULERS_MM = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Lengths that a ruler may have, in millimetres."""
PLACES = 3
"""Places that are named."""


def routes(desk: Desk, shell: Shell) -> list[BaseRoute]:
    """The plates, the latest first, the map of each, and its pictures."""
    listing = Listing("/plates", "plate-which", "plate-none", count_plates, cells_of)

    async def choose(request: Request) -> Response:
        return await list_page(desk, shell, request, listing)

    async def show(request: Request) -> Response:
        plate_id = request.path_params["plate"]
        plate = await desk.work(lambda db: find_plate(db, plate_id))
        if plate is None:
            raise HTTPException(404)
        t = texts(shell.language(request))
        heat = request.query_params.get("heat") == "1"
        query = "?heat=1" if heat else ""
        bar = [
            Cell("‹", t["plate-older"], address(plate.before, query)),
            Cell("›", t["plate-newer"], address(plate.after, query)),
            Cell(
                "◐", t["plate-cold" if heat else "plate-heat"],
                f"/plates/{plate_id}{'' if heat else '?heat=1'}",
            ),
            Cell("≡", t["plate-list"], "/plates"),
        ]  # fmt: skip
        return shell.render(
            request,
            "plate.html",
            tab="today",
            heading=f"{said(plate.line, t)} · {name_of(plate.line)}",
            picture=f"/plates/{plate_id}/{'heat' if heat else 'mosaic'}.jpg",
            area=plate.area,
            outlines=outlines(plate),
            ruler=ruler(plate.area),
            lines=lines(plate, t),
            bar=bar,
        )

    async def picture(request: Request) -> Response:
        plate_id, name = request.path_params["plate"], request.path_params["name"]
        if name not in PICTURE:
            raise HTTPException(404)
        found = await desk.work(lambda db: plate_picture(db, plate_id, heat=PICTURE[name]))
        if found is None:
            raise HTTPException(404)
        return Response(
            found, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"}
        )

    return [
        Route("/plates", choose),
        Route("/plates/{plate:row}", show),
        Route("/plates/{plate:row}/{name}", picture),
    ]


def cells_of(db: Database, count: int, skip: int, t: Texts) -> list[Cell]:
    """Plates to choose from."""
    return [Cell(said(p, t), name_of(p), f"/plates/{p.id}") for p in plates(db, count, skip)]


def address(plate_id: int | None, query: str) -> str | None:
    """The page of a plate, if there is one."""
    return None if plate_id is None else f"/plates/{plate_id}{query}"


def said(plate: PlateLine, t: Texts) -> str:
    """The verdict of a plate in words."""
    word = t[f"word-{plate.verdict}"]
    if plate.verdict == "fail" and plate.name:
        return f"{word}: {class_word(plate.name, t)}"
    return word


def name_of(plate: PlateLine) -> str:
    """Part, lot and moment."""
    return ", ".join(word for word in (plate.part, plate.lot, minute(plate.wall_ns)) if word)


def outlines(plate: StoredPlate) -> dict[str, str]:
    """By verdict, the outlines of all its patches as an SVG path in millimetres from the upper
    left corner of the plate; what is worse lies over what is better."""
    paths: dict[str, list[str]] = defaultdict(list)
    for patch in plate.patches:
        x, y = _from_corner(plate.area, patch.x_mm, patch.y_mm + patch.height_mm)
        wide, tall = patch.width_mm, patch.height_mm
        paths[patch.verdict].append(f"M{x:.2f} {y:.2f}h{wide:.2f}v{tall:.2f}h{-wide:.2f}z")
    ordered = ("pass", "unsure", "fault", "fail")
    return {verdict: "".join(paths[verdict]) for verdict in ordered if verdict in paths}


def _from_corner(area: Rect, x_mm: float, y_mm: float) -> tuple[float, float]:
    return x_mm - area.x_mm, area.y_mm + area.height_mm - y_mm


class Ruler(NamedTuple):
    """A length drawn on the plate."""

    x: float
    y: float
    length: int
    size: float
    """Height of its text, and width of what stands there in millimetres of the plate."""


def ruler(area: Rect) -> Ruler:
    """A ruler of a round length, a fifth of the plate's width at most."""
    length = next((n for n in reversed(RULERS_MM) if n <= area.width_mm / 5), RULERS_MM[0])
    size = max(area.width_mm, area.height_mm) / 30
    return Ruler(size, area.height_mm - size, length, size)


def lines(plate: StoredPlate, t: Texts) -> list[str]:
    """How many places are not good, and where the first of them are, on the stage."""
    bad = [patch for patch in plate.patches if patch.verdict != "pass"]
    bad.sort(key=lambda patch: patch.verdict != "fail")
    found = [t["plate-count"].format(bad=len(bad), all=len(plate.patches))]
    for patch in bad[:PLACES]:
        if patch.verdict == "fault":
            what = t[f"fault-{patch.name}"]
        elif patch.verdict == "fail":
            what = class_word(patch.name, t)
        else:
            what = t["today-unsure"]
        x, y = patch.x_mm + patch.width_mm / 2, patch.y_mm + patch.height_mm / 2
        found.append(f"x {x:.1f} mm, y {y:.1f} mm: {what}")
    if len(bad) > PLACES:
        found.append("…")
    return found
