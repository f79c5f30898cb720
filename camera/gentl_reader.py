"""The process that reads a camera through its maker's GenTL producer, by harvesters (EMVA).

With one argument, a producer's file, it lists the cameras that the producer sees as JSON.
"""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from genicam.genapi import GenericException as GenApiError
from genicam.gentl import GenericException as GenTLError
from genicam.gentl import TimeoutException
from harvesters.core import Harvester

from camera.outbox import LostError, Outbox, Picture, SetUpError, run

FETCH_S = 0.2
"""Longest wait for a frame before looking about."""
BUFFERS = 8
"""Frames that may be on their way in the library."""
FRAMES_BEGUN = BUFFERS
"""Frames of a camera that runs freely which may have the exposure from before a change: this
library hands out every frame in its turn."""


def read(outbox: Outbox) -> None:
    """Frames until the camera is lost.

    Raises:
        LostError: it cannot be opened, or no longer gives frames.
        SetUpError: it does not have what the settings ask for.
    """
    settings = outbox.settings
    harvester = Harvester()
    harvester.add_file(settings["producer"])
    try:
        harvester.update()
        chosen = choose(harvester.device_info_list, settings["device"])
        acquirer = harvester.create(chosen)
        with contextlib.closing(Acquiring(acquirer)):
            set_up(acquirer.remote_device.node_map, settings)
            acquirer.num_buffers = BUFFERS
            facts = describe(chosen, acquirer.remote_device.node_map)
            acquirer.start()
            watch = Watch(acquirer, outbox)
            outbox.say("opened", facts)  # from here on a trigger brings a frame
            watch.read()
    except (GenTLError, GenApiError) as error:
        raise LostError(str(error).strip()) from None
    finally:
        harvester.reset()


class Acquiring:
    """Lets go of a camera, whatever state it is in."""

    def __init__(self, acquirer: Any) -> None:
        self._acquirer = acquirer

    def close(self) -> None:
        """Stop it and give it back."""
        with contextlib.suppress(GenTLError, GenApiError):
            self._acquirer.destroy()


def choose(found: list[Any], device: str) -> Any:
    """The camera of that id, serial number, or user's name; empty: the first.

    Raises:
        LostError: it is not there.
    """
    for info in found:
        known = info.property_dict  # what a producer does not tell is None there
        if device in {"", *(known[key] for key in ("id_", "serial_number", "user_defined_name"))}:
            return info
    raise LostError("no such camera answers" if device else "no camera answers")


def set_up(nodes: Any, settings: dict[str, Any]) -> None:
    """Give the camera its settings (names of the GenICam SFNC 2.7).

    Raises:
        SetUpError: it does not have them.
    """
    for key, node in (
        ("pixel_format", "PixelFormat"),
        ("width_px", "Width"),
        ("height_px", "Height"),
        ("x_px", "OffsetX"),
        ("y_px", "OffsetY"),
    ):
        if settings[key]:
            put(nodes, node, settings[key], key)
    set_exposure_and_gain(nodes, settings)
    put(nodes, "AcquisitionMode", "Continuous")
    if settings["trigger"] == "free":
        put(nodes, "TriggerMode", "Off")
        if settings["rate_fps"]:
            put(nodes, "AcquisitionFrameRateEnable", True)
            put(nodes, "AcquisitionFrameRate", settings["rate_fps"], "rate_fps")
        return
    software = settings["trigger"] == "software"
    put(nodes, "TriggerSelector", "FrameStart")
    put(nodes, "TriggerMode", "On", "trigger")
    source = "Software" if software else settings["trigger_line"]
    put(nodes, "TriggerSource", source, "trigger" if software else "trigger_line")


def set_exposure_and_gain(nodes: Any, settings: dict[str, Any]) -> None:
    """Exposure time and gain.

    Raises:
        SetUpError: the camera does not have them.
    """
    if settings["exposure_us"] is not None:
        put(nodes, "ExposureAuto", "Off")
        put(nodes, "ExposureTime", settings["exposure_us"], "exposure_us")
    if settings["gain_db"] is not None:
        put(nodes, "GainAuto", "Off")
        put(nodes, "Gain", settings["gain_db"], "gain_db")


