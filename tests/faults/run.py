"""A fault, so many times, on one bench; and the table of all."""

import random
import statistics
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.faults.bench import Bench, build_shim
from tests.faults.faults import FAULTS

MOST_S = 10.0
"""Judging resumes by itself within this time of the end of the cause."""


def run_fault(name: str, times: int, seed: int, folder: Path) -> dict[str, Any]:
    """Inject a fault again and again while frames flow.

    Raises:
        AssertionError: judging or keeping did not resume at all.
    """
    fault, rng = FAULTS[name], random.Random(f"{seed} {name}")
    with ExitStack() as stack:
        data = folder / "disk" / "data"
        data.parent.mkdir()
        if fault.own_disk:
            size = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(data.parent)]
            subprocess.run(size, check=True)
            stack.callback(subprocess.run, ["umount", "-l", str(data.parent)], check=True)
        data.mkdir()
        bench = Bench(
            folder, data, build_shim(folder),
            network_camera=fault.network_camera, check_hours=fault.check_hours,
        )  # fmt: skip
        stack.enter_context(bench)
        outcomes = []
        for _ in range(times):
            bench.flow()
            outcomes.append(fault.inject(bench, rng))
        lost_answers, lost_flags = bench.lost()
        judging = [one.judging_s for one in outcomes]
        keeping = [one.keeping_s for one in outcomes if one.keeping_s is not None]
        result: dict[str, Any] = {
            "what": fault.what,
            "times": times,
            "judging_median_s": round(statistics.median(judging), 2),
            "judging_worst_s": round(max(judging), 2),
            "keeping_worst_s": round(max(keeping), 2) if keeping else None,
            "longest_gap_s": round(max(one.gap_s for one in outcomes), 2),
            "said": sum(one.said for one in outcomes),
            "answers": len(bench.acknowledged),
            "answers_lost": lost_answers,
            "flags": len(bench.flagged),
            "flags_lost": lost_flags,
            "verdicts": len(bench.verdicts),
            "wrong": len(bench.wrong),
        }
    result["passed"] = (
        result["judging_worst_s"] <= MOST_S
        and result["said"] == times
        and not (lost_answers or (lost_flags and not fault.flags_may_go) or result["wrong"])
    )
    return result


def as_markdown(results: dict[str, dict[str, Any]]) -> str:
    """The table of docs/faults.md."""
    lines = [
        "| Fault | times | judged again, median | worst | kept again, worst | answers lost | "
        "flags lost | verdicts | wrong |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results.values():
        kept = "–" if one["keeping_worst_s"] is None else f"{one['keeping_worst_s']} s"
        lines.append(
            f"| {one['what']} | {one['times']} | {one['judging_median_s']} s | "
            f"{one['judging_worst_s']} s | {kept} | {one['answers_lost']} of {one['answers']} | "
            f"{one['flags_lost']} of {one['flags']} | {one['verdicts']} | {one['wrong']} |"
        )
    return "\n".join(lines)
