"""A camera that replays the images of a folder; class folders are ground truth."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from camera.recording import read_index
from camera.source import Event, Frame, GreyImage, Pace, Report
from config.errors import UserError
from config.settings import FolderSource as FolderSettings

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp"})


def find_images(folder: Path) -> list[Path]:
    """All image files below a folder, by name.

    Raises:
        UserError: the folder is missing, unreadable, or has no image.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    try:
        files = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        )
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot be read: {error.strerror}") from None
    if not files:
        raise UserError(
            f"{folder}: no image in it; known kinds: {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return files


def read_grey(path: Path) -> GreyImage:
    """Read an image as grey values, uint8 [height, width].

    Raises:
        UserError: the file cannot be read, or is not a whole image.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if data.size else None
    except cv2.error:  # a header that claims more pixels than OpenCV takes
        image = None
    if image is None:
        raise UserError(f"{path}: not an image OpenCV can read; remove or replace it")
    return np.asarray(image, np.uint8)


def printable(text: str) -> str:
    """Text with a question mark for what of a file's name is no UTF-8: no store takes that."""
    return text.encode("utf-8", "replace").decode()


class FolderSource:
    """Replays images from a folder at a set rate, or as fast as they are taken."""

    live = False

    def __init__(
        self,
        settings: FolderSettings,
        classes: Sequence[str],
        report: Report,
        files: Sequence[Path] | None = None,
    ) -> None:
        """Take `files` instead of the whole folder where given (a split of a data set)."""
        if files is None:
            if settings.path is None:
                raise UserError("camera.folder.path: not set; name a folder of images")
            files = find_images(settings.path)
        self._settings = settings
        self._files = list(files)
        self._recorded = {} if settings.path is None else read_index(settings.path)
        if settings.shuffle_seed is not None:
            random.Random(settings.shuffle_seed).shuffle(self._files)  # noqa: S311
        self._classes = frozenset(classes)
        self._report = report
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        """Yield the images; one that cannot be read is reported and leaves a gap."""
        pace = Pace(self._settings.rate_fps, self._closed)
        sequence = 0
        while True:
            readable = 0
            before: dict[str, Any] = {}
            for path in self._files:
                entry = self._recorded.get(path, {})
                if not (self._wait_as_recorded(before, entry) and pace.wait()):
                    return
                before = entry
                try:
                    image = read_grey(path)
                except UserError as error:
                    self._report(Event("unreadable", printable(str(error))))
                else:
                    readable += 1
                    yield self._frame(path, image, sequence, entry)
                sequence += 1
            if not self._settings.repeat:
                return
            if not readable:
                raise UserError(f"{self._settings.path}: none of its images can be read")

    def close(self) -> None:
        """Make `frames` end before its next image."""
        self._closed.set()

    def _wait_as_recorded(self, before: dict[str, Any], entry: dict[str, Any]) -> bool:
        """Let as much time pass as lay between two recorded frames; False once closed."""
        if not (self._settings.recorded_pace and before and entry):
            return True
        return not self._closed.wait(max(0, entry["monotonic_ns"] - before["monotonic_ns"]) / 1e9)

    def _frame(self, path: Path, image: GreyImage, number: int, entry: dict[str, Any]) -> Frame:
        """A frame with what its folder's name and the recording know of it."""
        truth = next(
            (n for n in (path.parent.name, entry.get("truth")) if n in self._classes), None
        )
        return Frame(
            image,
            number,
            time.monotonic_ns(),
            time.time_ns(),
            printable(str(path)),
            truth,
            entry.get("defects", ()),
            entry.get("fault"),
            entry.get("place_mm"),
            entry.get("piece"),
        )
