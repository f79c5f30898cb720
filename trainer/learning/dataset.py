"""Data sets: folders of class folders, and splits of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camera.folder import find_images, read_grey
from config.errors import UserError
from device.judging.patches import Patches, to_patch


@dataclass(frozen=True, slots=True)
class Dataset:
    """Image files with their classes."""

    files: list[Path]
    labels: NDArray[np.int64]
    """int64 [N]: index into `classes`."""
    classes: list[str]

    def part(self, indices: NDArray[np.integer]) -> "Dataset":
        """Only these images."""
        return Dataset([self.files[i] for i in indices], self.labels[indices], self.classes)

    def patches(self) -> Patches:
        """All images as patches, uint8 [N, 200, 200], whatever their size.

        Raises:
            UserError: an image cannot be read.
        """
        return np.stack([to_patch(read_grey(file)) for file in self.files])


def class_folders(folder: Path) -> Dataset:
    """A folder whose sub-folders are classes; sorted by class, then by name.

    Raises:
        UserError: no such folder, or fewer than two class folders with images.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    with_images = [
        (path.name, find_images(path))
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".") and any(path.iterdir())
    ]
    if len(with_images) < 2:
        raise UserError(
            f"{folder}: needs at least two class folders with images, has {len(with_images)}; "
            "put the images of each class into a folder named like the class"
        )
    classes = [name for name, _ in with_images]
    labels = np.repeat(np.arange(len(classes)), [len(files) for _, files in with_images])
    return Dataset([file for _, files in with_images for file in files], labels, classes)


def split(labels: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], ...]:
    """Indices of two parts, the second with `share` of every class, drawn from `seed`.

    A class keeps at least one image in the first part.
    """
    rng = np.random.default_rng(seed)
    first, second = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held = min(round(share * len(members)), len(members) - 1)
        second.append(members[:held])
        first.append(members[held:])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))


def folds(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """The fold of each image, int64 [N] from 0 to count − 1, every class spread evenly."""
    rng = np.random.default_rng(seed)
    fold = np.empty(len(labels), np.int64)
    offset = 0  # classes with fewer images than folds must not all fall into the first ones
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        fold[members] = (np.arange(len(members)) + offset) % count
        offset += len(members)
    return fold
