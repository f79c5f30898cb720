"""The clean-up of a running inspection, on a thread of its own that waits for everybody else."""

import os
import sqlite3
import threading

from camera.source import Event, Report
from config.errors import UserError
from config.settings import Settings
from device.system.heap import give_back_memory

FIRST_AFTER_S = 20.0
"""Plates come first after a start."""
NICE = 10


class Housekeeper:
    """Tidies every `keeping.tidy_s`, and at once when it is woken."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self._settings = settings
        self._report = report
        self._wake = threading.Event()
        self._closing = False
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="housekeeper")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Tidy now: the disk has no room."""
        self._wake.set()

    def close(self) -> None:
        """End, once a clean-up that is running has ended."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        self._wake.wait(min(FIRST_AFTER_S, self._settings.keeping.tidy_s))
        while not self._closing:
            self._wake.clear()
            self._tidy()
            give_back_memory()
            self._wake.wait(self._settings.keeping.tidy_s)

    def _tidy(self) -> None:
        from device.upkeep.tidy import tidy  # noqa: PLC0415 - plates come first after a start

        try:
            tidy(self._settings, self._report)
            self._said = ""
        except (UserError, OSError, sqlite3.Error) as error:
            if str(error) != self._said:
                self._said = str(error)
                self._report(Event("tidy", f"the clean-up comes later: {error}"))
