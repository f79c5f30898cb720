"""Takes frames on a thread of its own, so that reading a camera never waits for judging."""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from camera.quality import Looks, QualityGate
from camera.source import Adaptable, Frame, Source, Triggered
from config.settings import Camera

WAITING_FRAMES = 16
"""Frames that may wait to be judged."""
WAITING_FRAMES_LIVE = 2
"""The same for a live camera, whose verdicts must be fresh."""
WAIT_S = 0.1
"""How often a waiting thread looks whether it is to end."""
TRIGGER_AGAIN_S = 1.0
"""A triggered camera that gave nothing for so long is triggered again; the part has a deadline."""


class Demand(Protocol):
    """Decides which frames are wanted: those of parts that were triggered.

    A folder or a simulation is read only while `wait` says so: each frame is taken when it is
    asked for. A camera is read all the time, so that its loss is noticed; one with a software
    trigger is triggered while `wait` says so. What nobody claims is let go.
    """

    def wait(self, timeout_s: float) -> bool:
        """Whether frames are wanted now; waits at most so long for that."""

    def claim(self, frame: Frame) -> object | None:
        """What a frame was taken for; None: nobody wants it (it is older than its trigger)."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame and what the quality gate says of it."""

    frame: Frame
    fault: str | None
    """Name of its fault, or None if it may be judged."""
    looks: Looks | None = None
    """What it looks like; None: it has a fault."""
    claim: object | None = None
    """What it was taken for, from `Demand.claim`; None: nothing demands frames."""


class Capture:
    """Reads ahead on a thread while frames are judged.

    A live source drops its oldest waiting frame when the reader is slow; any other source waits,
    so that every frame of a folder is judged. `dropped` counts what was dropped here, and gaps in
    the source's numbers. With a `Demand` only frames that are wanted are taken, and none of them
    is dropped.
    """

    def __init__(self, source: Source, gate: QualityGate, demand: Demand | None = None) -> None:
        self._source = source
        self._gate = gate
        self._demand = demand
        self._drops = source.live and demand is None
        self._pulls = demand is not None and not source.live and not isinstance(source, Triggered)
        self._claimed = threading.Event()
        self._room = WAITING_FRAMES_LIVE if self._drops else WAITING_FRAMES
        self._waiting: deque[Captured | BaseException | None] = deque()
        self._changed = threading.Condition()
        """Guards what waits; told when it is no longer empty, or has room again."""
        self._stopping = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)

    def adapt(self, camera: Camera) -> None:
        """Take on what another recipe says of the camera, from any thread.

        Frames that were taken before are no longer handed out, except those that wait already.
        """
        self._gate = QualityGate(camera.quality)
        if isinstance(self._source, Adaptable):
            self._source.adapt(camera)

    def batches(self, most: int, wait_s: float | None = None) -> Iterator[list[Captured]]:
        """Yield what waits, at least one frame and at most `most`, until the source ends.

        Where no frame comes for `wait_s` seconds, yield an empty list, so that the reader can see
        to other things.

        Raises:
            Whatever the source raised on its thread, after the frames before it.
        """
        self._thread.start()
        if isinstance(self._source, Triggered) and self._demand is not None:
            ask = threading.Thread(
                target=self._ask, args=(self._source, self._demand), name="trigger", daemon=True
            )
            ask.start()
        ended = False
        try:
            while not ended:
                items = self._take(most, wait_s)
                if not items:
                    yield []
                    continue
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
        self._claimed.set()
        self._source.close()

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            frames, expected = self._source.frames(), 0
            while self._is_wanted():
                frame = next(frames, None)
                if frame is None:
                    break
                self.dropped += frame.sequence - expected  # lost before they reached us
                expected = frame.sequence + 1
                claim = None if self._demand is None else self._demand.claim(frame)
                if self._demand is None or claim is not None:
                    self._claimed.set()
                    fault = frame.fault or self._gate.fault(frame.image)
                    self._put(Captured(frame, fault, None if fault else self._gate.looks, claim))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that judges
            end = error
        self._put(end)

    def _is_wanted(self) -> bool:
        """Whether to take another frame; waits for somebody who wants it. False: the end."""
        while not self._stopping.is_set():
            if self._demand is None or not self._pulls or self._demand.wait(WAIT_S):
                return True
        return False

    def _ask(self, source: Triggered, demand: Demand) -> None:
        """Trigger a camera for every frame that is wanted, until the end."""
        while not self._stopping.is_set():
            self._claimed.clear()
            if demand.wait(WAIT_S):
                source.trigger()
                self._claimed.wait(TRIGGER_AGAIN_S)

    def _put(self, item: Captured | BaseException | None) -> None:
        with self._changed:
            while len(self._waiting) >= self._room and isinstance(item, Captured):
                if self._drops:
                    self._waiting.popleft()
                    self.dropped += 1
                elif self._stopping.is_set():
                    return  # the newest is no gap among those that are judged still
                else:
                    self._changed.wait(WAIT_S)
            self._waiting.append(item)
            self._changed.notify()

    def _take(self, most: int, wait_s: float | None) -> list[Captured | BaseException | None]:
        """At most so many frames that wait; what follows an end is left. Empty: there were none.

        Whoever reads is woken only once half of what waited is taken: to change threads for every
        frame would cost more than the frame's own work.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, wait_s):
                return []
            items = [self._waiting.popleft()]
            while self._waiting and len(items) < most and isinstance(items[-1], Captured):
                items.append(self._waiting.popleft())
            if len(self._waiting) <= self._room // 2:
                self._changed.notify()
            return items
