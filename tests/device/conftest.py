"""A device to test: settings over a temporary folder, and a small real model."""

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from camera.milled_steel import CLASSES, random_patch
from config.settings import Asking, Camera, Device, Exchange, FolderSource, Recipe, Settings
from device.judging.kls import fit_baselines
from device.judging.model import FORMAT, ModelMetadata
from export.export import export_model
from trainer.learning.networks import GlobalPoolingNet, predict_log_probabilities, weights_of


@pytest.fixture(scope="session")
def plates() -> NDArray[np.uint8]:
    """120 simulated patches, uint8 [120, 200, 200], the four classes in turn."""
    return np.stack([random_patch(i, CLASSES[i % 4]).image for i in range(120)])


@pytest.fixture(scope="session")
def plate_folder(tmp_path_factory: pytest.TempPathFactory, plates: NDArray[np.uint8]) -> Path:
    """The same as PNG files in class folders."""
    folder = tmp_path_factory.mktemp("plates")
    for i, plate in enumerate(plates):
        path = folder / CLASSES[i % 4] / f"{i:03}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(cv2.imencode(".png", plate)[1].tobytes())
    return folder


def metadata(**changes: object) -> ModelMetadata:
    """Metadata of a model for the simulated classes."""
    values: dict[str, object] = {
        "format": FORMAT,
        "network": "gapc",
        "classes": list(CLASSES),
        "pass_classes": ["clean"],
        "strategy": "kls",
        "baselines": [None] * 4,
        "baseline_counts": [0] * 4,
        "thresholds": [None] * 4,
        "labels": 0,
        "labels_digest": "",
        "metrics": {},
        "parent": None,
        "seed": 0,
        "code_version": "0",
        "created_at": "2026-01-01T00:00:00+00:00",
    }
    return ModelMetadata.model_validate(values | changes)


MakeModel = Callable[..., Path]


_MADE: dict[tuple[int, bytes, str], bytes] = {}
"""Model files by seed, patches and changes: an export takes a second, and many tests want one."""


def model_file(path: Path, plates: NDArray[np.uint8], seed: int = 0, **changes: object) -> Path:
    """Write a model with random weights, and baselines from the simulated patches."""
    key = (seed, hashlib.sha256(plates.tobytes()).digest(), repr(sorted(changes.items())))
    if key in _MADE:
        path.write_bytes(_MADE[key])
    else:
        _MADE[key] = _export(path, plates, seed, **changes).read_bytes()
    return path


def _export(path: Path, plates: NDArray[np.uint8], seed: int, **changes: object) -> Path:
    torch.manual_seed(seed)
    network = GlobalPoolingNet("gapc", 4).eval()
    with torch.no_grad():  # spread the predictions over the classes
        features = network(torch.from_numpy(plates)).features
        network.dense.weight *= 8
        network.dense.bias[:] = -(network.dense.weight @ features.mean(0))
    log_p = predict_log_probabilities(network, torch.from_numpy(plates)).numpy()
    fitted = fit_baselines(log_p)
    rows = [
        row.tolist() if count else None
        for row, count in zip(fitted.pdc, fitted.counts, strict=True)
    ]
    values = {"baselines": rows, "baseline_counts": fitted.counts.tolist()}
    values |= {"thresholds": [0.05] * 4} | changes
    export_model(weights_of(network), metadata(**values), plates, log_p, path)
    return path


def wider_model(
    path: Path, plates: NDArray[np.uint8], classes: list[str], **changes: object
) -> Path:
    """A model file with random weights for these classes."""
    network = GlobalPoolingNet("gapc", len(classes)).eval()
    log_p = predict_log_probabilities(network, torch.from_numpy(plates)).numpy()
    count = len(classes)
    rows = [[1 / count] * count] * count
    values: dict[str, object] = {"classes": classes, "baselines": rows}
    values |= {"baseline_counts": [1] * count, "thresholds": [10.0] * count}
    export_model(weights_of(network), metadata(**values | changes), plates, log_p, path)
    return path


@pytest.fixture
def make_model(tmp_path: Path, plates: NDArray[np.uint8]) -> MakeModel:
    """Makes a model file, as `model_file` does."""

    def make(seed: int = 0, name: str = "model.onnx", **changes: object) -> Path:
        return model_file(tmp_path / name, plates, seed, **changes)

    return make


def device_in(folder: Path, plate_folder: Path) -> Settings:
    """A device in a folder, which inspects plates from another."""
    return Settings(
        device=Device(name="box", data=folder / "data", recipes=folder / "recipes"),
        camera=Camera(source="folder", folder=FolderSource(path=plate_folder)),
        recipe=Recipe(classes=list(CLASSES), pass_classes=["clean"]),
        asking=Asking(k=5, cold_start=20, audit_share=0),
        exchange=Exchange(url=str(folder / "exchange")),
    )


@pytest.fixture
def settings(tmp_path: Path, plate_folder: Path) -> Settings:
    """A device that inspects the simulated patches from their folder."""
    return device_in(tmp_path, plate_folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB with 61 MB of ballast to remove; mounting it needs root."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    (folder / "ballast").write_bytes(bytes(61 * 1024 * 1024))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
