"""The machine beside the box: turns what it says into parts, and tells it what became of them.

Threads of its own watch the lines, the PLC and the clock, so that a part gets its answer in time
even where camera or inspection are stuck: then the answer is NG with a code.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from camera.source import Event, Frame, Report
from config.basics import is_name
from config.settings import Settings
from device.machine.codes import Code
from device.machine.handshake import (
    Answer,
    Done,
    Handshake,
    Inputs,
    Outputs,
    State,
    Trigger,
)
from device.machine.line import LineReader, PartLine
from device.machine.modbus import Link, open_link
from device.machine.stack_light import Lamps
from device.store.editing import is_being_edited

LOOK_EVERY_S = 0.05
"""How often the interlock is looked at, in seconds; deadlines are kept exactly."""
TELL_S = 1.0
"""So long a part that was answered waits to be recorded with the time at which the PLC was told."""


class Prepared(NamedTuple):
    """What the loop says of a part that is to be judged."""

    recipe: str
    frames: int
    switched: bool = False
    """Whether the camera was just set up for it: pictures from before are of no use."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a frame was taken for."""

    trigger: Trigger
    recipe: str
    last: bool
    """Whether it is the last frame of the part."""


class Told(NamedTuple):
    """A part that was answered, and when the PLC could read it."""

    done: Done
    told_ns: int | None
    """Monotonic clock; None: there is no PLC, or it was not reached for `TELL_S`."""


@dataclass
class _Open:
    """The part whose frames are being taken."""

    trigger: Trigger
    prepared: Prepared
    from_ns: int
    """Frames from before are not of the part."""
    taken: int = 0


Prepare = Callable[[Trigger], Prepared | Code]
"""Chooses the recipe of a part and sets the camera up for it, or says why not."""


