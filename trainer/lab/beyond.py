"""What goes beyond the paper: which questions, unlabelled patches, stopping, and a rival."""

from dataclasses import replace
from functools import partial
from typing import Any

from trainer.lab import reports
from trainer.lab.arms import SHARES, Arm, Schedule
from trainer.lab.figures import accuracy_curves
from trainer.lab.results import Job, Results, at_round, collect, per_round
from trainer.lab.tables import Cell, Table

STRATEGIES = {
    "KLS": "kls+quota",
    "RS": "rs",
    "LC + quota": "lc+quota",
    "KLS floored": "kls_floor+quota",
    "reverse KLS": "reverse+quota",
    "BADGE": "badge",
    "BADGE + quota": "badge+quota",
    "CoreSet": "coreset",
    "TypiClust": "typiclust",
    "KLS, second look": "kls+quota+again",
    "MS + quota": "ms+quota",
    "EN + quota": "en+quota",
}
LONG_JOBS: dict[str, Job] = {
    name: ("", Arm("best", strategy=STRATEGIES[name], schedule="best")) for name in ("KLS", "RS")
}
RIVALS: dict[str, Job] = {
    "HOG + LBP, KLS": ("", Arm("handmade", "hog+lbp", schedule="best")),
    "HOG + LBP, RS": ("", Arm("handmade", "hog+lbp", "rs", schedule="best")),
}
PAPER_KLS: dict[str, Job] = {"GAPC, paper's recipe": ("", Arm("paper"))}
OWN_KLS: dict[str, Job] = {"millsight's recipe": LONG_JOBS["KLS"]}
FEW: dict[Schedule, str] = {"scarce": "hardly any labels", "few": "few labels"}
"""Schedules with few labels, and how their tables call them."""


def asking(schedule: Schedule) -> dict[str, Job]:
    """Arms of all strategies on a schedule, by the name of their row."""
    return {
        name: ("", Arm("best", strategy=strategy, schedule=schedule))
        for name, strategy in STRATEGIES.items()
    }


def with_unlabelled(schedule: Schedule) -> dict[str, Job]:
    """Arms with and without unlabelled patches, by the name of their row."""
    also = Arm("consistency", schedule=schedule)
    return {
        "KLS, labels alone": ("", Arm("best", schedule=schedule)),
        "KLS, unlabelled patches too": ("", also),
        "where pseudo-labels disagree, unlabelled patches too": (
            "",
            replace(also, strategy="disagree+quota"),
        ),
    }


GUARDED: dict[str, Job] = {
    "2 of 54 labels are of one class": ("", Arm("guarded", schedule="lopsided")),
    "1 of 18 labels is of one class": ("", Arm("guarded", schedule="starved")),
    "a tenth of 54 labels is wrong": ("", Arm("guarded", schedule="wrong")),
}
JOBS: list[Job] = [
    *(job for schedule in FEW for job in asking(schedule).values()),
    *LONG_JOBS.values(),
    *PAPER_KLS.values(),
    *RIVALS.values(),
]
UNLABELLED_JOBS: list[Job] = [
    *(job for schedule in FEW for job in with_unlabelled(schedule).values()),
    *GUARDED.values(),
]
STOPPING: dict[str, Job] = (
    PAPER_KLS
    | {"GAPC, paper's recipe, LC + quota": ("", Arm("paper", strategy="lc+quota"))}
    | {f"millsight's recipe, {name}": job for name, job in LONG_JOBS.items()}
    | {
        f"millsight's recipe, {name}, hardly any labels": asking("scarce")[name]
        for name in LONG_JOBS
    }
)
STOPPING_JOBS: list[Job] = list(STOPPING.values())


def tables(results: Results, images: int) -> list[Table]:
    """Accuracy against labels, which questions, and what KLS asks."""
    long = "Accuracy against labels: millsight's recipe and a rival"
    return [
        reports.accuracy_over_labels(results, LONG_JOBS | RIVALS, long, images),
        *(
            reports.accuracy_over_labels(
                results, asking(schedule), f"Which questions, {words}", images, schedule
            )
            for schedule, words in FEW.items()
        ),
        reports.weaknesses(results, PAPER_KLS | OWN_KLS),
    ]


def figures(results: Results) -> dict[str, Any]:
    """Accuracy against labels."""
    curves = {
        name: curve
        for name, job in (LONG_JOBS | RIVALS | PAPER_KLS).items()
        if (curve := per_round(results.of(job), "accuracy"))
    }
    title = "Accuracy against labels"
    return {"beyond": accuracy_curves(curves, title, {"GAPC, paper's recipe": {44.0: 97.8}}, 80)}


def stopping_tables(results: Results, images: int) -> list[Table]:
    """What each stopping rule would have done, and how two models in a row agree."""
    rows, seeds = {}, {}
    for name, job in STOPPING.items():
        runs = results.of(job)
        for number in range(1, max((len(run["rounds"]) for run in runs), default=0)):
            row = f"{name}, {runs[0]['rounds'][number]['labels']} labels"
            read = partial(partial, at_round, number=number)
            rows[row] = [
                Cell(collect(runs, read(figure="agreement"), 1), places=3),
                Cell(collect(runs, read(figure="accuracy")), places=2),
            ]
            seeds[row] = len(runs)
    heads = ["kappa with the round before", "accuracy [%]"]
    return [
        reports.stopping(results, STOPPING, images),
        Table("Agreement of two models in a row", heads, rows, seeds),
    ]


def unlabelled_tables(results: Results, images: int) -> list[Table]:
    """What unlabelled patches bring, how good their pseudo-labels are, and what the guard does."""
    return [
        *(
            reports.accuracy_over_labels(
                results,
                with_unlabelled(schedule),
                f"Unlabelled patches, {words}",
                images,
                schedule,
            )
            for schedule, words in FEW.items()
        ),
        _pseudo_labels(results),
        _guard(results),
    ]


def _pseudo_labels(results: Results) -> Table:
    rows, seeds = {}, {}
    for schedule, words in FEW.items():
        runs = results.of(("", Arm("consistency", schedule=schedule)))
        for number, share in enumerate(SHARES[schedule]):
            row = f"{100 * share:.0f} % labelled, {words}"
            rows[row] = [
                Cell(collect(runs, partial(at_round, number=number, figure=figure)))
                for figure in ("pseudo_labels_used", "pseudo_labels_right")
            ]
            seeds[row] = len(runs)
    heads = ["views used in training [%]", "right at the end [%]"]
    note = "Of the training images surer than the threshold, the few labelled ones among them."
    return Table("Pseudo-labels", heads, rows, seeds, note)


def _guard(results: Results) -> Table:
    figures = {
        "plain_accuracy": "labels alone",
        "unlabelled_accuracy": "unlabelled patches too",
        "accuracy": "what the guard kept",
        "refused": "refused [% of runs]",
        "kept": "smallest share a class kept [%]",
        "contradicted": "sure ones contradicted [%]",
    }
    rows, seeds = {}, {}
    for name, job in GUARDED.items():
        runs = results.of(job)
        rows[name] = [
            Cell(collect(runs, partial(at_round, number=0, figure=figure))) for figure in figures
        ]
        seeds[name] = len(runs)
    note = "Accuracy in %. The class with so few labels is another one for each seed."
    return Table("The guard", list(figures.values()), rows, seeds, note)
