"""Nothing leaves the trainer that is not proven equal to what was trained."""

from pathlib import Path

import numpy as np
import pytest
import torch

from config.errors import UserError
from export.export import compare, export_model
from tests.device.conftest import metadata
from trainer.learning.networks import GlobalPoolingNet, predict_log_probabilities, weights_of


def setup(classes: int = 4) -> tuple[GlobalPoolingNet, np.ndarray, np.ndarray]:
    torch.manual_seed(0)
    network = GlobalPoolingNet("gapc", classes).eval()
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (6, 200, 200), dtype=np.uint8)
    return network, patches, predict_log_probabilities(network, torch.from_numpy(patches)).numpy()


def test_a_good_model_is_written_whole(tmp_path: Path) -> None:
    network, patches, expected = setup()
    path = tmp_path / "new" / "m.onnx"
    model, parity = export_model(weights_of(network), metadata(), patches, expected, path)
    assert path.stat().st_size == model.size < 578_700
    assert parity.patches == 6
    assert parity.largest_difference < 1e-5
    assert parity.other_class == 0
    assert [file.name for file in path.parent.iterdir()] == ["m.onnx"]


def test_a_difference_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    network, patches, expected = setup()
    path = tmp_path / "m.onnx"
    path.write_bytes(b"the model before")
    wrong = expected.copy()
    wrong[3, 1] += 2e-4
    with pytest.raises(UserError, match=r"differ.*not exported; the model in use stays"):
        export_model(weights_of(network), metadata(), patches, wrong, path)
    assert path.read_bytes() == b"the model before"


def test_another_most_probable_class_is_refused(tmp_path: Path) -> None:
    network, patches, _expected = setup()
    network.dense.bias.data[:] = 0
    network.dense.weight.data[:] = 0
    exact = predict_log_probabilities(network, torch.from_numpy(patches)).numpy()
    tied = exact.copy()
    tied[:, 2] += 1e-6  # well inside the allowed difference, yet another class
    with pytest.raises(UserError, match="another class for 6 of 6"):
        export_model(weights_of(network), metadata(), patches, tied, tmp_path / "m.onnx")


def test_a_prediction_that_is_not_a_number_is_not_equal() -> None:
    broken = np.array([[np.nan, 0.0]])
    assert not compare(np.array([[-1.0, 0.0]]), broken).good


def test_a_file_over_the_papers_size_is_refused(tmp_path: Path) -> None:
    classes = 700
    network, patches, expected = setup(classes)
    wide = metadata(
        classes=[f"c{i}" for i in range(classes)], pass_classes=[], baselines=[None] * classes,
        baseline_counts=[0] * classes, thresholds=[None] * classes,
    )  # fmt: skip
    with pytest.raises(UserError, match="more than 578700"):
        export_model(weights_of(network), wide, patches, expected, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    network, patches, expected = setup()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/m\.onnx: cannot be written"):
        export_model(weights_of(network), metadata(), patches, expected, tmp_path / "file/m.onnx")
