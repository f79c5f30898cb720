"""The exchange as a plain folder: of one machine, or a network share that is mounted."""

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from config.errors import UserError
from device.exchange.place import Entry, Unreachable, check_name, missing, too_large
from device.system.durable import flush_folder
from device.system.owner import give_to_owner_of_folder, make_folder

LEFT_OVER_S = 86_400
"""Age of a half-written file after which its writer is dead, in seconds."""
CHUNK = 1 << 20


class FolderPlace:
    """A `Place` of files; the folder is made by the first `put`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where = str(folder)

    def put(self, name: str, content: bytes | Path) -> None:
        """Write a file beside, flush it to the disk, rename it, flush the folder."""
        path = self.folder / check_name(name)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            make_folder(path.parent)
            _sweep(path.parent)
            try:
                with temporary.open("wb") as stream:
                    if isinstance(content, Path):
                        with content.open("rb") as source:
                            shutil.copyfileobj(source, stream, CHUNK)
                    else:
                        stream.write(content)
                    stream.flush()
                    give_to_owner_of_folder(temporary)
                    os.fsync(stream.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            flush_folder(path.parent)
        except OSError as error:
            raise _refused(self.where, error) from None

    def get(self, name: str, limit: int) -> bytes:
        """An object of at most `limit` bytes."""
        try:
            with self._path(name).open("rb") as stream:
                content = stream.read(limit + 1)
        except OSError as error:
            raise self._explain(name, error) from None
        if len(content) > limit:
            raise too_large(self.where, name, limit)
        return content

    def get_file(self, name: str, file: Path, limit: int) -> None:
        """Copy an object into a file."""
        with file.open("wb") as stream:
            for chunk in self._chunks(name, limit):
                stream.write(chunk)

    def list(self, prefix: str) -> list[Entry]:
        """All objects below a folder; none where it does not exist."""
        base = self.folder / check_name(prefix) if prefix else self.folder
        found = []
        try:
            if not self.folder.is_dir() and self.folder.exists():
                raise NotADirectoryError(20, "is no folder", self.where)
            for folder, folders, files in os.walk(base, onerror=_unless_missing):
                folders[:] = [name for name in folders if not name.startswith(".")]
                for file in files:
                    path = Path(folder, file)
                    if not file.startswith(".") and path.is_file() and not path.is_symlink():
                        name = path.relative_to(self.folder).as_posix()
                        found.append(Entry(name, path.stat().st_size, path.stat().st_mtime))
        except OSError as error:
            raise _refused(self.where, error) from None
        return sorted(found)

    def size(self, name: str) -> int | None:
        """The bytes of an object; None: there is none."""
        try:
            path = self._path(name)
            return path.stat().st_size if path.is_file() else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(self.where, error) from None

    def close(self) -> None:
        """Nothing is held open."""

    def _chunks(self, name: str, limit: int) -> Iterator[bytes]:
        try:
            with self._path(name).open("rb") as source:
                if os.fstat(source.fileno()).st_size > limit:
                    raise too_large(self.where, name, limit)
                left = limit
                while chunk := source.read(min(CHUNK, left + 1)):
                    if len(chunk) > left:  # it grows while it is read
                        raise too_large(self.where, name, limit)
                    left -= len(chunk)
                    yield chunk
        except OSError as error:
            raise self._explain(name, error) from None

    def _path(self, name: str) -> Path:
        """The file of an object. A link is not followed: it may lead out of the place."""
        path = self.folder / check_name(name)
        if path.is_symlink():
            raise FileNotFoundError(2, "is a link", str(path))
        return path

    def _explain(self, name: str, error: OSError) -> UserError:
        if isinstance(error, FileNotFoundError):
            return missing(self.where, name)
        return _refused(self.where, error)


def _refused(where: str, error: OSError) -> UserError:
    """What the system said, and what to do."""
    what = f"{where}: {error.filename or 'the exchange'}: {error.strerror}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return UserError(f"{what}; free some space there, then run this again")
    if isinstance(error, PermissionError):
        return UserError(f"{what}; let this user read and write the exchange's folder")
    return Unreachable(f"{what}; mount the share or mend exchange.url, then run this again")


def _unless_missing(error: OSError) -> None:
    """A folder of names that nobody has put anything into is no error."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _sweep(folder: Path) -> None:
    """Remove what writers that died have left half-written."""
    with contextlib.suppress(OSError):
        for path in folder.glob(".*"):
            if path.is_file() and path.stat().st_mtime < time.time() - LEFT_OVER_S:
                path.unlink()
