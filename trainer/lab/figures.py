"""The laboratory's figures, written as PNG and SVG."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from config.errors import UserError

Curve = Mapping[float, list[float]]
"""Values of all seeds over x."""

COLOURS = ("#1f5c99", "#b35c1e", "#3a7d44", "#7a4d9e", "#8a8a8a", "#b8860b", "#0f8b8d", "#c2185b")


def new_figure(width: float = 7.2, height: float = 3.8, columns: int = 1) -> tuple[Any, Any]:
    """A figure of so many inches and its axes, drawn without a display.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise UserError("figures need matplotlib: pip install 'millsight[lab]'") from error
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns)
    for one in np.atleast_1d(axes):
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def accuracy_curves(
    curves: Mapping[str, Curve],
    title: str,
    printed: Mapping[str, Mapping[float, float]] | None = None,
    lowest: float | None = None,
) -> Any:
    """Accuracy in per cent over the share labelled: means of seeds with their spread.

    `printed` are single points of the paper, by the name of their curve.
    """
    figure, axes = new_figure()
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        style = "--" if number >= len(COLOURS) else "-"
        x = list(curve)
        mean = np.array([np.mean(values) for values in curve.values()])
        spread = np.array([np.std(v, ddof=1) if len(v) > 1 else 0 for v in curve.values()])
        axes.plot(x, mean, style, marker="o", markersize=3.5, color=colour, label=name)
        axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.12, linewidth=0)
        points = (printed or {}).get(name)
        if points:
            axes.plot(
                list(points), list(points.values()), "s", markersize=6, color=colour,
                markerfacecolor="none", label=f"{name}, the paper",
            )  # fmt: skip
    axes.set(title=title, xlabel="images labelled, every label counted [%]", ylabel="accuracy [%]")
    if lowest is not None:
        axes.set_ylim(lowest, 100.3)
    if curves:
        axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def epoch_curves(traces: Mapping[str, list[dict[str, float]]], title: str) -> Any:
    """Loss and accuracy over epochs, one seed a curve (Fig. 8 and 12 of the paper)."""
    figure, (left, right) = new_figure(columns=2, width=9)
    for number, (name, trace) in enumerate(traces.items()):
        colour, epochs = COLOURS[number % len(COLOURS)], running_epochs(trace)
        for key, style, label in (
            ("loss", ":", "training"),
            ("validation_loss", "-", "validation"),
        ):
            left.plot(
                epochs, [point[key] for point in trace], style, color=colour, linewidth=1,
                label=f"{name}, {label}",
            )  # fmt: skip
        accuracy = [100 * point["validation_accuracy"] for point in trace]
        right.plot(epochs, accuracy, color=colour, linewidth=1, label=name)
    left.set(title=title, xlabel="epoch", ylabel="cross-entropy [nats]")
    right.set(xlabel="epoch", ylabel="validation accuracy [%]")
    if traces:
        left.legend(frameon=False, fontsize=8)
        right.legend(frameon=False, fontsize=8)
    return figure


def running_epochs(trace: list[dict[str, float]]) -> list[float]:
    """Epochs over all rounds; in a trace they begin again with every round."""
    done, last, running = 0.0, 0.0, []
    for point in trace:
        if point["epoch"] <= last:
            done += last
        last = point["epoch"]
        running.append(done + last)
    return running


def heat_maps(patches: NDArray[np.uint8], maps: NDArray[np.float32], titles: list[str]) -> Any:
    """Patches over their class activation maps (Fig. 9): uint8 [n, s, s], float32 [n, h, w]."""
    figure, axes = new_figure(width=1.9 * len(patches), height=4.1, columns=1)
    axes.remove()
    grid = figure.subplots(2, len(patches), squeeze=False)
    for number, (patch, heat, title) in enumerate(zip(patches, maps, titles, strict=True)):
        size = (patch.shape[1], patch.shape[0])
        warm = cv2.resize(np.maximum(heat, 0), size, interpolation=cv2.INTER_CUBIC)
        grid[0, number].imshow(patch, cmap="gray", vmin=0, vmax=255)
        grid[0, number].set_title(title, fontsize=8)
        grid[1, number].imshow(patch, cmap="gray", vmin=0, vmax=255)
        grid[1, number].imshow(warm, cmap="jet", alpha=0.45)
    for one in grid.ravel():
        one.set_axis_off()
    return figure


def save(figure: Any, folder: Path, name: str) -> None:
    """Write `name`.png and `name`.svg, the same bytes for the same figure."""
    from matplotlib import rc_context  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(folder / f"{name}.png")
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
