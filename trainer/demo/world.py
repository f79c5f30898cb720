"""What the devices of a demo see: real images, or simulated plates."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from camera.vmc220 import render_frame
from config.settings import Camera, FolderSource, Recipe, Vmc220Source
from device.judging.patches import Patches
from trainer.learning.dataset import Dataset, class_folders, split

TEST_SHARE = 0.2
GOLDEN_PER_CLASS = 10
"""Patches of a class that the trainer judges every model on; at most a quarter of the class."""
FRAMES_PER_DAY = 1000
"""Simulated plates of a day, of all devices together."""
TEST_FRAMES = 400


@dataclass(frozen=True, slots=True)
class World:
    """What the devices of a demo see, and what it is tested with."""

    classes: list[str]
    pass_classes: list[str]
    images: int
    """All images of the data set, golden and held-out ones included."""
    golden: int
    """Labelled patches in the golden folder."""
    questions_of: int
    """Images of which a day asks about a share."""
    camera: Callable[[str, int], Camera]
    """The camera of a device, on a day."""
    test_patches: Patches
    test_labels: NDArray[np.int64]


def folder_world(frames: Path, devices: list[str], folder: Path, seed: int) -> World:
    """A world of real images: some test, some are golden, the rest pass the cameras every day.

    Every image is seen by one device only. `folder` gets the golden images and those of each
    device, as links.

    Raises:
        UserError: no class folders, or an image of the test part cannot be read.
    """
    dataset = class_folders(frames)
    pool, test = split(dataset.labels, TEST_SHARE, seed)
    pool, golden = _take_golden(dataset, pool, seed)
    held_out = dataset.part(test)
    world = World(
        classes=dataset.classes,
        pass_classes=[],  # the folders do not say which classes are good
        images=len(dataset.files),
        golden=len(golden),
        questions_of=len(dataset.files),
        camera=lambda device, day: Camera(
            source="folder",
            folder=FolderSource(path=folder / "frames" / device, shuffle_seed=seed * 1000 + day),
        ),
        test_patches=held_out.patches(),
        test_labels=held_out.labels,
    )
    _link(dataset.part(golden), folder / "golden")
    order = np.random.default_rng(seed).permutation(pool)
    for number, device in enumerate(devices):
        _link(dataset.part(order[number :: len(devices)]), folder / "frames" / device)
    return world


def _take_golden(
    dataset: Dataset, pool: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    golden = []
    for label in np.unique(dataset.labels):
        members = rng.permutation(pool[dataset.labels[pool] == label])
        golden.append(members[: min(GOLDEN_PER_CLASS, len(members) // 4)])
    taken = np.concatenate(golden)
    return np.setdiff1d(pool, taken), taken


def _link(dataset: Dataset, folder: Path) -> None:
    """Links to images in class folders; the number keeps files of one name apart."""
    for number, (file, label) in enumerate(zip(dataset.files, dataset.labels, strict=True)):
        link = folder / dataset.classes[label] / f"{number:05}-{file.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.resolve())


def simulated_world(nights: int, devices: list[str], folder: Path, seed: int) -> World:
    """A world of simulated plates: fresh ones every day and for every device."""
    classes = Recipe().classes
    tests, labels = _plates(TEST_FRAMES, seed + 1_000_000)
    golden, golden_labels = _plates(GOLDEN_PER_CLASS * len(classes) * 2, seed + 2_000_000)
    for number, (plate, label) in enumerate(zip(golden, golden_labels, strict=True)):
        path = folder / "golden" / classes[label] / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), plate)
    a_day = FRAMES_PER_DAY // len(devices)
    return World(
        classes=classes,
        pass_classes=Recipe().pass_classes,
        images=a_day * len(devices) * (nights + 1) + TEST_FRAMES + len(golden),
        golden=len(golden),
        questions_of=2 * FRAMES_PER_DAY,  # with 30 answers the first model is kept back
        camera=lambda device, day: Camera(
            source="vmc220",
            vmc220=Vmc220Source(
                seed=(seed * 1000 + day) * 100 + devices.index(device), frames=a_day
            ),
        ),
        test_patches=tests,
        test_labels=labels,
    )


def _plates(count: int, seed: int) -> tuple[Patches, NDArray[np.int64]]:
    """Simulated plates, uint8 [N, 200, 200], and their classes, int64 [N]."""
    classes = Recipe().classes
    source = Vmc220Source(seed=seed, frames=count)
    plates = [render_frame(source, number) for number in range(count)]
    names = [plate.defects[0].name if plate.defects else classes[0] for plate in plates]
    return (
        np.stack([plate.image for plate in plates]),
        np.array([classes.index(name) for name in names]),
    )
