"""Splits: the paper's shares, and no image on two sides."""

import numpy as np
import pytest

from config.errors import UserError
from trainer.lab.arms import RARE, Arm, answers, pool_of, totals
from trainer.lab.milling import from_neu, simulated
from trainer.lab.protocol import LabData, lab_data, make_splits


@pytest.fixture(scope="module")
def like_neu() -> LabData:
    """1,800 tiny images in NEU's six classes."""
    classes = ["crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches"]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1800, 4, 4), dtype=np.uint8)
    return lab_data("like-neu", images, np.repeat(np.arange(6), 300), classes)


def test_the_papers_numbers_on_neu(like_neu: LabData) -> None:
    splits = make_splits(like_neu, 0)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [
        1080,
        360,
        360,
    ]
    np.testing.assert_array_equal(np.bincount(like_neu.labels[splits.initial]), [18] * 6)
    assert np.isin(splits.initial, splits.train).all()
    everything = np.concatenate([splits.train, splits.validation, splits.test])
    np.testing.assert_array_equal(np.sort(everything), np.arange(1800))
    assert totals(Arm("paper"), 1800, splits) == [108, 162, 216, 270, 324, 378, 432]
    assert totals(Arm("paper", schedule="half"), 1800, splits)[-1] == 540
    assert totals(Arm("paper", schedule="all"), 1800, splits) == [1080]
    assert totals(Arm("best", schedule="best"), 1800, splits) == [54, 108, 216, 432, 792]


def test_without_validation_the_pool_is_all_but_the_test(like_neu: LabData) -> None:
    splits = make_splits(like_neu, 3)
    pool, initial = pool_of(Arm("best", schedule="best"), like_neu, splits, 3)
    assert len(pool) == 1440
    assert not np.isin(pool, splits.test).any()
    assert len(np.unique(initial)) == 54
    again = pool_of(Arm("best", strategy="rs", schedule="few"), like_neu, splits, 3)
    np.testing.assert_array_equal(initial, again[1])  # every arm starts with the same labels


def test_misleading_labels_mislead_as_told(like_neu: LabData) -> None:
    splits = make_splits(like_neu, 4)
    starved, lopsided = Arm("guarded", schedule="starved"), Arm("guarded", schedule="lopsided")
    wrong = Arm("guarded", schedule="wrong")
    for arm, count in ((starved, 18), (lopsided, 54)):
        pool, initial = pool_of(arm, like_neu, splits, 4)
        first = like_neu.labels[pool[initial]]
        assert len(first) == count
        assert (first == 4).sum() == RARE[arm.schedule]
    truth = like_neu.labels[pool]
    np.testing.assert_array_equal(answers(lopsided, like_neu, pool, 4), truth)
    said = answers(wrong, like_neu, pool, 4)
    assert 0.05 < (said != truth).mean() < 0.15
    assert said.min() >= 0
    assert said.max() <= 5


def test_amplified_images_stay_with_their_original(like_neu: LabData) -> None:
    honest = from_neu(like_neu)
    np.testing.assert_array_equal(np.bincount(honest.labels), [300] * 3)
    assert len(np.unique(honest.sources)) == 500
    splits = make_splits(honest, 0)
    parts = [set(honest.sources[part]) for part in (splits.train, splits.validation, splits.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert sum(len(part) for part in (splits.train, splits.validation, splits.test)) == 900
    leaking = from_neu(like_neu, leaking=True)
    np.testing.assert_array_equal(leaking.patches, honest.patches)
    assert len(np.unique(leaking.sources)) == 900


def test_amplified_images_differ_from_their_original(like_neu: LabData) -> None:
    data = from_neu(like_neu)
    views = [patch.tobytes() for patch in data.patches[data.labels == 2]]
    assert len(set(views)) == 300


def test_a_milling_set_needs_the_three_defects(two_classes: LabData) -> None:
    with pytest.raises(UserError, match="no class"):
        from_neu(two_classes)


@pytest.mark.slow
def test_the_simulated_milling_set(two_classes: LabData) -> None:
    data = simulated(two_classes)
    np.testing.assert_array_equal(np.bincount(data.labels), [300] * 3)
    assert data.patches.shape == (900, 200, 200)
