"""A device under test: frames flow, an operator answers, and everything it says is checked.

Every verdict that it prints is compared with what the model says of that very picture; every flag
that it reports and every answer that it acknowledges must be in the store afterwards.
"""

import contextlib
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from camera.milled_steel import CLASSES
from config.document import to_toml
from config.errors import UserError
from config.settings import (
    Asking,
    Backup,
    Camera,
    Device,
    FolderSource,
    Keeping,
    Live,
    OpencvSource,
    Quality,
    Recipe,
    Settings,
)
from device.judging.model import load_model
from device.judging.verdict import frame_verdict, judge
from device.models.activation import activate
from device.store.answers import add_label, waiting
from device.store.cycles import start_cycle
from device.store.database import STORE_FILE, open_store, staying_the_store
from device.upkeep.backup import back_up
from tests.device.conftest import model_file
from tests.faults.plates import sample_plates
from tests.preload import build

CAMERA = Path(__file__).parent / "plate_camera.py"
RATE_FPS = 25.0
SERVED = 200
"""Pictures that the camera on the network shows."""
RESTART_S = 1.0
"""What systemd waits before it starts a program again."""


class Verdict(NamedTuple):
    """A line that the device printed."""

    at: float
    """Monotonic, seconds."""
    origin: str
    verdict: str
    name: str | None


def build_shim(folder: Path) -> Path:
    """Compile the library that injects faults of disk and clock.

    Raises:
        FileNotFoundError: there is no gcc.
    """
    return build(Path(__file__).parent / "shim.c", folder)


