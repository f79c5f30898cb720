"""What a night works with: tonight's classes, checked labels, and the patches that judge."""

from dataclasses import dataclass

from sqlite_utils import Database

from config.settings import Settings
from device.judging.model import Model
from device.store.answers import LabelledPatches
from trainer.labels.checks import Checked, check_labels
from trainer.labels.classes import Classes, classes_of_tonight
from trainer.labels.golden import Golden, Judged, golden_set, new_audits, separate
from trainer.learning.training import Training
from trainer.night.history import champion_id, digest, last_label, learnt_up_to, load_champion
from trainer.publishing.publish import releases

WITHOUT_EFFECT = {"data", "golden", "publish", "enough_agreement"}
"""Settings of the trainer that decide nothing about the model, or are in the digest otherwise."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a night works with."""

    settings: Settings
    """With tonight's classes as the recipe's."""
    classes: Classes
    checked: Checked
    golden: Golden
    learnt: LabelledPatches
    judged: Judged
    champion: Model | None
    lost: str | None
    """The id of the model in use, where its file is gone for good: only the floors count."""
    last_label: int
    inputs: str
    """Digest of all that decides what the night gives, but for the champion."""


def prepare(db: Database, settings: Settings, training: Training) -> Material:
    """Everything that a night needs, before anything is trained.

    Raises:
        UserError: golden patches cannot be used.
    """
    recipe = settings.recipe
    withdrawn = {r.model for r in releases(settings) if r.withdrawn is not None}
    in_force = champion_id(db, settings, withdrawn)
    champion = None if in_force is None else load_champion(settings, in_force)
    lost = in_force if champion is None else None
    last = last_label(db)
    in_use = None if champion is None else champion.metadata.classes
    classes = classes_of_tonight(db, recipe, in_use, settings.trainer.least_new_class)
    tonight = settings.model_copy(
        update={"recipe": recipe.model_copy(update={"classes": classes.names})}
    )
    golden = golden_set(db, settings, [*classes.names, *classes.named])
    checked = check_labels(db, recipe.name, classes.names)
    audits = new_audits(db, learnt_up_to(db, champion))
    learnt, judged = separate(checked.labelled, golden, audits, classes.names)
    limits = tonight.trainer.model_dump(mode="json", exclude=WITHOUT_EFFECT)
    inputs = digest({
        "learnt": list(zip(learnt.ids, learnt.classes, strict=True)),
        "audits": sorted(audits & set(checked.labelled.ids)),
        "golden": golden.digest,
        "recipe": tonight.recipe.model_dump(mode="json"),
        "limits": limits,
        "strategy": tonight.asking.strategy,
        "training": str(training),
    })  # fmt: skip
    return Material(tonight, classes, checked, golden, learnt, judged, champion, lost, last, inputs)
