"""What a program says: lines for a person, or fields for the journal of systemd.

Under systemd ($JOURNAL_STREAM names the program's output) each line begins with its priority, which
the journal takes off, and goes on as key=value fields (logfmt). No line holds a password.
"""

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable

from camera.source import Event
from config.document import without_passwords

LOGGER = "millsight"

ERROR, WARNING, NOTICE, INFO, DEBUG = 3, 4, 5, 6, 7
"""Priorities of syslog (RFC 5424)."""
NOTICE_LEVEL = 25
PRIORITIES = {
    logging.ERROR: ERROR,
    logging.WARNING: WARNING,
    NOTICE_LEVEL: NOTICE,
    logging.INFO: INFO,
    logging.DEBUG: DEBUG,
}

LEVELS = {
    logging.ERROR: {
        "store", "not-keeping", "not-kept", "model-damaged", "recipe-refused", "reader",
    },
    logging.WARNING: {
        "lost", "model-refused", "size", "unreadable", "clock", "cut-off", "no-backup", "tidy",
        "store-mended", "model-mended", "plc-silent", "part-error", "drift", "line-lost",
        "light-lost", "mqtt-lost", "opcua-lost", "probation-failed",
    },
    NOTICE_LEVEL: {
        "opened", "ended", "keeping", "model", "recipe", "backup", "retention", "plc",
    },
    logging.DEBUG: {"flagged"},
}  # fmt: skip
"""How grave the kinds of events are; any other is information."""
_LEVEL = {kind: level for level, kinds in LEVELS.items() for kind in kinds}
_BARE = re.compile(r"[^\s\"=\\]+")


def under_systemd() -> bool:
    """Whether the journal reads what this program prints."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def logfmt(**fields: object) -> str:
    """Fields as `key=value`, quoted where they must be, all on one line."""
    return " ".join(f"{key}={_value(value)}" for key, value in fields.items())


def _value(value: object) -> str:
    text = without_passwords(str(value))
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


class JournalFormatter(logging.Formatter):
    """A record as `<priority>event=… message=…`; further fields come from `extra={"fields": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = {"event": record.name.removeprefix(f"{LOGGER}."), "message": record.getMessage()}
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return f"<{PRIORITIES.get(record.levelno, INFO)}>{logfmt(**fields)}"


def journal_handler() -> logging.Handler:
    """Writes records to the journal, through standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JournalFormatter())
    return handler


def log_event(event: Event) -> None:
    """Log an event of camera, store or model."""
    logging.getLogger(f"{LOGGER}.{event.kind}").log(
        _LEVEL.get(event.kind, logging.INFO), event.text
    )


def use_journal() -> None:
    """Send what this program and its libraries log to the journal."""
    logging.addLevelName(NOTICE_LEVEL, "NOTICE")
    root = logging.getLogger()
    root.handlers[:] = [journal_handler()]
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(logging.DEBUG)


def reporter(say: Callable[[str], None] | None = None) -> Callable[[Event], None]:
    """Reports events: to the journal under systemd, else as lines for a person."""
    if under_systemd():
        use_journal()
        return log_event
    lock = threading.Lock()

    def line(event: Event) -> None:
        text = f"{event.kind}: {event.text}"
        if say is not None:
            say(text)
            return
        with lock:
            print(text, flush=True)

    return line
