"""Who may sign models: keys made, replaced and renewed.

The keys of `root` and `targets` lie in a folder that can be taken away (a USB stick); they are
needed only here. `snapshot`, `timestamp` and one key for each channel stay on the trainer, so that
a night can publish by itself; whoever steals those can publish models until they are replaced with
the offline keys, and no longer.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from config.errors import UserError
from config.recipes import load_recipes
from config.settings import Settings
from device.exchange.opening import open_place
from device.exchange.trust import root_path
from device.system.durable import write_durably
from device.system.locks import one_at_a_time
from device.update.client import METADATA, pin_root, role_of
from device.update.release import Channel, channel_path
from trainer.publishing.key_files import (
    OFFLINE_PASSPHRASE,
    ONLINE_PASSPHRASE,
    forget_keys,
    load_keys,
    new_key,
)
from trainer.publishing.repository import (
    Repository,
    Signers,
    commit,
    in_days,
    load_repository,
    publish_to,
    set_target,
    write_root,
)

ONLINE = ("snapshot", "timestamp")
OFFLINE = ("root", "targets")


def key_folder(settings: Settings) -> Path:
    """Where the trainer keeps the keys of its nights."""
    return settings.trainer.data / "keys"


def repository_folder(settings: Settings) -> Path:
    """Where the trainer keeps the signed repository."""
    return settings.trainer.data / "repository"


def repository_lock(settings: Settings) -> Path:
    """Held by whoever changes the repository."""
    return settings.trainer.data / "repository.lock"


BUSY = "another change of the published models is running; wait until it has ended"


def signers(settings: Settings, offline: Path | None = None) -> Signers:
    """The keys of every role: the trainer's, and those of the offline folder."""

    def of_role(role: str) -> list[Any]:
        if role in OFFLINE:
            return [] if offline is None else load_keys(offline, role, OFFLINE_PASSPHRASE)
        return load_keys(key_folder(settings), role, ONLINE_PASSPHRASE)

    return of_role


def make_keys(settings: Settings, offline: Path, spare: Path | None = None) -> Path:
    """Make all keys and an empty signed repository with a channel for every recipe of the site, and
    publish it; the pinned root's path.

    `spare` is the folder of a second pair of offline keys: either pair is enough, so that one may
    be lost. A device on this machine trusts the new root if it trusted none.

    Raises:
        UserError: there is a repository already, a folder cannot be written, or the exchange not
            reached.
    """
    folder = repository_folder(settings)
    with one_at_a_time(repository_lock(settings), BUSY):
        if (folder / METADATA / "timestamp.json").exists():
            raise UserError(
                f"{folder}: there are keys and a repository already; replace keys with: "
                "millsight trainer keys rotate"
            )
        with open_place(settings.exchange) as place:
            if place.size(f"models/{METADATA}/timestamp.json") is not None:
                raise UserError(
                    f"{place.where}: holds the models of another trainer's keys; restore that "
                    f"trainer's {settings.trainer.data}, or name another exchange"
                )
        sticks = [offline] if spare is None else [offline, spare]
        for where in sticks:
            _make_folder(where)
        recipes = _recipes(settings)
        root = Root(expires=in_days(1), consistent_snapshot=True)
        for where in sticks:
            for role in OFFLINE:
                root.add_key(new_key(where, role, OFFLINE_PASSPHRASE).public_key, role)
        for role in ONLINE:
            key = new_key(key_folder(settings), role, ONLINE_PASSPHRASE)
            root.add_key(key.public_key, role)
        repository = Repository(
            folder,
            Metadata(root),
            _unsigned(Targets(expires=in_days(1))),
            {},
            _unsigned(Snapshot(expires=in_days(1), meta={})),
            _unsigned(Timestamp(expires=in_days(1))),
        )
        every = signers(settings, offline)
        write_root(repository, every, settings.trainer.publish)
        for recipe in recipes:
            _add_channel(repository, settings, recipe)
        changed = {"targets", *map(role_of, recipes)}
        commit(repository, changed, every, settings.trainer.publish)
        _upload(settings, repository)
        content = repository.root.to_bytes()
        for where in sticks:
            write_durably(where / "root.json", content)
        if not root_path(settings).exists():
            pin_root(settings, content)
    return root_path(settings)


def replace_keys(
    settings: Settings,
    roles: Iterable[str],
    offline: Path,
    *,
    new_offline: Path | None = None,
    spare: Path | None = None,
) -> list[str]:
    """Replace the keys of some roles, and renew what the offline keys sign; the roles replaced.

    Roles are `root`, `targets`, `snapshot`, `timestamp`, and `models` for the channels of all
    recipes; no roles: only renew. New offline keys go to `new_offline`, by default the same folder,
    and a second pair to `spare`. Channels of the site's recipes that the repository does not have
    are added. Devices follow by themselves.

    Raises:
        UserError: the offline keys are needed and missing, or something cannot be written.
    """
    limits, asked = settings.trainer.publish, list(roles)
    known = [*OFFLINE, *ONLINE, "models"]
    if unknown := [role for role in asked if role not in known]:
        raise UserError(f"{unknown[0]}: no role; roles: {', '.join(known)}")
    recipes = _recipes(settings)
    sticks = [new_offline or offline] + ([] if spare is None else [spare])
    with one_at_a_time(repository_lock(settings), BUSY):
        repository = load_repository(repository_folder(settings))
        _need_offline(repository, offline)
        wanted = [role for role in asked if role != "models"]
        if "models" in asked:  # also of recipes that are no more: their keys may be stolen, too
            wanted += map(role_of, repository.channels)
        before = signers(settings, offline)
        lost = any(not before(role) for role in wanted)
        new = {role: _new_keys(settings, role, sticks) for role in wanted}
        every = _with(before, new)
        changed = {"targets", *_change_channels(repository, settings, recipes, new)}

        def change_root() -> None:
            root = repository.root.signed
            for role in [role for role in wanted if role in root.roles]:
                _put_keys(root, role, new[role])
            write_root(repository, every, limits)

        if lost:  # what devices know cannot be signed for: they refuse until they see the new root
            change_root()
            commit(repository, changed, every, limits)
        else:  # signed for the root that devices know, and for the one they will know
            commit(repository, changed, every, limits)
            change_root()
        _upload(settings, repository)
        # From here on every device can follow: the old keys have done their duty.
        for role in wanted:
            delegator = repository.targets if role.startswith("recipe-") else repository.root
            kept = set(delegator.signed.get_delegated_role(role).keyids)
            for folder in {offline, *sticks} if role in OFFLINE else {key_folder(settings)}:
                forget_keys(folder, role, kept)
        for folder in {offline, *sticks}:
            write_durably(folder / "root.json", repository.root.to_bytes())
    return wanted


