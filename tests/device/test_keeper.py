"""The keeper goes on, whatever it is handed."""

import time

import numpy as np
from numpy.typing import NDArray

from camera.source import Event, Frame
from config.settings import PATCH_SIZE, Region, Settings
from device.keeper import Keeper, KeptFrame, KeptPatch
from device.store import open_store

WHOLE = Region(x=0, y=0, width=PATCH_SIZE, height=PATCH_SIZE)


def kept(
    pixels: NDArray[np.uint8], identity: str, alike: str | None = None, *, cycle: int = 1
) -> KeptFrame:
    frame = Frame(pixels, 0, time.monotonic_ns(), time.time_ns())
    patch = KeptPatch(identity, pixels, WHOLE, "uncertain", 1.0, "clean", alike=alike)
    return KeptFrame(frame, "default", "", "", cycle, None, "unsure", "clean", [patch])


def test_a_patch_whose_like_was_not_kept_is_asked_about_itself(
    settings: Settings, plates: NDArray[np.uint8]
) -> None:
    """As after a full disk: the first of two near-identical patches was refused."""
    told: list[Event] = []
    keeper = Keeper(settings, told.append)
    keeper.start()
    keeper.put(kept(plates[0], "a"))
    keeper.put(kept(plates[1], "b", alike="a"))
    keeper.put(kept(plates[2], "c", alike="nowhere"))
    keeper.close()
    assert [event.kind for event in told] == ["flagged"] * 3
    db = open_store(settings.device.data)
    found = db.execute("SELECT patch_id, alike FROM flags ORDER BY patch_id").fetchall()
    assert found == [("a", None), ("b", "a"), ("c", None)]
    db.close()


def test_what_the_store_refuses_for_ever_holds_up_nothing_else(
    settings: Settings, plates: NDArray[np.uint8]
) -> None:
    told: list[Event] = []
    keeper = Keeper(settings, told.append)
    wrong = kept(plates[1], "b")
    wrong.patches[0] = KeptPatch(None, plates[1], WHOLE, "uncertain", 1.0)  # type: ignore[arg-type]
    for item in (kept(plates[0], "a"), wrong, kept(plates[2], "c")):
        keeper.put(item)  # before it starts, so that they are one group
    keeper.paused.set()  # as where the disk was full until now
    keeper.start()
    keeper.close()
    assert [event.kind for event in told] == ["keeping", "flagged", "not-kept", "flagged"]
    assert "1 flagged patches cannot be stored" in told[2].text
    assert not keeper.paused.is_set()
    db = open_store(settings.device.data)
    assert db.execute("SELECT patch_id FROM flags ORDER BY 1").fetchall() == [("a",), ("c",)]
    db.close()
