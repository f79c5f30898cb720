"""Probation: a model that an update brought is watched, and goes back by itself.

What it does is compared with what was recorded of the model before it: the share of unsure frames,
the mix of predicted classes, the time a patch takes. A limit is passed where the difference, less
what chance may bring about, is over it (`limits_passed`); so a broken model goes after fifty
frames, and a good one seldom goes by chance.

The figures are counted by the keeper in the transaction that stores the counters: a restart goes on
where they stand.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlite_utils import Database

from camera.source import Event
from config.errors import UserError
from config.recipes import load_recipes
from config.settings import Settings, Update
from device.judging.model import load_model
from device.models.activation import check_recipe, model_path
from device.models.models_in_use import in_force, record_activation, refuse
from device.store.database import exclusive
from device.store.trail import add_event

LEAST_FRAMES = 50
"""Frames from which something can be said."""
LEAST_BEFORE = 50
"""Frames the model before must have judged, or its shares are not compared."""
SIGMAS = 3.0
"""Standard errors of the unsure share's difference that chance is granted."""
CHANCE = 1e-3
"""Chance that is granted to the mix of classes at one look (McDiarmid's inequality)."""
DAYS_BEFORE = 7
"""Days of the model before that count."""
REMEMBERED_PATCHES = 20_000.0
"""Patches after which an old time counts a third."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a model did in the running loop."""

    frames: int = 0
    """Judged frames."""
    unsure: int = 0
    mix: Mapping[str, int] = field(default_factory=dict)
    """Patches per predicted class."""
    patch_ms: float | None = None
    """Time of a patch in the loop, in milliseconds; None: never measured."""


@dataclass(frozen=True, slots=True)
class Probation:
    """A model on probation."""

    recipe: str
    """'' for that of the settings file, else its name."""
    activation: int
    model_id: str
    before_id: str
    """The model it goes back to."""
    before: Behaviour
    now: Behaviour
    seconds: float
    """Of inspection so far."""


@dataclass(slots=True)
class Judging:
    """What the loop has judged by a recipe since the last time, for `note_judged`."""

    recipe: str
    """Its key: '' for that of the settings file, else its name."""
    model_id: str
    frames: int = 0
    unsure: int = 0
    mix: Counter[str] = field(default_factory=Counter)
    patches: int = 0
    seconds: float = 0.0
    """Spent judging the patches."""
    elapsed: float = 0.0
    """Seconds of inspection."""


