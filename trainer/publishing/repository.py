"""The signed repository of models: The Update Framework's metadata and files (python-tuf).

The trainer's own folder is the truth; the exchange gets a copy. Both are written so that whoever
dies at any byte leaves what was valid valid: files first, then the metadata that names them, each
under a name of its own version, `timestamp.json` last, because it alone says what is current.

    root        who may sign what              key kept offline
    targets     which channel has which key    key kept offline
    recipe-…    the models of one recipe       key on the trainer
    snapshot    versions that belong together  key on the trainer
    timestamp   what is current                key on the trainer
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from config.errors import UserError
from config.settings import Publishing
from device.exchange.place import Place
from device.system.durable import write_durably
from device.update.client import METADATA, TARGETS, role_of

Signers: TypeAlias = Callable[[str], list[Any]]
"""The keys there are of a role."""


@dataclass
class Repository:
    """The metadata that is current, in memory."""

    folder: Path
    root: Metadata[Root]
    targets: Metadata[Targets]
    channels: dict[str, Metadata[Targets]]
    """By recipe."""
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]
    new_files: dict[str, bytes] = field(default_factory=dict)
    """Files that the next `commit` writes, by the name in the targets folder."""


def load_repository(folder: Path) -> Repository:
    """The repository as its last commit left it.

    Raises:
        UserError: there is none, or it is damaged.
    """
    metadata = folder / METADATA
    roots = sorted(int(path.name.split(".")[0]) for path in metadata.glob("*.root.json"))
    if not roots or not (metadata / "timestamp.json").is_file():
        raise UserError(f"{folder}: no repository of models; millsight trainer keys init")
    try:
        timestamp = Metadata[Timestamp].from_file(str(metadata / "timestamp.json"))
        version = timestamp.signed.snapshot_meta.version
        snapshot = Metadata[Snapshot].from_file(str(metadata / f"{version}.snapshot.json"))
        versions = {
            name.removesuffix(".json"): meta.version for name, meta in snapshot.signed.meta.items()
        }
        loaded = {
            role: Metadata[Targets].from_file(str(metadata / file_name(role, version)))
            for role, version in versions.items()
        }
        root = Metadata[Root].from_file(str(metadata / f"{roots[-1]}.root.json"))
    except (OSError, RepositoryError, ValueError, KeyError) as error:
        raise UserError(
            f"{metadata}: damaged ({str(error)[:100]}); restore it from its copy"
        ) from None
    targets = loaded.pop("targets")
    channels = {role.removeprefix("recipe-"): found for role, found in loaded.items()}
    return Repository(folder, root, targets, channels, snapshot, timestamp)


def file_name(role: str, version: int | None) -> str:
    """The name of a metadata file."""
    return f"{role}.json" if version is None else f"{version}.{role}.json"


def set_target(channel: Metadata[Targets], path: str, content: bytes) -> tuple[str, bytes]:
    """Name a file in a channel; its place in the targets folder, and what to write there."""
    target = TargetFile.from_data(path, content, ["sha256"])
    channel.signed.targets[path] = target
    return prefixed(target), content


def prefixed(target: TargetFile) -> str:
    """A file's name in the targets folder: with its digest, so that versions lie side by side."""
    folder, _, base = target.path.rpartition("/")
    return f"{folder}/{target.hashes['sha256']}.{base}"


def commit(repository: Repository, changed: set[str], signers: Signers, limits: Publishing) -> None:
    """Sign the changed roles anew, then snapshot and timestamp, and write all.

    Raises:
        UserError: a key is missing, or the folder cannot be written.
    """
    metadata = repository.folder / METADATA
    try:
        for name, content in repository.new_files.items():
            write_durably(repository.folder / TARGETS / name, content)
        snapshot, timestamp = repository.snapshot.signed, repository.timestamp.signed
        for role, days in _days(repository, changed, limits):
            signed = role_metadata(repository, role)
            signed.signed.version += 1
            content = _sign(repository, signed, role, signers, days)
            write_durably(metadata / file_name(role, signed.signed.version), content)
            snapshot.meta[f"{role}.json"] = MetaFile.from_data(
                signed.signed.version, content, ["sha256"]
            )
        snapshot.version += 1
        content = _sign(repository, repository.snapshot, "snapshot", signers, limits.snapshot_days)
        write_durably(metadata / file_name("snapshot", snapshot.version), content)
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, content, ["sha256"])
        timestamp.version += 1
        content = _sign(
            repository, repository.timestamp, "timestamp", signers, limits.timestamp_days
        )
        write_durably(metadata / "timestamp.json", content)
    except OSError as error:
        raise UserError(f"{repository.folder}: cannot be written: {error.strerror}") from None
    repository.new_files.clear()


