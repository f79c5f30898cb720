"""Looking through a camera from the command line: frames, with a deadline, and figures of each."""

import threading
import time
from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

import numpy as np

from camera.quality import QualityGate, sharpness
from camera.source import Frame, Source, Triggered
from config.errors import UserError

TRIGGER_AGAIN_S = 1.0
"""A frame that was asked for and did not come is asked for again after so long."""


class Figures(NamedTuple):
    """What can be said of a frame without a network."""

    sequence: int
    width: int
    height: int
    mean: float
    """Grey value, 0 to 255."""
    contrast: float
    """Standard deviation of the grey values."""
    sharpness: float
    """See `camera.quality.sharpness`."""
    fault: str
    """Name of its fault, or `good`."""
    origin: str

    def line(self) -> str:
        """One line for the terminal."""
        return (
            f"{self.sequence:>5} {self.width}×{self.height} mean {self.mean:5.1f} "
            f"contrast {self.contrast:5.1f} sharpness {self.sharpness:.4f} "
            f"{self.fault} {self.origin}"
        )


def figures_of(frame: Frame, gate: QualityGate) -> Figures:
    """The figures of a frame; the gate remembers the frame to know a frozen picture."""
    height, width = frame.image.shape
    return Figures(
        frame.sequence,
        width,
        height,
        float(np.mean(frame.image)),
        float(np.std(frame.image)),
        sharpness(frame.image),
        frame.fault or gate.fault(frame.image) or "good",
        frame.origin,
    )


def watch(source: Source, wait_s: float) -> Generator[Frame, None, None]:
    """Yield the frames of a source; one that is triggered by software is triggered for each.

    Raises:
        UserError: no frame came for `wait_s` seconds.
    """
    last = time.monotonic()
    late = threading.Event()
    ended = threading.Event()

    def see_to_it() -> None:
        asked = 0.0
        while not ended.wait(0.05):
            now = time.monotonic()
            if now - last > wait_s:
                late.set()
                source.close()
                return
            if isinstance(source, Triggered) and (last > asked or now - asked >= TRIGGER_AGAIN_S):
                source.trigger()
                asked = now

    helper = threading.Thread(target=see_to_it, name="watch", daemon=True)
    helper.start()
    try:
        for frame in source.frames():
            last = time.monotonic()
            yield frame
            last = time.monotonic()  # what is done with a frame is not the camera's fault
        if late.is_set():
            raise UserError(
                f"no picture for {wait_s:g} s; see `millsight camera list`, cable, power, and "
                "whether another program has the camera"
            )
    finally:
        ended.set()
        source.close()
        helper.join()


def with_figures(
    source: Source, gate: QualityGate, wait_s: float
) -> Generator[tuple[Frame, Figures], None, None]:
    """The frames of a source as `watch` gives them, each with its figures.

    Raises:
        UserError: no frame came for `wait_s` seconds.
    """
    with closing(watch(source, wait_s)) as frames:
        for frame in frames:
            yield frame, figures_of(frame, gate)
