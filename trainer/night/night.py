"""Nights: merge what devices sent; for each recipe check, retrain, judge, publish or keep, report.

Whatever happens, the model in use stays until a better one lies whole beside it. What a night that
was killed had finished is used again if it would come out the same; the rest is begun anew.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sqlite_utils import Database

from config.errors import UserError
from config.settings import Settings
from device.exchange.opening import open_place
from device.judging.verdict import Judged as Opinion
from device.judging.verdict import judge as judge_patches
from device.store.database import STORE_FILE, exclusive, explain_errors, open_store
from device.store.second_look import Doubt, add_doubts
from device.store.trail import add_event
from device.system.durable import write_durably
from device.system.locks import one_at_a_time
from trainer.labels.checks import Finding, doubts, suspicious
from trainer.labels.classes import Classes
from trainer.labels.merge import Merged, acknowledge_all, merge
from trainer.learning.networks import predict_log_probabilities
from trainer.learning.retrain import (
    LEAST_CLASSES,
    OnStage,
    OnStep,
    Retrained,
    few_labels,
    retrain,
    training_of,
)
from trainer.learning.training import Training
from trainer.night.enough import agreement_of_tonight
from trainer.night.forecast import forecast
from trainer.night.history import Unfinished, nights_folder, past_nights, record_night
from trainer.night.judge import Criterion, Judgement, judge_models
from trainer.night.material import Material, prepare
from trainer.night.report import night_report, report_page
from trainer.publishing.keys import signers
from trainer.publishing.publish import publish, record_champion, refresh

CANDIDATE_IS_STOPPED = Criterion("training", passed=False, found="it was stopped", limit="finished")
NO_GOLDEN = Criterion(
    "golden patches",
    passed=False,
    found="none",
    limit="there: make some by millsight trainer golden, or name a folder as trainer.golden",
)


LOST = "the file of the model in use, {}, is lost or damaged: only the floors counted"


@dataclass(frozen=True, slots=True)
class Night:
    """What a night did."""

    judgement: Judgement
    findings: list[Finding]
    labels: int
    """Labels it learnt from."""
    classes: Classes
    model_id: str
    """The challenger."""
    champion_id: str | None
    report: Path
    """The page; the same as JSON lies beside it."""
    asked_again: int
    """Labels that go back to the operators."""
    seconds: dict[str, float]
    """Where the time went."""
    notes: list[str]
    """What somebody should be told besides: that the model in use was lost, or that labels change
    nothing any more."""

    @property
    def stopped(self) -> bool:
        """Whether its training was stopped by hand."""
        return CANDIDATE_IS_STOPPED in self.judgement.criteria

    @property
    def published(self) -> bool:
        """Whether the model went out; else the champion stays."""
        return self.judgement.publish


@dataclass(frozen=True, slots=True)
class Idle:
    """A night that had nothing to train."""

    reason: str


class Ended(NamedTuple):
    """How the night of one recipe ended."""

    recipe: str
    """Its name."""
    result: Night | Idle | UserError
    """The error is why it could not be finished."""


def run_nights(
    recipes: Sequence[Settings],
    *,
    training: Training | None = None,
    on_step: OnStep | None = None,
    on_stage: OnStage = lambda _name: None,
    on_note: Callable[[str], None] = lambda _note: None,
) -> Iterator[Ended]:
    """Merge once, then learn, judge and publish for one recipe after the other.

    `recipes` are the settings under each. What goes wrong with one of them stops no other; only
    after a training that was stopped by hand no further one is begun.

    Raises:
        UserError: another night of one of them is running, the exchange cannot be reached, or there
            are no keys to publish with.
    """
    site, several = recipes[0], len(recipes) > 1
    stopped = False
    with ExitStack() as locks:
        for settings in recipes:
            locks.enter_context(_one_night(settings))
        clock = Clock(on_stage)
        notes = refresh(site)  # before anything that takes time: it needs exchange and keys
        clock.enter("merge")
        merged = merge(site)
        notes += told(merged)
        for note in notes:
            on_note(note)
        for settings in recipes:
            name = settings.recipe.name
            if several:
                clock.follow(_stages_of(name, on_stage))
            if stopped:
                yield Ended(name, UserError("not begun, for the training before was stopped"))
                continue
            steps = _steps_of(name, on_step) if several else on_step
            try:
                result = _run_one(settings, merged, clock, training, steps)
            except UserError as error:
                yield Ended(name, error)
            else:
                yield Ended(name, result)
                stopped = isinstance(result, Night) and result.stopped
            clock.laps.clear()


def run_night(
    settings: Settings,
    *,
    training: Training | None = None,
    on_step: OnStep | None = None,
    on_stage: OnStage = lambda _name: None,
) -> Night | Idle:
    """The night of one recipe.

    Raises:
        UserError: as `run_nights`, or labels or golden patches cannot be used.
    """
    (ended,) = run_nights([settings], training=training, on_step=on_step, on_stage=on_stage)
    if isinstance(ended.result, UserError):
        raise ended.result
    return ended.result


def _one_night(settings: Settings) -> AbstractContextManager[None]:
    lock = settings.trainer.data / f"night-{settings.recipe.name}.lock"
    return one_at_a_time(lock, "another night of this recipe is running; wait until it has ended")


def _stages_of(recipe: str, on_stage: OnStage) -> OnStage:
    """Stages told with the name of their recipe."""
    return lambda name: on_stage(f"{recipe}: {name}")


def _steps_of(recipe: str, on_step: OnStep | None) -> OnStep | None:
    """Steps told with the name of their recipe."""
    if on_step is None:
        return None
    return lambda name, progress: on_step(f"{recipe}: {name}", progress)


def _run_one(
    settings: Settings,
    merged: Merged,
    clock: "Clock",
    training: Training | None,
    on_step: OnStep | None,
) -> Night | Idle:
    data = settings.trainer.data
    with closing(open_store(data)) as db, explain_errors(data / STORE_FILE):
        try:
            clock.enter("check labels")
            material = prepare(db, settings, training or training_of(settings))
            return work(db, settings, material, merged, clock, training, on_step)
        except OSError as error:  # a disk that is full names no file
            raise UserError(f"{error.filename or data}: {error.strerror or error}") from None


class Clock:
    """Where the time of a night goes."""

    def __init__(self, on_stage: OnStage) -> None:
        self._on_stage = on_stage
        self._began = time.monotonic()
        self._name = "refresh"
        self.laps: dict[str, float] = {}

    def follow(self, on_stage: OnStage) -> None:
        """Tell somebody else from now on."""
        self._on_stage = on_stage

    def enter(self, name: str) -> None:
        """One stage ends, the next begins."""
        now = time.monotonic()
        spent = self.laps.get(self._name, 0.0) + now - self._began
        self.laps[self._name], self._began, self._name = round(spent, 2), now, name
        self._on_stage(name)


def told(merged: Merged) -> list[str]:
    """What somebody should know of a merge, a line each."""
    return [
        *(f"{batch.name}: refused: {batch.refused}" for batch in merged.refused),
        *merged.waiting,
    ]


def work(
    db: Database,
    settings: Settings,
    material: Material,
    merged: Merged,
    clock: Clock,
    training: Training | None,
    on_step: OnStep | None,
) -> Night | Idle:
    """Train, judge, publish, report; go on with what a killed night has left."""
    folder = nights_folder(settings)
    past = past_nights(db, settings.recipe.name)
    if past and past[-1].inputs == material.inputs:
        ask_again(db, settings, doubts(db, material.checked.findings, settings.trainer.ask_again))
        return Idle("no label, golden patch or setting has changed since the last night")
    if len(set(material.learnt.classes)) < LEAST_CLASSES:
        ask_again(db, settings, doubts(db, material.checked.findings, settings.trainer.ask_again))
        return Idle(few_labels(material.learnt))
    unfinished = Unfinished(folder / "unfinished", material.inputs)
    champion = material.champion
    result = retrain(
        material.learnt,
        material.settings,
        unfinished.candidate,
        parent=None if champion is None else champion.id,
        training=training,
        on_step=on_step,
        on_stage=clock.enter,
        memory=unfinished.memory,
        created_at=unfinished.created_at,
    )
    clock.enter("judge")
    findings = [*material.checked.findings, *odd_labels(material, result)]
    patches = material.judged.patches
    theirs = None if champion is None or not len(patches) else judge_patches(champion, patches)
    ours = judge_patches(result.model, patches) if len(patches) else None
    step = ["judgement", result.model.id, None if champion is None else champion.id]
    known = unfinished.recall("judgement", step)
    if known is None:
        judgement = judge_night(db, material, result, theirs, ours)
        unfinished.keep("judgement", step, judgement.as_json())
    else:
        judgement = Judgement.from_json(known)
    again = doubts(db, findings, settings.trainer.ask_again)
    clock.enter("report")
    settled = None if ours is None else agreement_of_tonight(material, past, ours)
    report = night_report(
        material,
        result,
        judgement,
        findings,
        again,
        merged,
        clock.laps,
        theirs,
        ours,
        past,
        settled,
    )
    page = folder / f"{result.model.id[:16]}.html"
    files = {
        "json": json.dumps(report, indent=1).encode(),
        "html": report_page(db, report).encode(),
    }
    for kind, content in files.items():
        write_durably(page.with_suffix(f".{kind}"), content)
    if judgement.publish:
        clock.enter("publish")
        publish(settings, unfinished.candidate, material.golden.patches, reports=files)
    clock.enter("record")
    conclude(db, settings, material, judgement, report, again, unfinished.candidate)
    ask_again(db, settings, again)
    clock.enter("end")
    unfinished.close()
    notes = [settled.text()] if settled is not None and settled.enough else []
    if material.lost is not None:
        notes.append(LOST.format(material.lost[:12]))
    return Night(
        judgement,
        findings,
        len(material.learnt.ids),
        material.classes,
        result.model.id,
        None if champion is None else champion.id,
        page,
        len(again),
        dict(clock.laps),
        notes,
    )


def odd_labels(material: Material, result: Retrained) -> list[Finding]:
    """The labels that predictions of networks which did not learn from them speak against."""
    if result.held_out is None:
        return []
    return suspicious(material.learnt, result.labels, result.held_out.log_probabilities)


def judge_night(
    db: Database,
    material: Material,
    result: Retrained,
    theirs: Opinion | None,
    ours: Opinion | None,
) -> Judgement:
    """Judge what was trained; a run that was stopped is no challenger."""
    judged = material.judged
    if result.stopped:
        return Judgement([CANDIDATE_IS_STOPPED], len(judged.labels))
    if ours is None:
        return Judgement([NO_GOLDEN], 0)
    patches = torch.from_numpy(judged.patches)
    trained = predict_log_probabilities(result.trained.network, patches).numpy()
    judgement = judge_models(
        material.champion,
        result.model,
        trained,
        theirs,
        ours,
        judged.labels,
        material.settings.trainer,
        judged.audit,
    )
    flags = forecast(db, material.settings, material.champion, theirs, ours)
    return Judgement([*judgement.criteria, flags], judgement.patches)


def conclude(
    db: Database,
    settings: Settings,
    material: Material,
    judgement: Judgement,
    report: dict[str, Any],
    again: list[Doubt],
    candidate: Path,
) -> None:
    """In one step: the night is over, its model in use or not, its doubts are open.

    One that was stopped by hand has judged nothing: the next does it, whatever has changed.
    """
    inputs = "" if CANDIDATE_IS_STOPPED in judgement.criteria else material.inputs
    with exclusive(db):
        if judgement.publish:
            record_champion(db, candidate, settings, "night")
        else:
            add_event(db, "model-kept", "; ".join(judgement.reasons)[:1000])
        record_night(db, settings, report, inputs, material.last_label)
        add_doubts(db, again)


def ask_again(db: Database, settings: Settings, again: list[Doubt]) -> None:
    """Open doubts, where they are not open yet, and tell the devices with their
    acknowledgements."""
    with exclusive(db):
        add_doubts(db, again)
    with open_place(settings.exchange) as place:
        acknowledge_all(place, db, signers(settings)("timestamp"))
