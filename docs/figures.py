"""The figures of the docs, drawn from the results kept in docs/results/."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).parent / "results"
PAPER_KLS = {32: 91.8, 44: 97.8}
"""Share of images labelled and accuracy, both in per cent (the paper's sections 4.2 and 4.3)."""


def neu_demo(target: Path) -> None:
    """Accuracy over share labelled of the demo on NEU-CLS, beside the paper's two figures."""
    lives = [json.loads(f.read_text())["nights"] for f in sorted(RESULTS.glob("demo-neu-*.json"))]
    share = np.array([[100 * night["labelled_share"] for night in life] for life in lives])
    accuracy = np.array([[100 * night["accuracy"] for night in life] for life in lives])
    figure, axes = plt.subplots(figsize=(7.2, 3.4), dpi=150, layout="constrained")
    for x, y in zip(share, accuracy, strict=True):
        axes.plot(x, y, color="#9bb7d4", linewidth=1, zorder=1)
    mean = accuracy.mean(axis=0)
    axes.plot(share[0], mean, "o-", color="#1f5c99", label=f"millsight, mean of {len(lives)} lives")
    axes.plot(*zip(*PAPER_KLS.items(), strict=True), "s--", color="#b35c1e", label="the paper")
    for x, y in [(share[0][1], mean[1]), *PAPER_KLS.items()]:
        axes.annotate(f"{y:.1f} %", (x, y), xytext=(6, -13), textcoords="offset points", fontsize=8)
    axes.axhline(97.8, color="#999999", linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="images labelled, every label counted [%]",
        ylabel="right on held-out images [%]",
        ylim=(90, 100.4),
        xlim=(0, 50),
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", frameon=False)
    figure.savefig(target)
    plt.close(figure)


def month(target: Path) -> None:
    """Thirty simulated days: memory, store, open files, and what the nights made of the answers."""
    found = json.loads((RESULTS / "month.json").read_text())
    days = found["each_day"]
    ends = np.cumsum([day["wall_s"] for day in days])
    figure, grid = plt.subplots(2, 2, figsize=(9, 5.2), dpi=150, layout="constrained")
    (memory, store), (open_files, nights) = grid
    for name, colour in (("device", "#1f5c99"), ("review", "#b35c1e")):
        samples = np.array(found["samples"][name])
        # Samples are stamped in seconds as they were lived; the days have other lengths.
        at = np.interp(samples[:, 0], [0, *ends], range(len(days) + 1))
        memory.plot(at, samples[:, 1], color=colour, linewidth=1, label=name)
        open_files.plot(at, samples[:, 4], color=colour, linewidth=1, label=f"{name}, descriptors")
        open_files.plot(at, samples[:, 3], color=colour, linewidth=1, linestyle=":")
    memory.set(ylabel="resident memory [MB]", ylim=(0, None))
    open_files.set(ylabel="descriptors; dotted: threads", ylim=(0, None), xlabel="day")
    sizes = np.array(found["store"])
    store.plot(sizes[:, 0], sizes[:, 1], color="#1f5c99", linewidth=1, label="file")
    store.plot(sizes[:, 0], sizes[:, 3], color="#9bb7d4", linewidth=1, label="held in it")
    store.axhline(found["budget_mb"], color="#999999", linewidth=0.8, linestyle=":", label="budget")
    store.set(ylabel="store [MB]", ylim=(0, None))
    nights.plot(
        range(1, len(days) + 1), np.cumsum([day["answers"] for day in days]), color="#1f5c99"
    )
    for day in days:
        shape, colour = ("o", "#2f7d4f") if day["published"] else ("x", "#999999")
        nights.plot(day["day"] + 2 / 24, 0, shape, color=colour, markersize=4)
    nights.set(ylabel="answers; circles: published nights", xlabel="day", ylim=(-60, None))
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
    memory.legend(loc="lower right", frameon=False)
    store.legend(loc="lower right", frameon=False)
    figure.savefig(target)
    plt.close(figure)
