"""Files that survive a power cut."""

import os
from pathlib import Path


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
