"""Upgrades an appliance from a bundle, checks the new version, and goes back: `millsight-upgrade`.

The new version is laid beside the old one while that runs on. The services stand still only from
the copy of the database to the start of the new loop; the touch pages come back once the new
version's own doctor has seen it judge, so that nobody answers a version that does not stay.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from systemd.bundle import BundleError
from systemd.carry import backup, fit
from systemd.layout import Layout
from systemd.versions import (
    DONE,
    InstallError,
    lay_down,
    link,
    run,
    switch,
    systemd_runs,
    when_cut_off,
)

LOOP, PAGES = "millsight-device.service", "millsight-review.service"
TIMERS = ("millsight-sync.timer", "millsight-tidy.timer", "millsight-trainer.timer")
BUSY = (
    "millsight-sync.service",
    "millsight-tidy.service",
    "millsight-trainer.service",
    "millsight-plant.service",
)
OF_THE_LOOP = ("settings", "database", "model", "camera", "judging")
OF_ALL = ("units", "pages")
WAIT_S = 60
"""So long a new version may take to judge its first frame."""


class UpgradeError(Exception):
    """The upgrade did not come about; its text says why, and what runs now."""


class Health(NamedTuple):
    """What a version's own doctor said."""

    bad: dict[str, str]
    """The checks that found a fault, with what they found."""
    seen: tuple[str, ...]
    """All checks that were made."""


def ask_doctor(version: str, layout: Layout, checks: tuple[str, ...], wait_s: int) -> Health:
    """Let a version examine the box it runs on.

    Raises:
        UpgradeError: its doctor did not answer, or another version's did.
    """
    command = [
        *(str(layout.versions / version / "bin/millsight"), "doctor", *checks, "--json"),
        *("--wait", str(wait_s), "--config", str(layout.settings)),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=wait_s + 60
        )
        said = json.loads(done.stdout)
        found = {name: [f for f in all_ if f["level"] == "fault"] for name, all_ in
                 said["checks"].items()}  # fmt: skip
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        raise UpgradeError(f"the doctor of {version} does not run ({error})") from None
    if said["version"] != version:
        raise UpgradeError(f"the doctor of {said['version']} answered, and not that of {version}")
    bad = {name: faults[0]["text"] for name, faults in found.items() if faults}
    return Health(bad, tuple(found))


def check(version: str, layout: Layout, before: Health | None) -> None:
    """Be content with a version that does no worse than the one before it; its loop was started.

    Raises:
        UpgradeError: its doctor does not run or misses a check, something is bad that was not, or
            the loop had to be started again.
    """
    for checks in (OF_THE_LOOP, OF_ALL):
        now = ask_doctor(version, layout, checks, WAIT_S)
        if missing := set(checks) - set(now.seen):
            raise UpgradeError(f"the doctor of {version} did not look at: {sorted(missing)}")
        for name, text in now.bad.items():
            if before is None or name not in before.bad:
                raise UpgradeError(f"{version} is not well: {name}: {text}")
        if restarts := _restarts():
            raise UpgradeError(f"the loop of {version} ended {restarts} times")
        _start_all()


def upgrade(bundle: Path, layout: Layout) -> str:
    """Bring the version of a bundle into use; returns what to tell.

    Raises:
        UpgradeError: the new version is not well; the old one runs again.
    """
    if layout.version_of(layout.current) is None:
        raise UpgradeError("nothing is installed yet; install the bundle: see docs/install.md")
    return bring_into_use(lay_down(bundle, layout), layout)


def bring_into_use(new: str, layout: Layout) -> str:
    """Bring a version that is laid down into use in place of another; returns what to tell.

    Where it is in use already, as after a power cut, what may be missing is done.

    Raises:
        UpgradeError: it is not well; the old one runs again.
    """
    old, before = layout.version_of(layout.current), version_before(layout)
    assert old is not None, "the first version is installed, and replaces none"
    if new == old:
        _run_version(new, layout)
        _start_all()
        kept = before
    else:
        link(layout.previous, Path(old))  # first: the way back is known at every moment
        try:
            with when_cut_off(signal.SIG_IGN):  # or the services would stand still
                _change(old, new, layout)
        except UpgradeError:
            if before is None:
                layout.previous.unlink()
            else:
                link(layout.previous, Path(before))
            raise
        kept = old
    _remove_older({new, kept or new}, layout)
    back = f"; {kept} is kept: millsight-upgrade --back" if kept else ""
    return f"{new} is in use{back}"