class Machine:
    """Parts in, answers out; the `Demand` of a capture.

    The handshake is behind one lock; nothing slow happens under it.
    """

    def __init__(self, settings: Settings, report: Report, prepare: Prepare) -> None:
        machine = settings.machine
        self._settings = machine
        self._data = settings.device.data
        self._prepare = prepare
        self._report = report
        self._changed = threading.Condition()
        self._blocks: dict[Code, bool] = {Code.EDITING: False, Code.STOPPED: True}
        self._done: deque[Told] = deque()
        self._handshake = Handshake(
            machine.deadline_s,
            self._record,
            unsure_is_ng=machine.unsure_is_ng,
            acknowledged=machine.modbus.role != "off",
        )
        self._pending: Trigger | None = None
        self._open: _Open | None = None
        self._line: tuple[PartLine | None, int] | None = None
        self._index = 0
        self._patterns = [machine.line.pattern]
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self._run, name="machine", daemon=True)
        self._link: Link | None = open_link(machine.modbus, self.exchange, self.told, report)
        self._reader = (
            LineReader(machine.line, lambda: self._patterns, self.heard, report)
            if machine.line.port
            else None
        )
        self._lamps = (
            Lamps(machine.stack_light, report) if machine.stack_light.output != "off" else None
        )

    def start(self) -> None:
        """Begin to listen; parts are judged from now on."""
        self.block(Code.STOPPED, on=False)
        for one in (self._watch, self._link, self._reader, self._lamps):
            if one is not None:
                one.start()

    def close(self) -> None:
        """Answer what waits with NG, tell the PLC that nobody is ready, and end."""
        self.block(Code.STOPPED, on=True)
        with self._changed:
            waiting = self._handshake.waiting
            if waiting is not None:
                stopped = Answer("fault", code=Code.STOPPED)
                self._handshake.answer(waiting.id, stopped, time.monotonic_ns())
            self._closing.set()
            self._changed.notify_all()
        self._notify()
        for one in (self._reader, self._link, self._lamps):
            if one is not None:
                one.close()
        if self._watch.is_alive():
            self._watch.join(5)

    # --- what the loop says ---

    def answer(self, trigger: Trigger, answer: Answer) -> bool:
        """Post the verdict of a part; False: it is late, or the part was answered already."""
        with self._changed:
            good = self._handshake.answer(trigger.id, answer, time.monotonic_ns())
            self._changed.notify_all()
        self._notify()
        return good

    def block(self, code: Code, *, on: bool) -> None:
        """Say why no part can be judged, or that this reason is over."""
        with self._changed:
            if self._blocks.get(code, False) == on:
                return
            self._blocks[code] = on
            reasons = [c for c, holds in self._blocks.items() if holds]
            self._handshake.block = reasons[0] if reasons else Code.NONE
        self._notify()

    def tell(self, *, index: int, patterns: list[str]) -> None:
        """The index of the recipe in force, and what the machine's lines look like."""
        with self._changed:
            self._patterns = [*patterns, self._settings.line.pattern]
            if self._handshake.recipe == index:
                return
            self._handshake.recipe = index
        self._notify()

    @property
    def wanted_index(self) -> int:
        """The recipe that the PLC asks for, by its index; 0: none."""
        return self._index

    @property
    def announced(self) -> str:
        """The part that a fresh line says comes next; empty: none."""
        with self._changed:
            line = self._line
        if line is None or line[0] is None:
            return ""
        fresh = time.monotonic_ns() - line[1] <= self._settings.line.fresh_s * 1e9
        return line[0].part if fresh else ""

    @property
    def outputs(self) -> Outputs:
        """What the PLC is told now."""
        with self._changed:
            return self._handshake.outputs

    @property
    def doing(self) -> str:
        """For people: `ready`, `judging`, `answered` (and not acknowledged yet), `editing`, or
        `blocked` for another reason."""
        with self._changed:
            state, block = self._handshake.state, self._handshake.block
        if state is State.BUSY:
            return "judging"
        if state is not State.IDLE:
            return "answered"
        if block is Code.EDITING:
            return "editing"
        return "ready" if block is Code.NONE else "blocked"

    def answered(self) -> list[Told]:
        """The parts that were answered since the last time, in their order."""
        found = []
        with self._changed:
            late_ns = time.monotonic_ns() - round(TELL_S * 1e9)
            while self._done and (
                self._link is None
                or self._closing.is_set()
                or self._done[0].told_ns is not None
                or self._done[0].done.answered_ns < late_ns
            ):
                found.append(self._done.popleft())
        return found

    def _record(self, done: Done) -> None:
        """Take an answered part, under the lock."""
        self._done.append(Told(done, None))
        if self._open is not None and self._open.trigger.id == done.trigger.id:
            self._open = None
        if self._pending is not None and self._pending.id == done.trigger.id:
            self._pending = None
        if self._lamps is not None:
            self._lamps.show(done.answer.verdict)

    # --- what the machine says ---

    def exchange(self, inputs: Inputs) -> Outputs:
        """Take in what the PLC says; what it is to be told."""
        if self._settings.trigger != "modbus":
            inputs = inputs._replace(trigger=False)
        with self._changed:
            self._index = inputs.recipe
            before = self._handshake.state
            self._begin(self._handshake.step(inputs, time.monotonic_ns()))
            if self._handshake.state is not before:
                self._changed.notify_all()
            return self._handshake.outputs

    def told(self, outputs: Outputs) -> None:
        """The PLC can now read these outputs."""
        now = time.monotonic_ns()
        with self._changed:
            for i, one in enumerate(self._done):
                number = one.done.trigger.number
                if one.told_ns is None and outputs.results_ready and outputs.number == number:
                    self._done[i] = one._replace(told_ns=now)

    def heard(self, part: PartLine | None, _line: str) -> None:
        """Take a line of the machine: None is one that nobody understands."""
        now = time.monotonic_ns()
        with self._changed:
            if self._settings.trigger != "line":
                self._line = (part, now)
                return
            if part is None or not _names_are_good(part.part, part.lot):
                self._handshake.refuse(Code.BAD_LINE, Inputs(), now)
            else:
                inputs = Inputs(part=part.part, lot=part.lot)
                trigger = self._handshake.trigger(inputs, now, part.tool)
                if trigger is not None:
                    self._pending = trigger
                    self._changed.notify_all()
        self._notify()

    def _begin(self, trigger: Trigger | None) -> None:
        """A part is in place; the line that came before it tells which. Under the lock."""
        if trigger is None:
            return
        now = time.monotonic_ns()
        if self._settings.line.port:
            line, self._line = self._line, None
            fresh = line is not None and now - line[1] <= self._settings.line.fresh_s * 1e9
            part = line[0] if line is not None and fresh else None
            if part is not None:
                named = self._handshake.identify(trigger.id, *part)
                trigger = named or trigger
            elif self._settings.line.required:
                bad = Answer("fault", code=Code.BAD_LINE)
                self._handshake.answer(trigger.id, bad, now)
                return
        if not _names_are_good(trigger.part, trigger.lot):
            self._handshake.answer(trigger.id, Answer("fault", code=Code.BAD_LINE), now)
            return
        self._pending = trigger
        self._changed.notify_all()

    # --- what the camera is asked for ---

    def wait(self, timeout_s: float) -> bool:
        """Whether a part waits for frames."""
        if self._settings.trigger == "camera":
            return self._wait_until_free(timeout_s)
        with self._changed:
            if self._open is None and self._pending is None:
                self._changed.wait(timeout_s)
        opened = self._take_up()
        if opened is None:
            return False
        return self._closing.wait(self._early_s(opened)) is False

    def _wait_until_free(self, timeout_s: float) -> bool:
        """Whether the next frame of a camera that triggers itself has a part to belong to."""
        with self._changed:
            if self._open is None and self._handshake.state is not State.IDLE:
                self._changed.wait(timeout_s)
            return self._open is not None or self._handshake.state is State.IDLE

    def claim(self, frame: Frame) -> Ticket | None:
        """The part that a frame is of; None: it is of none, or was taken before its trigger."""
        if self._settings.trigger == "camera":
            self._trigger_by(frame)
        opened = self._take_up()
        if opened is None:
            return None
        if frame.monotonic_ns < opened.from_ns:
            if self._settings.trigger == "camera":
                # The part's own picture, taken as the recipe before wants it; the next one to come
                # is of the next part.
                self.answer(opened.trigger, Answer("fault", code=Code.PICTURE))
            return None
        with self._changed:
            if self._open is not opened:  # answered meanwhile: it was late
                return None
            opened.taken += 1
            last = opened.taken >= opened.prepared.frames
            if last:
                self._open = None
            return Ticket(opened.trigger, opened.prepared.recipe, last)

    def _trigger_by(self, frame: Frame) -> None:
        """The camera's own line triggered: its frame begins a part, where none is open."""
        with self._changed:
            if self._open is None and self._pending is None:
                at = min(frame.monotonic_ns, time.monotonic_ns())
                self._begin(self._handshake.trigger(Inputs(), at))
        self._notify()

    def _take_up(self) -> _Open | None:
        """The open part; a pending one is prepared first, outside of the lock."""
        with self._changed:
            trigger, self._pending = self._pending, None
        if trigger is not None:
            prepared = self._prepare(trigger)
            if isinstance(prepared, Code):
                self.answer(trigger, Answer("fault", code=prepared))
            else:
                with self._changed:
                    waiting = self._handshake.waiting
                    if waiting is not None and waiting.id == trigger.id:
                        self._open = _Open(trigger, prepared, self._from_ns(trigger, prepared))
        with self._changed:
            return self._open

    def _from_ns(self, trigger: Trigger, prepared: Prepared) -> int:
        delay_s = 0.0 if self._settings.trigger == "camera" else self._settings.delay_s
        from_ns = trigger.monotonic_ns + round(delay_s * 1e9)
        return max(from_ns, time.monotonic_ns()) if prepared.switched else from_ns

    def _early_s(self, opened: _Open) -> float:
        """How long to wait before the first frame of a part."""
        return max(0.0, (opened.from_ns - time.monotonic_ns()) / 1e9)

    # --- the clock ---

    def _run(self) -> None:
        """Keep deadlines, look at the interlock, trigger by the interval; until the end."""
        interval_ns = round(self._settings.interval_s * 1e9)
        next_ns = time.monotonic_ns() + interval_ns
        while not self._closing.is_set():
            self.block(Code.EDITING, on=is_being_edited(self._data))
            now = time.monotonic_ns()
            with self._changed:
                before = self._handshake.state
                self._handshake.tick(now)
                if self._settings.trigger == "interval" and now >= next_ns:
                    next_ns = max(next_ns + interval_ns, now)
                    if self._handshake.waiting is None:  # else this one would only be in its way
                        self._begin(self._handshake.trigger(Inputs(), now))
                changed = self._handshake.state is not before
                waiting = self._handshake.waiting
                until = min(
                    now + round(LOOK_EVERY_S * 1e9),
                    waiting.due_ns if waiting else now + 10**9,
                    next_ns if self._settings.trigger == "interval" else now + 10**9,
                )
            if changed:
                self._notify()
            with self._changed:
                if not self._closing.is_set():
                    left = (until - time.monotonic_ns()) / 1e9
                    self._changed.wait(max(left, 0.0005))

    def _notify(self) -> None:
        """Something may have changed that the PLC is to be told."""
        if self._link is not None:
            self._link.notify()


def _names_are_good(*names: str) -> bool:
    """Whether numbers of part and lot may stand in the store and on pages."""
    return all(not name or is_name(name) for name in names)


def event_of(done: Done) -> Event | None:
    """What to report of an answered part; None: nothing went wrong."""
    code = done.answer.code
    if code is Code.NONE:
        return None
    number = done.trigger.number
    return Event("part-error", f"part {number}: NG, code {int(code)} ({code.name.lower()})")
