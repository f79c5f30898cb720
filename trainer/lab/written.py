"""What an experiment leaves behind: tables, figures, and the dictionary for --json."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from trainer.lab import overlap
from trainer.lab.cache import machine
from trainer.lab.experiments import Experiment
from trainer.lab.figures import save
from trainer.lab.learners import OnStep
from trainer.lab.maps import activation_maps
from trainer.lab.protocol import LabData
from trainer.lab.results import Results, Run
from trainer.lab.speed import race


def write_report(
    name: str, experiment: Experiment, results: Results, images: int, out: Path, console: Console
) -> dict[str, Any]:
    """Tables as `name`.md and `name`.json, figures as PNG and SVG; tables are printed too.

    Where no arm is finished, nothing is written.
    """
    tables = experiment.tables(results, images)
    runs = [run for found in results.by_job.values() for run in found]
    told = {
        "experiment": name,
        "title": experiment.title,
        "runs": len(runs),
        "seconds": round(sum(run["seconds"] for run in runs), 1),
        "machines": sorted({run["machine"]["cpu"] for run in runs}),
        "threads": sorted({run["machine"]["threads"] for run in runs}),
        "tables": [table.as_dict() for table in tables],
    }
    if not runs:
        console.print(f"{name}: no arm is finished")
        return told
    out.mkdir(parents=True, exist_ok=True)
    if tables:
        pieces = [*(table.markdown() for table in tables), footer(runs)]
        (out / f"{name}.md").write_text("\n".join(piece for piece in pieces if piece))
        _write_json(out / f"{name}.json", told)
    for table in tables:
        console.print(table.markdown(), markup=False)
    for title, figure in experiment.figures(results).items():
        save(figure, out, title)
    return told


def footer(runs: list[Run]) -> str:
    """What the tables were made with, in a line; empty: nothing was run."""
    if not runs:
        return ""
    seconds = sum(run["seconds"] for run in runs)
    machines = {
        f"{run['machine']['cpu']}, {run['machine']['threads']} thread"
        + ("s" if run["machine"]["threads"] != 1 else "")
        for run in runs
    }
    loads = [run["machine"]["load"] for run in runs]
    return (
        f"{len(runs)} runs, {seconds:,.0f} s in all by the clock on {'; '.join(sorted(machines))}; "
        f"load of the machine {min(loads):.1f} to {max(loads):.1f}.\n"
    )


def run_maps(data: LabData, seed: int, out: Path, on_step: OnStep) -> dict[str, Any]:
    """Fig. 9, as PNG and SVG."""
    save(activation_maps(data, seed, on_step), out, "fig9")
    return {"experiment": "fig9", "seed": seed, "machine": machine()}


def run_races(
    data: LabData, seeds: list[int], out: Path, console: Console, on_step: OnStep
) -> dict[str, Any]:
    """Time to the goal, one race a seed, as `speed.json`."""
    races = [race(data, seed, on_step) for seed in seeds]
    told = {"experiment": "speed", "machine": machine(), "races": races}
    out.mkdir(parents=True, exist_ok=True)
    _write_json(out / "speed.json", told)
    for run in races:
        for side in ("ours", "plain"):
            last = run[side]["last"]
            console.print(
                f"seed {run['seed']}, {side}: {100 * last['accuracy']:.1f} % after "
                f"{last['step']} steps, {last['processor_s']} s of one processor, goal "
                + ("reached" if run[side]["reached"] else "NOT reached")
            )
    return told


def run_overlap(data: LabData, seeds: list[int], out: Path, on_step: OnStep) -> dict[str, Any]:
    """What shared feature maps cost and win, one run a seed, as `overlap.json`."""
    out.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"experiment": "overlap", "machine": machine(), "runs": []}
    for seed in seeds:
        told["runs"].append(overlap.run(data, seed, on_step))
        _write_json(out / "overlap.json", told)
    return told


def _write_json(path: Path, told: dict[str, Any]) -> None:
    path.write_text(json.dumps(told, indent=1) + "\n")
