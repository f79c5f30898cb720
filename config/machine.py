"""Settings of the machine beside the box: trigger, handshake with a PLC, stack light; the plant."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from config.basics import Section

LINE_FIELDS = ("part", "lot", "tool")
"""What a pattern may name in a line of the machine."""


def check_pattern(pattern: str, *, groups: bool) -> str:
    """Refuse a regular expression that cannot work; with `groups` it must name `part`.

    Raises:
        ValueError: it is none, or names what is not known.
    """
    try:
        found = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    if groups and "part" not in found:
        raise ValueError(f"{pattern!r} names no part: write (?P<part>…) around the part number")
    if groups and (unknown := set(found) - set(LINE_FIELDS)):
        raise ValueError(f"{pattern!r} names {min(unknown)!r}; known: {', '.join(LINE_FIELDS)}")
    return pattern


class SerialLine(Section):
    """A serial port."""

    port: str = ""
    """Serial port, such as `/dev/serial/by-id/...`; empty: none."""
    baud: int = Field(default=19200, ge=300, le=4000000)
    """Bits per second."""
    bits: Literal[7, 8] = 8
    """Data bits of a character."""
    parity: Literal["N", "E", "O"] = "N"
    """Parity: none, even, odd."""
    stop: Literal[1, 2] = 1
    """Stop bits after a character."""


class Modbus(SerialLine):
    """The handshake with a PLC over Modbus; its registers are in docs/machine.md."""

    role: Literal["off", "client", "server"] = "off"
    """`client`: this box asks the PLC; `server`: the PLC asks this box; `off`: no PLC."""
    transport: Literal["tcp", "rtu"] = "tcp"
    """Over the network, or over the serial port below."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """`client`: address of the PLC. `server`: address to listen at. Modbus knows no password:
    keep it in the machine's own network."""
    tcp_port: int = Field(default=502, ge=1, le=65535)
    """TCP port of the PLC, or to listen at; ports under 1024 need a right to be listened at."""
    unit: int = Field(default=1, ge=1, le=247)
    """Modbus unit (slave address) of the PLC, or of this box."""
    first_coil: int = Field(default=0, ge=0, le=65000)
    """Address of the first coil of the handshake, from 0."""
    first_register: int = Field(default=0, ge=0, le=65000)
    """Address of the first holding register of the handshake, from 0."""
    texts: bool = False
    """Whether the PLC writes lot and part number as texts."""
    poll_s: float = Field(default=0.01, ge=0.001, le=1)
    """`client`: pause between two looks at the trigger, in seconds."""
    timeout_s: float = Field(default=0.3, ge=0.02, le=10)
    """`client`: longest wait for a reply, in seconds."""
    heartbeat_s: float = Field(default=0.5, ge=0.05, le=60)
    """The heartbeat counts up so often, in seconds; a PLC that sees it stand must stop."""
    silent_s: float = Field(default=5, ge=0.1, le=3600)
    """A PLC that is not heard for so long is reported as silent, in seconds."""

    @model_validator(mode="after")
    def _serial_port_is_there(self) -> Self:
        if self.role != "off" and self.transport == "rtu" and not self.port:
            raise ValueError("port is not set, and transport is 'rtu': name the serial port")
        return self


class MachineLine(SerialLine):
    """Lines of text from the machine over RS-232: DPRNT of Haas, Fanuc, NCT, HUST."""

    baud: int = Field(default=9600, ge=300, le=4000000)
    """Bits per second."""
    pattern: str = (
        r"PART *(?P<part>[\w][\w.+-]*)(?: +LOT *(?P<lot>[\w][\w.+-]*))?(?: +TOOL *(?P<tool>\d+))?"
    )
    """Regular expression for a whole line that tells of a part: it names `part`, and may name
    `lot` and `tool` (tool life). A recipe may have a pattern of its own."""
    ignore: str = ""
    """Regular expression for lines that tell of no part; empty: every line does."""
    required: bool = True
    """Where another trigger is set: whether every part needs a line of its own before it; a part
    without one is NG."""
    fresh_s: float = Field(default=60, gt=0, le=86400)
    """So long before its trigger a part's line may come, in seconds."""

    @field_validator("pattern")
    @classmethod
    def _pattern_names_a_part(cls, value: str) -> str:
        return check_pattern(value, groups=True)

    @field_validator("ignore")
    @classmethod
    def _ignore_is_a_pattern(cls, value: str) -> str:
        return check_pattern(value, groups=False)


