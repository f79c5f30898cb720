"""What is wrong with the box, as the questions' page must say it too: camera, inspection, disk."""

import shutil

from config.settings import Settings
from device.store.live import live_path, read_live


def alerts(settings: Settings) -> list[str]:
    """The ends of texts' keys, the gravest first: `camera`, `loop`, `disk`."""
    found = []
    loop = read_live(live_path(settings), watching=False).loop
    if loop is None or not loop["running"]:
        found.append("loop")
    elif loop["camera"] == "lost":
        found.append("camera")
    if free_space_mb(settings) < settings.keeping.low_disk_mb:
        found.append("disk")
    return found


def free_space_mb(settings: Settings) -> int:
    """Free space of the disk that holds the store, in megabytes."""
    return shutil.disk_usage(settings.device.data).free // 1_000_000
