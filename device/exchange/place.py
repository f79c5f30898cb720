"""Where devices and trainer hand things to each other: whole objects, by name.

A folder, an S3-compatible store or an SFTP server. An object is there whole or not at all,
whenever the writer dies; putting it again replaces it. Nothing here needs put-if-absent, renaming
or deleting, which stores do not agree on.
"""

import re
from pathlib import Path
from typing import NamedTuple, Protocol

from config.errors import UserError

NAME = re.compile(r"[\w+-][\w .+-]*(/[\w+-][\w .+-]*)*")
"""Names of objects: parts between slashes, none of which begins with a dot or a blank."""


class Unreachable(UserError):
    """The place does not answer or does not let us in: nothing is known of what is there."""


class Missing(UserError):
    """The place answers, and has no such object."""


class TooLarge(UserError):
    """An object is larger than what the caller takes; none of it was kept."""


class Entry(NamedTuple):
    """An object as a listing shows it."""

    name: str
    size: int
    """In bytes."""
    modified: float
    """When it was put, in seconds since 1970, by the clock of the place."""


class Place(Protocol):
    """Whole objects by name. Not for several threads at once.

    Every operation raises `Unreachable` where the place does not answer, and `UserError` where it
    answers but refuses, with what to do.
    """

    where: str
    """The place in messages and reports: its address without any secret."""

    def put(self, name: str, content: bytes | Path) -> None:
        """Store an object, from memory or from a file; whoever lists it can get it whole."""

    def get(self, name: str, limit: int) -> bytes:
        """An object of at most `limit` bytes.

        Raises:
            Missing: there is none.
            TooLarge: it is larger; no more than `limit` bytes were fetched.
        """

    def get_file(self, name: str, file: Path, limit: int) -> None:
        """Write an object into a file, replacing it; on an error the file may hold a part.

        Raises:
            Missing, TooLarge: as `get`.
            OSError: the file cannot be written.
        """

    def list(self, prefix: str) -> list[Entry]:
        """All objects below a folder of names (`labels/box`; "": all), each name once, sorted."""

    def size(self, name: str) -> int | None:
        """The bytes of an object; None: there is none."""

    def close(self) -> None:
        """Let go of the connection."""


def check_name(name: str) -> str:
    """The name itself, where it may be an object's: it cannot lead out of the place.

    Raises:
        ValueError: it may not be.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of an object")
    return name


def too_large(where: str, name: str, limit: int) -> TooLarge:
    """What every place says of an object over the limit."""
    return TooLarge(f"{where}: {name} is larger than {limit} bytes; refused, not fetched")


def missing(where: str, name: str) -> Missing:
    """What every place says of an object that is not there."""
    return Missing(f"{where}: has no {name}; check exchange.url and what should have put it there")


def not_installed(scheme: str) -> UserError:
    """What every place says where its library is not installed."""
    return UserError(
        f"exchange.url: {scheme}:// needs more than the base: pip install 'millsight[exchange]'"
    )
