"""Files with secrets: only their owner may read them."""

import stat
from pathlib import Path

from config.errors import UserError

LIMIT = 65_536


def check_secret(file: Path, setting: str) -> None:
    """Refuse a file of secrets that others may read.

    Raises:
        UserError: it cannot be read, or others than its owner may read or change it.
    """
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise UserError(f"{setting}: {file}: {error.strerror}; put the file there") from None
    if not stat.S_ISREG(mode):
        raise UserError(f"{setting}: {file}: is no file")
    if mode & 0o077:
        raise UserError(f"{setting}: {file}: others may read it; run: chmod 600 {file}")


def read_secret(file: Path, setting: str) -> str:
    """The text of a file of secrets.

    Raises:
        UserError: as `check_secret`, or it is no text.
    """
    check_secret(file, setting)
    try:
        with file.open(encoding="utf-8") as stream:
            return stream.read(LIMIT)
    except OSError as error:
        raise UserError(f"{setting}: {file}: {error.strerror}; let this user read it") from None
    except UnicodeDecodeError:
        raise UserError(f"{setting}: {file}: is no text; see the settings' page") from None
