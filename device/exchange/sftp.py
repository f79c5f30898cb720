"""The exchange on an SFTP server, through paramiko.

The server's disk is not asked to flush: an object that a power cut there has emptied fails its
digest, is refused, and is sent again.
"""

import contextlib
import logging
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

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
from device.exchange.secret import check_secret

try:
    import paramiko
except ModuleNotFoundError:
    raise not_installed("sftp") from None

CHUNK = 32_768
LEFT_OVER_S = 86_400
"""Age of a half-written file after which its writer is dead, in seconds."""


class SftpPlace:
    """A `Place` of files on a server; one connection, made when it is opened."""

    def __init__(self, exchange: Exchange) -> None:
        url = urlsplit(exchange.url)
        try:
            port = url.port or 22
        except ValueError:
            raise UserError(f"exchange.url: {exchange.url}: its port is no number") from None
        if not url.hostname or not url.username:
            raise UserError(f"exchange.url: {exchange.url} must be sftp://user@host:port/folder")
        self._root = unquote(url.path).rstrip("/")
        self.where = f"sftp://{url.hostname}:{port}{self._root}"
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # it logs what it also raises
        self._client = paramiko.SSHClient()
        try:
            with self._explained():
                self._connect(exchange, url.hostname, port, unquote(url.username))
        except BaseException:
            self._client.close()
            raise

    def _connect(self, exchange: Exchange, host: str, port: int, user: str) -> None:
        key, known = exchange.sftp_key, exchange.sftp_known_hosts
        if key is None or known is None:
            name = "sftp_key" if key is None else "sftp_known_hosts"
            raise UserError(f"exchange.{name}: not set; {self.where} needs it")
        check_secret(key, "exchange.sftp_key")
        try:
            self._client.load_host_keys(str(known))
        except OSError as error:
            raise UserError(
                f"exchange.sftp_known_hosts: {known}: {error.strerror}; write the server's key "
                f"there: ssh-keyscan -p {port} {host}, and compare it with the server's own"
            ) from None
        self._client.set_missing_host_key_policy(paramiko.RejectPolicy())
        wait = exchange.timeout_s
        self._client.connect(
            host, port, user, key_filename=str(key), allow_agent=False, look_for_keys=False,
            timeout=wait, banner_timeout=wait, auth_timeout=wait,
        )  # fmt: skip
        self._sftp = self._client.open_sftp()
        channel = self._sftp.get_channel()
        assert channel is not None
        channel.settimeout(wait)

    def put(self, name: str, content: bytes | Path) -> None:
        """Write a file beside, then rename it."""
        path = self._path(name)
        folder, _, last = path.rpartition("/")
        temporary = f"{folder}/.{last}.{secrets.token_hex(8)}"
        with self._explained():
            self._make(folder)
            self._sweep(folder)
            try:
                with self._sftp.open(temporary, "wb") as stream:
                    stream.set_pipelined(True)
                    for chunk in _pieces(content):
                        stream.write(chunk)
                self._check_whole(name, temporary, content)
                self._sftp.posix_rename(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                    self._sftp.remove(temporary)
                raise

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
            return sorted(self._below(check_name(prefix) if prefix else ""))

    def size(self, name: str) -> int | None:
        """The bytes of an object; None: there is none."""
        with self._explained():
            try:
                return int(self._sftp.stat(self._path(name)).st_size or 0)
            except FileNotFoundError:
                return None

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _path(self, name: str) -> str:
        return f"{self._root}/{check_name(name)}" if self._root else f"./{check_name(name)}"

    def _below(self, name: str) -> Iterator[Entry]:
        path = self._path(name) if name else self._root or "."
        try:
            entries = self._sftp.listdir_attr(path)
        except FileNotFoundError:
            return
        for entry in entries:
            below = f"{name}/{entry.filename}" if name else entry.filename
            if entry.filename.startswith(".") or entry.st_mode is None:
                continue
            if stat.S_ISDIR(entry.st_mode):
                yield from self._below(below)
            elif stat.S_ISREG(entry.st_mode):
                yield Entry(below, entry.st_size or 0, entry.st_mtime or 0)

    def _chunks(self, name: str, limit: int) -> Iterator[bytes]:
        path = self._path(name)
        with self._explained():
            try:
                stream = self._sftp.open(path, "rb")
            except FileNotFoundError:
                raise missing(self.where, name) from None
            with stream:
                size = stream.stat().st_size or 0
                if size > limit:
                    raise too_large(self.where, name, limit)
                stream.prefetch(size)
                left = limit
                while chunk := stream.read(CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise too_large(self.where, name, limit)
                    yield chunk

    def _check_whole(self, name: str, temporary: str, content: bytes | Path) -> None:
        written = self._sftp.stat(temporary).st_size
        wanted = content.stat().st_size if isinstance(content, Path) else len(content)
        if written != wanted:
            raise Unreachable(
                f"{self.where}: {name} arrived with {written} of {wanted} bytes; is its disk full? "
                "Then run this again"
            )

    def _make(self, folder: str) -> None:
        """Make a folder and those above it, where they are missing."""
        try:
            self._sftp.stat(folder)
        except FileNotFoundError:
            above = folder.rpartition("/")[0]
            if above not in {"", "."}:
                self._make(above)
            with contextlib.suppress(OSError):  # another device may have made it meanwhile
                self._sftp.mkdir(folder)

    def _sweep(self, folder: str) -> None:
        """Remove what writers that died have left half-written."""
        with contextlib.suppress(OSError):  # a key that may not list or remove leaves them
            for entry in self._sftp.listdir_attr(folder):
                old = (entry.st_mtime or time.time()) < time.time() - LEFT_OVER_S
                if old and entry.filename.startswith("."):
                    self._sftp.remove(f"{folder}/{entry.filename}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except paramiko.BadHostKeyException:
            raise UserError(
                f"{self.where}: shows another host key than exchange.sftp_known_hosts; nothing was "
                "sent. If the server was set up anew, compare its key, then write it there"
            ) from None
        except (paramiko.PasswordRequiredException, paramiko.AuthenticationException) as error:
            locked = isinstance(error, paramiko.PasswordRequiredException)
            why = "the key has a passphrase" if locked else "the server refuses user or key"
            raise UserError(
                f"{self.where}: {why}; mend exchange.url and exchange.sftp_key"
            ) from None
        except PermissionError:
            raise UserError(
                f"{self.where}: this user may not do that there; let it read and write the "
                "exchange's folder"
            ) from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            if "known_hosts" in str(error):
                raise UserError(
                    f"{self.where}: its host key is not in exchange.sftp_known_hosts; nothing was "
                    "sent. Add it: ssh-keyscan, and compare it with the server's own"
                ) from None
            said = getattr(error, "strerror", None) or str(error) or "it hung up"
            raise Unreachable(
                f"{self.where}: does not answer: {said}; check network and server, then run this "
                "again"
            ) from None


def _pieces(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield from (content[i : i + CHUNK] for i in range(0, len(content), CHUNK))
        return
    with content.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