def put(nodes: Any, name: str, value: Any, key: str = "") -> None:
    """Set one feature; with the settings' `key` for it, it must be there.

    Raises:
        SetUpError: a feature with a key is missing or refuses the value.
    """
    try:
        node = getattr(nodes, name)
    except AttributeError:
        if key:
            raise SetUpError(f"{key}: the camera has no {name}") from None
        return
    try:
        node.value = value
    except GenApiError:
        if key:
            raise SetUpError(f"{key}: found {value!r}; the camera has {allowed(node)}") from None


def allowed(node: Any) -> str:
    """What a feature can be, for people."""
    with contextlib.suppress(AttributeError, GenApiError):
        return ", ".join(sorted(node.symbolics))
    with contextlib.suppress(AttributeError, GenApiError):
        return f"{node.min:g} to {node.max:g}"
    return f"{node.value!r}, and it cannot be changed"


def describe(info: Any, nodes: Any) -> str:
    """One line for people: which camera, and what it is set to."""
    return (
        f"{info.vendor} {info.model} {info.serial_number}, "
        f"{nodes.Width.value} × {nodes.Height.value} {nodes.PixelFormat.value}"
    )


class Watch:
    """Fetches frames and knows when the camera has gone."""

    def __init__(self, acquirer: Any, outbox: Outbox) -> None:
        self._acquirer = acquirer
        self._outbox = outbox
        self._lock = threading.Lock()
        self._owed = False
        self._owed_since = time.monotonic()
        settings = outbox.settings
        self._free = settings["trigger"] == "free"
        self._timeout_s = settings["frame_timeout_s"]
        if settings["trigger"] == "software":
            outbox.on_trigger = self.trigger
        outbox.adapt_by(self.adapt)

    def trigger(self) -> None:
        """Take a frame; called on the outbox's thread."""
        with self._lock:
            if not self._owed:
                self._owed_since = time.monotonic()
            self._owed = True  # of a frame that was lost nobody waits for a second one
            with contextlib.suppress(GenApiError, GenTLError):
                self._acquirer.remote_device.node_map.TriggerSoftware.execute()

    def adapt(self, settings: dict[str, Any]) -> int:
        """Set exposure and gain of another recipe; called on the outbox's thread.

        Raises:
            SetUpError: the camera does not have them.
        """
        with self._lock:
            set_exposure_and_gain(self._acquirer.remote_device.node_map, settings)
        return FRAMES_BEGUN if self._free else 0

    def read(self) -> None:
        """Hand frames over until the camera is lost.

        Raises:
            LostError: it owes a frame for too long.
            GenTLError: it no longer answers.
        """
        while not self._outbox.closing.is_set():
            for picture in self._fetch():
                self._owed_since = time.monotonic()
                self._owed = False
                self._outbox.put(picture)
            self._outbox.alive()
            waited = time.monotonic() - self._owed_since
            if (self._free or self._owed) and waited > self._timeout_s:
                raise LostError(f"gave no frame for {self._timeout_s:g} s")

    def _fetch(self) -> Iterator[Picture]:
        """The next frame, if it comes."""
        try:
            buffer = self._acquirer.fetch(timeout=FETCH_S)
        except TimeoutException:
            return
        if buffer is None:
            return
        with buffer:
            component = buffer.payload.components[0]
            data = np.ascontiguousarray(component.data).view(np.uint8)
            yield Picture(
                data.copy(),
                component.width,
                component.height,
                component.data_format,
                "" if buffer.is_complete() else "incomplete",
            )


def list_cameras(producer: str) -> list[dict[str, str]]:
    """The cameras that a producer sees."""
    harvester = Harvester()
    harvester.add_file(producer)
    harvester.update()
    found = [
        {
            "id": info.id_,
            "vendor": info.vendor,
            "model": info.model,
            "serial": info.serial_number,
            "protocol": info.tl_type,
        }
        for info in harvester.device_info_list
    ]
    harvester.reset()
    return found


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(list_cameras(sys.argv[1])))
    else:
        run(read)
