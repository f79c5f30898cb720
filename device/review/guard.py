"""What stands in front of every page: host names, headers, size limit, forged requests."""

import hashlib
import hmac
import secrets
from http.cookies import CookieError, SimpleCookie

from sqlite_utils import Database
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from device.store import exclusive, get_state, set_state

LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
COOKIE = "millsight"
TOKEN_HEADER = "x-csrf-token"  # noqa: S105 - a name, no secret
LARGEST_BODY = 16 * 1024
"""Bytes of a request: an answer is under one thousand."""

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """The outermost layer: host names of this machine only, security headers on every reply.

    A foreign host name is what a rebound DNS name looks like; `refuse` answers it.
    """

    def __init__(self, app: ASGIApp, refuse: ASGIApp) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        known = scope["type"] != "http" or _host_name(scope) in LOOPBACK
        await (self._app if known else self._refuse)(scope, receive, with_headers)


def _host_name(scope: Scope) -> str:
    host = Headers(scope=scope).get("host", "").lower()
    return host if host.endswith("]") else host.rsplit(":", 1)[0]


def secret_key(db: Database) -> bytes:
    """The store's own key: a page that is open while the server restarts stays valid."""
    with exclusive(db):
        if get_state(db, "review-key") is None:
            set_state(db, "review-key", secrets.token_hex(32))
        return bytes.fromhex(get_state(db, "review-key"))


def token_of(key: bytes, session: str) -> str:
    """The token that the pages of a session must send with everything that changes something."""
    return hmac.new(key, session.encode(), hashlib.sha256).hexdigest()


def session_of(request: Request) -> str | None:
    """The session that a request's cookie names."""
    try:
        cookie = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if cookie is None else cookie.value


async def checked_body(request: Request, key: bytes) -> bytes:
    """The body of a POST that one of our own pages sent.

    Raises:
        HTTPException: 403 forged or without a token, 413 too large, 415 not JSON.
    """
    session = session_of(request)
    token = request.headers.get(TOKEN_HEADER, "")
    origin = request.headers.get("origin")
    own = f"{request.url.scheme}://{request.headers['host']}"
    if (
        session is None
        or not hmac.compare_digest(token.encode(), token_of(key, session).encode())
        or origin not in {None, own}
    ):
        raise HTTPException(403, "forged")
    if request.headers.get("content-type", "").split(";")[0] != "application/json":
        raise HTTPException(415, "not-json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, "large")
    return body
