"""Runs an arm on one seed and examines the classifier after every training."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.judging.kls import Ints, predicted_classes
from device.reports.statistics import cohen_kappa
from trainer.lab.algorithm import Round, Settings, run
from trainer.lab.arms import Arm, answers, make_learner, pool_of, totals
from trainer.lab.candidates import averaged
from trainer.lab.consistency import ConsistencyLearner
from trainer.lab.guard import GuardedLearner
from trainer.lab.handmade import HandmadeLearner
from trainer.lab.learners import Learner, PaperLearner, in_eight_orientations, judge
from trainer.lab.metrics import evaluate
from trainer.lab.protocol import LabData, Splits, make_splits, step_of
from trainer.lab.strategies import make_strategy
from trainer.learning.memory import Memory
from trainer.learning.networks import Network
from trainer.learning.training import Progress

SECOND_LOOK_SHARE = 0.2
"""Share of the test images, the least confident, that the second look judges again."""
SMALL_VALIDATION = 60
"""Images of the small validation set that a stopping rule may be based on."""

TRACED = 5
"""Epochs between two points of a trace: looking costs as much as learning."""

OnArm = Callable[[str, Progress], bool | None]


def run_arm(
    arm: Arm,
    data: LabData,
    seed: int,
    on_arm: OnArm | None = None,
    memory: Memory | None = None,
) -> dict[str, Any]:
    """Figures of every round of an arm, and how long it took, as a JSON-able dictionary.

    `share` counts every label over all images: the paper's schedules have a labelled validation
    set, the others have none.
    """
    began = time.monotonic()
    splits = make_splits(data, seed)
    pool, initial = pool_of(arm, data, splits, seed)
    labels = answers(arm, data, pool, seed)
    learner = make_learner(arm, len(data.classes), seed, memory)
    traces: list[dict[str, float]] = []
    if arm.trace and isinstance(learner, PaperLearner):
        learner.on_epoch = _tracer(learner, data, splits, traces)
    label = f"{arm.name}, seed {seed}"
    step = None if on_arm is None else (lambda progress: on_arm(label, progress))
    algorithm = run(
        data.patches[pool],
        initial,
        lambda chosen: labels[chosen],
        make_strategy(arm.strategy, seed),
        learner,
        Settings(totals(arm, len(data.labels), splits)),
        step,
    )
    told = arm.strategy == "kls+quota" and arm.schedule != "scarce"  # of whom a table tells more
    rounds: list[dict[str, Any]] = []
    before: Ints | None = None
    for here in algorithm:
        figures, before = examine(arm, learner, data, splits, here, before, again=told)
        if told and arm.schedule != "all":
            figures["overlap_lc"] = _overlap(here, step_of(len(data.labels)))
        rounds.append(figures)
    result: dict[str, Any] = {"rounds": rounds, "seconds": round(time.monotonic() - began, 1)}
    return result | ({"trace": traces} if traces else {})


def examine(
    arm: Arm,
    learner: Learner,
    data: LabData,
    splits: Splits,
    here: Round,
    before: Ints | None,
    *,
    again: bool = False,
) -> tuple[dict[str, Any], Ints]:
    """Figures of a round, and the predictions on the stop set, to compare the next with; with a
    second look at the test images if they are to be judged `again`."""
    classes = len(data.classes)
    labels = data.labels[splits.test]
    judged = learner.judge(data.patches[splits.test])
    predicted = predicted_classes(judged.log_probabilities)
    counted = len(splits.validation) if arm.has_validation else 0
    figures: dict[str, Any] = {
        "labels": len(here.labelled),
        "share": round((len(here.labelled) + counted) / len(data.labels), 6),
        **{k: round(v, 6) for k, v in asdict(evaluate(predicted, labels, classes)).items()},
        "steps": here.fitted.steps,
        "seconds": round(here.fitted.seconds, 2),
        "above_baseline": here.above_baseline,
        "asked_right": here.asked_right,
        "second_look": None,
    }
    if again and not isinstance(learner, HandmadeLearner):  # whose features are slow
        figures["second_look"] = second_look(
            learner, data.patches[splits.test], labels, judged.log_probabilities
        )
    if isinstance(learner, ConsistencyLearner):
        figures |= _pseudo_labels(learner, data, splits)
    if isinstance(learner, GuardedLearner):
        figures |= _guarded(learner, data, splits)
    # without a validation set these images are in the pool, and some of them learnt from by now
    stop = predicted_classes(learner.judge(data.patches[splits.validation]).log_probabilities)
    hits = stop == data.labels[splits.validation]
    small = np.random.default_rng(0).permutation(len(hits))[:SMALL_VALIDATION]
    figures["validation_accuracy"] = round(float(hits.mean()), 6)
    figures["small_validation_accuracy"] = round(float(hits[small].mean()), 6)
    figures["agreement"] = None if before is None else _agreement(before, stop)
    return figures, stop


def _pseudo_labels(learner: ConsistencyLearner, data: LabData, splits: Splits) -> dict[str, Any]:
    log_p = learner.judge(data.patches[splits.train]).log_probabilities
    sure = np.exp(log_p.max(axis=1)) >= learner.setting.confidence
    right = predicted_classes(log_p) == data.labels[splits.train]
    return {
        "pseudo_labels_used": round(learner.used_share, 4),
        "pseudo_labels_right": float(right[sure].mean()) if sure.any() else None,
    }


def _guarded(learner: GuardedLearner, data: LabData, splits: Splits) -> dict[str, Any]:
    """Test accuracy of both networks, and what the guard saw."""
    assert learner.plain is not None
    assert learner.also is not None
    assert learner.parted is not None
    reason = learner.parted.reason(learner.guard)
    patches, labels = data.patches[splits.test], data.labels[splits.test]

    def accuracy(network: Network) -> float:
        return round(float((judge(network, patches).predicted == labels).mean()), 6)

    return {
        "plain_accuracy": accuracy(learner.plain),
        "unlabelled_accuracy": accuracy(learner.also),
        "refused": reason is not None,
        "reason": reason,
        **asdict(learner.parted),
    }


def _agreement(before: Ints, after: Ints) -> float:
    """Cohen's kappa of two models' predictions; 1 where both know but one class."""
    found = cohen_kappa(list(zip(before.tolist(), after.tolist(), strict=True)))
    return 1.0 if found is None else round(found, 6)


def second_look(
    learner: Learner,
    patches: NDArray[np.uint8],
    labels: NDArray[np.int64],
    log_p: NDArray[np.float64],
) -> float:
    """Accuracy once the least confident patches were judged again in eight orientations."""
    count = round(SECOND_LOOK_SHARE * len(patches))
    unsure = np.argsort(log_p.max(axis=1), kind="stable")[:count]
    final = predicted_classes(log_p)
    final[unsure] = predicted_classes(averaged(in_eight_orientations(learner, patches[unsure])))
    return round(float((final == labels).mean()), 6)


def _overlap(here: Round, batch: int) -> float | None:
    """Share of what KLS with the quota would ask now that LC with the quota would ask too."""
    candidates = here.candidates()
    if len(candidates) < batch:
        return None
    kls, lc = (make_strategy(name).query(candidates, batch) for name in ("kls+quota", "lc+quota"))
    return round(len(np.intersect1d(kls, lc)) / batch, 4)


def _tracer(
    learner: PaperLearner, data: LabData, splits: Splits, traces: list[dict[str, float]]
) -> Callable[[int, float], None]:
    """Adds training loss, and loss and accuracy on validation images, after every TRACED epochs."""

    def on_epoch(epoch: int, loss: float) -> None:
        if (epoch + 1) % TRACED and epoch + 1 != learner.recipe.epochs:
            return
        log_p = learner.judge(data.patches[splits.validation]).log_probabilities
        labels = data.labels[splits.validation]
        own = float(-log_p[np.arange(len(labels)), labels].mean())
        right = float((predicted_classes(log_p) == labels).mean())
        point = {"loss": loss, "validation_loss": own, "validation_accuracy": right}
        traces.append({"epoch": epoch + 1, **point})

    return on_epoch
