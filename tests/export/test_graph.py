"""The hand-written ONNX graph against PyTorch and against torch's own exporter."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from device.judging.model import load_model, load_model_bytes
from export.graph import build_onnx
from tests.device.conftest import metadata
from trainer.learning.networks import GlobalPoolingNet, weights_of

Kind = Literal["gapc", "gmpc"]


@pytest.fixture(params=["gapc", "gmpc"])
def network(request: pytest.FixtureRequest) -> GlobalPoolingNet:
    torch.manual_seed(3)
    kind: Kind = request.param
    return GlobalPoolingNet(kind, 4).eval()


def patches(count: int = 12) -> np.ndarray:
    rng = np.random.default_rng(1)
    made = rng.integers(0, 256, (count, 200, 200), dtype=np.uint8)
    made[0] = 0
    made[1] = 255
    made[2] = np.arange(200, dtype=np.uint8)
    return made


def test_every_output_equals_pytorchs(network: GlobalPoolingNet) -> None:
    model = load_model_bytes(build_onnx(weights_of(network), metadata(network=network.kind)), "m")
    found = model.outputs(patches())
    with torch.inference_mode():
        batch = torch.from_numpy(patches())
        expected = network(batch)
        maps = network.activation_maps(batch)
    log_p = torch.log_softmax(expected.logits, 1)
    np.testing.assert_allclose(found.log_probabilities, log_p, atol=1e-5)
    np.testing.assert_allclose(found.features, expected.features, atol=1e-5)
    np.testing.assert_allclose(found.activation_maps, maps, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's exporter uses torch's old ways
def test_equals_what_torchs_exporter_makes(network: GlobalPoolingNet, tmp_path: Path) -> None:
    class LogProbabilities(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.log_softmax(network(batch).logits, 1)

    path = tmp_path / "torch.onnx"
    torch.onnx.export(
        LogProbabilities().eval(),
        (torch.from_numpy(patches(3)),),
        path,
        dynamo=True,
        external_data=False,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        verbose=False,
    )
    theirs = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = theirs.run(None, {theirs.get_inputs()[0].name: patches()})[0]
    ours = load_model_bytes(build_onnx(weights_of(network), metadata()), "m")
    np.testing.assert_allclose(ours.log_probabilities(patches()), expected, atol=1e-5)


def test_one_small_file_of_standard_operators_only(network: GlobalPoolingNet) -> None:
    content = build_onnx(weights_of(network), metadata())
    model = onnx.load_from_string(content)
    assert len(content) < 270_000
    assert {opset.domain for opset in model.opset_import} == {""}
    assert all(node.domain == "" for node in model.graph.node)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    weights = sum(
        int(np.prod(t.dims)) for t in model.graph.initializer if t.name.startswith("weight")
    )
    assert weights == 9 * 32 + 9 * 32 * 32 + 9 * 32 * 64 + 9 * 64 * 64


def test_the_same_weights_give_the_same_bytes(network: GlobalPoolingNet) -> None:
    first = build_onnx(weights_of(network), metadata())
    assert build_onnx(weights_of(network), metadata()) == first


def test_layer_sizes_are_those_of_table_1(network: GlobalPoolingNet) -> None:
    inferred = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(build_onnx(weights_of(network), metadata()))
    )
    sizes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim[1:]]
        for value in inferred.graph.value_info
    }
    assert sizes["relu1"] == [32, 100, 100]
    assert sizes["relu2"] == [32, 50, 50]
    assert sizes["pool1"] == [32, 25, 25]
    assert sizes["relu3"] == [64, 13, 13]
    assert sizes["relu4"] == [64, 13, 13]
    assert sizes["pool2"] == [64, 6, 6]
    assert sizes["pooled"] == [64, 1, 1]


def test_a_map_adds_up_to_its_logit_where_pooling_is_an_average() -> None:
    """Fig. 9: a class activation map tells where a logit comes from."""
    torch.manual_seed(0)
    network = GlobalPoolingNet("gapc", 4).eval()
    with torch.inference_mode():
        batch = torch.from_numpy(patches(3))
        maps = network.activation_maps(batch)
        weight = network.dense.weight
        features = network.base(torch.nn.functional.instance_norm(batch.float()[:, None], eps=1.0))
        expected = torch.einsum("cf,nfhw->nchw", weight, features)
    np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_load_model_reads_what_was_written(network: GlobalPoolingNet, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    written = metadata(network=network.kind, metrics={"held_out_accuracy": 0.5}, labels=7)
    path.write_bytes(build_onnx(weights_of(network), written))
    assert load_model(path).metadata == written
