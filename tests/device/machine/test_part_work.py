"""Parts in the loop: what waits to be stored."""

import threading
import time

from config.settings import Settings
from device.loop.keeper import Keeper
from device.loop.part_work import PartWork
from device.loop.recipe_book import RecipeBook
from device.store.database import open_store
from device.store.parts import Part, parts_after
from tests.device.machine.conftest import with_machine


def test_what_waited_for_a_full_disk_keeps_no_part_waiting(settings: Settings) -> None:
    settings = with_machine(settings, trigger="interval")
    keeper = Keeper(settings, lambda _event: None)
    book = RecipeBook(settings, lambda _event: None)
    work = PartWork(settings, book, keeper, lambda _event: None)
    work._waiting = [
        Part(i, "", "", "", "default", "", "pass", "", 0, 1.0, time.time_ns(), 0)
        for i in range(300)
    ]
    recording = threading.Thread(target=work.record, daemon=True)
    recording.start()  # the keeper takes its time: it has not even begun
    recording.join(2)
    blocked = recording.is_alive()
    keeper.start()
    recording.join()
    work.record(wait=True)  # as at the end
    keeper.close()
    assert not blocked
    db = open_store(settings.device.data)
    assert [one.part.number for one in parts_after(db, 0)] == list(range(300))
    db.close()
