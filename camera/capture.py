"""Takes frames on a thread of its own, so that reading a camera never waits for judging."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from camera.quality import Looks, QualityGate
from camera.source import Frame, Source

WAITING_FRAMES = 16
"""Frames that may wait to be judged."""
WAITING_FRAMES_LIVE = 2
"""The same for a live camera, whose verdicts must be fresh."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame and what the quality gate says of it."""

    frame: Frame
    fault: str | None
    """Name of its fault, or None if it may be judged."""
    looks: Looks | None = None
    """What it looks like; None: it has a fault."""


class Capture:
    """Reads ahead on a thread while frames are judged.

    A live source drops its oldest waiting frame when the reader is slow; any other source waits,
    so that every frame of a folder is judged. `dropped` counts what was dropped here, and gaps in
    the source's numbers.
    """

    def __init__(self, source: Source, gate: QualityGate) -> None:
        self._source = source
        self._gate = gate
        size = WAITING_FRAMES_LIVE if source.live else WAITING_FRAMES
        self._queue: queue.Queue[Captured | BaseException | None] = queue.Queue(size)
        self._stopping = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)

    def batches(self, most: int, wait_s: float | None = None) -> Iterator[list[Captured]]:
        """Yield what waits, at least one frame and at most `most`, until the source ends.

        Where no frame comes for `wait_s` seconds, yield an empty list, so that the reader can see
        to other things.

        Raises:
            Whatever the source raised on its thread, after the frames before it.
        """
        self._thread.start()
        ended = False
        try:
            while not ended:
                try:
                    items = [self._queue.get(timeout=wait_s)]
                except queue.Empty:
                    yield []
                    continue
                with contextlib.suppress(queue.Empty):
                    while len(items) < most and isinstance(items[-1], Captured):
                        items.append(self._queue.get_nowait())
                if not isinstance(items[-1], Captured):
                    ended = True
                if batch := [item for item in items if isinstance(item, Captured)]:
                    yield batch
                if isinstance(items[-1], BaseException):
                    raise items[-1]
        finally:
            self.close()

    def close(self) -> None:
        """Stop the source, from any thread; iteration ends soon after."""
        self._stopping.set()
        self._source.close()

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            expected = 0
            for frame in self._source.frames():
                self.dropped += frame.sequence - expected  # lost before they reached us
                expected = frame.sequence + 1
                fault = frame.fault or self._gate.fault(frame.image)
                self._put(Captured(frame, fault, None if fault else self._gate.looks))
                if self._stopping.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - handed to the thread that judges
            end = error
        self._put(end)

    def _put(self, item: Captured | BaseException | None) -> None:
        patience = 0.0 if self._source.live else 0.2
        while True:
            try:
                self._queue.put(item, timeout=patience)
            except queue.Full:
                if self._source.live or self._stopping.is_set():
                    with contextlib.suppress(queue.Empty):
                        self._queue.get_nowait()
                        self.dropped += 1
            else:
                return
