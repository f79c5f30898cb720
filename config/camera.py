"""Settings of the camera: where frames come from, and which of them are good."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from config.basics import PATCH_SIZE, Section
from config.platform import Light, Scan, Stage

URL_SCHEMES = ("rtsp://", "rtsps://", "http://", "https://")
"""What the address of a network camera starts with."""

FeatureName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
"""A name out of a camera's GenICam description."""

PixelFormat = Literal[
    "Mono8", "Mono10", "Mono12", "Mono14", "Mono16", "BayerRG8", "BayerGR8", "BayerGB8",
    "BayerBG8", "RGB8", "BGR8",
]  # fmt: skip
"""GenICam's names of the pixel formats that `camera.pixels` understands (PFNC 2.4)."""


class FolderSource(Section):
    """Replays images from a folder."""

    path: Path | None = Field(default=None, strict=False)
    """Folder with images, searched in depth. The name of an image's folder is its true class
    where it is one of `recipe.classes`."""
    rate_fps: float = Field(default=0, ge=0, le=1000)
    """Frames per second; 0 is as fast as the device can."""
    repeat: bool = False
    """Start again after the last image instead of ending."""
    shuffle_seed: int | None = Field(default=None, ge=0)
    """Play in an order drawn from this seed instead of by name."""
    recorded_pace: bool = False
    """Play what `millsight camera record` took at the pace it was taken, instead of `rate_fps`."""


class OpencvSource(Section):
    """USB camera, video file, or RTSP / HTTP stream, read by OpenCV."""

    address: str = Field(default="/dev/video0", min_length=1)
    """Device (`/dev/v4l/by-id/...` keeps its name when replugged), video file, or URL starting
    with `rtsp://`, `http://` or `https://`."""
    open_timeout_s: float = Field(default=5, ge=0.1, le=120)
    """Longest wait for a stream to open, in seconds."""
    read_timeout_s: float = Field(default=2, ge=0.1, le=120)
    """Longest wait for a frame of a stream, in seconds."""

    @property
    def is_url(self) -> bool:
        """Whether the address is a network camera's."""
        return self.address.startswith(URL_SCHEMES)

    @property
    def is_device(self) -> bool:
        """Whether the address is a camera plugged into this machine; neither: a video file."""
        return self.address.isdecimal() or self.address.startswith("/dev/")

    @property
    def is_live(self) -> bool:
        """Whether its frames go on by themselves; else it is a file."""
        return self.is_url or self.is_device


class GenicamFeatures(Section):
    """What an industrial camera is set to; a key that is not set leaves it as the camera has it."""

    device: str = ""
    """Which camera, as `millsight camera list` shows it, or its IP address; empty: the first that
    is found."""
    pixel_format: PixelFormat = "Mono8"
    """How pixels come over the wire; colours become grey values, 10 to 16 bits become 8."""
    exposure_us: float | None = Field(default=None, gt=0, le=60e6)
    """Exposure time in microseconds; switches automatic exposure off."""
    gain_db: float | None = Field(default=None, ge=-48, le=96)
    """Gain, in decibels with most cameras; switches automatic gain off."""
    x_px: int = Field(default=0, ge=0, le=65535)
    """Left edge of the part of the sensor that is read, in pixels."""
    y_px: int = Field(default=0, ge=0, le=65535)
    """Top edge of the part of the sensor that is read, in pixels."""
    width_px: int = Field(default=0, ge=0, le=65535)
    """Width of the part of the sensor that is read, in pixels; 0: as the camera has it."""
    height_px: int = Field(default=0, ge=0, le=65535)
    """Height of the part of the sensor that is read, in pixels; 0: as the camera has it."""
    rate_fps: float = Field(default=0, ge=0, le=10000)
    """Frames per second of a camera that runs freely; 0: as the camera has it."""
    trigger: Literal["free", "software", "line"] = "free"
    """What starts a frame: the camera itself, this program for each part, or a signal on the
    camera's own input line. Triggered frames are all judged, none is dropped for a later one."""
    trigger_line: FeatureName = "Line0"
    """The camera's input line of `trigger = "line"`."""
    frame_timeout_s: float = Field(default=3, ge=0.1, le=600)
    """A camera that owes a frame (it runs freely, or was triggered) for so long is lost and is
    opened anew, in seconds; longer than the exposure and the time between two frames."""

    @model_validator(mode="after")
    def _a_frame_may_take_its_exposure(self) -> Self:
        if self.exposure_us is not None and self.frame_timeout_s < self.exposure_us / 1e6:
            raise ValueError(
                f"frame_timeout_s is {self.frame_timeout_s:g}, which is under exposure_us, "
                f"{self.exposure_us:g} microseconds"
            )
        return self


class GenicamSource(GenicamFeatures):
    """GigE Vision or USB3 Vision camera, read by Aravis (see docs/cameras.md)."""

    packet_size: int = Field(default=0, ge=0, le=16384)
    """Bytes of a GigE Vision packet; 0 takes the largest that the network carries. The network
    card's MTU must be as large."""


