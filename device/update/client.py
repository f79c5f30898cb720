"""What a device believes of the exchange: The Update Framework's client over a `Place`.

Everything is verified from the pinned root down (python-tuf's `ngclient`): signatures, versions
that only grow, expiry, length and digest of every file. Nothing is fetched beyond the length that
was signed for it.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from tuf.api import exceptions as tuf_errors
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from config.errors import UserError
from config.settings import Settings
from device.exchange.place import Missing, Place, TooLarge, Unreachable
from device.exchange.trust import metadata_folder, root_path, trusted_root
from device.store.database import STORE_FILE, exclusive, open_store_of
from device.system.clock import CLOCK_OK_FROM_NS
from device.system.disk import need_disk
from device.system.durable import write_durably
from device.system.owner import give_to_owner_of_folder, make_folder
from device.update.memory import forget_taken

METADATA, TARGETS = "metadata", "targets"
"""Folders of the repository; on the exchange they lie below `models`."""


class Refused(UserError):
    """What the exchange offers must not be taken; the running model stays."""


class PlaceFetcher(FetcherInterface):
    """Fetches the objects of a `Place` for `Updater`, each within its bound."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.fetched = ""
        """The last object that was asked for."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotImplementedError(url)  # `download_file` is all that `Updater` calls

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """The object that a URL below `models/` names, of at most `max_length` bytes."""
        self.fetched = unquote(url) if url.startswith(f"models/{METADATA}/") else url
        try:
            content = self._place.get(self.fetched, max_length)
        except Missing as error:
            raise tuf_errors.DownloadHTTPError(str(error), 404) from None
        except TooLarge as error:
            raise tuf_errors.DownloadLengthMismatchError(str(error)) from None
        except ValueError as error:  # no name of an object
            raise tuf_errors.DownloadError(str(error)) from None
        yield io.BytesIO(content)


def role_of(recipe: str) -> str:
    """The role that signs a recipe's channel."""
    return f"recipe-{recipe}"


def pin_root(settings: Settings, content: bytes) -> Path:
    """Trust a root from now on; what was known of another root's repository is forgotten.

    Raises:
        UserError: it is no root, or cannot be kept.
    """
    from tuf.api.metadata import Metadata, Root  # noqa: PLC0415

    need_disk(settings)
    path = root_path(settings)
    try:
        root = Metadata[Root].from_bytes(content)
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    except (tuf_errors.RepositoryError, ValueError, AttributeError):
        raise UserError("not a root of trust; take root.json of the trainer's keys") from None
    try:
        if not path.is_file() or path.read_bytes() != content:
            for known in (metadata_folder(settings)).rglob("*"):
                if known.is_file() or known.is_symlink():
                    known.unlink()
            if (settings.device.data / STORE_FILE).is_file():
                db = open_store_of(settings)
                with exclusive(db):
                    forget_taken(db)
                db.close()
            write_durably(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    return path


class Client:
    """The verified view of the exchange's models; made for one sync."""

    def __init__(self, settings: Settings, place: Place) -> None:
        """Load the pinned root.

        Raises:
            UserError: there is none, or it is none.
        """
        if datetime.now(UTC).timestamp() * 1e9 < CLOCK_OK_FROM_NS:
            raise Refused(
                f"the clock of this device says {datetime.now(UTC):%Y-%m-%d %H:%M}, so nothing can "
                "be told to be fresh: nothing new is taken; set the clock"
            )
        self._folder = metadata_folder(settings)
        make_folder(self._folder)
        self._place = place
        self._fetcher = PlaceFetcher(place)
        with self._explained():
            self._updater = Updater(
                str(self._folder),
                f"models/{METADATA}/",
                target_base_url=f"models/{TARGETS}/",
                fetcher=self._fetcher,
                bootstrap=trusted_root(settings),
            )

    def refresh(self) -> None:
        """Fetch and verify what is current.

        Raises:
            Refused: something is not as it was signed, older than known, or expired.
            Unreachable: the exchange does not answer.
        """
        with self._explained():
            self._updater.refresh()

    def has(self, target: str) -> bool:
        """Whether a file of the repository is signed for.

        Raises:
            Refused: what should say so is not as it was signed.
            Unreachable: the exchange does not answer.
        """
        with self._explained():
            return self._updater.get_targetinfo(target) is not None

    def fetch(self, target: str, limit: int) -> bytes:
        """A file of the repository, whole and as signed.

        Raises:
            Refused: it is not signed for, over `limit` bytes, or not what was signed.
            Unreachable: the exchange does not answer.
        """
        with self._explained():
            found = self._updater.get_targetinfo(target)
        if found is None:
            raise Refused(f"{self._place.where}: {target} is signed by nobody; publish again")
        if found.length > limit:
            raise Refused(
                f"{self._place.where}: {target} has {found.length} bytes, more than {limit}; "
                "it was not fetched"
            )
        hashes = next(iter(found.hashes.values()))
        folder, _, base = target.rpartition("/")
        with (
            self._explained(),
            self._fetcher.download_file(
                f"models/{TARGETS}/{folder}/{hashes}.{base}", found.length
            ) as stream,
        ):
            content = stream.read()
            found.verify_length_and_hashes(content)
        return content

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what python-tuf says into a line for people."""
        try:
            yield
        except Unreachable:
            raise
        except tuf_errors.ExpiredMetadataError:
            raise Refused(self._say(
                f"has expired (by this device's clock, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC): "
                "nothing new is taken; the trainer's next night renews it, unless the clock here "
                "is wrong"
            )) from None  # fmt: skip
        except tuf_errors.BadVersionNumberError as error:
            raise Refused(
                self._say(f"is older than what was seen before, or of a wrong version ({error})")
            ) from None
        except tuf_errors.UnsignedMetadataError as error:
            raise Refused(
                self._say(f"was changed, or is signed with a key that is not trusted ({error})")
            ) from None
        except tuf_errors.DownloadLengthMismatchError:
            raise Refused(self._say("is longer than was signed for; it was cut off")) from None
        except tuf_errors.LengthOrHashMismatchError:
            raise Refused(self._say("is not what was signed: changed or cut short")) from None
        except tuf_errors.DownloadError as error:
            raise Refused(self._say(f"is not there ({str(error)[:200]})")) from None
        except (tuf_errors.RepositoryError, ValueError, KeyError) as error:
            raise Refused(self._say(f"cannot be read ({str(error)[:200]})")) from None
        finally:
            for known in self._folder.rglob("*"):  # python-tuf's files may be read by nobody else
                give_to_owner_of_folder(known)

    def _say(self, what: str) -> str:
        words = " ".join(what.split())
        return f"{self._place.where}: {self._fetcher.fetched or 'the root of trust'} {words}"
