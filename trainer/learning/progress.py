"""Progress bars of training runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from trainer.learning.retrain import OnStep
from trainer.learning.training import Progress as TrainingProgress


@contextmanager
def training_bar(console: Console | None = None) -> Iterator[OnStep]:
    """Show a bar for each training run on a terminal, and nothing in a log."""
    console = console or Console(stderr=True)
    columns = (
        TextColumn("training {task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps, loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        tasks = {}

        def on_step(name: str, progress: TrainingProgress) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=progress.steps, loss=progress.loss)
            bar.update(tasks[name], completed=progress.step, loss=progress.loss)

        yield on_step
