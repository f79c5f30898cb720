"""Runs what is missing of a grid of arms, data sets and seeds."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from device.system.locks import try_lock
from trainer.lab.cache import load_arm, save_arm
from trainer.lab.milling import VARIANTS
from trainer.lab.protocol import LabData
from trainer.lab.results import Job, Results, Run
from trainer.lab.runner import OnArm, run_arm
from trainer.learning.memory import Memory

TRAININGS = "trainings"
"""Folder of finished trainings from scratch, which arms have in common and with which an arm that
was killed goes on, and of locks; may be deleted while nothing runs."""


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
    even as can be. What another process is running is left to it, so several may share a folder.
    `only_finished` runs nothing.
    """
    results = Results()
    sets, memory = _DataSets(data), Memory(folder / TRAININGS)
    unique = {(variant, arm.name): (variant, arm) for variant, arm in jobs}.values()
    for done, (seed, job) in enumerate([(seed, job) for seed in seeds for job in unique]):
        variant, arm = job
        own = sets.get(variant)
        run: Run | None = load_arm(folder, own, arm, seed)
        if run is None and not only_finished:
            name = f"{done + 1} of {len(unique) * len(seeds)}: {own.name}, {arm.name}, seed {seed}"
            with try_lock(folder / TRAININGS / f"{own.name}-{arm.name}-seed{seed}.lock") as held:
                run = load_arm(folder, own, arm, seed)  # another may just have finished it
                if held and run is None:
                    figures = run_arm(arm, own, seed, on_arm, memory)
                    run = save_arm(folder, own, arm, seed, figures)
                    console.print(f"{name}: {_told(run)}")
            if run is None:
                console.print(f"{name}: another process is at it")
        if run is not None:
            results.add(job, run)
    return results


def _told(run: Run) -> str:
    last = run["rounds"][-1]
    return (
        f"{100 * last['accuracy']:.1f} % at {100 * last['share']:.0f} % labelled, "
        f"{run['seconds']:.0f} s"
    )


class _DataSets:
    """The named data set and its variants, each made when it is first needed."""

    def __init__(self, data: LabData) -> None:
        self._known: dict[str, LabData] = {"": data}
        self._make: dict[str, Callable[[LabData], LabData]] = dict(VARIANTS)

    def get(self, variant: str) -> LabData:
        if variant not in self._known:
            self._known[variant] = self._make[variant](self._known[""])
        return self._known[variant]
