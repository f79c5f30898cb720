"""When to stop asking: the paper's criterion and cheaper ones, judged on finished runs."""

from collections.abc import Callable
from dataclasses import dataclass

from trainer.lab.protocol import VALIDATION_SHARE
from trainer.lab.results import Run
from trainer.lab.runner import SMALL_VALIDATION

GOAL = 0.95
"""VA of the paper's section 3.2."""
AGREED = 0.99
"""Cohen's kappa of two models in a row on unlabelled images (Bloodgood & Vijay-Shanker 2009)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A stopping rule."""

    stops: Callable[[list[dict[str, float]]], bool]
    """Told of all rounds so far, the last one last."""
    images: Callable[[int], int]
    """Labels that the rule itself costs, of so many images."""
    needs_validation: bool = True
    """Whether it looks at labels of validation images, which some arms put into the pool."""


def _agree(rounds: list[dict[str, float]]) -> bool:
    return rounds[-1]["agreement"] is not None and rounds[-1]["agreement"] >= AGREED


RULES: dict[str, Rule] = {
    "VA > 0.95 on 20 % of the images (the paper)": Rule(
        lambda rounds: rounds[-1]["validation_accuracy"] > GOAL,
        lambda images: round(VALIDATION_SHARE * images),
    ),
    f"VA > 0.95 on {SMALL_VALIDATION} images": Rule(
        lambda rounds: rounds[-1]["small_validation_accuracy"] > GOAL,
        lambda _: SMALL_VALIDATION,
    ),
    "two models in a row agree (kappa ≥ 0.99)": Rule(_agree, lambda _: 0, needs_validation=False),
}


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a rule did in a run."""

    labels: int
    """Labels when it stopped, its own included."""
    accuracy: float
    """On the test images, when it stopped."""
    late: int
    """Rounds after the best moment: the first within half a point of the run's best accuracy;
    negative: too early."""
    stopped: bool
    """False: the run ended first."""


def apply(rule: Rule, run: Run, images: int) -> Stopped:
    """Where a rule would have stopped a finished run."""
    rounds = run["rounds"]
    best = max(here["accuracy"] for here in rounds)
    moment = next(i for i, here in enumerate(rounds) if here["accuracy"] >= best - 0.005)
    at = next((i for i in range(len(rounds)) if rule.stops(rounds[: i + 1])), None)
    here = rounds[-1 if at is None else at]
    number = len(rounds) - 1 if at is None else at
    return Stopped(
        here["labels"] + rule.images(images), here["accuracy"], number - moment, at is not None
    )
