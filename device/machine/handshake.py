"""The handshake with a PLC as a state machine: no clock, no line, no thread in it.

After LandingEdge's PLC workflow. A part is triggered, answered, acknowledged; results stand until
they are acknowledged; whatever goes wrong is NG with a code, never silence and never OK. Who calls
`step` and `answer` holds a lock and brings the time (`device.machine.link`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal, NamedTuple

from device.machine.codes import Code

PartVerdict = Literal["pass", "fail", "unsure", "fault"]


class Inputs(NamedTuple):
    """What the PLC says."""

    trigger: bool = False
    ack: bool = False
    recipe: int = 0
    """Index of the recipe it wants; 0: the one in force."""
    number: int = 0
    """Its number of the part, 1 to 65535, counted up; 0: it does not count."""
    part: str = ""
    lot: str = ""


class Outputs(NamedTuple):
    """What the PLC is told."""

    ready: bool = False
    results_ready: bool = False
    ok: bool = False
    ng: bool = False
    unsure: bool = False
    class_id: int = -1
    """Place of the class in the recipe's list, from 0; −1: none made the verdict."""
    code: int = 0
    recipe: int = 0
    """Index of the recipe in force."""
    number: int = 0
    """Number of the part that the results are of."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A part is in place and wants exactly one answer."""

    id: int
    """Running number in this process, from 1."""
    number: int
    """The PLC's number; where it does not count, ours."""
    monotonic_ns: int
    """When it was seen. Only pictures taken after this are of the part."""
    due_ns: int
    """When the answer is due."""
    recipe: int = 0
    part: str = ""
    lot: str = ""
    tool: str = ""


class Steps(NamedTuple):
    """When a part's last frame had come so far, on the monotonic clock in nanoseconds."""

    taken_ns: int
    """The frame was there, whole."""
    cut_ns: int
    """It was looked at by the quality gate and cut into patches."""
    judged_ns: int
    """The network had judged the patches."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdict of a part."""

    verdict: PartVerdict
    class_id: int = -1
    name: str = ""
    """The class, or the fault of the picture."""
    code: Code = Code.NONE
    steps: Steps | None = None
    """How it came about; None: no picture was judged."""


class Done(NamedTuple):
    """A part and what it was answered: the record of it."""

    trigger: Trigger
    answer: Answer
    answered_ns: int


class State(Enum):
    """Where the handshake is."""

    IDLE = "idle"
    BUSY = "busy"
    RESULT = "result"
    RELEASE = "release"


