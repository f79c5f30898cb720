"""A GigE Vision camera for the tests: real GVCP and GVSP over UDP, showing pictures of ours.

Run as a program: `python gige_camera.py [--address 127.0.0.1] [--serial PIC1] [--folder PICTURES]
[--lose 0.005]`. Prints `up` when it answers. Aravis' fake camera (Debian's libaravis-0.8-0) is
asked through ctypes to fill its frames from a folder of images or from the simulated platform.
SIGUSR1 makes it lose packets, SIGUSR2 stops that: they are not sent, so that they are really
missing on the wire.
The camera's exposure brightens the picture; at 10 ms it is as bright as it is in its file.
"""

import argparse
import ctypes
import fcntl
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np

from camera.folder import find_images, read_grey
from camera.genicam import aravis_python
from camera.source import GreyImage
from camera.vmc220 import render_frame
from config.errors import UserError
from config.settings import Vmc220Source

PLATES = 8
"""Simulated plates that take turns."""

FILL = CFUNCTYPE(None, c_void_p, c_void_p, c_uint32, c_uint32, c_uint32)
SIGNATURES = {
    "arv_gv_fake_camera_new": (c_void_p, [c_char_p, c_char_p]),
    "arv_gv_fake_camera_get_fake_camera": (c_void_p, [c_void_p]),
    "arv_gv_fake_camera_is_running": (c_int, [c_void_p]),
    "arv_fake_camera_set_fill_pattern": (None, [c_void_p, FILL, c_void_p]),
    "arv_buffer_get_data": (c_void_p, [c_void_p, POINTER(c_size_t)]),
    "arv_buffer_get_image_width": (c_int, [c_void_p]),
    "arv_buffer_get_image_height": (c_int, [c_void_p]),
}


def load_aravis() -> ctypes.CDLL:
    """Debian's library; raises OSError where it is not installed."""
    library = ctypes.CDLL("libaravis-0.8.so.0")
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def missing() -> str | None:
    """What is not installed; None: the camera can be had, and read."""
    try:
        load_aravis()
        aravis_python()
    except (OSError, UserError):
        return "needs Aravis: apt install libaravis-0.8-0 gir1.2-aravis-0.8 python3-gi"
    return None


@contextmanager
def gige_camera(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A camera at 127.0.0.1 that is killed at the end; one at a time, for its port is fixed."""
    with (Path(tempfile.gettempdir()) / "millsight-test-gige.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, __file__, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "up\n"
                yield process
            finally:
                process.kill()


def pictures(folder: Path | None, size: int) -> list[GreyImage]:
    """What the camera shows, one after the other."""
    if folder is not None:
        return [read_grey(path) for path in find_images(folder)]
    settings = Vmc220Source(seed=1, width_px=size, height_px=size)
    return [render_frame(settings, number).image for number in range(PLATES)]


class GigeCamera:
    """Fills the frames of Aravis' fake camera."""

    def __init__(
        self, library: ctypes.CDLL, shown: list[GreyImage], noise: bool, log: TextIO | None
    ) -> None:
        self._library = library
        self._shown = shown
        self._rng = np.random.default_rng(0)
        self._noise = noise
        self._log = log
        self.frames = 0
        self.callback = FILL(self._fill)  # must live as long as the camera

    def _fill(self, buffer: int, _: int, exposure_us: int, gain: int, pixel_format: int) -> None:
        size = c_size_t()
        data = self._library.arv_buffer_get_data(buffer, byref(size))
        width = self._library.arv_buffer_get_image_width(buffer)
        height = self._library.arv_buffer_get_image_height(buffer)
        image = self._shown[self.frames % len(self._shown)]
        if image.shape != (height, width):
            image = np.asarray(cv2.resize(image, (width, height)), np.uint8)
        bright = np.asarray(cv2.convertScaleAbs(image, alpha=exposure_us / 1e4), np.uint8)
        if self._noise:  # as a sensor has it: no two frames are the same
            bright[:: height // 8, :] ^= self._rng.integers(0, 2, width, np.uint8)
        if self._log is not None:
            number = self.frames % len(self._shown)
            self._log.write(f"{time.monotonic_ns()} {number}\n")
            self._log.flush()
        ctypes.memmove(data, np.ascontiguousarray(bright).ctypes.data, bright.size)
        self.frames += 1


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--serial", default="PIC1")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--still", action="store_true", help="no noise: a picture may repeat")
    parser.add_argument("--lose", type=float, default=0.0, help="share of packets lost at once")
    parser.add_argument("--lose-later", type=float, default=0.005, help="the same, at SIGUSR1")
    parser.add_argument("--log", type=Path, help="when which picture was shown, a line each")
    arguments = parser.parse_args()
    library = load_aravis()
    shown = pictures(arguments.folder, arguments.size)
    log = None if arguments.log is None else arguments.log.open("a")
    camera = GigeCamera(library, shown, not arguments.still, log)
    server = library.arv_gv_fake_camera_new(arguments.address.encode(), arguments.serial.encode())
    if not library.arv_gv_fake_camera_is_running(server):
        sys.exit(f"{arguments.address}: cannot listen there")
    fake = library.arv_gv_fake_camera_get_fake_camera(server)
    library.arv_fake_camera_set_fill_pattern(fake, camera.callback, None)

    def lose(share: float) -> None:
        library.g_object_set(c_void_p(server), b"gvsp-lost-ratio", ctypes.c_double(share), None)

    if arguments.lose:
        lose(arguments.lose)
    awaited = [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    print("up", flush=True)
    while (heard := signal.sigwait(awaited)) != signal.SIGTERM:
        lose(arguments.lose_later if heard == signal.SIGUSR1 else 0.0)


if __name__ == "__main__":
    main()
