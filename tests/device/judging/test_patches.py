"""Cutting frames into patches."""

import numpy as np
import pytest

from config.settings import Recipe, Region
from device.judging.patches import Cutter, patch_id, regions_of

CLASSES = ["good", "bad"]


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({"classes": CLASSES, "pass_classes": ["good"]} | changes)


def test_a_whole_frame_of_patch_size_is_its_patch() -> None:
    image = np.arange(40_000, dtype=np.uint32).astype(np.uint8).reshape(200, 200)
    cut = Cutter(recipe()).cut(image)
    assert cut.regions == [Region(x=0, y=0, width=200, height=200)]
    np.testing.assert_array_equal(cut.patches[0], image)


@pytest.mark.parametrize("shape", [(64, 64), (100, 300), (1024, 1280), (201, 199)])
def test_a_whole_frame_of_any_size_becomes_one_patch(shape: tuple[int, int]) -> None:
    image = np.full(shape, 77, np.uint8)
    cut = Cutter(recipe()).cut(image)
    (patch,) = cut.patches
    assert patch.shape == (200, 200)
    assert patch.dtype == np.uint8
    assert (patch == 77).all()


def test_a_grid_covers_a_sensor_with_thirty_patches() -> None:
    image = np.zeros((1024, 1280), np.uint8)
    image[200:400, 400:600] = 9
    cut = Cutter(recipe(regions="grid")).cut(image)
    assert len(cut.regions) == 30
    bright = [i for i in range(30) if cut.patches[i].all()]
    assert [(cut.regions[i].x, cut.regions[i].y) for i in bright] == [(400, 200)]


def test_grid_patches_overlap_as_told() -> None:
    regions = regions_of(recipe(regions="grid", grid_overlap_px=100), 400, 200)
    assert [r.x for r in regions] == [0, 100, 200]


def test_listed_regions_are_cut_and_scaled() -> None:
    image = np.zeros((300, 300), np.uint8)
    image[50:150, 100:200] = 200
    chosen = [Region(x=100, y=50, width=100, height=100), Region(x=0, y=0, width=200, height=200)]
    cut = Cutter(recipe(regions=[r.model_dump() for r in chosen])).cut(image)
    assert (cut.patches[0] == 200).all()
    np.testing.assert_array_equal(cut.patches[1], image[:200, :200])


@pytest.mark.parametrize(
    "changes",
    [
        {"frame_width_px": 640},
        {"frame_height_px": 480},
        {"regions": [{"x": 150, "y": 0, "width": 100, "height": 100}]},
        {"regions": "grid", "frame_height_px": 400},
    ],
)
def test_a_frame_of_the_wrong_size_has_no_regions(changes: dict[str, object]) -> None:
    assert Cutter(recipe(**changes)).cut(np.zeros((200, 200), np.uint8)).regions == []


def test_a_grid_on_a_frame_smaller_than_a_patch_has_no_regions() -> None:
    assert regions_of(recipe(regions="grid"), 199, 1000) == []


def test_a_frame_too_small_to_show_a_surface_has_no_regions() -> None:
    assert Cutter(recipe()).cut(np.zeros((15, 300), np.uint8)).regions == []
    assert len(Cutter(recipe()).cut(np.zeros((16, 300), np.uint8)).regions) == 1


def test_identity_comes_from_pixels_and_place() -> None:
    patch = np.zeros((200, 200), np.uint8)
    other = patch.copy()
    other[3, 4] = 1
    here, there = Region(x=0, y=0, width=200, height=200), Region(x=1, y=0, width=200, height=200)
    identity = patch_id(patch, "box", here)
    assert identity == patch_id(patch.copy(), "box", here)
    assert patch_id(np.asfortranarray(patch), "box", here) == identity
    others = [patch_id(other, "box", here), patch_id(patch, "box", there)]
    assert len({identity, *others, patch_id(patch, "box2", here)}) == 4
