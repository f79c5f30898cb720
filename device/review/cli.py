"""`millsight review`: serve the touch page."""

import ipaddress
import socket
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from config.cli import Config
from config.errors import UserError
from config.load import load_settings
from config.settings import Settings


def review(
    config: Config = None,
    *,
    port: Annotated[int | None, Parameter(validator=Number(gte=0, lte=65535))] = None,
    host: str | None = None,
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
        Address to listen at. Default: `review.host` of the settings. Another one than this
        machine's own (127.0.0.1, ::1) demands a password: `millsight people password`.
    """
    import uvicorn  # noqa: PLC0415

    from device.review.app import make_app  # noqa: PLC0415

    settings = load_settings(config)
    wanted = settings.review.host if host is None else host
    asked = "review.host" if host is None else "--host"
    address = parse_address(wanted, asked)
    if not address.is_loopback and not has_password(settings):
        raise UserError(
            f"{asked} {wanted}: others can reach that address, so the pages need a password; "
            "set it with `millsight people password`"
        )
    listener = listen(address, settings.review.port if port is None else port)
    app = make_app(settings, str(address))
    print(f"review page: {address_of(listener)}", flush=True)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    )
    server.run(sockets=[listener])


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(host: str, asked: str) -> Address:
    """The address to listen at; `asked` is what named it.

    Raises:
        UserError: it is no address.
    """
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise UserError(f"{asked} {host}: not an address; use 127.0.0.1") from None


def has_password(settings: Settings) -> bool:
    """Whether the password of the network is set.

    Raises:
        UserError: the store cannot be opened.
    """
    from device.review import people  # noqa: PLC0415
    from device.store import open_store  # noqa: PLC0415

    db = open_store(settings.device.data)
    found = people.has_secret(db, people.NETWORK)
    db.close()
    return found


def listen(address: Address, port: int) -> socket.socket:
    """A socket that listens at an address; port 0 is any free one.

    Raises:
        UserError: the address is not this machine's, or the port is taken or forbidden.
    """
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # Named as TCP, or asyncio leaves Nagle's algorithm on: 40 ms more for every reply.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((str(address), port))
        listener.listen(128)  # who knows the address may come at once
    except OSError as error:
        listener.close()
        raise UserError(
            f"port {port} of {address}: {error.strerror}; name another with --port or --host"
        ) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """The page's URL."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
