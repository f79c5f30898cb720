"""Every setting of a site, described once: type, unit, bounds, default and meaning.

The docstring under a key is its documentation everywhere: in `millsight config init`, in
`docs/settings.md` and in error messages. Units stand in the key's name (`_s`, `_fps`, `_px`).
"""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from config.basics import MAP_STEP, PATCH_SIZE, Name, Section
from config.camera import (
    URL_SCHEMES,
    Camera,
    FolderSource,
    GenicamFeatures,
    GenicamSource,
    GentlSource,
    Live,
    OpencvSource,
    Quality,
    Vmc220Source,
)
from config.machine import Machine, Plant, check_pattern
from config.platform import Light, Scan, Stage

__all__ = [  # settings of other files that are imported from this one
    "MAP_STEP", "PATCH_SIZE", "URL_SCHEMES", "Camera", "FolderSource", "GenicamFeatures",
    "GenicamSource", "GentlSource", "Light", "Live", "Name", "OpencvSource", "Quality", "Scan",
    "Section", "Stage", "Vmc220Source",
]  # fmt: skip

SMALLEST_REGION = 16
LARGEST_SEED = 2**32 - 1
"""Least width and height of a judged region in pixels: less is no picture of a surface."""


class Region(Section):
    """A rectangle of the frame that is judged, scaled to 200 × 200 pixels."""

    x: int = Field(ge=0)
    """Left edge in pixels."""
    y: int = Field(ge=0)
    """Top edge in pixels."""
    width: int = Field(ge=SMALLEST_REGION)
    """Width in pixels."""
    height: int = Field(ge=SMALLEST_REGION)
    """Height in pixels."""


