"""One program at a time, held by a file."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.errors import UserError
from device.system.owner import give_to_owner_of_folder, make_folder


@contextmanager
def one_at_a_time(lock: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file; whoever dies lets go of it.

    Raises:
        UserError: another process holds it; `refusal` says which, and what to do.
    """
    with try_lock(lock) as held:
        if not held:
            raise UserError(f"{lock}: {refusal}")
        yield


@contextmanager
def try_lock(lock: Path) -> Iterator[bool]:
    """Hold a lock file if nobody else does: whether it is held. Whoever dies lets go of it."""
    make_folder(lock.parent)
    with lock.open("w") as file:
        give_to_owner_of_folder(lock)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
