"""The tables of each experiment, from finished arms."""

from functools import partial

from trainer.lab import paper
from trainer.lab.arms import SHARES, Arm, Schedule
from trainer.lab.learners import CLASSIFIERS
from trainer.lab.protocol import TEST_SHARE
from trainer.lab.results import Job, Results, at_round, at_share, collect, share_to_reach
from trainer.lab.stopping import RULES, apply
from trainer.lab.tables import Cell, Table

NAMES = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1"}
HEADS = [f"{name} [%]" for name in NAMES.values()]
BESIDE = "Mean ± standard deviation over seeds; the paper's figure in brackets."


def at_end(results: Results, job: Job, figure: str) -> list[float]:
    """A figure of the last round of each run, in per cent."""
    return collect(results.of(job), lambda run: run["rounds"][-1][figure])


def table_2(results: Results) -> list[Table]:
    """Supervised training of the six classifiers."""
    rows, seeds = {}, {}
    for name in CLASSIFIERS:
        job = ("", Arm("paper", name, schedule="all"))
        cells = [
            Cell(at_end(results, job, metric), printed)
            for metric, printed in zip(NAMES, paper.TABLE_2[name], strict=False)
        ]
        seconds = collect(results.of(job), lambda run: run["rounds"][-1]["seconds"], 1)
        rows[name.upper()] = [*cells, Cell(seconds, paper.TABLE_2[name][-1])]
        seeds[name.upper()] = len(results.of(job))
    title = "Table 2: supervised training on 60 % of the images"
    return [Table(title, [*HEADS, "training [s]"], rows, seeds, BESIDE)]


def strategy_jobs(classifier: str, strategies: list[str]) -> dict[str, Job]:
    """The arms of Algorithm I with the paper's recipe, by the name of their strategy."""
    schedule = "half" if classifier == "gmpc" else "paper"
    return {
        name: ("", Arm("paper", classifier, name, schedule))  # type: ignore[arg-type]
        for name in strategies
    }


def shown(strategy: str) -> str:
    """How a strategy is called in tables: the paper's KLS has its quota built in."""
    special = {"kls+quota": "KLS", "kls": "KLS without quota"}
    base, *wear = strategy.split("+")
    return special.get(strategy, " + ".join([base.upper(), *wear]))


def printed_for(
    strategy: str, classifier: str, table: dict[str, dict[str, tuple[float, ...]]]
) -> tuple[float | None, ...]:
    """The paper's figures of a strategy, or None four times."""
    name = {"kls+quota": "kls", "kls": "none"}.get(strategy, strategy)
    return table[classifier].get(name, (None,) * 4)


def table_3(results: Results, classifier: str, strategies: list[str]) -> Table:
    """Share labelled at which each metric reaches 90 %."""
    rows, seeds = {}, {}
    for name, job in strategy_jobs(classifier, strategies).items():
        printed = printed_for(name, classifier, paper.TABLE_3)
        rows[shown(name)] = [
            Cell(collect(results.of(job), partial(share_to_reach, figure=m, goal=0.9)), p, 0)
            for m, p in zip(NAMES, printed, strict=True)
        ]
        seeds[shown(name)] = len(results.of(job))
    title = f"Table 3, {classifier.upper()}: share labelled in % at which a metric reaches 90 %"
    note = BESIDE + " Runs that never reach it are left out; a dash: none does, or none was run."
    return Table(title, list(NAMES.values()), rows, seeds, note)


def table_4(results: Results, classifier: str, strategies: list[str]) -> Table:
    """Each metric with 44 % labelled."""
    rows, seeds = {}, {}
    for name, job in strategy_jobs(classifier, strategies).items():
        printed = printed_for(name, classifier, paper.TABLE_4)
        rows[shown(name)] = [
            Cell(collect(results.of(job), partial(at_share, share=0.44, figure=m)), p)
            for m, p in zip(NAMES, printed, strict=True)
        ]
        seeds[shown(name)] = len(results.of(job))
    title = f"Table 4, {classifier.upper()}: with 44 % labelled, validation images counted"
    return Table(title, HEADS, rows, seeds, BESIDE)