class Recipe(Section):
    """What one kind of part looks like and how it is judged."""

    name: Name = "default"
    """Name of the recipe."""
    classes: list[Name] = Field(
        default=["clean", "patch", "pitted_surface", "scratch"], min_length=2, max_length=256
    )
    """All classes, in the order of the network's outputs."""
    pass_classes: list[Name] = Field(default=["clean"])
    """The classes that are good; every other class fails the part."""
    fail_classes: list[Name] = Field(default=[])
    """The classes that fail the part. With a PLC every class must be in one of the two lists, so
    that a new one is never OK or NG by accident; without one this may stay empty."""
    index: int = Field(default=0, ge=0, le=65535)
    """By which a PLC selects this recipe; 0: it cannot."""
    parts: list[Name] = Field(default=[])
    """Numbers of the parts that are judged by this recipe. Once any recipe names some, a part that
    none names is NG."""
    frames_per_part: int = Field(default=1, ge=1, le=1000)
    """Frames taken of a triggered part; the worst of their verdicts is the part's."""
    line_pattern: str | None = None
    """What a line of the machine looks like that tells of such a part, where it is not
    `machine.line.pattern`."""
    thresholds: dict[Name, Annotated[float, Field(ge=0)]] = Field(default={})
    """Scores above which patches predicted as a class are unsure, in place of the model's own."""
    regions: Literal["whole", "grid"] | Annotated[list[Region], Field(min_length=1)] = "whole"
    """Which parts of a frame are judged: the `whole` frame as one patch, a `grid` of
    200 × 200 pixel patches, or a list of `{x, y, width, height}` rectangles in pixels."""
    grid_overlap_px: int = Field(default=0, ge=0, le=PATCH_SIZE - 20)
    """Overlap of neighbouring patches of the grid, in pixels."""
    shared_maps: bool = False
    """Whether overlapping patches of the grid are judged on feature maps that they share: 2.3
    times as fast at half an overlap. The overlap must be 8, 40, 72, 104, 136 or 168. Frames
    are then levelled (light and contrast made alike everywhere), and pictures are kept, shown and
    learnt from as levelled; those of a golden set must be such, too (`millsight trainer golden`
    takes them from the store). It takes more memory, 120 MB for frames of 1280 × 1024, and
    cannot be switched once pictures are kept by the recipe."""
    frame_width_px: int = Field(default=0, ge=0, le=16384)
    """Width a frame must have, in pixels; frames of another size get no verdict. 0: any."""
    frame_height_px: int = Field(default=0, ge=0, le=16384)
    """Height a frame must have, in pixels. 0: any."""

    @field_validator("line_pattern")
    @classmethod
    def _line_pattern_names_a_part(cls, value: str | None) -> str | None:
        return value if value is None else check_pattern(value, groups=True)

    @model_validator(mode="after")
    def _classes_agree(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise ValueError(f"classes names {twice!r} twice")
        if unknown := [name for name in self.pass_classes if name not in self.classes]:
            raise ValueError(f"pass_classes names {unknown[0]!r}, which is not in recipe.classes")
        if unknown := [name for name in self.fail_classes if name not in self.classes]:
            raise ValueError(f"fail_classes names {unknown[0]!r}, which is not in recipe.classes")
        if both := [name for name in self.fail_classes if name in self.pass_classes]:
            raise ValueError(f"{both[0]!r} is in pass_classes and in fail_classes")
        if unknown := [name for name in self.thresholds if name not in self.classes]:
            raise ValueError(f"thresholds names {unknown[0]!r}, which is not in recipe.classes")
        return self

    @model_validator(mode="after")
    def _maps_can_be_shared(self) -> Self:
        if not self.shared_maps:
            return self
        if self.regions != "grid":
            raise ValueError('shared_maps needs regions = "grid"')
        if (PATCH_SIZE - self.grid_overlap_px) % MAP_STEP:
            fit = ", ".join(str(n) for n in range(PATCH_SIZE % MAP_STEP, PATCH_SIZE, MAP_STEP))
            raise ValueError(f"shared_maps needs a grid_overlap_px of one of {fit}")
        return self

    @model_validator(mode="after")
    def _regions_fit_the_frame(self) -> Self:
        regions = self.regions if isinstance(self.regions, list) else []
        ends = {
            "width": (self.frame_width_px, [r.x + r.width for r in regions]),
            "height": (self.frame_height_px, [r.y + r.height for r in regions]),
        }
        for side, (frame, last) in ends.items():
            if frame and self.regions == "grid" and frame < PATCH_SIZE:
                raise ValueError(f"frame_{side}_px is {frame}; a patch of the grid is {PATCH_SIZE}")
            if frame and max(last, default=0) > frame:
                number = last.index(max(last))
                raise ValueError(
                    f"regions.{number} ends at {last[number]} px, and frame_{side}_px is {frame}"
                )
        return self


class Asking(Section):
    """Which patches are kept for the operator."""

    strategy: Literal["kls", "kls_floor"] = "kls"
    """How unsureness is scored: `kls` as in the paper, or with floored distributions."""
    k: int = Field(default=9, ge=0, le=10000)
    """Patches asked about per predicted class and cycle."""
    cold_start: int = Field(default=54, ge=1, le=100000)
    """Patches asked about per cycle while there is no model, drawn evenly from the stream."""
    audit_share: float = Field(default=0.002, ge=0, le=1)
    """Share of all patches asked about at random: the honest estimate of accuracy."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of the random draws."""
    labels_per_shift: int = Field(default=100, ge=0, le=1000000)
    """Answers asked of the operators in a shift; then the page stops asking. 0: no limit."""
    repeat_share: float = Field(default=0.05, ge=0, le=0.5)
    """Share of the questions that were answered by somebody else before, to see whether operators
    agree; such a repeat looks like any other question."""


class KeepRule(Section):
    """How long, and in how much room, the pictures of one recipe or reason are kept."""

    recipe: str = Field(default="", max_length=64)
    """Name of the recipe; empty: every one."""
    reason: Literal["", "uncertain", "audit", "cold-start", "defect"] = ""
    """Why they were kept; empty: for whatever reason."""
    days: int = Field(default=0, ge=0, le=36500)
    """Days after which they go; 0: whatever their age."""
    mb: int = Field(default=0, ge=0, le=100000000)
    """Megabytes over which the least useful ones go; 0: however many."""


class Keeping(Section):
    """Which pictures are kept besides those that are asked about, and how much room they have.

    An answer that the trainer has not acknowledged never goes, nor does its picture."""

    defects_per_minute: int = Field(default=60, ge=0, le=100000)
    """Failed frames of which a picture is kept, per minute; 0 keeps none."""
    alike: int = Field(default=20, ge=1, le=1000)
    """Near-identical patches kept in one group; further ones are judged, and not kept."""
    low_disk_mb: int = Field(default=1000, ge=0)
    """Free space under which the pages warn that the disk is nearly full, in megabytes."""
    budget_mb: int = Field(default=8000, ge=20, le=100000000)
    """Most room for the store, in megabytes; over it, what is least useful goes (docs/disk.md)."""
    floor_mb: int = Field(default=200, ge=0, le=100000000)
    """Free space under which nothing more is kept, in megabytes; plates are judged all the same,
    and the least useful pictures go until there is a tenth more."""
    rules: list[KeepRule] = Field(default=[], max_length=100)
    """Bounds for single recipes and reasons, besides those above: tables with the keys `recipe`,
    `reason`, `days` and `mb`, such as `[{ reason = "defect", days = 30, mb = 2000 }]`."""
    rows_days: int = Field(default=400, ge=1, le=36500)
    """Days for which answers of parts, counters, events and acknowledged labels are remembered."""
    models: int = Field(default=5, ge=2, le=1000)
    """Model files kept: those in use, those before them, and the latest others."""
    tidy_s: float = Field(default=300, ge=1, le=86400)
    """Seconds between two clean-ups of a running inspection."""
    check_hours: float = Field(default=24, ge=0.01, le=8760)
    """Hours between two checks of the whole store."""


class Backup(Section):
    """Copies of the store in a second place."""

    folder: Path | None = Field(default=None, strict=False)
    """Folder for them, best on another disk. Not set: none are made. Relative paths start at the
    settings file."""
    must_be_mount: bool = False
    """Whether the folder, or one above it, must be the mount of a disk of its own."""
    keep: int = Field(default=3, ge=1, le=1000)
    """Copies kept; the oldest goes once a new one is whole."""
    hours: float = Field(default=24, ge=0.01, le=8760)
    """Hours between two copies."""


class Drift(Section):
    """When pictures or scores are no longer what they were: a block of frames is compared with the
    reference, the first blocks of a part and model."""

    block_s: float = Field(default=300, ge=0, le=86400)
    """Least duration of a block, in seconds."""
    block_frames: int = Field(default=200, ge=10, le=1000000)
    """Least number of judged frames in a block."""
    reference_blocks: int = Field(default=288, ge=24, le=10000)
    """Blocks that the reference grows to: 288 of five minutes are a day. The spread between them
    is what counts as usual; until there are many, only large changes are noticed."""
    quiet_blocks: int = Field(default=288, ge=0, le=100000)
    """Blocks after an alarm within which another one of the same kind and part is not raised."""


class Device(Section):
    """The box beside the machine."""

    name: Name = "millsight"
    """Name of this device; part of every patch's identity."""
    data: Path = Field(default=Path("data"), strict=False)
    """Folder for the store and the models. Relative paths start at the settings file."""
    must_be_mount: Path | None = Field(default=None, strict=False)
    """Folder that a disk of its own must be mounted on, such as `/var/lib/millsight`. While none
    is, nothing is written there: the root disk must not fill up in its place."""
    threads: int = Field(default=1, ge=1, le=64)
    """Threads of one inference. One is fastest for this network."""
    int8: Literal["race", "never"] = "race"
    """Whether a model's int8 form may judge: `race` measures it on this device whenever a model is
    brought into use, and takes it only where it is faster and judges alike."""
    recipes: Path = Field(default=Path("recipes"), strict=False)
    """Folder of the recipes besides the one in this file, one TOML file each; `millsight recipe`.
    Relative paths start at the settings file."""
    live: Path | None = Field(default=None, strict=False)
    """File for what the live page shows, rewritten several times a second while somebody looks at
    it; a path in memory, such as `/run/millsight/live.db`, spares a flash disk. Default:
    `live.db` in `data`."""


def _is_network(words: str) -> str:
    """Words that are an address or a network.

    Raises:
        ValueError: they are not.
    """
    try:
        ipaddress.ip_network(words)
    except ValueError:
        raise ValueError(f"{words!r} is no address or network, such as 10.0.0.0/24") from None
    return words


Network = Annotated[str, AfterValidator(_is_network)]


class Review(Section):
    """The touch pages: live view, questions, today, models, people."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen at. Another one than this machine's own (127.0.0.1, ::1) demands a
    password: `millsight people password`."""
    port: int = Field(default=8080, ge=1, le=65535)
    """TCP port of the pages."""
    host_names: list[Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.:\[\]-]{1,253}$")]] = (
        Field(default=[])
    )
    """Names and addresses under which browsers elsewhere reach the pages; others are refused."""
    watchers: list[Network] = Field(default=[], max_length=100)
    """Addresses or networks, such as `10.0.0.7` or `10.0.0.0/24`, that may read `/health` and
    `/metrics` without a password; this machine always may."""
    operators: list[Name] = Field(default=["operator"], min_length=1, max_length=100)
    """Names that an operator taps to say who is answering; `millsight people pin` gives a PIN."""
    supervisors: list[Name] = Field(default=[], max_length=100)
    """Names that may go back to an earlier model, each with a PIN of `millsight people pin`."""
    supervisor_timeout_s: float = Field(default=180, ge=10, le=86400)
    """Idle time after which a supervisor is logged out, in seconds."""
    session_timeout_s: float = Field(default=28800, ge=60, le=604800)
    """Idle time after which an operator with a PIN is logged out, and the network's password is
    asked again, in seconds."""
    shifts: list[Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]] = Field(
        default=["06:00", "14:00", "22:00"], min_length=1, max_length=24
    )
    """When shifts begin, as local time."""
    language: Name = "en"
    """Language the page starts in: `en`, `zh`, or that of another file in
    `device/review/languages`."""
    panel_inch: float = Field(default=10.1, ge=7, le=65)
    """Diagonal of the touchscreen in inches: buttons get their size in millimetres from it."""
    panel_width_px: int = Field(default=1280, ge=480, le=7680)
    """Width of the touchscreen in pixels, as it is mounted."""
    panel_height_px: int = Field(default=800, ge=480, le=7680)
    """Height of the touchscreen in pixels, as it is mounted."""
    dim_after_s: float = Field(default=300, ge=10, le=86400)
    """The page dims after so many seconds without a touch, and its picture returns to the queue;
    the touch that wakes it does nothing else."""

    @model_validator(mode="after")
    def _panel_is_a_panel(self) -> Self:
        sides = sorted((self.panel_width_px, self.panel_height_px))
        if sides[1] > 2 * sides[0]:
            raise ValueError(
                f"panel_width_px and panel_height_px are {self.panel_width_px} and "
                f"{self.panel_height_px}: no side may be over twice the other"
            )
        return self

    @model_validator(mode="after")
    def _names_are_different(self) -> Self:
        names = [*self.operators, *self.supervisors]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"operators and supervisors name {twice!r} twice")
        if self.shifts != sorted(set(self.shifts)):
            raise ValueError("shifts must be in order, each once")
        return self


