"""What the live page shows: the last verdicts and pictures, in a small file of their own.

The file is SQLite without durability: it is rewritten several times a second while somebody looks,
may lie in memory, and is made anew if it is damaged. Nothing in it is needed tomorrow.
"""

import contextlib
import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from camera.source import Event
from config.settings import Settings
from device.system.clock import boot_id

WRITE_EVERY_S = 0.25
HEARTBEAT_S = 1.0
"""A live loop says so at least this often, plates or none."""
SILENT_AFTER_S = 5.0
WATCHED_FOR_S = 15.0
"""So long after a page last asked, the pictures are still written."""
FRAMES_KEPT = 8
THUMBNAIL = 320
"""Longest side of a picture on the live page, in pixels."""

SEVERITY = {"pass": 0, "fault": 1, "unsure": 2, "fail": 3}
"""Of several frames between two looks the worst one is shown: no fail may pass unseen."""
CAMERA_EVENTS = {"lost": "lost", "opened": "ok", "ended": "ended"}
PLC_EVENTS = {"plc": False, "plc-silent": True}
"""Whether the machine's PLC is silent."""


def live_path(settings: Settings) -> Path:
    """Where the file is."""
    return settings.device.live or settings.device.data / "live.db"


class Shown(NamedTuple):
    """A frame as the live page shows it."""

    verdict: str
    """`pass`, `fail`, `unsure` or `fault`."""
    name: str
    """The class that made the verdict, or the name of the fault; empty: neither."""
    image: NDArray[np.uint8]
    """uint8 [H, W]."""


class LiveWriter:
    """The loop's side: takes every frame at once, writes a few of them on a thread."""

    def __init__(self, settings: Settings) -> None:
        self._path = live_path(settings)
        self._lock = threading.Lock()
        self._worst: Shown | None = None
        self._frames = 0
        self._counts: Counter[str] = Counter()
        self._facts: dict[str, Any] = {
            "source": settings.camera.source,
            "recipe": settings.recipe.name,
            "camera": "opening",
            "machine": None,
            "plc_silent": False,
            "keeping": True,
            "judged_ns": None,
        }
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Say that the loop has ended, and stop."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(2)

    def tell(self, **facts: Any) -> None:
        """Change what stands beside the pictures: model, part, lot, machine."""
        with self._lock:
            self._facts.update(facts)

    def note(self, event: Event) -> None:
        """Take in what happened to camera and store."""
        if event.kind in CAMERA_EVENTS:
            self.tell(camera=CAMERA_EVENTS[event.kind], camera_text=event.text)
        elif event.kind in PLC_EVENTS:
            self.tell(plc_silent=PLC_EVENTS[event.kind])
        elif event.kind in {"keeping", "not-keeping"}:
            self.tell(keeping=event.kind == "keeping")

    def show(self, shown: Shown) -> None:
        """Take a frame; costs a microsecond."""
        with self._lock:
            self._frames += 1
            self._facts["camera"] = "ok"
            if shown.verdict != "fault":
                self._facts["judged_ns"] = time.monotonic_ns()
            self._counts[shown.verdict] += 1
            if self._worst is None or SEVERITY[shown.verdict] >= SEVERITY[self._worst.verdict]:
                self._worst = shown

    def _run(self) -> None:
        """Write until the end; a file that cannot be written is tried again every second."""
        while not self._closing.is_set():
            with (
                contextlib.suppress(sqlite3.Error, OSError),
                contextlib.closing(_open_fresh(self._path)) as db,
            ):
                self._write_until_end(db)
            self._closing.wait(HEARTBEAT_S)

    def _write_until_end(self, db: sqlite3.Connection) -> None:
        written = 0.0
        rate = 0.0
        while True:
            ended = self._closing.wait(WRITE_EVERY_S)
            now = time.monotonic()
            with self._lock:
                shown, self._worst = self._worst, None
                frames = self._frames
                idle = shown is None and now - written < HEARTBEAT_S
                if not idle or ended:
                    self._frames = 0
                counts, facts = dict(self._counts), dict(self._facts)
            if idle and not ended:
                continue
            if written:
                seen = frames / (now - written)
                rate = seen if shown is None else 0.7 * rate + 0.3 * seen
            written = now
            state = facts | {
                "running": not ended,
                "frames_per_second": round(rate, 1),
                "counts": counts,
                "monotonic_ns": time.monotonic_ns(),
                "boot_id": boot_id(),
            }
            with db:
                if shown is not None and _is_watched(db):
                    db.execute(
                        "INSERT INTO frames (verdict, name, wall_ns, jpeg) VALUES (?, ?, ?, ?)",
                        [shown.verdict, shown.name, time.time_ns(), thumbnail(shown.image)],
                    )
                    db.execute(
                        "DELETE FROM frames WHERE id <= (SELECT max(id) FROM frames) - ?",
                        [FRAMES_KEPT],
                    )
                if shown is not None:
                    state |= {"verdict": shown.verdict, "name": shown.name}
                    self.tell(verdict=shown.verdict, name=shown.name)
                db.execute("INSERT OR REPLACE INTO state VALUES ('loop', ?)", [json.dumps(state)])
            if ended:
                return


