"""The frame-quality gate: pictures that must not be judged are faults with a name."""

from typing import NamedTuple

import cv2
import numpy as np

from camera.source import GreyImage
from config.settings import Quality

FAULTS = ("dark", "bright", "empty", "blurred", "frozen", "size")
"""Every fault a frame can have. `size` comes from the recipe, the others from `QualityGate`."""


def sharpness(image: GreyImage) -> float:
    """Von Neumann's ratio of neighbouring pixels, 0 (smooth) to about 1 (white noise).

    Mean squared difference of neighbours over twice the variance, the softer of the two
    directions left out of account: a surface may be smooth along its marks, blur is both ways.
    """
    deviation = float(cv2.meanStdDev(image)[1][0, 0])
    if deviation == 0:
        return 0.0
    across = cv2.norm(image[:, 1:], image[:, :-1], cv2.NORM_L2SQR)
    down = cv2.norm(image[1:], image[:-1], cv2.NORM_L2SQR)
    return max(across, down) / (2 * image.size * deviation**2)


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
        if settings.frozen_after and self._same_as_last(image) >= settings.frozen_after:
            return "frozen"
        (mean,), (deviation,) = (value.ravel() for value in cv2.meanStdDev(image))
        dark, bright = settings.max_dark_share, settings.max_bright_share
        # Pixels are counted only where the mean allows so many of them to be dark or bright.
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
        if deviation < settings.min_contrast:
            return "empty"
        sharp = sharpness(image)
        if sharp < settings.min_sharpness:
            return "blurred"
        self.looks = Looks(float(mean), float(deviation), sharp)
        return None

    def _same_as_last(self, image: GreyImage) -> int:
        """How many frames in a row have been this very picture; sensor noise makes it one."""
        last, self._last = self._last, image
        same = last is not None and last.shape == image.shape and bool((last == image).all())
        self._repeats = self._repeats + 1 if same else 1
        return self._repeats
