"""Thirty days of stream with their nights, each in about a minute.

One inspection and one page server run through the whole month without a restart, on a clock that
passes an hour at a time (`calendar.py`); every hour questions are answered on the pages over HTTP,
several times a day `millsight device sync` carries answers up and models down over a folder, every
night at two `millsight trainer night` learns, judges and publishes. What goes by the day does so:
shifts, cycles, ages, the daily check and copy, the renewal and the end of signatures.
"""

import contextlib
import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from sqlite_utils import Database

from camera.milled_steel import CLASSES
from camera.vmc220 import render_frame
from config.document import to_toml
from config.settings import (
    Asking,
    Backup,
    Camera,
    Device,
    Exchange,
    Keeping,
    KeepRule,
    Publishing,
    Recipe,
    Review,
    Settings,
    Trainer,
    Update,
    Vmc220Source,
)
from device.store.answers import truth_of
from device.store.database import STORE_FILE
from device.store.pictures import encode_png
from device.upkeep.backup import copies
from tests.device.review.conftest import Client
from tests.soak.calendar import Calendar
from tests.soak.run import Run
from tests.soak.watch import Criterion, criteria_of, held, run_and_weigh, summary

RATE_FPS = 8.0
HOUR_S = 1.5
"""How long an hour of the calendar takes at least."""
NIGHT_HOUR = 2
SYNC_HOURS = (0, 5, 9, 13, 17, 21)
WORK_HOURS = range(6, 22)
ANSWERS_PER_HOUR = 4
WRONG_SHARE = 0.02
"""Answers that are wrong: people are, and the night is to find them."""
BUDGET_MB = 40
MOST_FILE = 1.2
DEFECT_DAYS, ROWS_DAYS = 3, 8
OPERATORS = ("Anna", "Bo")
COPIES = 3
PATHS = ("/live", "/today", "/health", "/metrics")
WARM_UP_DAYS = 7
"""Until the store has reached its budget and most kinds of rows are there."""


def sites(folder: Path) -> tuple[Settings, Settings]:
    """The device and the trainer."""
    publish = Publishing(models_days=8, snapshot_days=3, timestamp_days=2)
    device = Settings(
        device=Device(name="box", data=folder / "box"),
        camera=Camera(source="vmc220", vmc220=Vmc220Source(rate_fps=RATE_FPS)),
        recipe=Recipe(classes=list(CLASSES), pass_classes=["clean"]),
        asking=Asking(k=25, cold_start=80, audit_share=0.05, labels_per_shift=0),
        keeping=Keeping(
            budget_mb=BUDGET_MB, floor_mb=100, tidy_s=3, models=4, rows_days=ROWS_DAYS,
            rules=[KeepRule(reason="defect", days=DEFECT_DAYS)],
        ),
        backup=Backup(folder=folder / "copies", hours=24, keep=COPIES),
        exchange=Exchange(url=str(folder / "exchange")),
        review=Review(operators=list(OPERATORS)),
        # No time says anything on a machine that others use too.
        update=Update(probation_frames=200, largest_slowdown=100, largest_live_slowdown=100),
        # So short a training learns little: with the usual floors a month may pass without a model.
        trainer=Trainer(
            data=folder / "office", golden=folder / "golden", most_steps=120, publish=publish,
            least_accuracy=0.5, least_recall=0, most_wrong=0.5,
        ),
    )  # fmt: skip
    office = device.model_copy(update={"device": Device(name="office", data=folder / "office-box")})
    return device, office


def write_golden(folder: Path, count: int = 100) -> None:
    """Plates of the platform that judge every model."""
    source = Vmc220Source(seed=9_000_000)
    for number in range(count):
        plate = render_frame(source, number)
        name = plate.defects[0].name if plate.defects else CLASSES[0]
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{number:03}.png").write_bytes(encode_png(plate.image))


