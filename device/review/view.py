"""What the Today page shows, as its address says it; and pages of choices."""

from collections.abc import Collection, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from config.settings import Settings
from device.reports.day import Choice
from device.store.shifts import Shift, last_shifts

SHIFTS = 7
"""Shifts that can be chosen: this one and six before it, two days of three shifts."""
LONGEST = 128
"""Characters of a part's number."""
LAST_PAGE = 100_000


class RowConvertor(IntegerConvertor):
    """The number of a row in an address; a larger one than SQLite has is no address."""

    regex = "[0-9]{1,18}"


register_url_convertor("row", RowConvertor())


class View(NamedTuple):
    """A shift, a part, a class and a page of it."""

    shifts: list[Shift]
    """Those that can be chosen, the present one first."""
    choice: Choice
    page: int

    def link(self, path: str, **changes: str | None) -> str:
        """The address of a page with this choice, or with another of some of it (None: all)."""
        choice = self.choice
        shift = choice.shift.begin_ns // 10**9 if choice.shift != self.shifts[0] else None
        values = {"shift": shift, "part": choice.part, "class": choice.class_name} | changes
        query = urlencode({name: value for name, value in values.items() if value is not None})
        return f"{path}?{query}" if query else path


def read_view(
    query: QueryParams, settings: Settings, classes: Collection[str], now_ns: int
) -> View:
    """The view that an address asks for; `classes` are those that can be chosen.

    Raises:
        HTTPException: 400, there is no such shift, class or page, or the part is no name.
    """
    shifts = last_shifts(settings.review.shifts, now_ns, SHIFTS)
    begins = {str(shift.begin_ns // 10**9): shift for shift in shifts}
    shift = begins.get(query["shift"]) if "shift" in query else shifts[0]
    part, class_name = query.get("part"), query.get("class")
    if (
        shift is None
        or (part is not None and (len(part) > LONGEST or not (part.isprintable())))
        or (class_name is not None and class_name not in classes)
    ):
        raise HTTPException(400, "filter")
    return View(shifts, Choice(shift, part, class_name), page_number(query))


def page_number(query: QueryParams) -> int:
    """The page that an address asks for, from 0.

    Raises:
        HTTPException: 400, it is no number.
    """
    words = query.get("page", "0")
    if not (words.isascii() and words.isdecimal() and int(words[:9]) <= LAST_PAGE):
        raise HTTPException(400, "filter")
    return int(words[:9])


class Cell(NamedTuple):
    """A choice: what it says, and where it leads; None: nowhere at present."""

    label: str
    small: str
    href: str | None
    chosen: bool = False


def paged(cells: Sequence[Cell], fit: int, page: int) -> tuple[list[Cell], int | None]:
    """The cells of a page beside a way back, and the number of the next page, if there is one.

    `fit` counts all cells, of which one is the way back, and one the way on where it is needed.
    """
    if len(cells) <= fit - 1:
        return list(cells), None
    room = max(1, fit - 2)
    pages = -(-len(cells) // room)
    page = min(page, pages - 1)
    # From the last page on to the first: every page is reached by one button.
    return list(cells[page * room : (page + 1) * room]), (page + 1) % pages
