"""Arms: each one way of training and choosing, with all that its result depends on."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from device.judging.kls import Ints
from trainer.lab.consistency import Consistency, ConsistencyLearner
from trainer.lab.guard import Guard, GuardedLearner
from trainer.lab.handmade import HandmadeLearner
from trainer.lab.learners import CLASSIFIERS, BestLearner, Learner, PaperLearner, PaperRecipe
from trainer.lab.protocol import LabData, Splits, step_of
from trainer.learning.memory import Memory
from trainer.learning.training import Training

Recipe = Literal["paper", "best", "consistency", "guarded", "handmade"]
Schedule = Literal["paper", "half", "all", "best", "few", "scarce", "lopsided", "starved", "wrong"]

SHARES: dict[str, tuple[float, ...]] = {
    "best": (0.03, 0.06, 0.12, 0.24, 0.44),
    "few": (0.03, 0.06),
    "scarce": (0.01, 0.02, 0.03),
    "lopsided": (0.03,),
    "starved": (0.01,),
    "wrong": (0.03,),
}
"""Labelled share of all images at each training, where there is no validation set."""
RARE = {"lopsided": 2, "starved": 1}
"""Labels that one class has at these starts; the class is that of the seed."""
WRONG = 0.1
"""Share of the labels that are wrong at the `wrong` start."""
LAST_SHARES = {"paper": 0.44, "half": 0.5}
"""Where the paper's schedules end, validation images counted: Table 4, and Tables 3 and 7."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A row of a table or a curve of a figure."""

    recipe: Recipe
    classifier: str = "gapc"
    strategy: str = "kls+quota"
    schedule: Schedule = "paper"
    """`paper`, `half`: the initial pool, then equal steps up to 44 or 50 %; `all`: all training
    images at once; the others: the shares above, validation images in the pool. `lopsided`,
    `starved` and `wrong` try what unlabelled patches do to labels that mislead."""
    trace: bool = False
    """Whether loss and accuracy over the epochs are recorded (Fig. 8, 12)."""
    paper: PaperRecipe = field(default_factory=PaperRecipe)
    training: Training = field(default_factory=Training)
    consistency: Consistency = field(default_factory=Consistency)
    guard: Guard = field(default_factory=Guard)

    @property
    def has_validation(self) -> bool:
        """Whether a fifth of the images is labelled for validation, as in the paper."""
        return self.schedule in ("paper", "half", "all")

    @property
    def name(self) -> str:
        """Tells the arms of the experiments from each other."""
        parts = [self.recipe, self.classifier]
        parts += [] if self.schedule == "all" else [self.strategy]
        parts += [self.schedule] if self.schedule not in ("paper", "best") else []
        return "-".join(parts + ["trace"] * self.trace)

    def settings(self) -> dict[str, Any]:
        """All that the result depends on, besides images, seed and code."""
        own = asdict(self)
        used = {
            "paper": {"paper"},
            "best": {"training"},
            "consistency": {"training", "consistency"},
            "guarded": {"training", "consistency", "guard"},
            "handmade": set(),
        }
        for part in {"paper", "training", "consistency", "guard"} - used[self.recipe]:
            del own[part]
        if "training" in own:
            del own["training"]["levelled"]  # images of data sets never are
        return dict(json.loads(json.dumps(own)))


def totals(arm: Arm, images: int, splits: Splits) -> list[int]:
    """Labelled patches at each training of an arm."""
    if arm.schedule == "all":
        return [len(splits.train)]
    if arm.schedule in LAST_SHARES:
        step = step_of(images)
        most = round(LAST_SHARES[arm.schedule] * images) - len(splits.validation)
        return list(range(len(splits.initial), most + 1, step)) or [len(splits.initial)]
    return [max(1, round(share * images)) for share in SHARES[arm.schedule]]


def pool_of(arm: Arm, data: LabData, splits: Splits, seed: int) -> tuple[Ints, Ints]:
    """Indices of the pool in the data set, and of the first labelled patches in the pool.

    The paper's schedules start with equally many of every class; the others draw evenly from
    the stream, as a device without a model does.
    """
    if arm.has_validation:
        first = splits.train if arm.schedule == "all" else splits.initial
        return splits.train, np.searchsorted(splits.train, first)
    pool = np.sort(np.concatenate([splits.train, splits.validation]))
    count = totals(arm, len(data.labels), splits)[0]
    drawn = np.random.default_rng([seed, 3]).permutation(len(pool))
    if arm.schedule in RARE:
        rare = data.labels[pool[drawn]] == seed % len(data.classes)
        drawn = drawn[~rare | (np.cumsum(rare) <= RARE[arm.schedule])]
    return pool, np.sort(drawn[:count])


def answers(arm: Arm, data: LabData, pool: Ints, seed: int) -> NDArray[np.int64]:
    """What the labeller says of every patch of the pool; mostly the truth."""
    labels = data.labels[pool]
    if arm.schedule != "wrong":
        return labels
    rng = np.random.default_rng([seed, 5])
    slips = rng.random(len(labels)) < WRONG
    others = rng.integers(1, max(len(data.classes), 2), len(labels))
    return np.where(slips, (labels + others) % len(data.classes), labels)


def make_learner(arm: Arm, classes: int, seed: int, memory: Memory | None = None) -> Learner:
    """An untrained learner; `memory` keeps trainings that several arms have in common."""
    if arm.recipe == "paper":
        return PaperLearner(CLASSIFIERS[arm.classifier], classes, seed, arm.paper)
    if arm.recipe == "best":
        return BestLearner(classes, seed, arm.training, memory)
    if arm.recipe == "consistency":
        return ConsistencyLearner(classes, seed, arm.training, setting=arm.consistency)
    if arm.recipe == "guarded":
        return GuardedLearner(
            classes, seed, arm.training, memory, setting=arm.consistency, guard=arm.guard
        )
    return HandmadeLearner(arm.classifier, classes)
