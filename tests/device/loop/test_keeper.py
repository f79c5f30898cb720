"""The keeper goes on, whatever it is handed."""

import contextlib
import threading
import time
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from camera.source import Event, Frame, Report
from config.settings import PATCH_SIZE, Region, Settings
from device.loop.keeper import Counts, Keeper, KeptFrame, KeptPatch
from device.store.database import open_store
from device.store.parts import Part, parts_after
from device.store.swap import LOCK
from device.system.locks import one_at_a_time
from device.upkeep import mend

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


def test_what_the_store_cannot_take_holds_up_nothing_else(
    settings: Settings, plates: NDArray[np.uint8]
) -> None:
    """As with a name of a file that is no UTF-8."""
    told: list[Event] = []
    keeper = Keeper(settings, told.append)
    keeper.put(Event("odd", "\udcfc"))
    keeper.put(kept(plates[0], "a"))
    keeper.start()
    keeper.close()
    assert [event.kind for event in told] == ["not-kept", "flagged"]


def test_nothing_is_stored_twice_while_the_store_is_looked_at(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody takes it for damaged, as `millsight device tidy` may, and it is not."""
    monkeypatch.setattr("device.loop.keeper.RETRY_S", 0.05)
    refused, told = threading.Event(), list[str]()

    def report(event: Event) -> None:
        told.append(event.kind)
        refused.set()

    keeper = Keeper(settings, report)
    keeper.start()
    part = Part(1, "p", "", "", "default", "", "pass", "", 0, 1.0, time.time_ns(), 0)
    with one_at_a_time(settings.device.data / LOCK, "it is being mended"):
        keeper.put(part)
        keeper.put(Counts(Counter({(1, "", "default", "pass", "", "p", ""): 5}), Counter(), {}))
        assert refused.wait(10)
        time.sleep(0.3)  # some retries
    keeper.close()
    assert told == ["not-keeping", "keeping"]
    db = open_store(settings.device.data)
    assert [one.part for one in parts_after(db, 0)] == [part]
    assert db.execute("SELECT sum(frames) FROM counters").fetchone() == (5,)
    db.close()


def test_a_store_that_cannot_be_opened_after_a_look_is_opened_later(
    settings: Settings, plates: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever else found it odd looks at it next, and holds it just then."""
    monkeypatch.setattr("device.loop.keeper.RETRY_S", 0.05)
    stack = contextlib.ExitStack()
    refused, told = threading.Event(), list[str]()

    def mend_and_report(settings: Settings, report: Report) -> None:
        mend.mend_and_report(settings, report)
        if not refused.is_set():
            stack.enter_context(one_at_a_time(settings.device.data / LOCK, "looked at"))

    def report(event: Event) -> None:
        told.append(event.kind)
        refused.set()

    monkeypatch.setattr("device.loop.keeper.mend_and_report", mend_and_report)
    keeper = Keeper(settings, report)
    keeper.start()
    keeper.suspect()
    keeper.put(kept(plates[0], "a"))
    assert refused.wait(10)
    stack.close()
    keeper.close()
    assert told == ["not-keeping", "keeping", "flagged"]
