"""Hours at full speed: inspection and pages run, answers go up, and the kernel says what they hold.

A device inspects simulated plates as fast as it can and keeps a tenth of them within a small
budget, its pages are looked at, questions are answered, pushed, merged and acknowledged. A program
that ends is started again, as systemd does, and counted.
"""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camera.milled_steel import CLASSES, random_patch
from config.document import to_toml
from config.errors import UserError
from config.settings import (
    Asking,
    Backup,
    Camera,
    Device,
    Exchange,
    FolderSource,
    Keeping,
    Recipe,
    Settings,
    Trainer,
)
from device.models.activation import activate
from device.store.answers import CLASS, add_answer, waiting
from device.store.cycles import start_cycle
from device.store.database import STORE_FILE, get_state, open_store
from device.store.pictures import encode_png
from tests.device.conftest import model_file
from tests.soak.run import Run
from tests.soak.watch import Criterion, criteria_of, held, run_and_weigh, summary

SAMPLE_S = 10.0
ANSWER_S = 60.0
SAVE_S = 60.0
BUDGET_MB = 60
TIDY_S = 20.0
MOST_FILE = 2.0
"""Of the budget: a twentieth that is used again, and what comes, up to 2.5 MB a second, in the time
from one clean-up to the end of the next."""
MOST_FILE_GROWTH = 1.1
"""Largest file of the second half over that of the first: it reaches its size and stays."""
UP_AND_BACK = (
    ("push", ("device", "push")),
    ("merge", ("trainer", "merge")),
    ("push", ("device", "push")),
)
"""Answers up, and their acknowledgement back."""
PATHS = ("/live", "/today", "/health", "/metrics")


def site(folder: Path) -> Settings:
    """A device with a small budget, on which a tenth of all plates are kept."""
    data = folder / "data"
    return Settings(
        device=Device(name="box", data=data),
        # Read from files: rendering plates would take most of the time.
        camera=Camera(source="folder", folder=FolderSource(path=folder / "plates", repeat=True)),
        recipe=Recipe(classes=list(CLASSES), pass_classes=["clean"]),
        asking=Asking(k=50, audit_share=0.1, labels_per_shift=0),
        keeping=Keeping(
            budget_mb=BUDGET_MB, floor_mb=100, tidy_s=TIDY_S, check_hours=0.25,
            defects_per_minute=600,
        ),
        backup=Backup(folder=folder / "copies", hours=0.25),
        exchange=Exchange(url=str(folder / "exchange")),
        trainer=Trainer(data=folder / "trainer"),
    )  # fmt: skip


def write_plates(folder: Path, plates: NDArray[np.uint8]) -> None:
    """Fifty shifts of each plate, as many different pictures."""
    folder.mkdir(parents=True)
    for i, plate in enumerate(plates):
        for shift in range(50):
            moved = np.roll(plate, (shift * 31, shift * 17), axis=(0, 1))
            (folder / f"{shift:02}-{i:03}.png").write_bytes(encode_png(moved))


