"""Loading models: what is refused, and how it is said."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from config.errors import UserError
from device.judging.model import METADATA_KEY, load_model
from tests.device.conftest import MakeModel


def changed(path: Path, **metadata: object) -> Path:
    """The model with other metadata; a value of ... takes the key away."""
    model = onnx.load(path)
    values = json.loads(model.metadata_props[0].value) | metadata
    values = {k: v for k, v in values.items() if v is not ...}
    helper.set_model_props(model, {METADATA_KEY: json.dumps(values)})
    onnx.save(model, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        load_model(path)
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_outputs_have_the_contracts_shapes(make_model: MakeModel, plates: np.ndarray) -> None:
    model = load_model(make_model())
    for count in (1, 2, 5):
        outputs = model.outputs(plates[:count])
        assert outputs.log_probabilities.shape == (count, 4)
        assert outputs.features.shape == (count, 64)
        assert outputs.activation_maps.shape == (count, 4, 13, 13)
        assert all(output.dtype == np.float32 for output in outputs)
        np.testing.assert_allclose(
            model.log_probabilities(plates[:count]), outputs.log_probabilities, atol=1e-5
        )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "nothing.onnx")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("hello")
    assert "not an ONNX model" in refusal(path)


def test_a_huge_file_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as stream:
        stream.truncate(10 * 1024**3)
    assert "not a millsight model" in refusal(path)


@pytest.mark.parametrize("keep", [0, 100, 100_000, 264_000])
def test_a_truncated_model_is_refused(make_model: MakeModel, keep: int) -> None:
    path = make_model()
    path.write_bytes(path.read_bytes()[:keep])
    refusal(path)


def test_a_model_of_somebody_else_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["b"])],
        "other",
        [value("a", TensorProto.FLOAT, [1])],
        [value("b", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "other.onnx"
    onnx.save(model, path)
    assert "not a millsight model" in refusal(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "format 2"),
        ({"format": ...}, "format None"),
        ({"classes": ["a", "b", "c"]}, "4 classes"),
        ({"classes": ["clean", "clean", "b", "c"]}, "each once"),
        ({"thresholds": [0.1]}, "thresholds"),
        ({"thresholds": [-1.0] * 4}, "threshold"),
        ({"baselines": [[0.9, 0.9, 0.0, 0.0]] * 4}, "distribution"),
        ({"baselines": [[1.0]] * 4}, "distribution"),
        ({"pass_classes": ["perfect"]}, "pass_classes"),
        ({"strategy": "guess"}, "strategy"),
        ({"labels": ...}, "labels"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_metadata_that_breaks_the_contract_is_refused(
    make_model: MakeModel, changes: dict[str, object], said: str
) -> None:
    path = make_model()
    if "classes" in changes and len(changes["classes"]) == 3:  # type: ignore[arg-type]
        changes |= {"pass_classes": [], "baselines": [None] * 3, "thresholds": [None] * 3}
        changes |= {"baseline_counts": [0] * 3}
        said = "has 4 classes, its metadata names 3"
    assert said in refusal(changed(path, **changes))


def test_metadata_that_is_not_json_is_refused(make_model: MakeModel) -> None:
    path = make_model()
    model = onnx.load(path)
    helper.set_model_props(model, {METADATA_KEY: "{"})
    onnx.save(model, path)
    assert "not JSON" in refusal(path)


@pytest.mark.parametrize("name", ["weight1", "weight4", "dense_weight"])
def test_weights_that_are_not_a_number_are_refused(make_model: MakeModel, name: str) -> None:
    path = make_model()
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            values = numpy_helper.to_array(tensor).copy()
            values.flat[0] = np.nan
            tensor.CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, path)
    assert "not finite" in refusal(path)


def test_an_output_that_is_no_probability_is_refused(make_model: MakeModel) -> None:
    path = make_model()
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "LogSoftmax":
            node.op_type = "Relu"
            del node.attribute[:]
    onnx.save(model, path)
    assert "do not sum to 1" in refusal(path)


def test_another_input_is_refused(make_model: MakeModel) -> None:
    path = make_model()
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 100
    onnx.save(model, path)
    assert "input" in refusal(path)
