"""Plates for the models of these tests."""

import numpy as np
from numpy.typing import NDArray

from camera.milled_steel import CLASSES, random_patch


def sample_plates(count: int = 48) -> NDArray[np.uint8]:
    """Simulated plates, uint8 [count, 200, 200], the four classes in turn."""
    return np.stack([random_patch(i, CLASSES[i % 4]).image for i in range(count)])
