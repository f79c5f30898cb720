"""One process at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.errors import UserError


@contextmanager
def one_at_a_time(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock file; whoever dies lets go of it. `what` names who else holds it.

    Raises:
        UserError: another process holds it, or the file cannot be made.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise UserError(f"{lock}: cannot be made: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{lock}: {what} is running; wait until it has ended") from None
        yield
