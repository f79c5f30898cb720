"""Data sets of the laboratory and how they are split (the paper's sections 3.2 and 5.2)."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.errors import UserError
from device.judging.kls import Ints
from device.judging.patches import Patches
from trainer.learning.dataset import class_folders, split

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.2
INITIAL_SHARE = 0.1
"""Of the training images: 18 per class of NEU-CLS."""
STEP_SHARE = 0.03
"""Of all images: k = 9 for each of NEU's six classes."""


@dataclass(frozen=True, slots=True)
class LabData:
    """Images with their classes, all in memory."""

    name: str
    patches: Patches
    """uint8 [N, 200, 200]."""
    labels: NDArray[np.int64]
    classes: list[str]
    sources: Ints
    """int64 [N]: the image that each was made from; equal numbers must not straddle a split."""
    digest: str
    """Of pixels and classes: cached results of other images are not taken for these."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Indices of the parts of a data set; disjoint, and together all of it."""

    train: Ints
    validation: Ints
    test: Ints
    initial: Ints
    """The part of `train` that is labelled at first."""


def load_folder(folder: Path) -> LabData:
    """A folder of class folders; images of any size become patches.

    Raises:
        UserError: no such folder, fewer than two classes, or an unreadable image.
    """
    dataset = class_folders(folder)
    name = Path(os.path.abspath(folder)).name  # noqa: PTH100 - not of what a link leads to
    return lab_data(name, dataset.patches(), dataset.labels, dataset.classes)


def lab_data(
    name: str,
    patches: Patches,
    labels: NDArray[np.int64],
    classes: list[str],
    sources: Ints | None = None,
) -> LabData:
    """A data set from arrays; without `sources` every image is its own."""
    if sources is None:
        sources = np.arange(len(labels))
    digest = hashlib.sha256(patches.tobytes() + labels.astype(np.int64).tobytes())
    return LabData(name, patches, labels, classes, sources, digest.hexdigest()[:16])


def step_of(images: int) -> int:
    """Questions of a round, of so many images in all."""
    return max(1, round(STEP_SHARE * images))


def make_splits(data: LabData, seed: int) -> Splits:
    """60/20/20 of every class by source image, and a tenth of the training part as initial pool.

    The initial pool holds equally many of every class, as the paper's 18 per class, and at
    least one.

    Raises:
        UserError: there are too few images for a test and a validation part.
    """
    first = np.unique(data.sources, return_index=True)[1]
    kinds = data.labels[first]
    rest, test = split(kinds, TEST_SHARE, seed)
    kept, held = split(kinds[rest], VALIDATION_SHARE / (1 - TEST_SHARE), seed + 1)
    if not len(test) or not len(held):
        raise UserError(
            f"{data.name}: {len(kinds)} images are too few; training, validation and test need at "
            "least four of a class"
        )
    names = data.sources[first]
    train = np.flatnonzero(np.isin(data.sources, names[rest[kept]]))
    rng = np.random.default_rng([seed, 2])
    each = max(1, round(INITIAL_SHARE * len(train) / len(data.classes)))
    return Splits(
        train=train,
        validation=np.flatnonzero(np.isin(data.sources, names[rest[held]])),
        test=np.flatnonzero(np.isin(data.sources, names[test])),
        initial=draw_even(data, train, each, rng),
    )


def draw_even(data: LabData, among: Ints, each: int, rng: np.random.Generator) -> Ints:
    """`each` images of every class, drawn evenly: sorted indices of the data set."""
    drawn = [
        rng.permutation(among[data.labels[among] == label])[:each]
        for label in range(len(data.classes))
    ]
    return np.sort(np.concatenate(drawn))
