"""Batches whose content was changed and made to look right: refused for their own reason."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from config.settings import Settings
from device.exchange.batch import batch_name
from tests.trainer.labels.merge_site import refused

Attack = Callable[[Path], object]


def sql(*statements: str) -> Attack:
    """Change the batch by SQL, as somebody who can write the file would."""

    def attack(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            for statement in statements:
                db.execute(statement)

    return attack


def schema(change: str) -> Attack:
    """Change the text of the schema itself."""
    return sql("PRAGMA writable_schema = ON", f"UPDATE sqlite_master SET {change}")


def bytes_at(position: int, content: bytes) -> Attack:
    def attack(path: Path) -> None:
        old = path.read_bytes()
        path.write_bytes(old[:position] + content + old[position + len(content) :])

    return attack


def other_pixels(path: Path) -> None:
    png = cv2.imencode(".png", np.full((200, 200), 7, np.uint8))[1].tobytes()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE patches SET png = ? WHERE rowid = 1", [png])


def bomb(path: Path) -> None:
    """A PNG whose header asks for 100 GB of memory."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        png = bytearray(db.execute("SELECT png FROM patches").fetchone()[0])
        png[16:24] = (300_000).to_bytes(4) * 2
        db.execute("UPDATE patches SET png = ? WHERE rowid = 1", [bytes(png)])


def forged_label(path: Path) -> None:
    """Somebody else's answer under the id of a true one."""
    sql("UPDATE labels SET class = 'clean' WHERE rowid = 1")(path)


