"""Who is at a browser: names, PINs, sessions, and the password of the network.

Plain functions over a `Database`. A session is known by its cookie, of which the store has only
the SHA-256; whatever proves more than before gets a new cookie. What people did is in `actions`.
"""

import hashlib
import re
import secrets
from math import inf
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlite_utils import Database

from config.settings import Review
from device.store.database import exclusive
from device.store.trail import add_action
from device.system.clock import stamp

PIN = re.compile(r"[0-9]{4,8}")
SHORTEST_PASSWORD = 10
NETWORK = ""
"""The name that the password of the network is kept under."""
FREE_TRIES = 5
"""Wrong PINs in a row before the first wait."""
FIRST_WAIT_S, LONGEST_WAIT_S = 15.0, 600.0
MOST_SESSIONS = 1000
"""Browsers that stay logged in; the oldest log-in goes."""

LOGGED_IN, LOGGED_OUT, TIMED_OUT, REFUSED = "logged in", "logged out", "timed out", "refused"
SET, REMOVED = "set secret", "removed secret"
"""What `actions` says of people."""

_hasher = PasswordHasher(time_cost=5, memory_cost=32 * 1024, parallelism=1)
"""Some 100 ms of one core and 32 MB: little for a small box, much for who tries every PIN."""


class Person(NamedTuple):
    """Who is at a browser."""

    name: str
    supervisor: bool


class Visitor(NamedTuple):
    """A browser, as its session knows it."""

    person: Person | None
    """None: nobody has logged in."""
    network: bool
    """Whether it has given the password of the network, and not too long ago."""


# --- sessions -------------------------------------------------------------------------------


def visitor(db: Database, review: Review, cookie: str | None, *, active: bool = False) -> Visitor:
    """Who is at the browser with this cookie; `active`: somebody has just done something there.

    Whoever was idle for too long is logged out by this. The only operator is there without
    logging in where he has no PIN and there are no supervisors.
    """
    found = _session(db, review, cookie)
    if active and (found.person or found.network):
        now = stamp()
        db.execute(
            "UPDATE sessions SET used_ns = ?, boot_id = ?, network = ? WHERE id = ?",
            [now.monotonic_ns, now.boot_id, found.network, _id(cookie or "")],
        )
    return found._replace(person=found.person or alone(db, review))


def alone(db: Database, review: Review) -> Person | None:
    """The operator who need not say who he is, for nobody else can be meant."""
    if len(review.operators) > 1 or review.supervisors or has_secret(db, review.operators[0]):
        return None
    return Person(review.operators[0], supervisor=False)


def log_in(db: Database, review: Review, cookie: str | None, person: Person) -> str:
    """Log somebody in, whose PIN was right if one is needed; the browser's new cookie."""
    with exclusive(db):
        before = _session(db, review, cookie)
        if before.person and before.person != person:
            add_action(db, before.person.name, LOGGED_OUT, before.person.name)
        add_action(db, person.name, LOGGED_IN, person.name)
        return _renew(db, cookie, before._replace(person=person))


def log_out(db: Database, review: Review, cookie: str | None) -> str:
    """Log out whoever is there; the browser's new cookie."""
    with exclusive(db):
        before = _session(db, review, cookie)
        if before.person:
            add_action(db, before.person.name, LOGGED_OUT, before.person.name)
        return _renew(db, cookie, before._replace(person=None))


def admit(db: Database, review: Review, cookie: str | None, address: str) -> str:
    """Let in a browser that gave the password of the network; its new cookie."""
    with exclusive(db):
        add_action(db, address, LOGGED_IN, _subject(NETWORK))
        return _renew(db, cookie, _session(db, review, cookie)._replace(network=True))


def gave_password(db: Database, cookie: str | None) -> bool:
    """Whether a browser gave the password of the network, and was not put out since."""
    known = "SELECT 1 FROM sessions WHERE id = ? AND network"
    return db.execute(known, [_id(cookie or "")]).fetchone() is not None


def _session(db: Database, review: Review, cookie: str | None) -> Visitor:
    """What the store has of a session; who was idle for too long is logged out by this."""
    row = db.execute(
        "SELECT name, supervisor, network, used_ns, boot_id FROM sessions WHERE id = ?",
        [_id(cookie or "")],
    ).fetchone()
    if row is None:
        return Visitor(None, network=False)
    name, supervisor, network, used_ns, boot_id = row
    now = stamp()
    idle_s = (now.monotonic_ns - used_ns) / 1e9 if boot_id == now.boot_id else inf
    person = None if name is None else Person(name, bool(supervisor))
    if person and idle_s > _patience_s(db, review, person):
        with exclusive(db):
            db.execute(
                "UPDATE sessions SET name = NULL, supervisor = 0 WHERE id = ?", [_id(cookie or "")]
            )
            add_action(db, person.name, TIMED_OUT, person.name)
        person = None
    return Visitor(person, bool(network) and idle_s <= review.session_timeout_s)


