"""The touch page's server: a Starlette application over the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, request_response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from config.errors import UserError
from config.settings import Settings
from device.review import lot, models, today
from device.review.desk import Desk
from device.review.guard import Guard
from device.review.layout import stylesheet
from device.review.messages import Message, TakeBack, Tap, check_operator, check_tap
from device.review.pages import frame_jpeg, patch_png
from device.review.shell import FOLDER, Shell
from device.review.texts import languages, texts


def make_app(settings: Settings) -> ASGIApp:
    """The touch pages of a device.

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
        if error.status_code == 503 and "text/html" in request.headers.get("accept", ""):
            text = texts(shell.language(request))[f"{error.detail}-text"]
            return shell.render(request, "error.html", 503, text=text)
        if error.status_code == 503:
            return JSONResponse({"state": error.detail}, 503)
        named = {404: "missing", 405: "missing"}
        return error_page(request, error.status_code, named.get(error.status_code, error.detail))

    async def on_user_error(request: Request, _error: Exception) -> Response:
        return error_page(request, 404, "missing")

    def error_page(request: Request, status: int, reason: str) -> Response:
        """Say what went wrong; `reason` is the end of a text's key."""
        known = texts(shell.language(request))
        text = known.get(f"error-{reason}", known["error-other"])
        return shell.render(request, "error.html", status, text=text)

    async def foreign_host(request: Request) -> Response:
        return error_page(request, 400, "host")

    app = Starlette(
        routes=[
            *page_routes(desk, shell),
            *talk_routes(desk),
            *picture_routes(desk),
            *today.routes(desk, shell),
            *lot.routes(desk, shell),
            *models.routes(desk, shell),
        ],
        exception_handlers={HTTPException: on_http_error, UserError: on_user_error},
        lifespan=lifespan,
    )
    return Guard(app, request_response(foreign_host))


def page_routes(desk: Desk, shell: Shell) -> list[BaseRoute]:
    """The questions' page, its styles and scripts."""
    settings = desk.settings
    layout = shell.layout
    css = stylesheet(settings.review, layout)
    shared = {
        "operators": settings.review.operators,
        "language": settings.review.language,
        "texts": languages(),
        "classes": settings.recipe.classes,
        "passing": settings.recipe.pass_classes,
        "dim_after_s": settings.review.dim_after_s,
        "room": {
            "answers": len(layout.answers),
            "choices": len(layout.choices),
            "keys": len(layout.keys),
            "frame": layout.frame is not None,
        },
    }

    async def index(request: Request) -> Response:
        return shell.render(request, "review.html", shared=shared)

    async def panel(_request: Request) -> Response:
        return Response(css, media_type="text/css")

    return [
        Route("/", index),
        Route("/panel.css", panel),
        Mount("/static", StaticFiles(directory=FOLDER / "static")),
    ]


def talk_routes(desk: Desk) -> list[BaseRoute]:
    """What the page sends and asks for."""

    async def questions(request: Request) -> Response:
        message = await Message.read(request, desk.key)
        return JSONResponse(await desk.work(lambda db: desk.questions(db, message)))

    async def answers(request: Request) -> Response:
        tap = await Tap.read(request, desk.key)
        check_tap(tap, desk.settings)
        reply = await desk.work(lambda db: desk.answer(db, tap))
        return JSONResponse(reply, 409 if reply["outcome"] == "late" else 200)

    async def undo(request: Request) -> Response:
        message = await TakeBack.read(request, desk.key)
        check_operator(message.operator, desk.settings)
        return JSONResponse(await desk.work(lambda db: desk.undo(db, message)))

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
