"""The page on which a lot begins: part number and lot, written on the glass."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from config.basics import is_name
from device.models.models_in_use import in_force
from device.review.desk import Desk
from device.review.guard import checked_form
from device.review.shell import Shell
from device.store.trail import begin_lot


def routes(desk: Desk, shell: Shell) -> list[BaseRoute]:
    """The page and its form."""

    async def lot_page(request: Request) -> Response:
        if await desk.person(request) is None:
            return RedirectResponse("/people", 303)
        now = await desk.work(in_force)
        return shell.render(request, "lot_begin.html", part=now.part, lot=now.lot)

    async def begin(request: Request) -> Response:
        fields = await checked_form(request, desk.key)
        person = await desk.person(request)
        if person is None:
            return RedirectResponse("/people", 303)
        part, lot = (checked_name(fields.get(key, "")) for key in ("part", "lot"))
        await desk.work(lambda db: begin_lot(db, part, lot, person.name))
        return RedirectResponse("/live", 303)

    return [Route("/live/lot", lot_page), Route("/live/lot", begin, methods=["POST"])]


def checked_name(words: str) -> str:
    """The number of a part or lot; it may be empty.

    Raises:
        HTTPException: 422, it has signs that are not allowed.
    """
    words = words.strip()
    if words and not is_name(words):
        raise HTTPException(422, "malformed")
    return words
