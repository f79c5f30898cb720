"""The plant of a demo: two devices and a trainer, each with its own folder, store and settings.

They share nothing but the exchange, and every step is a process of its own: the commands that
stand in the timers of a real plant.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.document import to_toml
from config.errors import UserError
from config.load import parse_settings
from config.settings import Asking, Device, Exchange, Settings, Trainer, Update
from trainer.demo.world import World

MARK = "# Made by `millsight demo`, which replaces this folder when it runs again.\n"
DEVICES = ["box-1", "box-2"]
TRAINER = "office"
FOLDERS = [*DEVICES, TRAINER, "exchange", "offline-keys", "frames", "golden"]
QUESTION_SHARE = 0.03
"""Questions of a day as a share of all images: the paper's step (k = 9 for six classes of NEU)."""
UPDATE = Update(
    # A day is short, and three programs share one machine: no time says anything here.
    probation_frames=100, largest_slowdown=100, largest_live_slowdown=100,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """A demo's plant."""

    folder: Path
    devices: dict[str, Settings]
    trainer: Settings

    def config(self, name: str) -> Path:
        """The settings file of a device or of the trainer."""
        return self.folder / f"{name}.toml"

    def start(self, name: str, *words: str) -> subprocess.Popen[str]:
        """Start a command of millsight for a device or the trainer, as a process."""
        command = [sys.executable, "-m", "millsight", *words, "-c", str(self.config(name))]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def begin_day(self, world: World, day: int) -> None:
        """What passes the cameras today."""
        for name, settings in self.devices.items():
            today = settings.model_copy(update={"camera": world.camera(name, day)})
            self.config(name).write_text(MARK + to_toml(today), encoding="utf-8")


def finish(process: subprocess.Popen[str], *, may_fail: bool = False) -> list[str]:
    """The lines of a process that has ended; of one that failed, what it said of it.

    Raises:
        UserError: it failed, and that is not expected.
    """
    out, err = process.communicate()
    lines = out.splitlines()
    if process.returncode:
        said = err.strip().removeprefix("millsight: ") or f"ended with {process.returncode}"
        if not may_fail:
            raise UserError(said)
        lines.append(said)
    return lines


def empty_folder(folder: Path) -> None:
    """Make room for a demo.

    Raises:
        UserError: the folder holds something that no demo made, or cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            marked = (f.read_text(encoding="utf-8") for f in folder.glob("*.toml"))
            if not any(text.startswith(MARK) for text in marked):
                raise UserError(
                    f"{folder}: not empty, and not a demo's; name another folder with --data"
                )
            for name in FOLDERS:
                shutil.rmtree(folder / name, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None


def build(
    world: World, folder: Path, exchange: Exchange, seed: int, changes: dict[str, Any]
) -> Site:
    """Settings for all, keys for the trainer, and its root of trust for the devices.

    `changes` are to `[trainer]`.

    Raises:
        UserError: class folders cannot be class names, or the exchange cannot be used.
    """
    classes = len(world.classes)
    k = max(len(DEVICES), round(QUESTION_SHARE * world.questions_of / classes))
    recipe = parse_settings(
        {"recipe": {"name": "demo", "classes": world.classes, "pass_classes": world.pass_classes}},
        folder / "demo.toml",
    ).recipe

    def settings(name: str, own_k: int) -> Settings:
        return Settings(
            device=Device(name=name, data=folder / name),
            recipe=recipe,
            # No audits: the demo knows the truth of held-out images, and counts every label.
            asking=Asking(
                k=own_k, cold_start=own_k * classes, audit_share=0, seed=seed,
                labels_per_shift=0, repeat_share=0,
            ),
            trainer=Trainer.model_validate(
                {"seed": seed, "data": folder / TRAINER, "golden": folder / "golden"} | changes
            ),
            exchange=exchange,
            update=UPDATE,
        )  # fmt: skip

    shares = [k // len(DEVICES) + (i < k % len(DEVICES)) for i in range(len(DEVICES))]
    devices = {name: settings(name, share) for name, share in zip(DEVICES, shares, strict=True)}
    site = Site(folder, devices, settings(TRAINER, k))
    for name, said in {**devices, TRAINER: site.trainer}.items():
        site.config(name).write_text(MARK + to_toml(said), encoding="utf-8")
    offline = folder / "offline-keys"
    finish(site.start(TRAINER, "trainer", "keys", "init", "--offline", str(offline)))
    trusting = [site.start(n, "device", "trust", str(offline / "root.json")) for n in DEVICES]
    for process in trusting:
        finish(process)
    return site
