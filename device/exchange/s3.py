"""The exchange in an S3-compatible object store, through obstore."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from config.errors import UserError
from config.settings import Exchange
from device.exchange.place import (
    Entry,
    Unreachable,
    check_name,
    missing,
    not_installed,
    too_large,
)
from device.exchange.secret import read_secret

try:
    import obstore
    from obstore import exceptions
    from obstore.store import S3Store
except ModuleNotFoundError:
    raise not_installed("s3") from None
if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import S3Config

CHUNK = 1 << 20
REQUEST_WAITS = 10
"""A whole request, with its megabytes, may take so many times `exchange.timeout_s`."""
RETRIES = 3
REFUSED = "AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch"
"""What some servers say of a wrong key with a status that does not."""


class S3Place:
    """A `Place` of objects below a prefix of a bucket."""

    def __init__(self, exchange: Exchange) -> None:
        url = urlsplit(exchange.url)
        if not url.netloc:
            raise UserError(f"exchange.url: {exchange.url} names no bucket: s3://bucket/prefix")
        key_id, secret = _credentials(exchange.s3_credentials)
        self.where = f"s3://{url.netloc}{url.path}".rstrip("/")
        self._server = exchange.s3_endpoint or "Amazon S3"
        config: S3Config = {
            "access_key_id": key_id,
            "secret_access_key": secret,
            "region": exchange.s3_region,
        }
        if exchange.s3_endpoint:
            config["endpoint"] = exchange.s3_endpoint
        wait = timedelta(seconds=exchange.timeout_s)
        self._store = S3Store(
            url.netloc,
            prefix=url.path.strip("/") or None,
            config=config,
            client_options={
                "allow_http": exchange.s3_endpoint.startswith("http://"),
                "connect_timeout": wait,
                "read_timeout": wait,
                "timeout": wait * REQUEST_WAITS,
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": wait},
        )

    def put(self, name: str, content: bytes | Path) -> None:
        """Store an object; a large one in parts, which the server joins at the end."""
        with self._explained():
            obstore.put(self._store, check_name(name), content)

    def get(self, name: str, limit: int) -> bytes:
        """An object of at most `limit` bytes."""
        return b"".join(self._chunks(name, limit))

    def get_file(self, name: str, file: Path, limit: int) -> None:
        """Write an object into a file."""
        with file.open("wb") as stream:
            for chunk in self._chunks(name, limit):
                stream.write(chunk)

    def list(self, prefix: str) -> list[Entry]:
        """All objects below a folder of names."""
        with self._explained():
            pages = obstore.list(self._store, prefix=check_name(prefix) if prefix else None)
            found = [
                Entry(meta["path"], meta["size"], meta["last_modified"].timestamp())
                for page in pages
                for meta in page
            ]
        # A server that took several uploads of a name at once may list it twice ever after.
        newest = {entry.name: entry for entry in sorted(found, key=lambda entry: entry.modified)}
        return sorted(newest.values())

    def size(self, name: str) -> int | None:
        """The bytes of an object; None: there is none."""
        try:
            with self._explained():
                return int(obstore.head(self._store, check_name(name))["size"])
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Nothing is held open."""

    def _chunks(self, name: str, limit: int) -> Iterator[bytes]:
        with self._explained():
            try:
                result: GetResult = obstore.get(self._store, check_name(name))
            except FileNotFoundError:
                raise missing(self.where, name) from None
            if result.meta["size"] > limit:
                raise too_large(self.where, name, limit)
            left = limit
            for chunk in result.stream(CHUNK):
                left -= len(chunk)
                if left < 0:  # the server said less than it sends
                    raise too_large(self.where, name, limit)
                yield bytes(chunk)

    def _not_let_in(self) -> UserError:
        return UserError(
            f"{self.where}: {self._server} refuses the key; check exchange.s3_credentials and what "
            "this key may do in this bucket"
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the store says into one line; a missing object stays FileNotFoundError."""
        try:
            yield
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
            raise self._not_let_in() from None
        except (exceptions.BaseError, FileNotFoundError) as error:
            said = str(error)
            if "NoSuchBucket" in said:
                raise UserError(
                    f"{self.where}: {self._server} has no such bucket; make it, or mend "
                    "exchange.url"
                ) from None
            if isinstance(error, FileNotFoundError):
                raise
            if re.search(REFUSED, said):
                raise self._not_let_in() from None
            raise Unreachable(
                f"{self.where}: {self._server} cannot be used: {_gist(said)}; check network "
                "and exchange.s3_endpoint, then run this again"
            ) from None


def _credentials(file: Path | None) -> tuple[str, str]:
    """Id and secret of the key, from the file or the environment."""
    if file is None:
        found = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
        if not (found[0] and found[1]):
            raise UserError(
                "exchange.s3_credentials: not set, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
                "are not in the environment either; name a file with the key's id and its secret"
            )
        return found[0], found[1]
    lines = read_secret(file, "exchange.s3_credentials").split()
    if len(lines) != 2:
        raise UserError(
            f"{file}: holds {len(lines)} words; the key's id belongs on its first line and the "
            "secret on its second"
        )
    return lines[0], lines[1]


def _gist(error: str) -> str:
    """The innermost cause in an error's text, without the words that are for programmers."""
    plain = " ".join(error.partition("Debug source:")[0].split())
    return plain.rpartition(" - ")[2][:200]
