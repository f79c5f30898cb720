"""`python -m tests.systemd.upgrading ROOT BUNDLE [EVENT]`: an upgrade that can be cut off.

With EVENT the process kills itself before so many-th change of the disk, as a power cut does;
without it the number of changes is printed.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from systemd.layout import Layout
from systemd.upgrade import upgrade

CHANGES = {
    "os.rename", "os.symlink", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.chown",
    "os.truncate", "sqlite3.connect", "subprocess.Popen",
}  # fmt: skip


def main() -> None:
    """Upgrade, with every change counted."""
    root, bundle, *at = sys.argv[1:]
    last, seen = int(at[0]) if at else 0, 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            seen += 1
            if seen == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    print(upgrade(Path(bundle), Layout(Path(root))))
    print(seen)


if __name__ == "__main__":
    main()
