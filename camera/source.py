"""The contract of a camera: frames with their times, and events when something happens.

A source is an object with `live`, `frames()` and `close()`; `camera.opening.open_source` makes the
one that the settings name. A new kind that cannot hang (files, a simulator) is one more
file beside `folder.py`; a new kind of camera is one more reader beside `stream_reader.py`, which
`camera.process` runs in a process of its own.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from config.settings import Camera

GreyImage: TypeAlias = NDArray[np.uint8]


Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""


class KnownDefect(NamedTuple):
    """A defect whose place the source knows."""

    name: str
    box: Box


class Piece(NamedTuple):
    """A picture of a plate that is photographed piece by piece."""

    plate: int
    """Number of the plate since the source was opened, from 0; one that broke off counts."""
    number: int
    """Of the piece, from 0."""
    pieces: int
    """Pieces of the plate."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One image from a camera."""

    image: GreyImage
    """Grey values, uint8 [height, width]."""
    sequence: int
    """Number of this frame since the source was opened, from 0; gaps are lost frames."""
    monotonic_ns: int
    """Monotonic clock when the frame was taken, in nanoseconds; what durations are made of."""
    wall_ns: int
    """Wall clock when the frame was taken, in nanoseconds since 1970; may jump."""
    origin: str = ""
    """Where it came from, for people: a file, an address, a seed."""
    truth: str | None = None
    """The true class where the source knows it (class folder), or that of the surface outside
    of `defects` (simulator)."""
    defects: tuple[KnownDefect, ...] = ()
    fault: str | None = None
    """What the camera itself says is wrong with it (`incomplete`): then it is never judged."""
    place_mm: tuple[float, float] | None = None
    """Where on the stage the middle of the picture lies, in millimetres; None: it has no place."""
    piece: Piece | None = None
    """Which piece of a scanned plate it is; None: of none."""

    def truth_at(self, box: Box) -> str | None:
        """The true class of a region, where it is known: that of its largest visible defect."""
        seen = [(_overlap(defect.box, box), defect.name) for defect in self.defects]
        area, name = max(seen, default=(0, ""))
        return name if area >= LEAST_DEFECT_PX else self.truth


LEAST_DEFECT_PX = 400
"""Overlap of a defect's box with a region from which on the region shows it, in pixels."""


def _overlap(a: Box, b: Box) -> int:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a camera and that somebody may need to know."""

    kind: str
    """`opened`, `lost`, `unreadable`, `truncated`, `ended`, …"""
    text: str
    """One line: what, where, what to do."""


Report: TypeAlias = Callable[[Event], None]


class Source(Protocol):
    """Where frames come from."""

    live: bool
    """Whether frames go on by themselves: a slow reader then gets the latest, not all."""

    def frames(self) -> Iterator[Frame]:
        """Open the camera and yield its frames, reconnecting by itself; ends only at the end.

        Raises:
            UserError: the camera cannot work as it is set up.
        """
        ...

    def close(self) -> None:
        """Make `frames` end soon, from any thread; may be called twice."""
        ...


@runtime_checkable
class Triggered(Protocol):
    """A source that takes a frame when it is told to, if its settings say so."""

    def trigger(self) -> None:
        """Ask for one frame, from any thread; it comes out of `frames`."""
        ...


@runtime_checkable
class Adaptable(Protocol):
    """A source that another recipe can set up anew while it runs."""

    def adapt(self, camera: Camera) -> None:
        """Take on exposure, gain, light and plate of a recipe, from any thread.

        No frame that was taken before comes out of `frames` after it.
        """
        ...


class Pace:
    """Holds a source to its frame rate without drifting; wakes at once when it is closed."""

    def __init__(self, rate_fps: float, closed: threading.Event) -> None:
        self._period = 1 / rate_fps if rate_fps else 0.0
        self._closed = closed
        self._next = time.monotonic()

    def wait(self) -> bool:
        """Wait for the next frame's moment; False once the source is closed."""
        if self._period:
            self._next += self._period
            late = self._next - time.monotonic()
            if late < -1.0:  # after a long stall start anew instead of racing to catch up
                self._next -= late
            return not self._closed.wait(min(max(late, 0), threading.TIMEOUT_MAX))
        return not self._closed.is_set()