def write_root(repository: Repository, signers: Signers, limits: Publishing) -> None:
    """Sign the next root with the keys it names and those of the one before, and write it.

    Raises:
        UserError: a key is missing, or the folder cannot be written.
    """
    metadata = repository.folder / METADATA
    root = repository.root
    before = metadata / f"{root.signed.version}.root.json"
    old = Metadata[Root].from_file(str(before)) if before.is_file() else None
    if old is not None:
        root.signed.version += 1
    root.signed.expires = in_days(limits.root_days)
    root.signatures.clear()
    for signer in signers("root"):
        root.sign(signer, append=True)
    try:
        for delegator in (root, old):
            if delegator is not None:
                delegator.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    except UnsignedMetadataError:
        raise _no_key("root") from None
    path = metadata / f"{root.signed.version}.root.json"
    try:
        write_durably(path, root.to_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


def role_metadata(repository: Repository, role: str) -> Metadata[Targets]:
    """The metadata of `targets` or of a channel's role."""
    if role == "targets":
        return repository.targets
    return repository.channels[role.removeprefix("recipe-")]


def in_days(days: float) -> datetime:
    """A moment from now, as metadata holds it."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def _days(
    repository: Repository, changed: set[str], limits: Publishing
) -> Iterator[tuple[str, float]]:
    for recipe in repository.channels:
        if role_of(recipe) in changed:
            yield role_of(recipe), limits.models_days
    if "targets" in changed:
        yield "targets", limits.targets_days


def _sign(
    repository: Repository, metadata: Metadata[Any], role: str, signers: Signers, days: float
) -> bytes:
    """Sign with every key there is: while keys change, old and new devices can both verify."""
    metadata.signed.expires = in_days(days)
    metadata.signatures.clear()
    for signer in signers(role):
        assert isinstance(signer, Signer)
        metadata.sign(signer, append=True)
    delegator = repository.targets.signed if role.startswith("recipe-") else repository.root.signed
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError:
        raise _no_key(role) from None
    return metadata.to_bytes()


def _no_key(role: str) -> UserError:
    if role in {"root", "targets"}:
        return UserError(
            f"the key of role {role} is needed and was not found: plug in the stick and name its "
            "folder with --offline"
        )
    return UserError(
        f"the key of role {role} is not in the trainer's folder of keys: restore it, or replace it "
        "with: millsight trainer keys rotate --offline FOLDER"
    )


# --- the copy that devices see ------------------------------------------------------------------


def publish_to(place: Place, repository: Repository, *, again: bool = False) -> int:
    """Bring the exchange up to date; how many objects were put.

    Roots and files that are there with their size already are left alone, unless `again`; other
    metadata is not, for a trainer that was restored from a copy writes the same versions anew, of
    the same size. The timestamp comes after everything it leads to. A new root comes last: what it
    finds is signed with the new keys and with the old ones.

    Raises:
        UserError: the place cannot be reached or written, or a file of the repository is lost.
    """
    there = {} if again else {entry.name: entry.size for entry in place.list("models")}
    count = 0
    for name in current_files(repository):
        path = repository.folder / name
        if not path.is_file():
            raise UserError(f"{path}: is lost; restore it from its copy")
        remote = f"models/{name}"
        by_size = name.startswith(f"{TARGETS}/") or name.endswith(".root.json")
        if not by_size or there.get(remote) != path.stat().st_size:
            place.put(remote, path)
            count += 1
    return count


def current_files(repository: Repository) -> Iterator[str]:
    """The files that are current, in the order in which they must appear."""
    for channel in repository.channels.values():
        for target in channel.signed.targets.values():
            yield f"{TARGETS}/{prefixed(target)}"
    for name, meta in repository.snapshot.signed.meta.items():
        yield f"{METADATA}/{file_name(name.removesuffix('.json'), meta.version)}"
    yield f"{METADATA}/{file_name('snapshot', repository.snapshot.signed.version)}"
    yield f"{METADATA}/timestamp.json"
    for version in range(1, repository.root.signed.version + 1):
        yield f"{METADATA}/{version}.root.json"


def sweep(repository: Repository) -> None:
    """Delete what no current metadata names from the trainer's folder; roots stay for ever."""
    kept = set(current_files(repository))
    for folder in (METADATA, TARGETS):
        for path in (repository.folder / folder).rglob("*"):
            name = path.relative_to(repository.folder).as_posix()
            if path.is_file() and name not in kept and not name.endswith(".root.json"):
                path.unlink()