class Soak(Run):
    """The inspection and its pages at full speed; `store` has a row for each look.

    Of a row: seconds; file, log, and what the store held after the last clean-up, in MB.
    """

    def __init__(
        self, hours: float, folder: Path, file: Path | None, answer_s: float = ANSWER_S
    ) -> None:
        """Of so many hours; `answer_s` is the pause between two lots of answers, in seconds."""
        self.answer_s = answer_s
        super().__init__(folder, file, ("device", "review", "push", "merge"))
        self.hours = hours
        self.settings = site(folder)
        self.config = folder / "millsight.toml"
        self.front = [sys.executable, "-m", "millsight"]
        self.acknowledged: set[str] = set()

    def moment(self) -> str:
        """Seconds."""
        return f"{self.passed:.0f} s"

    def prepare(self) -> None:
        """Plates, a model in use, the settings file."""
        plates = np.stack([random_patch(i, CLASSES[i % 4]).image for i in range(120)])
        write_plates(self.folder / "plates", plates)
        file = model_file(self.folder / "model.onnx", plates)
        db = open_store(self.settings.device.data)
        activate(db, file, self.settings, "soak")
        db.close()
        self.config.write_text(to_toml(self.settings))

    def start(self, name: str) -> None:
        """Start the inspection or the pages."""
        if name == "device":
            log = (self.folder / "device.log").open("a")
            command = [*self.front, "device", "run", "-c", str(self.config)]
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, text=True)
            log.close()
            return
        command = [*self.front, "review", "-c", str(self.config), "--port", "0"]
        self.processes[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.processes[name].stdout.readline()  # type: ignore[union-attr]
        self.address = line.split()[-1].rstrip("/")

    def look(self) -> None:
        """Open the pages, and note what everything holds."""
        for path in PATHS:
            try:
                urllib.request.urlopen(self.address + path, timeout=20).read()
            except urllib.error.HTTPError as error:  # not judging, says /health while it starts
                error.close()
            except OSError as error:
                self.note(f"{path}: {error}")
        for name in ("device", "review"):
            process = self.processes[name]
            try:
                self.samples[name].append(held(process.pid, self.passed))
            except OSError:
                self.restarts.append(f"{self.passed:.0f} s: {name} ended with {process.wait()}")
                self.start(name)
        store = self.settings.device.data / STORE_FILE
        sizes = [
            round(one.stat().st_size / 1e6, 2) if one.exists() else 0.0
            for one in (store, store.with_name(store.name + "-wal"))
        ]
        self.store.append((round(self.passed, 1), sizes[0], sizes[1], self._used()))

    def _used(self) -> float:
        store = self.settings.device.data / STORE_FILE
        row = None
        try:
            with contextlib.closing(sqlite3.connect(store, timeout=30)) as db:
                row = db.execute("SELECT value FROM state WHERE key = 'tidy'").fetchone()
        except sqlite3.Error as error:
            self.note(f"the store: {error}")
        return round(json.loads(row[0])["used"] / 1e6, 2) if row else 0.0

    def answer(self, most: int = 40) -> None:
        """Answer some questions as an operator would; the real commands carry them up and back."""
        db = open_store(self.settings.device.data)
        asking = self.settings.asking
        for question in waiting(db, {"": (asking.k, asking.cold_start)})[:most]:
            with contextlib.suppress(UserError):  # it went meanwhile, to make room
                name = question.predicted or CLASSES[0]
                self.acknowledged.add(add_answer(db, question.patch_id, CLASS, name, "anna"))
        start_cycle(db, "soak")
        db.close()
        for name, words in UP_AND_BACK:
            self.command(name, *words)

    def command(self, name: str, *words: str) -> None:
        """Run a command of the timers, and note the most that it held."""
        status, peak, _seconds, said = run_and_weigh([*self.front, *words, "-c", str(self.config)])
        self.samples[name].append((round(self.passed, 1), peak, 0.0, 0, 0))
        if status:
            self.note(f"{name}: {said.strip()[-200:]}")

    def live(self) -> None:
        """Look every ten seconds, answer every minute."""
        answer_at, save_at = min(30.0, self.hours * 900), SAVE_S
        self.start("device")
        self.start("review")
        while self.passed < self.hours * 3600:
            self.look()
            if self.passed > answer_at:
                self.answer()
                answer_at = self.passed + self.answer_s
            if self.passed > save_at:
                self.save()
                save_at = self.passed + SAVE_S
                device, store = self.samples["device"][-1], self.store[-1]
                print(
                    f"device {device}, store {store}, {len(self.acknowledged)} answers", flush=True
                )
            time.sleep(SAMPLE_S)

    def result(self) -> dict[str, Any]:
        """All that is known by now."""
        warm_up_s = min(900.0, self.hours * 3600 / 4)
        watched = {name: summary(samples, warm_up_s) for name, samples in self.samples.items()}
        for name in ("push", "merge"):  # only what they held at the most is known
            for unknown in ("anonymous_mb", "threads", "fds"):
                watched[name].pop(unknown, None)
        warm = [one for one in self.store if one[0] >= warm_up_s]
        found: dict[str, Any] = {
            "hours": round(self.passed / 3600, 3),
            "wanted_hours": self.hours,
            "answers_every_s": self.answer_s,
            "warm_up_s": warm_up_s,
            "cpus": os.cpu_count(),
            "load": round(os.getloadavg()[2], 2),
            "processes": watched,
            "restarts": self.restarts,
            "refused": self.refused,
            "answered": len(self.acknowledged),
        }
        if warm:
            found["store_mb"] = {
                "budget": BUDGET_MB,
                "used_most": max(one[3] for one in warm),
                "file_most": max(one[1] for one in warm),
                "file_most_of_halves": [
                    max((one[1] for one in half), default=0.0)
                    for half in (warm[: len(warm) // 2], warm[len(warm) // 2 :])
                ],
                "file_last": warm[-1][1],
                "log_most": max(one[2] for one in warm),
            }
        return found

    def close(self) -> tuple[dict[str, Any], list[Criterion]]:
        """What the stores hold in the end."""
        for name, words in UP_AND_BACK[:2]:
            self.command(name, *words)
        db = open_store(self.settings.device.data)
        verdicts = dict(
            db.execute("SELECT verdict, sum(frames) FROM counters GROUP BY verdict").fetchall()
        )
        kept = db.execute("SELECT coalesce(max(id), 0) FROM flags").fetchone()[0]
        rows = {
            table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("frames", "patches", "flags", "labels", "pictures_gone")
        }
        events = dict(db.execute("SELECT kind, count(*) FROM events GROUP BY kind").fetchall())
        whole = db.execute("PRAGMA integrity_check").fetchone()[0]
        found = self.result() | {
            "frames": sum(verdicts.values()),
            "verdicts": verdicts,
            "flags": kept,
            "rows": rows,
            "events": events,
            "removed": get_state(db, "tidy"),
            "loop": get_state(db, "loop"),
            "integrity": whole,
            "ended": (self.folder / "device.log").read_text().strip().splitlines()[-1],
        }
        db.close()
        db = open_store(self.settings.trainer.data)
        there = [row[0] for row in db.execute("SELECT id FROM labels")]
        db.close()
        found["at_trainer"] = len(there)
        return found, self._criteria(found, there)

    def _criteria(self, found: dict[str, Any], there: list[str]) -> list[Criterion]:
        criteria = [
            one
            for name in ("device", "review")
            for one in criteria_of(name, found["processes"][name])
        ]
        criteria += [criteria_of(name, found["processes"][name])[0] for name in ("push", "merge")
                     if "rss_mb" in found["processes"][name]]  # fmt: skip
        # A push is as large as what it sends: descriptors and threads end with it.
        sizes = found.get("store_mb", {})
        within = bool(sizes) and sizes["file_most"] <= MOST_FILE * BUDGET_MB
        first, second = sizes.get("file_most_of_halves", (0.0, 0.0))
        criteria += [
            Criterion("held by the store after a clean-up, MB", sizes.get("used_most"),
                      f"at most the budget, {BUDGET_MB}",
                      bool(sizes) and sizes["used_most"] <= BUDGET_MB),
            Criterion("the store's file at the most, MB", sizes.get("file_most"),
                      f"at most {MOST_FILE} × the budget", within),
            Criterion("the same in the two halves, MB", f"{first}, {second}",
                      f"at most {MOST_FILE_GROWTH} × as large", second <= MOST_FILE_GROWTH * first),
            Criterion("merges, with the one at the end", len(self.samples["merge"]), "at least 2",
                      len(self.samples["merge"]) >= 2),
            Criterion("restarts", len(self.restarts), "0", not self.restarts),
            Criterion("pages and commands that failed", len(self.refused), "0", not self.refused),
            Criterion("answers at the trainer", f"{len(there)} for {len(self.acknowledged)}",
                      "each once", sorted(there) == sorted(self.acknowledged)),
            Criterion("integrity", found["integrity"], "ok", found["integrity"] == "ok"),
            Criterion("hours", found["hours"], f"at least {self.hours}",
                      found["hours"] >= self.hours),
        ]  # fmt: skip
        return criteria
