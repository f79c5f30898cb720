"""Keeps flagged patches: encodes and commits them on a thread, never holding up the loop.

What is handed in while a commit runs goes into the next commit together. A frame with all its
patches, scores and flags is in one transaction: stored whole or not at all. A flag is reported
only after its commit has returned, that is, when it is on the disk.
"""

import contextlib
import hashlib
import json
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from camera.source import Event, Frame, Report
from config.errors import UserError
from config.settings import PATCH_SIZE, Region, Settings
from device.drift.log import EndedBlock, add_block
from device.judging.plate import Plate
from device.store.clock_watch import follow_clock
from device.store.counters import Counted, Scored, add_counts, add_scores
from device.store.cycles import begin_day
from device.store.database import (
    STORE_FILE,
    explain_errors,
    open_store,
    refuse_while_mending,
    set_state,
)
from device.store.parts import Part, add_part, choose_recipe
from device.store.pictures import encode_jpeg, encode_png, remove_frame_without_flags
from device.store.plate_log import add_plate
from device.store.swap import identity_of
from device.store.trail import add_event, begin_lot
from device.system.clock import stamp
from device.system.disk import MB, free_bytes, missing_disk, need_disk
from device.update.probation import Judging, note_judged, watch
from device.upkeep.mend import is_damage, mend_and_report

WAITING_ITEMS = 64
"""Frames that may wait to be stored; then the loop waits, so that nothing flagged is lost."""
GROUP_ITEMS = 32
"""Most frames in one transaction."""
RETRY_S = 5.0
"""Wait before a full disk is tried again, in seconds."""
LOOK_S = 1.0
"""How often free space is looked at, at most."""


@dataclass(frozen=True, slots=True)
class KeptPatch:
    """A patch that is kept, and why."""

    id: str
    pixels: NDArray[np.uint8]
    """uint8 [200, 200]."""
    region: Region
    reason: str
    """`uncertain`, `audit`, `cold-start` or `defect`."""
    score: float
    predicted: str | None = None
    draw_probability: float | None = None
    log_probabilities: list[float] | None = None
    fingerprint: bytes | None = None
    """What near-identical patches share (`device.judging.alike`)."""
    alike: str | None = None
    """The patch that is asked about instead of this near-identical one."""


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """A frame of which patches are kept."""

    frame: Frame
    recipe: str
    part: str
    lot: str
    cycle: int
    model_id: str | None
    verdict: str
    verdict_class: str | None
    patches: list[KeptPatch]
    variant: str | None = None
    """The form of the model that judged; None: there was no model."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Frames and scores counted since the last time, and the loop's state of now."""

    frames: Counter[Counted]
    scores: Counter[Scored]
    state: dict[str, Any]
    judged: list[Judging] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LotBegun:
    """The machine named another part or lot than before."""

    part: str
    lot: str
    who: str


@dataclass(frozen=True, slots=True)
class RecipeChosen:
    """The machine chose another recipe."""

    recipe: str
    who: str


Item: TypeAlias = KeptFrame | Counts | EndedBlock | Event | Part | LotBegun | RecipeChosen | Plate
Row: TypeAlias = Counts | EndedBlock | Event | Part | LotBegun | RecipeChosen | Plate
Encoded: TypeAlias = tuple[KeptFrame, bytes | None, list[bytes]]
"""A frame with its JPEG, where it has one, and the PNGs of its kept patches."""


def _waiting_helps(error: Exception) -> bool:
    """Whether what went wrong is the disk's or the store's fault, and not what is to be stored."""
    return isinstance(error, (UserError, OSError, sqlite3.Error)) and not isinstance(
        error, sqlite3.IntegrityError
    )


