"""From a camera's pixel format to grey values."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from camera.source import GreyImage

# OpenCV names a Bayer pattern after its second row and column, GenICam after its first.
_COLOURS = {
    "BayerRG8": cv2.COLOR_BayerBG2GRAY,
    "BayerGR8": cv2.COLOR_BayerGB2GRAY,
    "BayerGB8": cv2.COLOR_BayerGR2GRAY,
    "BayerBG8": cv2.COLOR_BayerRG2GRAY,
    "RGB8": cv2.COLOR_RGB2GRAY,
    "BGR8": cv2.COLOR_BGR2GRAY,
}
_BITS = {"Mono10": 10, "Mono12": 12, "Mono14": 14, "Mono16": 16}


def to_grey(data: NDArray[np.uint8], width: int, height: int, pixel_format: str) -> GreyImage:
    """Grey values, uint8 [height, width], of a frame's bytes, uint8 [n].

    10 to 16 bits lose their lower ones. What is missing at the end is black.

    Raises:
        ValueError: the pixel format is none of `config.camera.PixelFormat`.
    """
    depth = 3 if pixel_format in {"RGB8", "BGR8"} else 2 if pixel_format in _BITS else 1
    size = width * height * depth
    if data.size < size:
        data = np.concatenate([data, np.zeros(size - data.size, np.uint8)])
    data = data[:size]
    if pixel_format == "Mono8":
        return data.reshape(height, width)
    if pixel_format in _BITS:
        wide: NDArray[Any] = data.view("<u2").reshape(height, width)
        return np.asarray(np.minimum(wide >> (_BITS[pixel_format] - 8), 255), np.uint8)
    if pixel_format not in _COLOURS:
        raise ValueError(f"pixel format {pixel_format} is not known")
    shape = (height, width, 3) if depth == 3 else (height, width)
    return np.asarray(cv2.cvtColor(data.reshape(shape), _COLOURS[pixel_format]), np.uint8)
