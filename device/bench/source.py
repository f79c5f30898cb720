"""A camera whose pictures are in memory already: what a frame costs without its decoding."""

import threading
import time
from collections.abc import Iterator, Sequence

from camera.source import Frame, GreyImage


class MemorySource:
    """Hands out pictures as fast as they are taken."""

    live = False

    def __init__(self, images: Sequence[GreyImage], frames: int) -> None:
        """Images, uint8 [height, width] each, in turn until there were so many frames."""
        self._images = images
        self._frames = frames
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames."""
        for number in range(self._frames):
            if self._closed.is_set():
                return
            image = self._images[number % len(self._images)]
            yield Frame(image, number, time.monotonic_ns(), time.time_ns(), "memory")

    def close(self) -> None:
        """Make `frames` end before its next picture."""
        self._closed.set()
