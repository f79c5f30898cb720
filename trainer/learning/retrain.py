"""From labelled patches to a model file: train, calibrate, baselines, thresholds, export."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from config.errors import UserError
from config.settings import Settings
from device.judging.kls import STRATEGIES, fit_baselines, predicted_classes
from device.judging.model import FORMAT, Model, ModelMetadata
from device.judging.patches import Patches
from device.store.answers import LabelledPatches
from export.export import Parity, export_model
from trainer.learning.calibration import calibration_error, fit_temperature, temper
from trainer.learning.dataset import class_folders, folds
from trainer.learning.memory import Memory, run_key
from trainer.learning.networks import GlobalPoolingNet, predict_log_probabilities, weights_of
from trainer.learning.thresholds import fit_thresholds
from trainer.learning.training import Progress, Trained, Training, train

OnStep = Callable[[str, Progress], bool | None]
"""Told of every step of every training run, with the run's name; True ends the run."""


OnStage = Callable[[str], None]
"""Told of every stage of a night as it begins."""


LEAST_CLASSES = 2
"""Of labels; fewer teach nothing."""


@dataclass(frozen=True, slots=True)
class Retrained:
    """A finished retraining."""

    model: Model
    parity: Parity
    trained: Trained
    labels: NDArray[np.int64]
    """int64 [N]: the class of every patch it learnt from."""
    held_out: "HeldOut | None"
    """Predictions on patches that were not learnt from; None: there were no folds, or it was
    stopped."""
    seconds: float
    """Of everything."""
    stopped: bool
    """Whether one of its runs was stopped by hand, the model's or that of a fold."""


def retrain(
    labelled: LabelledPatches,
    settings: Settings,
    out: Path,
    *,
    parent: str | None = None,
    training: Training | None = None,
    on_step: OnStep | None = None,
    on_stage: OnStage = lambda _name: None,
    memory: Memory | None = None,
    created_at: str | None = None,
) -> Retrained:
    """Train from scratch on all labels, and write the model file once it is proven.

    From scratch, because the network is small: full replay costs little and forgets nothing.
    `memory` keeps finished runs, so that a retraining that was killed goes on with the next one;
    with the same labels, `memory` and `created_at` the file is the same to the byte.

    Raises:
        UserError: labels of fewer than two classes or of unknown ones, or the export is refused.
    """
    began = datetime.now(UTC)
    recipe, training = settings.recipe, training or training_of(settings)
    unknown = sorted(set(labelled.classes) - set(recipe.classes))
    if unknown:
        raise UserError(
            f"labels name the class {unknown[0]!r}, which recipe {recipe.name!r} does not have; "
            "add it to recipe.classes, or label those patches anew"
        )
    if len(set(labelled.classes)) < LEAST_CLASSES:
        raise UserError(few_labels(labelled))
    torch.set_num_threads(settings.trainer.threads or max(1, len(os.sched_getaffinity(0)) - 1))
    patches = labelled.patches
    labels = np.array([recipe.classes.index(name) for name in labelled.classes])
    seed, count = settings.trainer.seed, len(recipe.classes)

    def run(name: str, chosen: NDArray[np.bool_]) -> Trained:
        on_stage(f"train {name}")
        step = None if on_step is None else (lambda progress: on_step(name, progress))
        ids = [labelled.ids[i] for i in np.flatnonzero(chosen)]
        key = run_key(ids, labels[chosen], count, training, seed)
        if memory is not None and (known := memory.recall(key, training, count)) is not None:
            return known
        done = train(patches[chosen], labels[chosen], count, training, seed, step)
        if memory is not None and not done.stopped:
            memory.keep(key, done)
        return done

    trained = run("model", np.ones(len(labels), bool))
    assert isinstance(trained.network, GlobalPoolingNet)
    held = None
    stopped = trained.stopped
    if settings.trainer.folds >= 2 and not stopped:
        held = _held_out(patches, labels, settings, run)
        stopped = held is None
    on_stage("baselines and thresholds")
    metrics: dict[str, float] = {}
    thresholds: list[float | None] = [None] * count
    if held is not None:
        thresholds = fit_thresholds(
            held.scores,
            held.predicted,
            labels,
            count,
            confident_share=settings.trainer.confident_share,
            most_wrong=settings.trainer.most_wrong,
        )
        metrics = {
            "held_out_accuracy": float((held.predicted == labels).mean()),
            "temperature": held.temperature,
            "calibration_error_before": held.error_before,
            "calibration_error": calibration_error(held.log_probabilities, labels),
        }
        scale_logits(trained.network, 1 / held.temperature)
    log_p = predict_log_probabilities(trained.network, torch.from_numpy(patches)).numpy()
    baselines = fit_baselines(log_p)
    metrics["training_accuracy"] = float((predicted_classes(log_p) == labels).mean())
    metadata = ModelMetadata(
        format=FORMAT,
        network=trained.network.kind,
        classes=recipe.classes,
        pass_classes=recipe.pass_classes,
        strategy=settings.asking.strategy,
        baselines=[
            row.tolist() if n else None
            for row, n in zip(baselines.pdc, baselines.counts, strict=True)
        ],
        baseline_counts=baselines.counts.tolist(),
        thresholds=thresholds,
        labels=len(labels),
        labels_digest=labels_digest(labelled),
        metrics=metrics,
        parent=parent,
        seed=seed,
        code_version=version("millsight"),
        created_at=created_at or began.isoformat(timespec="seconds"),
        levelled=training.levelled,
    )
    on_stage("export")
    model, parity = export_model(weights_of(trained.network), metadata, patches, log_p, out)
    seconds = (datetime.now(UTC) - began).total_seconds()
    return Retrained(model, parity, trained, labels, held, seconds, stopped)


