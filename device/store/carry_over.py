"""Rows of one store carried over into another, as far as they can be read and fit."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database

from device.system.clock import stamp


@contextmanager
def attached(db: Database, other: Path) -> Iterator[None]:
    """Another file as `old`, references not looked at."""
    db.conn.commit()
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute("ATTACH ? AS old", [str(other)])
    try:
        yield
        db.conn.commit()
    finally:
        db.conn.rollback()
        db.execute("DETACH old")
        db.execute("PRAGMA foreign_keys = ON")


def copy_tables(db: Database, salvaged: Path) -> None:
    """Copy every row that fits of the tables that both know, each under its number."""
    with attached(db, salvaged):
        theirs = {row[0] for row in db.execute("SELECT name FROM old.sqlite_schema")}
        tables = db.execute(
            "SELECT name, sql LIKE '%WITHOUT ROWID%' FROM main.sqlite_schema "
            "WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '\\_%' ESCAPE '\\'"
        ).fetchall()
        for table, without_rowid in tables:
            if table not in theirs:
                continue
            found = db.execute(f"SELECT 1 FROM old.{table} LIMIT 1").fetchone()  # noqa: S608
            if table == "cycles" and found:  # the new store began one of its own
                db.execute("DELETE FROM main.cycles")
            _copy_table(db, table, numbered=not without_rowid)


def _columns(db: Database, table: str) -> list[str]:
    """Those that both stores have: an earlier or later program may have made the other one."""
    known = {row[1] for row in db.execute(f"PRAGMA old.table_info({table})")}
    return [row[1] for row in db.execute(f"PRAGMA main.table_info({table})") if row[1] in known]


def _copy_table(db: Database, table: str, *, numbered: bool) -> None:
    columns = _columns(db, table)
    primary = [
        row[1]
        for row in db.execute(f"PRAGMA main.table_info({table})")
        if row[5] and row[2] == "INTEGER"
    ]
    named = ", ".join(columns)
    if numbered and len(primary) != 1:
        named = f"rowid, {named}"
    try:
        db.execute(
            f"INSERT OR IGNORE INTO main.{table} ({named}) SELECT {named} FROM old.{table}"  # noqa: S608
        )
    except sqlite3.DatabaseError:  # a value that a strict column does not take
        marks = ", ".join("?" * len(named.split(", ")))
        for row in db.execute(f"SELECT {named} FROM old.{table}").fetchall():  # noqa: S608
            try:
                db.execute(
                    f"INSERT OR IGNORE INTO main.{table} ({named}) VALUES ({marks})",  # noqa: S608
                    list(row),
                )
            except sqlite3.DatabaseError:
                continue


def mend_references(db: Database, device: str) -> None:
    """Keep every label, if need be with an empty picture; drop other rows that refer to nothing."""
    rows = db.execute(
        "SELECT DISTINCT patch_id FROM labels WHERE patch_id NOT IN (SELECT id FROM patches)"
    ).fetchall()
    for (patch_id,) in rows:
        db.execute(
            "INSERT OR IGNORE INTO patches VALUES (?, ?, 0, 0, 200, 200, x'', NULL, NULL)",
            [patch_id, device],
        )
        db.execute(
            "INSERT OR IGNORE INTO pictures_gone VALUES (?, ?, ?, ?, ?)", [patch_id, *stamp()]
        )
    db.conn.commit()
    while wrong := db.execute("PRAGMA foreign_key_check").fetchall():
        for table, rowid, _, _ in wrong:
            if rowid is None:  # a table without row numbers: what refers is small, all of it goes
                db.execute(f"DELETE FROM {table}")  # noqa: S608
            elif table == "flags":
                _mend_flag(db, rowid)
            else:
                db.execute(f"DELETE FROM {table} WHERE rowid = ?", [rowid])  # noqa: S608
        db.conn.commit()


def _mend_flag(db: Database, rowid: int) -> None:
    """A flag whose near-identical patch is missing stands for itself; others go."""
    changed = db.execute(
        "UPDATE flags SET alike = NULL WHERE rowid = ? AND alike IS NOT NULL "
        "AND alike NOT IN (SELECT id FROM patches)",
        [rowid],
    ).rowcount
    if not changed:
        db.execute("DELETE FROM flags WHERE rowid = ?", [rowid])


def carry_over_answers(into: Path, other: Path) -> int:
    """Copy the answers that a store lacks out of another; how many.

    As far as the other can be read: it may be damaged. What the store alone has of a patch comes
    last, for it was said later: the other is a copy of before, or the store that a copy replaces.
    """
    if not other.exists():
        return 0
    with closing(sqlite3.connect(into)) as connection:
        db = Database(connection)
        db.execute("PRAGMA synchronous = OFF")  # flushed as a whole, before it is put in place
        try:
            with attached(db, other):
                db.execute(
                    "CREATE TEMP TABLE carried AS SELECT DISTINCT patch_id FROM old.labels "
                    "WHERE id NOT IN (SELECT id FROM main.labels)"
                )
                before = db.execute("SELECT count(*) FROM main.labels").fetchone()[0]
                mixed = "(SELECT patch_id FROM carried INTERSECT SELECT patch_id FROM main.labels)"
                ordered = db.execute(
                    f"SELECT id FROM old.labels WHERE patch_id IN {mixed} ORDER BY rowid"  # noqa: S608
                ).fetchall()
                ordered += db.execute(
                    f"SELECT id FROM main.labels WHERE patch_id IN {mixed} "  # noqa: S608
                    "AND id NOT IN (SELECT id FROM old.labels) ORDER BY rowid"
                ).fetchall()
                for table, condition in (
                    ("patches", "id IN (SELECT patch_id FROM carried)"),
                    ("pictures_gone", "patch_id IN (SELECT patch_id FROM carried) AND patch_id IN "
                     "(SELECT id FROM main.patches WHERE png = x'')"),
                    ("frames", "id IN (SELECT frame_id FROM old.flags WHERE patch_id IN "
                     "(SELECT patch_id FROM carried))"),
                    ("labels", "patch_id IN (SELECT patch_id FROM carried)"),
                ):  # fmt: skip
                    columns = ", ".join(_columns(db, table))
                    if not columns:  # a table of later programs
                        continue
                    db.execute(
                        f"INSERT OR IGNORE INTO main.{table} ({columns}) "  # noqa: S608
                        f"SELECT {columns} FROM old.{table} WHERE {condition}"
                        + (" ORDER BY rowid" if table == "labels" else "")
                    )
                columns = ", ".join(name for name in _columns(db, "flags") if name != "id")
                db.execute(
                    f"INSERT OR IGNORE INTO main.flags ({columns}) SELECT {columns} "  # noqa: S608
                    "FROM old.flags WHERE patch_id IN (SELECT patch_id FROM carried) ORDER BY id"
                )
                after = db.execute("SELECT count(*) FROM main.labels").fetchone()[0]
                for (label,) in ordered:
                    move_to_end(db, label)
                db.execute("DROP TABLE carried")
                db.conn.commit()
            mend_references(db, "")
        except sqlite3.DatabaseError:
            return 0
    return int(after - before)


def move_to_end(db: Database, label_id: str) -> None:
    """Make a label the last of all; the last one of a patch counts."""
    db.execute(
        "UPDATE main.labels SET rowid = (SELECT max(rowid) FROM main.labels) + 1 WHERE id = ?",
        [label_id],
    )
