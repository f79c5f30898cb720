"""Runs what is missing of a grid of arms, data sets and seeds."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from trainer.lab.cache import load_arm, save_arm
from trainer.lab.milling import VARIANTS
from trainer.lab.protocol import LabData
from trainer.lab.results import Job, Results, Run
from trainer.lab.runner import OnArm, run_arm
from trainer.memory import Memory

TRAININGS = "trainings"
"""Folder of finished trainings from scratch, which arms have in common, and with which an arm that
was killed goes on; may be deleted at any time."""


def run_grid(
    jobs: list[Job],
    data: LabData,
    seeds: list[int],
    folder: Path,
    console: Console,
    on_arm: OnArm | None = None,
    *,
    only_finished: bool = False,
) -> Results:
    """Results of all jobs: finished ones from `folder`, the others run and kept there.

    One seed of every job comes before the next seed, so that a grid that is stopped early is as
    even as can be. `only_finished` runs nothing.
    """
    results = Results()
    sets, memory = _DataSets(data), Memory(folder / TRAININGS)
    unique = {(variant, arm.name): (variant, arm) for variant, arm in jobs}.values()
    for done, (seed, job) in enumerate([(seed, job) for seed in seeds for job in unique]):
        variant, arm = job
        run: Run | None = load_arm(folder, sets.get(variant), arm, seed)
        if run is None and not only_finished:
            figures = run_arm(arm, sets.get(variant), seed, on_arm, memory)
            run = save_arm(folder, sets.get(variant), arm, seed, figures)
            last = run["rounds"][-1]
            console.print(
                f"{done + 1} of {len(unique) * len(seeds)}: {variant or data.name}, {arm.name}, "
                f"seed {seed}: {100 * last['accuracy']:.1f} % at {100 * last['share']:.0f} % "
                f"labelled, {run['seconds']:.0f} s"
            )
        if run is not None:
            results.add(job, run)
    return results


class _DataSets:
    """The named data set and its variants, each made when it is first needed."""

    def __init__(self, data: LabData) -> None:
        self._known: dict[str, LabData] = {"": data}
        self._make: dict[str, Callable[[LabData], LabData]] = dict(VARIANTS)

    def get(self, variant: str) -> LabData:
        if variant not in self._known:
            self._known[variant] = self._make[variant](self._known[""])
        return self._known[variant]
