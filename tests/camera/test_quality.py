"""Tests of the frame-quality gate."""

import shutil
import socket
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from camera.folder import find_images, read_grey
from camera.process import ProcessSource, stream_reader
from camera.quality import FAULTS, QualityGate, drawn_share, sharpness
from camera.source import GreyImage
from camera.vmc220 import render_frame
from config.settings import Live, OpencvSource, Quality, Vmc220Source

OFF = Quality(
    min_sharpness=0,
    min_contrast=0,
    max_dark_share=1,
    max_bright_share=1,
    max_drawn_share=1,
    frozen_after=0,
)


def noise(seed: int = 0, low: int = 60, high: int = 190) -> GreyImage:
    return np.random.default_rng(seed).integers(low, high, (100, 120), dtype=np.uint8)


def mostly(value: int) -> GreyImage:
    image = noise()
    image[:95] = value
    return image


def blurred() -> GreyImage:
    """A slope of grey from edge to edge: contrast, and nothing fine in it."""
    return np.tile(np.linspace(40, 200, 120), (100, 1)).astype(np.uint8)


def colour_bars() -> GreyImage:
    """EBU bars as grey values (Rec. 601), as a converter without a camera sends them."""
    bars = np.array([255, 226, 179, 150, 105, 76, 29, 0], np.uint8)
    return np.tile(np.repeat(bars, 80), (480, 1))


PICTURES = {
    "no-signal": colour_bars(),
    "dark": mostly(2),
    "bright": mostly(254),
    "empty": noise(0, 100, 103),
    "blurred": blurred(),
}


@pytest.mark.parametrize("name", PICTURES)
def test_each_fault_is_found_and_has_its_name(name: str) -> None:
    assert QualityGate(Quality()).fault(PICTURES[name]) == name
    assert name in FAULTS


@pytest.mark.parametrize("name", PICTURES)
def test_each_fault_is_found_in_a_picture_of_which_only_some_rows_are_looked_at(name: str) -> None:
    picture = PICTURES[name]
    tall = np.repeat(picture, 1024 // len(picture) + 1, axis=0)
    if name in {"dark", "bright", "empty"}:  # else noise would be smooth downwards
        tall = np.tile(picture, (11, 1))
    assert QualityGate(Quality()).fault(tall) == name


def test_a_tall_picture_is_as_sharp_as_its_rows() -> None:
    tall = np.random.default_rng(0).integers(60, 190, (1100, 120), dtype=np.uint8)
    assert sharpness(tall) == pytest.approx(sharpness(tall[:400]), rel=0.05)
    gate = QualityGate(Quality())
    assert gate.fault(tall) is None
    assert gate.looks is not None
    assert gate.looks.mean == pytest.approx(tall.mean(), abs=1)
    assert gate.looks.contrast == pytest.approx(tall.std(), abs=1)


def test_a_row_of_a_tall_picture_is_held_against_its_neighbour() -> None:
    values = np.random.default_rng(0).integers(60, 190, (256, 1), dtype=np.uint8)
    bands = np.tile(np.repeat(values, 4, axis=0), (1, 120))  # each four rows high
    assert sharpness(bands) < 0.01


def test_one_equal_row_does_not_make_a_picture_frozen() -> None:
    gate = QualityGate(Quality(frozen_after=2))
    first, second = noise(0), noise(1)
    second[50] = first[50]
    assert gate.fault(first) is None
    assert gate.fault(second) is None
    assert gate.fault(second.copy()) == "frozen"


@pytest.mark.parametrize("name", PICTURES)
def test_each_threshold_can_be_switched_off(name: str) -> None:
    key = {
        "no-signal": {"max_drawn_share": 1.0},
        "dark": {"max_dark_share": 1.0},
        "bright": {"max_bright_share": 1.0},
        "empty": {"min_contrast": 0.0},
        "blurred": {"min_sharpness": 0.0},
    }[name]
    gate = QualityGate(Quality.model_validate(key))
    assert gate.fault(PICTURES[name]) is None


def test_a_sharp_picture_has_no_fault() -> None:
    assert QualityGate(Quality()).fault(noise()) is None


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_of_one_value_is_a_fault_unless_all_is_off(value: int) -> None:
    flat = np.full((50, 50), value, np.uint8)
    assert QualityGate(Quality()).fault(flat) in FAULTS
    assert QualityGate(OFF).fault(flat) is None


def test_dark_and_bright_begin_at_the_grey_values_of_the_docs() -> None:
    gate = QualityGate(Quality(frozen_after=0, min_contrast=0, min_sharpness=0))
    faults = {v: gate.fault(np.full((20, 20), v, np.uint8)) for v in (4, 5, 250, 251)}
    assert faults == {4: "dark", 5: None, 250: None, 251: "bright"}


def test_a_share_right_at_the_limit_is_good() -> None:
    image = noise()
    image[:50] = 0  # half of it
    gate = QualityGate(Quality(max_dark_share=0.5))
    assert gate.fault(image) is None
    image[50, 0] = 0
    assert gate.fault(image) == "dark"


@pytest.mark.parametrize("quality", [95, 50, 20])
def test_colour_bars_are_known_also_after_jpeg(quality: int) -> None:
    jpeg = cv2.imencode(".jpg", colour_bars(), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    image = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE), np.uint8)
    assert QualityGate(Quality()).fault(image) == "no-signal"


