"""Files that survive a power cut."""

import os
from pathlib import Path

from device.system.owner import give_to_owner_of_folder, make_folder


def flush_folder(folder: Path) -> None:
    """Make what was renamed in a folder survive a power cut.

    Raises:
        OSError: it cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that after a power cut it is there whole, or not at all.

    Raises:
        OSError: the folder cannot be made or written.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            give_to_owner_of_folder(temporary)
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)
