"""The side of a camera's process that hands frames over: what a reader is given to work with.

A reader is a small program that opens one camera, puts its frames here until the camera is lost,
and ends; `camera.process` starts it, watches it, kills it. Standard library only: the reader of
industrial cameras runs under the Python of the operating system.

Both sides share a memory file and a socket. The memory is cut into slots. A slot belongs to the
reader until it says `frame`, then to the other side until that says `free`: neither ever reads
what the other writes. While no slot is free the newest frame waits here and replaces the one
before it, so that a slow other side gets the latest, and the camera is always read.
"""

import json
import mmap
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

SLOTS = 3
SLOT_BYTES = 128 << 20
"""Largest frame; the file is sparse, so memory is taken only for what frames fill."""
CLOSE_S = 1.0
"""Time in which a reader lets go of its camera."""


class LostError(Exception):
    """The camera is gone or cannot be opened now: it will be opened again."""


class SetUpError(Exception):
    """The camera cannot work as it is set up; its text says what to mend."""


class Picture(NamedTuple):
    """A frame as it came from the camera."""

    data: Any
    """Its bytes, rows one after another: bytes or a C-contiguous buffer."""
    width: int
    height: int
    pixel_format: str
    """GenICam's name (PFNC): `Mono8`, `BayerRG8`, …"""
    fault: str = ""
    """`incomplete` where parts of it did not arrive."""


class Outbox:
    """What a reader speaks through."""

    def __init__(self, memory: int, channel: int) -> None:
        """Take over two file descriptors: the memory and the socket to the other side."""
        self._memory = mmap.mmap(memory, SLOTS * SLOT_BYTES)
        self._socket = socket.socket(fileno=channel)
        self._lines = self._socket.makefile("rb")
        self.settings: dict[str, Any] = json.loads(self._lines.readline())
        self._lock = threading.Lock()
        self._free = list(range(SLOTS))
        self._waiting: tuple[int, int, int, int, Picture] | None = None
        self._sequence = 0
        self.closing = threading.Event()
        """Set when the reader shall let go of the camera and end; it has `CLOSE_S` for it."""
        self.on_trigger: Callable[[], None] | None = None
        """Called on another thread for every trigger of the other side."""
        self._adapt: Callable[[dict[str, Any]], int] | None = None
        self._adaption: tuple[dict[str, Any], int] | None = None
        self._adapting = threading.Lock()
        self._setup = self._next_setup = self._old_frames = 0
        threading.Thread(target=self._listen, name="outbox", daemon=True).start()

    def put(self, picture: Picture, lost_before: int = 0) -> None:
        """Hand a frame over; `lost_before` frames between the last one and this never came."""
        now = (time.monotonic_ns(), time.time_ns())
        if (size := memoryview(picture.data).nbytes) > SLOT_BYTES:
            raise SetUpError(
                f"a frame has {size} bytes, more than {SLOT_BYTES}; read a part of the sensor"
            )
        with self._lock:
            self._sequence += lost_before
            if self._old_frames:
                self._old_frames -= 1
            else:
                self._setup = self._next_setup
            frame = (self._sequence, *now, self._setup, picture)
            self._sequence += 1
            if self._free:
                self._write(frame)
            else:
                self._waiting = frame

    def say(self, kind: str, text: str) -> None:
        """Report an event, one line for people."""
        self._send({"event": kind, "text": text})

    def alive(self) -> None:
        """Say that the reader does not hang; a reader is silent for a second at most."""
        self._send({"alive": True})

    def end(self, kind: str, text: str) -> None:
        """Say how the reader ended: `lost`, `cannot-work` or `broken`."""
        self._send({"end": kind, "text": text})

    def _write(self, frame: tuple[int, int, int, int, Picture]) -> None:
        sequence, monotonic_ns, wall_ns, setup, picture = frame
        data = memoryview(picture.data).cast("B")
        slot = self._free.pop()
        start = slot * SLOT_BYTES
        self._memory[start : start + len(data)] = data
        self._send({
            "frame": slot, "bytes": len(data), "sequence": sequence, "monotonic_ns": monotonic_ns,
            "wall_ns": wall_ns, "width": picture.width, "height": picture.height,
            "pixel_format": picture.pixel_format, "fault": picture.fault, "setup": setup,
        })  # fmt: skip

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:  # the other side is gone
            self.closing.set()

    def adapt_by(self, adapt: Callable[[dict[str, Any]], int]) -> None:
        """From now on set the camera up anew by this, whenever the other side has other settings.

        It gets the settings, and says how many frames may still come that were begun before it.
        It may raise SetUpError, and is called on another thread.
        """
        with self._adapting:
            self._adapt = adapt
            self._set_up_anew()

    def _set_up_anew(self) -> None:
        """Until that is done the camera's frames are those of the old set-up."""
        if self._adapt is None or self._adaption is None:
            return
        (settings, setup), self._adaption = self._adaption, None
        try:
            old_frames = self._adapt(settings)
        except SetUpError as error:
            self.say("camera-settings", f"refused, so that there is no picture: {error}")
            return
        with self._lock:
            self._next_setup, self._old_frames = setup, old_frames

    def _listen(self) -> None:
        """Take what the other side says; its end is ours, even while a read of the camera hangs."""
        try:
            for line in self._lines:
                message = json.loads(line)
                if "free" in message:
                    with self._lock:
                        self._free.append(message["free"])
                        if self._waiting is not None:
                            self._write(self._waiting)
                            self._waiting = None
                elif "trigger" in message and self.on_trigger is not None:
                    self.on_trigger()
                elif "adapt" in message:
                    with self._adapting:
                        self._adaption = (message["adapt"], message["setup"])
                        self._set_up_anew()
        except OSError:
            pass
        self.closing.set()
        time.sleep(CLOSE_S)
        os._exit(0)


def run(read: Callable[[Outbox], None]) -> None:
    """The `main` of a reader: `python -m reader MEMORY CHANNEL`, two file descriptors."""
    outbox = Outbox(int(sys.argv[1]), int(sys.argv[2]))
    try:
        read(outbox)
        outbox.end("lost", "no picture")
    except LostError as error:
        outbox.end("lost", str(error))
    except SetUpError as error:
        outbox.end("cannot-work", str(error))
    except BaseException:  # noqa: BLE001 - the other side says it in one line and tries again
        outbox.end("broken", traceback.format_exc())
    os._exit(0)  # a camera's library must not hold us with threads of its own
