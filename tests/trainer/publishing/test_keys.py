"""Keys: made, kept offline, replaced, lost; devices follow."""

import hashlib
import shutil
from pathlib import Path

import pytest

from config.errors import UserError
from tests.device.conftest import plate_folder, plates
from tests.device.update.conftest import Site, site, three_models
from trainer.publishing.keys import key_folder, make_keys, replace_keys, role_states
from trainer.publishing.publish import refresh
from trainer.publishing.restore import restore_repository

__all__ = ["plate_folder", "plates", "site", "three_models"]


def identity(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_keys_are_readable_by_their_owner_only(site: Site) -> None:
    keys = [*key_folder(site.settings).iterdir(), *site.offline.glob("*.pem")]
    assert len(keys) == 5
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}


def test_keys_are_made_once(site: Site) -> None:
    with pytest.raises(UserError, match="already; replace keys with"):
        make_keys(site.settings, site.offline)


def test_anothers_exchange_is_not_taken_over(site: Site, tmp_path: Path) -> None:
    trainer = site.settings.trainer.model_copy(update={"data": tmp_path / "second trainer"})
    with pytest.raises(UserError, match="the models of another trainer's keys"):
        make_keys(site.settings.model_copy(update={"trainer": trainer}), tmp_path / "stick 2")


def test_publishing_needs_no_offline_key(site: Site, three_models: list[Path]) -> None:
    site.offline.rename(site.offline.with_name("drawer"))
    site.publish(three_models[0])
    refresh(site.settings)
    assert site.sync()[0] == 0
    assert site.in_use() == identity(three_models[0])


@pytest.mark.parametrize("folder", ["nothing here", "drawer"])
def test_a_missing_or_wrong_stick_is_named(site: Site, tmp_path: Path, folder: str) -> None:
    other = tmp_path / "drawer"
    other.mkdir()
    (other / "root-0123456789ab.pem").write_text("-----BEGIN")
    before = sorted(path.name for path in site.exchange.rglob("*"))
    status, said = site.run("trainer", "keys", "rotate", "--offline", str(tmp_path / folder))
    assert status == 1
    assert "\n" not in said.strip()
    assert str(tmp_path / folder) in said
    assert sorted(path.name for path in site.exchange.rglob("*")) == before


def test_devices_follow_every_rotation(site: Site, three_models: list[Path]) -> None:
    site.publish(three_models[0])
    assert site.sync()[0] == 0
    before = {state.role: state.keys for state in role_states(site.settings)}
    for roles in ([], ["timestamp"], ["snapshot"], ["models"], ["targets"], ["root"]):
        replace_keys(site.settings, roles, site.offline)
        status, said = site.sync()
        assert status == 0, said
    after = {state.role: state.keys for state in role_states(site.settings)}
    assert all(before[role] != after[role] for role in before)
    assert len(list(site.offline.glob("*.pem"))) == 2  # the old ones are gone
    assert len(list(key_folder(site.settings).glob("*.pem"))) == 3
    site.publish(three_models[1])
    assert site.sync()[0] == 0
    assert site.in_use() == identity(three_models[1])


def test_a_device_that_slept_through_rotations_follows(
    site: Site, three_models: list[Path]
) -> None:
    for roles in (["root"], ["timestamp", "models"], ["root", "targets"]):
        replace_keys(site.settings, roles, site.offline)
    site.publish(three_models[0])
    status, said = site.sync()  # its pinned root is the very first one
    assert status == 0, said
    assert site.in_use() == identity(three_models[0])


def test_a_replaced_key_signs_no_more(site: Site, three_models: list[Path]) -> None:
    site.publish(three_models[0])
    site.sync()
    stolen = key_folder(site.settings).with_name("stolen")
    shutil.copytree(key_folder(site.settings), stolen)
    replace_keys(site.settings, ["snapshot", "timestamp", "models"], site.offline)
    assert site.sync()[0] == 0
    shutil.rmtree(key_folder(site.settings))
    stolen.rename(key_folder(site.settings))
    with pytest.raises(UserError, match="the key of role recipe-my part is not in"):
        site.publish(three_models[1])


