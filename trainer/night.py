"""One night: check the labels, retrain, judge against the model in use, publish or keep.

Whatever happens, the model in use stays until a better one lies whole beside it. A night that was
killed is begun again from the start: it has written nothing but its own candidate.
"""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from sqlite_utils import Database

from config.errors import UserError
from config.settings import Settings
from device.activation import activate, model_path, write_durably
from device.model import Model, load_model
from device.store import add_event, in_force, open_store
from device.verdict import judge as judge_patches
from trainer.checks import Finding, check_labels, suspicious
from trainer.golden import Judged, golden_set, new_audits, separate
from trainer.judge import Criterion, Judgement, judge_models
from trainer.networks import predict_log_probabilities
from trainer.report import report_page
from trainer.retrain import OnStep, Retrained, retrain
from trainer.training import Training


@dataclass(frozen=True, slots=True)
class Night:
    """What a night did."""

    judgement: Judgement
    findings: list[Finding]
    labels: int
    """Labels it learnt from."""
    model_id: str
    """The challenger."""
    champion_id: str | None
    published: Path | None
    """The published file; None: the champion stays."""
    report: Path
    """The page; the same as JSON lies beside it."""
    seconds: dict[str, float]
    """Where the time went."""


def run_night(
    settings: Settings,
    out: Path,
    *,
    in_use_at_once: bool = False,
    training: Training | None = None,
    on_step: OnStep | None = None,
) -> Night:
    """Retrain on all good labels, judge, and publish into the folder `out` what is good.

    `in_use_at_once` brings a published model into use on this very device.

    Raises:
        UserError: another night is running, labels or golden patches cannot be used, or nothing
            can be trained yet.
    """
    recipe = settings.recipe
    data = settings.device.data
    with one_at_a_time(data / f"night-{recipe.name}.lock"):
        clock = Clock()
        db = open_store(data)
        try:
            golden = golden_set(db, settings)
            labelled, findings = check_labels(db, recipe.classes)
            champion = model_in_use(db, settings)
            since = 0 if champion is None else made_at_ns(champion)
            learnt, judged = separate(labelled, golden, new_audits(db, since), recipe.classes)
            clock.lap("check labels")
            nights = data / "nights"
            nights.mkdir(parents=True, exist_ok=True)
            candidate = nights / "candidate.onnx"
            parent = None if champion is None else champion.id
            result = retrain(
                learnt, settings, candidate, parent=parent, training=training, on_step=on_step
            )
            clock.lap("train and export")
            if result.held_out is not None:
                labels = np.array([recipe.classes.index(name) for name in learnt.classes])
                findings += suspicious(learnt, labels, result.held_out.log_probabilities)
            judgement = judge_night(champion, result, judged, settings)
            clock.lap("judge")
            published = None
            if judgement.publish:
                published = out / recipe.name / f"{result.model.id}.onnx"
                write_durably(published, candidate.read_bytes())
            night = Night(
                judgement,
                findings,
                len(learnt.ids),
                result.model.id,
                parent,
                published,
                nights / f"{result.model.id[:16]}.html",
                clock.laps,
            )
            write_report(db, night, champion, result.model, judged, settings)
            if published is not None:
                latest = {"model": result.model.id, "report": night.report.name}
                write_durably(published.with_name("latest.json"), json.dumps(latest).encode())
                if in_use_at_once:
                    activate(db, published, settings, "night")
            else:
                add_event(db, "model-kept", "; ".join(judgement.reasons))
            candidate.unlink()
        finally:
            db.close()
    return night


class Clock:
    """Where the time of a night goes."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """The time since the lap before was spent on this."""
        now = time.monotonic()
        self.laps[name], self._last = round(now - self._last, 2), now


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Hold a lock file; whoever dies lets go of it.

    Raises:
        UserError: another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{lock}: another night of this recipe is running") from None
        yield


def model_in_use(db: Database, settings: Settings) -> Model | None:
    """The champion; None: there is none, or its file is lost, and then only the floors count."""
    model_id = in_force(db).model_id
    if model_id is None:
        return None
    path = model_path(settings.device.data, model_id)
    return load_model(path) if path.is_file() else None


def made_at_ns(model: Model) -> int:
    """When a model was trained, in nanoseconds since 1970."""
    made = datetime.fromisoformat(model.metadata.created_at)
    return int(made.astimezone(UTC).timestamp()) * 10**9


def judge_night(
    champion: Model | None, result: Retrained, judged: Judged, settings: Settings
) -> Judgement:
    """Judge what was trained; a run that was stopped is no challenger."""
    if result.trained.stopped:
        stopped = Criterion("training", False, "it was stopped", "finished")
        return Judgement([stopped], len(judged.labels))
    if not len(judged.labels):
        nothing = Criterion(
            "golden patches", False, "none", "there: name a folder of them as trainer.golden"
        )
        return Judgement([nothing], 0)
    trained = predict_log_probabilities(
        result.trained.network, torch.from_numpy(judged.patches)
    ).numpy()
    return judge_models(
        champion, result.model, trained, judged.patches, judged.labels, settings.trainer
    )


def write_report(
    db: Database,
    night: Night,
    champion: Model | None,
    challenger: Model,
    judged: Judged,
    settings: Settings,
) -> None:
    """Write the night's report, as a page and as JSON."""
    text = json.dumps(
        night.judgement.as_json()
        | {
            "model": night.model_id,
            "champion": night.champion_id,
            "labels": night.labels,
            "findings": [[f.patch_id, f.kind, f.text] for f in night.findings],
            "seconds": night.seconds,
            "metrics": challenger.metadata.metrics,
        },
        indent=2,
    )
    predictions = [
        judge_patches(model, judged.patches).predicted if model and len(judged.labels) else None
        for model in (champion, challenger)
    ]
    page = report_page(db, night, challenger.metadata, predictions, judged.labels, settings)
    write_durably(night.report.with_suffix(".json"), text.encode())
    write_durably(night.report, page.encode())
