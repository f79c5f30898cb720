"""What an exchange may offer and a device must refuse: said clearly, the running model untouched.

Every attack goes through the real command, `millsight device sync`.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import pytest
import tuf.ngclient._internal.trusted_metadata_set as tuf_clock
from onnx import TensorProto, helper, numpy_helper
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Timestamp

import device.update.client
from device.update.release import Companion, channel_path
from tests.device.update.conftest import Site
from trainer.publishing.publish import refresh


@pytest.fixture
def running(site: Site, three_models: list[Path]) -> Site:
    """The device runs the first model."""
    site.publish(three_models[0])
    status, said = site.sync()
    assert (status, "in use" in said) == (0, True), said
    return site


def refused(site: Site, *words: str) -> None:
    """The next sync is refused in one line that holds the words; nothing changes."""
    before = site.in_use()
    status, said = site.sync()
    assert status == 1, said
    assert "\n" not in said.strip()
    for word in words:
        assert word in said, said
    assert site.in_use() == before is not None
    assert any(said.endswith(text) for text in site.events("update-refused"))


def newest(site: Site, pattern: str) -> Path:
    """The file of the exchange that came last and fits."""
    return max(site.exchange.rglob(pattern), key=lambda path: path.stat().st_mtime_ns)


def flip(path: Path) -> None:
    """Change one byte."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def huge(path: Path) -> None:
    """Ten gigabytes of zeros, which the disk does not hold."""
    with path.open("r+b") as stream:
        stream.truncate(10 * 1024**3)


