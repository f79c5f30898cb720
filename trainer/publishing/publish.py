"""Publishing: a model that may go out, signed, for the devices of its recipe.

A release is the model, its companion (golden patches with what is said of them) and the night's
report. Which devices take it stands in the signed list of releases, so widening the roll-out and
taking a model back are new versions of that list.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlite_utils import Database
from tuf.api.metadata import TargetFile

from config.errors import UserError
from config.settings import Settings
from device.exchange.opening import open_place
from device.exchange.place import Unreachable
from device.judging.model import load_model_bytes, read_model_file
from device.judging.patches import Patches
from device.models.activation import activate, check_recipe
from device.models.models_in_use import in_force
from device.system.locks import one_at_a_time
from device.update.client import TARGETS, role_of
from device.update.release import (
    LARGEST_COMPANION,
    LARGEST_REPORT,
    Channel,
    Release,
    RollOut,
    channel_path,
    companion_target,
    make_companion,
    model_target,
    parse,
    report_target,
)
from trainer.publishing.keys import BUSY, repository_folder, repository_lock, signers
from trainer.publishing.repository import (
    Repository,
    commit,
    load_repository,
    prefixed,
    publish_to,
    set_target,
    sweep,
)

WARN_DAYS = 90
"""Days before the offline keys' metadata expires from which every night says so."""


def publish(
    settings: Settings,
    model_file: Path,
    patches: Patches,
    *,
    reports: dict[str, bytes] | None = None,
    roll_out: RollOut | None = None,
) -> Release:
    """Release a model to the devices of the settings' recipe; releasing it again changes nothing.

    `patches`, uint8 [N, 200, 200], are golden ones: up to `trainer.publish.self_test_patches` of
    them go along. `reports` are the contents of the night's report by `json` and `html`.
    `roll_out` is who gets it first; default: the settings'.

    Raises:
        UserError: the model is for another recipe, there is no patch, no repository or no key, or
            the exchange cannot be reached; then devices see what they saw before.
    """
    recipe, limits = settings.recipe.name, settings.trainer.publish
    content = read_model_file(model_file)
    model = load_model_bytes(content, str(model_file))
    check_recipe(model.metadata, settings.recipe, str(model_file))
    if not len(patches):
        raise UserError(
            f"{model_file}: no patches for the devices' self-test; name golden ones: trainer.golden"
        )
    companion = make_companion(model, recipe, patches, limits.self_test_patches)
    files = {
        model_target(recipe, model.id): content,
        companion_target(recipe, model.id): companion.model_dump_json().encode(),
        **{report_target(recipe, model.id, s): text for s, text in (reports or {}).items()},
    }
    largest = {"companion.json": LARGEST_COMPANION, "report.json": LARGEST_REPORT}
    for path, file in files.items():
        if len(file) > largest.get(path.partition(".")[2], LARGEST_REPORT):
            raise UserError(f"{path}: {len(file)} bytes are too many to publish")
    first = roll_out or RollOut(devices=limits.first_devices, percent=limits.first_percent)
    released: list[Release] = []

    def add(repository: Repository, channel: Channel) -> Channel:
        known = [r for r in channel.releases if r.model == model.id]
        if known:
            released.extend(known)
            return channel
        release = Release(
            number=1 + max((r.number for r in channel.releases), default=0),
            model=model.id,
            published_at=datetime.now(UTC).isoformat(timespec="seconds"),
            roll_out=first,
        )
        released.append(release)
        metadata = repository.channels[recipe]
        for path, file in files.items():
            name, file_content = set_target(metadata, path, file)
            repository.new_files[name] = file_content
        return _keep_newest(metadata.signed.targets, channel, release, limits.keep)

    _change(settings, add)
    return released[0]


def set_roll_out(settings: Settings, model: str, roll_out: RollOut) -> Release:
    """Change which devices a release is for; `model` is the beginning of its id.

    Raises:
        UserError: no such release, or it cannot be published.
    """
    return _change_release(settings, model, {"roll_out": roll_out})


def withdraw(settings: Settings, model: str, reason: str) -> Release:
    """Take a release back: devices that run it go to the newest one left for them.

    Raises:
        UserError: no such release, or it cannot be published.
    """
    return _change_release(settings, model, {"withdrawn": reason})


