"""A camera with a ring light of ours: on while a picture is taken, watched all the time."""

import dataclasses
import threading
from collections.abc import Iterator

from camera.light import Light
from camera.serial_line import DeviceError
from camera.source import Adaptable, Event, Frame, Report, Source, Triggered
from config.settings import Camera

CHECK_EVERY_S = 1.0
"""How often a controller that has nothing to do is asked whether it is still there."""
NO_LIGHT = "no-light"
"""Fault of a picture whose light does not answer."""


def with_light(source: Source, settings: Camera, report: Report) -> Source:
    """The camera of a source, with the light of the settings."""
    if isinstance(source, Triggered):
        return TriggeredLitSource(source, settings, report)
    return LitSource(source, settings, report)


class LitSource:
    """A light that is on as long as the camera runs.

    A controller that does not answer, or refuses, is reported as `ring-light-silent` and opened
    anew; until it answers (`ring-light`) frames have the fault `no-light`.
    """

    def __init__(self, source: Source, settings: Camera, report: Report) -> None:
        self.live = source.live
        self._source = source
        self._settings = settings
        self._report = report
        self._lock = threading.Lock()
        self._light: Light | None = None
        self._wanted = True
        """Whether the light shall be on."""
        self._silent = False
        self._closed = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="light", daemon=True)

    def frames(self) -> Iterator[Frame]:
        """Yield the camera's frames.

        Raises:
            UserError: the camera cannot work as it is set up.
        """
        with self._lock:
            self._open()  # the first picture is lit
        self._thread.start()
        try:
            for frame in self._source.frames():
                if self._closed.is_set():
                    break
                lit = self._light is not None
                self._taken()
                yield frame if lit else dataclasses.replace(frame, fault=frame.fault or NO_LIGHT)
        finally:
            self.close()
            self._thread.join(2)

    def close(self) -> None:
        """Make `frames` end soon, from any thread."""
        self._closed.set()
        self._wake.set()
        self._source.close()

    def adapt(self, camera: Camera) -> None:
        """Take on the brightness of another recipe, from any thread."""
        with self._lock:
            self._settings = camera
            if self._wanted:
                self._switch()
        if isinstance(self._source, Adaptable):
            self._source.adapt(camera)

    def _taken(self) -> None:
        """A picture was taken."""

    def _keep(self) -> None:
        """Look after the light until the end: it must answer, or be found again."""
        live = self._settings.live
        wait = live.retry_first_s
        while not self._closed.is_set():
            self._wake.wait(wait if self._light is None else CHECK_EVERY_S)
            self._wake.clear()
            if self._closed.is_set():
                break
            with self._lock:
                if self._light is None:
                    self._open()
                    wait = min(2 * wait, live.retry_longest_s)
                else:
                    self._switch()
                    wait = live.retry_first_s
        with self._lock:
            if self._light is not None:
                self._light.close()
                self._light = None

    def _open(self) -> None:
        """Open the light and switch it; under the lock."""
        try:
            self._light = Light(self._settings.light)
        except DeviceError as error:
            self._lose(error)
            return
        if self._switch() and self._silent:
            self._silent = False
            self._report(Event("ring-light", "it answers again"))

    def _switch(self) -> bool:
        """Switch the light as it is wanted; under the lock. False: it does not answer."""
        if self._light is None:
            return False
        try:
            if self._wanted:
                self._light.on(self._settings.light.intensity_percent)
            else:
                self._light.off()
        except DeviceError as error:
            self._lose(error)
            return False
        return True

    def _lose(self, error: DeviceError) -> None:
        light, self._light = self._light, None
        if light is not None:
            light.close()
        if not self._silent:
            self._silent = True
            self._report(Event("ring-light-silent", f"{error}; tried again until it answers"))


class TriggeredLitSource(LitSource):
    """A light for a camera that can be triggered: with a software trigger, on for each picture.

    While the light does not answer such a camera is not triggered.
    """

    def __init__(self, source: Source, settings: Camera, report: Report) -> None:
        super().__init__(source, settings, report)
        features = {"genicam": settings.genicam, "gentl": settings.gentl}.get(settings.source)
        self._flashes = features is not None and features.trigger == "software"
        self._wanted = not self._flashes

    def trigger(self) -> None:
        """Ask for one frame, from any thread."""
        if self._flashes:
            with self._lock:
                self._wanted = True
                if not self._switch():
                    self._wanted = False
                    return
        if isinstance(self._source, Triggered):
            self._source.trigger()

    def _taken(self) -> None:
        if self._flashes:
            self._wanted = False
            self._wake.set()
