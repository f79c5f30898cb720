"""Whose the files and folders are that root makes: services run as another user."""

import contextlib
import os
from pathlib import Path


def give_to_owner_of_folder(path: Path) -> None:
    """What root makes in somebody's folder is that user's, or the services could not write it.

    On a disk that knows no owners nothing is done.
    """
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def make_folder(folder: Path) -> None:
    """Make a folder where it is missing, and those above it, each for the owner of the one above.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    give_to_owner_of_folder(folder)