def test_a_lost_online_key_is_replaced(site: Site, three_models: list[Path]) -> None:
    site.publish(three_models[0])
    site.sync()
    for path in key_folder(site.settings).iterdir():
        path.unlink()
    with pytest.raises(UserError, match="millsight trainer keys rotate --offline"):
        refresh(site.settings)
    replace_keys(site.settings, ["snapshot", "timestamp", "models"], site.offline)
    site.publish(three_models[1])
    assert site.sync()[0] == 0
    assert site.in_use() == identity(three_models[1])


def test_a_spare_stick_is_enough(site: Site, tmp_path: Path, three_models: list[Path]) -> None:
    spare = tmp_path / "spare"
    replace_keys(site.settings, ["root", "targets"], site.offline, spare=spare)
    shutil.rmtree(site.offline)  # lost
    replace_keys(site.settings, ["root", "targets"], spare, new_offline=tmp_path / "new stick")
    site.publish(three_models[0])
    assert site.sync()[0] == 0
    assert {p.name for p in (tmp_path / "new stick").glob("*.pem")} >= set()
    replace_keys(site.settings, ["timestamp"], tmp_path / "new stick")
    assert site.sync()[0] == 0


def test_a_lost_trainer_is_replaced(site: Site, three_models: list[Path]) -> None:
    site.publish(three_models[0])
    site.sync()
    shutil.rmtree(site.settings.trainer.data)
    assert restore_repository(site.settings, site.offline) == 1
    site.publish(three_models[1])
    status, said = site.sync()
    assert status == 0, said
    assert site.in_use() == identity(three_models[1])


def test_a_trainer_restored_from_its_copy_publishes_over_what_it_forgot(
    site: Site, three_models: list[Path], tmp_path: Path
) -> None:
    """The same versions are on the exchange already, of the same size, and say something else."""
    site.publish(three_models[0])
    site.sync()
    shutil.copytree(site.settings.trainer.data, tmp_path / "copy")
    site.publish(three_models[1])
    shutil.rmtree(site.settings.trainer.data)
    shutil.copytree(tmp_path / "copy", site.settings.trainer.data)
    site.publish(three_models[2])
    status, said = site.sync()
    assert status == 0, said
    assert site.in_use() == identity(three_models[2])


def test_a_tampered_exchange_is_not_restored_from(site: Site, three_models: list[Path]) -> None:
    site.publish(three_models[0])
    shutil.rmtree(site.settings.trainer.data)
    path = next(site.exchange.rglob("*.onnx"))
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(UserError, match="not as it was signed"):
        restore_repository(site.settings, site.offline)


def test_encrypted_keys_need_their_passphrase(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLSIGHT_OFFLINE_PASSPHRASE", "a long one")
    new = tmp_path / "encrypted"
    replace_keys(site.settings, ["root", "targets"], site.offline, new_offline=new)
    assert all(b"ENCRYPTED" in path.read_bytes() for path in new.glob("*.pem"))
    replace_keys(site.settings, ["root"], new)
    monkeypatch.setenv("MILLSIGHT_OFFLINE_PASSPHRASE", "wrong")
    with pytest.raises(UserError, match="the passphrase does not fit"):
        replace_keys(site.settings, ["root"], new)
    monkeypatch.delenv("MILLSIGHT_OFFLINE_PASSPHRASE")
    with pytest.raises(UserError, match="is encrypted; set"):
        replace_keys(site.settings, ["root"], new)


def test_an_offline_signature_that_soon_expires_is_told(site: Site) -> None:
    publishing = site.settings.trainer.publish.model_copy(update={"root_days": 80.0})
    trainer = site.settings.trainer.model_copy(update={"publish": publishing})
    replace_keys(site.settings.model_copy(update={"trainer": trainer}), [], site.offline)
    warnings = refresh(site.settings)
    assert len(warnings) == 1
    assert "role root expires in 80 days" in warnings[0]
