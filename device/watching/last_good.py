"""The settings that a program started well with last, as a file in the data folder."""

import contextlib
import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

from config.document import without_passwords
from config.errors import UserError
from config.load import find_settings, load_settings, load_what_is_good, parse_settings
from config.settings import Settings
from device.store.database import open_store_of
from device.store.trail import add_action
from device.system.disk import missing_disk
from device.system.durable import flush_folder

FILE = "last-good-settings.toml"
BROKEN = ".broken"
"""What is added to the name of the file that was replaced."""


class LastGood(NamedTuple):
    """Settings that were good."""

    settings: Settings
    text: str
    """The file as it was, comments and all."""
    when: float
    """When a program first started with it, in seconds since 1970."""


def keep(file: Path, settings: Settings) -> None:
    """Remember a settings file that a program has started with.

    Raises:
        OSError: the data folder cannot be written.
    """
    text = file.read_text(encoding="utf-8")
    kept = settings.device.data / FILE
    if not kept.exists() or kept.read_bytes() != text.encode():  # which may be damaged
        write_whole(kept, text, 0o600)  # it may hold the password of a camera


def keep_good(config: Path | None, settings: Settings) -> None:
    """`keep`, where a disk that is missing or cannot be written is no reason not to start."""
    if missing_disk(settings) is None:
        with contextlib.suppress(OSError):
            keep(find_settings(config), settings)


def find(file: Path) -> LastGood | None:
    """The last good settings of a file that is broken; None: none are kept, or they are broken."""
    for folder in _data_folders(file):
        kept = folder / FILE
        try:
            text = kept.read_text(encoding="utf-8")
            return LastGood(parse_settings(tomllib.loads(text), file), text, kept.stat().st_mtime)
        except (OSError, ValueError, UserError):
            continue
    return None


def put_back(file: Path, good: LastGood, who: str) -> Path:
    """Replace a broken settings file by the last good one; returns where the broken one is now.

    It stands in the audit trail.

    Raises:
        OSError: the file cannot be written; it is as it was.
        UserError: the store cannot be opened; the file is replaced.
    """
    aside = file.with_name(file.name + BROKEN)
    write_whole(aside, file.read_text(encoding="utf-8", errors="replace"), 0o600)
    write_whole(file, good.text, file.stat().st_mode & 0o777)
    db = open_store_of(good.settings)
    try:
        with db.atomic():
            add_action(db, who, "put back settings", f"{file}; the broken ones: {aside}")
    finally:
        db.close()
    return aside


def differences(file: Path, good: LastGood, most: int) -> list[str]:
    """What putting them back changes, as lines with + or -; comments and passwords left out."""
    try:
        broken = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = difflib.unified_diff(
        without_passwords(broken).splitlines(), without_passwords(good.text).splitlines(), n=0
    )
    told = [line for line in lines if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
    told = [line.split("  # ")[0] for line in told]
    told = [line for line in told if line[1:].strip() and line[1:].lstrip()[0] not in "#["]
    return told[:most] + (["…"] if len(told) > most else [])


def is_mended(file: Path) -> bool:
    """Whether a settings file is good (again)."""
    try:
        load_settings(file)
    except UserError:
        return False
    return True


def _data_folders(file: Path) -> list[Path]:
    """Where the data of a broken settings file may lie, the likeliest first."""
    folders = []
    try:
        settings, _ = load_what_is_good(file, "device")
        folders.append(settings.device.data)
    except UserError:  # not even TOML: the line itself may be whole
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        if found := re.search(r'^data = "([^"\n]+)"', text, re.MULTILINE):
            folders.append(file.parent.absolute() / found[1])
    if state := os.environ.get("STATE_DIRECTORY"):  # systemd's name for the site's data folder
        folders.append(Path(state.split(":")[0]))
    folders.append(file.parent.absolute() / "data")
    return folders


def write_whole(path: Path, text: str, mode: int) -> None:
    """Write a file so that a power cut leaves the old one or the new one.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(path.name + ".new")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        os.fchmod(handle, mode)
        stream.write(text)
        stream.flush()
        os.fsync(handle)
    partial.replace(path)
    flush_folder(path.parent)