def cut(path: Path) -> None:
    """Half of it."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("pattern", ["*.onnx", "*.companion.json", "*.channel.json"])
@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (flip, "is not what was signed"),
        (cut, "is not what was signed"),
        (huge, "longer than was signed"),
        (Path.unlink, "is not there"),
    ],
)
def test_files_other_than_signed(
    running: Site,
    three_models: list[Path],
    attack: Callable[[Path], None],
    said: str,
    pattern: str,
) -> None:
    running.publish(three_models[1])
    attack(newest(running, pattern))
    refused(running, said, str(running.exchange.parent))
    refresh(running.settings, again=True)  # what was damaged is brought again
    assert running.sync()[0] == 0
    assert running.in_use() == hashlib.sha256(three_models[1].read_bytes()).hexdigest()


@pytest.mark.parametrize("pattern", ["timestamp.json", "*.snapshot.json", "*.recipe-my part.json"])
@pytest.mark.parametrize(("attack", "said"), [(flip, ""), (cut, ""), (huge, "longer than")])
def test_metadata_other_than_signed(
    running: Site,
    three_models: list[Path],
    attack: Callable[[Path], None],
    said: str,
    pattern: str,
) -> None:
    running.publish(three_models[1])
    attack(newest(running, pattern))
    refused(running, said, pattern.lstrip("*."))


def test_metadata_signed_with_another_key(running: Site, three_models: list[Path]) -> None:
    running.publish(three_models[1])
    path = running.exchange / "metadata/timestamp.json"
    timestamp = Metadata[Timestamp].from_file(str(path))
    timestamp.signed.version += 1
    timestamp.sign(CryptoSigner.generate_ed25519())
    timestamp.to_file(str(path))
    refused(running, "timestamp.json", "key that is not trusted")


def test_an_older_state_than_was_seen(running: Site, three_models: list[Path]) -> None:
    path = running.exchange / "metadata/timestamp.json"
    old = path.read_bytes()
    running.publish(three_models[1])
    assert running.sync()[0] == 0
    path.write_bytes(old)
    refused(running, "older than what was seen before")


def test_an_expired_state_is_not_taken_but_the_device_runs_on(
    running: Site, three_models: list[Path]
) -> None:
    running.publish(three_models[1])
    running.sign({}, timestamp_days=-1)
    refused(running, "has expired", "nothing new is taken")
    refused(running, "has expired")  # a second night says it again, but not as another event
    assert len(running.events("update-refused")) == 1
    refresh(running.settings)  # the trainer is back after the long weekend
    assert running.sync()[0] == 0
    assert running.in_use() == hashlib.sha256(three_models[1].read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("clock", "said"),
    [
        (datetime(1970, 1, 1, 0, 2, tzinfo=UTC), "the clock of this device says 1970"),
        (datetime.now(UTC) + timedelta(days=400), "unless the clock here is wrong"),
    ],
)
def test_a_wrong_clock(
    running: Site,
    three_models: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    clock: datetime,
    said: str,
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return clock

    running.publish(three_models[1])
    monkeypatch.setattr(device.update.client, "datetime", Clock)
    monkeypatch.setattr(tuf_clock.datetime, "datetime", Clock)
    refused(running, said)
    monkeypatch.undo()


def test_the_metadata_of_another_repository(
    running: Site, three_models: list[Path], tmp_path: Path
) -> None:
    """Somebody with keys of his own and everything signed well, but by them."""
    from trainer.publishing.keys import make_keys  # noqa: PLC0415
    from trainer.publishing.publish import publish  # noqa: PLC0415

    theirs = running.settings.model_copy(
        update={
            "exchange": running.settings.exchange.model_copy(update={"url": str(tmp_path / "x")}),
            "trainer": running.settings.trainer.model_copy(update={"data": tmp_path / "t"}),
        }
    )
    make_keys(theirs, tmp_path / "their stick")
    for _ in range(6):
        publish(theirs, three_models[1], running.plates[:12])
    for path in (tmp_path / "x/models").rglob("*"):
        if path.is_file():
            target = running.exchange / path.relative_to(tmp_path / "x/models")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    refused(running, "key that is not trusted")


def test_the_channel_of_another_recipe(running: Site, three_models: list[Path]) -> None:
    """The list of another recipe's releases under our name, even signed by our channel's key."""
    running.sign({channel_path("my part"): b'{"recipe": "other", "releases": []}'})
    refused(running, "the releases of recipe 'other', not of 'my part'")


# --- signed by the channel's key, and still not to be used -------------------------------------


def external_data(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "weight1")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"


def another_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["logits"], ["copy"]))


def another_domain(model: onnx.ModelProto) -> None:
    next(n for n in model.graph.node if n.op_type == "Relu").domain = "com.microsoft"


def a_function(model: onnx.ModelProto) -> None:
    relu = helper.make_node("Relu", ["a"], ["b"])
    opset = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("", "Relu", ["a"], ["b"], [relu], opset))


def a_subgraph(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [])
    attribute = helper.make_attribute("then_branch", branch)
    next(n for n in model.graph.node if n.op_type == "Relu").attribute.append(attribute)


def change_weight(model: onnx.ModelProto, name: str, value: float) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = value
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def nan_weight(model: onnx.ModelProto) -> None:
    change_weight(model, "weight3", np.nan)


def infinite_weight(model: onnx.ModelProto) -> None:
    change_weight(model, "dense_bias", -np.inf)


def too_large(model: onnx.ModelProto) -> None:
    model.producer_name = "x" * 400_000


def many_strides(model: onnx.ModelProto) -> None:
    node = next(n for n in model.graph.node if n.op_type == "MaxPool")
    node.attribute[0].ints[:] = [30_000, 30_000]


def change_metadata(model: onnx.ModelProto, **changes: object) -> None:
    values = json.loads(model.metadata_props[0].value) | changes
    helper.set_model_props(model, {"millsight": json.dumps(values)})


def other_classes(model: onnx.ModelProto) -> None:
    change_metadata(model, classes=["a", "b", "c", "d"], pass_classes=["a"])


def other_order(model: onnx.ModelProto) -> None:
    classes = json.loads(model.metadata_props[0].value)["classes"]
    change_metadata(model, classes=classes[::-1])


def everything_passes(model: onnx.ModelProto) -> None:
    classes = json.loads(model.metadata_props[0].value)["classes"]
    change_metadata(model, pass_classes=classes)


def other_weights(model: onnx.ModelProto) -> None:
    change_weight(model, "dense_bias", 50.0)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (external_data, "weights outside the file"),
        (another_operator, "operator 'Identity'"),
        (another_domain, "an operator of another domain"),
        (a_function, "functions of its own"),
        (a_subgraph, "a graph inside the graph"),
        (nan_weight, "'weight3' are not finite"),
        (infinite_weight, "'dense_bias' are not finite"),
        (too_large, "more than 578700"),
        (many_strides, "a setting of 30000"),
        (other_classes, "made for classes"),
        (other_order, "made for classes"),
        (everything_passes, "made for classes"),
        (other_weights, "self-test failed: golden patch"),
    ],
)
def test_a_signed_model_that_must_not_be_used(
    running: Site,
    three_models: list[Path],
    attack: Callable[[onnx.ModelProto], None],
    said: str,
) -> None:
    model = onnx.load(three_models[0])
    attack(model)
    bad = running.sign_anything(model.SerializeToString())
    refused(running, said)
    unfit = attack in {other_classes, other_order, everything_passes}  # the recipe may change
    if attack is not too_large and not unfit:  # that one was not even fetched
        status, text = running.sync()  # looked at once, not every night
        assert (status, f"{bad[:12]} is not taken" in text) == (0, True), text
        assert f"! {bad[:12]} refused" in running.run("device", "models")[1]
    running.publish(three_models[1])
    assert running.sync()[0] == 0
    assert running.in_use() == hashlib.sha256(three_models[1].read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("companion", "said"),
    [
        (b"not JSON", "not a companion"),
        (b'{"model": "x"}', "not a companion"),
        (b"[" * 100_000, "not a companion"),
    ],
)
def test_a_companion_that_is_none(
    running: Site, three_models: list[Path], companion: bytes, said: str
) -> None:
    running.sign_anything(three_models[1].read_bytes(), companion)
    refused(running, said)


def test_a_golden_patch_that_is_no_picture(running: Site, three_models: list[Path]) -> None:
    content = three_models[1].read_bytes()
    golden = running.golden()
    golden[3] = golden[3].model_copy(update={"png": "aGVsbG8="})
    companion = Companion(
        model=hashlib.sha256(content).hexdigest(), recipe="my part", patches=golden
    )
    running.sign_anything(content, companion.model_dump_json().encode())
    refused(running, "picture")


def test_the_companion_of_another_model(running: Site, three_models: list[Path]) -> None:
    companion = Companion(model="0" * 64, recipe="my part", patches=running.golden())
    running.sign_anything(three_models[1].read_bytes(), companion.model_dump_json().encode())
    refused(running, "of another release or recipe")
