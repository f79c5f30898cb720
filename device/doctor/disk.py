"""Is there room where the data really lies, and is that the disk it should be?"""

import os
from collections.abc import Iterator
from pathlib import Path

from device.doctor.finding import Box, Finding
from device.system.disk import missing_disk

FSTAB = Path("/etc/fstab")
LEAST_FILES = 0.02
"""Share of a file system's files below which it is as good as full."""


def look(box: Box) -> Iterator[Finding]:
    """Mounts that are missing, free space and free files."""
    data = box.settings.device.data
    if (lost := missing_disk(box.settings)) is not None:
        yield Finding.fault(lost, "systemctl status says why it is not mounted")
        return
    if (missing := missing_mount(data, FSTAB)) is not None:
        yield Finding.fault(
            f"{missing}: not mounted, so that {data} would fill the wrong disk",
            f"mount {missing}; systemctl status says why it is not",
        )
        return
    there = next(p for p in (data, *data.parents) if p.exists())
    room = os.statvfs(there)
    free_mb = room.f_bavail * room.f_frsize / 1e6
    least = box.settings.keeping.low_disk_mb
    if free_mb < least:
        yield Finding.fault(
            f"{there}: {free_mb:.0f} MB free, wanted are {least} (keeping.low_disk_mb)",
            "free some space, or take a larger disk",
        )
    elif room.f_files and room.f_favail < LEAST_FILES * room.f_files:
        yield Finding.fault(
            f"{there}: no more than {room.f_favail} files fit", "remove files that are not needed"
        )
    elif room.f_flag & os.ST_RDONLY:
        yield Finding.fault(
            f"{there}: its file system is read-only", "look for disk errors in journalctl -k"
        )
    else:
        yield Finding.ok(f"{there}: {free_mb / 1000:.1f} GB free")


def missing_mount(data: Path, fstab: Path) -> Path | None:
    """The mount point above (or at) a folder that fstab names, and where nothing is mounted."""
    try:
        lines = fstab.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    fields = [line.split() for line in lines if not line.lstrip().startswith("#")]
    points = [Path(f[1].replace("\\040", " ")) for f in fields if len(f) > 2 and f[1][0] == "/"]
    above = [p for p in points if p != Path("/") and p in (data, *data.parents)]
    return next((p for p in above if not os.path.ismount(p)), None)