def refresh(settings: Settings, *, again: bool = False) -> list[str]:
    """Sign anew what says that everything is current, and bring the exchange up to date.

    Every night does it, also one that publishes nothing; else devices take nothing new after
    `trainer.publish.timestamp_days`. The result is what somebody should be told. `again` uploads
    also what is there already.

    Raises:
        UserError: there is no repository or no key, or the exchange cannot be reached.
    """
    limits = settings.trainer.publish
    with one_at_a_time(repository_lock(settings), BUSY):
        repository = load_repository(repository_folder(settings))
        half = {
            role_of(recipe)
            for recipe, channel in repository.channels.items()
            if _days_left(channel.signed.expires) < limits.models_days / 2
        }
        _commit_and_upload(settings, repository, half, again=again)
        return [
            f"role {role} expires in {_days_left(found.signed.expires):.0f} days, and then no "
            "device takes anything new: millsight trainer keys renew --offline FOLDER"
            for role, found in (("root", repository.root), ("targets", repository.targets))
            if _days_left(found.signed.expires) < WARN_DAYS
        ]


def releases(settings: Settings, recipe: str | None = None) -> list[Release]:
    """The releases of a recipe, by default the settings', the oldest first.

    Raises:
        UserError: there is no repository, or no channel for the recipe.
    """
    name = recipe or settings.recipe.name
    return _channel(load_repository(repository_folder(settings)), name).releases


def record_champion(db: Database, model_file: Path, settings: Settings, reason: str) -> None:
    """Make a published model the recipe's champion in the trainer's own store, `db`.

    There every recipe goes by its name, also that of the settings file.

    Raises:
        UserError: it cannot be kept.
    """
    data = settings.trainer.data
    own = settings.model_copy(update={"device": settings.device.model_copy(update={"data": data})})
    model_id = load_model_bytes(read_model_file(model_file), str(model_file)).id
    recipe = settings.recipe.name
    if in_force(db, recipe).model_id != model_id:
        activate(db, model_file, own, reason, recipe)


Change = Callable[[Repository, Channel], Channel]


def _change_release(settings: Settings, model: str, values: dict[str, object]) -> Release:
    found: list[Release] = []

    def change(_repository: Repository, channel: Channel) -> Channel:
        matching = [r for r in channel.releases if r.model.startswith(model)]
        if not model or len(matching) != 1:
            what = "more than one release" if matching else "no release"
            raise UserError(
                f"{model}: {what} of recipe {channel.recipe!r}; millsight trainer releases lists"
            )
        found.append(matching[0].model_copy(update=values))
        changed = [found[0] if r is matching[0] else r for r in channel.releases]
        return channel.model_copy(update={"releases": changed})

    _change(settings, change)
    return found[0]


def _change(settings: Settings, change: Change) -> None:
    """Make a new version of the channel, and bring it to the exchange."""
    recipe = settings.recipe.name
    with one_at_a_time(repository_lock(settings), BUSY):
        repository = load_repository(repository_folder(settings))
        channel = _channel(repository, recipe)
        content = change(repository, channel).model_dump_json().encode()
        name, content = set_target(repository.channels[recipe], channel_path(recipe), content)
        repository.new_files[name] = content
        _commit_and_upload(settings, repository, {role_of(recipe)})


def _commit_and_upload(
    settings: Settings, repository: Repository, changed: set[str], *, again: bool = False
) -> None:
    commit(repository, changed, signers(settings), settings.trainer.publish)
    with open_place(settings.exchange) as place:
        try:
            publish_to(place, repository, again=again)
        except Unreachable as error:
            raise Unreachable(f"{error}; it is signed and goes out with the next refresh") from None
    sweep(repository)


def _channel(repository: Repository, recipe: str) -> Channel:
    if recipe not in repository.channels:
        raise UserError(
            f"recipe {recipe!r}: has no channel yet, and the offline key must sign for it: "
            "millsight trainer keys renew --offline FOLDER"
        )
    target = repository.channels[recipe].signed.targets[channel_path(recipe)]
    path = repository.folder / TARGETS / prefixed(target)
    try:
        return parse(Channel, path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _keep_newest(
    targets: dict[str, TargetFile], channel: Channel, release: Release, keep: int
) -> Channel:
    """The channel with a further release; the oldest leave, never the last that all may run."""
    every = [*channel.releases, release]
    for_all = [r for r in every if r.withdrawn is None and r.roll_out.percent == 100]
    kept = [r for r in every if r in every[-keep:] or r in for_all[-1:]]
    left = {r.model for r in every} - {r.model for r in kept}
    for path in list(targets):
        if any(path.startswith(f"{channel.recipe}/{model}.") for model in left):
            del targets[path]
    return channel.model_copy(update={"releases": kept})


def _days_left(expires: datetime) -> float:
    return (expires - datetime.now(UTC)).total_seconds() / 86400
