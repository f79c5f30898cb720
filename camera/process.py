"""A live camera read in a process of its own: one that hangs is killed and opened anew.

`read()` of a camera can block for ever inside a driver, where no thread can be stopped. So the
reader is another process, frames come through shared memory (`camera.outbox` is its side), and
whatever happens to it the inspection goes on.
"""

import contextlib
import json
import mmap
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from camera.outbox import CLOSE_S, SLOT_BYTES, SLOTS
from camera.pixels import to_grey
from camera.source import Event, Frame, Report
from config.document import without_passwords
from config.errors import UserError
from config.settings import Camera, Live, OpencvSource

ENDING_S = 1.0
"""Wait for the exit status of a reader whose socket has closed."""
KILL_PATIENCE_S = 2.0
"""A killed process that is still there after so long hangs in its driver: it is left behind."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How to start the process that reads a camera."""

    command: list[str]
    """Two file descriptors are added to it; see `camera.outbox.run`."""
    settings: dict[str, Any]
    """What it is told: JSON."""
    name: str
    """The camera's name for people, without a password."""
    own_timeouts_s: float = 0.0
    """How long the camera's own time-outs may make it silent."""
    triggered: bool = False
    """Whether each frame was asked for, so that none may be dropped for a later one."""
    environment: dict[str, str] = field(default_factory=dict)
    changes: Callable[[Camera], dict[str, Any]] | None = None
    """What it is told for a recipe's camera settings, where it can be set up while it runs."""


