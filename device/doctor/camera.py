"""Does the camera give pictures that can be judged?"""

import contextlib
from collections.abc import Iterator
from itertools import islice

from camera.opening import open_source
from camera.quality import QualityGate
from camera.source import Event
from camera.watching import with_figures
from config.errors import UserError
from device.doctor.finding import Box, Finding
from device.store.live import live_path, read_live

WAIT_S = 10.0
FRAMES = 3


def look(box: Box) -> Iterator[Finding]:
    """What the running loop says of it; where none runs, a few frames are taken."""
    camera = box.settings.camera
    said = read_live(live_path(box.settings), watching=False).loop
    if said is not None and said["running"]:
        if said["camera"] == "lost":
            yield Finding.fault(
                said.get("camera_text", "lost"), "cable, power, address: millsight camera list"
            )
        elif said.get("verdict") == "fault":
            yield Finding.fault(
                f"{camera.source}: frames have the fault {said['name']!r}",
                "see what it sees: millsight camera preview",
            )
        else:
            yield Finding.ok(f"{camera.source}: {said['frames_per_second']} frames/s")
        return
    yield from _try_it(box)


def _try_it(box: Box) -> Iterator[Finding]:
    """Take a few frames: nobody else has the camera."""
    camera = box.settings.camera
    heard: list[Event] = []
    try:
        source = open_source(camera, box.settings.recipe.classes, heard.append)
        gate = QualityGate(camera.quality)
        with contextlib.closing(with_figures(source, gate, WAIT_S)) as looked:
            faults = [figures.fault for _frame, figures in islice(looked, FRAMES)]
    except UserError as error:
        known = heard[-1].text if heard else str(error)
        yield Finding.fault(known, "cable, power, address: millsight camera list")
        return
    if not faults:
        yield Finding.warning(f"{camera.source}: gives no more frames", "set camera.source")
    elif all(fault != "good" for fault in faults):
        yield Finding.fault(
            f"{camera.source}: frames have the fault {faults[-1]!r}",
            "see what it sees: millsight camera preview",
        )
    else:
        yield Finding.ok(f"{camera.source}: gives pictures")
