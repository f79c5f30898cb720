"""Which release a device takes, and what it says of the others."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from config.document import to_toml
from config.load import load_settings
from config.recipes import Under
from device.judging.model import load_model_bytes
from device.models.models_in_use import in_force
from device.store.database import open_store
from device.update.client import pin_root
from device.update.release import RollOut, make_companion, place_in_roll_out
from device.update.take_in import take_in
from device.upkeep.mend_model import mend_model
from tests.device.conftest import model_file
from tests.device.update.conftest import Site
from tests.servers import S3Server, running
from trainer.publishing.keys import make_keys
from trainer.publishing.publish import publish, refresh, set_roll_out, withdraw


def identity(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_without_a_root_of_trust_nothing_is_taken(site: Site, three_models: list[Path]) -> None:
    site.publish(three_models[0])
    root = site.settings.device.data / "trusted-root.json"
    content = root.read_bytes()
    root.unlink()
    status, said = site.sync()
    assert status == 0
    assert "bring the trainer's root.json here by hand" in said
    assert site.in_use() is None
    (site.settings.device.data / "brought.json").write_bytes(content)
    status, said = site.run("device", "trust", str(site.settings.device.data / "brought.json"))
    assert (status, "fingerprint" in said) == (0, True)
    assert site.sync()[0] == 0
    assert site.in_use() == identity(three_models[0])


@pytest.mark.parametrize("content", [b"", b"{}", b'{"signed": {}}', b"\x00" * 1000])
def test_what_is_no_root_is_not_pinned(site: Site, content: bytes, tmp_path: Path) -> None:
    before = (site.settings.device.data / "trusted-root.json").read_bytes()
    (tmp_path / "root.json").write_bytes(content)
    status, said = site.run("device", "trust", str(tmp_path / "root.json"))
    assert (status, "not a root of trust" in said) == (1, True)
    assert (site.settings.device.data / "trusted-root.json").read_bytes() == before


def test_the_newest_is_taken_once(site: Site, three_models: list[Path]) -> None:
    assert "nothing is published" in site.sync()[1]
    for file in three_models[:2]:
        site.publish(file)
    assert "release 2" in site.sync()[1]
    assert site.in_use() == identity(three_models[1])
    assert "the newest for this device" in site.sync()[1]
    assert len(site.events("update")) == 1


def damage_of(kind: str, file: Path) -> None:
    if kind == "lost":
        file.unlink()
        return
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1  # in the weights: it still opens
    file.write_bytes(content)


@pytest.mark.parametrize("kind", ["lost", "one bit"])
def test_a_damaged_model_in_use_comes_again_and_keeps_no_other_back(
    site: Site, three_models: list[Path], kind: str
) -> None:
    for file in three_models[:2]:
        site.publish(file)
        assert site.sync()[0] == 0
    path = site.settings.device.data / "models" / f"{identity(three_models[1])}.onnx"
    damage_of(kind, path)
    status, said = site.sync()
    assert (status, "lost or damaged" in said) == (0, True), said
    assert site.in_use() == identity(three_models[1])
    damage_of(kind, path)
    site.publish(three_models[2])
    status, said = site.sync()
    assert status == 0, said
    assert site.in_use() == identity(three_models[2])


def test_a_damaged_model_comes_again_after_the_one_before_took_its_place(
    site: Site, three_models: list[Path]
) -> None:
    for file in three_models[:2]:
        site.publish(file)
        site.sync()
    first, second = map(identity, three_models[:2])
    damage_of("lost", site.settings.device.data / "models" / f"{second}.onnx")
    db = open_store(site.settings.device.data)
    assert mend_model(db, site.settings, second, "") is not None
    db.close()
    assert site.in_use() == first
    assert site.sync()[0] == 0
    assert site.in_use() == second


def test_publishing_a_model_again_changes_nothing(site: Site, three_models: list[Path]) -> None:
    first = site.publish(three_models[0])
    assert site.publish(three_models[0]) == first


def test_a_staged_roll_out_widens(site: Site, three_models: list[Path]) -> None:
    site.publish(three_models[0])
    site.sync()
    site.publish(three_models[1], RollOut(devices=["another"], percent=0))
    assert "the newest for this device" in site.sync()[1]
    new = identity(three_models[1])
    place = place_in_roll_out("box", new)
    status, said = site.run("trainer", "rollout", new[:12], "--percent", f"{place - 0.01}")
    assert status == 0, said
    site.sync()
    assert site.in_use() == identity(three_models[0])
    site.run("trainer", "rollout", new[:12], "--percent", f"{place + 0.01}")
    site.sync()
    assert site.in_use() == new


def test_a_named_device_gets_it_first(site: Site, three_models: list[Path]) -> None:
    site.publish(three_models[0], RollOut(devices=["box"], percent=0))
    site.sync()
    assert site.in_use() == identity(three_models[0])


@given(
    st.text(min_size=1, max_size=20), st.integers(0, 2**64), st.floats(0, 100), st.floats(0, 100)
)
def test_who_is_in_stays_in(device: str, model: int, a: float, b: float) -> None:
    small, large = (RollOut(percent=p) for p in sorted((a, b)))
    if small.includes(device, f"{model:064x}"):
        assert large.includes(device, f"{model:064x}")


def test_a_share_is_about_that_share_of_devices() -> None:
    roll_out = RollOut(percent=20)
    chosen = sum(roll_out.includes(f"box-{i}", "a" * 64) for i in range(5000))
    assert 850 < chosen < 1150  # 1000 ± 5 standard deviations


def test_a_withdrawn_model_is_left_for_the_one_before(site: Site, three_models: list[Path]) -> None:
    for file in three_models[:2]:
        site.publish(file)
        site.sync()
    withdraw(site.settings, identity(three_models[1])[:8], "scratches on aluminium")
    assert "scratches on aluminium" in site.sync()[1]
    assert site.in_use() == identity(three_models[0])
    assert "on probation" not in site.run("device", "models")[1]
    site.publish(three_models[2])
    site.sync()
    assert site.in_use() == identity(three_models[2])


def test_publishing_a_withdrawn_model_is_said_to_reach_nobody(
    site: Site, three_models: list[Path]
) -> None:
    release = site.publish(three_models[0])
    withdraw(site.settings, release.model[:8], "calls oil a scratch")
    status, said = site.run("trainer", "publish", str(three_models[0]))
    assert (status, "was withdrawn: calls oil a scratch" in said) == (1, True)


def test_a_withdrawn_model_is_left_though_the_one_before_was_refused(
    site: Site, three_models: list[Path]
) -> None:
    """What was refused here stands in the way of no older one that was not."""
    for file in three_models[:2]:
        site.publish(file)
        site.sync()
    first, _, withdrawn = (identity(file) for file in three_models)
    site.run("device", "rollback", first[:12], "--who", "anna")
    site.publish(three_models[2])
    site.sync()
    assert site.in_use() == withdrawn
    withdraw(site.settings, withdrawn[:8], "calls oil a scratch")
    assert "calls oil a scratch" in site.sync()[1]
    assert site.in_use() == first
    withdraw(site.settings, first[:8], "calls rust a patch")
    assert (
        f"{first[:12]} was withdrawn: calls rust a patch; nothing else is published"
        in site.sync()[1]
    )
    assert site.in_use() == first


def test_a_model_that_came_before_its_recipe_is_taken_once_the_recipe_is_there(
    site: Site, three_models: list[Path], plates: NDArray[np.uint8], tmp_path: Path
) -> None:
    """The trainer knows of a changed recipe a day before the device does."""
    site.publish(three_models[0])
    site.sync()
    passes = ["clean", "scratch"]
    model = model_file(tmp_path / "passes.onnx", plates, 3, pass_classes=passes)
    recipe = site.settings.recipe.model_copy(update={"pass_classes": passes})
    changed = site.settings.model_copy(update={"recipe": recipe})
    publish(changed, model, site.plates[:12])
    for _ in range(2):
        status, said = site.sync()
        assert (status, "made for classes" in said) == (1, True)
    assert site.in_use() == identity(three_models[0])
    assert len(site.events("update-refused")) == 1
    site.config.write_text(to_toml(changed))
    assert "release 2" in site.sync()[1]
    assert site.in_use() == identity(model)


def test_a_model_of_a_newer_format_is_taken_once_the_program_is_newer(
    site: Site, three_models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.publish(three_models[0])
    site.sync()
    newer = onnx.load(three_models[1])
    said = json.loads(newer.metadata_props[0].value) | {"format": 2}
    helper.set_model_props(newer, {"millsight": json.dumps(said)})
    with monkeypatch.context() as update:
        update.setattr("device.judging.model.FORMAT", 2)
        model = load_model_bytes(newer.SerializeToString(), "newer")
        companion = make_companion(model, "my part", site.plates[:12], 12).model_dump_json()
        model_id = site.sign_anything(newer.SerializeToString(), companion.encode())
    assert "update millsight" in site.sync()[1]
    with monkeypatch.context() as update:
        update.setattr("device.judging.model.FORMAT", 2)
        assert "release 2" in site.sync()[1]
        assert site.in_use() == model_id


def test_under_another_root_releases_are_counted_anew(
    site: Site, three_models: list[Path], tmp_path: Path
) -> None:
    """Both sticks were lost: new keys, a new exchange, and on every device `device trust`."""
    for file in three_models[:2]:
        site.publish(file)
    site.sync()
    trainer = site.settings.trainer.model_copy(update={"data": tmp_path / "new trainer"})
    exchange = site.settings.exchange.model_copy(update={"url": str(tmp_path / "new exchange")})
    site.settings = site.settings.model_copy(update={"trainer": trainer, "exchange": exchange})
    site.config.write_text(to_toml(site.settings))
    make_keys(site.settings, tmp_path / "new stick")
    site.publish(three_models[2])
    assert site.run("device", "trust", str(tmp_path / "new stick" / "root.json"))[0] == 0
    assert "release 1" in site.sync()[1]
    assert site.in_use() == identity(three_models[2])


def test_a_model_that_was_rolled_back_by_hand_is_not_taken_again(
    site: Site, three_models: list[Path]
) -> None:
    for file in three_models[:2]:
        site.publish(file)
        site.sync()
    old, new = (identity(file) for file in three_models[:2])
    assert site.run("device", "rollback", old[:12], "--who", "anna")[0] == 0
    assert f"{new[:12]} is not taken: rolled back by anna" in site.sync()[1]
    assert site.in_use() == old
    assert "not taken again: rolled back by anna" in site.run("device", "models")[1]
    site.publish(three_models[2])
    site.sync()
    assert site.in_use() == identity(three_models[2])


def test_an_older_release_is_not_taken_after_a_newer_one(
    site: Site, three_models: list[Path]
) -> None:
    site.publish(three_models[0])
    site.publish(three_models[1])
    site.sync()
    set_roll_out(site.settings, identity(three_models[1]), RollOut(percent=0))
    assert "is older than what was in use here" in site.sync()[1]
    assert site.in_use() == identity(three_models[1])


def test_only_the_last_models_stay_published(site: Site, three_models: list[Path]) -> None:
    settings = site.settings.model_copy(
        update={
            "trainer": site.settings.trainer.model_copy(
                update={"publish": site.settings.trainer.publish.model_copy(update={"keep": 2})}
            )
        }
    )
    for file in three_models:
        publish(settings, file, site.plates[:4])
    kept = site.run("trainer", "releases")[1].splitlines()
    assert [line.split()[0] for line in kept] == ["2", "3"]
    local = settings.trainer.data / "repository" / "targets"
    assert not list(local.rglob(f"*.{identity(three_models[0])}.onnx"))
    assert list(local.rglob(f"*.{identity(three_models[1])}.onnx"))


def test_the_other_recipes_channel_is_its_own(site: Site, three_models: list[Path]) -> None:
    """Another recipe needs the offline key once; its models are not offered to this one."""
    recipe = site.settings.recipe.model_copy(update={"name": "other"})
    other = site.settings.model_copy(update={"recipe": recipe})
    config = site.config.with_name("other.toml")
    config.write_text(to_toml(other))
    site.publish(three_models[0])
    from config.errors import UserError  # noqa: PLC0415
    from trainer.publishing.keys import replace_keys  # noqa: PLC0415

    with pytest.raises(UserError, match="has no channel yet"):
        publish(load_settings(config), three_models[1], site.plates[:4])
    replace_keys(load_settings(config), [], site.offline)
    publish(load_settings(config), three_models[1], site.plates[:4])
    site.sync()
    assert site.in_use() == identity(three_models[0])


def test_an_exchange_that_takes_nothing_more_keeps_no_model_back(
    site: Site, three_models: list[Path]
) -> None:
    """A quota that is used up, or a disk that was mounted read-only: models can be read."""
    site.publish(three_models[0])
    site.sync()  # what this brings about is what the next one has to send
    (site.exchange.parent / "labels").write_text("no folder: nothing can be put below it")
    site.publish(three_models[1])
    status, said = site.sync()
    assert status == 1
    assert "\n" not in said.strip()
    assert "labels" in said
    assert site.in_use() == identity(three_models[1])
    assert site.events("update-refused") == []


def test_an_exchange_that_does_not_answer_leaves_everything(
    site: Site, three_models: list[Path]
) -> None:
    site.publish(three_models[0])
    site.sync()
    exchange = Path(site.settings.exchange.url)
    exchange.rename(exchange.with_name("away"))
    exchange.write_text("a file where the folder was")
    status, said = site.sync()
    assert status == 1
    assert "\n" not in said.strip()
    assert site.in_use() == identity(three_models[0])
    assert site.events("update-refused") == [said.removeprefix("millsight: ")]


def test_the_whole_way_over_s3(site: Site, three_models: list[Path], tmp_path: Path) -> None:
    with running(S3Server, tmp_path / "s3") as server:
        settings = site.settings.model_copy(
            update={
                "exchange": server.exchange(),
                "trainer": site.settings.trainer.model_copy(update={"data": tmp_path / "s3t"}),
            }
        )
        make_keys(settings, tmp_path / "s3 stick")
        pin_root(settings, (tmp_path / "s3 stick" / "root.json").read_bytes())
        db = open_store(settings.device.data)
        from device.exchange.opening import open_place  # noqa: PLC0415

        for file in three_models[:2]:
            publish(settings, file, site.plates[:4])
            with open_place(settings.exchange) as place:
                take_in(db, place, [Under(settings)])
            assert in_force(db).model_id == identity(file)
        refresh(settings)
        with open_place(settings.exchange) as place:
            (taken,) = take_in(db, place, [Under(settings)])
        assert taken.choice is not None
        assert taken.choice.release is None
        db.close()