class Bench:
    """The device, its neighbours, and what was seen of them."""

    def __init__(
        self, folder: Path, data: Path, shim: Path, *,
        network_camera: bool, check_hours: float = 24,
    ) -> None:  # fmt: skip
        self.folder, self.data = folder, data
        self.control, self.clock = folder / "control", folder / "clock"
        self.tricks = folder / "tricks"
        self.port = 0
        plates = sample_plates()
        self._write_plates(plates)
        self.settings = self._settings(network_camera=network_camera, check_hours=check_hours)
        file = model_file(folder / "model.onnx", plates)
        db = open_store(data)
        self.models = [
            activate(db, model_file(folder / "before.onnx", plates, seed=1), self.settings, "a").id,
            activate(db, file, self.settings, "bench").id,
        ]
        db.close()
        self.clear_fails: list[str] = []
        self.expected = self._expected(file, plates)
        self.config = folder / "millsight.toml"
        self.environment = os.environ | {
            "LD_PRELOAD": str(shim),
            "FAULT_FOLDER": str(data),
            "FAULT_CONTROL": str(self.control),
            "FAULT_CLOCK": str(self.clock),
        }
        self.verdicts: list[Verdict] = []
        self.events: list[tuple[float, str, str]] = []
        self.flagged: set[str] = set()
        self.acknowledged: set[tuple[str, str]] = set()
        self.wrong: list[Verdict] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._device: subprocess.Popen[str] | None = None
        self._camera: subprocess.Popen[bytes] | None = None
        self._operator = threading.Thread(target=self._answer, daemon=True)
        self._keeper = threading.Thread(target=self._keep_running, daemon=True)

    def _write_plates(self, plates: NDArray[np.uint8]) -> None:
        folder = self.folder / "plates"
        folder.mkdir()
        for shift in range(30):  # different pictures all the time, so that flags flow too
            for i, plate in enumerate(plates):
                moved = np.roll(plate, (shift * 13, shift * 29), axis=(0, 1))
                cv2.imwrite(str(folder / f"{shift:02}-{i:02}.png"), moved)

    def _settings(self, *, network_camera: bool, check_hours: float) -> Settings:
        quality = Quality(frozen_after=3)
        live = Live(hang_timeout_s=1, retry_first_s=0.2, retry_longest_s=1)
        folder = FolderSource(path=self.folder / "plates", repeat=True, rate_fps=RATE_FPS)
        camera = Camera(source="folder", folder=folder, quality=quality, live=live)
        if network_camera:
            self.port = _free_port()
            address = f"http://127.0.0.1:{self.port}/video"
            opencv = OpencvSource(address=address, open_timeout_s=1, read_timeout_s=0.5)
            camera = Camera(source="opencv", opencv=opencv, quality=quality, live=live)
        return Settings(
            device=Device(name="box", data=self.data, live=self.folder / "live.db"),
            camera=camera,
            recipe=Recipe(
                classes=list(CLASSES),
                pass_classes=["clean"],
                frame_width_px=200,
                frame_height_px=200,
            ),
            asking=Asking(k=300, audit_share=0.05, labels_per_shift=0),
            keeping=Keeping(floor_mb=0, low_disk_mb=0, tidy_s=5, check_hours=check_hours),
            backup=Backup(folder=self.folder / "copies", hours=1000),
        )

    def _expected(self, file: Path, plates: NDArray[np.uint8]) -> dict[str, tuple[str, str | None]]:
        """Verdict and class of every picture, by the name of its file."""
        model = load_model(file)
        found: dict[str, tuple[str, str | None]] = {}
        margins: dict[str, float] = {}
        for path in sorted((self.folder / "plates").glob("*.png")):
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            judged = judge(model, np.asarray(image, np.uint8)[None])
            verdict, index = frame_verdict(
                judged.predicted.tolist(), judged.unsure.tolist(), model.passes
            )
            name = model.metadata.classes[index] if index >= 0 else None
            found[path.name] = (verdict, name)
            log_p = judged.log_probabilities[0]
            clean = CLASSES.index("clean")
            if verdict == "fail":
                margins[path.name] = float(np.delete(log_p, clean).max() - log_p[clean])
        # On a network the picture is a JPEG, a little different: only what is clearly no pass.
        self.clear_fails = sorted(margins, key=lambda name: -margins[name])[:SERVED]
        return found

    # --- running ---

    def __enter__(self) -> "Bench":
        if self.port:  # pictures that all fail, so that any pass would be wrong
            (self.folder / "served").write_text("\n".join(self.clear_fails))
            self.start_camera()
        self.config.write_text(to_toml(self.settings))
        self._keeper.start()
        self.until_judged(time.monotonic(), 60)
        self._operator.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self.control.unlink(missing_ok=True)
        if self._device is not None:
            self._device.terminate()
        self._keeper.join(60)
        self._operator.join(60)
        self.stop_camera()

    def _keep_running(self) -> None:
        """Start the device again whenever it ends, as systemd does."""
        command = [
            sys.executable, "-m", "millsight", "device", "run", "--verdicts", "-c", str(self.config)
        ]  # fmt: skip
        while not self._closing.is_set():
            with (self.folder / "stderr").open("a") as errors:
                self._device = subprocess.Popen(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=self.environment,
                    start_new_session=True,
                )
            assert self._device.stdout is not None
            for line in self._device.stdout:
                if line.endswith("\n"):
                    self._take(line.rstrip("\n"))
            self._device.stdout.close()
            self._device.wait()
            self._closing.wait(RESTART_S)

    def _take(self, line: str) -> None:
        now = time.monotonic()
        with self._changed:
            if line.startswith("{"):
                said = json.loads(line)
                verdict = Verdict(now, Path(said["origin"]).name, said["verdict"], said["class"])
                self.verdicts.append(verdict)
                if self._is_wrong(verdict):
                    self.wrong.append(verdict)
            else:
                kind, _, text = line.partition(": ")
                self.events.append((now, kind, text))
                if kind == "flagged":
                    self.flagged.add(text.split()[0])
            self._changed.notify_all()

    def _is_wrong(self, verdict: Verdict) -> bool:
        """Whether a verdict is not what the model says of the picture; a fault is no verdict."""
        if verdict.verdict == "fault":
            return False
        if self.port:
            return verdict.verdict == "pass"
        return self.expected[verdict.origin] != (verdict.verdict, verdict.name)

    def _answer(self) -> None:
        """An operator: an answer counts once it is acknowledged."""
        turns = itertools.count()
        while not self._closing.wait(0.7):
            try:
                db = open_store(self.data)
                db.execute("PRAGMA busy_timeout = 500")
                if next(turns) % 5 == 4:  # what has no answer is flagged again
                    start_cycle(db, "bench")
                for question in waiting(db, {"": (300, 20)})[:1]:
                    with staying_the_store(self.data):
                        add_label(db, question.patch_id, CLASSES[1], "anna")
                    with self._changed:
                        self.acknowledged.add((question.patch_id, CLASSES[1]))
                db.close()
            except (UserError, sqlite3.Error, OSError):
                continue

    # --- the camera on the network ---

    def start_camera(self) -> None:
        """Start the camera that is read over HTTP."""
        self._camera = subprocess.Popen(
            [sys.executable, str(CAMERA), str(self.port), str(self.folder), str(self.tricks)]
        )

    def stop_camera(self, by: signal.Signals = signal.SIGKILL) -> None:
        """End it, whatever it does."""
        if self._camera is not None:
            self._camera.send_signal(by)
            if by == signal.SIGKILL:
                self._camera.wait()

    def signal_camera(self, by: signal.Signals) -> None:
        """Send it a signal."""
        assert self._camera is not None
        self._camera.send_signal(by)

    def kill(self) -> None:
        """Kill -9 of the device and all it started."""
        assert self._device is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._device.pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        """Of the device."""
        assert self._device is not None
        return self._device.pid

    # --- what was seen ---

    def until(self, seen: Callable[[], bool], patience_s: float = 60) -> bool:
        """Wait until something was seen; False: it was not."""
        with self._changed:
            return self._changed.wait_for(seen, patience_s)

    def until_judged(self, after: float, patience_s: float = 60) -> float:
        """Wait for a verdict after a moment; the seconds between.

        Raises:
            AssertionError: none came.
        """
        good = ("pass", "fail", "unsure")

        def first() -> Verdict | None:
            found = None
            for verdict in reversed(self.verdicts):
                if verdict.at <= after:
                    break
                found = verdict if verdict.verdict in good else found
            return found

        assert self.until(lambda: first() is not None, patience_s), "nothing was judged again"
        found = first()
        assert found is not None
        return found.at - after

    def flow(self, verdicts: int = 25) -> None:
        """Wait until frames have flowed for a while.

        Raises:
            AssertionError: they did not.
        """
        seen = len(self.verdicts)
        assert self.until(lambda: len(self.verdicts) >= seen + verdicts), "no frames flow"

    def until_kept(self, after: float, patience_s: float = 60) -> float:
        """Wait for a reported flag after a moment; the seconds between.

        Raises:
            AssertionError: none came.
        """

        def first() -> float | None:
            times = [at for at, kind, _ in self.events if kind == "flagged" and at > after]
            return min(times, default=None)

        assert self.until(lambda: first() is not None, patience_s), "nothing was kept again"
        return (first() or after) - after

    def saw(self, kind: str, after: float, patience_s: float = 20) -> bool:
        """Whether an event of a kind was said after a moment."""
        return self.until(
            lambda: any(k == kind and at > after for at, k, _ in self.events), patience_s
        )

    def last(self, kind: str) -> float:
        """When an event of a kind was said last."""
        with self._changed:
            return max(at for at, k, _ in self.events if k == kind)

    def lost(self) -> tuple[int, int]:
        """Acknowledged answers and reported flags that are not in the store."""
        with self._changed:
            answers, flags = set(self.acknowledged), set(self.flagged)
        deadline = time.monotonic() + 30
        while True:
            try:
                with contextlib.closing(
                    sqlite3.connect(f"file:{self.data / STORE_FILE}?mode=ro", uri=True, timeout=30)
                ) as db:
                    kept = {row[0] for row in db.execute("SELECT patch_id FROM flags")}
                    labels = {tuple(row) for row in db.execute(
                        "SELECT patch_id, class FROM labels")}  # fmt: skip
            except sqlite3.Error:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return len(answers - labels), len(flags - kept)

    def copy(self) -> None:
        """Make a copy of the store, as the clean-up does every night."""
        db = open_store(self.data)
        back_up(self.settings, db)
        db.close()

    def is_whole(self) -> bool:
        """Whether the store has no damage, by SQLite's own check."""
        try:
            with contextlib.closing(
                sqlite3.connect(f"file:{self.data / STORE_FILE}?mode=ro", uri=True, timeout=30)
            ) as db:
                return bool(db.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)])
        except sqlite3.Error:
            return False

    def most_between(self, begin: float, end: float) -> float:
        """The longest time without a verdict or fault within a time, in seconds."""
        with self._changed:
            times = [v.at for v in self.verdicts if begin <= v.at <= end]
        edges = [begin, *times, end]
        return max(b - a for a, b in itertools.pairwise(edges))


def _free_port() -> int:
    import socket  # noqa: PLC0415

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
