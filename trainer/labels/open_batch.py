"""Opens a batch that may be anything, and believes nothing of it.

The file comes from elsewhere: it may be damaged, or made by somebody who wants the trainer to
crash, to run SQL of his, or to learn wrong things. What passes here is rows of the agreed shape.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from device.exchange.batch import APPLICATION_ID, FORMAT, TABLES, Row, statements
from device.exchange.collect import reason_of

MOST_STEPS = 2_000_000_000
"""Steps of SQLite's machine that reading a batch may take: a file may lead it in circles."""
STEPS = 1_000_000
LONGEST_VALUE = 2_000_000
READ_ONLY = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}
PRAGMAS = {"application_id", "user_version", "integrity_check"}


class BatchRefused(Exception):
    """A batch that is not merged; its text says why."""


@contextmanager
def open_batch(path: Path) -> Iterator[sqlite3.Connection]:
    """A batch file, opened read-only and checked for its shape.

    Raises:
        BatchRefused: it is not SQLite, is damaged, or has another schema.
    """
    with path.open("rb") as stream:
        if stream.read(16) != b"SQLite format 3\0":
            raise BatchRefused("is not SQLite")
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None
    )
    steps = 0

    def too_long() -> int:
        nonlocal steps
        steps += STEPS
        return int(steps > MOST_STEPS)

    try:
        with _damage_told():
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.set_progress_handler(too_long, STEPS)
            for pragma in (
                "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "query_only = ON",
            ):  # fmt: skip
                connection.execute(f"PRAGMA {pragma}")
            connection.set_authorizer(_only_reading)
            _check_shape(connection)
        yield connection  # what fails there may be the trainer's own store, and no fault of this
    finally:
        connection.close()


@contextmanager
def _damage_told() -> Iterator[None]:
    """What SQLite cannot read of a batch refuses it."""
    try:
        yield
    except sqlite3.Error as error:
        raise BatchRefused(f"is damaged: {_one_line(str(error))}") from None


def _only_reading(action: int, name: str | None, value: str | None, *_more: Any) -> int:
    """Let SQLite read tables, and its pragmas that read; deny all else."""
    pragma = action == sqlite3.SQLITE_PRAGMA and name in PRAGMAS and (value or "1") == "1"
    return sqlite3.SQLITE_OK if action in READ_ONLY or pragma else sqlite3.SQLITE_DENY


def _check_shape(connection: sqlite3.Connection) -> None:
    """Refuse any other schema than that of the format, to the letter."""
    found = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    wanted = [("table", name, sql) for name, sql in zip(TABLES, statements(), strict=True)]
    for kind, name, _ in found:
        if (kind, name) not in {row[:2] for row in wanted}:
            raise BatchRefused(f"holds a {kind} {str(name)[:64]!r} that belongs in no batch")
    if len(found) != len(wanted) or set(found) != set(wanted):
        raise BatchRefused(f"has another schema than batches of format {FORMAT}")
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if (application, version) != (APPLICATION_ID, FORMAT):
        raise BatchRefused(f"is marked as format {version}, not {FORMAT}")
    if (said := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
        raise BatchRefused(f"is damaged: {_one_line(str(said))}")


def _one_line(said: str) -> str:
    return " ".join(said.split())[:200]


def rows_of(connection: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    """The rows of a table of a batch, each of the agreed shape, by column.

    Raises:
        BatchRefused: one is not.
    """
    row: type[Row] = TABLES[table]
    columns = row.columns()
    names = ", ".join(columns)
    with _damage_told():
        for number, values in enumerate(
            connection.execute(f"SELECT {names} FROM {table}"), start=1  # noqa: S608
        ):  # fmt: skip
            found = dict(zip(columns, values, strict=True))
            try:
                row.model_validate(found)
            except ValidationError as error:
                raise BatchRefused(f"row {number} of {table}: {reason_of(error)}") from None
            yield found