class Month(Run):
    """The plant, and all that is seen of it; `store` has a row for each hour.

    Of a row: day; file, log, held after the last clean-up in MB; pictures.
    """

    def __init__(self, days: int, folder: Path, file: Path | None) -> None:
        """Of so many days."""
        super().__init__(folder, file, ("device", "review", "sync", "night"))
        self.days = days
        self.calendar = Calendar(folder)
        self.settings, self.office = sites(folder)
        self.box_toml, self.office_toml = folder / "box.toml", folder / "office.toml"
        self.box_toml.write_text(to_toml(self.settings))
        self.office_toml.write_text(to_toml(self.office))
        self.environment = os.environ | self.calendar.environment
        self.rng = random.Random(0)
        self.rows: list[dict[str, Any]] = []
        """A line for each day."""
        self.day = 0.0
        self.acknowledged: Counter[tuple[str, str, str]] = Counter()
        self.clients: dict[str, Client] = {}
        self.expiry: dict[str, str] = {}

    def moment(self) -> str:
        """Day of the calendar."""
        return f"day {self.day:.2f}"

    # --- programs ---

    def command(self, *words: str, config: Path, series: str = "") -> tuple[int, float, str]:
        """Run a command of millsight to its end: (status, seconds, what it said)."""
        status, peak, seconds, said = run_and_weigh(
            [sys.executable, "-m", "millsight", *words, "-c", str(config)], env=self.environment
        )
        if series:
            self.samples[series].append((round(self.passed, 1), peak, 0.0, 0, 0))
        return status, seconds, said.strip()

    def start(self, name: str) -> None:
        """Start the inspection or the pages."""
        front = [sys.executable, "-m", "millsight"]
        words = ["device", "run"] if name == "device" else ["review", "--port", "0"]
        with (self.folder / f"{name}.log").open("a") as log:
            self.processes[name] = subprocess.Popen(
                [*front, *words, "-c", str(self.box_toml)],
                stdout=log if name == "device" else subprocess.PIPE,
                stderr=log, text=True, env=self.environment,
            )  # fmt: skip
        if name == "review":
            line = self.processes[name].stdout.readline()  # type: ignore[union-attr]
            self.address = line.split()[-1].rstrip("/")
            self.clients = {one: Client(self.address, f"page-of-{one}") for one in OPERATORS}

    def prepare(self) -> None:
        """Golden plates, keys, trust; then everything runs."""
        write_golden(self.folder / "golden")
        keys = str(self.folder / "offline-keys")
        for words, config in (
            (("trainer", "keys", "init", "--offline", keys), self.office_toml),
            (("device", "trust", f"{keys}/root.json"), self.box_toml),
        ):
            status, _, said = self.command(*words, config=config)
            assert not status, said
        midnight = 86_400 - self.calendar.now_ns() / 1e9 % 86_400
        self.calendar.step(midnight)
        self.start("device")
        self.start("review")

    def stop(self) -> None:
        """End the programs as systemd does, and let go of the pages."""
        for client in self.clients.values():
            client.http.close()
        super().stop()

    # --- a day ---

    def live(self) -> None:
        """All days, and then some without a night."""
        for day in range(self.days):
            self.live_a_day(day)
            self.save()
        self.let_signatures_expire()

    def live_a_day(self, day: int) -> None:
        """A day and the night in it."""
        began, frames = time.monotonic(), self._frames()
        row: dict[str, Any] = {"day": day, "answers": 0, "syncs": 0}
        for hour in range(24):
            hour_began = time.monotonic()
            self.day = day + hour / 24
            if hour == NIGHT_HOUR:
                row |= self.night()
            if hour in SYNC_HOURS:
                status, _, said = self.command(
                    "device", "sync", config=self.box_toml, series="sync"
                )
                row["syncs"] += 1
                # Before the first model there is nothing to take in.
                if status and any(one.get("published") for one in self.rows):
                    self.note(f"sync: {said[-300:]}")
            if hour in WORK_HOURS:
                row["answers"] += self.answer(ANSWERS_PER_HOUR)
            self.look()
            left = HOUR_S - (time.monotonic() - hour_began)
            time.sleep(max(0.0, left))
            self.calendar.step(3600 - (time.monotonic() - hour_began))
        row |= {
            "frames": self._frames() - frames,
            "wall_s": round(time.monotonic() - began, 1),
            "model": (self._one("SELECT model_id FROM activations ORDER BY id DESC LIMIT 1") or "")[
                :12
            ],
            "copies": len(copies(self.settings)),
            "pictures": self.store[-1][4],
            "file_mb": self.store[-1][1],
            "device_mb": self.samples["device"][-1][1],
            "review_mb": self.samples["review"][-1][1],
        }
        self.rows.append(row)
        print(row, flush=True)

    def night(self) -> dict[str, Any]:
        """The trainer's night; what came of it."""
        status, seconds, said = self.command(
            "trainer", "night", config=self.office_toml, series="night"
        )
        last = said.splitlines()[-1] if said else ""
        reasons = [line[8:150] for line in said.splitlines() if line.startswith("NOT MET")]
        if status:
            self.note(f"night: {said[-500:]}")
        return {
            "night": last[:120],
            "published": last.startswith("published"),
            "honest": not status and last.startswith(("published", "kept back", "nothing to do")),
            "reasons": reasons,
            "night_s": round(seconds, 1),
        }

    def answer(self, most: int) -> int:
        """Answer questions on the pages; how many were acknowledged."""
        done = 0
        for name, client in self.clients.items():
            with contextlib.suppress(httpx.HTTPError):
                done += self._answer_as(name, client, most // len(self.clients))
        return done

    def _answer_as(self, name: str, client: Client, most: int) -> int:
        reply = client.post("/questions", {"holder": client.holder, "have": []})
        if reply.status_code in {401, 403}:  # a session of yesterday
            client.open(name)
            reply = client.post("/questions", {"holder": client.holder, "have": []})
        if reply.status_code != 200:
            self.note(f"/questions: {reply.status_code}")
            return 0
        done = 0
        for question in reply.json()["questions"][:most]:
            patch = question["patch"]
            shown = self._truth(patch)
            if self.rng.random() < WRONG_SHARE:
                shown = self.rng.choice([one for one in CLASSES if one != shown])
            identity = hashlib.sha256(f"{patch}{self.day}{name}".encode()).hexdigest()
            tap = client.tap(identity, patch, name=shown, operator=name)
            if tap.status_code == 200:
                self.acknowledged[patch, shown, name] += 1
                done += 1
            elif tap.status_code != 409:  # late: somebody else has it
                self.note(f"/answers: {tap.status_code} {tap.text[:100]}")
        return done

    def look(self) -> None:
        """Open the pages, and note what everything holds."""
        for path in PATHS:
            try:
                urllib.request.urlopen(self.address + path, timeout=30).read()
            except urllib.error.HTTPError as error:
                if path != "/health":  # a moment after an hour has passed nobody has judged yet
                    self.note(f"{path}: {error.code}")
                error.close()
            except OSError as error:
                self.note(f"{path}: {error}")
        for name in ("device", "review"):
            try:
                self.samples[name].append(held(self.processes[name].pid, self.passed))
            except OSError:
                self.restarts.append(f"day {self.day:.2f}: {name} ended")
                self.note(self.restarts[-1])
                self.start(name)
        store = self.settings.device.data / STORE_FILE
        sizes = [
            round(one.stat().st_size / 1e6, 2) if one.exists() else 0.0
            for one in (store, store.with_name(store.name + "-wal"))
        ]
        used = self._one("SELECT value FROM state WHERE key = 'tidy'")
        held_mb = round(json.loads(used)["used"] / 1e6, 2) if used else 0.0
        pictures = self._count("count(*)", "patches WHERE png != x''")
        self.store.append((round(self.day, 3), sizes[0], sizes[1], held_mb, pictures))

    # --- looking into the stores, without writing ---

    def _one(self, query: str, store: Path | None = None) -> Any:
        path = (store or self.settings.device.data) / STORE_FILE
        with contextlib.closing(
            sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        ) as db:
            row = db.execute(query).fetchone()
        return row[0] if row else None

    def _count(self, what: str, of: str) -> int:
        return int(self._one(f"SELECT coalesce({what}, 0) FROM {of}") or 0)

    def _frames(self) -> int:
        """Judged since the inspection started; counts by the minute go with their age."""
        state = self._one("SELECT value FROM state WHERE key = 'loop'")
        return int(json.loads(state)["frames"]) if state else 0

    def _truth(self, patch: str) -> str:
        path = self.settings.device.data / STORE_FILE
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return truth_of(Database(connection), patch) or CLASSES[0]

    # --- the end ---

    def let_signatures_expire(self) -> None:
        """The trainer is off for longer than its signatures hold; then a night renews them."""
        self.calendar.step(3 * 86_400)
        status, _, said = self.command("device", "sync", config=self.box_toml)
        self.expiry["while expired"] = f"status {status}: {said[-200:]}"
        self.night()
        status, _, said = self.command("device", "sync", config=self.box_toml)
        self.expiry["after a night"] = f"status {status}: {said[-200:]}"

    def result(self) -> dict[str, Any]:
        """All that is known by now."""
        done = len(self.rows)
        warm_up_s = sum(row["wall_s"] for row in self.rows[:WARM_UP_DAYS])
        watched = {name: summary(samples, warm_up_s) for name, samples in self.samples.items()}
        day_s = sum(row["wall_s"] for row in self.rows) / done if done else 0.0
        for name, found in watched.items():
            if name in {"sync", "night"}:  # only what they held at the most is known
                for unknown in ("anonymous_mb", "threads", "fds"):
                    found.pop(unknown, None)
            if "rss_mb" in found:
                found["mb_per_day"] = round(found["rss_mb"]["slope_per_hour"] * day_s / 3600, 4)
        return {
            "days": done,
            "wanted_days": self.days,
            "warm_up_days": WARM_UP_DAYS,
            "wall_hours": round(self.passed / 3600, 3),
            "until": str(self.calendar.at()),
            "cpus": os.cpu_count(),
            "load": round(os.getloadavg()[2], 2),
            "budget_mb": BUDGET_MB,
            "processes": watched,
            "restarts": self.restarts,
            "refused": self.refused,
            "answers": sum(self.acknowledged.values()),
            "published": sum(row["published"] for row in self.rows),
            "kept_back": sum(row["honest"] and not row["published"] for row in self.rows),
            "frames": sum(row["frames"] for row in self.rows),
            "expiry": self.expiry,
            "each_day": self.rows,
        }

    def close(self) -> tuple[dict[str, Any], list[Criterion]]:
        """What the stores hold in the end."""
        for words, config in (
            (("device", "push"), self.box_toml),
            (("trainer", "merge"), self.office_toml),
        ):
            status, _, said = self.command(*words, config=config)
            if status:
                self.note(f"{words}: {said[-300:]}")
        found = self.result()
        office = self.office.trainer.data
        with contextlib.closing(sqlite3.connect(office / STORE_FILE)) as db:
            there = Counter(
                {(row[0], row[1], row[2]): row[3] for row in db.execute(
                    "SELECT patch_id, class, operator, count(*) FROM labels GROUP BY 1, 2, 3")}
            )  # fmt: skip
        with contextlib.closing(sqlite3.connect(self.settings.device.data / STORE_FILE)) as db:
            found |= {
                "integrity": db.execute("PRAGMA integrity_check").fetchone()[0],
                "events": dict(db.execute("SELECT kind, count(*) FROM events GROUP BY kind")),
                "removed": json.loads(
                    db.execute("SELECT value FROM state WHERE key = 'tidy'").fetchone()[0]
                ),
                "oldest_row_days": round(self._age_of_oldest(db), 2),
                "oldest_defect_days": round(self._age_of_oldest_defect(db), 2),
                "answers_on_device": db.execute("SELECT count(*) FROM labels").fetchone()[0],
            }
        found["at_trainer"] = there.total()
        found["not_once"] = sum(
            there[key] != self.acknowledged[key] for key in there | self.acknowledged
        )
        return found, self._criteria(found)

    def _age_of_oldest(self, db: sqlite3.Connection) -> float:
        oldest = db.execute("SELECT min(minute) FROM counters").fetchone()[0]
        return self.calendar.now_ns() / 86_400e9 - float(oldest) / 1440

    def _age_of_oldest_defect(self, db: sqlite3.Connection) -> float:
        oldest = db.execute(
            "SELECT min(r.wall_ns) FROM frames r JOIN flags f ON f.frame_id = r.id "
            "WHERE f.reason = 'defect' AND f.patch_id NOT IN (SELECT patch_id FROM labels)"
        ).fetchone()[0]
        return 0.0 if oldest is None else (self.calendar.now_ns() - oldest) / 86_400e9

    def _criteria(self, found: dict[str, Any]) -> list[Criterion]:
        criteria = [
            one
            for name in ("device", "review")
            for one in criteria_of(name, found["processes"][name])
        ]
        # The trainer holds all answers in memory, of which there are more every night: told only.
        warm = [one for one in self.store if one[0] >= WARM_UP_DAYS]
        files, used = [one[1] for one in warm] or [0.0], [one[3] for one in warm] or [0.0]
        honest = sum(row["honest"] for row in self.rows)
        renewed = self.expiry.get("after a night", "status 0").startswith("status 0")
        return [
            *criteria,
            Criterion("held by the store after a clean-up, MB", max(used),
                      f"at most the budget, {BUDGET_MB}", max(used) <= BUDGET_MB),
            Criterion("the same at the least, MB", min(used),
                      "at least four fifths of the budget: it is reached",
                      min(used) >= 0.8 * BUDGET_MB),
            Criterion("the store's file at the most, MB", max(files),
                      f"at most {MOST_FILE} × the budget", max(files) <= MOST_FILE * BUDGET_MB),
            Criterion("oldest count, days", found["oldest_row_days"],
                      f"at most keeping.rows_days, {ROWS_DAYS}, and one",
                      found["oldest_row_days"] <= ROWS_DAYS + 1),
            Criterion("oldest defect without an answer, days", found["oldest_defect_days"],
                      f"at most its rule, {DEFECT_DAYS}, and one",
                      found["oldest_defect_days"] <= DEFECT_DAYS + 1),
            Criterion("nights published or kept back for a reason",
                      f"{honest} ({found['published']} published)", f"all {self.days}",
                      honest == self.days),
            Criterion("copies", self.rows[-1]["copies"] if self.rows else 0, f"{COPIES}",
                      bool(self.rows) and self.rows[-1]["copies"] == COPIES),
            Criterion("answers at the trainer", f"{found['at_trainer']} for {found['answers']}, "
                      f"{found['not_once']} not once", "each once", not found["not_once"]),
            Criterion("restarts", len(self.restarts), "0", not self.restarts),
            Criterion("pages and commands that failed", len(self.refused), "0", not self.refused),
            Criterion("a model is taken in again once its signatures are renewed", renewed, "yes",
                      renewed),
            Criterion("integrity", found["integrity"], "ok", found["integrity"] == "ok"),
        ]  # fmt: skip