def thumbnail(image: NDArray[np.uint8], side: int = THUMBNAIL) -> bytes:
    """A small JPEG of a frame, uint8 [H, W], whose longest side is at most `side` pixels."""
    scale = side / max(image.shape)
    if scale < 1:
        image = np.asarray(
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def _open_fresh(path: Path) -> sqlite3.Connection:
    """The file, empty of pictures; made anew where it is damaged.

    Raises:
        OSError, sqlite3.Error: it cannot be written.
    """
    try:
        return _open(path)
    except sqlite3.DatabaseError:
        for old in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            old.unlink(missing_ok=True)
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=1)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        with db:
            db.execute("CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value TEXT)")
            db.execute(
                "CREATE TABLE IF NOT EXISTS frames (id INTEGER PRIMARY KEY AUTOINCREMENT, "
                "verdict TEXT, name TEXT, wall_ns INTEGER, jpeg BLOB)"
            )
            db.execute("DELETE FROM frames")
    except BaseException:
        db.close()
        raise
    return db


def _is_watched(db: sqlite3.Connection) -> bool:
    row = db.execute("SELECT value FROM state WHERE key = 'watched'").fetchone()
    if row is None:
        return False
    watched = json.loads(row[0])
    since = time.monotonic_ns() - watched["monotonic_ns"]
    return bool(watched["boot_id"] == boot_id() and since < WATCHED_FOR_S * 1e9)


# --- the page's side ------------------------------------------------------------------------


class LiveFrame(NamedTuple):
    """One of the last frames, without its picture."""

    id: int
    verdict: str
    name: str


class LiveState(NamedTuple):
    """What the page shows."""

    loop: dict[str, Any] | None
    """What the loop said last; None: it never ran, or is silent."""
    frames: list[LiveFrame]
    """The last frames, the latest first."""


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=1)) as db:
        yield db


def read_live(path: Path, *, watching: bool = True) -> LiveState:
    """The present state; `watching` tells the loop that somebody looks at its pictures."""
    now_ns = time.monotonic_ns()
    try:
        with _reading(path.absolute()) as db:
            if watching and not _was_watched_lately(db, now_ns):
                watched = json.dumps({"monotonic_ns": now_ns, "boot_id": boot_id()})
                with db:
                    db.execute("INSERT OR REPLACE INTO state VALUES ('watched', ?)", [watched])
            row = db.execute("SELECT value FROM state WHERE key = 'loop'").fetchone()
            frames = db.execute("SELECT id, verdict, name FROM frames ORDER BY id DESC").fetchall()
    except (sqlite3.Error, OSError):
        return LiveState(None, [])
    loop = None if row is None else json.loads(row[0])
    if loop is not None:
        silent_ns = now_ns - loop["monotonic_ns"]
        if loop["boot_id"] != boot_id() or silent_ns > SILENT_AFTER_S * 1e9:
            loop = None
    return LiveState(loop, [LiveFrame(*row) for row in frames])


def _was_watched_lately(db: sqlite3.Connection, now_ns: int) -> bool:
    row = db.execute("SELECT value FROM state WHERE key = 'watched'").fetchone()
    return row is not None and 0 <= now_ns - json.loads(row[0])["monotonic_ns"] < 5e9


def read_frame(path: Path, frame_id: int) -> bytes | None:
    """The picture of a frame as JPEG; None: it is no longer there."""
    try:
        with _reading(path.absolute()) as db:
            row = db.execute("SELECT jpeg FROM frames WHERE id = ?", [frame_id]).fetchone()
    except (sqlite3.Error, OSError):
        return None
    return None if row is None else row[0]
