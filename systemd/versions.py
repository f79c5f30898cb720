"""Versions of millsight side by side, and which of them is in use."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from systemd.bundle import unpack
from systemd.layout import Layout

DONE = "INSTALLED"
"""Written last: a folder without it is a version whose installation was cut off."""
UNPACKED = ".unpacked-"
ROOM = 4
"""An unpacked version takes about so many times its bundle."""


class InstallError(Exception):
    """The installation cannot go on; its text is a line that says why and what to do."""


def run(*command: str | Path) -> None:
    """Run a command to its end.

    Raises:
        InstallError: it failed; a line of its output says why.
    """
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        line = said[0 if command[0] == "systemctl" else -1]  # its last one is advice
        raise InstallError(f"{' '.join(map(str, command[:3]))}: {line}")


def systemd_runs() -> bool:
    """Whether there is a system manager to start services, or an image is built."""
    return Path("/run/systemd/system").is_dir()


@contextmanager
def when_cut_off(action: Callable[..., Any] | signal.Handlers) -> Iterator[None]:
    """What to do where the connection is lost or somebody presses Ctrl-C, while this holds."""
    signals = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = {one: signal.signal(one, action) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _give_up(*_: object) -> None:
    raise InstallError("cut off while the new version was laid down; nothing in use has changed")


def lay_down(bundle: Path, layout: Layout) -> str:
    """Put the version of a bundle beside those that are there; returns its name.

    What runs is not touched. A power cut leaves a folder without its mark, or with all of it; what
    else does not come about leaves nothing.

    Raises:
        BundleError: the bundle is damaged.
        InstallError: no room, pip failed, or it was cut off.
    """
    layout.versions.mkdir(parents=True, exist_ok=True)
    for left in layout.versions.glob(f"{UNPACKED}*"):  # by one that was cut off
        shutil.rmtree(left)
    needed = ROOM * bundle.stat().st_size if bundle.is_file() else 0
    if (free := shutil.disk_usage(layout.versions).free) < needed:
        raise InstallError(
            f"{layout.versions}: {free / 1e6:.0f} MB free, needed are {needed / 1e6:.0f}"
        )
    with (
        when_cut_off(_give_up),
        tempfile.TemporaryDirectory(dir=layout.versions, prefix=UNPACKED) as temporary,
    ):
        unpacked = Path(temporary)
        version = unpack(bundle, unpacked)
        place = layout.versions / version
        if (place / DONE).exists():
            return version
        shutil.rmtree(place, ignore_errors=True)
        try:
            _fill(place, unpacked, version)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    return version


def _fill(place: Path, unpacked: Path, version: str) -> None:
    extras = (unpacked / "EXTRAS").read_text().strip()
    run("/usr/bin/python3", "-m", "venv", place)
    run(
        *(place / "bin/pip", "install", "--quiet", "--no-index", "--no-cache-dir"),
        *("--find-links", unpacked / "wheels", f"millsight[{extras}]=={version}"),
    )
    shutil.copytree(unpacked / "systemd", place / "share/systemd")
    os.sync()  # the mark must not be on the disk before what it stands for
    (place / DONE).touch()
    os.sync()


def switch(version: str, layout: Layout) -> None:
    """Make a version the one in use: its services, its commands, in one step of a link.

    What takes time, the new units, is on the disk before anything changes; then they and the link
    are renamed at one go. Links through `current` would be of one piece, but `systemctl enable`
    follows them and so holds a unit to its version.
    """
    share = layout.versions / version / "share/systemd"
    layout.units.mkdir(parents=True, exist_ok=True)
    wanted = {path.name: path.read_bytes() for path in share.glob("millsight*")}
    fresh = {}
    for name, content in wanted.items():
        unit = layout.units / name
        if not unit.exists() or unit.read_bytes() != content:
            fresh[unit] = unit.with_name(name + ".new")
            with fresh[unit].open("wb") as stream:
                stream.write(content)
                os.fsync(stream.fileno())
    for unit, made in fresh.items():
        made.rename(unit)
    link(layout.current, Path(version))
    for old in layout.units.glob("millsight*"):
        if old.name not in wanted:
            old.unlink()
    flush(layout.units)
    flush(layout.versions)
    if systemd_runs():
        run("systemctl", "daemon-reload")


def link(path: Path, target: Path) -> None:
    """Make or turn a symbolic link, at no moment missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.rename(path)


def flush(folder: Path) -> None:
    """Bring the entries of a folder to the disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
