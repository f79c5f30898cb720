"""Tests of the milled steel renderer."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

import camera.milled_steel as ms

DEFECTS = ms.CLASSES[1:]


def _twins(seed: int, name: str) -> tuple[ms.Plate, ms.Plate]:
    """The same plate with and without one defect."""
    rng = np.random.default_rng(seed)
    defect = ms.random_defect(rng, name)
    milling, optics = ms.random_milling(rng), ms.random_optics(rng)
    marked = ms.render_plate(seed, ms.PATCH_SIZE, milling, optics, [defect])
    return marked, ms.render_plate(seed, ms.PATCH_SIZE, milling, optics)


def _power(milling: ms.Milling, pixel_mm: float, seed: int = 3) -> np.ndarray:
    """Mean power spectrum along the feed, one bin per cycle on 1280 pixels."""
    optics = ms.Optics(pixel_mm=pixel_mm, blur_px=0.0, light_angle_deg=0.0)
    still = replace(milling, path_offset_mm=0.0, feed_angle_deg=0.0, back_cut=0.0, irregularity=0.0)
    image = ms.render_plate(seed, (200, 1280), still, optics).image.astype(np.float64)
    window = np.hanning(1280)
    spectrum = np.fft.rfft((image - image.mean(1, keepdims=True)) * window, axis=1)
    return np.asarray((np.abs(spectrum) ** 2).mean(0))


def test_class_names() -> None:
    assert ms.CLASSES == ("clean", "patch", "pitted_surface", "scratch")


def test_table_6() -> None:
    assert ms.TABLE_6["spindle_rpm"] == (2000.0, 2500.0, 3000.0)
    assert ms.TABLE_6["depth_mm"] == (0.2, 0.15, 0.1)
    assert ms.TABLE_6["feed_per_tooth_mm"] == (0.005, 0.01, 0.015)


@pytest.mark.parametrize("name", ms.CLASSES)
def test_same_seed_same_picture(name: str) -> None:
    one, two = ms.random_patch(7, name), ms.random_patch(7, name)
    assert one.image.tobytes() == two.image.tobytes()
    assert [d.box for d in one.defects] == [d.box for d in two.defects]
    assert not np.array_equal(one.image, ms.random_patch(8, name).image)


@pytest.mark.parametrize("size", [(200, 200), (200, 333), (480, 640), (1024, 1280)])
def test_size_and_type(size: tuple[int, int]) -> None:
    image = ms.render_plate(1, size).image
    assert image.shape == size
    assert image.dtype == np.uint8
    assert 40 < image.mean() < 220
    assert image.std() > 4


@pytest.mark.parametrize("size", [(199, 200), (200, 1281)])
def test_refuses_other_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="size"):
        ms.render_plate(1, size)


@pytest.mark.parametrize("name", ["clean", "dent"])
def test_refuses_other_defects(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        ms.random_defect(np.random.default_rng(0), name)


def test_refuses_defect_outside_the_plate() -> None:
    far = replace(ms.random_defect(np.random.default_rng(0), "scratch"), centre=(900, 900))
    with pytest.raises(ValueError, match="outside"):
        ms.render_plate(1, defects=[far])


def test_clean_has_no_defects() -> None:
    assert ms.random_patch(5, "clean").defects == ()


@pytest.mark.parametrize("name", DEFECTS)
@pytest.mark.parametrize("size", [(200, 200), (600, 800)])
def test_box_inside_plate(name: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(11)
    defects = [ms.random_defect(rng, name, size) for _ in range(40)]
    plate = ms.render_plate(rng, size, defects=defects)
    assert len(plate.defects) == 40
    for truth in plate.defects:
        x, y, width, height = truth.box
        assert truth.name == name
        assert x >= 0 and y >= 0 and width > 0 and height > 0
        assert x + width <= size[1] and y + height <= size[0]
        assert truth.mask.shape == (height, width)
        assert truth.mask.dtype == np.bool_
        assert truth.mask[0].any() and truth.mask[:, 0].any()


@pytest.mark.parametrize("name", DEFECTS)
@pytest.mark.parametrize("seed", range(40))
def test_defect_leaves_evidence_in_its_box(name: str, seed: int) -> None:
    marked, clean = _twins(seed, name)
    (truth,) = marked.defects
    x, y, width, height = truth.box
    change = np.abs(marked.image.astype(int) - clean.image.astype(int))
    inside = change[y : y + height, x : x + width][truth.mask]
    assert inside.size >= 20
    assert inside.mean() > 6
    outside = np.ones(change.shape, bool)
    outside[max(y - 8, 0) : y + height + 8, max(x - 8, 0) : x + width + 8] = False
    if outside.any():
        assert change[outside].mean() < 0.1 * inside.mean()


@pytest.mark.parametrize(
    ("feed", "pixel"), [(0.015, 0.012), (0.010, 0.010), (0.015, 0.010), (0.005, 0.005)]
)
def test_marks_repeat_once_per_revolution(feed: float, pixel: float) -> None:
    milling = ms.Milling(feed_per_tooth_mm=feed, depth_mm=0.1)
    power = _power(milling, pixel)
    expected = ms.mark_frequencies(milling, pixel)["revolution"]
    assert expected == pytest.approx(pixel / (3 * feed))
    low = int(0.8 * expected * 1280)
    peak = low + int(np.argmax(power[low : int(1.2 * expected * 1280)]))
    assert peak / 1280 == pytest.approx(expected, rel=0.02)
    assert power[peak] > 10 * np.median(power[200:])


def test_scratch_follows_the_marks_where_it_lies() -> None:
    """Far from the cutter path the arcs lean: sin(lean) = distance / radius."""
    recipe = ms.random_defect(np.random.default_rng(4), "scratch")
    milling = ms.Milling(path_offset_mm=0.0, feed_angle_deg=0.0)
    slopes = []
    for y in (150, 512, 874):
        defect = replace(recipe, centre=(640, y), count=1, angle_deg=0.0, follow_marks=True)
        (truth,) = ms.render_plate(9, (1024, 1280), milling, defects=[defect]).defects
        rows, columns = np.nonzero(truth.mask)
        slopes.append(float(np.degrees(np.arctan(np.polyfit(rows, columns, 1)[0]))))
    expected = np.degrees(np.arcsin(362 * 0.012 / 20))
    assert slopes[1] == pytest.approx(0.0, abs=4.0)
    assert abs(slopes[0]) == pytest.approx(expected, abs=5.0)
    assert abs(slopes[2]) == pytest.approx(expected, abs=5.0)
    assert slopes[0] * slopes[2] < 0


@pytest.mark.parametrize("rpm", ms.TABLE_6["spindle_rpm"])
def test_beat_follows_spindle_speed(rpm: float) -> None:
    milling = ms.Milling(spindle_rpm=rpm, depth_mm=0.2)
    power = _power(milling, 0.012)
    expected = ms.mark_frequencies(milling, 0.012)["beat"]
    low = 30  # below it lies the smooth shading
    peak = low + int(np.argmax(power[low : int(0.14 * 1280)]))
    assert peak / 1280 == pytest.approx(expected, rel=0.04)


def test_fine_marks_do_not_alias() -> None:
    """15 um marks on 12 um pixels would alias to 0.2 cycles per pixel."""
    milling = ms.Milling(feed_per_tooth_mm=0.005, depth_mm=0.1)
    power = _power(milling, 0.012)
    around = power[int(0.19 * 1280) : int(0.21 * 1280)]
    assert around.max() < 6 * np.median(power[200:300])


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        ms.Milling().teeth = 4  # type: ignore[misc]


def test_contact_sheet() -> None:
    sheet = ms.contact_sheet(2, columns=3)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (4 * 224, 3 * 204)
    assert np.array_equal(sheet, ms.contact_sheet(2, columns=3))
