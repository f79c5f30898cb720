"""What can be asked of the laboratory: each experiment's arms, tables and figures."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from config.errors import UserError
from trainer.lab import beyond, paper, reports
from trainer.lab.arms import Arm
from trainer.lab.figures import accuracy_curves, epoch_curves
from trainer.lab.learners import CLASSIFIERS
from trainer.lab.milling import VARIANTS
from trainer.lab.results import Job, Results, per_round
from trainer.lab.tables import Table

PAPERS = ["kls+quota", "lc", "ms", "en", "rs"]
"""The paper's five strategies; its KLS has the quota."""
CONTROLS = ["lc+quota", "ms+quota", "en+quota", "rs+quota", "kls"]
"""The same with and without the quota, which the paper does not compare."""
MILLING = [*PAPERS[:4], "lc+quota", "rs"]


@dataclass(frozen=True, slots=True)
class Experiment:
    """A table or figure of the paper, or `beyond`."""

    title: str
    jobs: list[Job]
    tables: Callable[[Results, int], list[Table]]
    """Of the results and the number of images."""
    figures: Callable[[Results], dict[str, Any]] = lambda _: {}


def _active(classifier: str) -> list[Job]:
    return list(reports.strategy_jobs(classifier, [*PAPERS, *CONTROLS]).values())


def _curves(classifier: str) -> Callable[[Results], dict[str, Any]]:
    def draw(results: Results) -> dict[str, Any]:
        jobs = reports.strategy_jobs(classifier, [*PAPERS, *CONTROLS])
        curves = {
            reports.shown(name): curve
            for name, job in jobs.items()
            if (curve := per_round(results.of(job), "accuracy"))
        }
        printed = {
            reports.shown({"kls": "kls+quota"}.get(name, name)): {44.0: row[0]}
            for name, row in paper.TABLE_4[classifier].items()
        }
        number = {"gapc": 6, "gmpc": 7}[classifier]
        title = f"Fig. {number}: {classifier.upper()}, paper's recipe"
        return {f"fig{number}": accuracy_curves(curves, title, printed)}

    return draw


def _traces(jobs: dict[str, Job], name: str, title: str) -> Callable[[Results], dict[str, Any]]:
    def draw(results: Results) -> dict[str, Any]:
        traces = {
            label: results.of(job)[0]["trace"] for label, job in jobs.items() if results.of(job)
        }
        return {name: epoch_curves(traces, title)}

    return draw


def _milling_curves(results: Results) -> dict[str, Any]:
    figures = {}
    for variant in VARIANTS:
        curves = {
            reports.shown(job[1].strategy): curve
            for job in MILLING_JOBS
            if job[0] == variant and (curve := per_round(results.of(job), "accuracy"))
        }
        if curves:
            figures[f"fig13-{variant}"] = accuracy_curves(curves, f"Fig. 13 on {variant}")
    return figures


TABLE_2_JOBS: list[Job] = [("", Arm("paper", name, schedule="all")) for name in CLASSIFIERS]
MILLING_JOBS: list[Job] = [
    (variant, Arm("paper", strategy=strategy, schedule="half"))
    for variant in VARIANTS
    for strategy in MILLING
]
TRACES: dict[str, Job] = {
    name.upper(): (job[0], replace(job[1], trace=True))
    for name in ("gapc", "gmpc")
    for job in reports.strategy_jobs(name, ["kls+quota"]).values()
}
MILLING_TRACES: dict[str, Job] = {
    "GAPC": ("milling-neu", Arm("paper", schedule="half", trace=True))
}
EXPERIMENTS: dict[str, Experiment] = {
    "table2": Experiment(
        "Supervised training of six classifiers",
        TABLE_2_JOBS,
        lambda results, _: reports.table_2(results),
    ),
    "table3": Experiment(
        "Labels needed for 90 %",
        _active("gapc") + _active("gmpc"),
        lambda results, _: [
            reports.table_3(results, kind, [*PAPERS, *CONTROLS]) for kind in ("gapc", "gmpc")
        ],
    ),
    "table4": Experiment(
        "Metrics with 44 % labelled",
        _active("gapc") + _active("gmpc"),
        lambda results, _: [
            reports.table_4(results, kind, [*PAPERS, *CONTROLS]) for kind in ("gapc", "gmpc")
        ],
    ),
    "table5": Experiment(
        "Whole methods",
        [("", Arm("paper")), ("", Arm("paper", schedule="all")), beyond.LONG_JOBS["KLS"]],
        lambda results, _: reports.table_5(results),
    ),
    "table7": Experiment(
        "The milling set's stand-ins",
        MILLING_JOBS,
        lambda results, _: reports.table_7(results, list(VARIANTS), MILLING),
    ),
    "fig6": Experiment("Strategies with GAPC", _active("gapc"), lambda *_: [], _curves("gapc")),
    "fig7": Experiment("Strategies with GMPC", _active("gmpc"), lambda *_: [], _curves("gmpc")),
    "fig8": Experiment(
        "Loss and accuracy over epochs",
        list(TRACES.values()),
        lambda *_: [],
        _traces(TRACES, "fig8", "Fig. 8: rounds of Algorithm I with KLS"),
    ),
    "fig12": Experiment(
        "Loss and accuracy over epochs on the milling stand-in",
        list(MILLING_TRACES.values()),
        lambda *_: [],
        _traces(MILLING_TRACES, "fig12", "Fig. 12 on milling-neu"),
    ),
    "fig13": Experiment(
        "Strategies on the milling set's stand-ins", MILLING_JOBS, lambda *_: [], _milling_curves
    ),
    "beyond": Experiment(
        "Beyond the paper",
        beyond.JOBS,
        beyond.tables,
        beyond.figures,
    ),
    "unlabelled": Experiment(
        "Training with unlabelled patches",
        beyond.UNLABELLED_JOBS,
        beyond.unlabelled_tables,
    ),
    "stopping": Experiment("When to stop asking", beyond.STOPPING_JOBS, beyond.stopping_tables),
}
"""By the name that the command takes; `ALONE` train models of their own instead."""


def find(name: str) -> dict[str, Experiment]:
    """The experiment of this name, or all in order of `EVERYTHING`.

    Raises:
        UserError: there is none.
    """
    if name == "everything":
        return {one: EXPERIMENTS[one] for one in EVERYTHING}
    if name not in EXPERIMENTS:
        known = ", ".join([*EXPERIMENTS, *ALONE, "everything"])
        raise UserError(f"no experiment {name!r}; there are {known}")
    return {name: EXPERIMENTS[name]}


EVERYTHING = (
    "stopping", "unlabelled", "beyond", "fig6", "table2", "table5", "table3", "table4", "fig8",
    "table7", "fig12", "fig13", "fig7",
)  # fmt: skip
"""The order in which a grid that may be stopped tells the most; they share many arms."""
ALONE = ("fig9", "speed", "overlap")
"""Experiments without a grid."""
