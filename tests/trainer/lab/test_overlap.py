"""Shared feature maps: the same as a patch alone where nothing is around it; frames and spots."""

import numpy as np
import pytest
import torch

from camera.milled_steel import CLASSES
from trainer.lab import overlap
from trainer.lab.overlap import STEP, Framed, Normalised, cut, normalised, shared, spots


@pytest.fixture
def network() -> Normalised:
    torch.manual_seed(1)
    return Normalised("gapc", 4).eval()


def test_one_patch_is_judged_as_alone(network: Normalised) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    image = normalised(frame, "frame")
    alone = overlap.alone(network, image[None], "frame")
    by_itself = overlap.alone(network, frame[None].astype(np.float32), "patch")
    assert shared(network, image).ravel().tolist() == alone.tolist() == by_itself.tolist()


def test_patches_of_shared_maps_are_where_the_grid_has_them(network: Normalised) -> None:
    image = np.zeros((1024, 1280), np.float32)
    assert shared(network, image).shape == (9, 12)
    # what is right in the middle of a patch moves its logits, and not those two patches away
    with torch.inference_mode():
        network.dense.weight.zero_()
        network.dense.bias.zero_()
        network.dense.weight[1] = 1
        network.dense.bias[0] = 0.5
        for name, parameter in network.base.named_parameters():
            parameter.abs_() if name.endswith("weight") else parameter.zero_()
    top, left = 4 * STEP, 6 * STEP
    image[top + 90 : top + 110, left + 90 : left + 110] = 1000
    found = shared(network, image)
    assert found[4, 6] == 1
    assert not found[:, :4].any() and not found[:2].any()


def test_around_a_place_is_standardised() -> None:
    grey = np.random.default_rng(0).normal(100, 20, (600, 800))
    grey[:, 400:] += 60
    image = normalised(np.clip(grey, 0, 255).astype(np.uint8), "place")
    for half in (image[:, 50:250], image[:, 550:750]):
        assert abs(half.mean()) < 0.1
        assert abs(half.std() - 1) < 0.1


def test_simulated_frames_say_what_their_patches_show() -> None:
    framed = overlap.simulated(3, 4)
    there = spots(framed)
    assert {spot.label for spot in there} >= {0}
    assert all(0 <= spot.label < len(CLASSES) for spot in there)
    assert framed.labels[0].shape == (9, 12)
    patches = cut(framed, there[:3], "patch")
    spot = there[2]
    top, left = spot.row * STEP, spot.column * STEP
    assert np.array_equal(patches[2], framed.frames[spot.frame][top : top + 200, left : left + 200])


def test_lessons_have_equally_many_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "LABELS", 8)
    labels = np.arange(40).reshape(5, 8) % 4
    framed = Framed([np.zeros((1000, 1600), np.uint8)], [labels], 200)
    taught = [spot.label for spot in overlap.lesson(framed, 4, 0)]
    assert sorted(taught) == [0, 0, 1, 1, 2, 2, 3, 3]