class Keeper:
    """The one writer of the capture loop's process."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self._settings = settings
        self._folder = settings.device.data
        self._device = settings.device.name
        self._report = report
        self._queue: queue.Queue[Item | None] = queue.Queue(WAITING_ITEMS)
        self._said: list[Event] = []
        """What the last transaction found, to be reported once it is committed."""
        self._closing = threading.Event()
        self.paused = threading.Event()
        """Set while the disk takes nothing."""
        self.no_room = threading.Event()
        """Set while the disk has less free space than the floor: no pictures are taken."""
        self._looked = -LOOK_S
        self._suspected = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper")

    def start(self) -> None:
        """Open the store and begin.

        Raises:
            UserError: the store cannot be opened.
        """
        self._open()
        self._thread.start()

    def suspect(self) -> None:
        """Somebody found the store damaged: it is looked at, and mended, with the next commit."""
        self._suspected.set()

    def _open(self) -> None:
        self._db = open_store(self._folder)
        self._identity = identity_of(self._folder)

    def put(self, item: Item, *, wait: bool = True) -> bool:
        """Hand something over to be stored; waits while the queue is full, unless told not to.

        False: the disk takes nothing at present, or no pictures, or the queue is full, and the item
        was not taken.
        """
        if self.no_room.is_set() and isinstance(item, KeptFrame):
            return False
        while not self.paused.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, wait, timeout=0.2)
                return True
            if not wait:
                break
        return False

    def close(self) -> None:
        """Store what waits, then end."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended = False
        while not ended:
            group: list[Item] = []
            item = self._queue.get()
            while item is not None:
                group.append(item)
                if len(group) >= GROUP_ITEMS or self._queue.empty():
                    break
                item = self._queue.get()
            ended = item is None
            self._store(group)
        self._db.close()

    def _store(self, group: list[Item]) -> None:
        """Commit a group, again and again while the disk is full."""
        self._look_for_room()
        encoded = [self._encode(i) if isinstance(i, KeptFrame) else i for i in group]
        while (error := self._commit(encoded)) is not None:
            if not _waiting_helps(error):
                self._store_what_fits(group, error)
                return
            if is_damage(error):
                self._report(Event("store", f"{error}; it is mended now, and judging goes on"))
            if not self.paused.is_set():
                self._report(Event("not-keeping", f"{error}; judging goes on"))
                self.paused.set()
            if self._closing.is_set():
                lost = sum(len(i.patches) for i in group if isinstance(i, KeptFrame))
                text = f"{lost} flagged patches could not be stored before the end"
                self._report(Event("not-kept", text))
                return
            self._closing.wait(RETRY_S if not is_damage(error) else 0.1)
        self._resume()
        for event in self._said:
            self._report(event)
        if any(isinstance(item, Counts) for item in group):
            self._watch()
        for item in group:
            if isinstance(item, KeptFrame):
                for patch in item.patches:
                    what = f"{patch.id} {patch.reason} {patch.predicted or '-'} {patch.score:.4f}"
                    self._report(Event("flagged", what))

    def _store_what_fits(self, group: list[Item], error: Exception) -> None:
        """Commit the items of a group alone; the one that the store refuses is given up."""
        if len(group) > 1:
            for item in group:
                self._store([item])
            return
        item = group[0]
        what = (
            f"{len(item.patches)} flagged patches"
            if isinstance(item, KeptFrame)
            else f"a record of kind {type(item).__name__}"
        )
        text = f"{what} cannot be stored, now or later: {error}"
        self._report(Event("not-kept", text))
        self._resume()

    def _resume(self) -> None:
        """Take everything again, where the disk took nothing."""
        if self.paused.is_set():
            self.paused.clear()
            self._report(Event("keeping", "the disk takes flagged patches again"))

    def _look_for_room(self) -> None:
        """Stop taking pictures while the disk has too little room, or is not there."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        missing = missing_disk(self._settings)
        floor_mb = self._settings.keeping.floor_mb
        try:
            free_mb = free_bytes(self._folder) // MB
        except OSError as error:
            missing = f"{self._folder}: {error.strerror}"
        if missing is None and free_mb >= floor_mb:
            if self.no_room.is_set():
                self.no_room.clear()
                self._report(Event("keeping", "the disk has room for flagged patches again"))
        elif not self.no_room.is_set():
            self.no_room.set()
            what = missing or (
                f"{self._folder}: {free_mb} MB free, less than keeping.floor_mb = {floor_mb}; "
                "the least useful pictures go, or free some space"
            )
            self._report(Event("not-keeping", f"{what}; judging goes on"))

    def _watch(self) -> None:
        """Look whether the models on probation do well."""
        try:
            events = watch(self._db, self._settings)
        except sqlite3.Error as error:
            self._report(Event("store", f"the probation is looked at later: {error}"))
            return
        for event in events:
            self._report(event)

    def _commit(self, group: Sequence[Encoded | Row]) -> Exception | None:
        """Store a group in one transaction; what went wrong, if anything did."""
        try:
            self._follow_store()
            self._said = []
            with explain_errors(self._folder / STORE_FILE), self._db.atomic():
                for item in group:
                    self._insert(item)
                refuse_while_mending(self._folder)  # or the same would be counted at every retry
            self._refuse_another()  # what went into a store that is replaced goes into the next
        except Exception as error:  # noqa: BLE001 - reported; the loop must go on judging
            if is_damage(error):
                self._suspected.set()
            return error
        return None

    def _follow_store(self) -> None:
        """Have the store mended where it is suspected, and open it anew where another is there.

        Raises:
            UserError: it cannot be mended now, or somebody else is at it.
        """
        if self._suspected.is_set():
            self._db.close()
            mend_and_report(self._settings, self._report)
            self._open()
            self._suspected.clear()  # not before: what is closed must be opened again
        elif identity_of(self._folder) != self._identity:
            need_disk(self._settings)
            self._db.close()
            self._open()

    def _refuse_another(self) -> None:
        refuse_while_mending(self._folder)
        if identity_of(self._folder) != self._identity:
            raise UserError(f"{self._folder / STORE_FILE}: was replaced meanwhile")

    def _encode(self, kept: KeptFrame) -> Encoded:
        image = kept.frame.image
        whole = image.shape == (PATCH_SIZE, PATCH_SIZE)
        jpeg = None if whole else encode_jpeg(image)
        return kept, jpeg, [encode_png(patch.pixels) for patch in kept.patches]

    def _insert(self, item: Encoded | Row) -> None:
        db = self._db
        if isinstance(item, EndedBlock):
            for event in add_block(db, item, self._settings.drift):
                add_event(db, event.kind, event.text)
                self._said.append(event)
            return
        if isinstance(item, Part | Plate):
            if isinstance(item, Part):
                add_part(db, item)
            else:
                add_plate(db, item)
            return
        if isinstance(item, LotBegun):
            begin_lot(db, item.part, item.lot, item.who)
            return
        if isinstance(item, RecipeChosen):
            choose_recipe(db, item.recipe, item.who)
            return
        if isinstance(item, Event):
            add_event(db, item.kind, item.text)
            return
        if isinstance(item, Counts):
            add_counts(db, item.frames.items())
            add_scores(db, item.scores.items())
            set_state(db, "loop", item.state)
            if (jumped := follow_clock(db)) is not None:
                add_event(db, jumped.kind, jumped.text)
                self._said.append(jumped)
            begin_day(db, self._settings.review.shifts[0])
            for judging in item.judged:
                note_judged(db, judging)
            return
        self._insert_frame(item)

    def _insert_frame(self, item: Encoded) -> None:
        db = self._db
        kept, jpeg, pngs = item
        frame = kept.frame
        moment = stamp(frame.wall_ns, frame.monotonic_ns)
        identity = json.dumps([self._device, moment.boot_id, frame.monotonic_ns, frame.sequence])
        frame_id = hashlib.sha256(identity.encode()).hexdigest()
        height, width = frame.image.shape
        db.execute(
            "INSERT OR IGNORE INTO frames VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
            "?, ?)",
            [
                frame_id, self._device, frame.sequence, *moment, frame.origin, width, height,
                kept.recipe, kept.model_id, kept.verdict, kept.verdict_class, jpeg,
                kept.part, kept.lot,
            ],
        )  # fmt: skip
        flags = 0
        for patch, png in zip(kept.patches, pngs, strict=True):
            if patch.reason == "defect" and _is_evidence(db, patch.id, kept):
                continue
            r = patch.region
            truth = frame.truth_at((r.x, r.y, r.width, r.height))
            came = db.execute(
                "INSERT INTO patches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET png = excluded.png WHERE png = x''",
                [
                    patch.id, self._device, r.x, r.y, r.width, r.height, png, truth,
                    patch.fingerprint,
                ],
            )  # fmt: skip
            if came.rowcount:  # else it could never go again
                db.execute("DELETE FROM pictures_gone WHERE patch_id = ?", [patch.id])
            log_p = patch.log_probabilities
            flags += db.execute(
                "INSERT OR IGNORE INTO flags (patch_id, frame_id, cycle, reason, predicted, score, "
                "draw_probability, log_probabilities, alike, variant) "
                # The one it is like may have gone, or have stayed in a store that was replaced.
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, (SELECT id FROM patches WHERE id = ?), ?)",
                [
                    patch.id, frame_id, kept.cycle, patch.reason, patch.predicted, patch.score,
                    patch.draw_probability, None if log_p is None else json.dumps(log_p),
                    patch.alike, kept.variant,
                ],
            ).rowcount  # fmt: skip
        if not flags:  # nothing would ever remove it
            remove_frame_without_flags(db, frame_id)


def _is_evidence(db: Database, patch_id: str, kept: KeptFrame) -> bool:
    """Whether the very same picture shows a defect of this lot already, and for this recipe."""
    found = db.execute(
        "SELECT 1 FROM flags f JOIN frames r ON r.id = f.frame_id WHERE f.patch_id = ? "
        "AND f.reason = 'defect' AND (r.part, r.lot, r.recipe) = (?, ?, ?)",
        [patch_id, kept.part, kept.lot, kept.recipe],
    )
    return found.fetchone() is not None
