"""Augmentation that leaves texture as it is: nothing is resampled, for texture is the signal."""

import cv2
import numpy as np
from numpy.typing import NDArray


def augment(
    patch: NDArray[np.uint8] | NDArray[np.float32],
    rng: np.random.Generator,
    shift: float,
    light: float,
) -> NDArray[np.float32]:
    """One random view of a square patch, [s, s]: float32 [s, s].

    Moved by up to `shift` of its side in both directions, what comes in mirrored; in one of the
    eight flips and quarter turns; under a random linear ramp of light of `light` standard
    deviations of the patch. A crop would cut local defects off and leave their label, which was
    seen to make clean plates defects. Brightness and contrast as a whole need no augmentation:
    the network standardises every patch.
    """
    side = patch.shape[0]
    border = round(shift * side)
    wide = cv2.copyMakeBorder(patch, border, border, border, border, cv2.BORDER_REFLECT_101)
    top, left = rng.integers(0, 2 * border + 1, 2)
    seen = wide[top : top + side, left : left + side]
    view = np.rot90(seen, int(rng.integers(4)))
    if rng.random() < 0.5:
        view = view[:, ::-1]
    grey = view.astype(np.float32, order="C")
    if light > 0:
        deviation = float(cv2.meanStdDev(seen)[1][0, 0])
        across, down = rng.normal(0, light * deviation, 2).astype(np.float32)
        ramp = np.linspace(-(3**0.5), 3**0.5, side, dtype=np.float32)  # of unit variance
        grey += across * ramp
        grey += (down * ramp)[:, None]
    return np.asarray(grey, np.float32)
