"""Training runs of tests take one thread: the other core may be busy, and waiting costs more."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
