"""`millsight review`: serve the touch page."""

import ipaddress
import socket
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from config.cli import Config
from config.errors import UserError
from config.load import load_settings


def review(
    config: Config = None,
    *,
    port: Annotated[int | None, Parameter(validator=Number(gte=0, lte=65535))] = None,
    host: str = "127.0.0.1",
) -> None:
    """Serve the touch page on which operators answer the device's questions.

    It is a process of its own beside `millsight device run`: either may stop and come back.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    port
        TCP port; 0 is any free one. Default: `review.port` of the settings.
    host
        Address to listen at: 127.0.0.1, ::1 or localhost; the page has no passwords yet.
    """
    import uvicorn  # noqa: PLC0415

    from device.review.app import make_app  # noqa: PLC0415

    settings = load_settings(config)
    listener = listen(host, settings.review.port if port is None else port)
    app = make_app(settings)
    print(f"review page: {address_of(listener)}", flush=True)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    )
    server.run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on this machine only; port 0 is any free one.

    Raises:
        UserError: another address than loopback, or the port is taken or forbidden.
    """
    address = "127.0.0.1" if host == "localhost" else host
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        raise UserError(f"--host {host}: not an address; use 127.0.0.1") from None
    if not ip.is_loopback:
        raise UserError(
            f"--host {host}: the page has no passwords yet, so it listens on this machine only; "
            "use 127.0.0.1"
        )
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    # Named as TCP, or asyncio leaves Nagle's algorithm on: 40 ms more for every reply.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(128)  # who knows the address may come at once
    except OSError as error:
        listener.close()
        raise UserError(
            f"port {port} of {host}: {error.strerror}; name another with --port"
        ) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """The page's URL."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
