"""What stands between a browser and the pages: the password of the network."""

import contextlib

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from device.review import people
from device.review.desk import Desk
from device.review.guard import session_of


class Gate:
    """Lets in who gave the password, and notes when somebody is there.

    A page that was delivered was asked for by a person; pictures, and what scripts ask for again
    and again, say nothing about anybody.
    """

    def __init__(self, app: ASGIApp, desk: Desk, ask: ASGIApp | None) -> None:
        """`ask` answers who has not given the password; None: there is none to be given."""
        self._app = app
        self._desk = desk
        self._ask = ask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or ask for the password."""
        cookie, review = session_of(Request(scope)), self._desk.settings.review

        async def noting(message: Message) -> None:
            if _is_page(message):
                with contextlib.suppress(HTTPException):  # a busy store: the page is more urgent
                    await self._desk.work(
                        lambda db: people.visitor(db, review, cookie, active=True)
                    )
            await send(message)

        if self._ask is None or await self._knows_password(cookie):
            await self._app(scope, receive, noting)
        else:
            await self._ask(scope, receive, send)

    async def _knows_password(self, cookie: str | None) -> bool:
        review = self._desk.settings.review
        return (await self._desk.work(lambda db: people.visitor(db, review, cookie))).network


def _is_page(message: Message) -> bool:
    if message["type"] != "http.response.start" or message["status"] != 200:
        return False
    return Headers(raw=message["headers"]).get("content-type", "").startswith("text/html")
