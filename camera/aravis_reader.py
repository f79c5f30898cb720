"""The process that reads a GigE Vision or USB3 Vision camera through Aravis.

Runs under any Python that has `gi` (see `camera.genicam`), so it imports nothing but that and the
standard library. Without arguments it lists cameras as JSON.

Traps that were measured with Aravis 0.8.26: its packet socket gives nothing on the loopback
interface and needs root; the kernel's socket buffer holds less than one frame unless it is
enlarged (2 of 99 frames came whole); a camera that is switched off ends with no error, only
without frames, and the `control-lost` signal comes six seconds later.
"""

import contextlib
import ipaddress
import json
import socket
import sys
import threading
import time
from typing import Any

import gi

from camera.outbox import CLOSE_S, LostError, Outbox, Picture, SetUpError, run

gi.require_version("Aravis", "0.8")
from gi.repository import Aravis, Gio, GLib  # noqa: E402

GVCP_PORT = 3956
"""Control port of GigE Vision."""
BUFFERS = 8
"""Frames that may be on their way in the library."""
KERNEL_FRAMES = 4
"""Bytes of the kernel's buffer for each byte of a frame. Aravis' own choice is 1, and the kernel
counts what a packet takes, not what it holds: of frames in packets of 8000 bytes 13 of 31 did not
come whole. The kernel gives no more than its `net.core.rmem_max`."""
KERNEL_MOST = 1 << 30
SETTLE_S = 0.05
"""Silence after which no frame is under way any more."""
POP_S = 0.2
"""Longest wait for a frame before looking about."""
FRAMES_BEGUN = 2
"""Frames of a camera that runs freely which may have the exposure from before a change: one that
is being exposed, and one that is being sent."""
CONTROL_EVERY_S = 2.0
"""How often a camera that waits for its trigger is asked whether it is still there."""

KEPT: list[Any] = []
"""What must outlive `read`: Aravis' finalisers wait seconds for a camera that has gone."""

FORMATS = {
    0x01080001: "Mono8",
    0x01100003: "Mono10",
    0x01100005: "Mono12",
    0x01100025: "Mono14",
    0x01100007: "Mono16",
    0x01080008: "BayerGR8",
    0x01080009: "BayerRG8",
    0x0108000A: "BayerGB8",
    0x0108000B: "BayerBG8",
    0x02180014: "RGB8",
    0x02180015: "BGR8",
}
"""GenICam Pixel Format Naming Convention (PFNC) values of the formats that are understood."""


def read(outbox: Outbox) -> None:
    """Frames until the camera is lost.

    Raises:
        LostError: it cannot be opened, or no longer speaks.
        SetUpError: it does not have what the settings ask for.
    """
    settings = outbox.settings
    try:
        camera = open_camera(settings["device"])
    except (GLib.Error, OSError) as error:
        raise LostError(f"cannot be opened: {getattr(error, 'message', error)}") from None
    try:
        set_up(camera, settings)
        stream = open_stream(camera)
        KEPT.extend([camera, stream])
        warm_up(camera, stream, settings["frame_timeout_s"])
        set_trigger(camera, settings)
        facts = describe(camera)
        camera.start_acquisition()
        watch = Watch(camera, stream, outbox)
        outbox.say("opened", facts)  # from here on a trigger brings a frame
        watch.read()
    except GLib.Error as error:
        raise LostError(error.message) from None
    finally:
        let_go(camera)