class Publishing(Section):
    """How models are signed and rolled out to the devices of a recipe."""

    first_devices: list[Name] = Field(default=[])
    """Devices that get every new model at once, whatever the share."""
    first_percent: float = Field(default=100, ge=0, le=100)
    """Share of the devices that get a new model at once, in percent; `millsight trainer rollout`
    widens it."""
    keep: int = Field(default=10, ge=2, le=1000)
    """Models that stay published; older ones are taken out of the channel."""
    self_test_patches: int = Field(default=48, ge=4, le=150)
    """Golden patches that go with a model, for the self-test of every device."""
    root_days: float = Field(default=1825, ge=1, le=36500)
    """Days until the root of trust must be renewed with the offline key."""
    targets_days: float = Field(default=1825, ge=1, le=36500)
    """The same for the list of channels."""
    models_days: float = Field(default=90, ge=1, le=36500)
    """Days for which the signature of a channel holds; every night renews it in time."""
    snapshot_days: float = Field(default=30, ge=1, le=36500)
    """Days for which the list of versions holds; every night renews it."""
    timestamp_days: float = Field(default=7, ge=0.001, le=365)
    """Days after which devices take nothing new unless a night came: longer than the longest
    weekend, for it is also how long an old state can be passed off as the current one."""


class Trainer(Section):
    """How models are trained."""

    data: Path = Field(default=Path("trainer"), strict=False)
    """Folder for the trainer's own store: what all devices have answered. Relative paths start at
    `device.data`."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of the training run."""
    threads: int = Field(default=0, ge=0, le=256)
    """Threads of the training; 0 takes every core but one, which is left to the inspection."""
    most_steps: int = Field(default=1600, ge=1, le=1000000)
    """Longest training run, in optimiser steps; fewer make a slow trainer done in time."""
    folds: int = Field(default=2, ge=0, le=10)
    """Folds of the held-out predictions that set the thresholds; 0 leaves them out, and then
    every patch of the new model is unsure until a threshold is known."""
    confident_share: float = Field(default=0.95, gt=0, lt=1)
    """Share of rightly judged unseen patches of a class that should count as sure."""
    most_wrong: float = Field(default=0.1, gt=0, lt=1)
    """Largest share of the sure verdicts that may be wrong, estimated on unseen patches; until
    there are labels enough to promise it, every patch is unsure."""
    least_new_class: int = Field(default=20, ge=2, le=100000)
    """Patches that operators must have called by the same new name before it becomes a class of
    the next model."""
    enough_agreement: float | None = Field(default=None, gt=0, le=1)
    """Cohen's kappa with the model of half as many labels from which a night says that more labels
    no longer change the model; asking goes on all the same. 0.99 is what the laboratory tries.
    Default: the kappa is told, and no more."""
    ask_again: int = Field(default=20, ge=0, le=10000)
    """Labels that look wrong which a night sends back to be asked again, at most."""
    golden: Path | None = Field(default=None, strict=False)
    """Folder of class folders that no model ever learns from and every new model is judged on. The
    first night takes a copy, which is what counts from then on; `millsight trainer freeze` takes
    what has changed as its next version. Other recipes name theirs in their own files. Relative
    paths start at the settings file."""
    least_golden: int = Field(default=30, ge=1, le=1000000)
    """Patches a model must be judged on, golden ones and new audits together, to go out."""
    least_accuracy: float = Field(default=0.7, ge=0, le=1)
    """Share of these patches that a model must judge rightly to go out."""
    least_recall: float = Field(default=0.5, ge=0, le=1)
    """Share of every class's patches that it must find, unless the model in use finds fewer."""
    largest_drop: float = Field(default=0.02, ge=0, le=1)
    """Largest share of these patches by which it may fall behind the model in use."""
    largest_recall_drop: float = Field(default=0.1, ge=0, le=1)
    """The same for every class."""
    largest_unsure_rise: float = Field(default=0.2, ge=0, le=1)
    """Largest share of these patches by which it may be unsure more often than the model in use."""
    publish: Publishing = Publishing.model_construct()


