"""Levelled frames: light and contrast alike everywhere, so that patches can share feature maps.

A patch that is judged alone is standardised by its own grey values, and no two patches by the
same. What they share has to be standardised by what is around every place of the frame instead.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

GREY = 128
"""The grey value of what is as bright as its surroundings."""
CONTRAST = 32
"""Grey values for a standard deviation of the surroundings: four of them fit in, either way."""
EPSILON = 1.0
"""Added to the variance: a flat surface must not become amplified noise."""
BLOCK = 16
"""Surroundings are summed up from blocks of so many pixels a side, for speed."""
AROUND = 13
"""Blocks a side of the surroundings: 208 pixels, about a patch."""


def level(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame by the mean and deviation around every place: uint8 [H, W] to uint8 [H, W].

    Surroundings are what is within 104 pixels, mirrored at the frame's edges.
    """
    height, width = frame.shape
    blocks = (max(width // BLOCK, 1), max(height // BLOCK, 1))
    around = (min(AROUND, blocks[0]), min(AROUND, blocks[1]))
    grey = frame.astype(np.float32)
    mean, squares = (
        cv2.blur(
            cv2.resize(values, blocks, interpolation=cv2.INTER_AREA), around,
            borderType=cv2.BORDER_REFLECT_101,
        )
        for values in (grey, grey * grey)
    )  # fmt: skip
    scale = CONTRAST / np.sqrt(np.maximum(squares - mean * mean, 0) + EPSILON)
    grey -= cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)
    grey *= cv2.resize(scale, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.addWeighted(grey, 1, grey, 0, GREY, dtype=cv2.CV_8U), np.uint8)
