"""The root of trust: pinned by hand, and what all that comes over the exchange is verified with."""

import hashlib
from pathlib import Path

from config.errors import UserError
from config.settings import Settings

LARGEST_ROOT = 512_000


def root_path(settings: Settings) -> Path:
    """Where the root of trust is pinned."""
    return settings.update.root or settings.device.data / "trusted-root.json"


def trusted_root(settings: Settings) -> bytes:
    """The pinned root of trust.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    path = root_path(settings)
    if not path.exists():
        raise UserError(
            f"{path}: no root of trust, so no model can be trusted; bring root.json of the "
            "trainer's keys here by hand: millsight device trust ROOT"
        )
    return read_root(path)


def read_root(path: Path) -> bytes:
    """The bytes of a file that should be a root of trust.

    Raises:
        UserError: it cannot be read, or is too large.
    """
    try:
        if path.stat().st_size > LARGEST_ROOT:
            raise UserError(f"{path}: too large for a root of trust; take root.json of the keys")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def fingerprint(root: bytes) -> str:
    """What two people compare by telephone: a digest of the root, in groups of four."""
    digest = hashlib.sha256(root).hexdigest()[:32]
    return " ".join(digest[i : i + 4] for i in range(0, len(digest), 4))


def metadata_folder(settings: Settings) -> Path:
    """Where a device keeps what it has verified."""
    return settings.device.data / "update" / "metadata"