class Update(Section):
    """How a device takes in published models."""

    root: Path | None = Field(default=None, strict=False)
    """File of the root of trust (`root.json` of `millsight trainer keys init`), brought here by
    hand, never over the exchange. Default: `trusted-root.json` in `device.data`. Relative paths
    start at the settings file."""
    tolerance: float = Field(default=0.001, ge=0, le=1)
    """Largest difference of a log-probability from the trainer's in the self-test; another class or
    another verdict always fails."""
    largest_slowdown: float = Field(default=1.5, ge=1, le=100)
    """Time of a patch, as a multiple of the model in use, over which a new model is refused."""
    probation_frames: int = Field(default=1000, ge=0, le=10000000)
    """Frames for which a new model is watched and goes back by itself; 0: no probation."""
    probation_hours: float = Field(default=24, ge=0.001, le=8760)
    """Hours of inspection after which the probation ends too, once 50 frames were judged."""
    largest_unsure_rise: float = Field(default=0.2, ge=0, le=1)
    """Share of the frames by which it may be unsure more often than the model before it."""
    largest_mix_change: float = Field(default=0.3, ge=0, le=1)
    """Share of the patches that may have moved to other classes."""
    largest_live_slowdown: float = Field(default=3, ge=1, le=100)
    """Time of a patch in the running loop, as a multiple of the model before it."""


