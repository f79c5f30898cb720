"""The touch page's server: a Starlette application over the store."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from config.errors import UserError
from config.settings import Settings
from device.review.desk import Desk
from device.review.guard import COOKIE, Guard, session_of, token_of
from device.review.layout import arrange, panel_mm, stylesheet
from device.review.messages import Message, TakeBack, Tap, check_operator, check_tap
from device.review.pages import frame_jpeg, patch_png
from device.review.texts import languages, texts

FOLDER = Path(__file__).parent
TEMPLATES = Environment(loader=FileSystemLoader(FOLDER / "templates"), autoescape=True)
YEAR_S = 365 * 24 * 3600


def make_app(settings: Settings) -> ASGIApp:
    """The touch page of a device.

    Raises:
        UserError: the store cannot be opened, or nobody here speaks the language.
    """
    language = settings.review.language
    texts(language)  # an unknown one is refused before anything is opened
    desk = Desk(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        desk.close()

    async def on_http_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 503:
            return JSONResponse({"state": error.detail}, 503)
        named = {404: "missing", 405: "missing"}
        reason = named.get(error.status_code, error.detail)
        return error_page(language, error.status_code, reason)

    async def on_user_error(_request: Request, _error: Exception) -> Response:
        return error_page(language, 404, "missing")

    app = Starlette(
        routes=[*page_routes(desk), *talk_routes(desk), *picture_routes(desk)],
        exception_handlers={HTTPException: on_http_error, UserError: on_user_error},
        lifespan=lifespan,
    )
    return Guard(app, error_page(language, 400, "host"))


def error_page(language: str, status: int, reason: str) -> HTMLResponse:
    """A page that says what went wrong; `reason` is the end of a text's key."""
    known = texts(language)
    text = known.get(f"error-{reason}", known["error-other"])
    page = TEMPLATES.get_template("error.html")
    return HTMLResponse(page.render(t=known, language=language, status=status, text=text), status)


def page_routes(desk: Desk) -> list[BaseRoute]:
    """The page itself, its styles and scripts."""
    review, recipe = desk.settings.review, desk.settings.recipe
    layout = arrange(
        *panel_mm(review), answers=len(recipe.classes), frame=recipe.regions != "whole"
    )
    css = stylesheet(review, layout)
    shared = {
        "operators": review.operators,
        "language": review.language,
        "texts": languages(),
        "classes": recipe.classes,
        "passing": recipe.pass_classes,
        "dim_after_s": review.dim_after_s,
        "room": {
            "answers": len(layout.answers),
            "choices": len(layout.choices),
            "keys": len(layout.keys),
            "frame": layout.frame is not None,
        },
    }

    async def index(request: Request) -> Response:
        session = session_of(request) or secrets.token_urlsafe(24)
        page = TEMPLATES.get_template("review.html").render(
            t=texts(review.language),
            language=review.language,
            shared=shared | {"token": token_of(desk.key, session)},
            layout=layout,
        )
        response = HTMLResponse(page)
        response.set_cookie(COOKIE, session, max_age=YEAR_S, httponly=True, samesite="strict")
        return response

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
