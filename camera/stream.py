"""A camera that OpenCV reads: USB (UVC), video file, RTSP or HTTP stream.

OpenCV's traps (see the docstrings below) are held here: a read may block until its time-out, a
lost stream must be opened anew, and a file that ends early looks like one that ends.
"""

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from camera.source import Event, Frame, GreyImage, Report
from config.errors import UserError
from config.settings import URL_SCHEMES
from config.settings import OpencvSource as StreamSettings


class StreamSource:
    """Frames from whatever `cv2.VideoCapture` opens, opened again with back-off when it is lost."""

    def __init__(self, settings: StreamSettings, report: Report) -> None:
        self._settings = settings
        self._report = report
        self._closed = threading.Event()
        self.live = settings.is_url or settings.is_device
        # What is printed and stored holds no password: rtsp://user:password@host
        self._name = re.sub(r"(?<=://)[^/]*@", "", settings.address)
        if not self.live and not Path(settings.address).is_file():
            raise UserError(
                f"camera.opencv.address: {self._name}: no such file; name a device (/dev/video0), "
                f"a video file, or a URL ({', '.join(URL_SCHEMES)})"
            )

    def frames(self) -> Iterator[Frame]:
        """Yield frames; a live camera is opened again for ever, a file is read once.

        Raises:
            UserError: a video file cannot be opened or holds no frame.
        """
        sequence = 0
        wait = self._settings.retry_first_s
        while not self._closed.is_set():
            capture = self._open()
            if capture is not None:
                before = sequence
                try:
                    for image in self._read(capture):
                        yield Frame(
                            image, sequence, time.monotonic_ns(), time.time_ns(), self._name
                        )
                        sequence += 1
                    if not self.live:
                        self._report_end(capture, sequence)
                        return
                finally:  # also when nobody reads on: a device opens once
                    capture.release()
                if sequence > before:
                    wait = self._settings.retry_first_s
            elif not self.live:
                raise UserError(
                    f"{self._name}: not a video OpenCV can open; "
                    "is it whole, and of a common format (mp4, avi, mkv)?"
                )
            if self._closed.is_set():
                return
            self._report(Event("lost", f"{self._name}: no picture; next try in {wait:g} s"))
            self._closed.wait(wait)
            wait = min(wait * 2, self._settings.retry_longest_s)

    def close(self) -> None:
        """Make `frames` end; a read under way ends at its time-out at the latest."""
        self._closed.set()

    def _open(self) -> cv2.VideoCapture | None:
        address = self._settings.address
        if self._settings.is_device and not address.isdecimal() and not Path(address).exists():
            return None  # V4L2 would print a warning of its own at every try
        # Without these two a dead server blocks for half a minute.
        timeouts = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            int(self._settings.open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            int(self._settings.read_timeout_s * 1000),
        ]
        if self._settings.is_device:
            device = int(address) if address.isdecimal() else address
            capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        else:
            capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, timeouts)
        if not capture.isOpened():
            capture.release()
            return None
        self._report(Event("opened", f"{self._name}: picture is there"))
        return capture

    def _read(self, capture: cv2.VideoCapture) -> Iterator[GreyImage]:
        while not self._closed.is_set():
            good, image = capture.read()
            if not good or image is None:
                return
            if image.ndim == 3:
                image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            yield np.asarray(image, np.uint8)

    def _report_end(self, capture: cv2.VideoCapture, frames: int) -> None:
        """Say how a file ended: the container promises a frame count, a broken file holds fewer."""
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if self._closed.is_set():
            return
        if frames == 0:
            raise UserError(f"{self._name}: holds no frame that can be read; record it again")
        if promised > frames:
            text = f"{self._name}: truncated: {frames} of {promised} frames could be read"
            self._report(Event("truncated", text))
        else:
            self._report(Event("ended", f"{self._name}: end of the video, {frames} frames"))
