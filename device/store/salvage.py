"""Reading what is whole of a damaged store.

SQLite's `.recover` reads every page by itself; Debian 12's `sqlite3` has the command and lacks the
`sqlite_dbpage` table that it works with, so there it fails. Then the rows are read through SQLite,
around the places that it stumbles over: a damaged leaf loses its own rows.
"""

import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

RECOVER_S = 3600.0
MOST_STEPS = 100_000
"""Places that are stepped over in a table before the rest is given up."""
ROWS = 100
MAGIC = b"SQLite format 3\0"


def salvage(damaged: Path, into: Path, copy: Path | None = None) -> str | None:
    """Write what can be read of a store into a new file; by which way, or None: nothing.

    Where its first page is destroyed, that of an earlier `copy` of it is put in its place.

    Raises:
        OSError: the disk has no room, or fails.
    """
    for lent in (False, True):
        if lent and not (copy is not None and _lend_first_page(damaged, copy)):
            break
        for way, read in (("recover", _recover), ("rows", _read_rows)):
            into.unlink(missing_ok=True)
            if read(damaged, into):
                return way
    return None


def _lend_first_page(damaged: Path, copy: Path) -> bool:
    """Write the first page of a copy over that of the store; False: it does not fit.

    It says where each table begins, which in a copy made page by page is where it began in the
    store. The header's fields: https://www.sqlite.org/fileformat2.html#the_database_header
    """
    try:
        with copy.open("rb") as stream:
            page = bytearray(stream.read(100))
    except OSError:
        return False
    size = int.from_bytes(page[16:18], "big")
    pages = damaged.stat().st_size // size if size >= 512 else 0
    if not page.startswith(MAGIC) or not pages:
        return False
    with copy.open("rb") as stream:
        page = bytearray(stream.read(size))
    page[18:20] = b"\x02\x02"  # there is a log beside it, unlike beside a copy
    page[28:32] = pages.to_bytes(4, "big")
    page[32:40] = bytes(8)  # free pages are not asked for
    with damaged.open("r+b") as stream:
        stream.write(page)
    return True


def _recover(damaged: Path, into: Path) -> bool:
    program = shutil.which("sqlite3")
    if program is None:
        return False
    reader = subprocess.Popen(
        [program, str(damaged), ".recover"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        subprocess.run(
            [program, "-cmd", "PRAGMA synchronous = OFF", str(into)],
            stdin=reader.stdout,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=RECOVER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        assert reader.stdout is not None
        reader.stdout.close()
        reader.kill()
        reader.wait()
    return _has_labels(into)


def _has_labels(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as db:
            db.execute("SELECT 1 FROM labels LIMIT 1")
    except sqlite3.DatabaseError:
        return False
    return True


def _read_rows(damaged: Path, into: Path) -> bool:
    with closing(sqlite3.connect(damaged)) as source, closing(sqlite3.connect(into)) as target:
        target.execute("PRAGMA synchronous = OFF")
        try:
            tables = source.execute(
                "SELECT name, sql FROM sqlite_schema WHERE type = 'table' "
                "AND name NOT LIKE 'sqlite_%'"
            ).fetchall()
        except sqlite3.DatabaseError:
            return False
        for table, sql in tables:
            columns = [row[1] for row in source.execute(f"PRAGMA table_info({table})")]
            target.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            numbered = "WITHOUT ROWID" not in sql.upper()
            rows: Iterable[Row]
            rows = _numbered_rows(source, table) if numbered else _both_ends(source, table)
            _write(target, table, columns, rows, numbered=numbered)
        target.commit()
    return _has_labels(into)


Row = tuple[object, ...]


def _write(
    target: sqlite3.Connection,
    table: str,
    columns: list[str],
    rows: Iterable[Row],
    *,
    numbered: bool,
) -> None:
    named = ", ".join(["rowid", *columns] if numbered else columns)
    marks = ", ".join("?" * (len(columns) + numbered))
    target.executemany(f"INSERT OR IGNORE INTO {table} ({named}) VALUES ({marks})", rows)  # noqa: S608


def _numbered_rows(source: sqlite3.Connection, table: str) -> Iterator[Row]:
    """The rows of a table by their numbers; what cannot be read is stepped over."""
    try:
        last = int(
            source.execute(f"SELECT rowid FROM {table} ORDER BY rowid DESC LIMIT 1").fetchone()[0]  # noqa: S608
        )
    except (sqlite3.DatabaseError, TypeError):
        last = MOST_STEPS
    at, step, steps = -1, 1, 0
    while at <= last and steps < MOST_STEPS:
        read = _fetch(
            source,
            f"SELECT rowid, * FROM {table} WHERE rowid > {at} ORDER BY rowid LIMIT {ROWS}",  # noqa: S608
        )
        yield from read
        if read:
            at, step = int(str(read[-1][0])), 1
        elif _is_end(source, table, at):
            return
        else:
            at, step, steps = at + step, min(step * 2, 64), steps + 1


def _fetch(source: sqlite3.Connection, query: str) -> list[Row]:
    """Rows until the first that cannot be read."""
    rows: list[Row] = []
    with contextlib.suppress(sqlite3.DatabaseError):
        rows.extend(source.execute(query))
    return rows


def _is_end(source: sqlite3.Connection, table: str, at: int) -> bool:
    try:
        row = source.execute(f"SELECT 1 FROM {table} WHERE rowid > ? LIMIT 1", [at]).fetchone()  # noqa: S608
    except sqlite3.DatabaseError:
        return False
    return row is None


def _both_ends(source: sqlite3.Connection, table: str) -> list[Row]:
    """The rows of a table without numbers, up to the damage from either side."""
    key = ", ".join(
        row[1] + " DESC"
        for row in sorted(source.execute(f"PRAGMA table_info({table})"), key=lambda row: row[5])
        if row[5]
    )
    found: list[Row] = []
    for order in ("", f" ORDER BY {key}"):
        found += _fetch(source, f"SELECT * FROM {table}{order}")  # noqa: S608
    return list(dict.fromkeys(found))