class Exchange(Section):
    """The place through which devices and trainer hand each other labels and models."""

    url: str = Field(default="exchange", min_length=1)
    """A folder, `s3://bucket/prefix`, or `sftp://user@host:port/folder`. A relative folder starts
    at `device.data`. Never with a password: keys and credentials are files."""
    s3_endpoint: str = ""
    """Address of the S3-compatible server, such as `https://s3.factory.example:9000`; empty:
    Amazon's."""
    s3_region: str = Field(default="us-east-1", min_length=1)
    """Region of the bucket; most servers of one's own take any."""
    s3_credentials: Path | None = Field(default=None, strict=False)
    """File with the key's id on its first line and the secret on its second, readable by its owner
    only. Default: the environment's `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`. Relative paths
    start at the settings file."""
    sftp_key: Path | None = Field(default=None, strict=False)
    """File of the private key without a passphrase, readable by its owner only. Relative paths
    start at the settings file."""
    sftp_known_hosts: Path | None = Field(default=None, strict=False)
    """File with the server's host key, as `ssh-keyscan` writes it; a server with another key is
    refused. Relative paths start at the settings file."""
    timeout_s: float = Field(default=30, ge=1, le=600)
    """Longest wait for an answer of the server, in seconds."""

    @model_validator(mode="after")
    def _url_holds_no_secret(self) -> Self:
        scheme, _, rest = self.url.rpartition("://")
        if scheme not in {"", "file", "s3", "sftp"}:
            raise ValueError(f"url starts with {scheme}://; allowed is a folder, s3:// or sftp://")
        if scheme in {"s3", "sftp"} and ":" in rest.rpartition("@")[0]:
            raise ValueError(
                "url holds a password; take it out: s3_credentials and sftp_key name files"
            )
        if "@" in self.s3_endpoint:
            raise ValueError("s3_endpoint holds a password; take it out: s3_credentials is a file")
        return self

    @property
    def is_folder(self) -> bool:
        """Whether the place is a folder."""
        return not self.url.startswith(("s3://", "sftp://"))


class Settings(Section):
    """All settings of a site: one TOML file."""

    device: Device = Device.model_construct()
    camera: Camera = Camera.model_construct()
    recipe: Recipe = Recipe.model_construct()
    asking: Asking = Asking.model_construct()
    keeping: Keeping = Keeping.model_construct()
    backup: Backup = Backup.model_construct()
    drift: Drift = Drift.model_construct()
    machine: Machine = Machine.model_construct()
    plant: Plant = Plant.model_construct()
    review: Review = Review.model_construct()
    trainer: Trainer = Trainer.model_construct()
    exchange: Exchange = Exchange.model_construct()
    update: Update = Update.model_construct()

    @model_validator(mode="after")
    def _a_plc_knows_every_class(self) -> Self:
        recipe = self.recipe
        mapped = {*recipe.pass_classes, *recipe.fail_classes}
        missing = [name for name in recipe.classes if name not in mapped]
        if self.machine.modbus.role != "off" and missing:
            raise ValueError(
                f"recipe {recipe.name!r}: {missing[0]!r} is neither in pass_classes nor in "
                "fail_classes; a PLC must be told of every class whether it is OK or NG"
            )
        return self
