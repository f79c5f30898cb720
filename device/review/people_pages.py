"""The pages on which people say who they are: names, PIN pad, password of the network."""

import asyncio
import math
import re
import shlex
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlencode

from sqlite_utils import Database
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from config.settings import Review
from device.review import people
from device.review.desk import Desk
from device.review.guard import COOKIE, checked_form, session_of
from device.review.shell import LANGUAGE_COOKIE, Shell, set_cookie
from device.review.texts import languages, texts


class Cell(NamedTuple):
    """A button of the page of names: what it says, and what it posts where."""

    label: str
    action: str
    field: str = ""
    value: str = ""
    small: str = ""
    pressed: bool = False
    lang: str = ""


class Secrets:
    """Compares PINs and passwords, one at a time: nobody takes more than one core with guesses."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._turn = asyncio.Lock()

    async def check(self, name: str, secret: str, who: str) -> tuple[bool, float]:
        """Whether a secret is right, and for how long no other counts, in seconds.

        A wrong one is recorded; while a wait lasts, none is looked at.

        Raises:
            HTTPException: 503.
        """
        async with self._turn:
            wait, known = await self._desk.work(
                lambda db: (people.wait_s(db, name), people.secret_hash(db, name))
            )
            if wait > 0 or known is None:
                return False, wait
            if await asyncio.to_thread(people.fits, known, secret):
                return True, 0

            def refuse(db: Database) -> float:
                people.add_refusal(db, who, name)
                return people.wait_s(db, name)

            return False, await self._desk.work(refuse)


def people_routes(desk: Desk, shell: Shell) -> list[BaseRoute]:
    """Names, logging out, languages."""
    review = desk.settings.review

    async def names(request: Request) -> Response:
        present = await desk.person(request)
        only, pins = await desk.work(
            lambda db: (
                people.alone(db, review),
                {name for name in review.operators if people.has_secret(db, name)},
            )
        )
        language = shell.language(request)
        cells = name_cells(review, texts(language), present, pins)
        fixed = [
            Cell(words["language"], "/people/language", "language", code, lang=code)
            for code, words in languages().items()
            if code != language
        ]
        if present is not None and present != only:
            fixed.insert(0, Cell(texts(language)["log-out"], "/people/logout"))
        pages = paged(cells, fixed, len(shell.layout.cells))
        asked = request.query_params.get("page", "")
        page = int(asked) % len(pages) if re.fullmatch("[0-9]{1,3}", asked) else 0
        return shell.render(
            request,
            "people.html",
            tab="people",
            cells=pages[page],
            present=present,
            further=f"/people?page={page + 1}" if len(pages) > 1 else None,
        )

    async def login(request: Request) -> Response:
        form = await checked_form(request, desk.key)
        person = known_person(desk, form.get("name", ""))
        if await desk.person(request) == person:
            return _go("/")
        if await desk.work(lambda db: people.needs_pin(db, person)):
            return _go("/people/pin?" + urlencode({"name": person.name}))
        return await enter(desk, request, person)

    async def logout(request: Request) -> Response:
        await checked_form(request, desk.key)
        cookie = session_of(request)
        fresh = await desk.work(lambda db: people.log_out(db, review, cookie))
        return _go("/people", COOKIE, fresh)

    async def language(request: Request) -> Response:
        form = await checked_form(request, desk.key)
        if form.get("language") not in languages():
            raise HTTPException(422, "malformed")
        return _go("/people", LANGUAGE_COOKIE, form["language"])

    return [
        Route("/people", names),
        Route("/people/login", login, methods=["POST"]),
        Route("/people/logout", logout, methods=["POST"]),
        Route("/people/language", language, methods=["POST"]),
    ]


def pin_routes(desk: Desk, shell: Shell, secrets: Secrets) -> list[BaseRoute]:
    """The PIN pad."""

    async def pin(request: Request) -> Response:
        person = known_person(desk, request.query_params.get("name", ""))
        wait = await desk.work(lambda db: people.wait_s(db, person.name))
        return await pad(request, person, wait)

    async def try_pin(request: Request) -> Response:
        form = await checked_form(request, desk.key)
        person = known_person(desk, form.get("name", ""))
        if not people.PIN.fullmatch(form.get("pin", "")):
            raise HTTPException(422, "pin")
        right, wait = await secrets.check(person.name, form["pin"], person.name)
        return (
            await enter(desk, request, person) if right else await pad(request, person, wait, 401)
        )

    async def pad(
        request: Request, person: people.Person, wait: float, status: int = 200
    ) -> Response:
        """The PIN pad, or why there is none."""
        t = texts(shell.language(request))
        name = person.name
        reason = ""
        if not await desk.work(lambda db: people.has_secret(db, name)):
            if not person.supervisor:
                return _go("/people")
            command = f"millsight people pin {shlex.quote(name)}"
            reason, status = t["pin-unset"].format(name=name, command=command), 409
        elif wait > 0:
            reason, status = t["pin-wait"].format(name=name, wait=in_words(wait, t)), 429
        return shell.render(
            request, "pin.html", status, name=name, reason=reason, wrong=status == 401
        )

    return [Route("/people/pin", pin), Route("/people/pin", try_pin, methods=["POST"])]


def known_person(desk: Desk, name: str) -> people.Person:
    """The person of the settings who has a name.

    Raises:
        HTTPException: 422, nobody has it.
    """
    if (person := people.is_known(desk.settings.review, name)) is None:
        raise HTTPException(422, "unknown-name")
    return person


async def enter(desk: Desk, request: Request, person: people.Person) -> Response:
    """Log in somebody who has proved who he is.

    Raises:
        HTTPException: 503.
    """
    cookie, review = session_of(request), desk.settings.review
    fresh = await desk.work(lambda db: people.log_in(db, review, cookie, person))
    return _go("/", COOKIE, fresh)


def name_cells(
    review: Review, t: dict[str, str], present: people.Person | None, pins: Collection[str]
) -> list[Cell]:
    """A button for everybody; `pins` are the operators who have one."""

    def small(name: str) -> str:
        if name in review.supervisors:
            return t["supervisor"]
        return t["pin"] if name in pins else ""

    return [
        Cell(
            name,
            "/people/login",
            "name",
            name,
            small(name),
            pressed=present is not None and name == present.name,
        )
        for name in [*review.operators, *review.supervisors]
    ]


class NetworkPassword:
    """The page that asks for the password of the network."""

    def __init__(self, desk: Desk, shell: Shell, secrets: Secrets) -> None:
        self._desk = desk
        self._shell = shell
        self._secrets = secrets

    async def ask(self, request: Request) -> Response:
        """Answer what may only be answered with the password."""
        if request.headers.get("content-type", "").startswith("application/json"):
            return JSONResponse({"state": "login"}, 401)
        page = request.method == "GET" and "." not in request.url.path.rsplit("/", 1)[-1]
        return self._page(request, 200 if page else 401)

    async def check(self, request: Request) -> Response:
        """Let in who knows it.

        Raises:
            HTTPException: as `checked_form`; 503.
        """
        form = await checked_form(request, self._desk.key)
        address = request.client.host if request.client else "?"
        right, wait = await self._secrets.check(people.NETWORK, form.get("password", ""), address)
        if not right:
            return self._page(request, 429 if wait > 0 else 401, wait, wrong=True)
        cookie, review = session_of(request), self._desk.settings.review
        fresh = await self._desk.work(lambda db: people.admit(db, review, cookie, address))
        return _go("/", COOKIE, fresh)

    def _page(
        self, request: Request, status: int, wait: float = 0, *, wrong: bool = False
    ) -> Response:
        t = texts(self._shell.language(request))
        reason = t["password-wrong"] if wrong else t["password-why"]
        if wait > 0:
            reason = t["password-wait"].format(wait=in_words(wait, t))
        return self._shell.render(request, "password.html", status, reason=reason, wrong=wrong)


def paged(names: list[Cell], fixed: list[Cell], room: int) -> list[list[Cell]]:
    """The cells of every page: names in their order, `fixed` at the end of the first page.

    Of several pages each has one cell less, for the way to the next.
    """
    if len(names) + len(fixed) <= room:
        return [[*names, *fixed]]
    first = max(0, room - 1 - len(fixed))
    cells = [*names[:first], *fixed, *names[first:]]
    return [cells[i : i + room - 1] for i in range(0, len(cells), room - 1)]


def in_words(wait: float, t: dict[str, str]) -> str:
    """A time to wait, rounded up."""
    if wait <= 90:
        return t["seconds"].format(count=math.ceil(wait))
    return t["minutes"].format(count=math.ceil(wait / 60))


def _go(where: str, cookie: str = "", value: str = "") -> Response:
    """Lead the browser to another page."""
    response = RedirectResponse(where, 303)
    if cookie:
        set_cookie(response, cookie, value)
    return response
