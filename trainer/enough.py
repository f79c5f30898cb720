"""Whether more labels still change the model: agreement with an earlier one of half the labels.

Two models in a row that say the same of patches neither has learnt from gain nothing from each
other's labels (stabilising predictions: Bloodgood & Vijay-Shanker, CoNLL 2009). It needs no label
of its own. The laboratory tries the rule on doubled labels (docs/laboratory.md, Stopping); here
it only tells, and asking goes on: whether labels are worth an operator's time is the site's to say.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError
from device.activation import model_path
from device.kls import Ints
from device.model import load_model
from device.patches import Patches
from device.statistics import cohen_kappa
from device.verdict import judge
from trainer.judge import in_classes
from trainer.nights import Past

LEAST_PATCHES = 100
"""Fewer patches cannot tell 0.99 from less: one of a hundred is a hundredth."""
GROWN = 2
"""Labels of tonight, as a multiple of the earlier model's, from which the two are compared."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How tonight's model agrees with an earlier one."""

    model: str
    """The earlier model's id."""
    labels: int
    """Labels that it had learnt from."""
    patches: int
    """Patches that both judged."""
    kappa: float
    """Cohen's kappa of what they say."""
    enough: bool
    """Whether more labels no longer change the model, as far as can be seen."""

    def text(self) -> str:
        """What somebody should be told, in one sentence."""
        told = f"kappa {self.kappa:.3f} with the model of {self.labels} labels"
        changes = "no longer change" if self.enough else "still change"
        return f"more labels {changes} the model: {told}, on {self.patches} patches"

    def as_json(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return asdict(self) | {"text": self.text()}


def agreement(
    past: list[Past],
    data: Path,
    labels: int,
    patches: Patches,
    predicted: Ints,
    classes: list[str],
    least: float,
) -> Agreement | None:
    """Compare tonight's model with the last published one that had at most half of its labels.

    `predicted` is what tonight's model, of so many `labels`, says of the judged patches, uint8
    [N, 200, 200], in the numbering of `classes`; `least` the kappa from which it is enough. None:
    there is no such model any more, or too few patches to say.
    """
    if len(patches) < LEAST_PATCHES:
        return None
    halves = (n for n in reversed(past) if n.published and n.report["labels"] * GROWN <= labels)
    night = next(halves, None)
    if night is None:
        return None
    try:
        earlier = load_model(model_path(data, night.model_id))
    except UserError:  # its file is gone, or of an older format
        return None
    said = in_classes(judge(earlier, patches).predicted, earlier, classes)
    found = cohen_kappa(list(zip(said.tolist(), predicted.tolist(), strict=True)))
    kappa = 1.0 if found is None else found
    return Agreement(
        night.model_id, night.report["labels"], len(patches), round(kappa, 4), kappa >= least
    )
