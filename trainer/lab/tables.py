"""Tables as Markdown and JSON, with mean ± standard deviation over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from device.reports.statistics import clopper_pearson


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of several seeds beside the paper's."""

    values: Sequence[float]
    """One a seed; empty: not run."""
    paper: float | None = None
    places: int = 1
    """Decimal places."""
    images: int = 0
    """Test images behind each value, where it is the per cent of them that were right."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval (Clopper & Pearson) in per cent of the images of all seeds together, taken
        as independent; None: not a share of images, or not run."""
        if not self.images or not self.values:
            return None
        total = len(self.values) * self.images
        low, high = clopper_pearson(round(sum(self.values) / 100 * self.images), total)
        return 100 * low, 100 * high

    def text(self) -> str:
        """`97.8 ± 0.4 [96.5, 98.7] (97.8)`: mean, standard deviation, interval, the paper's; a dash
        where nothing was run."""
        found = "–"
        if self.values:
            found = f"{np.mean(self.values):.{self.places}f}"
        if len(self.values) > 1:
            found += f" ± {np.std(self.values, ddof=1):.{self.places}f}"
        if self.interval is not None:
            low, high = self.interval
            found += f" [{low:.{min(self.places, 1)}f}, {high:.{min(self.places, 1)}f}]"
        return found if self.paper is None else f"{found} ({self.paper:g})"

    def as_dict(self) -> dict[str, Any]:
        """Values, mean, sample standard deviation and the paper's figure."""
        return {
            "values": list(self.values),
            "mean": float(np.mean(self.values)) if self.values else None,
            "sd": float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None,
            "interval": self.interval,
            "paper": self.paper,
        }


@dataclass(frozen=True, slots=True)
class Table:
    """A table of an experiment."""

    title: str
    columns: list[str]
    """Heads of all columns but the first, which names the rows."""
    rows: dict[str, list[Cell]]
    seeds: dict[str, int] = field(default_factory=dict)
    """Seeds behind each row, where they are told."""
    note: str = ""

    def markdown(self) -> str:
        """The table under its title; a column of the number of seeds where it is known.

        Rows without any figure are named below it; a table of nothing else says so.
        """
        heads = ["", *self.columns, *(["seeds"] if self.seeds else [])]
        lines = [f"**{self.title}**", "", _line(heads), "|" + "---|" * len(heads)]
        idle = []
        for name, cells in self.rows.items():
            if not any(cell.values or cell.paper is not None for cell in cells):
                idle.append(name)
                continue
            own = [name, *(cell.text() for cell in cells)]
            lines.append(_line([*own, str(self.seeds.get(name, 0))] if self.seeds else own))
        if len(idle) == len(self.rows):
            return f"**{self.title}**\n\nNot run yet.\n"
        notes = [self.note] if self.note else []
        notes += ["Not run yet: " + "; ".join(idle) + "."] if idle else []
        return "\n".join([*lines, *(["", " ".join(notes)] if notes else [])]) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """The table with every seed's value."""
        return {
            "title": self.title,
            "columns": self.columns,
            "rows": {name: [cell.as_dict() for cell in row] for name, row in self.rows.items()},
            "note": self.note,
        }


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