def few_labels(labelled: LabelledPatches) -> str:
    """What is said where there is nothing to learn yet."""
    return (
        f"{len(labelled.ids)} labels of {len(set(labelled.classes))} classes: training needs "
        "at least two classes; label more patches (millsight device questions)"
    )


def training_of(settings: Settings) -> Training:
    """The appliance's training, no longer than the settings allow."""
    usual = Training()
    most = min(settings.trainer.most_steps, usual.most_steps)
    return replace(
        usual,
        most_steps=most,
        fewest_steps=min(usual.fewest_steps, most),
        levelled=settings.recipe.shared_maps,
    )


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Predictions of every labelled patch by a network that did not learn from it."""

    predicted: NDArray[np.int64]
    scores: NDArray[np.float64]
    """KLS against the baselines of that network's own training patches, after calibration."""
    log_probabilities: NDArray[np.float64]
    """float64 [N, C], after calibration."""
    temperature: float
    """What calibrates them, all folds together; the model itself gets the same."""
    error_before: float
    """The expected calibration error without it."""


def _held_out(
    patches: Patches,
    labels: NDArray[np.int64],
    settings: Settings,
    run: Callable[[str, NDArray[np.bool_]], Trained],
) -> HeldOut | None:
    """None: a run was stopped, and what it predicts means nothing."""
    count = settings.trainer.folds
    fold = folds(labels, count, settings.trainer.seed)
    score = STRATEGIES[settings.asking.strategy]
    log_p = np.zeros((len(labels), len(settings.recipe.classes)))
    learnt: list[tuple[NDArray[np.bool_], NDArray[np.float64]]] = []
    for number in range(count):
        inside, outside = fold != number, fold == number
        if not inside.any() or not outside.any():
            continue
        trained = run(f"fold {number + 1} of {count}", inside)
        if trained.stopped:
            return None
        network = trained.network
        own = predict_log_probabilities(network, torch.from_numpy(patches[inside])).numpy()
        log_p[outside] = predict_log_probabilities(network, torch.from_numpy(patches[outside]))
        learnt.append((outside, own))
    temperature = fit_temperature(log_p, labels)
    error_before = calibration_error(log_p, labels)
    log_p = temper(log_p, temperature)
    scores = np.full(len(labels), np.inf)
    for outside, own in learnt:
        scores[outside] = score(log_p[outside], fit_baselines(temper(own, temperature)))
    return HeldOut(predicted_classes(log_p), scores, log_p, temperature, error_before)


@torch.no_grad()
def scale_logits(network: GlobalPoolingNet, factor: float) -> None:
    """Multiply the logits by a factor: a temperature, inside the network."""
    for parameter in network.dense.parameters():
        parameter.mul_(factor)


def labelled_folder(folder: Path) -> LabelledPatches:
    """The images of a folder of class folders as labelled patches.

    Raises:
        UserError: no class folders, or an image cannot be read.
    """
    dataset = class_folders(folder)
    ids = [str(file.relative_to(folder)) for file in dataset.files]
    return LabelledPatches(dataset.patches(), [dataset.classes[i] for i in dataset.labels], ids)


def labels_digest(labelled: LabelledPatches) -> str:
    """SHA-256, in hex, over what was learnt from: ids and classes, in the order of ids."""
    pairs = sorted(zip(labelled.ids, labelled.classes, strict=True))
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
