"""Training runs of tests take one thread: the other core may be busy, and waiting costs more."""

import shutil
from pathlib import Path

import pytest
import torch

from config.settings import Settings
from device.exchange.push import push
from tests.filled import answer, device_settings, fill


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exchange with a good batch of box 1, and one of box 2 that is attacked."""
    folder = tmp_path_factory.mktemp("pushed")
    for name in ("box 1", "box 2"):
        box = device_settings(folder, name)
        answer(box, fill(box, 4))
        push(box)
    return folder / "exchange"


@pytest.fixture
def site(tmp_path: Path, pushed: Path) -> Settings:
    """A trainer that has merged nothing yet; the exchange is its own copy."""
    shutil.copytree(pushed, tmp_path / "exchange")
    return device_settings(tmp_path, "box 1")
