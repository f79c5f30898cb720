"""A page of things to choose from, the latest first, as many as there is room for."""

from collections.abc import Callable
from typing import NamedTuple

from sqlite_utils import Database
from starlette.requests import Request
from starlette.responses import Response

from device.review.desk import Desk
from device.review.shell import Shell
from device.review.texts import texts
from device.review.view import Cell, page_number


class Listing(NamedTuple):
    """What is listed, and where."""

    path: str
    heading: str
    """Key of the text over it."""
    empty: str
    """Key of the text where there is nothing."""
    count: Callable[[Database], int]
    cells: Callable[[Database, int, int, dict[str, str]], list[Cell]]
    """So many of them after so many, in the words of a language."""
    back: str = "/today/save"
    tab: str = "today"


async def list_page(desk: Desk, shell: Shell, request: Request, what: Listing) -> Response:
    """The page of it that the address asks for.

    Raises:
        HTTPException: 400, the page is no number; 503.
    """
    t = texts(shell.language(request))
    room = max(1, len(shell.layout.cells) - 2)
    count = await desk.work(what.count)
    pages = max(1, -(-count // room))
    page = min(page_number(request.query_params), pages - 1)
    cells = await desk.work(lambda db: what.cells(db, room, page * room, t))
    return shell.render(
        request,
        "choices.html",
        tab=what.tab,
        heading=t[what.heading],
        back=what.back,
        cells=cells,
        empty=t[what.empty],
        following=f"{what.path}?page={(page + 1) % pages}" if pages > 1 else None,
    )
