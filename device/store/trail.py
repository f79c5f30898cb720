"""The audit trail: what people did, and what happened of itself."""

import getpass
import hashlib
import os
import re

from sqlite_utils import Database

from config.document import to_toml, without_passwords
from config.settings import Settings
from device.store.database import exclusive
from device.system.clock import stamp


def add_action(db: Database, who: str, action: str, subject: str) -> None:
    """Record what somebody did, in the audit trail; labels and undos are there of themselves."""
    db.execute(
        "INSERT INTO actions (who, action, subject, wall_ns, monotonic_ns, boot_id, clock_ok) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        [who, action, subject, *stamp()],
    )


def begin_lot(db: Database, part: str, lot: str, who: str) -> None:
    """Every frame from now on is of this part and lot."""
    with db.atomic():
        db.execute(
            "INSERT INTO lots (part, lot, who, wall_ns, monotonic_ns, boot_id, clock_ok) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [part, lot, who, *stamp()],
        )
        add_action(db, who, "began lot", f"{part or '-'} / {lot or '-'}")


def record_settings(db: Database, settings: Settings) -> None:
    """Record the settings that a program starts with, where they are others than before.

    Without passwords: the trail and the lot reports are for many eyes.
    """
    toml = without_passwords(to_toml(settings, comments=False))
    digest = hashlib.sha256(toml.encode()).hexdigest()
    with exclusive(db):
        last = db.execute(
            "SELECT digest, toml FROM settings_in_force ORDER BY id DESC LIMIT 1"
        ).fetchone()
        if last is not None and (last[0] == digest or _without_comments(last[1]) == toml):
            return
        db.execute(
            "INSERT INTO settings_in_force (digest, toml, wall_ns, monotonic_ns, boot_id, "
            "clock_ok) VALUES (?, ?, ?, ?, ?, ?)",
            [digest, toml, *stamp()],
        )
        if last is not None:
            added = sorted(set(toml.splitlines()) - set(_without_comments(last[1]).splitlines()))
            subject = "; ".join(added)[:1000] or "lines removed"
            add_action(db, user_name(), "changed settings", subject)


def _without_comments(toml: str) -> str:
    """Recorded settings as they are recorded now: a table or a key a line."""
    lines = toml.splitlines(keepends=True)
    kept = [line for line in lines[1:] if not line.startswith("# ") or line.endswith("(not set)\n")]
    return lines[0] + "".join(re.sub(r"^(\[.*?\])  # .*", r"\1", line) for line in kept)


def user_name() -> str:
    """Who runs this program, as the system knows him."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return f"uid {os.getuid()}"


def add_event(db: Database, kind: str, text: str) -> None:
    """Record something that happened."""
    db.execute(
        "INSERT INTO events (kind, text, wall_ns, monotonic_ns, boot_id, clock_ok) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        [kind, text, *stamp()],
    )
