"""What a device believes of its batches: `acknowledged/<device>.json`, signed by the trainer.

A label may leave a device once it is acknowledged, so who can write to the exchange must not be
able to acknowledge. The envelope is DSSE (securesystemslib), signed with the trainer's `timestamp`
key, which the device knows from the root of trust that verifies its models. A device that trusts
no root has nothing to verify with, and believes its exchange.
"""

import json
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SigningError
from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from config.settings import Settings
from device.exchange.trust import metadata_folder, read_root, root_path

LARGEST_ACKNOWLEDGEMENT = 16 * 1024 * 1024
PAYLOAD = "application/vnd.millsight.acknowledgement+json"


class Refusal(BaseModel):
    """A batch that the trainer did not merge."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    reason: str


class Doubted(BaseModel):
    """A label that the trainer doubts (`device.store.second_look`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    patch_id: str
    label_id: str
    reason: str


class Acknowledgement(BaseModel):
    """What came of a device's batches. Written by the trainer."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    device: str
    merged: list[str]
    refused: list[Refusal]
    doubts: list[Doubted] = []
    """Labels of the device that shall be asked again."""
    written_ns: int
    """Wall clock of the trainer."""


class NotTrusted(ValueError):
    """An acknowledgement that must not be believed; its text says why."""


def acknowledgement_name(device: str) -> str:
    """Where a device finds what came of its batches."""
    return f"acknowledged/{device}.json"


def seal(said: Acknowledgement, signers: Sequence[Signer]) -> bytes:
    """The signed envelope of an acknowledgement; without signers it is signed by nobody."""
    envelope = Envelope(said.model_dump_json().encode(), PAYLOAD, {})
    for signer in signers:
        envelope.sign(signer)
    return json.dumps(envelope.to_dict()).encode()


def unseal(content: bytes, keys: Sequence[Key] | None) -> Acknowledgement:
    """What an envelope holds; `keys`: one of them must have signed it, None: nobody need.

    Raises:
        NotTrusted: it is no acknowledgement, was changed, or is signed with another key.
    """
    envelope = _opened(content)
    if keys is not None:
        if not envelope.signatures:
            raise NotTrusted("is not signed")
        if not keys:
            raise NotTrusted("cannot be verified: the root of trust cannot be read")
        try:
            envelope.verify(list(keys), 1)
        except SigningError:
            raise NotTrusted("was changed, or is signed with a key that is not trusted") from None
    try:
        return Acknowledgement.model_validate_json(envelope.payload)
    except ValidationError:
        raise NotTrusted("is no acknowledgement") from None


def signed_by(content: bytes) -> set[str]:
    """The ids of the keys that an envelope says have signed it.

    Raises:
        NotTrusted: it is no envelope.
    """
    return set(_opened(content).signatures)


def _opened(content: bytes) -> Envelope:
    try:
        envelope = Envelope.from_dict(json.loads(content))
    except (SigningError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NotTrusted("is no acknowledgement") from None
    if envelope.payload_type != PAYLOAD:
        raise NotTrusted("is no acknowledgement")
    return envelope


def trusted_keys(settings: Settings) -> list[Key] | None:
    """The keys whose acknowledgements a device believes; None: it trusts no root, so any.

    They are those of the newest root that the last `millsight device sync` has verified.
    """
    newest = metadata_folder(settings) / "root.json"
    path = newest if newest.exists() else root_path(settings)
    if not path.exists():
        return None
    try:
        root = Metadata[Root].from_bytes(read_root(path)).signed
    except (RepositoryError, ValueError):
        return []
    return [root.keys[keyid] for keyid in root.roles["timestamp"].keyids]
