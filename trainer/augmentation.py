"""Augmentation that leaves texture as it is: nothing is resampled, for texture is the signal."""

import numpy as np
from numpy.typing import NDArray


def augment(
    patch: NDArray[np.uint8], rng: np.random.Generator, crop: float, light: float
) -> NDArray[np.float32]:
    """One random view of a patch, uint8 [200, 200]: float32 [s, s] with s = crop · 200.

    A random crop, in one of the eight flips and quarter turns, under a random linear ramp of
    light of `light` standard deviations of the patch. Brightness and contrast as a whole need no
    augmentation: the network standardises every patch.
    """
    side = round(crop * patch.shape[0])
    top, left = rng.integers(0, patch.shape[0] - side + 1, 2)
    view = np.rot90(patch[top : top + side, left : left + side], int(rng.integers(4)))
    if rng.random() < 0.5:
        view = view[:, ::-1]
    grey = view.astype(np.float32)
    if light > 0:
        across, down = rng.normal(0, light * grey.std(), 2).astype(np.float32)
        ramp = np.linspace(-(3**0.5), 3**0.5, side, dtype=np.float32)  # of unit variance
        grey += across * ramp + down * ramp[:, None]
    return np.asarray(grey, np.float32)
