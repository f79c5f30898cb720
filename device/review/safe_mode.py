"""The touch page of broken settings: what is wrong, and the last good ones, one tap away.

It shows nothing of the store, answers to this machine alone, and ends by itself as soon as the
file is good again, by the tap or by an editor.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from config.document import without_passwords
from config.errors import UserError
from config.load import load_settings
from config.settings import Settings
from device.review.app import style_routes
from device.review.guard import Guard, checked_form
from device.review.shell import Shell
from device.watching import last_good

LOOK_EVERY_S = 0.5
MOST_LINES = 2
LONGEST_LINE = 100
"""What has room on the smallest panel; a technician finds the rest by `millsight config check`."""
WHO = "touch page"
"""Nobody is logged in: whoever stands at the screen may put good settings back."""


def serve(file: Path, listener: socket.socket, good: last_good.LastGood | None) -> None:
    """Serve the page until the settings file is good again."""
    server: uvicorn.Server

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(_end_when_mended(file, server))
        yield
        watching.cancel()

    server = uvicorn.Server(
        uvicorn.Config(
            make_safe_app(file, good, lifespan), log_level="warning", access_log=False,
            server_header=False, timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    server.run(sockets=[listener])


async def _end_when_mended(file: Path, server: uvicorn.Server) -> None:
    while not await asyncio.to_thread(last_good.is_mended, file):
        await asyncio.sleep(LOOK_EVERY_S)
    server.should_exit = True


def make_safe_app(
    file: Path,
    good: last_good.LastGood | None,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
) -> ASGIApp:
    """The page as an application; `good` are the settings that can be put back."""
    key = secrets.token_bytes(32)
    shell = Shell(good.settings if good is not None else Settings(), key)

    def page(request: Request, *, failed: str = "", done: bool = False) -> Response:
        return shell.render(
            request,
            "safe_mode.html",
            500 if failed else 200,
            file=str(file),
            mistakes=_mistakes(file),
            changes=[]
            if good is None
            else [_short(line) for line in last_good.differences(file, good, MOST_LINES)],
            when=None if good is None else time.strftime("%Y-%m-%d %H:%M", _local(good.when)),
            failed=failed,
            done=done,
        )

    async def index(request: Request) -> Response:
        return page(request)

    async def restore(request: Request) -> Response:
        await checked_form(request, key)
        if good is None:
            return page(request)
        try:
            await asyncio.to_thread(last_good.put_back, file, good, WHO)
        except OSError as error:
            return page(request, failed=f"{file}: {error.strerror}")
        except UserError as error:  # they are back, and the trail could not be written
            logging.getLogger("uvicorn.error").warning("%s", error)
        return page(request, done=True)

    async def up(_request: Request) -> Response:
        return PlainTextResponse("safe mode")  # 200, where the pages themselves say 204

    async def elsewhere(_request: Request) -> Response:
        return RedirectResponse("/", 303)

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/restore", restore, methods=["POST"]),
            Route("/up", up),  # before the one of the styles
            *style_routes(shell),
            Route("/{path:path}", elsewhere),
        ],
        lifespan=lifespan,
    )
    return Guard(app, PlainTextResponse("foreign host", 400))


def _mistakes(file: Path) -> list[str]:
    """What is wrong with the file, without its path, which stands above."""
    try:
        load_settings(file)
    except UserError as error:
        lines = [line.removeprefix(f"{file}: ") for line in str(error).splitlines()]
        return [_short(line) for line in lines[:MOST_LINES]] + ["…"] * (len(lines) > MOST_LINES)
    return []


def _short(line: str) -> str:
    line = without_passwords(line)
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"


def _local(when: float) -> time.struct_time:
    with contextlib.suppress(OverflowError, OSError):
        return time.localtime(when)
    return time.localtime(0)
