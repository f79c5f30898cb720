"""A new trainer takes over what a lost one published, with nothing but the offline keys."""

from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from config.errors import UserError
from config.settings import Settings
from device.exchange.opening import open_place
from device.exchange.place import Place
from device.exchange.trust import LARGEST_ROOT
from device.system.durable import write_durably
from device.system.locks import one_at_a_time
from device.update.client import METADATA, TARGETS, Refused
from device.update.release import LARGEST_REPORT
from trainer.publishing.keys import BUSY, ONLINE, replace_keys, repository_folder, repository_lock
from trainer.publishing.publish import releases
from trainer.publishing.repository import file_name, load_repository, prefixed

LARGEST_METADATA = 5_000_000


def restore_repository(settings: Settings, offline: Path) -> int:
    """Copy the repository back from the exchange and replace the lost keys; how many releases.

    Everything is verified from `root.json` of the offline folder, as a device does it, but for
    expiry: the trainer may have been dead for longer than that. An exchange that shows an older
    state than devices have seen is not noticed here; devices then refuse it until the versions
    have grown past what they know.

    Raises:
        UserError: this trainer has a repository, an offline key is missing, or the exchange cannot
            be reached.
        Refused: something on the exchange is not as it was signed.
    """
    folder = repository_folder(settings)
    with one_at_a_time(repository_lock(settings), BUSY):
        if (folder / METADATA / "timestamp.json").exists():
            raise UserError(f"{folder}: there is a repository already; nothing to restore")
        with open_place(settings.exchange) as place:
            _copy(place, folder, offline / "root.json")
    replace_keys(settings, [*ONLINE, "models"], offline)
    channels = load_repository(folder).channels
    return sum(len(releases(settings, recipe)) for recipe in channels)


def _copy(place: Place, folder: Path, root_file: Path) -> None:
    try:
        content = root_file.read_bytes()
        root = Metadata[Root].from_bytes(content)
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    except OSError as error:
        raise UserError(
            f"{root_file}: cannot be read: {error.strerror}; is the stick in?"
        ) from None
    except RepositoryError:
        raise UserError(f"{root_file}: not a root of trust of these keys") from None
    files: dict[str, bytes] = {}

    def get(name: str, limit: int) -> bytes:
        files[name] = place.get(f"models/{name}", limit)
        return files[name]

    name = "models"
    try:
        for version in range(1, root.signed.version + 1):
            get(f"{METADATA}/{version}.root.json", LARGEST_ROOT)
        while place.size(f"models/{METADATA}/{root.signed.version + 1}.root.json") is not None:
            name = f"{METADATA}/{root.signed.version + 1}.root.json"
            newer = Metadata[Root].from_bytes(get(name, LARGEST_ROOT))
            for delegator in (root, newer):
                delegator.signed.verify_delegate("root", newer.signed_bytes, newer.signatures)
            root = newer
        name = f"{METADATA}/timestamp.json"
        timestamp = Metadata[Timestamp].from_bytes(get(name, LARGEST_METADATA))
        _verify(root, "timestamp", timestamp)
        name = f"{METADATA}/{file_name('snapshot', timestamp.signed.snapshot_meta.version)}"
        snapshot = Metadata[Snapshot].from_bytes(get(name, LARGEST_METADATA))
        timestamp.signed.snapshot_meta.verify_length_and_hashes(files[name])
        _verify(root, "snapshot", snapshot)
        targets: Metadata[Targets] | None = None
        for file, meta in sorted(
            snapshot.signed.meta.items(), key=lambda m: m[0] != "targets.json"
        ):
            role = file.removesuffix(".json")
            name = f"{METADATA}/{file_name(role, meta.version)}"
            found = Metadata[Targets].from_bytes(get(name, LARGEST_METADATA))
            meta.verify_length_and_hashes(files[name])
            _verify(root if targets is None else targets, role, found)
            targets = targets or found
            for target in found.signed.targets.values():
                name = f"{TARGETS}/{prefixed(target)}"
                target.verify_length_and_hashes(get(name, max(LARGEST_REPORT, target.length)))
    except (RepositoryError, ValueError, KeyError) as error:
        raise Refused(f"{place.where}: {name}: not as it was signed ({str(error)[:100]})") from None
    for path, content in sorted(files.items(), key=lambda f: f[0].endswith("timestamp.json")):
        try:
            write_durably(folder / path, content)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {error.strerror}") from None


def _verify(delegator: Metadata[Any], role: str, metadata: Metadata[Any]) -> None:
    delegator.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
