"""From the trigger to the result: how long parts took, where the time went, and how near it came
to the deadline."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlite_utils import Database

from device.machine.codes import Code
from device.store.parts import Part, last_part, parts_after

NEAR = 0.8
"""An answer that took more than this share of the deadline is near it."""
LATEST = 1000
"""So many of the latest parts are looked at."""
STEPS = ("grab", "prepare", "infer", "decide", "answer")
MEANING = {
    "grab": "trigger to picture: recipe, delay_s, exposure, way over the wire",
    "prepare": "out of shared memory, quality gate, cut into patches",
    "infer": "the network",
    "decide": "from the patches to the answer",
    "answer": "until the PLC can read it",
}


class Spread(NamedTuple):
    """How long something took, in milliseconds."""

    median: float
    p99: float
    worst: float


class Latency(NamedTuple):
    """What parts took."""

    parts: int
    judged: int
    """Of them those whose picture was judged; the times are theirs."""
    missed: int
    """Parts that were NG because no verdict came in time."""
    total: Spread | None
    """From the trigger until the PLC can read the result (where there is one); None: no part."""
    steps: dict[str, Spread]


def slowness(part: Part, deadline_s: float) -> str | None:
    """What to say of a part whose answer came near the deadline; None: it did not."""
    limit_ms = 1000 * deadline_s
    if part.code or part.took_ms < NEAR * limit_ms:
        return None
    split = part.split._asdict().items()
    steps = ", ".join(f"{name} {value:.0f}" for name, value in split if value is not None)
    return f"part {part.number} took {part.took_ms:.0f} of {limit_ms:.0f} ms ({steps})"


def spread(values: Sequence[float]) -> Spread:
    """Median, 99th percentile (the nearest of the values above it) and largest of some values."""
    found = sorted(values)
    return Spread(
        found[len(found) // 2], found[min(len(found) - 1, int(0.99 * len(found)))], found[-1]
    )


def latency_of(parts: Sequence[Part]) -> Latency:
    """What these parts took."""
    judged = [part for part in parts if part.split.infer is not None]
    steps = {}
    for step in STEPS:
        values = [v for part in judged if (v := getattr(part.split, step)) is not None]
        if values:
            steps[step] = spread(values)
    totals = [part.took_ms + (part.split.answer or 0) for part in judged]
    missed = sum(part.code == Code.DEADLINE for part in parts)
    return Latency(len(parts), len(judged), missed, spread(totals) if totals else None, steps)


def latest(db: Database, count: int = LATEST) -> Latency:
    """What the latest parts of the store took."""
    return latency_of([one.part for one in parts_after(db, last_part(db) - count, count)])


def as_json(found: Latency, deadline_s: float) -> dict[str, Any]:
    """Ready for JSON."""
    return {
        "parts": found.parts,
        "judged": found.judged,
        "missed": found.missed,
        "deadline_ms": 1000 * deadline_s,
        "total_ms": None if found.total is None else _rounded(found.total),
        "steps_ms": {name: _rounded(one) for name, one in found.steps.items()},
    }


def _rounded(one: Spread) -> dict[str, float]:
    return {name: round(value, 2) for name, value in one._asdict().items()}


def lines(found: Latency, deadline_s: float) -> list[str]:
    """The same for people."""
    if found.total is None:
        return ["no part was judged yet; parts come with machine.trigger"]
    rows = [("trigger to result", found.total), *found.steps.items()]
    text = [f"{'ms':<18}{'median':>9}{'99th':>9}{'worst':>9}"]
    text += [
        f"{name:<18}{one.median:>9.1f}{one.p99:>9.1f}{one.worst:>9.1f}  {MEANING.get(name, '')}"
        for name, one in rows
    ]
    share = found.total.worst / (1000 * deadline_s)
    text.append(
        f"{found.parts} parts, {found.judged} judged, {found.missed} without a verdict in "
        f"{deadline_s:g} s (machine.deadline_s); the slowest took {share:.0%} of it"
    )
    return [line.rstrip() for line in text]
