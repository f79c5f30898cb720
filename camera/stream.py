"""A video file that OpenCV reads; one that ends early looks like one that ends."""

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


class VideoFile:
    """The frames of a video file, once and as fast as they are taken."""

    live = False

    def __init__(self, settings: StreamSettings, report: Report) -> None:
        self._name = settings.address
        self._report = report
        self._closed = threading.Event()
        if not Path(self._name).is_file():
            raise UserError(
                f"camera.opencv.address: {self._name}: no such file; name a device (/dev/video0), "
                f"a video file, or a URL ({', '.join(URL_SCHEMES)})"
            )

    def frames(self) -> Iterator[Frame]:
        """Yield its frames.

        Raises:
            UserError: it cannot be opened or holds no frame.
        """
        capture = cv2.VideoCapture(self._name, cv2.CAP_FFMPEG)
        try:
            if not capture.isOpened():
                raise UserError(
                    f"{self._name}: not a video OpenCV can open; "
                    "is it whole, and of a common format (mp4, avi, mkv)?"
                )
            self._report(Event("opened", f"{self._name}: picture is there"))
            sequence = 0
            for image in self._read(capture):
                yield Frame(image, sequence, time.monotonic_ns(), time.time_ns(), self._name)
                sequence += 1
            self._report_end(capture, sequence)
        finally:
            capture.release()

    def close(self) -> None:
        """Make `frames` end before its next frame."""
        self._closed.set()

    def _read(self, capture: cv2.VideoCapture) -> Iterator[GreyImage]:
        while not self._closed.is_set():
            good, image = capture.read()
            if not good or image is None:
                return
            if image.ndim == 3:
                image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            yield np.asarray(image, np.uint8)

    def _report_end(self, capture: cv2.VideoCapture, frames: int) -> None:
        """Say how it ended: the container promises a frame count, a broken file holds fewer."""
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
