"""`millsight bench scale`: how cost grows, as a table, JSON and plots."""

import importlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

from config.cli import Config
from device.bench.growth import Growth, Scale
from device.bench.scale import DIMENSIONS as OF_DEVICE
from trainer.bench.cli import WIDTH, choose, machine, write_json
from trainer.bench.inputs import make_inputs
from trainer.bench.scale import DIMENSIONS as OF_TRAINER
from trainer.lab.figures import COLOURS, new_figure, save


def scale(
    *names: str,
    config: Config = None,
    frames: Path | None = None,
    model: Path | None = None,
    runs: Annotated[int | None, Parameter(validator=Number(gte=1, lte=100))] = None,
    quick: Annotated[bool, Parameter(negative="")] = False,
    cache: Path | None = None,
    out: Path | None = None,
    json_file: Annotated[Path | None, Parameter("--json")] = None,
) -> None:
    """Measure how cost grows with what is made more, and fit an exponent to it.

    1 is linear. The exponent is that of least squares on the logarithms, with its 95 % interval;
    beside it stands that between the two largest sizes. docs/speed.md says what is timed.

    Parameters
    ----------
    names
        patches (per frame), cameras, stored (patches), labels (per night), devices (per trainer).
        Default: all.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/; none is
        needed.
    frames
        Folder of images. Default: camera.folder.path, else the simulated platform.
    model
        The model file. Default: the model in use, else an untrained network.
    runs
        How often each size is measured; those of labels and devices once. Default: 3, with --quick
        1.
    quick
        Few and small sizes, once: to see that it works.
    cache
        Folder for what takes long to make: large stores. Default: ~/.cache/millsight.
    out
        Folder for a plot of each, as PNG and SVG. Needs matplotlib.
    json_file
        File for the figures.
    """
    chosen = choose(names, OF_DEVICE, OF_TRAINER)
    runs = runs or (1 if quick else 3)
    growths: list[Growth] = []
    with tempfile.TemporaryDirectory(prefix="millsight-bench-") as scratch:
        inputs, what = make_inputs(config, frames, model, runs, Path(scratch), quick=quick)
        if cache is not None:
            inputs = replace(inputs, cache=cache)
        for name, module in chosen.items():
            print(f"measuring {name}", file=sys.stderr, flush=True)
            found = importlib.import_module(module).measure(inputs)
            growths += found
            if out is not None and found:
                save(plot(found), out, f"scale-{name}")
    result = Scale(machine=machine(), growths=growths)
    print(what)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table_of(result))
    if json_file is not None:
        write_json(json_file, result)


def table_of(result: Scale) -> Table:
    """The growths as a table for people."""
    table = Table("what grows", "what costs", "from", "to", "exponent", "last", "linear")
    table.title = result.machine
    for growth in result.growths:
        ends = (growth.points[0], growth.points[-1])
        table.add_row(
            growth.name,
            growth.cost,
            *(f"{p.size:,}: {p.cost:.4g} {growth.unit}" for p in ends),
            f"{growth.exponent:.2f} ({growth.low:.2f} to {growth.high:.2f})",
            f"{growth.last:.2f}",
            "or less" if growth.met else "no",
        )
    return table


def plot(growths: list[Growth]) -> Any:
    """Costs over sizes, both logarithmic, with the fitted lines.

    Raises:
        UserError: matplotlib is not installed.
    """
    figure, axes = new_figure()
    for number, growth in enumerate(growths):
        sizes, costs = zip(*((p.size, p.cost) for p in growth.points), strict=True)
        spread = [
            [p.cost - min(p.runs) for p in growth.points],
            [max(p.runs) - p.cost for p in growth.points],
        ]
        colour = COLOURS[number % len(COLOURS)]
        label = f"{growth.cost}: exponent {growth.exponent:.2f}"
        axes.errorbar(sizes, costs, spread, fmt="o", color=colour, label=label, capsize=3)
        middle = _geometric_mean(costs) / _geometric_mean(sizes) ** growth.exponent
        axes.plot(sizes, [middle * s**growth.exponent for s in sizes], color=colour, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel=growths[0].what, ylabel=growths[0].unit)
    axes.set_title(growths[0].name.split(",")[0], fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _geometric_mean(values: tuple[float, ...]) -> float:
    logs = np.log(values)
    return float(np.exp(logs.mean()))
