"""From what is published to the model in use: refresh, choose, fetch, test, switch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from config.errors import UserError
from config.recipes import Under
from config.settings import Settings
from device.exchange.place import Place, Unreachable
from device.judging.model import LARGEST_BYTES, Model, Unfit, load_model, load_model_bytes
from device.models.activation import activate, check_recipe, is_whole, model_path
from device.models.models_in_use import in_force, refuse, why_refused
from device.store.trail import add_event
from device.system.durable import write_durably
from device.system.locks import one_at_a_time
from device.update.client import Client, Refused
from device.update.memory import last_taken, note_content, note_refusal, note_taken
from device.update.probation import begin_probation, running_probation
from device.update.release import (
    LARGEST_CHANNEL,
    LARGEST_COMPANION,
    Channel,
    Companion,
    Release,
    channel_path,
    companion_target,
    model_target,
    parse,
)
from device.update.selftest import check_companion, check_speed, golden_patches

Step = Callable[[str], None]
"""Told before each step, for tests that kill in between."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do about the releases of the channel."""

    release: Release | None
    """To be taken in; None: keep what is in use."""
    why: str
    withdrawn: bool = False
    """Whether the model in use was withdrawn: nothing goes back to it."""

    def line(self) -> str:
        """The same for people, once it is done."""
        if self.release is None:
            return self.why
        return f"{self.release.model[:12]} in use (release {self.release.number}: {self.why})"


@dataclass(frozen=True, slots=True)
class Taken:
    """What a sync did for one recipe."""

    recipe: str
    """Its name."""
    choice: Choice | None
    """None: what is published for it was refused."""
    refused: str = ""
    """Why."""


def choose(  # noqa: PLR0911 - a rule each
    db: Database, channel: Channel, settings: Settings, recipe: str = ""
) -> Choice:
    """The newest release that is for this device, if it is to be taken.

    Older releases than one that was taken or refused are not, except where the model in use has
    been withdrawn. What was taken last is taken again where its file was damaged meanwhile. A
    running probation is not disturbed, except by that. `recipe` is '' for that of the settings
    file, else its name.
    """
    device = settings.device.name
    for_us = [
        r for r in channel.releases if r.withdrawn is None and r.roll_out.includes(device, r.model)
    ]
    in_use = in_force(db, recipe).model_id
    withdrawn = next(
        (r.withdrawn for r in channel.releases if r.model == in_use and r.withdrawn is not None),
        None,
    )
    if withdrawn is not None:  # what was refused here stands in no older one's way
        for_us = [r for r in for_us if why_refused(db, r.model, recipe) is None]
    newest = max(for_us, key=lambda r: r.number, default=None)
    if newest is None:
        if withdrawn is not None:
            return Choice(
                None,
                f"{str(in_use)[:12]} was withdrawn: {withdrawn}; nothing else is published that "
                "this device may take, so it stays in use",
            )
        return Choice(None, "nothing is published for this device")
    taken = newest.model == in_use or newest.number == last_taken(db, recipe)
    lost = taken and not is_whole(model_path(settings.device.data, newest.model), newest.model)
    if newest.model == in_use and not lost:
        return Choice(None, f"{newest.model[:12]} is in use, the newest for this device")
    if (reason := why_refused(db, newest.model, recipe)) is not None:
        return Choice(None, f"{newest.model[:12]} is not taken: {reason}")
    if withdrawn is not None:
        return Choice(newest, f"{str(in_use)[:12]} was withdrawn: {withdrawn}", withdrawn=True)
    if lost:
        return Choice(newest, "its file here was lost or damaged")
    if newest.number <= last_taken(db, recipe):
        return Choice(None, f"{newest.model[:12]} is older than what was in use here")
    if (probation := running_probation(db, recipe)) is not None:
        return Choice(
            None,
            f"{newest.model[:12]} waits: {probation.model_id[:12]} is on probation, "
            f"{probation.now.frames} frames so far",
        )
    return Choice(newest, "newest release")