def wrong_type(path: Path) -> None:
    """Text in a column of whole numbers, past SQLite's own check."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        sound = db.execute("SELECT sql FROM sqlite_master WHERE name = 'flags'").fetchone()[0]
        loose = sound.replace("cycle INTEGER", "cycle TEXT")
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'flags'", [loose])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE flags SET cycle = 'one'")
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'flags'", [sound])


# What is changed inside the file: the name and the manifest are then made to fit it again, as a
# device that is in the wrong hands would. The words are those of the reason.
INSIDE: dict[str, tuple[Attack, str]] = {
    "not SQLite": (lambda path: path.write_bytes(b"PK\3\4" * 1000), "is not SQLite"),
    "empty": (lambda path: path.write_bytes(b""), "is not SQLite"),
    "zeros": (lambda path: path.write_bytes(bytes(100_000)), "is not SQLite"),
    "only a header": (
        lambda path: path.write_bytes(b"SQLite format 3\0"),
        "damaged|another schema",
    ),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:8192]), "damaged"),
    "a torn page": (bytes_at(8192, b"\xee" * 600), "damaged|another schema"),
    "random pages": (
        lambda path: path.write_bytes(
            path.read_bytes()[:100] + np.random.default_rng(0).bytes(90_000)
        ),
        "damaged|schema",
    ),
    "an extra table": (sql("CREATE TABLE more (x)"), "holds a table 'more'"),
    "a trigger": (
        sql("CREATE TRIGGER t AFTER INSERT ON labels BEGIN SELECT 1; END"),
        "holds a trigger 't'",
    ),
    "a view": (sql("CREATE VIEW v AS SELECT * FROM labels"), "holds a view 'v'"),
    "a view in place of a table": (
        sql("DROP TABLE scores", "CREATE VIEW scores AS SELECT 1 AS hour"),
        "holds a view 'scores'",
    ),
    "an index": (sql("CREATE INDEX i ON labels (id)"), "holds a index 'i'"),
    "a missing table": (sql("DROP TABLE events"), "another schema"),
    "a renamed column": (sql("ALTER TABLE labels RENAME operator TO who"), "another schema"),
    "a further column": (sql("ALTER TABLE labels ADD COLUMN x INTEGER"), "another schema"),
    "a looser table": (
        schema("sql = replace(sql, 'NOT NULL', '') WHERE name = 'labels'"),
        "another schema",
    ),
    "a generated column": (
        schema("sql = replace(sql, 'repeat INTEGER NOT NULL', 'repeat AS (1)')"),
        "damaged|another schema",
    ),
    "a virtual table": (
        schema("sql = 'CREATE VIRTUAL TABLE events USING fts5(x)' WHERE name = 'events'"),
        "damaged|another schema",
    ),
    "another kind of database": (sql("PRAGMA application_id = 7"), "is marked as format"),
    "another version of the format": (sql("PRAGMA user_version = 9"), "is marked as format 9"),
    "pixels of another patch": (other_pixels, "patches: its id is not that of its pixels"),
    "a picture of gigabytes": (bomb, "no grey PNG of 200"),
    "a picture that is none": (sql("UPDATE patches SET png = x'00'"), "no grey PNG of 200"),
    "an answer that was changed": (forged_label, "labels: its id is not its own"),
    "a frame that was changed": (sql("UPDATE frames SET sequence = 77"), "frames: its id is not"),
    "the batch of another device": (
        lambda path: shutil.copy(next(path.parent.parent.glob("box 1/*.db")), path),
        "holds a row of device 'box 1'",
    ),
    "rows of another device": (sql("UPDATE patches SET device = 'box 1'"), "its id is not that"),
    "text where numbers belong": (wrong_type, "damaged|flags: cycle"),
    "a NUL in a text": (
        sql("UPDATE events SET text = 'a' || char(0) || 'b'"),
        "events: text",
    ),
    "a line feed in a name": (
        sql("UPDATE flags SET predicted = 'a' || char(10) || 'b'"),
        "flags: predicted",
    ),
    "text that is no UTF-8": (
        sql("UPDATE events SET text = CAST(x'ff41fe' AS TEXT)"),
        "damaged",
    ),
    "an endless text": (sql("UPDATE events SET text = hex(zeroblob(1500000))"), "damaged|text"),
    "infinity": (sql("UPDATE flags SET score = 9e999"), "flags: score"),
    "a negative count": (sql("UPDATE counters SET frames = -1"), "counters: frames"),
    "an impossible probability": (
        sql("UPDATE flags SET draw_probability = 7 WHERE reason = 'audit'"),
        "flags: draw_probability",
    ),
    "an unknown reason": (sql("UPDATE flags SET reason = 'magic'"), "flags: reason"),
    "an unknown kind of answer": (sql("UPDATE labels SET answer = 'maybe'"), "labels: answer"),
    "JSON that goes in circles": (
        sql("UPDATE flags SET log_probabilities = replace(hex(zeroblob(9000)), '0', '[')"),
        "log_probabilities",
    ),
    "a flag of no patch": (sql("DELETE FROM patches WHERE rowid = 1"), "not in its patches"),
    "an answer of no patch": (
        sql("DELETE FROM flags", "DELETE FROM patches"), "labels names .*not in its patches",
    ),
    "a flag of no frame": (sql("DELETE FROM frames"), "flags names .*not in its frames"),
    "answers the manifest does not count": (sql("DELETE FROM labels"), "counts other answers"),
}  # fmt: skip


@pytest.mark.parametrize("name", INSIDE)
def test_a_batch_that_was_made_to_look_right(name: str, site: Settings) -> None:
    attack, reason = INSIDE[name]
    path = next(Path(site.exchange.url, "labels/box 2").glob("*.db"))
    old = path.with_suffix(".json")
    before = path.read_bytes()
    attack(path)
    assert path.read_bytes() != before
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = json.loads(old.read_bytes()) | {
        "sha256": sha256, "bytes": path.stat().st_size,
    }  # fmt: skip
    there = Path(site.exchange.url, batch_name("box 2", 1, sha256))
    path.rename(there.with_name(there.name + ".db"))
    there.with_name(there.name + ".json").write_text(json.dumps(manifest))
    old.unlink()
    refused(site, reason)
