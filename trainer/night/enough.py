"""Whether more labels still change the model: agreement with an earlier one of half the labels.

Two models in a row that say the same of patches neither has learnt from gain nothing from each
other's labels (stabilising predictions: Bloodgood & Vijay-Shanker, CoNLL 2009). It needs no label
of its own. The laboratory tries the rule on doubled labels (docs/laboratory.md, Stopping), on too
few seeds yet to draw a limit for every site: without one the agreement is told and no more. With
one, it is said when it is reached; asking goes on all the same.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError
from device.judging.kls import Ints
from device.judging.model import load_model
from device.judging.patches import Patches
from device.judging.verdict import Judged, judge
from device.models.activation import model_path
from device.reports.statistics import cohen_kappa
from trainer.night.history import Past
from trainer.night.judge import in_classes
from trainer.night.material import Material

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
    """Whether it reaches the site's limit: more labels no longer change the model."""

    def text(self) -> str:
        """What somebody should be told, in one sentence."""
        told = (
            f"it agrees with the model of {self.labels} labels by a kappa of {self.kappa:.3f} "
            f"on {self.patches} patches"
        )
        return f"more labels no longer change the model: {told}" if self.enough else told

    def as_json(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return asdict(self) | {"text": self.text()}


def agreement_of_tonight(material: Material, past: list[Past], ours: Judged) -> Agreement | None:
    """How tonight's model agrees with an earlier one of half its labels, if there is one."""
    trainer = material.settings.trainer
    labels, patches = len(material.learnt.ids), material.judged.patches
    names, least = material.classes.names, trainer.enough_agreement
    return agreement(past, trainer.data, labels, patches, ours.predicted, names, least)


def agreement(
    past: list[Past],
    data: Path,
    labels: int,
    patches: Patches,
    predicted: Ints,
    classes: list[str],
    least: float | None,
) -> Agreement | None:
    """Compare tonight's model with the last published one that had at most half of its labels.

    `predicted` is what tonight's model, of so many `labels`, says of the judged patches, uint8
    [N, 200, 200], in the numbering of `classes`; `least` the kappa from which it is enough, if the
    site has said. None: there is no such model any more, or too few patches to say.
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
    enough = least is not None and kappa >= least
    return Agreement(night.model_id, night.report["labels"], len(patches), round(kappa, 4), enough)