def _new_keys(settings: Settings, role: str, sticks: list[Path]) -> list[Any]:
    if role not in OFFLINE:
        return [new_key(key_folder(settings), role, ONLINE_PASSPHRASE)]
    for folder in sticks:
        _make_folder(folder)
    return [new_key(folder, role, OFFLINE_PASSPHRASE) for folder in sticks]


def _put_keys(delegator: Root | Targets, role: str, keys: list[Any]) -> None:
    """These keys and no others may sign a role."""
    for keyid in list(delegator.get_delegated_role(role).keyids):
        delegator.revoke_key(keyid, role)
    for key in keys:
        delegator.add_key(key.public_key, role)


def _recipes(settings: Settings) -> list[str]:
    """Names of the site's recipes.

    Raises:
        UserError: a recipe's file has a mistake, so that its channel would be forgotten.
    """
    recipes = load_recipes(settings)
    if recipes.errors:
        raise UserError("\n".join(recipes.errors))
    return list(recipes.all())


def _change_channels(
    repository: Repository, settings: Settings, recipes: list[str], new: dict[str, list[Any]]
) -> list[str]:
    """Give channels their new keys, and add those that are missing; the roles changed."""
    changed = [role_of(recipe) for recipe in repository.channels if role_of(recipe) in new]
    for role in changed:
        _put_keys(repository.targets.signed, role, new[role])
    for recipe in recipes:
        if recipe not in repository.channels:
            _add_channel(repository, settings, recipe)
            changed.append(role_of(recipe))
    return changed


class RoleState(NamedTuple):
    """A role, as `millsight trainer keys show` tells it."""

    role: str
    version: int
    expires: Any
    """When its metadata expires (datetime in UTC)."""
    keys: list[str]
    """Ids of the keys that may sign it, 12 digits of each."""


def role_states(settings: Settings) -> list[RoleState]:
    """Every role of the repository.

    Raises:
        UserError: there is no repository.
    """
    repository = load_repository(repository_folder(settings))
    root, targets = repository.root.signed, repository.targets.signed
    metadata: dict[str, Metadata[Any]] = {
        "root": repository.root,
        "targets": repository.targets,
        **{role_of(recipe): channel for recipe, channel in repository.channels.items()},
        "snapshot": repository.snapshot,
        "timestamp": repository.timestamp,
    }
    return [
        RoleState(
            role,
            found.signed.version,
            found.signed.expires,
            [
                keyid[:12]
                for keyid in (targets if role.startswith("recipe-") else root)
                .get_delegated_role(role)
                .keyids
            ],
        )
        for role, found in metadata.items()
    ]


def _add_channel(repository: Repository, settings: Settings, recipe: str) -> None:
    """A channel without releases, and its key."""
    role, targets = role_of(recipe), repository.targets.signed
    if targets.delegations is None:
        targets.delegations = Delegations(keys={}, roles={})
    assert targets.delegations.roles is not None
    targets.delegations.roles[role] = DelegatedRole(
        role, [], 1, terminating=True, paths=[f"{recipe}/*"]
    )
    targets.add_key(new_key(key_folder(settings), role, ONLINE_PASSPHRASE).public_key, role)
    channel = _unsigned(Targets(expires=in_days(1)))
    name, content = set_target(
        channel, channel_path(recipe), Channel(recipe=recipe).model_dump_json().encode()
    )
    repository.new_files[name] = content
    repository.channels[recipe] = channel


def _unsigned(signed: Any) -> Metadata[Any]:
    """Metadata whose first commit makes version 1."""
    metadata: Metadata[Any] = Metadata(signed)
    signed.version = 0
    return metadata


def _need_offline(repository: Repository, offline: Path) -> None:
    """Before anything changes: the offline keys are those of this repository.

    Raises:
        UserError: one is missing or is another one's.
    """
    for role in OFFLINE:
        allowed = repository.root.signed.roles[role].keyids
        found = load_keys(offline, role, OFFLINE_PASSPHRASE)
        if not any(signer.public_key.keyid in allowed for signer in found):
            raise UserError(
                f"{offline}: holds no key of role {role} for this repository; plug in the stick "
                f"with {role}-{allowed[0][:12]}.pem and name its folder with --offline"
            )


def _with(every: Signers, new: dict[str, list[Any]]) -> Signers:
    """New keys besides those that were found in the folders."""

    def of_role(role: str) -> list[Any]:
        found = every(role)
        known = {signer.public_key.keyid for signer in found}
        return found + [s for s in new.get(role, []) if s.public_key.keyid not in known]

    return of_role


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made: {error.strerror}; is the stick in?") from None


def _upload(settings: Settings, repository: Repository) -> None:
    with open_place(settings.exchange) as place:
        publish_to(place, repository)
