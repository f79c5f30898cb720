"""A model that is much slower than the one in use is not taken."""

import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from config.settings import Update
from device.judging.model import Model, load_model
from device.update.client import Refused
from device.update.selftest import check_speed


def test_a_slower_model_is_refused_and_an_equal_one_is_not(
    three_models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = load_model(three_models[0]), load_model(three_models[1])
    own = Model.log_probabilities

    def log_probabilities(model: Model, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        result = own(model, patches)
        if model is slow:
            time.sleep(0.2)
        return result

    monkeypatch.setattr(Model, "log_probabilities", log_probabilities)
    with pytest.raises(Refused, match="times as long as with the model in use"):
        check_speed(slow, quick, Update())
    check_speed(quick, slow, Update())
    check_speed(slow, None, Update())
