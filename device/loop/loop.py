"""The inspection loop: frames in, verdicts out, what the model is unsure of kept."""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from camera.capture import Capture, Captured
from camera.opening import open_source
from camera.quality import QualityGate
from camera.source import Event, Report, Source
from config.errors import UserError
from config.settings import Settings
from device.judging.kls import score_bins
from device.judging.model import Model
from device.judging.patches import Cut, patch_id
from device.judging.plate import PlateMaps, Shown, plate_of
from device.judging.verdict import Verdict, frame_verdict, judge
from device.loop.keeper import Keeper, KeptFrame, KeptPatch
from device.loop.rate_limit import RateLimit
from device.loop.recipe_book import Loaded, RecipeBook
from device.loop.tally import Tally
from device.machine.handshake import Steps
from device.store.database import STORE_FILE, explain_errors, get_state, open_store
from device.store.live import LiveWriter
from device.store.live import Shown as LiveShown
from device.store.swap import identity_of, is_mending
from device.store.trail import record_settings
from device.system.disk import missing_disk, need_disk
from device.system.notify import ServiceManager
from device.upkeep.housekeeper import Housekeeper
from device.upkeep.mend import is_damage, mend_and_report

if TYPE_CHECKING:
    from device.loop.part_work import PartWork

FRAMES_AT_ONCE = 8
"""Most frames scored together, where that many wait."""
LOOK_EVERY_S = 0.1
"""How often the loop looks for a new model, cycle or recipe."""
IDLE_S = 0.05
"""So long the loop waits for a frame before it looks."""
COUNT_EVERY_S = 5.0
"""How often counters and heartbeat are stored: what a power cut may lose."""