_RUN_MODULE = """
import runpy, sys
sys.path.append(sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


def module_command(python: str, module: str) -> list[str]:
    """The command that runs a module of ours under a Python that need not know of us.

    Our folder comes last on its path, so that nothing beside us hides what it has itself.
    """
    root = str(Path(__file__).parent.parent)
    return [python, "-I", "-B", "-c", _RUN_MODULE, root, module]


def stream_reader(settings: OpencvSource) -> Reader:
    """The reader of a USB camera or a network stream."""
    # What is printed and stored holds no password: rtsp://user:password@host
    name = without_passwords(re.sub(r"(?<=://)[^/]*@", "", settings.address))
    # The opening and its read time-outs, of which OpenCV was seen to take three.
    own = settings.open_timeout_s + 3 * settings.read_timeout_s
    told = settings.model_dump(mode="json") | {"is_device": settings.is_device}
    return Reader(module_command(sys.executable, "camera.stream_reader"), told, name, own)


class ProcessSource:
    """Frames of a camera that another process reads, started again with back-off when it ends."""

    def __init__(self, reader: Reader, live: Live, report: Report) -> None:
        self.live = not reader.triggered
        self._reader = reader
        self._settings = live
        self._report = report
        self._closed = threading.Event()
        self._child: _Child | None = None
        self._lock = threading.Lock()

    def frames(self) -> Iterator[Frame]:
        """Yield frames for ever, until `close`.

        Raises:
            UserError: the camera says that it cannot work as it is set up.
        """
        settings = self._settings
        first = 0
        wait = settings.retry_first_s
        while not self._closed.is_set():
            expected = first
            with contextlib.ExitStack() as stack:
                child = self._start(stack)
                for frame in self._read(child, first):
                    expected = frame.sequence + 1
                    yield frame
            if expected > first:
                wait = settings.retry_first_s
            first = expected
            if self._closed.is_set():
                return
            reason = child.reason or "no picture"
            self._report(Event("lost", f"{self._reader.name}: {reason}; next try in {wait:g} s"))
            self._closed.wait(wait)
            wait = min(wait * 2, settings.retry_longest_s)

    def close(self) -> None:
        """Make `frames` end at once, from any thread."""
        self._closed.set()
        with self._lock:
            if self._child is not None:
                self._child.hang_up()

    def trigger(self) -> None:
        """Ask a camera whose `trigger` is `software` for one frame, from any thread.

        Any other camera takes no notice. While the camera is lost nothing happens: whoever waits
        for the frame has a deadline.
        """
        with self._lock:
            if self._child is not None:
                self._child.send({"trigger": True})

    def adapt(self, camera: Camera) -> None:
        """Set the camera up for another recipe, from any thread; no older frame comes after it."""
        if self._reader.changes is None:
            return
        settings = self._reader.changes(camera)
        with self._lock:
            if settings == self._reader.settings:
                return
            self._reader = replace(self._reader, settings=settings)  # for its next life, too
            if self._child is not None:
                self._child.setup += 1
                self._child.send({"adapt": settings, "setup": self._child.setup})

    @property
    def pid(self) -> int | None:
        """Process that reads the camera now."""
        with self._lock:
            return None if self._child is None else self._child.pid

    def _start(self, stack: contextlib.ExitStack) -> "_Child":
        with self._lock:
            child = self._child = _Child(self._reader)
            stack.callback(self._stop, child)
            if self._closed.is_set():  # closed while it was started
                child.hang_up()
        return child

    def _stop(self, child: "_Child") -> None:
        with self._lock:
            self._child = None
        child.kill()

    def _read(self, child: "_Child", first: int) -> Iterator[Frame]:
        """The frames of one life of the reader, until it ends, hangs or is hung up on."""
        patience = self._settings.hang_timeout_s + self._reader.own_timeouts_s
        while (messages := child.receive(patience)) is not None:
            frames = [message for message in messages if "frame" in message]
            for message in messages:
                if "event" in message:
                    text = f"{self._reader.name}: {message['text']}"
                    self._report(Event(message["event"], text))
            if self.live:
                for message in frames[:-1]:  # the latest wins
                    child.free(message["frame"])
                frames = frames[-1:]
            for message in frames:
                if message.get("setup", 0) < child.setup:
                    child.free(message["frame"])  # taken before the camera was set up anew
                    continue
                yield _frame(child, message, first, self._reader.name)
            if end := next((message for message in messages if "end" in message), None):
                if end["end"] == "cannot-work":
                    raise UserError(f"{self._reader.name}: {end['text']}")
                child.reason = end["text"].strip().splitlines()[-1]
                if end["end"] == "broken":
                    text = " ".join(end["text"].split())
                    self._report(Event("reader", f"{self._reader.name}: its reader broke: {text}"))
                return


def _frame(child: "_Child", message: dict[str, Any], first: int, name: str) -> Frame:
    """A frame out of shared memory; its slot goes back to the reader."""
    data = child.copy(message["frame"], message["bytes"])
    child.free(message["frame"])
    image = to_grey(data, message["width"], message["height"], message["pixel_format"])
    fault = message["fault"] or None
    return Frame(
        image, first + message["sequence"], message["monotonic_ns"], message["wall_ns"], name,
        fault=fault,
    )  # fmt: skip


class _Child:
    """One life of a reader's process, with the memory and the socket that are shared with it."""

    def __init__(self, reader: Reader) -> None:
        self.reason = ""
        """Why it ended."""
        self.hangs = False
        self.setup = 0
        """How often it was set up anew."""
        self._buffer = b""
        ours, theirs = socket.socketpair()
        self._socket = ours
        memory = os.memfd_create("millsight-camera")  # gone with the last process that holds it
        try:
            os.ftruncate(memory, SLOTS * SLOT_BYTES)
            self._memory = mmap.mmap(memory, SLOTS * SLOT_BYTES)
            self._process = subprocess.Popen(
                [*reader.command, str(memory), str(theirs.fileno())],
                pass_fds=[memory, theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | reader.environment,
                start_new_session=True,  # Ctrl-C is for us; we end it
            )
        except BaseException:
            ours.close()
            raise
        finally:
            os.close(memory)
            theirs.close()
        self.pid = self._process.pid
        self.send(reader.settings)

    def receive(self, patience_s: float) -> list[dict[str, Any]] | None:
        """All messages that wait, at least one; None once the reader ended or is silent too long.

        What it says last is received before its end.
        """
        deadline = time.monotonic() + patience_s
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._socket], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                self.hangs = True
                self.reason = f"its reader was silent for {patience_s:g} s and is killed"
                return None
            if not self._take():
                code = None
                with contextlib.suppress(subprocess.TimeoutExpired):  # its socket closes first
                    code = self._process.wait(ENDING_S)
                self.reason = "its reader ended" + (f" with status {code}" if code else "")
                return None
        while select.select([self._socket], [], [], 0)[0] and self._take():
            pass
        *lines, self._buffer = self._buffer.split(b"\n")
        return [json.loads(line) for line in lines]

    def _take(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except OSError:
            return False
        self._buffer += data
        return bool(data)

    def send(self, message: dict[str, Any]) -> None:
        """Tell the reader something; it may have ended."""
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def copy(self, slot: int, size: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        """What is in a slot, uint8 [size]."""
        start = slot * SLOT_BYTES
        return np.frombuffer(self._memory[start : start + size], np.uint8)

    def free(self, slot: int) -> None:
        """Give a slot back to the reader."""
        self.send({"free": slot})

    def hang_up(self) -> None:
        """Make `receive` end, from any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def kill(self) -> None:
        """End it, whatever it does; one that does not hang lets go of its camera first."""
        self.hang_up()
        if not self.hangs:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2 * CLOSE_S)
        self._process.kill()
        try:
            self._process.wait(KILL_PATIENCE_S)
        except subprocess.TimeoutExpired:  # in a driver: not even a kill ends it
            self._process.returncode = -9
        self._socket.close()
        self._memory.close()
