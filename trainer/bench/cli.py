"""`millsight bench`: the rows of `device.bench` and `trainer.bench`, as a table and as JSON.

It imports no torch itself: a box without it measures the rows of a device.
"""

import importlib
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

import device.bench
import trainer.bench
from config.cli import Config
from config.errors import UserError
from device.bench.row import Result, Row
from trainer.bench.inputs import make_inputs

app = App(name="bench", help="Measure what has a speed, each beside a yardstick of the same run.")

app.command("trainer.bench.scale_cli:scale", name="scale")
WIDTH = 150
"""Columns of the table where it goes into a file."""


@app.default
def bench(
    *names: str,
    config: Config = None,
    frames: Path | None = None,
    model: Path | None = None,
    runs: Annotated[int | None, Parameter(validator=Number(gte=1, lte=100))] = None,
    quick: Annotated[bool, Parameter(negative="")] = False,
    cache: Path | None = None,
    json_file: Annotated[Path | None, Parameter("--json")] = None,
) -> None:
    """Measure speed and memory on this machine against yardsticks of the same run.

    docs/speed.md says what each row is.

    Parameters
    ----------
    names
        Rows to measure, such as `loop` or `start`. Default: all.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/; none is
        needed.
    frames
        Folder of images. Default: camera.folder.path, else the simulated platform.
    model
        The model file. Default: the model in use, else an untrained network.
    runs
        How often each figure is measured. Default: 5, with --quick 1.
    quick
        Measure less of everything, once: to see that it works.
    cache
        Folder for what takes long to make: large stores. Default: ~/.cache/millsight.
    json_file
        File for the figures.
    """
    chosen = choose(names, device.bench.ROWS, trainer.bench.ROWS)
    runs = runs or (1 if quick else 5)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="millsight-bench-") as scratch:
        inputs, what = make_inputs(config, frames, model, runs, Path(scratch), quick=quick)
        if cache is not None:
            inputs = replace(inputs, cache=cache)
        for name, module in chosen.items():
            print(f"measuring {name}", file=sys.stderr, flush=True)
            rows += importlib.import_module(module).measure(inputs)
    result = Result(machine=machine(), rows=rows)
    print(what)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table_of(result))
    if json_file is not None:
        write_json(json_file, result)


def choose(
    names: Sequence[str], of_device: Mapping[str, str], of_trainer: Mapping[str, str]
) -> dict[str, str]:
    """The modules of the rows named, or of all that can be measured here.

    Raises:
        UserError: there is no such row, or it needs the `trainer` extra.
    """
    rows = {**of_device, **of_trainer}
    if unknown := [name for name in names if name not in rows]:
        raise UserError(f"no row {unknown[0]!r}; there are: {' '.join(rows)}")
    chosen = {name: module for name, module in rows.items() if name in names or not names}
    if importlib.util.find_spec("torch") is not None:
        return chosen
    left_out = [name for name in chosen if name in of_trainer]
    if left_out:
        text = f"not measured, for they need the `trainer` extra: {' '.join(left_out)}"
        if names:
            raise UserError(text)
        print(text, file=sys.stderr)
    return {name: module for name, module in chosen.items() if name not in left_out}


def machine() -> str:
    """Processor, cores and the versions of what is measured."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "numpy"))
    return (
        f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {libraries}"
    )


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table_of(result: Result) -> Table:
    """The rows as a table for people."""
    table = Table("figure", "median", "yardstick", "ratio", "spread", "aim", "met")
    table.title = result.machine
    for row in result.rows:
        table.add_row(
            row.name, f"{row.value:.4g} {row.unit}", row.yardstick, f"{row.ratio:.3f}",
            f"{min(row.runs):.3f}–{max(row.runs):.3f}",
            *(("–", "–") if row.aim == "none" else (row.aim, "yes" if row.met else "no")),
        )  # fmt: skip
    return table


def write_json(file: Path, result: BaseModel) -> None:
    """Write the figures.

    Raises:
        UserError: it cannot be written.
    """
    try:
        file.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from None
