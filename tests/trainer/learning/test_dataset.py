"""Folders of class folders, splits and folds."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import UserError
from trainer.learning.dataset import class_folders, folds, split

Labels = st.lists(st.integers(0, 5), min_size=2, max_size=80).map(np.array)


@given(Labels, st.floats(0, 0.9), st.integers(0, 9))
def test_a_split_is_whole_fair_and_repeatable(labels: np.ndarray, share: float, seed: int) -> None:
    first, second = split(labels, share, seed)
    assert sorted([*first, *second]) == list(range(len(labels)))
    for c in set(labels.tolist()):
        members, held = (labels == c).sum(), (labels[second] == c).sum()
        assert held == min(round(share * members), members - 1)
    again = split(labels, share, seed)
    assert np.array_equal(first, again[0])


@given(Labels, st.integers(2, 5), st.integers(0, 9))
def test_folds_spread_every_class_evenly(labels: np.ndarray, count: int, seed: int) -> None:
    fold = folds(labels, count, seed)
    for c in set(labels.tolist()):
        sizes = np.bincount(fold[labels == c], minlength=count)
        assert sizes.max() - sizes.min() <= 1
    assert abs(np.bincount(fold, minlength=count) - len(labels) / count).max() < 1 + 1e-9


def picture(path: Path, height: int = 50, width: int = 70) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width), 99, np.uint8))


def test_class_folders_of_any_image_size(tmp_path: Path) -> None:
    picture(tmp_path / "b" / "1.png")
    picture(tmp_path / "a" / "2.png", 300, 250)
    picture(tmp_path / "a" / "deep" / "3.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    dataset = class_folders(tmp_path)
    assert dataset.classes == ["a", "b"]
    assert dataset.labels.tolist() == [0, 0, 1]
    assert dataset.patches().shape == (3, 200, 200)


def test_too_few_class_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        class_folders(tmp_path / "none")
    picture(tmp_path / "only" / "1.png")
    with pytest.raises(UserError, match="at least two class folders with images, has 1"):
        class_folders(tmp_path)


def test_neu_cls_is_read_whole(neu_cls: Path) -> None:
    dataset = class_folders(neu_cls)
    assert len(dataset.files) == 1800
    assert np.bincount(dataset.labels).tolist() == [300] * 6
    pool, test = split(dataset.labels, 0.2, 0)
    assert (len(pool), len(test)) == (1440, 360)
