"""Near-identical patches are found; another plate, or a defect on the same plate, is not."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from camera.milled_steel import CLASSES, random_patch
from device.judging.alike import ROUNDING, Seen, coarse, fingerprint, standardised

PLATES = np.stack([random_patch(i, CLASSES[i % 4]).image for i in range(40)])


def seen_again(plate: NDArray[np.uint8], seed: int, noise: float = 3) -> NDArray[np.uint8]:
    """The same plate in the next frame: sensor noise, and a light that flickers."""
    rng = np.random.default_rng(seed)
    grey = plate * rng.uniform(0.9, 1) + rng.uniform(-5, 0) + rng.normal(0, noise, plate.shape)
    return np.asarray(np.clip(grey, 0, 255), np.uint8)


def marked(plate: NDArray[np.uint8], x: int, y: int, grey: int) -> NDArray[np.uint8]:
    """The same plate with a scratch of 20 × 2 pixels."""
    scratch = np.zeros(plate.shape, np.uint8)
    cv2.line(scratch, (x, y), (x + 14, y + 14), 255, 2)
    return np.asarray(np.clip(plate + grey * (scratch / 255), 0, 255), np.uint8)


@pytest.fixture(scope="module")
def seen() -> Seen:
    remembered = Seen()
    for i, plate in enumerate(PLATES):
        remembered.add(str(i), fingerprint(plate))
    return remembered


Pictures = hnp.arrays(np.uint8, (50, 50), elements=st.integers(0, 255))


@given(Pictures, Pictures, st.sampled_from([0, 1, 4, 5, 9]))
def test_a_coarse_fingerprint_never_hides_an_alike_one(
    picture: NDArray[np.uint8], other: NDArray[np.uint8], noise: int
) -> None:
    mixed = np.where(np.arange(2500).reshape(50, 50) % 10 < noise, other, picture)
    a, b = standardised(picture.tobytes()), standardised(mixed.tobytes())
    assert coarse(a) @ coarse(b) >= a @ b / a.size - ROUNDING


@hypothesis_settings(deadline=None)
@given(st.integers(0, 39), st.integers(0, 10**6))
def test_the_same_plate_seen_again_is_found(seen: Seen, number: int, seed: int) -> None:
    assert seen.find(fingerprint(seen_again(PLATES[number], seed))) == str(number)


@hypothesis_settings(deadline=None)
@given(
    st.integers(0, 39), st.integers(0, 10**6), st.integers(20, 160), st.integers(20, 160),
    st.sampled_from([-60, 60]),
)  # fmt: skip
def test_a_new_scratch_on_the_same_plate_is_another_patch(
    seen: Seen, number: int, seed: int, x: int, y: int, grey: int
) -> None:
    scratched = marked(seen_again(PLATES[number], seed), x, y, grey)
    assert seen.find(fingerprint(scratched)) is None


def test_other_plates_of_the_same_class_are_other_patches() -> None:
    remembered = Seen()
    for i in range(200):  # more than it makes room for at first
        print_ = fingerprint(random_patch(1000 + i, CLASSES[i % 4]).image)
        assert remembered.find(print_) is None
        remembered.add(str(i), print_)
    assert remembered.find(print_) == "199"


def test_empty_pictures_are_no_trouble(seen: Seen) -> None:
    assert seen.find(fingerprint(np.full((200, 200), 7, np.uint8))) is None
    assert Seen().find(fingerprint(PLATES[0])) is None


def test_a_forgotten_patch_stands_for_nothing_and_the_others_still_do() -> None:
    plates = [random_patch(i, CLASSES[i % 4]).image for i in range(70)]  # more than there is room
    some = Seen()
    for i, plate in enumerate(plates):
        some.add(str(i), fingerprint(plate))
    for gone in ("69", "0", "33", "never there"):
        some.forget(gone)
    for i, plate in enumerate(plates):
        expected = None if i in {0, 33, 69} else str(i)
        assert some.find(fingerprint(plate)) == expected
    some.add("33", fingerprint(plates[33]))
    assert some.find(fingerprint(plates[33])) == "33"
