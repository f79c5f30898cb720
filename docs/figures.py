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
