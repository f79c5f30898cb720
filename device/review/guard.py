"""What stands in front of every page: host names, headers, size limit, forged requests."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from sqlite_utils import Database
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from device.store.database import exclusive, get_state, set_state

LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
COOKIE = "millsight"
TOKEN_HEADER = "x-csrf-token"  # noqa: S105 - a name, no secret
LARGEST_BODY = 16 * 1024
"""Bytes of a request: an answer is under one thousand."""
MOST_FIELDS = 20

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """The outermost layer: known host names only, security headers on every reply.

    A foreign host name is what a rebound DNS name looks like; `refuse` answers it.
    """

    def __init__(self, app: ASGIApp, refuse: ASGIApp, names: Iterable[str] = ()) -> None:
        """`names` are those besides the machine's own; an IPv6 address may stand without []."""
        self._app = app
        self._refuse = refuse
        bare = {name.lower().strip("[]") for name in names}
        self._names = LOOPBACK | {f"[{name}]" if ":" in name else name for name in bare}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        known = scope["type"] != "http" or _host_name(scope) in self._names
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
    return None if cookie is None else cookie.value or None


async def checked_body(request: Request, key: bytes) -> bytes:
    """The JSON of a POST that a script of our own pages sent, with the token in its header.

    Raises:
        HTTPException: 403 forged or without a token, 413 too large, 415 not JSON.
    """
    _check_sender(request, key, request.headers.get(TOKEN_HEADER, ""))
    return await _body(request, "application/json")


async def checked_form(request: Request, key: bytes) -> dict[str, str]:
    """The fields of a form of our own pages, which has the token as its field `token`.

    Raises:
        HTTPException: 403 forged or without a token, 413 too large, 415 no form, 422 malformed.
    """
    body = await _body(request, "application/x-www-form-urlencoded")
    try:
        found = parse_qs(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise HTTPException(422, "malformed") from None
    fields = {name: values[-1] for name, values in found.items()}
    _check_sender(request, key, fields.pop("token", ""))
    return fields


def _check_sender(request: Request, key: bytes, token: str) -> None:
    session = session_of(request)
    origin = request.headers.get("origin")
    own = f"{request.url.scheme}://{request.headers['host']}"
    if (
        session is None
        or not hmac.compare_digest(token.encode(), token_of(key, session).encode())
        or origin not in {None, own}
    ):
        raise HTTPException(403, "forged")


async def _body(request: Request, media_type: str) -> bytes:
    if request.headers.get("content-type", "").split(";")[0] != media_type:
        raise HTTPException(415, "wrong-form")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, "large")
    return body