def test_the_no_signal_picture_of_a_real_streamer_is_known() -> None:
    if not shutil.which("ustreamer"):
        pytest.skip("no ustreamer: apt install ustreamer")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["ustreamer", "--device=/dev/video77", "--host=127.0.0.1", f"--port={port}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        settings = OpencvSource(address=f"http://127.0.0.1:{port}/stream")
        source = ProcessSource(stream_reader(settings), Live(retry_first_s=0.1), print)
        frame = next(source.frames())
        source.close()
        server.terminate()
    gate = QualityGate(Quality())
    assert [gate.fault(frame.image) for _ in range(4)] == ["no-signal"] * 4, "and not dark, frozen"


def test_a_dark_picture_with_hot_pixels_and_a_bright_one_with_holes_keep_their_names() -> None:
    hot = np.zeros((480, 640), np.uint8)
    hot[np.random.default_rng(0).random(hot.shape) < 0.002] = 200
    assert QualityGate(Quality()).fault(hot) == "dark"
    assert QualityGate(Quality()).fault(255 - hot) == "bright"


def test_drawn_share_is_what_it_says() -> None:
    image = np.zeros((101, 101), np.uint8)
    image[:, 50:] = 200
    assert drawn_share(image) == pytest.approx(0.99)  # one column of 100 has another neighbour
    assert drawn_share(np.full((50, 50), 7, np.uint8)) == 0
    assert drawn_share(noise()) == 0
    assert drawn_share(image[:1]) == 0


def test_frozen_from_the_third_same_picture_on_until_another_comes() -> None:
    gate = QualityGate(Quality(frozen_after=3))
    one, two = noise(1), noise(2)
    faults = [gate.fault(image.copy()) for image in (one, one, one, one, two, one, one, one)]
    assert faults == [None, None, "frozen", "frozen", None, None, None, "frozen"]


def test_frozen_can_be_switched_off_and_one_other_pixel_is_another_picture() -> None:
    assert {QualityGate(Quality(frozen_after=0)).fault(noise()) for _ in range(9)} == {None}
    gate = QualityGate(Quality(frozen_after=2))
    image = noise()
    for i in range(5):
        image = image.copy()
        image[0, i] ^= 1
        assert gate.fault(image) is None


def test_a_picture_of_another_size_is_not_frozen() -> None:
    gate = QualityGate(Quality(frozen_after=2))
    assert [gate.fault(noise()[:, :n]) for n in (100, 99, 100)] == [None] * 3


def test_sharpness_knows_smooth_from_noise() -> None:
    assert sharpness(np.full((50, 50), 7, np.uint8)) == 0
    assert sharpness(noise()) == pytest.approx(1, abs=0.05)
    checks = (np.indices((50, 50)).sum(0) % 2 * 255).astype(np.uint8)
    assert sharpness(checks) == pytest.approx(2, abs=0.05)
    assert sharpness(blurred()) < 0.001


@pytest.mark.parametrize("turned", [False, True])
def test_a_surface_smooth_along_its_marks_is_sharp(turned: bool) -> None:
    stripes = np.tile(noise()[:1], (100, 1))
    assert sharpness(np.ascontiguousarray(stripes.T) if turned else stripes) > 0.8


def test_blur_lowers_sharpness_step_by_step() -> None:
    image = render_frame(Vmc220Source(), 1).image
    steps = [sharpness(np.asarray(cv2.GaussianBlur(image, (0, 0), s))) for s in (0.5, 1, 2, 4, 8)]
    assert sharpness(image) > steps[0]
    assert steps == sorted(steps, reverse=True)


pictures = arrays.arrays(
    np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)
)


@settings(deadline=None)
@given(pictures)
def test_sharpness_of_any_picture_is_between_0_and_2(image: GreyImage) -> None:
    assert 0 <= sharpness(image) <= 2 + 1e-9


@settings(deadline=None)
@given(pictures, st.integers(0, 127))
def test_brightness_without_clipping_does_not_change_sharpness(
    image: GreyImage, brighter: int
) -> None:
    image = image // 2
    assert sharpness(image + np.uint8(brighter)) == pytest.approx(sharpness(image), rel=1e-6)


@settings(deadline=None)
@given(pictures)
def test_any_picture_gets_a_known_fault_or_none(image: GreyImage) -> None:
    assert QualityGate(Quality()).fault(image) in (*FAULTS, None)
    assert QualityGate(OFF).fault(image) is None


def test_all_real_steel_passes_the_default_gate(neu_cls: Path) -> None:
    gate = QualityGate(Quality())
    files = find_images(neu_cls)
    assert len(files) == 1800
    faults = {path.name: fault for path in files if (fault := gate.fault(read_grey(path)))}
    assert faults == {}
    assert max(drawn_share(read_grey(path)) for path in files) < 0.5


def test_simulated_plates_pass_the_default_gate() -> None:
    gate = QualityGate(Quality())
    assert {gate.fault(render_frame(Vmc220Source(), i).image) for i in range(100)} == {None}
