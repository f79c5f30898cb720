"""The inspection loop: frames in, verdicts out, what the model is unsure of kept."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from camera.capture import Capture, Captured
from camera.opening import open_source
from camera.quality import QualityGate
from camera.source import Event, Report, Source
from config.errors import UserError
from config.settings import Settings
from device.asking import Asker
from device.drift_watch import Watch
from device.keeper import Counts, Keeper, KeptFrame, KeptPatch
from device.kls import score_bins
from device.live import LiveWriter, Shown
from device.model import Model
from device.patches import Cut, Cutter, patch_id
from device.store import (
    STORE_FILE,
    Counted,
    InForce,
    Scored,
    explain_errors,
    in_force,
    open_store,
    record_settings,
)
from device.swap import ModelLoader
from device.update.probation import Judging
from device.verdict import Verdict, frame_verdict, judge

FRAMES_AT_ONCE = 8
"""Most frames scored together, where that many wait."""
LOOK_EVERY_S = 0.5
"""How often the loop looks for a new model or cycle, also while no frame comes."""
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


class RateLimit:
    """Allows so many a minute, up to ten seconds' worth of them at once."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._room = self._most = max(1.0, per_minute / 6)
        self._last_ns = 0

    def allows(self, monotonic_ns: int) -> bool:
        """Whether one more may be had at this moment."""
        if not self._per_minute:
            return False
        gained = (monotonic_ns - self._last_ns) * self._per_minute / 60e9
        self._room = min(self._most, self._room + gained)
        self._last_ns = monotonic_ns
        if self._room < 1:
            return False
        self._room -= 1
        return True


