"""Light and contrast made alike everywhere in a frame."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from device.judging.levelling import CONTRAST, GREY, level


@pytest.fixture
def texture() -> NDArray[np.float64]:
    """Noise of mean 100 and deviation 12, 500 × 700 pixels."""
    return np.random.default_rng(0).normal(100, 12, (500, 700))


def as_bytes(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.asarray(image.round().clip(0, 255), np.uint8)


def test_every_place_gets_the_same_light_and_contrast(texture: NDArray[np.float64]) -> None:
    across = np.linspace(0.8, 1.2, texture.shape[1])
    found = level(as_bytes(texture * across))
    parts = np.split(found[100:400], 7, axis=1)
    assert all(abs(part.mean() - GREY) < 15 for part in parts)
    for part in parts[1:-1]:  # at the edges the surroundings are mirrored
        assert abs(part.mean() - GREY) < 2
        assert abs(part.std() - CONTRAST) < 4


def test_exposure_does_not_matter(texture: NDArray[np.float64]) -> None:
    bright, dark = level(as_bytes(texture + 60)), level(as_bytes(texture * 0.8))
    assert np.abs(bright.astype(int) - dark.astype(int)).mean() < 1.5


@settings(max_examples=25, deadline=None)
@given(st.integers(16, 400), st.integers(16, 400), st.integers(0, 255))
def test_a_flat_frame_of_any_size_is_grey(height: int, width: int, grey: int) -> None:
    found = level(np.full((height, width), grey, np.uint8))
    assert found.shape == (height, width)
    assert np.abs(found.astype(int) - GREY).max() <= 1