def take_in(
    db: Database, place: Place, recipes: Sequence[Under], step: Step = lambda _name: None
) -> list[Taken]:
    """Bring what is published for this device into use for each recipe, or say why it stays.

    Whatever is refused leaves the running models untouched, and the other recipes are gone on
    with; a model that is refused for what it is is not looked at again, one that does not fit this
    program or recipe is at every sync. Dying at any moment leaves the old model or the new one,
    whole.

    Raises:
        Refused: nothing that the exchange offers is to be trusted.
        Unreachable: the exchange does not answer.
        UserError: there is no root of trust, or another sync is running.
    """
    settings = recipes[0].settings
    lock = settings.device.data / "update.lock"
    with one_at_a_time(lock, "another sync is running; wait until it has ended"):
        try:
            client = Client(settings, place)
            step("refresh")
            client.refresh()
        except Refused as refusal:
            note_refusal(db, str(refusal), [under.key for under in recipes])
            raise
        return [_take_in_one(db, client, under, step) for under in recipes]


def _take_in_one(db: Database, client: Client, under: Under, step: Step) -> Taken:
    path = channel_path(under.name)
    try:
        if not client.has(path):
            choice = Choice(None, "nothing is published")
        else:
            channel = parse(Channel, client.fetch(path, LARGEST_CHANNEL), path)
            _check_channel(channel, under.name)
            choice = choose(db, channel, under.settings, under.key)
        if choice.release is not None:
            _take(db, client, choice.release, choice, under, step)
    except Unreachable:
        raise
    except UserError as refusal:
        of = f"recipe {under.key}: " if under.key else ""
        note_refusal(db, f"{of}{refusal}", [under.key])
        return Taken(under.name, None, str(refusal))
    if choice.release is None:
        note_content(db, under.key)
    return Taken(under.name, choice)


def _check_channel(channel: Channel, recipe: str) -> None:
    if channel.recipe != recipe:
        raise Refused(
            f"{channel_path(recipe)}: the releases of recipe {channel.recipe!r}, not of {recipe!r}"
        )


def _take(
    db: Database, client: Client, release: Release, choice: Choice, under: Under, step: Step
) -> None:
    """Fetch a release, test it and switch to it."""
    settings, recipe = under.settings, under.name
    data = settings.device.data
    step("download")
    content = client.fetch(model_target(recipe, release.model), LARGEST_BYTES)
    companion_bytes = client.fetch(companion_target(recipe, release.model), LARGEST_COMPANION)
    try:
        companion = parse(Companion, companion_bytes, companion_target(recipe, release.model))
        model = _test(content, companion, release, settings)
    except Unfit:  # a newer program or other classes in the recipe may be on their way here
        raise
    except UserError as error:  # of the model itself: it will not be better tomorrow
        with db.atomic():
            refuse(db, release.model, str(error), under.key)
            note_taken(db, release.number, under.key)
        raise Refused(str(error)) from None
    before = _in_use(db, under)
    check_speed(model, before, settings.update)
    step("switch")
    path = data / "update" / "incoming.onnx"
    try:
        write_durably(path, content)
        write_durably(
            model_path(data, release.model).with_suffix(".companion.json"), companion_bytes
        )
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None

    def also(model: Model) -> None:
        note_taken(db, release.number, under.key)
        note_content(db, under.key)
        of = f" for recipe {under.key}" if under.key else ""
        add_event(db, "update", f"{model.id[:12]}{of}, release {release.number}: {choice.why}")
        if before is not None and not choice.withdrawn and settings.update.probation_frames:
            begin_probation(db, before.id, under.key)

    why = f"release {release.number}: {choice.why}"
    activate(db, path, settings, why, under.key, also, golden_patches(companion))
    path.unlink(missing_ok=True)


def _test(
    content: bytes,
    companion: Companion,
    release: Release,
    settings: Settings,
) -> Model:
    """Everything that the bytes of a model tell before it is used.

    Raises:
        UserError: it must not be used.
    """
    recipe = settings.recipe
    name = f"release {release.number}"
    model = load_model_bytes(content, name, settings.device.threads)
    if (model.id, companion.model, companion.recipe) != (release.model, release.model, recipe.name):
        raise Refused(f"{name}: model or companion are of another release or recipe")
    check_recipe(model.metadata, recipe, name)
    check_companion(model, companion, settings.update)
    return model


def _in_use(db: Database, under: Under) -> Model | None:
    """The recipe's model in use; None: there is nothing to compare with or to go back to."""
    model_id, settings = in_force(db, under.key).model_id, under.settings
    if model_id is None:
        return None
    try:
        model = load_model(model_path(settings.device.data, model_id), settings.device.threads)
    except UserError:  # its file is lost
        return None
    return model if model.id == model_id else None  # damaged, and opens all the same