class InspectionLoop:
    """Judges the frames of a source until it ends or `stop` is called.

    It owns the model in use and the counters; an `Asker` chooses the questions, a `Keeper` thread
    writes. A new model or cycle is taken up between two frames.
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
        self._live = LiveWriter(settings)
        self._keeper = Keeper(settings, self._say)
        self._watch = Watch(settings.drift, settings.recipe)
        self._loader = ModelLoader(settings)
        source = (
            open_source(settings.camera, settings.recipe.classes, self._event)
            if make_source is None
            else make_source(self._event)
        )
        self._capture = Capture(source, QualityGate(settings.camera.quality))
        self._cutter = Cutter(settings.recipe)
        self._counts: Counter[Counted] = Counter()
        self._bins: Counter[tuple[int, int]] = Counter()
        self._scores: Counter[Scored] = Counter()
        self._defects = RateLimit(settings.keeping.defects_per_minute)
        self._wrong_sizes: set[tuple[int, ...]] = set()
        self._model: Model | None = None
        self._judging: list[Judging] = []
        self._handed_over = time.monotonic()
        self._now = InForce(0, None, 0, "", "")
        self.summary = Summary()

    def stop(self) -> None:
        """End the loop soon, from any thread or a signal handler; what is kept is stored first."""
        self._capture.close()

    def run(self) -> Summary:
        """Judge until the end.

        Raises:
            UserError: the camera cannot work, or the store cannot be opened.
        """
        db = open_store(self._settings.device.data)
        try:
            with explain_errors(self._settings.device.data / STORE_FILE):
                record_settings(db, self._settings)
        except UserError as error:  # a full disk is no reason not to judge
            self._say(Event("store", str(error)))
        self._keeper.start()
        self._live.start()
        began = looked = counted = time.monotonic()
        try:
            asker = self._follow(db, None)
            for batch in self._capture.batches(FRAMES_AT_ONCE, LOOK_EVERY_S):
                now = time.monotonic()
                if not self.summary.frames:
                    began = now
                if now - looked > LOOK_EVERY_S:
                    asker = self._follow(db, asker)
                    looked = now
                if batch:
                    self._inspect(batch, asker)
                    self.summary.seconds = time.monotonic() - began
                if (block := self._watch.ended(now)) is not None:
                    self._keeper.put(block)
                if now - counted > COUNT_EVERY_S:
                    self._hand_over_counts("running")
                    counted = now
        finally:
            self._hand_over_counts("stopped")
            self._keeper.close()
            self._live.close()
            self._loader.close()
            db.close()
        return self.summary

    def _follow(self, db: Database, asker: Asker | None) -> Asker:
        """Take up the model and the cycle that the store says are in force.

        A new model is loaded on another thread while frames are judged with the present one; then
        model, activation and cycle change together.
        """
        data = self._settings.device.data
        try:
            with explain_errors(data / STORE_FILE):
                now = in_force(db)
        except UserError as error:
            if asker is None:
                raise
            self._report(Event("store", str(error)))
            return asker
        self._gather_scores()  # of the model and part until now
        if now.activation != self._now.activation and now.model_id is not None:
            self._loader.want(now.activation, now.model_id)
            model = self._loader.get(wait=asker is None)
            if model is None:  # not loaded yet
                old = self._now
                now = old._replace(part=now.part, lot=now.lot)
            elif isinstance(model, UserError):
                # The running model stays; without one the cold start goes on.
                self._event(Event("model-refused", str(model)))
            else:
                self._model = model
                self._event(Event("model", f"{model.id[:12]} in use"))
        self._now = now
        model_id = None if self._model is None else self._model.id
        self._live.tell(model=model_id, part=now.part, lot=now.lot)
        classes = [] if self._model is None else self._model.metadata.classes
        self._watch.follow(now.part, model_id or "", classes)
        if asker is None or now.cycle != asker.cycle:
            return Asker(self._settings, db, now.cycle, classes)
        return asker

    def _inspect(self, batch: list[Captured], asker: Asker) -> None:
        """Judge the frames that wait, scoring all their patches together."""
        cuts = [self._cutter.cut(c.frame.image) if c.fault is None else None for c in batch]
        good = [cut.patches for cut in cuts if cut is not None and cut.regions]
        model = self._model
        judged = None
        predicted, scores, unsure = [], [], []
        if good and model is not None:
            began = time.perf_counter()
            judged = judge(model, good[0] if len(good) == 1 else np.concatenate(good))
            self._judging_of(model).seconds += time.perf_counter() - began
            self._judging_of(model).patches += len(judged.predicted)
            bins = score_bins(judged.scores)
            self._bins.update(zip(judged.predicted.tolist(), bins.tolist(), strict=True))
            # Python's own numbers: for the few patches of a frame they are faster than arrays.
            predicted, scores, unsure = (
                array.tolist() for array in (judged.predicted, judged.scores, judged.unsure)
            )
        stop = 0
        for captured, cut in zip(batch, cuts, strict=True):
            if cut is None:
                self._conclude(captured, captured.fault, None, None)
                continue
            if not cut.regions:
                self._report_size(captured.frame.image.shape)
                self._conclude(captured, "size", None, None)
                continue
            if judged is None or model is None:
                self._watch.see(captured, None, None)
                self._conclude(captured, None, "unsure", None)
                self._keep(captured, "unsure", None, asker, asker.choose_cold(*cut))
                continue
            part = slice(stop, stop := stop + len(cut.regions))
            verdict, index = frame_verdict(predicted[part], unsure[part], model.passes)
            noted = self._judging_of(model)
            noted.frames += 1
            noted.unsure += verdict == "unsure"
            name = model.metadata.classes[index] if index >= 0 else None
            self._watch.see(captured, judged.predicted[part], bins[part])
            self._conclude(captured, None, verdict, name)
            log_p = judged.log_probabilities[part]
            kept = asker.choose(*cut, predicted[part], scores[part], log_p)
            if verdict == "fail" and self._defects.allows(captured.frame.monotonic_ns):
                i = next(
                    i for i, c in enumerate(predicted[part]) if c == index and not unsure[part][i]
                )
                kept.append(self._defect(cut, i, model, scores[part][i], log_p[i]))
            self._keep(captured, verdict, name, asker, kept)

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
        verdict: Verdict,
        name: str | None,
        asker: Asker,
        patches: list[KeptPatch],
    ) -> None:
        if not patches:
            return
        model_id = None if self._model is None else self._model.id
        recipe = self._settings.recipe.name
        if self._keeper.put(
            KeptFrame(
                captured.frame,
                recipe,
                self._now.part,
                self._now.lot,
                asker.cycle,
                model_id,
                verdict,
                name,
                patches,
            )
        ):
            self.summary.kept += len(patches)
        else:
            self.summary.not_kept += len(patches)

    def _conclude(
        self, captured: Captured, fault: str | None, verdict: Verdict | None, name: str | None
    ) -> None:
        """Count a frame, and hand its verdict on."""
        minute = captured.frame.wall_ns // 60_000_000_000
        model_id = "" if self._model is None else self._model.id
        what = (verdict or "fault", fault or name or "")
        recipe, now = self._settings.recipe.name, self._now
        self._counts[minute, model_id, recipe, *what, now.part, now.lot] += 1
        self.summary.frames += 1
        self.summary.verdicts[what[0]] += 1
        self._live.show(Shown(what[0], what[1], captured.frame.image))
        if self._on_frame is not None:
            self._on_frame(FrameResult(captured, verdict, fault or name))

    def _judging_of(self, model: Model) -> Judging:
        """What was judged with the present model since the counts were handed over."""
        if not self._judging or self._judging[-1].model_id != model.id:
            self._judging.append(Judging(model.id))
        return self._judging[-1]

    def _gather_scores(self) -> None:
        """Put the scores counted so far down to the present hour, model and part."""
        if self._model is None or not self._bins:
            return
        hour = time.time_ns() // 3_600_000_000_000
        classes = self._model.metadata.classes
        for (c, number), patches in self._bins.items():
            self._scores[hour, self._model.id, classes[c], self._now.part, number] += patches
            self._judging_of(self._model).mix[classes[c]] += patches
        self._bins.clear()

    def _hand_over_counts(self, activity: str) -> None:
        self._gather_scores()
        summary = self.summary
        summary.dropped = self._capture.dropped
        state = {
            "activity": activity,
            "frames": summary.frames,
            "frames_per_second": round(summary.frames_per_second, 1),
            "dropped": summary.dropped,
            "not_kept": summary.not_kept,
            "source": self._settings.camera.source,
            "recipe": self._settings.recipe.name,
            "wall_ns": time.time_ns(),
        }
        # Else count on until the disk has room.
        now = time.monotonic()
        if self._judging:
            self._judging[-1].elapsed += now - self._handed_over
        if self._keeper.put(Counts(self._counts, self._scores, state, self._judging)):
            self._counts, self._scores, self._judging = Counter(), Counter(), []
        self._handed_over = now

    def _say(self, event: Event) -> None:
        """Report what happened, also on the live page."""
        self._live.note(event)
        self._report(event)

    def _event(self, event: Event) -> None:
        """Report what happened, and store it."""
        self._say(event)
        self._keeper.put(event)

    def _report_size(self, shape: tuple[int, ...]) -> None:
        """Say once per size that frames of it cannot be judged."""
        if shape in self._wrong_sizes:
            return
        self._wrong_sizes.add(shape)
        text = (
            f"frames of {shape[1]} × {shape[0]} pixels do not fit recipe "
            f"{self._settings.recipe.name!r}: they get no verdict; mend recipe.regions, "
            "recipe.frame_width_px, recipe.frame_height_px, or the camera"
        )
        self._event(Event("size", text))