def version_before(layout: Layout) -> str | None:
    """The version to go back to: that of the link, or after a power cut the other one there is."""
    now, before = layout.version_of(layout.current), layout.version_of(layout.previous)
    if before != now or before is None:
        return before
    there = [mark.parent.name for mark in layout.versions.glob(f"*/{DONE}")]
    others = [name for name in there if name not in {"current", "previous", now}]
    return others[0] if len(others) == 1 else None


def go_back(layout: Layout) -> str:
    """Bring the version before the present one into use again; returns what to tell.

    Raises:
        UpgradeError: there is none, or it is not well, and the present one runs on.
    """
    now, before = layout.version_of(layout.current), version_before(layout)
    if now is None or before is None:
        raise UpgradeError("there is no version to go back to")
    with when_cut_off(signal.SIG_IGN):
        _change(now, before, layout)
    link(layout.previous, Path(now))
    return f"{before} is in use again; {now} is kept: millsight-upgrade --back"


def _change(old: str, new: str, layout: Layout) -> None:
    """From one version to another, or back to the first if the other is not well."""
    database = _database(old, layout)
    before = None
    if systemd_runs():
        try:
            before = ask_doctor(old, layout, OF_THE_LOOP + OF_ALL, 0)
        except UpgradeError:  # a version without a doctor: the new one must be well in everything
            before = None
        _systemctl("stop", LOOP, PAGES, *TIMERS, *BUSY)
    try:
        if database.exists():
            backup(database, new)
            _fit(database, new, layout)
        _run_version(new, layout)
        if systemd_runs():
            check(new, layout, before)
    except (UpgradeError, InstallError, OSError, sqlite3.Error) as error:
        if systemd_runs():
            _systemctl("stop", LOOP, PAGES, *TIMERS)
        if database.exists():
            # A damaged one the old version mends itself; whatever it is, the box must not stand.
            with contextlib.suppress(OSError, sqlite3.Error):
                _fit(database, old, layout)
        _run_version(old, layout)
        _start_all()
        raise UpgradeError(f"{error}; {old} runs again, with all its data") from None


def _start_all() -> None:
    if systemd_runs():
        _systemctl("start", "millsight.target", PAGES, *TIMERS)


def _run_version(version: str, layout: Layout) -> None:
    switch(version, layout)
    if systemd_runs():
        for unit in (LOOP, PAGES):  # one that has not failed is none to reset
            with contextlib.suppress(InstallError):
                _systemctl("reset-failed", unit)
        _systemctl("start", LOOP)


def _fit(database: Path, version: str, layout: Layout) -> None:
    """Make the database one that a version can open; a version that cannot say is not asked."""
    known = _say(version, layout, _KNOWN)
    if known:
        fit(database, set(known.split()))


def _database(version: str, layout: Layout) -> Path:
    """Where the settings in force have the database."""
    folder = _say(version, layout, _WHERE, str(layout.settings))
    return Path(folder or layout.data) / "millsight.db"


def _say(version: str, layout: Layout, code: str, *arguments: str) -> str:
    """What a few lines print under the Python of a version; empty: they could not."""
    command = [str(layout.versions / version / "bin/python"), "-I", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


_KNOWN = """
from device.store.schema import migrations
print(*(one.name for one in migrations._migrations))
"""
_WHERE = """
import sys, pathlib
from config.load import load_settings
print(load_settings(pathlib.Path(sys.argv[1])).device.data)
"""


def _restarts() -> int:
    done = subprocess.run(
        ["/usr/bin/systemctl", "show", LOOP, "--property=NRestarts", "--value"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return int(done.stdout.strip() or 0)


def _remove_older(kept: set[str], layout: Layout) -> None:
    """Only two versions stay on the disk."""
    for folder in layout.versions.iterdir():
        if folder.is_dir() and not folder.is_symlink() and folder.name not in kept:
            shutil.rmtree(folder)


def _systemctl(*command: str) -> None:
    run("systemctl", *command)


def main() -> None:
    """Read the command line; what does not come about is one line and exit status 1."""
    parser = argparse.ArgumentParser(prog="millsight-upgrade", description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="?", help="the file of the new version")
    parser.add_argument("--back", action="store_true", help="go back to the version before")
    asked = parser.parse_args()
    if os.geteuid():
        sys.exit("millsight-upgrade: must be root; put sudo in front")
    if (asked.bundle is None) != asked.back:
        sys.exit("millsight-upgrade: name a bundle, or say --back")
    try:
        print(go_back(Layout()) if asked.back else upgrade(asked.bundle, Layout()))
    except (UpgradeError, BundleError, InstallError, OSError) as error:
        sys.exit(f"millsight-upgrade: {error}")


if __name__ == "__main__":
    main()
