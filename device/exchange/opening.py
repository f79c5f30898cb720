"""Opens the exchange of the settings, whichever kind it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from config.settings import Exchange
from device.exchange.folder import FolderPlace
from device.exchange.place import Place


@contextmanager
def open_place(exchange: Exchange) -> Iterator[Place]:
    """The exchange of the settings; `exchange.url` is absolute, as `load_settings` gives it.

    Raises:
        Unreachable: it does not answer (SFTP; the others tell with their first operation).
        UserError: its address, key or credentials cannot be used.
    """
    place = _connect(exchange)
    try:
        yield place
    finally:
        place.close()


def _connect(exchange: Exchange) -> Place:
    scheme = urlsplit(exchange.url).scheme
    if scheme == "s3":
        from device.exchange.s3 import S3Place  # noqa: PLC0415 - 15 MB that a folder does not need

        return S3Place(exchange)
    if scheme == "sftp":
        from device.exchange.sftp import SftpPlace  # noqa: PLC0415

        return SftpPlace(exchange)
    return FolderPlace(Path(exchange.url.removeprefix("file://")))
