"""Does the loop judge frames?"""

from collections.abc import Iterator

from device.doctor.finding import Box, Finding
from device.store.live import live_path, read_live

WHY = "journalctl -u millsight-device -n 50, or start it: millsight device run"


def look(box: Box) -> Iterator[Finding]:
    """What the loop says of itself."""
    said = read_live(live_path(box.settings), watching=False).loop
    if said is None or not said["running"]:
        yield Finding.fault("the loop does not run", WHY)
        return
    counts = said["counts"]
    judged = sum(frames for verdict, frames in counts.items() if verdict != "fault")
    if judged:
        yield Finding.ok(f"{judged} frames judged since its start, the last: {said['verdict']}")
    elif said["machine"] in {"ready", "answered"}:
        yield Finding.ok(f"waits for the machine ({said['machine']})")
    else:
        yield Finding.fault("it runs, and has judged no frame since its start", "see camera")
