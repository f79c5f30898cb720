"""Only the trainer acknowledges: whatever else stands there, no label counts as safe by it."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from config.settings import Settings
from device.exchange.acknowledgement import Acknowledgement, NotTrusted, Refusal, seal, unseal
from device.exchange.may_go import patches_that_may_go
from device.exchange.push import push
from device.store.database import open_store
from device.update.sync import models_lines
from tests.filled import answer, device_settings, fill
from trainer.labels.merge import merge
from trainer.publishing.keys import make_keys, replace_keys, signers

SAID = Acknowledgement(
    format=1, device="box", merged=["a"], refused=[Refusal(name="b", reason="c")], written_ns=5
)


@pytest.fixture
def box(tmp_path: Path) -> Settings:
    """A device that trusts its trainer's keys and has sent four answers."""
    settings = device_settings(tmp_path, "box")
    make_keys(settings, tmp_path / "stick")
    answer(settings, fill(settings, 6)[:4])
    push(settings)
    return settings


def file_of(settings: Settings) -> Path:
    return Path(settings.exchange.url, "acknowledged", "box.json")


def may_go(settings: Settings) -> int:
    db = open_store(settings.device.data)
    ids = patches_that_may_go(db)
    db.close()
    return len(ids)


def test_what_the_trainer_signed_is_believed(box: Settings) -> None:
    merge(box)
    assert push(box).acknowledged == 1
    assert may_go(box) == 4


def signed_by_another(true: bytes) -> bytes:
    said = unseal(true, None)
    return seal(said, [CryptoSigner.generate_ed25519()])


def unsigned(true: bytes) -> bytes:
    return seal(unseal(true, None), [])


def changed(true: bytes) -> bytes:
    envelope = json.loads(true)
    said = json.loads(base64.b64decode(envelope["payload"])) | {"written_ns": 1}
    envelope["payload"] = base64.b64encode(json.dumps(said).encode()).decode()
    return json.dumps(envelope).encode()


def bare(true: bytes) -> bytes:
    return unseal(true, None).model_dump_json().encode()


def cut_short(true: bytes) -> bytes:
    return true[: len(true) // 2]


def another_payload(true: bytes) -> bytes:
    return json.dumps(json.loads(true) | {"payloadType": "text/plain"}).encode()


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (signed_by_another, "signed with a key that is not trusted"),
        (unsigned, "is not signed"),
        (changed, "was changed"),
        (bare, "is no acknowledgement"),
        (cut_short, "is no acknowledgement"),
        (another_payload, "is no acknowledgement"),
    ],
)
def test_a_forged_one_makes_nothing_safe(box: Settings, forge, reason: str) -> None:  # type: ignore[no-untyped-def]
    merge(box)
    true = file_of(box).read_bytes()
    file_of(box).write_bytes(forge(true))
    done = push(box)
    assert done.acknowledged == 0
    assert reason in done.refused[0]
    assert may_go(box) == 0
    merge(box)  # the trainer finds what is not its own, and says it again
    assert push(box).acknowledged == 1
    assert may_go(box) == 4


def test_one_for_another_device_is_not_taken(box: Settings) -> None:
    merge(box)
    true = unseal(file_of(box).read_bytes(), None)
    keys = signers(box)("timestamp")
    file_of(box).write_bytes(seal(true.model_copy(update={"device": "other"}), keys))
    done = push(box)
    assert done.acknowledged == 0
    assert "is for 'other'" in done.refused[0]


def test_a_replaced_key_is_followed(box: Settings, tmp_path: Path) -> None:
    merge(box)
    list(models_lines(box))
    old = file_of(box).read_bytes()
    replace_keys(box, ["timestamp"], tmp_path / "stick")
    merge(box)  # nothing new but the key
    assert push(box).acknowledged == 0, "the device has not seen the new root yet"
    list(models_lines(box))
    assert push(box).acknowledged == 1
    file_of(box).write_bytes(old)
    assert "not trusted" in push(box).refused[0], "the old key is no longer believed"


def test_without_a_root_of_trust_the_exchange_is_believed(tmp_path: Path) -> None:
    settings = device_settings(tmp_path, "box")
    answer(settings, fill(settings, 6)[:4])
    push(settings)
    merge(settings)
    assert push(settings).acknowledged == 1


@given(content=st.one_of(st.binary(), st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["payload", "payloadType", "signatures", "keyid", "sig"]), inner
    ),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_nothing_else_than_an_envelope_is_read(content: bytes) -> None:
    with pytest.raises(NotTrusted):
        unseal(content, [])


def test_what_was_sealed_comes_out() -> None:
    key = CryptoSigner.generate_ed25519()
    sealed = seal(SAID, [key])
    assert unseal(sealed, [key.public_key]) == unseal(sealed, None) == SAID
    with pytest.raises(NotTrusted, match="cannot be verified"):
        unseal(sealed, [])