class Handshake:
    """One part after the other: trigger, result, acknowledgement, release."""

    def __init__(
        self,
        deadline_s: float,
        done: Callable[[Done], None],
        *,
        unsure_is_ng: bool = True,
        acknowledged: bool = True,
    ) -> None:
        """Hand every answered part to `done`, exactly once.

        `acknowledged`: results stand until the PLC acknowledges them; without a PLC the next part
        may come at once.
        """
        self._deadline_ns = round(deadline_s * 1e9)
        self._done = done
        self._unsure_is_ng = unsure_is_ng
        self._acknowledged = acknowledged
        self.state = State.IDLE
        self.block = Code.STOPPED
        """Why no part can be judged now; NONE: it can."""
        self.recipe = 0
        """Index of the recipe in force."""
        self._last = Inputs()
        self._heard = False
        self._count = 0
        self._number = 0
        self._trigger: Trigger | None = None
        self._results = Outputs()

    @property
    def outputs(self) -> Outputs:
        """What the PLC is to be told now."""
        ready = self.state is State.IDLE and self.block is Code.NONE
        return self._results._replace(ready=ready, recipe=self.recipe)

    @property
    def waiting(self) -> Trigger | None:
        """The part that waits for its answer."""
        return self._trigger if self.state is State.BUSY else None

    def step(self, inputs: Inputs, now_ns: int) -> Trigger | None:
        """Take in what the PLC says; the trigger of a part that is to be judged, if any."""
        self.tick(now_ns)
        before, self._last = self._last, inputs
        first, self._heard = not self._heard, True
        rose = inputs.trigger and not before.trigger
        if rose and first:
            # Whoever raised it may have waited for long: that part may be gone.
            self._refuse(Code.RESTARTED, inputs, now_ns)
            return None
        if self.state is State.RESULT and inputs.ack and not before.ack:
            self._results = Outputs()
            self.state = State.RELEASE
        if self.state is State.RELEASE and not inputs.trigger and not inputs.ack:
            self.state = State.IDLE
        if not rose:
            return None
        return self.trigger(inputs, now_ns)

    def trigger(self, inputs: Inputs, now_ns: int, tool: str = "") -> Trigger | None:
        """A part is in place; None: it was answered at once, with an error."""
        self.tick(now_ns)
        if self._is_the_same(inputs.number):
            return None  # asked again for what is under way or stands: the answer stays one
        if self.state is not State.IDLE:
            if self.state is State.BUSY:
                # Two parts, one picture: which of them it shows, nobody knows.
                self._post(Answer("fault", code=Code.NOT_READY), now_ns)
            self._refuse(Code.NOT_READY, inputs, now_ns)
            return None
        if self.block is not Code.NONE:
            self._refuse(self.block, inputs, now_ns)
            return None
        if inputs.number and inputs.number == self._number:
            self._refuse(Code.REPEATED, inputs, now_ns)
            return None
        self._trigger = self._new_trigger(inputs, now_ns, tool)
        self.state = State.BUSY
        return self._trigger

    def identify(self, trigger_id: int, part: str, lot: str, tool: str) -> Trigger | None:
        """Name the part that waits, from what else is known of it."""
        if self._trigger is None or self._trigger.id != trigger_id:
            return None
        self._trigger = replace(self._trigger, part=part, lot=lot, tool=tool)
        return self._trigger

    def refuse(self, code: Code, inputs: Inputs, now_ns: int) -> None:
        """Answer a part at once: it cannot be judged."""
        if self.state is State.BUSY:
            self._post(Answer("fault", code=Code.NOT_READY), now_ns)
        self._refuse(code, inputs, now_ns)

    def answer(self, trigger_id: int, answer: Answer, now_ns: int) -> bool:
        """Post a verdict; False: it is late, or the part was answered already."""
        self.tick(now_ns)
        waiting = self.waiting
        if waiting is None or waiting.id != trigger_id:
            return False
        self._post(answer, now_ns)
        return True

    def tick(self, now_ns: int) -> None:
        """Say NG for a part whose answer is late."""
        waiting = self.waiting
        if waiting is not None and now_ns >= waiting.due_ns:
            late = Code.DEADLINE if self.block is Code.NONE else self.block
            self._post(Answer("fault", code=late), now_ns)

    def _is_the_same(self, number: int) -> bool:
        open_ = self.state in {State.BUSY, State.RESULT}
        return bool(open_ and number and number == self._number)

    def _new_trigger(self, inputs: Inputs, now_ns: int, tool: str = "") -> Trigger:
        self._count += 1
        self._number = inputs.number
        number = inputs.number or (self._count - 1) % 65535 + 1
        return Trigger(
            self._count, number, now_ns, now_ns + self._deadline_ns,
            inputs.recipe, inputs.part, inputs.lot, tool,
        )  # fmt: skip

    def _refuse(self, code: Code, inputs: Inputs, now_ns: int) -> None:
        self._trigger = self._new_trigger(inputs, now_ns)
        self._post(Answer("fault", code=code), now_ns)

    def _post(self, answer: Answer, now_ns: int) -> None:
        trigger = self._trigger
        if trigger is None:
            return
        if answer.verdict == "pass" and answer.code is not Code.NONE:
            answer = replace(answer, verdict="fault")  # an error is never OK
        unsure = answer.verdict == "unsure"
        self._results = Outputs(
            results_ready=True,
            ok=answer.verdict == "pass",
            ng=answer.verdict in {"fail", "fault"} or (unsure and self._unsure_is_ng),
            unsure=unsure,
            class_id=answer.class_id,
            code=int(answer.code),
            number=trigger.number,
        )
        self.state = State.RESULT if self._acknowledged else State.IDLE
        self._done(Done(trigger, answer, now_ns))
