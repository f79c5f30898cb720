"""What is opened at all: our exporter's files, and nothing that was bent."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.errors import UserError
from device.judging.model import load_model_bytes
from device.judging.onnx_file import OPERATORS, check_model_file
from export.graph import Weights, build_onnx
from tests.device.conftest import MakeModel, metadata

LAYERS = [(32, 1), (32, 32), (64, 32), (64, 64)]


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """What the exporter writes for both networks."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    convolutions = [(weights(out, into, 3, 3), weights(out)) for out, into in LAYERS]
    dense = (weights(4, 64), weights(4))
    return [
        build_onnx(Weights(kind, convolutions, dense), metadata(levelled=levelled))
        for kind in ("gapc", "gmpc")
        for levelled in (False, True)
    ]


def test_the_list_of_operators_is_the_exporters(files: list[bytes]) -> None:
    used = {node.op_type for file in files for node in onnx.load_from_string(file).graph.node}
    assert used == OPERATORS


def test_what_the_exporter_writes_is_opened(files: list[bytes]) -> None:
    for file in files:
        check_model_file(file, "model")
        load_model_bytes(file, "model")


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(UserError) as error:
        check_model_file(data, "model")
    assert "\n" not in str(error.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data())
def test_a_bent_file_is_opened_or_refused_and_nothing_else(
    files: list[bytes], data: st.DataObject
) -> None:
    content = bytearray(files[0])
    for _ in range(data.draw(st.integers(1, 4))):
        # Most of a file is weights; the structure lies in front and behind.
        near = st.integers(0, 3000)
        place = data.draw(near | near.map(lambda i: len(content) - 1 - i))
        content[place] = data.draw(st.integers(0, 255))
    try:
        check_model_file(bytes(content), "model")
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["weight1", "dense_bias", "epsilon"])
def test_weights_must_have_the_bytes_of_their_shape(make_model: MakeModel, name: str) -> None:
    model = onnx.load(make_model())
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.dims[:] = [7, 7]
    with pytest.raises(UserError, match="bytes for shape"):
        check_model_file(model.SerializeToString(), "model")


def test_a_huge_shape_does_not_ask_for_memory(make_model: MakeModel) -> None:
    model = onnx.load(make_model())
    model.graph.initializer[0].dims[:] = [2**40]
    with pytest.raises(UserError, match="of shape"):
        check_model_file(model.SerializeToString(), "model")


@pytest.mark.parametrize(
    ("kind", "values"),
    [(onnx.TensorProto.DOUBLE, [1.0]), (onnx.TensorProto.STRING, [b"x"])],
)
def test_other_data_types_are_refused(
    make_model: MakeModel, kind: int, values: list[Any], tmp_path: Path
) -> None:
    model = onnx.load(make_model(name=str(tmp_path / "m.onnx")))
    model.graph.initializer.append(onnx.helper.make_tensor("more", kind, [1], values))
    with pytest.raises(UserError, match="not a millsight model"):
        check_model_file(model.SerializeToString(), "model")
