"""Tests of the pixel formats of industrial cameras."""

import numpy as np
import pytest

from camera.pixels import to_grey

RED, GREEN, BLUE = (76, 150, 29)
"""Grey values of the pure colours (Rec. 601)."""


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_many_bits_become_eight(bits: int) -> None:
    wide = np.arange(256, dtype="<u2") << (bits - 8)
    grey = to_grey(wide.view(np.uint8), 16, 16, f"Mono{bits}")
    assert grey.dtype == np.uint8
    assert grey.ravel().tolist() == list(range(256))


def test_values_that_the_format_cannot_have_stay_white() -> None:
    wide = np.full(4, 0xFFFF, "<u2")
    assert to_grey(wide.view(np.uint8), 2, 2, "Mono12").tolist() == [[255, 255]] * 2


@pytest.mark.parametrize(
    ("pixel_format", "tile"),
    [("BayerRG8", "RGGB"), ("BayerGR8", "GRBG"), ("BayerGB8", "GBRG"), ("BayerBG8", "BGGR")],
)
@pytest.mark.parametrize(("colour", "grey"), [("R", RED), ("G", GREEN), ("B", BLUE)])
def test_a_mosaic_of_one_colour_has_that_colours_grey_everywhere(
    pixel_format: str, tile: str, colour: str, grey: int
) -> None:
    cell = np.array([255 * (letter == colour) for letter in tile], np.uint8).reshape(2, 2)
    image = to_grey(np.tile(cell, (8, 10)).ravel(), 20, 16, pixel_format)
    assert image.shape == (16, 20)
    assert np.abs(image[2:-2, 2:-2].astype(int) - grey).max() <= 1


@pytest.mark.parametrize(
    ("pixel_format", "first", "last"), [("RGB8", RED, BLUE), ("BGR8", BLUE, RED)]
)
def test_colours_become_grey(pixel_format: str, first: int, last: int) -> None:
    pixels = np.array([255, 0, 0, 0, 0, 255], np.uint8)
    assert to_grey(pixels, 2, 1, pixel_format).tolist() == [[first, last]]


@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono16", "RGB8", "BayerRG8"])
def test_what_did_not_arrive_is_black(pixel_format: str) -> None:
    assert to_grey(np.zeros(0, np.uint8), 6, 4, pixel_format).tolist() == [[0] * 6] * 4


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(ValueError, match="pixel format YUV is not known"):
        to_grey(np.zeros(4, np.uint8), 2, 2, "YUV")
