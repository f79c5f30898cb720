"""A disk of its own in a file, with ext4, from which the power can be taken."""

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

SHUT_DOWN = 0x8004587D
"""The request of Linux's file systems by which their own tests play a power cut."""
WITHOUT_FLUSH = 2


def cannot_mount() -> str:
    """Why no disk can be made here; empty: it can."""
    if os.geteuid():
        return "mounting a disk needs root"
    if not Path("/dev/loop-control").exists() or shutil.which("mkfs.ext4") is None:
        return "needs loop devices and mkfs.ext4: apt install e2fsprogs"
    return ""


class Disk:
    """A mounted disk."""

    def __init__(self, image: Path, megabytes: int) -> None:
        """Make it; `place` is where it is mounted: nothing that others clear away holds it."""
        self.image = image
        self.place = Path(tempfile.mkdtemp(prefix="millsight-disk-"))
        with image.open("wb") as stream:
            stream.truncate(megabytes * 10**6)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)

    def __enter__(self) -> "Disk":
        self._mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._unmount()
        self.place.rmdir()
        self.image.unlink()

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.place], check=True)

    def _unmount(self) -> None:
        for _ in range(100):  # whoever was killed may still hold files
            if not subprocess.run(
                ["umount", self.place], check=False, capture_output=True
            ).returncode:
                return
            time.sleep(0.1)
        raise AssertionError(f"{self.place} cannot be unmounted")

    def flush(self) -> None:
        """What was written until now does not count as of this life."""
        opened = os.open(self.place, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
        subprocess.run(["sync", "--file-system", self.place], check=True)

    def pull_the_plug(self, group: int) -> None:
        """Stop the disk at this moment without a flush, then all processes; then power is back."""
        opened = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(opened, SHUT_DOWN, struct.pack("I", WITHOUT_FLUSH))
        finally:
            os.close(opened)
        os.killpg(group, signal.SIGKILL)
        self._unmount()
        # A copy: a container that was started meanwhile may still hold the disk that is shut down.
        copy = self.image.with_suffix(".copy")
        subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
        copy.replace(self.image)
        self._mount()