def table_5(results: Results) -> list[Table]:
    """Accuracy and labels of whole methods."""
    rows = {
        f"{name} (as printed)": [Cell([], accuracy), Cell([], share)]
        for name, (accuracy, share) in paper.TABLE_5.items()
    }
    seeds = dict.fromkeys(rows, 0)
    gapc: Job = ("", Arm("paper"))
    supervised: Job = ("", Arm("paper", schedule="all"))
    for name, job in (("GAPC with KLS, rebuilt", gapc), ("GAPC, supervised, rebuilt", supervised)):
        runs = results.of(job)
        shares = collect(runs, lambda run: run["rounds"][-1]["share"])
        rows[name] = [Cell(at_end(results, job, "accuracy")), Cell(shares)]
        seeds[name] = len(runs)
    best: Job = ("", Arm("best", schedule="best"))
    for share in SHARES["best"]:
        name = f"millsight's recipe with KLS at {100 * share:.0f} %"
        runs = results.of(best)
        accuracy = collect(runs, partial(at_share, share=share, figure="accuracy"))
        rows[name] = [Cell(accuracy, places=2), Cell([100 * share] if accuracy else [])]
        seeds[name] = len(accuracy)
    return [Table("Table 5", ["accuracy [%]", "labelled [%]"], rows, seeds)]


def table_7(results: Results, variants: list[str], strategies: list[str]) -> list[Table]:
    """The milling set's stand-ins at the end, with about half labelled: amplified images come in
    whole families, so that parts are not of the same size with every seed."""
    tables = []
    for variant in variants:
        rows, seeds = {}, {}
        for strategy in strategies:
            job: Job = (variant, Arm("paper", strategy=strategy, schedule="half"))
            printed: tuple[float | None, ...] = (None,) * 5
            if strategy in ("kls+quota", "lc", "ms", "en"):
                printed = (*paper.TABLE_7[strategy.removesuffix("+quota")], 50)
            rows[shown(strategy)] = [
                Cell(at_end(results, job, m), p)
                for m, p in zip([*NAMES, "share"], printed, strict=True)
            ]
            seeds[shown(strategy)] = len(results.of(job))
        note = BESIDE + " The paper's own milling images are not public: these are stand-ins."
        heads = [*HEADS, "labelled [%]"]
        tables.append(Table(f"Table 7 on {variant}", heads, rows, seeds, note))
    return tables


def accuracy_over_labels(
    results: Results,
    jobs: dict[str, Job],
    title: str,
    images: int,
    schedule: Schedule = "best",
) -> Table:
    """Accuracy at each share of a schedule without a validation set, of so many images in all."""
    shares, test = SHARES[schedule], round(TEST_SHARE * images)
    rows = {}
    for name, job in jobs.items():
        found = [
            collect(results.of(job), partial(at_share, share=share, figure="accuracy"))
            for share in shares
        ]
        rows[name] = [Cell(values, places=2, images=test) for values in found]
    seeds = {name: len(results.of(job)) for name, job in jobs.items()}
    columns = [f"{100 * share:.0f} %" for share in shares]
    note = (
        "Accuracy in % against the share of all images labelled, every label counted: mean ± "
        "standard deviation over seeds, [95 % interval of all their test images together]."
    )
    return Table(title, columns, rows, seeds, note)


def stopping(results: Results, jobs: dict[str, Job], images: int) -> Table:
    """What each stopping rule would have done in the runs of some arms."""
    rows, seeds = {}, {}
    for arm, job in jobs.items():
        for name, rule in RULES.items():
            if rule.needs_validation and not job[1].has_validation:
                continue
            done = [apply(rule, run, images) for run in results.of(job)]
            rows[f"{arm}: {name}"] = [
                Cell([d.labels for d in done], places=0),
                Cell([100 * d.accuracy for d in done], places=2),
                Cell([d.late for d in done]),
                Cell([100.0 * d.stopped for d in done], places=0),
            ]
            seeds[f"{arm}: {name}"] = len(done)
    columns = ["labels, the rule's included", "accuracy [%]", "rounds late", "stopped [% of runs]"]
    note = (
        "Best moment: the first round within half a point of the run's best test accuracy. A run "
        "that no rule stopped counts as stopped at its end."
    )
    return Table("Stopping", columns, rows, seeds, note)


def weaknesses(results: Results, jobs: dict[str, Job]) -> Table:
    """How KLS behaves: like LC with the quota, above its baseline, on what was right anyway."""
    figures = {
        "overlap_lc": "asked by LC + quota too [%]",
        "above_baseline": "surer than the baseline [%]",
        "asked_right": "predicted right before [%]",
        "second_look": "accuracy with second look [%]",
        "accuracy": "accuracy [%]",
    }
    rows, seeds = {}, {}
    for name, job in jobs.items():
        runs = results.of(job)
        for number in range(max((len(run["rounds"]) for run in runs), default=0)):
            labels = runs[0]["rounds"][number]["labels"]
            rows[f"{name}, {labels} labels"] = [
                Cell(
                    collect(runs, partial(at_round, number=number, figure=f)),
                    places=2 if "acc" in f or "look" in f else 0,
                )
                for f in figures
            ]
            seeds[f"{name}, {labels} labels"] = len(runs)
    note = "The second column is of the questions that the round's model would ask next."
    return Table("What KLS asks", list(figures.values()), rows, seeds, note)
