"""Parts in the running loop: frames gathered into one answer, recipes chosen, answers recorded."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from camera.capture import Captured
from camera.source import Event
from config.settings import Camera, Settings
from device.loop.keeper import Keeper, LotBegun, RecipeChosen
from device.loop.recipe_book import Loaded, RecipeBook
from device.machine.codes import Code
from device.machine.handshake import Answer, PartVerdict, Steps, Trigger
from device.machine.latency import slowness
from device.machine.machine import Machine, Prepared, Ticket, Told, event_of
from device.store.parts import BY_LINE, BY_PLC, Part, Split

WORSE: dict[PartVerdict, int] = {"pass": 0, "unsure": 1, "fault": 2, "fail": 3}
"""Of the verdicts of a part's frames the worst one is the part's."""
WARN_EVERY_S = 600.0
"""Pause between two reports of answers that came near the deadline, in seconds."""
PARTS_KEPT = 100_000
"""Answers that may wait for a full disk; then the oldest are given up."""


class Seen(NamedTuple):
    """What was said of one frame."""

    verdict: str
    name: str
    """The class or the fault; empty: neither."""
    class_id: int
    judged: bool
    """Whether there was a model."""
    steps: Steps | None = None


def answer_of(seen: Seen) -> Answer:
    """What one frame says of its part."""
    if seen.verdict == "fault":
        code = {"size": Code.SIZE, "no-recipe": Code.NO_RECIPE}.get(seen.name, Code.PICTURE)
        return Answer("fault", name=seen.name, code=code)
    if not seen.judged:
        return Answer("fault", code=Code.NO_MODEL)
    verdict: PartVerdict = (
        "pass" if seen.verdict == "pass" else "fail" if seen.verdict == "fail" else "unsure"
    )
    return Answer(verdict, seen.class_id, seen.name, steps=seen.steps)


def split_of(told: Told) -> Split:
    """Where the time of a part went."""
    done, steps = told.done, told.done.answer.steps
    answer = None if told.told_ns is None else (told.told_ns - done.answered_ns) / 1e6
    if steps is None:
        return Split(answer=answer)
    moments = [done.trigger.monotonic_ns, *steps, done.answered_ns]
    split = Split(*((b - a) / 1e6 for a, b in pairwise(moments)))
    return split._replace(answer=answer)


class PartWork:
    """What the loop does for a machine that triggers."""

    def __init__(
        self,
        settings: Settings,
        book: RecipeBook,
        keeper: Keeper,
        event: Callable[[Event], None],
    ) -> None:
        self._book = book
        self._keeper = keeper
        self._event = event
        self._adapt: Callable[[Camera], None] | None = None
        self._setting_up = threading.Lock()
        """Held by whoever brings a recipe into force: no part is prepared meanwhile."""
        self._camera = settings.camera
        """What the camera is set up for."""
        self._set_up_ns = 0
        """When it was; pictures from before are of no use."""
        self.machine = Machine(settings, event, self._prepare)
        self._worst: tuple[int, Answer] | None = None
        """Trigger and worst answer of the part whose frames come in."""
        self._judged_by: dict[int, tuple[str, str]] = {}
        """Recipe and model by trigger, until the part is recorded: others may be in force then."""
        self._waiting: list[Part] = []
        self._named = ("", "")
        self._deadline_s = settings.machine.deadline_s
        self._warned = -WARN_EVERY_S

    def start(self, adapt: Callable[[Camera], None]) -> None:
        """Begin; `adapt` sets the camera up for another recipe."""
        self._adapt = adapt
        self.follow()
        self.machine.start()

    def close(self) -> None:
        """End: what waits is answered with NG, and recorded."""
        self.machine.close()
        self.record(wait=True)

    def note(self, event: Event) -> None:
        """Take in what happened to the camera."""
        if event.kind in {"lost", "opened"}:
            self.machine.block(Code.CAMERA, on=event.kind == "lost")
        elif event.kind in {"ring-light-silent", "ring-light"}:
            self.machine.block(Code.LIGHT, on=event.kind == "ring-light-silent")

    def follow(self) -> None:
        """Take up what is new in recipes, and the one of the part that is announced.

        By the PLC's index, or by a line that came before the trigger: so the camera is set up for
        it when the part comes. While a part is judged the camera stays as it is.
        """
        if self._setting_up.acquire(blocking=False):  # else a part is being prepared
            try:
                if self.machine.doing != "judging":
                    self._follow_machine()
                patterns = self._book.patterns()
                self.machine.tell(index=self._book.now.settings.recipe.index, patterns=patterns)
            finally:
                self._setting_up.release()
        self.machine.block(Code.NO_RECIPE, on=self._book.missing is not None)

    def _follow_machine(self) -> None:
        index, part = self.machine.wanted_index, self.machine.announced
        if index and (one := self._book.wanted(index, "")) is not None:
            self._switch(one, BY_PLC)
        elif part and (one := self._book.wanted(0, part)) is not None:
            self._switch(one, BY_LINE)
        self._set_up_for(self._book.now)  # a person chose it, or its file was edited

    def recipe_of(self, captured: Captured) -> Loaded | None:
        """The recipe that a frame was taken by."""
        ticket = captured.claim
        return self._book.named(ticket.recipe) if isinstance(ticket, Ticket) else None

    def names_of(self, captured: Captured) -> tuple[str, str] | None:
        """Numbers of part and lot, as the machine named them."""
        ticket = captured.claim
        if not isinstance(ticket, Ticket):
            return None
        named = (ticket.trigger.part, ticket.trigger.lot)
        return named if any(named) else None

    def take(
        self,
        captured: Captured,
        verdict: str,
        name: str,
        class_id: int,
        *,
        model_id: str,
        steps: Steps | None = None,
    ) -> None:
        """Take what was said of a frame, as `Seen` tells; the last one of a part is answered.

        `model_id` is that of the model that judged it; empty: there is none yet.
        """
        ticket = captured.claim
        if not isinstance(ticket, Ticket):
            return
        trigger = ticket.trigger
        answer = answer_of(Seen(verdict, name, class_id, bool(model_id), steps))
        self._judged_by[trigger.id] = (ticket.recipe, model_id)
        if self._worst is not None and self._worst[0] == trigger.id:
            before = self._worst[1]
            worst = max(before, answer, key=lambda a: WORSE[a.verdict])
            answer = replace(worst, steps=steps)
        self._worst = (trigger.id, answer)
        if ticket.last:
            self.machine.answer(trigger, answer)

    def record(self, *, wait: bool = False) -> None:
        """Hand the answered parts over to be stored; what the disk does not take waits.

        Without `wait` the next part never does so too: after a full disk there may be thousands.
        """
        for told in self.machine.answered():
            done = told.done
            row = self._row(told)
            self._waiting.append(row)
            self._watch_deadline(row)
            trouble = event_of(done)
            if trouble is not None:
                self._event(trouble)
            named = (done.trigger.part, done.trigger.lot)
            if any(named) and named != self._named:
                who = BY_LINE if done.trigger.tool or not done.trigger.recipe else BY_PLC
                if self._keeper.put(LotBegun(*named, who)):
                    self._named = named
        while self._waiting and self._keeper.put(self._waiting[0], wait=wait):
            del self._waiting[0]
        del self._waiting[:-PARTS_KEPT]

    def _watch_deadline(self, part: Part) -> None:
        """Say that answers come near the deadline, before one is late; now and then."""
        now = time.monotonic()
        text = slowness(part, self._deadline_s)
        if text is not None and now - self._warned >= WARN_EVERY_S:
            self._warned = now
            self._event(Event("part-slow", text))

    def _row(self, told: Told) -> Part:
        done = told.done
        trigger, answer = done.trigger, done.answer
        recipe, model_id = self._judged_by.get(trigger.id) or self._would_be_judged_by(trigger)
        # Frames of a part that was answered late may have come since.
        self._judged_by = {n: by for n, by in self._judged_by.items() if n > trigger.id}
        since_ns = time.monotonic_ns() - trigger.monotonic_ns
        return Part(
            trigger.number,
            trigger.part,
            trigger.lot,
            trigger.tool,
            recipe,
            model_id,
            answer.verdict,
            answer.name,
            int(answer.code),
            (done.answered_ns - trigger.monotonic_ns) / 1e6,
            time.time_ns() - since_ns,
            trigger.monotonic_ns,
            split_of(told),
        )

    def _would_be_judged_by(self, trigger: Trigger) -> tuple[str, str]:
        """Recipe and model of a part of which no frame was judged."""
        one = self._book.wanted(trigger.recipe, trigger.part)
        if one is None:
            return "", ""
        return one.name, "" if one.model is None else one.model.id

    def _prepare(self, trigger: Trigger) -> Prepared | Code:
        """Choose the recipe of a part, and set the camera up for it; on the camera's thread."""
        with self._setting_up:
            one = self._book.wanted(trigger.recipe, trigger.part)
            if one is None:
                return Code.NO_RECIPE
            self._switch(one, BY_PLC if trigger.recipe else BY_LINE)
            switched = trigger.monotonic_ns < self._set_up_ns
        return Prepared(one.name, one.settings.recipe.frames_per_part, switched)

    def _switch(self, one: Loaded, who: str) -> None:
        """Bring a recipe into force, its camera first; under the lock."""
        self._set_up_for(one)
        if self._book.switch(one.name):
            self.machine.tell(index=one.settings.recipe.index, patterns=self._book.patterns())
            self._keeper.put(RecipeChosen(one.name, who))

    def _set_up_for(self, one: Loaded) -> None:
        """Set the camera up for a recipe, if it is not; under the lock."""
        camera, before = one.settings.camera, self._camera
        if self._adapt is None or camera == before:
            return
        self._adapt(camera)
        self._camera = camera
        if before.model_copy(update={"quality": camera.quality}) != camera:
            self._set_up_ns = time.monotonic_ns()
