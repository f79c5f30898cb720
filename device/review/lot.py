"""The choice of lots, and the report of one: a page to print for the quality file."""

from datetime import datetime
from typing import Any

from sqlite_utils import Database
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from config.recipes import Recipes
from device.reports import lots
from device.reports.estimate import LEAST, accuracy
from device.review.charts import number, percent
from device.review.desk import Desk
from device.review.listing import Listing, list_page
from device.review.shell import Shell
from device.review.view import Cell, page_number


def routes(desk: Desk, shell: Shell) -> list[BaseRoute]:
    """The lots, newest first, and the report of each."""
    listing = Listing("/lots", "lot-which", "lot-none", lots.count_lots, cells_of)

    async def choose(request: Request) -> Response:
        return await list_page(desk, shell, request, listing)

    async def report(request: Request) -> Response:
        page = page_number(request.query_params)
        lot, recipes = request.path_params["lot"], desk.recipes
        found = await desk.work(lambda db: read_report(db, lot, page, recipes))
        if found is None:
            raise HTTPException(404)
        return shell.render(
            request,
            "report.html",
            device=desk.settings.device.name,
            printed=datetime.now().astimezone(),
            second=second,
            number=number,
            percent=percent,
            size=lots.PAGE,
            least=LEAST,
            **found,
        )

    return [Route("/lots", choose), Route("/lot/{lot:row}", report)]


def cells_of(db: Database, count: int, skip: int, _t: dict[str, str]) -> list[Cell]:
    """Lots to choose from."""
    return [
        Cell(one.lot or "–", f"{one.part or '–'}, {minute(one.began_ns)}", f"/lot/{one.id}")
        for one in lots.lots(db, count, skip)
    ]


def read_report(db: Database, lot_id: int, page: int, recipes: Recipes) -> dict[str, Any] | None:
    """All that a page of a report shows; None: there is no such lot.

    Pictures, questions and audit trail go on from page to page; the rest is on every one.
    """
    lot = lots.find_lot(db, lot_id)
    if lot is None:
        return None
    frames = lots.frames(db, lot)
    begin = min(frames.begin_ns or lot.began_ns, lot.began_ns)
    end = max(frames.end_ns, lot.began_ns + 1)
    totals = {
        "defects": lots.count_defects(db, lot),
        "questions": lots.count_questions(db, lot),
        "acts": lots.count_acts(db, begin, end),
    }
    pages = max(1, -(-max(totals.values()) // lots.PAGE))
    page = min(page, pages - 1)
    start = page * lots.PAGE
    return {
        "lot": lot,
        "frames": frames,
        "totals": totals,
        "page": page,
        "pages": pages,
        "defects": lots.defects(db, lot, start),
        "questions": lots.questions(db, lot, start),
        "acts": lots.acts(db, begin, end, start),
        "models": lots.used_models(db, frames.models),
        "accuracies": {
            model: accuracy(
                db, model, k_of(db, model, recipes), part=lot.part, lot=lot.lot, per_class=False
            )
            for model in frames.models
        },
        "configurations": lots.settings_between(db, begin, end),
    }


def k_of(db: Database, model_id: str, recipes: Recipes) -> int:
    """`asking.k` of the recipe that a model was used for."""
    row = db.execute(
        "SELECT recipe FROM activations WHERE model_id = ? ORDER BY id DESC LIMIT 1", [model_id]
    ).fetchone()
    found = None if row is None else recipes.keyed(row[0])
    return (found or recipes.under(None)).settings.asking.k


def minute(ns: int) -> str:
    """A moment in local time."""
    return f"{datetime.fromtimestamp(ns / 1e9):%Y-%m-%d %H:%M}"


def second(ns: int) -> str:
    """A moment in local time, with seconds."""
    return f"{datetime.fromtimestamp(ns / 1e9):%Y-%m-%d %H:%M:%S}"
