"""The frame-quality gate: pictures that must not be judged are faults with a name."""

from typing import NamedTuple

import cv2
import numpy as np

from camera.source import GreyImage
from config.settings import Quality

FAULTS = (
    "no-signal",
    "dark",
    "bright",
    "empty",
    "blurred",
    "frozen",
    "incomplete",
    "size",
    "no-light",
    "no-recipe",
)
"""Every fault a frame can have. `size` comes from the recipe, `no-recipe` from its file,
`incomplete` and `no-light` from the camera, the others from `QualityGate`."""


ENOUGH_ROWS = 256
"""Rows that stand for a picture: of a higher one every so many-th row is looked at, because the
looks of all rows would cost a twentieth of the time that judging takes."""


def _step(image: GreyImage) -> int:
    return max(1, len(image) // ENOUGH_ROWS)


def sharpness(image: GreyImage, deviation: float | None = None) -> float:
    """Von Neumann's ratio of neighbouring pixels, 0 (smooth) to about 1 (white noise).

    Mean squared difference of neighbours over twice the variance, the softer of the two
    directions left out of account: a surface may be smooth along its marks, blur is both ways.
    `deviation` is the standard deviation of the rows looked at, where it is known already.
    """
    step = _step(image)
    rows = image[::step]
    if deviation is None:
        deviation = float(cv2.meanStdDev(rows)[1][0, 0])
    if deviation == 0:
        return 0.0
    across = cv2.norm(rows[:, 1:], rows[:, :-1], cv2.NORM_L2SQR)
    down = cv2.norm(image[1::step], image[:-1:step], cv2.NORM_L2SQR)
    return max(across, down) / (2 * rows.size * deviation**2)


def drawn_share(image: GreyImage) -> float:
    """Share of pixels that equal their right and their lower neighbour, in a drawn picture.

    What a camera, a converter or a server puts in the place of a missing picture (colour bars,
    NO SIGNAL) consists of areas of exactly one value and has two of them at least; a sensor's
    noise leaves no such areas. A picture that is flat at one value only is not drawn but dark,
    bright or empty: then the share is 0, as it is when in a sample of the rows less than half of
    the pixels equal their right neighbour.
    """
    if min(image.shape) < 2:
        return 0.0
    sample = image[:: max(8, image.shape[0] // 32)]
    if np.count_nonzero(sample[:, 1:] == sample[:, :-1]) < sample.size / 2:
        return 0.0
    right = image[:-1, :-1] == image[:-1, 1:]
    flat = right & (image[:-1, :-1] == image[1:, :-1])
    counts = np.bincount(image[:-1, :-1][flat], minlength=256)
    levels = np.flatnonzero(counts > LEAST_AREA * image.size)
    if len(levels) < 2 or levels[-1] - levels[0] < LEAST_STEP:
        return 0.0
    return float(flat.mean())


LEAST_AREA, LEAST_STEP = 0.0005, 32
"""Share of the picture that an area of a drawn picture has, and how far two of its grey values
lie apart."""


DARK, BRIGHT = 4, 251
"""Grey values up to and from which a pixel shows nothing."""


class Looks(NamedTuple):
    """What a frame looks like, in three numbers."""

    mean: float
    """Of the grey values."""
    contrast: float
    """Their standard deviation."""
    sharpness: float
    """As `sharpness` has it."""


class QualityGate:
    """Judges frame after frame; remembers the last one to know a frozen picture."""

    looks: Looks | None = None
    """Of the last frame; None: it had a fault."""

    def __init__(self, settings: Quality) -> None:
        self._settings = settings
        self._last: GreyImage | None = None
        self._repeats = 1

    def fault(self, image: GreyImage) -> str | None:
        """The fault of a frame, uint8 [height, width], or None if it may be judged."""
        settings = self._settings
        self.looks = None
        repeats = self._same_as_last(image) if settings.frozen_after else 0
        if settings.max_drawn_share < 1 and drawn_share(image) > settings.max_drawn_share:
            return "no-signal"
        if repeats and repeats >= settings.frozen_after:
            return "frozen"
        rows = image[:: _step(image)]
        mean, deviation = (value.item() for value in cv2.meanStdDev(rows))
        if clipped := self._clipped(rows, mean):
            return clipped
        if deviation < settings.min_contrast:
            return "empty"
        sharp = sharpness(image, deviation)
        if sharp < settings.min_sharpness:
            return "blurred"
        self.looks = Looks(mean, deviation, sharp)
        return None

    def _clipped(self, image: GreyImage, mean: float) -> str | None:
        """Whether too many pixels are dark or bright; counted only where the mean allows it."""
        dark, bright = self._settings.max_dark_share, self._settings.max_bright_share
        if (
            dark < 1
            and mean <= dark * DARK + (1 - dark) * 255
            and cv2.countNonZero((image <= DARK).view(np.uint8)) > dark * image.size
        ):
            return "dark"
        if (
            bright < 1
            and mean >= bright * BRIGHT
            and cv2.countNonZero((image >= BRIGHT).view(np.uint8)) > bright * image.size
        ):
            return "bright"
        return None

    def _same_as_last(self, image: GreyImage) -> int:
        """How many frames in a row have been this very picture; sensor noise makes it one."""
        last, self._last = self._last, image
        middle = image.shape[0] // 2  # nearly always it tells alone, and costs a hundredth of all
        same = (
            last is not None
            and last.shape == image.shape
            and last[middle].tobytes() == image[middle].tobytes()
            and bool((last == image).all())
        )
        self._repeats = self._repeats + 1 if same else 1
        return self._repeats
