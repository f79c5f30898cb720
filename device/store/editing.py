"""The interlock: while somebody edits a recipe, no part is judged.

A lock on a file, which the system takes back whenever the editor's process ends, however it ends.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from config.errors import UserError
from device.system.owner import give_to_owner_of_folder, make_folder

LOCK_FILE = "editing.lock"


@contextlib.contextmanager
def editing(data: Path) -> Iterator[None]:
    """Hold the interlock.

    Raises:
        UserError: somebody else holds it.
    """
    make_folder(data)
    with (data / LOCK_FILE).open("a") as file:
        give_to_owner_of_folder(data / LOCK_FILE)  # unread by the loop, it would hold for ever
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{data / LOCK_FILE}: somebody else is editing a recipe; wait until he is done"
            ) from None
        yield


def is_being_edited(data: Path) -> bool:
    """Whether somebody holds the interlock."""
    try:
        with (data / LOCK_FILE).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
