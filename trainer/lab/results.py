"""Finished arms of an experiment, and what is read from them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trainer.lab.arms import Arm

Job = tuple[str, Arm]
"""A data set, "" for the one that was named or one of its variants, and what is run on it."""
Run = dict[str, Any]
"""What `run_arm` gave for one seed."""


@dataclass(slots=True)
class Results:
    """Runs of jobs, by data set and arm, in the order of seeds."""

    by_job: dict[tuple[str, str], list[Run]] = field(default_factory=dict)

    def add(self, job: Job, run: Run) -> None:
        """One more seed of a job."""
        self.by_job.setdefault((job[0], job[1].name), []).append(run)

    def of(self, job: Job) -> list[Run]:
        """The runs of a job; empty if there is none yet."""
        return self.by_job.get((job[0], job[1].name), [])


def at_share(run: Run, share: float, figure: str) -> float | None:
    """A figure of the round at this share of labels; None: the run has no such round."""
    for here in run["rounds"]:
        if abs(here["share"] - share) < 0.005:
            return None if here[figure] is None else float(here[figure])
    return None


def at_round(run: Run, number: int, figure: str) -> float | None:
    """A figure of a round by its number; None: the round does not have it."""
    rounds = run["rounds"]
    value = rounds[number].get(figure) if number < len(rounds) else None
    return None if value is None else float(value)


def share_to_reach(run: Run, figure: str, goal: float) -> float | None:
    """The first share of labels at which a figure reaches a goal; None: never."""
    return next((float(r["share"]) for r in run["rounds"] if r[figure] >= goal), None)


def collect(
    runs: list[Run], read: Callable[[Run], float | None], scale: float = 100
) -> list[float]:
    """A figure of each run that has it, times `scale`: per cent unless told otherwise."""
    found = [read(run) for run in runs]
    return [scale * value for value in found if value is not None]


def per_round(runs: list[Run], figure: str) -> dict[float, list[float]]:
    """Values of a figure over all runs, by share of labels, both in per cent."""
    curve: dict[float, list[float]] = {}
    for run in runs:
        for here in run["rounds"]:
            if here.get(figure) is not None:
                curve.setdefault(100 * here["share"], []).append(100 * here[figure])
    return dict(sorted(curve.items()))
