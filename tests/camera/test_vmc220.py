"""Tests of the simulated platform as a source."""

import itertools
import threading

import numpy as np
import pytest

from camera.source import LEAST_DEFECT_PX, Box, Frame, KnownDefect
from camera.vmc220 import CLEAN, DEFECTS, Vmc220Source, render_frame
from config.settings import Vmc220Source as Settings


def play(settings: Settings, count: int, first: int = 0) -> list[Frame]:
    return list(itertools.islice(Vmc220Source(settings, first).frames(), count))


def frame_with(*defects: KnownDefect, truth: str | None = CLEAN) -> Frame:
    return Frame(np.zeros((400, 400), np.uint8), 0, 0, 0, truth=truth, defects=defects)


def test_the_same_settings_render_the_same_plates() -> None:
    one, two = play(Settings(seed=3), 6), play(Settings(seed=3), 6)
    assert [f.image.tobytes() for f in one] == [f.image.tobytes() for f in two]
    assert [(f.origin, f.truth, f.defects) for f in one] == [
        (f.origin, f.truth, f.defects) for f in two
    ]
    assert [f.sequence for f in one] == list(range(6))


def test_another_seed_renders_other_plates() -> None:
    one, two = play(Settings(seed=3), 3), play(Settings(seed=4), 3)
    assert not {f.image.tobytes() for f in one} & {f.image.tobytes() for f in two}


def test_a_later_day_goes_on_with_the_plates_of_the_same_platform() -> None:
    whole, later = play(Settings(), 6), play(Settings(), 3, first=3)
    assert [f.image.tobytes() for f in later] == [f.image.tobytes() for f in whole[3:]]
    assert [f.sequence for f in later] == [0, 1, 2], "a sequence begins at 0 for every source"
    assert [f.origin for f in later] == [f.origin for f in whole[3:]]


def test_it_ends_after_the_set_number_of_frames() -> None:
    assert [f.sequence for f in Vmc220Source(Settings(frames=4), first=9).frames()] == [0, 1, 2, 3]


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (1.0, 150, 150), (0.3, 28, 62)])
def test_the_share_of_plates_with_a_defect_is_as_set(share: float, low: int, high: int) -> None:
    plates = [render_frame(Settings(defect_share=share), i) for i in range(150)]
    assert low <= sum(bool(p.defects) for p in plates) <= high


def test_a_patch_shows_one_defect_at_most_and_every_kind_occurs() -> None:
    defects = [render_frame(Settings(defect_share=1), i).defects for i in range(60)]
    assert {len(d) for d in defects} <= {1, 2}
    assert {truth.name for d in defects for truth in d} == set(DEFECTS)


def test_milling_parameters_come_from_the_lists_of_the_settings() -> None:
    settings = Settings(spindle_rpm=[1234], depth_mm=[0.5], feed_per_tooth_mm=[0.02, 0.03])
    mills = [render_frame(settings, i).milling for i in range(12)]
    assert {(m.spindle_rpm, m.depth_mm) for m in mills} == {(1234.0, 0.5)}
    assert {m.feed_per_tooth_mm for m in mills} == {0.02, 0.03}


def test_light_varies_around_the_set_elevation_and_stays_possible() -> None:
    for elevation in (5.0, 42.0, 85.0):
        lights = [
            render_frame(Settings(light_elevation_deg=elevation), i).optics.light_elevation_deg
            for i in range(12)
        ]
        assert all(5 <= light <= 85 and abs(light - elevation) <= 10 for light in lights)
        assert len(set(lights)) > 1


def test_a_large_plate_shows_known_defects_and_the_truth_of_every_region() -> None:
    settings = Settings(width_px=1280, height_px=1024, defect_share=1, seed=1)
    frames = play(settings, 3)
    for frame in frames:
        assert frame.image.shape == (1024, 1280)
        assert frame.truth == CLEAN
        assert 1 <= len(frame.defects) <= 4
        for name, (x, y, width, height) in frame.defects:
            assert name in DEFECTS
            assert x >= 0 and y >= 0 and x + width <= 1280 and y + height <= 1024
            others = [d.name for d in frame.defects if d.name != name]
            if width * height >= LEAST_DEFECT_PX and not others:
                assert frame.truth_at((x, y, width, height)) == name
    assert any(frame.truth_at(d.box) == d.name for frame in frames for d in frame.defects)
    assert any(len(frame.defects) > 1 for frame in frames)


def test_known_defects_are_those_of_the_rendered_plate() -> None:
    settings = Settings(width_px=640, height_px=480, defect_share=1)
    (frame,) = play(settings, 1, first=5)
    plate = render_frame(settings, 5)
    assert np.array_equal(frame.image, plate.image)
    assert frame.defects == tuple(KnownDefect(t.name, t.box) for t in plate.defects) != ()


def test_the_truth_of_a_region_is_its_largest_visible_defect() -> None:
    frame = frame_with(
        KnownDefect("scratch", (0, 0, 100, 40)), KnownDefect("patch", (50, 0, 300, 300))
    )
    assert frame.truth_at((0, 0, 50, 50)) == "scratch"
    assert frame.truth_at((0, 0, 100, 100)) == "patch"
    assert frame.truth_at((200, 200, 200, 200)) == "patch"
    assert frame.truth_at((0, 350, 200, 50)) == CLEAN


@pytest.mark.parametrize(
    ("box", "truth"),
    [((0, 0, 20, 20), "scratch"), ((0, 0, 19, 21), CLEAN), ((100, 0, 50, 50), CLEAN)],
)
def test_a_defect_that_barely_reaches_into_a_region_is_not_its_truth(box: Box, truth: str) -> None:
    assert LEAST_DEFECT_PX == 400
    frame = frame_with(KnownDefect("scratch", (0, 0, 100, 100)))
    assert frame.truth_at(box) == truth


def test_without_known_defects_a_region_has_the_truth_of_the_frame() -> None:
    assert frame_with(truth=None).truth_at((0, 0, 9, 9)) is None
    assert frame_with(truth="patch").truth_at((0, 0, 9, 9)) == "patch"


@pytest.mark.timeout(30)
def test_close_from_another_thread_ends_it() -> None:
    source = Vmc220Source(Settings(rate_fps=0.01))
    reader = threading.Thread(target=lambda: list(source.frames()), daemon=True)
    reader.start()
    source.close()
    source.close()
    reader.join(10)
    assert not reader.is_alive()
