"""The disk that the data lies on: whether it is there, and how much room it has."""

import os
import shutil
from pathlib import Path

from config.errors import UserError
from config.settings import Settings

MB = 1_000_000


def missing_disk(settings: Settings) -> str | None:
    """What is wrong where the disk for the data is not mounted; None: it is, or need not be."""
    wanted = settings.device.must_be_mount
    if wanted is None or os.path.ismount(wanted):
        return None
    return (
        f"{wanted}: no disk is mounted there, and device.must_be_mount says that one must be; "
        "nothing is written in its place; mount it, or look at its cable and /etc/fstab"
    )


def need_disk(settings: Settings) -> None:
    """Refuse to work without the disk that the data must lie on.

    Raises:
        UserError: it is not mounted.
    """
    if (missing := missing_disk(settings)) is not None:
        raise UserError(missing)


def free_bytes(folder: Path) -> int:
    """Free space where a folder lies, or will lie once it is made, for this user.

    Raises:
        OSError: the disk does not answer.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def bytes_of(folder: Path) -> int:
    """What the files in a folder take, 0 where there is none; those that go meanwhile are 0."""
    total = 0
    for file in folder.rglob("*") if folder.is_dir() else ():
        try:
            total += file.stat().st_size
        except OSError:
            continue
    return total
