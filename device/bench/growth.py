"""How a cost grows with what is made more: sizes, what each took, and the exponent between them."""

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from device.reports.statistics import beta_quantile

STEEPEST = 1.1
"""An exponent up to this one counts as linear."""


class Point(BaseModel):
    """What one size took."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=1)
    runs: list[float] = Field(min_length=1)
    """Cost in every run."""

    @property
    def cost(self) -> float:
        """The median over the runs."""
        return statistics.median(self.runs)


class Growth(BaseModel):
    """Cost over size, and the exponent b of cost = a · size^b."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    what: str
    """What is counted, such as `devices`."""
    cost: str
    """What it is that costs, and how it is measured."""
    unit: str
    points: list[Point] = Field(min_length=3)
    exponent: float
    low: float
    high: float
    """The 95 % interval of the exponent."""
    last: float
    """The exponent between the two largest sizes, which a fixed cost hides least."""
    met: bool
    """Whether both are as good as linear."""

    @model_validator(mode="after")
    def _met_follows(self) -> Self:
        if self.met != (max(self.exponent, self.last) <= STEEPEST):
            raise ValueError(f"{self.name}: met does not follow from the exponents")
        return self


class Scale(BaseModel):
    """What `millsight bench scale --json` writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str
    growths: list[Growth]


def growth_of(
    name: str, what: str, cost: str, unit: str, costs: Mapping[int, list[float]]
) -> Growth:
    """The growth of a cost from its runs by size."""
    points = [Point(size=size, runs=runs) for size, runs in sorted(costs.items())]
    exponent, low, high = fit([p.size for p in points], [p.cost for p in points])
    before, end = points[-2:]
    last = math.log(end.cost / before.cost) / math.log(end.size / before.size)
    return Growth(
        name=name,
        what=what,
        cost=cost,
        unit=unit,
        points=points,
        exponent=exponent,
        low=low,
        high=high,
        last=last,
        met=max(exponent, last) <= STEEPEST,
    )


def fit(sizes: list[int], costs: list[float]) -> tuple[float, float, float]:
    """(exponent, low, high): least squares of log cost over log size, with its 95 % interval.

    The interval is Student's, of three or more points; it takes the logs' errors for equal and
    independent, so it says how straight the line is, not how noisy the machine was.
    """
    x, y = np.log(sizes), np.log(costs)
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    freedom = len(x) - 2
    rest = y - y.mean() - slope * x
    error = math.sqrt(float(rest @ rest) / freedom / float(x @ x))
    reach = student(freedom) * error
    return slope, slope - reach, slope + reach


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t; t² = ν (1 − x) / x has x of Beta(ν/2, 1/2)."""
    x = beta_quantile(0.05, freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x)


def repeated(
    sizes: tuple[int, ...], runs: int, cost: Callable[[int], float]
) -> dict[int, list[float]]:
    """Runs of every size: all sizes in turn, so that what slows the machine down hits all."""
    costs: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(runs):
        for size in sizes:
            costs[size].append(cost(size))
    return costs
