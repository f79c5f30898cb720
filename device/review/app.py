"""The touch page's server: a Starlette application over the store."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, request_response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from config.errors import UserError
from config.settings import Settings
from device.models.models_in_use import classes_in_use
from device.review import changes, live, lot, lots, models, night, plates, today
from device.review.desk import Desk
from device.review.gate import Gate
from device.review.guard import Guard, session_of
from device.review.layout import stylesheet
from device.review.messages import Message, TakeBack, Tap, check_tap
from device.review.outside import outside_routes
from device.review.pages import frame_jpeg, patch_png
from device.review.people_pages import NetworkPassword, Secrets, people_routes, pin_routes
from device.review.shell import FOLDER, Shell
from device.review.texts import languages, texts


def make_app(settings: Settings, host: str = "127.0.0.1") -> ASGIApp:
    """The touch pages of a device, for who can reach the address `host`.

    On another address than loopback they ask for the password of the network.

    Raises:
        UserError: the store cannot be opened, or nobody here speaks the language.
    """
    texts(settings.review.language)  # an unknown one is refused before anything is opened
    desk = Desk(settings)
    shell = Shell(settings, desk.key)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        desk.close()

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status, reason = error.status_code, error.detail
        script = request.headers.get("content-type", "").startswith("application/json")
        if script and status in {401, 503}:
            return JSONResponse({"state": reason}, status)
        named = {404: "error-missing", 405: "error-missing", 503: f"{reason}-text"}
        return error_page(request, status, named.get(status, f"error-{reason}"))

    async def on_user_error(request: Request, _error: Exception) -> Response:
        return error_page(request, 404, "error-missing")

    def error_page(request: Request, status: int, key: str) -> Response:
        """Say what went wrong."""
        known = texts(shell.language(request))
        text = known.get(key, known["error-other"])
        return shell.render(request, "error.html", status, text=text)

    async def foreign_host(request: Request) -> Response:
        return error_page(request, 400, "error-host")

    secrets = Secrets(desk)
    password = NetworkPassword(desk, shell, secrets)
    address = ipaddress.ip_address(host)
    guarded = [
        *page_routes(desk, shell),
        *people_routes(desk, shell),
        *pin_routes(desk, shell, secrets),
        *talk_routes(desk),
        *picture_routes(desk),
        *live.routes(desk, shell),
        *lots.routes(desk, shell),
        *today.routes(desk, shell),
        *changes.routes(desk, shell),
        *lot.routes(desk, shell),
        *plates.routes(desk, shell),
        *night.routes(desk, shell),  # before the models, whose paths hold it
        *models.routes(desk, shell),
    ]
    ask = None if address.is_loopback else request_response(password.ask)
    app = Starlette(
        routes=[
            *style_routes(shell),
            *outside_routes(desk),
            Route("/password", password.check, methods=["POST"]),
            Mount("", routes=guarded, middleware=[Middleware(Gate, desk=desk, ask=ask)]),
        ],
        exception_handlers={HTTPException: on_http_error, UserError: on_user_error},
        lifespan=lifespan,
    )
    names = {*settings.review.host_names, *([] if address.is_unspecified else [host])}
    return Guard(app, request_response(foreign_host), names)


def style_routes(shell: Shell) -> list[BaseRoute]:
    """Styles, scripts, and the screen for a server that is away."""

    async def panel(_request: Request) -> Response:
        css = stylesheet(shell.settings.review, shell.layout)
        return Response(css, media_type="text/css")

    async def offline(request: Request) -> Response:
        return shell.render(request, "offline.html", spoken=languages())

    async def up(_request: Request) -> Response:
        return Response(status_code=204)

    async def worker(_request: Request) -> Response:
        return FileResponse(FOLDER / "static" / "sw.js", media_type="text/javascript")

    return [
        Route("/panel.css", panel),
        Route("/offline", offline),
        Route("/up", up),
        Route("/sw.js", worker),  # from the root: it may serve what lies under its own folder only
        Mount("/static", StaticFiles(directory=FOLDER / "static")),
    ]


def page_routes(desk: Desk, shell: Shell) -> list[BaseRoute]:
    """The questions' page."""
    settings = desk.settings

    async def index(request: Request) -> Response:
        person = await desk.person(request)
        if person is None:
            return RedirectResponse("/people", 303)
        kinds = await desk.work(desk.kinds)
        shell.make_room(max(len(kind["classes"]) for kind in kinds.values()), desk.recipes)
        layout = shell.layout
        shared = {
            "recipes": kinds,
            "dim_after_s": settings.review.dim_after_s,
            "room": {
                "answers": len(layout.answers),
                "choices": len(layout.choices),
                "keys": len(layout.keys),
                "frame": layout.frame is not None,
            },
            "operator": person.name,
            "texts": texts(shell.language(request)),
        }
        return shell.render(request, "review.html", shared=shared)

    return [Route("/", index)]


def talk_routes(desk: Desk) -> list[BaseRoute]:
    """What the page sends and asks for."""

    async def questions(request: Request) -> Response:
        message, cookie = await Message.read(request, desk.key), session_of(request)
        return JSONResponse(await desk.work(lambda db: desk.questions(db, cookie, message)))

    async def answers(request: Request) -> Response:
        tap, cookie = await Tap.read(request, desk.key), session_of(request)
        check_tap(tap, await desk.work(lambda db: classes_in_use(db, desk.under(db, tap.patch))))
        reply = await desk.work(lambda db: desk.answer(db, cookie, tap))
        return JSONResponse(reply, 409 if reply["outcome"] == "late" else 200)

    async def undo(request: Request) -> Response:
        message, cookie = await TakeBack.read(request, desk.key), session_of(request)
        return JSONResponse(await desk.work(lambda db: desk.undo(db, cookie, message)))

    return [
        Route("/questions", questions, methods=["POST"]),
        Route("/answers", answers, methods=["POST"]),
        Route("/undo", undo, methods=["POST"]),
    ]


def picture_routes(desk: Desk) -> list[BaseRoute]:
    """Patches, the frames they are from, and heat maps over them."""

    async def patch(request: Request) -> Response:
        patch_id = request.path_params["patch"]
        return picture(await desk.work(lambda db: patch_png(db, patch_id)), "image/png")

    async def frame(request: Request) -> Response:
        ids = request.path_params
        found = await desk.work(lambda db: frame_jpeg(db, ids["frame"], ids["patch"]))
        return picture(found, "image/jpeg")

    async def heat(request: Request) -> Response:
        ids = request.path_params
        found = await desk.work(lambda db: desk.heat.png(db, ids["model"], ids["patch"]))
        return picture(found, "image/png")

    return [
        Route("/patches/{patch}.png", patch),
        Route("/frames/{frame}/{patch}.jpg", frame),
        Route("/heat/{model}/{patch}.png", heat),
    ]


def picture(content: bytes | None, media_type: str) -> Response:
    """A picture that never changes.

    Raises:
        HTTPException: 404, there is none.
    """
    if content is None:
        raise HTTPException(404)
    return Response(
        content, media_type=media_type, headers={"Cache-Control": "private, max-age=86400"}
    )
