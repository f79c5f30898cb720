"""`millsight trainer experiment`: repeats the paper's tables and figures, and what goes beyond."""

import json
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from config.errors import UserError

MOST_SEEDS = 1000

PACKAGES = ("matplotlib", "skimage", "sklearn")
"""Those of the extra `lab`, some of which are needed only after hours."""


def experiment(
    name: str,
    *,
    data: Path,
    seeds: str = "0-4",
    json_file: Annotated[Path | None, Parameter("--json")] = None,
    out: Path = Path("lab"),
    threads: Annotated[int, Parameter(validator=Number(gte=0, lte=256))] = 0,
    finished: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Repeat a table or figure of the paper, or go beyond it, on a folder of class folders.

    Every arm and seed that is finished is kept as a small JSON file, so that the command goes on
    where it ended, and experiments share what they have in common. Tables are written as
    Markdown and JSON, figures as PNG and SVG.

    Parameters
    ----------
    name
        table2, table3, table4, table5, table7, fig6, fig7, fig8, fig9, fig12, fig13, beyond,
        unlabelled (training with unlabelled patches), stopping, speed (time to 97.8 %, against
        plain training), overlap (shared feature maps), or everything: all but fig9, speed and
        overlap, the most telling first.
    data
        Folder of class folders; any number of classes, images of any size.
    seeds
        Seeds, as 0-4 or 0,2,5, each once. Splits, draws and training all follow from them.
    json_file
        File for the tables with every seed's value.
    out
        Folder for finished arms, tables and figures.
    threads
        Threads of training. 0: all cores but one.
    finished
        Only tell of what is finished; run nothing.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(f"the laboratory needs {missing[0]}: pip install 'millsight[lab]'")
    import torch  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from trainer.lab.experiments import ALONE, find  # noqa: PLC0415
    from trainer.lab.grid import run_grid  # noqa: PLC0415
    from trainer.lab.protocol import load_folder  # noqa: PLC0415
    from trainer.lab.written import run_maps, run_overlap, run_races, write_report  # noqa: PLC0415
    from trainer.learning.progress import training_bar  # noqa: PLC0415

    numbers = parse_seeds(seeds)
    if json_file is not None:
        _refuse_unwritable(json_file)
    chosen = {} if name in ALONE else find(name)
    if name in ALONE and finished:
        raise UserError(f"{name} keeps no arms; run it without --finished")
    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) - 1))
    console = Console(highlight=False, soft_wrap=True)
    images = load_folder(data)
    with training_bar(Console(stderr=True)) as on_step:
        told: dict[str, Any] = {}
        wrong: list[str] = []
        for title, one in chosen.items():
            try:
                results = run_grid(
                    one.jobs, images, numbers, out, console, on_step, only_finished=finished
                )
            except UserError as error:  # such as images of other classes than it is made of
                wrong.append(f"{title}: {error}")
                continue
            report = write_report(title, one, results, len(images.labels), out, console)
            told = report if len(chosen) == 1 else told | {title: report}
        if name == "fig9":
            told = run_maps(images, numbers[0], out, lambda step: on_step(name, step))
        elif name == "speed":
            told = run_races(images, numbers, out, console, lambda step: on_step(name, step))
        elif name == "overlap":
            told = run_overlap(images, numbers, out, lambda step: on_step(name, step))
    if json_file is not None and told:
        json_file.write_text(json.dumps(told, indent=1) + "\n")
    if wrong:
        raise UserError("\n".join(wrong))
    console.print(f"tables and figures: {out}")


def _refuse_unwritable(file: Path) -> None:
    """Before hours are spent on what shall be written there."""
    folder = file.resolve().parent
    if not folder.is_dir():
        raise UserError(f"{file}: its folder does not exist; make it, or name another file")
    if file.is_dir() or not os.access(file if file.exists() else folder, os.W_OK):
        raise UserError(f"{file}: cannot be written; name another file")


def parse_seeds(text: str) -> list[int]:
    """`0-4` or `0,2,5` as numbers of up to nine digits, each once: twice is no second run.

    Raises:
        UserError: neither.
    """
    if match := re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", text):
        first, last = map(int, match.groups())
        if first <= last < first + MOST_SEEDS:
            return list(range(first, last + 1))
    elif re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        numbers = [int(number) for number in text.split(",")]
        if len(set(numbers)) == len(numbers):
            return numbers
    raise UserError(
        f"--seeds {text}: write a range such as 0-4, or numbers such as 0,2,5, each once"
    )
