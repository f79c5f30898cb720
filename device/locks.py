"""One program at a time, held by a file."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.errors import UserError


@contextmanager
def one_at_a_time(lock: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file; whoever dies lets go of it.

    Raises:
        UserError: another process holds it; `refusal` says which, and what to do.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{lock}: {refusal}") from None
        yield