Colour = Literal["off", "red", "yellow", "green", "blue", "white"]
Lamp = Annotated[int, Field(ge=-1, le=65535)]


class StackLight(Section):
    """The lamps beside the machine, switched over Modbus.

    Red means danger on a machine (EN 60204-1), so that a rejected part is yellow by default.
    """

    output: Literal["off", "coils", "registers"] = "off"
    """Whether a lamp is a coil, or a holding register (Patlite LA6-POE and others)."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address of the Modbus TCP device that switches the lamps."""
    tcp_port: int = Field(default=502, ge=1, le=65535)
    """Its TCP port."""
    unit: int = Field(default=1, ge=0, le=247)
    """Its Modbus unit."""
    red: Lamp = 0
    """Address of the lamp, from 0; -1: there is none."""
    yellow: Lamp = 1
    """The same of the yellow lamp."""
    green: Lamp = 2
    """The same of the green lamp."""
    blue: Lamp = 3
    """The same of the blue lamp."""
    white: Lamp = 4
    """The same of the white lamp."""
    on_value: int = Field(default=1, ge=1, le=65535)
    """What a register is set to for a lamp that is on; Patlite: 257, flashing 258."""
    when_pass: Colour = "green"  # noqa: S105 - no password
    """The lamp of a passed part."""
    when_fail: Colour = "yellow"
    """The lamp of a rejected part."""
    when_unsure: Colour = "blue"
    """The lamp of a part that somebody must look at."""
    when_fault: Colour = "yellow"
    """The lamp of a part with an error."""
    when_idle: Colour = "white"
    """The lamp while no part was judged yet."""


class Machine(Section):
    """The machine beside the box: what triggers a picture, and who hears the verdict."""

    trigger: Literal["free", "interval", "camera", "line", "modbus"] = "free"
    """`free`: every frame is judged by itself, there are no parts. `interval`: a part every
    `interval_s`. `camera`: every frame of the camera is of a part, as its own input line triggers.
    `line`: a line of the machine. `modbus`: the PLC's trigger coil."""
    interval_s: float = Field(default=1.0, ge=0.02, le=3600)
    """Time between two parts of `trigger = "interval"`, in seconds."""
    delay_s: float = Field(default=0.0, ge=0, le=60)
    """From the trigger to the first picture of the part (settling, coolant), in seconds."""
    deadline_s: float = Field(default=1.0, ge=0.02, le=600)
    """Worst case from the trigger to the result, in seconds: what the PLC may count on. A part
    without a verdict by then is NG."""
    unsure_is_ng: bool = True
    """Whether an unsure part raises NG beside Unsure; it never raises OK."""
    modbus: Modbus = Modbus.model_construct()
    line: MachineLine = MachineLine.model_construct()
    stack_light: StackLight = StackLight.model_construct()

    @model_validator(mode="after")
    def _trigger_has_its_line(self) -> Self:
        if self.trigger == "modbus" and self.modbus.role == "off":
            raise ValueError("trigger is 'modbus', and modbus.role is 'off'")
        if self.trigger == "line" and not self.line.port:
            raise ValueError("trigger is 'line', and line.port is not set")
        if self.trigger == "free" and self.modbus.role != "off":
            raise ValueError(
                "trigger is 'free', and modbus.role is not 'off': a PLC needs parts; choose "
                "'modbus', 'line', 'camera' or 'interval'"
            )
        return self


class Mqtt(Section):
    """What happens, as JSON to an MQTT broker; needs the extra `plant`."""

    host: str = ""
    """Address of the broker; empty: none."""
    port: int = Field(default=1883, ge=1, le=65535)
    """Its TCP port."""
    tls: bool = False
    """Whether to speak TLS with it."""
    user: str = ""
    """User name; its password is in the environment: `MILLSIGHT_MQTT_PASSWORD`."""
    topic: str = Field(default="millsight", pattern=r"^[^#+$\s]+$")
    """First part of every topic; the device's name follows."""


class OpcUa(Section):
    """What happens, as a read-only OPC UA server; needs the extra `plant`."""

    listen: bool = False
    """Whether to serve."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen at. There is no password: everybody who reaches it may read."""
    port: int = Field(default=4840, ge=1, le=65535)
    """TCP port to listen at."""


class Plant(Section):
    """What the plant is told, by `millsight plant`, a program of its own."""

    look_s: float = Field(default=0.25, ge=0.05, le=60)
    """Pause between two looks at what happened, in seconds."""
    mqtt: Mqtt = Mqtt.model_construct()
    opcua: OpcUa = OpcUa.model_construct()