def open_camera(device: str) -> Any:
    """The camera of that address or name; empty: the first that answers.

    An address is spoken to directly, any other name is asked for on every network and USB port.

    Raises:
        GLib.Error, OSError: it does not answer, or somebody else has it.
    """
    try:
        address = ipaddress.IPv4Address(device)
    except ValueError:
        return Aravis.Camera.new(device or None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((str(address), GVCP_PORT))  # sends nothing, finds our own address
        own = probe.getsockname()[0]
    return Aravis.Camera.new_with_device(
        Aravis.GvDevice.new(
            Gio.InetAddress.new_from_string(own), Gio.InetAddress.new_from_string(str(address))
        )
    )


def set_up(camera: Any, settings: dict[str, Any]) -> None:
    """Give the camera its settings.

    Raises:
        SetUpError: it does not have them.
        GLib.Error: it does not answer.
    """
    known = camera.dup_available_pixel_formats_as_strings()
    if settings["pixel_format"] not in known:
        raise SetUpError(
            f"pixel_format: found {settings['pixel_format']!r}; the camera has "
            f"{', '.join(sorted(set(known) & set(FORMATS.values())))}"
        )
    camera.set_pixel_format_from_string(settings["pixel_format"])
    width, height = camera.get_sensor_size()
    x, y = settings["x_px"], settings["y_px"]
    w, h = settings["width_px"], settings["height_px"]
    if x + max(w, 1) > width or y + max(h, 1) > height:
        raise SetUpError(
            f"x_px, y_px, width_px, height_px: {w} × {h} from {x}, {y} lies outside of the sensor, "
            f"{width} × {height}"
        )
    region = camera.get_region()
    if x or y or w or h:
        camera.set_region(
            x, y, w or min(region.width, width - x), h or min(region.height, height - y)
        )
        found = camera.get_region()
        if (w and found.width != w) or (h and found.height != h) or (found.x, found.y) != (x, y):
            raise SetUpError(
                f"x_px, y_px, width_px, height_px: the camera made {found.width} × {found.height} "
                f"from {found.x}, {found.y} of it; take these, or multiples of its steps"
            )
    set_exposure_and_gain(camera, settings)
    if camera.is_gv_device():
        camera.get_device().set_stream_options(Aravis.GvStreamOption.PACKET_SOCKET_DISABLED)
        if settings["packet_size"]:
            camera.gv_set_packet_size(settings["packet_size"])
        else:
            camera.gv_auto_packet_size()


def set_exposure_and_gain(camera: Any, settings: dict[str, Any]) -> None:
    """Exposure time, gain, frame rate."""
    if settings["exposure_us"] is not None:
        if camera.is_exposure_auto_available():
            camera.set_exposure_time_auto(Aravis.Auto.OFF)
        _check("exposure_us", settings["exposure_us"], camera.get_exposure_time_bounds())
        camera.set_exposure_time(settings["exposure_us"])
    if settings["gain_db"] is not None:
        if camera.is_gain_auto_available():
            camera.set_gain_auto(Aravis.Auto.OFF)
        _check("gain_db", settings["gain_db"], camera.get_gain_bounds())
        camera.set_gain(settings["gain_db"])
    if settings["rate_fps"] and settings["trigger"] == "free":
        _check("rate_fps", settings["rate_fps"], camera.get_frame_rate_bounds())
        camera.set_frame_rate(settings["rate_fps"])


def _check(key: str, value: float, bounds: Any) -> None:
    low, high = bounds
    if not low <= value <= high:
        raise SetUpError(f"{key}: found {value:g}; the camera has {low:g} to {high:g}")


def set_trigger(camera: Any, settings: dict[str, Any]) -> None:
    """What starts a frame.

    Raises:
        SetUpError: the camera does not have it.
        GLib.Error: it does not answer.
    """
    if settings["trigger"] == "free":
        return
    source = "Software" if settings["trigger"] == "software" else settings["trigger_line"]
    known = camera.dup_available_trigger_sources()
    if source not in known:
        key = "trigger" if source == "Software" else "trigger_line"
        raise SetUpError(f"{key}: the camera has no {source!r}; it has {', '.join(sorted(known))}")
    camera.set_trigger(source)


def open_stream(camera: Any) -> Any:
    """The stream, with buffers in the library and in the kernel that hold frames."""
    stream = camera.create_stream(None, None)
    payload = camera.get_payload()
    if isinstance(stream, Aravis.GvStream):
        stream.set_property("socket-buffer", Aravis.GvStreamSocketBuffer.FIXED)
        stream.set_property("socket-buffer-size", min(KERNEL_FRAMES * payload, KERNEL_MOST))
    for _ in range(BUFFERS):
        stream.push_buffer(Aravis.Buffer.new_allocate(payload))
    return stream


def warm_up(camera: Any, stream: Any, timeout_s: float) -> None:
    """Let one frame come and forget it.

    Aravis enlarges the kernel's buffer only when it sees the first frame, which is therefore too
    large for it: without this the first part would be lost. It also proves that the camera works.

    Raises:
        LostError: no frame came.
        GLib.Error: the camera does not answer.
    """
    camera.set_acquisition_mode(Aravis.AcquisitionMode.CONTINUOUS)
    camera.clear_triggers()
    camera.start_acquisition()
    buffer = stream.timeout_pop_buffer(int(timeout_s * 1e6))
    camera.stop_acquisition()
    if buffer is None:
        raise LostError(f"gave no frame for {timeout_s:g} s")
    while buffer is not None:  # also those that were under way
        stream.push_buffer(buffer)
        buffer = stream.timeout_pop_buffer(int(SETTLE_S * 1e6))


def let_go(camera: Any) -> None:
    """Stop, and give up control, so that the next reader need not wait until it runs out."""

    def say_so() -> None:
        with contextlib.suppress(GLib.Error):
            camera.stop_acquisition()
            if isinstance(device := camera.get_device(), Aravis.GvDevice):
                device.leave_control()

    # A camera that has gone would keep us for the seconds in which nothing answers.
    helper = threading.Thread(target=say_so, daemon=True)
    helper.start()
    helper.join(CLOSE_S / 2)


def describe(camera: Any) -> str:
    """One line for people: which camera, and what it is set to."""
    region = camera.get_region()
    facts = [
        f"{camera.get_vendor_name()} {camera.get_model_name()} {camera.get_device_serial_number()}",
        f"{region.width} × {region.height} {camera.get_pixel_format_as_string()}",
    ]
    if camera.is_exposure_time_available():
        facts.append(f"exposure {camera.get_exposure_time():g} µs")
    if camera.is_gv_device():
        facts.append(f"packets of {camera.gv_get_packet_size()} bytes")
    return ", ".join(facts)


class Watch:
    """Reads a stream and knows when the camera has gone."""

    def __init__(self, camera: Any, stream: Any, outbox: Outbox) -> None:
        self._camera = camera
        self._stream = stream
        self._outbox = outbox
        self._control = threading.Lock()
        self._gone = threading.Event()
        self._owed = False
        self._owed_since = time.monotonic()
        self._last_id = -1
        self._complained = False
        region = camera.get_region()
        self._geometry = (region.width, region.height, camera.get_pixel_format_as_string())
        settings = outbox.settings
        self._free = settings["trigger"] == "free"
        self._timeout_s = settings["frame_timeout_s"]
        if settings["trigger"] == "software":
            outbox.on_trigger = self.trigger
        outbox.adapt_by(self.adapt)
        camera.get_device().connect("control-lost", lambda _device: self._gone.set())

    def trigger(self) -> None:
        """Take a frame; called on the outbox's thread."""
        with self._control:
            if not self._owed:
                self._owed_since = time.monotonic()
            self._owed = True  # of a frame that was lost nobody waits for a second one
            try:
                self._camera.software_trigger()
            except GLib.Error:
                self._gone.set()

    def adapt(self, settings: dict[str, Any]) -> int:
        """Set exposure and gain of another recipe; called on the outbox's thread.

        Raises:
            SetUpError: the camera does not have them.
        """
        with self._control:
            try:
                set_exposure_and_gain(self._camera, settings)
            except GLib.Error:
                self._gone.set()
        return FRAMES_BEGUN if self._free else 0

    def read(self) -> None:
        """Hand frames over until the camera is lost.

        Raises:
            LostError: it no longer speaks, or owes a frame for too long.
            GLib.Error: it no longer answers.
        """
        asked = time.monotonic()
        while not self._outbox.closing.is_set():
            buffer = self._stream.timeout_pop_buffer(int(POP_S * 1e6))
            now = time.monotonic()
            if buffer is not None:
                self._owed_since = now
                self._owed = False
                self._hand_over(buffer)
                self._stream.push_buffer(buffer)
                continue
            self._outbox.alive()
            if self._gone.is_set():
                raise LostError("no longer answers")
            if (self._free or self._owed) and now - self._owed_since > self._timeout_s:
                raise LostError(f"gave no frame for {self._timeout_s:g} s")
            if not self._free and now - asked > CONTROL_EVERY_S:
                asked = now
                with self._control:
                    self._camera.get_payload()

    def _hand_over(self, buffer: Any) -> None:
        status = buffer.get_status()
        number = buffer.get_frame_id()
        # 16-bit numbers of GigE Vision start again at 1.
        lost = max(0, number - self._last_id - 1) if self._last_id >= 0 else 0
        self._last_id = number
        if status != Aravis.BufferStatus.SUCCESS:
            if not self._complained:
                self._complained = True
                self._outbox.say(
                    "incomplete",
                    f"frame {number} did not come whole ({status.value_nick}); such frames are not "
                    "judged; see docs/cameras.md: cable, MTU, net.core.rmem_max",
                )
            # Where even its head is missing it has no size: what came is shown as far as it goes.
            picture = Picture(buffer.get_data() or b"", *self._geometry, "incomplete")
        else:
            region = buffer.get_image_region()
            code = buffer.get_image_pixel_format()
            if code not in FORMATS:
                raise SetUpError(f"pixel format {code:#x} came, which is not known")
            picture = Picture(buffer.get_image_data(), region.width, region.height, FORMATS[code])
        self._outbox.put(picture, lost)


def list_cameras() -> list[dict[str, str]]:
    """The cameras that answer, on the network and on USB."""
    Aravis.disable_interface("Fake")
    Aravis.update_device_list()
    return [
        {
            "id": Aravis.get_device_id(i),
            "address": Aravis.get_device_address(i),
            "vendor": Aravis.get_device_vendor(i),
            "model": Aravis.get_device_model(i),
            "serial": Aravis.get_device_serial_nbr(i),
            "protocol": Aravis.get_device_protocol(i),
        }
        for i in range(Aravis.get_n_devices())
    ]


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(json.dumps(list_cameras()))
    else:
        run(read)
