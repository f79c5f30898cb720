"""A plate photographed piece by piece: move, settle, light on, grab, light off."""

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Iterator

from camera.light import Light
from camera.raster import plan_raster
from camera.serial_line import DeviceError
from camera.source import Adaptable, Event, Frame, Piece, Report, Source, Triggered
from camera.stage import Stage
from config.settings import Camera

GRAB_S = 10.0
"""Longest wait for the picture of a place."""


class ScanningSource:
    """Scans plate after plate with the camera of another source; `plates` 0 goes on for ever.

    A stage or light that fails is reported and opened anew, and the plate begins again. The light
    is off whenever no picture is taken.
    """

    live = False

    def __init__(self, source: Source, settings: Camera, report: Report, plates: int = 0) -> None:
        self._source = source
        self._settings = settings
        self._report = report
        self._plates = plates
        self._closed = threading.Event()
        # The camera runs on beside us; of its pictures only the latest is of use.
        self._latest: queue.Queue[Frame | BaseException | None] = queue.Queue(1)
        self._reading = threading.Thread(target=self._read, name="scan", daemon=True)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of each plate, `place_mm` set.

        Raises:
            UserError: the camera cannot work as it is set up.
        """
        self._reading.start()
        wait = self._settings.live.retry_first_s
        done = sequence = plate = 0
        try:
            while not (self._closed.is_set() or (self._plates and done >= self._plates)):
                try:
                    for frame in self._scan(plate):
                        yield dataclasses.replace(frame, sequence=sequence)
                        sequence += 1
                except DeviceError as error:
                    if self._closed.is_set():
                        return
                    self._report(Event("platform", f"{error}; next try in {wait:g} s"))
                    self._closed.wait(wait)
                    wait = min(2 * wait, self._settings.live.retry_longest_s)
                else:
                    wait = self._settings.live.retry_first_s
                    done += 1
                plate += 1
        finally:
            self.close()

    def close(self) -> None:
        """Make `frames` end after the present picture, from any thread."""
        self._closed.set()
        self._source.close()

    def adapt(self, camera: Camera) -> None:
        """Take on brightness, and from the next plate on its size, of another recipe."""
        self._settings = camera
        if isinstance(self._source, Adaptable):
            self._source.adapt(camera)

    def _scan(self, plate: int) -> Iterator[Frame]:
        """The pictures of one plate.

        Raises:
            DeviceError: stage, light or camera failed.
        """
        settings = self._settings
        with contextlib.ExitStack() as stack:
            stage = stack.enter_context(contextlib.closing(Stage(settings.stage)))
            light = None
            if settings.light.port:
                light = stack.enter_context(contextlib.closing(Light(settings.light)))
            places = plan_raster(settings.scan)
            for number, place in enumerate(places):
                if self._closed.is_set():
                    return
                stage.move_to(place)
                if light is not None:
                    light.on(self._settings.light.intensity_percent)
                try:
                    frame = self._grab()
                finally:
                    if light is not None:
                        light.off()
                piece = Piece(plate, number, len(places))
                yield dataclasses.replace(frame, place_mm=(place.x_mm, place.y_mm), piece=piece)

    def _grab(self) -> Frame:
        """The first picture begun after now.

        Raises:
            DeviceError: none came.
        """
        now = time.monotonic_ns()
        if isinstance(self._source, Triggered):
            self._source.trigger()
        deadline = time.monotonic() + GRAB_S
        older = 1  # a free-running camera may have begun this one while the stage moved
        while (left := deadline - time.monotonic()) > 0:
            try:
                frame = self._latest.get(timeout=left)
            except queue.Empty:
                break
            if isinstance(frame, BaseException):
                raise frame
            if frame is None:
                self._closed.set()
                break
            if frame.monotonic_ns > now:
                if not self._source.live or not older:
                    return frame
                older -= 1
        raise DeviceError(f"camera: gave no picture for {GRAB_S:g} s")

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            for frame in self._source.frames():
                self._put(frame)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that scans
            end = error
        self._put(end)

    def _put(self, item: Frame | BaseException | None) -> None:
        while not (self._closed.is_set() and isinstance(item, Frame)):
            try:
                self._latest.put(item, timeout=0.0 if self._source.live else 0.2)
            except queue.Full:
                if self._source.live or not isinstance(item, Frame):
                    with contextlib.suppress(queue.Empty):
                        self._latest.get_nowait()
            else:
                return
