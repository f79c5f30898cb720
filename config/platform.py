"""Settings of the platform around the camera: stage, light, and the plate that is scanned."""

from typing import Literal, Self

from pydantic import Field, model_validator

from config.basics import Section


class Stage(Section):
    """XY stage that moves plate or camera, spoken to in G-code over a serial line (GRBL 1.1)."""

    port: str = ""
    """Serial port, such as `/dev/serial/by-id/...`; empty: there is no stage."""
    baud: int = Field(default=115200, ge=300, le=4000000)
    """Speed of the line in bits per second."""
    home: bool = True
    """Look for the limit switches after opening; without, the place at power-on is 0, 0."""
    settle_s: float = Field(default=0.2, ge=0, le=60)
    """Wait between the end of a move and the picture, in seconds."""
    reply_timeout_s: float = Field(default=2, ge=0.05, le=60)
    """Longest wait for an answer to a command, in seconds."""
    move_timeout_s: float = Field(default=30, ge=0.1, le=600)
    """Longest time a move or the homing may take, in seconds."""
    tolerance_mm: float = Field(default=0.05, gt=0, le=10)
    """How far from the place it was sent to the stage may report to be, in millimetres."""


class Light(Section):
    """Ring light behind a controller on a serial line."""

    port: str = ""
    """Serial port; empty: the light is not ours to switch (it is on, or the camera fires it)."""
    baud: int = Field(default=115200, ge=300, le=4000000)
    """Speed of the line in bits per second."""
    protocol: Literal["gardasoft", "ascii"] = "gardasoft"
    """Whose words the controller understands; `ascii` takes those of the keys below."""
    channel: int = Field(default=1, ge=1, le=64)
    """Output of the controller."""
    intensity_percent: float = Field(default=50, gt=0, le=100)
    """Brightness while a picture is taken, in percent."""
    warm_up_s: float = Field(default=0.02, ge=0, le=10)
    """Wait between switching on and the picture, in seconds."""
    reply_timeout_s: float = Field(default=0.5, ge=0.05, le=60)
    """Longest wait for an answer to a command, in seconds."""
    command: str = Field(default="SET {channel} {percent:.0f}", max_length=200)
    """What `ascii` sends to set a brightness, 0 for off; `{channel}` and `{percent}` are put in."""
    end: str = Field(default="\r\n", max_length=4)
    """What ends the line that `ascii` sends."""
    good_reply: str = Field(default="OK", min_length=1, max_length=100)
    """What `ascii` hears when it worked."""
    bad_reply: str = Field(default="ERR", max_length=100)
    """What `ascii` hears when it did not; empty: nothing is sent then."""

    @model_validator(mode="after")
    def _command_can_be_filled(self) -> Self:
        try:
            self.command.format(channel=1, percent=1.0)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(
                f"command is {self.command!r}, in which only {{channel}} and {{percent}} can be "
                f"put in ({error})"
            ) from None
        return self


class Scan(Section):
    """The plate that the stage moves under the camera, in the stage's millimetres."""

    x_mm: float = Field(default=0, ge=-10000, le=10000)
    """Left edge of the plate."""
    y_mm: float = Field(default=0, ge=-10000, le=10000)
    """Lower edge of the plate."""
    width_mm: float = Field(default=100, gt=0, le=10000)
    """Width of the plate."""
    height_mm: float = Field(default=100, gt=0, le=10000)
    """Height of the plate."""
    field_width_mm: float = Field(default=20, gt=0, le=10000)
    """Width of what one picture shows."""
    field_height_mm: float = Field(default=20, gt=0, le=10000)
    """Height of what one picture shows."""
    overlap_mm: float = Field(default=2, ge=0, le=1000)
    """Least overlap of neighbouring pictures."""
    keep_plates: int = Field(default=200, ge=0, le=100000)
    """Maps of scanned plates that are kept, the latest of the recipe; 0: none is made."""

    @model_validator(mode="after")
    def _pictures_are_wider_than_their_overlap(self) -> Self:
        side = min(self.field_width_mm, self.field_height_mm)
        if self.overlap_mm > side / 2:
            raise ValueError(
                f"overlap_mm is {self.overlap_mm:g}, over half of what a picture shows, {side:g}"
            )
        return self