class GentlSource(GenicamFeatures):
    """Any camera whose maker gives a GenTL producer, read by harvesters (extra `gentl`)."""

    producer: Path | None = Field(default=None, strict=False)
    """The producer, a file ending in `.cti`."""


class Vmc220Source(Section):
    """The simulated VMC220 platform: renders face-milled plates (the paper's Table 6)."""

    seed: int = Field(default=0, ge=0)
    """The same seed renders the same plates."""
    frames: int = Field(default=0, ge=0)
    """Frames until the source ends; 0 never ends."""
    rate_fps: float = Field(default=0, ge=0, le=1000)
    """Frames per second; 0 is as fast as the device can."""
    width_px: int = Field(default=PATCH_SIZE, ge=PATCH_SIZE, le=1280)
    """Width of a frame in pixels."""
    height_px: int = Field(default=PATCH_SIZE, ge=PATCH_SIZE, le=1280)
    """Height of a frame in pixels."""
    defect_share: float = Field(default=0.5, ge=0, le=1)
    """Share of frames with a defect."""
    spindle_rpm: list[Annotated[int, Field(ge=500, le=10000)]] = Field(
        default=[2000, 2500, 3000], min_length=1
    )
    """Spindle speeds that occur, in revolutions per minute."""
    depth_mm: list[Annotated[float, Field(ge=0.02, le=1)]] = Field(
        default=[0.1, 0.15, 0.2], min_length=1
    )
    """Cutting depths that occur, in millimetres."""
    feed_per_tooth_mm: list[Annotated[float, Field(ge=0.001, le=0.2)]] = Field(
        default=[0.005, 0.01, 0.015], min_length=1
    )
    """Feeds per tooth that occur, in millimetres."""
    light_elevation_deg: float = Field(default=42, ge=5, le=85)
    """Angle of the ring light above the plate, in degrees; varies by 10 either way."""
    light_percent: float = Field(default=100, gt=0, le=400)
    """Brightness of the ring light, in percent of what exposes the plates well."""


class Live(Section):
    """How live cameras are watched: each is read by a process of its own, which may be killed."""

    retry_first_s: float = Field(default=0.5, ge=0.01, le=60)
    """First wait before a lost camera is opened again, in seconds; doubles every time."""
    retry_longest_s: float = Field(default=30, ge=0.01, le=3600)
    """Longest wait before a lost camera is opened again, in seconds."""
    hang_timeout_s: float = Field(default=15, ge=0.2, le=600)
    """A camera's process that is silent for so long is killed and the camera opened anew, in
    seconds; counts from the end of the camera's own time-outs."""

    @model_validator(mode="after")
    def _waits_agree(self) -> Self:
        if self.retry_longest_s < self.retry_first_s:
            raise ValueError(
                f"retry_longest_s is {self.retry_longest_s:g}, which is under retry_first_s, "
                f"{self.retry_first_s:g}"
            )
        return self


class Quality(Section):
    """The frame-quality gate: a frame that fails it gets no verdict."""

    min_sharpness: float = Field(default=0.001, ge=0, le=1)
    """Least difference of neighbouring pixels, squared, over twice the variance: 0 is smooth,
    1 is noise; 0 switches it off. Raise it towards what `millsight camera test` shows for a
    sharp picture of your steel."""
    min_contrast: float = Field(default=2.0, ge=0, le=128)
    """Least standard deviation of the grey values, of 255; under it the picture is empty."""
    max_dark_share: float = Field(default=0.9, ge=0, le=1)
    """Largest share of pixels at grey value 4 or under; 1 switches it off."""
    max_bright_share: float = Field(default=0.9, ge=0, le=1)
    """Largest share of pixels at grey value 251 or over; 1 switches it off."""
    max_drawn_share: float = Field(default=0.95, ge=0, le=1)
    """Largest share of pixels that equal both their neighbours exactly, in a picture of several
    grey values: no sensor does that, a drawn picture (colour bars, NO SIGNAL) does; 1 switches it
    off."""
    frozen_after: int = Field(default=3, ge=0, le=1000)
    """The picture is called frozen at this many identical frames in a row, 2 or more; 0 switches
    it off."""

    @model_validator(mode="after")
    def _one_frame_is_not_frozen(self) -> Self:
        if self.frozen_after == 1:
            raise ValueError("frozen_after is 1, which calls every frame frozen; 0 or 2 and more")
        return self


class Camera(Section):
    """Where frames come from."""

    source: Literal["folder", "opencv", "genicam", "gentl", "vmc220"] = "vmc220"
    """Kind of source; its own table below holds its settings."""
    folder: FolderSource = FolderSource.model_construct()
    opencv: OpencvSource = OpencvSource.model_construct()
    genicam: GenicamSource = GenicamSource.model_construct()
    gentl: GentlSource = GentlSource.model_construct()
    vmc220: Vmc220Source = Vmc220Source.model_construct()
    live: Live = Live.model_construct()
    stage: Stage = Stage.model_construct()
    light: Light = Light.model_construct()
    scan: Scan = Scan.model_construct()
    quality: Quality = Quality.model_construct()
