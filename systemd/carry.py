"""The database across an upgrade: a copy before, and the way back where a version changed it."""

import contextlib
import os
import sqlite3
from pathlib import Path

KEPT = 2
"""Copies that stay; older ones are removed."""


def backup(database: Path, version: str) -> None:
    """Copy a database before a version gets it: online, whole or not at all.

    Raises:
        OSError, sqlite3.Error: no room, or the database is damaged.
    """
    copy = folder(database) / f"before-{version}.db"
    copy.parent.mkdir(exist_ok=True)
    own(copy.parent, like=database)
    partial = copy.with_name(copy.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(sqlite3.connect(database)) as source,
            contextlib.closing(sqlite3.connect(partial)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, with no others beside it
        own(partial, like=database)
        partial.replace(copy)
    finally:
        partial.unlink(missing_ok=True)  # on a full disk it would hold what room there was
    copies = sorted(copies_of(database), key=lambda path: path.stat().st_mtime)
    for old in copies[:-KEPT]:
        old.unlink()


def fit(database: Path, known: set[str]) -> Path | None:
    """Make a database one that a program with these migrations can open.

    Where a newer program has changed it, the youngest copy that the older one can open takes its
    place, with everything carried over; returns where the newer one is kept, None: all is well.

    Raises:
        OSError, sqlite3.Error: nothing was changed; there may be no copy that old.
    """
    if not migrations(database) - known:
        return None
    copies = sorted(copies_of(database), key=lambda path: -path.stat().st_mtime)
    copy = next((path for path in copies if not migrations(path) - known), None)
    if copy is None:
        raise sqlite3.DatabaseError(
            f"{database} was changed by a newer version, and no older copy is in {folder(database)}"
        )
    aside = folder(database) / f"set-aside-{copy.name}"
    carry_back(database, copy, aside)
    return aside


def folder(database: Path) -> Path:
    """Where the copies are."""
    return database.parent / "backups"


def copies_of(database: Path) -> list[Path]:
    """The copies that were made before upgrades."""
    return list(folder(database).glob("before-*.db"))


def carry_back(database: Path, copy: Path, aside: Path) -> None:
    """Replace a database by an older copy of it, with every row taken over that the old one holds.

    Nothing that was answered or flagged since is lost. The newer one is kept as `aside`.

    Raises:
        OSError, sqlite3.Error: nothing was changed.
    """
    made = database.with_name(database.name + ".carried")
    made.unlink(missing_ok=True)
    try:
        _merge(database, copy, made)
        with contextlib.closing(sqlite3.connect(database)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        aside.unlink(missing_ok=True)
        os.link(database, aside)
        for left in ("-wal", "-shm"):
            database.with_name(database.name + left).unlink(missing_ok=True)
        made.replace(database)
    finally:
        made.unlink(missing_ok=True)


def _merge(database: Path, copy: Path, made: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy)) as old:
        old.execute("VACUUM INTO ?", [str(made)])
    with contextlib.closing(sqlite3.connect(made, isolation_level=None)) as db:
        db.execute("ATTACH ? AS newer", [str(database)])
        db.execute("BEGIN")
        for (table,) in db.execute(
            "SELECT name FROM main.sqlite_master WHERE type = 'table' "
            "AND name NOT LIKE 'sqlite^_%' ESCAPE '^' AND name != '_sqlite_migrations'"
        ).fetchall():
            _take_over(db, table)
        db.execute("COMMIT")
        if (said := db.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(said)
    own(made, like=database)


def _take_over(db: sqlite3.Connection, table: str) -> None:
    def columns(schema: str) -> dict[str, str]:
        rows = db.execute(f'PRAGMA {schema}.table_info("{table}")')
        return {row[1]: row[2].upper() for row in rows}

    both = columns("main").keys() & columns("newer").keys()
    if not both:
        return
    named = ", ".join(f'"{name}"' for name in sorted(both))
    # Pictures never change, and are most of the bytes; counters and states do.
    way = "IGNORE" if "BLOB" in columns("main").values() else "REPLACE"
    db.execute(
        f'INSERT OR {way} INTO main."{table}" ({named}) '  # noqa: S608
        f'SELECT {named} FROM newer."{table}"'
    )


def migrations(database: Path) -> set[str]:
    """Names of the migrations that a database has."""
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
        return {row[0] for row in db.execute("SELECT name FROM _sqlite_migrations")}


def own(path: Path, like: Path) -> None:
    """Give a file or folder the owner of another one."""
    owner = like.stat()
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