def recorded_behaviour(db: Database, model_id: str) -> Behaviour:
    """What was recorded of a model in the last days it was in use."""
    last = db.execute("SELECT max(minute) FROM counters WHERE model_id = ?", [model_id]).fetchone()
    if last[0] is None:
        return Behaviour()
    verdicts = dict(
        db.execute(
            "SELECT verdict, sum(frames) FROM counters "
            "WHERE minute > ? AND model_id = ? AND verdict != 'fault' GROUP BY verdict",
            [last[0] - DAYS_BEFORE * 24 * 60, model_id],
        ).fetchall()
    )
    mix = db.execute(
        "SELECT class, sum(patches) FROM scores WHERE hour >= ? AND model_id = ? GROUP BY class",
        [last[0] // 60 - DAYS_BEFORE * 24, model_id],
    )
    speed = db.execute(
        "SELECT 1000 * seconds / patches FROM speeds WHERE model_id = ? AND patches >= ?",
        [model_id, LEAST_BEFORE],
    ).fetchone()
    return Behaviour(
        sum(verdicts.values()),
        verdicts.get("unsure", 0),
        dict(mix.fetchall()),
        None if speed is None else speed[0],
    )


def begin_probation(db: Database, before_id: str, recipe: str = "") -> None:
    """Watch the model that was just activated for a recipe, and go back to `before_id` if need be.

    Belongs into the transaction of the activation.
    """
    now = in_force(db, recipe)
    before = recorded_behaviour(db, before_id)
    words = {
        "frames": before.frames,
        "unsure": before.unsure,
        "mix": before.mix,
        "patch_ms": before.patch_ms,
    }
    db.execute(
        "INSERT INTO probations (activation_id, model_id, before_id, before) VALUES (?, ?, ?, ?)",
        [now.activation, now.model_id, before_id, json.dumps(words)],
    )


def running_probations(db: Database) -> list[Probation]:
    """The probations of the models in use that have not ended, one for a recipe at most."""
    rows = db.execute(
        "SELECT a.recipe, p.activation_id, p.model_id, p.before_id, p.before, p.frames, p.unsure, "
        "p.seconds, p.judging_s, p.patches, p.mix "
        "FROM (SELECT recipe, max(id) AS id FROM activations GROUP BY recipe) a "
        "JOIN probations p ON p.activation_id = a.id WHERE p.ended IS NULL ORDER BY a.recipe"
    )
    found = []
    for (
        recipe,
        number,
        model,
        back,
        before,
        frames,
        unsure,
        seconds,
        judging_s,
        patches,
        mix,
    ) in rows:
        patch_ms = 1000 * judging_s / patches if patches else None
        now = Behaviour(frames, unsure, json.loads(mix), patch_ms)
        then = Behaviour(**json.loads(before))
        found.append(Probation(recipe, number, model, back, then, now, seconds))
    return found


def running_probation(db: Database, recipe: str = "") -> Probation | None:
    """The probation of a recipe's model in use, while it lasts."""
    return next((one for one in running_probations(db) if one.recipe == recipe), None)


def note_judged(db: Database, judging: Judging) -> None:
    """Count what the loop has judged; belongs into the transaction of the counters."""
    if not judging.patches:
        return
    keep = math.exp(-judging.patches / REMEMBERED_PATCHES)
    db.execute(
        "INSERT INTO speeds SELECT id, ?2, ?3 FROM models WHERE id = ?1 ON CONFLICT DO UPDATE "
        "SET patches = ?4 * patches + ?2, seconds = ?4 * seconds + ?3",
        [judging.model_id, judging.patches, judging.seconds, keep],
    )
    found = running_probation(db, judging.recipe)
    if found is None or found.model_id != judging.model_id:
        return
    mix = Counter(found.now.mix) + judging.mix
    db.execute(
        "UPDATE probations SET frames = frames + ?, unsure = unsure + ?, seconds = seconds + ?, "
        "judging_s = judging_s + ?, patches = patches + ?, mix = ? WHERE activation_id = ?",
        [
            judging.frames, judging.unsure, judging.elapsed, judging.seconds, judging.patches,
            json.dumps(mix), found.activation,
        ],
    )  # fmt: skip


def said_of(probation: Probation, limits: Update) -> str:
    """How far a probation is, in a line."""
    now, before = probation.now, probation.before
    share = 100 * now.unsure / now.frames if now.frames else 0
    then = f"{100 * before.unsure / before.frames:.0f} %" if before.frames else "unknown"
    return (
        f"{now.frames} of {limits.probation_frames} frames, {share:.0f} % unsure (before: {then}); "
        f"else back to {probation.before_id[:12]}"
    )


def limits_passed(before: Behaviour, now: Behaviour, limits: Update) -> str | None:
    """What is wrong with a model against the one before it; None: nothing that can be said."""
    if now.frames < LEAST_FRAMES:
        return None
    if before.patch_ms and now.patch_ms:
        ratio = now.patch_ms / before.patch_ms
        if ratio > limits.largest_live_slowdown:
            return (
                f"a patch takes {now.patch_ms:.1f} ms, {ratio:.1f} times as long as before (limit "
                f"{limits.largest_live_slowdown:g})"
            )
    if before.frames < LEAST_BEFORE:
        return None
    share, old = now.unsure / now.frames, before.unsure / before.frames
    error = math.sqrt(share * (1 - share) / now.frames + old * (1 - old) / before.frames)
    if share - old - SIGMAS * error > limits.largest_unsure_rise:
        return (
            f"{100 * share:.0f} % of {now.frames} frames are unsure, {100 * old:.0f} % before "
            f"(limit {100 * limits.largest_unsure_rise:g} points more)"
        )
    moved, name = mix_change(before.mix, now.mix)
    if moved - mix_noise(before, now) > limits.largest_mix_change:
        return (
            f"{100 * moved:.0f} % of the patches are of other classes than before, most of all "
            f"{name} (limit {100 * limits.largest_mix_change:g} %)"
        )
    return None


def mix_change(before: Mapping[str, int], now: Mapping[str, int]) -> tuple[float, str]:
    """Total variation distance of two mixes of classes, and the class that changed most."""
    a, b = max(1, sum(before.values())), max(1, sum(now.values()))
    changes = {name: now.get(name, 0) / b - before.get(name, 0) / a for name in {*before, *now}}
    most = max(changes, key=lambda name: abs(changes[name]), default="")
    return sum(map(abs, changes.values())) / 2, most


def mix_noise(before: Behaviour, now: Behaviour) -> float:
    """What chance may add to the total variation distance of two samples of one mix.

    Its mean is at most √(C/n)/2 for each sample, and a frame moves it by 1/n at most, so that
    McDiarmid's inequality bounds the rest. The patches of a frame are alike: n counts frames.
    """
    classes = len({*before.mix, *now.mix})
    mean = sum(math.sqrt(classes / n) / 2 for n in (before.frames, now.frames))
    spread = math.sqrt(math.log(1 / CHANCE) / 2 * (1 / before.frames + 1 / now.frames))
    return mean + spread


def watch(db: Database, settings: Settings) -> list[Event]:
    """Look at the probations that run: end them, or go back. What happened, if anything did.

    Raises:
        sqlite3.Error: the store cannot be written; the next look does it.
    """
    looked = [_look(db, found, settings) for found in running_probations(db)]
    return [event for event in looked if event is not None]


def _look(db: Database, found: Probation, settings: Settings) -> Event | None:
    limits = settings.update
    reason = limits_passed(found.before, found.now, limits)
    if reason is not None:
        return _go_back(db, found, reason, settings)
    enough = found.now.frames >= limits.probation_frames or (
        found.seconds >= limits.probation_hours * 3600 and found.now.frames >= LEAST_FRAMES
    )
    if not enough:
        return None
    event = Event("probation-passed", f"{_named(found)} after {found.now.frames} frames")
    with db.atomic():
        _end(db, found, "passed")
        add_event(db, event.kind, event.text)
    return event


def _go_back(db: Database, found: Probation, reason: str, settings: Settings) -> Event | None:
    """Back to the model before, and never again to this one by itself."""
    path = model_path(settings.device.data, found.before_id)
    under = load_recipes(settings).keyed(found.recipe)
    try:
        before = load_model(path, settings.device.threads)
        why = None if before.id == found.before_id else f"{path} is damaged"
        if under is not None:  # the recipe may be another one since that model was in use
            check_recipe(before.metadata, under.settings.recipe, str(path))
    except UserError as error:
        why = str(error)
    if why is not None:
        text = f"{_named(found)}: {reason}; it stays in use, for {why}"
        event = Event("probation-failed", text)
        with db.atomic():
            _end(db, found, "failed")
            add_event(db, event.kind, event.text)
        return event
    event = Event("rolled-back", f"from {_named(found)} to {found.before_id[:12]}: {reason}")
    with exclusive(db):
        if in_force(db, found.recipe).activation != found.activation:
            return None  # somebody was faster
        _end(db, found, "failed")
        refuse(db, found.model_id, f"probation: {reason}", found.recipe)
        why = f"rolled back by itself: {reason}"
        record_activation(db, found.before_id, why, found.recipe)
        add_event(db, event.kind, event.text)
    return event


def _named(found: Probation) -> str:
    of = f" of recipe {found.recipe}" if found.recipe else ""
    return f"{found.model_id[:12]}{of}"


def _end(db: Database, found: Probation, how: str) -> None:
    db.execute("UPDATE probations SET ended = ? WHERE activation_id = ?", [how, found.activation])