@dataclass
class Summary:
    """What one run of the loop did."""

    frames: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    """Frames per verdict, `fault` included."""
    kept: int = 0
    """Flags handed over to be stored."""
    not_kept: int = 0
    """Flags given up because the disk had no room."""
    dropped: int = 0
    """Frames that nobody had time for, or that were lost on their way."""
    seconds: float = 0.0
    """From the first frame to the last."""

    @property
    def frames_per_second(self) -> float:
        """Frames per second, 0 before the first."""
        return self.frames / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What became of one frame."""

    captured: Captured
    verdict: Verdict | None
    """None: the frame has a fault and was not judged."""
    verdict_class: str | None


class InspectionLoop:
    """Judges the frames of a source until it ends or `stop` is called.

    A `Tally` counts; a `RecipeBook` holds recipes, models and questions, a `Keeper` thread
    writes. A new model, cycle or recipe is taken up between two frames. Where a machine triggers,
    a `PartWork` gathers the frames of each part into its one answer.
    """

    def __init__(
        self,
        settings: Settings,
        report: Report,
        make_source: Callable[[Report], Source] | None = None,
        on_frame: Callable[[FrameResult], None] | None = None,
    ) -> None:
        """Open the camera of the settings, or what `make_source` makes.

        Raises:
            UserError: the camera's settings cannot work.
        """
        self._settings = settings
        self._report = report
        self._on_frame = on_frame
        self._parts: PartWork | None = None
        self._manager = ServiceManager()
        self._live = LiveWriter(settings)
        self._keeper = Keeper(settings, self._say)
        self._housekeeper = Housekeeper(settings, self._say)
        source = (
            open_source(settings.camera, settings.recipe.classes, self._event)
            if make_source is None
            else make_source(self._event)
        )
        self._book = RecipeBook(settings, self._event)
        if settings.machine.trigger != "free":
            self._parts = _part_work(settings, self._book, self._keeper, self._event)
        self._capture = Capture(
            source,
            QualityGate(settings.camera.quality),
            None if self._parts is None else self._parts.machine,
        )
        self._recipe = settings.recipe.name
        self._camera = settings.camera
        self._tally = Tally()
        self._defects = RateLimit(settings.keeping.defects_per_minute)
        self._wrong_sizes: set[tuple[str, tuple[int, ...]]] = set()
        self._plates = PlateMaps()
        self._unclean: Event | None = None
        self._said = ""
        """What was last wrong with the store."""
        self.summary = Summary()

    def stop(self) -> None:
        """End the loop soon, from any thread or a signal handler; what is kept is stored first."""
        self._capture.close()

    def run(self) -> Summary:
        """Judge until the end.

        Raises:
            UserError: the camera cannot work, or the store cannot be opened.
        """
        need_disk(self._settings)
        self._db = db = self._open_store()
        try:
            with explain_errors(self._settings.device.data / STORE_FILE):
                record_settings(db, self._settings)
        except UserError as error:  # a full disk is no reason not to judge
            self._say(Event("store", str(error)))
        self._keeper.start()
        self._live.start()
        self._housekeeper.start()
        began = looked = counted = time.monotonic()
        try:
            self._follow_first()
            self._hand_over_counts("running")
            if self._unclean is not None:
                self._event(self._unclean)
            if self._parts is not None:
                self._parts.start(self._capture.adapt)
            self._manager.ready()
            for batch in self._capture.batches(FRAMES_AT_ONCE, IDLE_S):
                now = time.monotonic()
                if not self.summary.frames:
                    began = now
                if now - looked > LOOK_EVERY_S:
                    self._follow()
                    looked = now
                for one, frames in groupby(batch, self._recipe_of):
                    self._inspect(list(frames), one)
                if self._parts is not None:
                    self._parts.record()
                    self._live.tell(machine=self._parts.machine.doing)
                owed = self._parts is None or self._parts.machine.doing == "judging"
                self._manager.tick(now, owed=owed)
                if batch:
                    self.summary.seconds = time.monotonic() - began
                self._end_blocks(now)
                if now - counted > COUNT_EVERY_S:
                    self._hand_over_counts("running")
                    counted = now
        finally:
            self._manager.stopping()
            if self._parts is not None:
                self._parts.close()
            self._hand_over_counts("stopped")
            self._housekeeper.close()
            self._keeper.close()
            self._live.close()
            self._book.close()
            self._db.close()
        return self.summary

    def _open_store(self) -> Database:
        """Open the store, mended first where it is damaged.

        Raises:
            UserError: it cannot be opened.
        """
        data = self._settings.device.data
        try:
            db = open_store(data)
            with explain_errors(data / STORE_FILE):
                self._tell_unclean_end(db)
        except UserError as error:
            if not is_damage(error):
                raise
            self._say(Event("store", str(error)))
            mend_and_report(self._settings, self._say)
            db = open_store(data)
        self._identity = identity_of(data)
        return db

    def _tell_unclean_end(self, db: Database) -> None:
        """Say so where the run before was cut off."""
        before = get_state(db, "loop")
        if before is not None and before["activity"] == "running":
            heard = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(before["wall_ns"] / 1e9))
            text = (
                f"the inspection before was cut off (power, kill or crash); last heard of {heard}"
            )
            self._unclean = Event("cut-off", text)

    def _follow_store(self) -> None:
        """Go on with the store that is in the place of a damaged one."""
        data = self._settings.device.data
        if identity_of(data) == self._identity or is_mending(data):
            return
        if missing_disk(self._settings) is not None:
            return
        self._db.close()
        self._db = open_store(data)
        with explain_errors(data / STORE_FILE):
            self._book.reopen(self._db)
        self._identity = identity_of(data)

    def _follow_first(self) -> None:
        """Take up what is in force at the start; a store that proves damaged is mended once.

        Raises:
            UserError: the store cannot be read.
        """
        try:
            self._follow(first=True)
        except UserError as error:
            if not is_damage(error):
                raise
            mend_and_report(self._settings, self._say)
            self._follow(first=True)

    def _follow(self, *, first: bool = False) -> None:
        """Take up the recipe, model and cycle that files and store say are in force."""
        for one in self._book.all():
            self._tally.gather_scores(one)  # of the model and part until now
        try:
            self._follow_store()
            changed = self._book.follow(self._db)
        except UserError as error:
            if first:
                raise
            self._store_failed(error)
            return
        self._said = ""
        if self._parts is not None:
            self._parts.follow()
        if self._book.missing is not None:
            return
        now = self._book.now
        if self._parts is None and now.settings.camera != self._camera:
            self._camera = now.settings.camera  # of another recipe, or of a file that was edited
            self._capture.adapt(self._camera)
        if now.name != self._recipe:
            self._recipe = now.name
            self._event(Event("recipe", f"{now.name} in force"))
        elif not changed:
            return
        model_id = None if now.model is None else now.model.id
        part, lot = now.now.part, now.now.lot
        self._live.tell(model=model_id, recipe=now.name, part=part, lot=lot)

    def _end_blocks(self, now: float) -> None:
        """Hand over the blocks that drift is told by, where they are long enough."""
        for one in self._book.all():
            if (block := one.watch.ended(now)) is not None:
                self._keeper.put(block)

    def _recipe_of(self, captured: Captured) -> Loaded | None:
        """The recipe that a frame is judged by; None: it is not there, or has a mistake."""
        if self._parts is not None and captured.claim is not None:
            return self._parts.recipe_of(captured)
        return self._book.now if self._book.missing is None else None

    def _inspect(self, batch: list[Captured], one: Loaded | None) -> None:
        """Judge the frames that wait by a recipe, scoring all their patches together."""
        if one is None:
            for captured in batch:
                self._conclude(captured, self._book.now, "no-recipe", None)
            return
        cuts = [one.cutter.cut(c.frame.image) if c.fault is None else None for c in batch]
        good = [patch for cut in cuts if cut is not None for patch in cut.patches]
        model, asker = one.model, one.asker
        judged = None
        cut_ns = judged_ns = time.monotonic_ns()
        predicted, scores, unsure, bins = [], [], [], []
        if good and model is not None:
            began = time.perf_counter()
            scanned = any(captured.frame.piece is not None for captured in batch)
            shared = [cut.shared for cut in cuts if cut is not None and cut.shared is not None]
            judged = judge(model, good, maps=scanned, shared=shared)
            judged_ns = time.monotonic_ns()
            judging = self._tally.judging_of(one, model)
            judging.seconds += time.perf_counter() - began
            judging.patches += len(judged.predicted)
            # Python's own numbers: for the few patches of a frame they are faster than arrays.
            predicted, scores, unsure, bins = (
                array.tolist()
                for array in (
                    judged.predicted, judged.scores, judged.unsure, score_bins(judged.scores)
                )
            )  # fmt: skip
            one.bins.update(zip(predicted, bins, strict=True))
        stop = 0
        for captured, cut in zip(batch, cuts, strict=True):
            if cut is None or not cut.regions:
                self._conclude_fault(captured, one)
                continue
            if judged is None or model is None:
                one.watch.see(captured, None, None)
                self._conclude(captured, one, None, "unsure")
                self._map(captured, one, Shown("unsure", "", cut.regions))
                kept = self._ask(asker.choose_cold, cut.patches, cut.regions)
                self._keep(captured, one, "unsure", None, kept)
                continue
            part = slice(stop, stop := stop + len(cut.regions))
            verdict, index = frame_verdict(predicted[part], unsure[part], model.passes)
            noted = self._tally.judging_of(one, model)
            noted.frames += 1
            noted.unsure += verdict == "unsure"
            name = model.metadata.classes[index] if index >= 0 else None
            one.watch.see(captured, predicted[part], bins[part])
            steps = Steps(captured.frame.monotonic_ns, cut_ns, judged_ns)
            self._conclude(captured, one, None, verdict, index, steps)
            if captured.frame.piece is not None:
                self._map(captured, one, Shown(verdict, name or "", cut.regions, judged.part(part)))
            log_p = judged.log_probabilities[part]
            kept = self._ask(
                asker.choose, cut.patches, cut.regions, predicted[part], scores[part], log_p
            )
            if verdict == "fail" and self._defects.allows(captured.frame.monotonic_ns):
                i = next(
                    i for i, c in enumerate(predicted[part]) if c == index and not unsure[part][i]
                )
                kept.append(self._defect(cut, i, model, scores[part][i], log_p[i]))
            self._keep(captured, one, verdict, name, kept)

    def _conclude_fault(self, captured: Captured, one: Loaded) -> None:
        """The verdict of a frame that is not judged: it has a fault, or another size."""
        if captured.fault is None:
            self._report_size(captured.frame.image.shape, one)
        fault = captured.fault or "size"
        self._conclude(captured, one, fault, None)
        self._map(captured, one, Shown("fault", fault))

    def _map(self, captured: Captured, one: Loaded, shown: Shown) -> None:
        """Put a picture of a scanned plate to its place; a whole plate is handed over."""
        if captured.frame.piece is None:
            return
        scan = one.settings.camera.scan
        canvas = self._plates.see(captured.frame, scan, one.model, shown)
        if canvas is not None:
            part, lot = self._part_of(captured, one)
            model_id = "" if one.model is None else one.model.id
            facts = {"part": part, "lot": lot, "recipe": one.name, "model_id": model_id}
            self._keeper.put(plate_of(canvas, captured.frame, **facts))

    def _ask(self, choose: Callable[..., list[KeptPatch]], *judged: object) -> list[KeptPatch]:
        """What is asked of a frame; nothing while the store cannot be read. Judging goes on."""
        try:
            return choose(*judged)
        except sqlite3.DatabaseError as error:
            self._store_failed(UserError(str(error)))
            return []

    def _store_failed(self, error: UserError) -> None:
        """Say once what is wrong with the store, and have it mended where it is damaged."""
        if is_damage(error):
            self._keeper.suspect()
        if str(error) != self._said:
            self._said = str(error)
            self._report(Event("store", str(error)))

    def _defect(
        self, cut: Cut, i: int, model: Model, score: float, log_p: NDArray[np.float32]
    ) -> KeptPatch:
        """The patch that failed its frame: kept as evidence, asked of nobody."""
        patch, region = cut.patches[i].copy(), cut.regions[i]
        return KeptPatch(
            patch_id(patch, self._settings.device.name, region),
            patch,
            region,
            "defect",
            score,
            model.metadata.classes[int(log_p.argmax())],
            log_probabilities=log_p.tolist(),
        )

    def _keep(
        self,
        captured: Captured,
        one: Loaded,
        verdict: Verdict,
        name: str | None,
        patches: list[KeptPatch],
    ) -> None:
        if not patches:
            return
        part, lot = self._part_of(captured, one)
        if self._keeper.put(
            KeptFrame(
                captured.frame,
                one.name,
                part,
                lot,
                one.asker.cycle,
                None if one.model is None else one.model.id,
                verdict,
                name,
                patches,
                _variant_of(one),
            )
        ):
            self.summary.kept += len(patches)
        else:
            self.summary.not_kept += len(patches)
            one.asker.forget(patches)

    def _part_of(self, captured: Captured, one: Loaded) -> tuple[str, str]:
        """Numbers of part and lot: as the machine named them, or else as they were begun."""
        if self._parts is not None and (named := self._parts.names_of(captured)):
            return named
        return one.now.part, one.now.lot

    def _conclude(
        self,
        captured: Captured,
        one: Loaded,
        fault: str | None,
        verdict: Verdict | None,
        index: int = -1,
        steps: Steps | None = None,
    ) -> None:
        """Count a frame, and hand its verdict on."""
        minute = captured.frame.wall_ns // 60_000_000_000
        name = None if index < 0 or one.model is None else one.model.metadata.classes[index]
        model_id = "" if one.model is None else one.model.id
        what = (verdict or "fault", fault or name or "")
        if self._parts is not None:  # first of all: somebody waits for it
            self._parts.take(captured, *what, index, model_id=model_id, steps=steps)
        self._tally.frames[minute, model_id, one.name, *what, *self._part_of(captured, one)] += 1
        self.summary.frames += 1
        self.summary.verdicts[what[0]] += 1
        if verdict is None:
            self._manager.fault(f"frames cannot be judged: {what[1]}")
        else:
            self._manager.judged()
        self._live.show(LiveShown(what[0], what[1], captured.frame.image))
        if self._on_frame is not None:
            self._on_frame(FrameResult(captured, verdict, fault or name))

    def _hand_over_counts(self, activity: str) -> None:
        for one in self._book.all():
            self._tally.gather_scores(one)
        summary = self.summary
        summary.dropped = self._capture.dropped
        state = {
            "activity": activity,
            "frames": summary.frames,
            "frames_per_second": round(summary.frames_per_second, 1),
            "dropped": summary.dropped,
            "not_kept": summary.not_kept,
            "source": self._settings.camera.source,
            "recipe": self._recipe,
            "wall_ns": time.time_ns(),
        }
        self._tally.hand_over(self._keeper.put, state)

    def _say(self, event: Event) -> None:
        """Report what happened, also on the live page."""
        if event.kind == "lost":
            self._manager.fault(f"camera lost: {event.text}")
        self._live.note(event)
        if event.kind == "not-keeping":
            self._housekeeper.wake()
        self._report(event)

    def _event(self, event: Event) -> None:
        """Report what happened, and store it."""
        if self._parts is not None:
            self._parts.note(event)
        self._say(event)
        self._keeper.put(event)

    def _report_size(self, shape: tuple[int, ...], one: Loaded) -> None:
        """Say once per size that frames of it cannot be judged."""
        if (one.name, shape) in self._wrong_sizes:
            return
        self._wrong_sizes.add((one.name, shape))
        text = (
            f"frames of {shape[1]} × {shape[0]} pixels do not fit recipe "
            f"{one.name!r}: they get no verdict; mend recipe.regions, "
            "recipe.frame_width_px, recipe.frame_height_px, or the camera"
        )
        self._event(Event("size", text))


def _variant_of(one: Loaded) -> str | None:
    """In which form a recipe's pictures are judged; None: there is no model."""
    if one.settings.recipe.shared_maps:  # said without a model, too: the pictures are levelled
        return "shared"
    return None if one.model is None else one.model.variant


def _part_work(
    settings: Settings, book: RecipeBook, keeper: Keeper, event: Callable[[Event], None]
) -> "PartWork":
    """What a machine that triggers needs; loaded only for it, for its Modbus takes time to load."""
    from device.loop.part_work import PartWork  # noqa: PLC0415

    return PartWork(settings, book, keeper, event)