def _patience_s(db: Database, review: Review, person: Person) -> float:
    """How long somebody may be idle; -1: he is no longer who he was."""
    if is_known(review, person.name) != person:
        return -1
    if person.supervisor:
        return review.supervisor_timeout_s
    return review.session_timeout_s if has_secret(db, person.name) else inf


def _renew(db: Database, cookie: str | None, now: Visitor) -> str:
    fresh = secrets.token_urlsafe(24)
    moment = stamp()
    name, supervisor = now.person or (None, False)
    db.execute("DELETE FROM sessions WHERE id = ?", [_id(cookie or "")])
    db.execute(
        "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)",
        [_id(fresh), name, supervisor, now.network, moment.monotonic_ns, moment.boot_id],
    )
    db.execute(
        "DELETE FROM sessions WHERE rowid <= (SELECT max(rowid) FROM sessions) - ?",
        [MOST_SESSIONS],
    )
    return fresh


def _id(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


# --- PINs and the password ------------------------------------------------------------------


def is_known(review: Review, name: str) -> Person | None:
    """The person of the settings who has this name."""
    if name in review.operators:
        return Person(name, supervisor=False)
    return Person(name, supervisor=True) if name in review.supervisors else None


def needs_pin(db: Database, person: Person) -> bool:
    """Whether the name alone does not prove who it is."""
    return person.supervisor or has_secret(db, person.name)


def has_secret(db: Database, name: str) -> bool:
    """Whether a PIN, or the password of the network, is set."""
    return secret_hash(db, name) is not None


def secret_hash(db: Database, name: str) -> str | None:
    """What `fits` compares with."""
    row = db.execute("SELECT hash FROM pins WHERE name = ?", [name]).fetchone()
    return None if row is None else str(row[0])


def fits(known: str, secret: str) -> bool:
    """Whether a secret is the one with this hash. Takes a tenth of a second of one core."""
    try:
        return _hasher.verify(known, secret)
    except (VerificationError, InvalidHashError):
        return False


def set_secret(db: Database, name: str, secret: str, who: str) -> None:
    """Set a PIN, or the password of the network; whoever came in without it is put out."""
    known = _hasher.hash(secret)
    with exclusive(db):
        db.execute("INSERT OR REPLACE INTO pins VALUES (?, ?)", [name, known])
        _put_out(db, name)
        add_action(db, who, SET, _subject(name))


def remove_secret(db: Database, name: str, who: str) -> bool:
    """Remove a PIN; whether there was one."""
    with exclusive(db):
        if not has_secret(db, name):
            return False
        db.execute("DELETE FROM pins WHERE name = ?", [name])
        _put_out(db, name)
        add_action(db, who, REMOVED, _subject(name))
        return True


def _put_out(db: Database, name: str) -> None:
    if name == NETWORK:
        db.execute("UPDATE sessions SET network = 0")
    else:
        db.execute("UPDATE sessions SET name = NULL, supervisor = 0 WHERE name = ?", [name])


def add_refusal(db: Database, who: str, name: str) -> None:
    """Record a wrong PIN or password."""
    with exclusive(db):
        add_action(db, who, REFUSED, _subject(name))


def wait_s(db: Database, name: str) -> float:
    """For how long not even the right secret counts, in seconds; 0: it does.

    After five wrong ones in a row 15 s, doubled by every further one up to ten minutes. What is
    not of this boot was before it, so the time since the boot is waited already.
    """
    rows = db.execute(
        "SELECT action, monotonic_ns, boot_id FROM actions WHERE subject = ? "
        "AND action IN (?, ?, ?) ORDER BY id DESC LIMIT 20",  # more change nothing
        [_subject(name), REFUSED, LOGGED_IN, SET],
    ).fetchall()
    wrong = next((i for i, row in enumerate(rows) if row[0] != REFUSED), len(rows))
    if wrong < FREE_TRIES:
        return 0
    now = stamp()
    since_ns = rows[0][1] if rows[0][2] == now.boot_id else 0
    wait = min(FIRST_WAIT_S * 2 ** (wrong - FREE_TRIES), LONGEST_WAIT_S)
    return float(max(0, wait - (now.monotonic_ns - since_ns) / 1e9))


def _subject(name: str) -> str:
    return name or "(network)"  # no name has brackets
