"""Which edition of the pages a server serves: another one after an update or other settings."""

import hashlib
from pathlib import Path

from config.document import to_toml
from config.settings import Settings

PARTS = ("languages", "static", "templates")


def edition_of(settings: Settings) -> str:
    """Sixteen hex digits that change with the settings and with whatever pages are made of.

    A page that stayed open over a restart compares it with its own, and fetches itself anew: its
    classes, places and texts may be others.
    """
    digest = hashlib.sha256(to_toml(settings, comments=False).encode())
    for part in PARTS:
        for file in sorted((Path(__file__).parent / part).iterdir()):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
