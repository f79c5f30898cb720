"""`millsight review`: serve the touch page."""

import ipaddress
import socket
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from config.cli import Config
from config.errors import UserError
from config.load import find_settings, load_settings
from config.settings import Settings
from device.watching.last_good import keep_good

LOOPBACK = "127.0.0.1"


def review(
    config: Config = None,
    *,
    port: Annotated[int | None, Parameter(validator=Number(gte=0, lte=65535))] = None,
    host: str | None = None,
) -> None:
    """Serve the touch page on which operators answer the device's questions.

    It is a process of its own beside `millsight device run`: either may stop and come back. With a
    broken settings file it starts in safe mode: the page shows what is wrong, and puts the last
    good settings back at a tap.

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

    settings, at_hand = load_or_mend(config, port)
    wanted = settings.review.host if host is None else host
    asked = "review.host" if host is None else "--host"
    address = parse_address(wanted, asked)
    if not address.is_loopback and not has_password(settings):
        raise UserError(
            f"{asked} {wanted}: others can reach that address, so the pages need a password; "
            "set it with `millsight people password`"
        )
    wanted_port = settings.review.port if port is None else port
    if at_hand is not None and at_hand.getsockname()[:2] == (str(address), wanted_port):
        listener = at_hand  # what browsers asked meanwhile waits in it
    else:
        if at_hand is not None:
            at_hand.close()
        listener = listen(address, wanted_port)
    app = make_app(settings, str(address))
    keep_good(config, settings)
    print(f"review page: {address_of(listener)}", flush=True)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    )
    server.run(sockets=[listener])


def load_or_mend(config: Path | None, port: int | None) -> tuple[Settings, socket.socket | None]:
    """The settings; while the file is broken, the page of the safe mode is served on this machine.

    Where it was, its socket listens still.

    Raises:
        UserError: there is no settings file, or the port is taken.
    """
    listener: socket.socket | None = None
    while True:
        try:
            return load_settings(config), listener
        except UserError as error:
            file, broken = find_settings(config), str(error)
        from device.review import safe_mode  # noqa: PLC0415
        from device.watching import last_good  # noqa: PLC0415

        print(broken, file=sys.stderr, flush=True)
        good = last_good.find(file)
        review = Settings().review if good is None else good.settings.review
        listener = listen(
            parse_address(LOOPBACK, "safe mode"), review.port if port is None else port
        )
        print(f"safe mode: {address_of(listener)}", flush=True)
        safe_mode.serve(file, listener.dup(), good)  # which the server closes
        if not last_good.is_mended(file):  # ended by a signal
            sys.exit(0)


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
    from device.store.database import open_store_of  # noqa: PLC0415

    db = open_store_of(settings)
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
