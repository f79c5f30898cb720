"""Runs the checks, and says what they found."""

import os
import pwd
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.load import SITE_FILE, find_settings, load_settings
from config.settings import Settings
from device.doctor import (
    camera,
    clock,
    database,
    disk,
    exchange,
    judging,
    model,
    pages,
    permissions,
    serial,
    settings,
    units,
)
from device.doctor.finding import Box, Finding

CHECKS: dict[str, Callable[[Box], Iterator[Finding]]] = {
    "settings": settings.look,
    "permissions": permissions.look,
    "disk": disk.look,
    "clock": clock.look,
    "database": database.look,
    "model": model.look,
    "camera": camera.look,
    "serial": serial.look,
    "exchange": exchange.look,
    "units": units.look,
    "judging": judging.look,
    "pages": pages.look,
}
"""In the order of the report: what a later one builds on comes first."""

MARKS = {"ok": "ok  ", "warning": "warn", "fault": "BAD "}
AGAIN_S = 1.0
OF_SETTINGS = {"settings", "clock", "units"}
"""The checks that make sense without good settings."""


def read_box(config: Path | None) -> Box:
    """The box as its settings describe it; a broken file is no reason to stop."""
    try:
        file = find_settings(config)
    except UserError as error:
        return Box(config or SITE_FILE, Settings(), str(error))
    try:
        return Box(file, load_settings(config))
    except UserError as error:
        return Box(file, Settings(), str(error))


def become_owner_of(folder: Path) -> None:
    """Where root asks, look with the eyes of the user whose data it is: root may do anything."""
    if os.geteuid() or not folder.exists() or not (uid := folder.stat().st_uid):
        return
    user = pwd.getpwuid(uid)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(uid)
    os.environ["USER"] = os.environ["LOGNAME"] = user.pw_name


def examine(box: Box, names: Iterable[str] = CHECKS) -> dict[str, list[Finding]]:
    """What each check finds."""
    wanted = [name for name in CHECKS if name in names and (not box.error or name in OF_SETTINGS)]
    return {name: list(CHECKS[name](box)) for name in wanted}


def examine_until_well(
    config: Path | None, names: Iterable[str], wait_s: float
) -> dict[str, list[Finding]]:
    """Examine again until nothing is at fault, or the time is up: services take a while to start.

    What was found well is not examined again.
    """
    ends = time.monotonic() + wait_s
    found: dict[str, list[Finding]] = {}
    left = set(names)
    while True:
        found |= examine(read_box(config), left)
        left = {name for name, findings in found.items() if is_bad(findings)}
        if not left or time.monotonic() >= ends:
            return {name: found[name] for name in CHECKS if name in found}
        time.sleep(AGAIN_S)


def is_bad(findings: list[Finding]) -> bool:
    """Whether a check found a fault."""
    return any(finding.level == "fault" for finding in findings)


def report_lines(found: dict[str, list[Finding]]) -> list[str]:
    """The report for people: a line for every finding."""
    return [
        f"{MARKS[one.level]} {name:<12} {one.text}" + (f": {one.mend}" if one.mend else "")
        for name, findings in found.items()
        for one in findings
    ]


def report_object(found: dict[str, list[Finding]]) -> dict[str, Any]:
    """The report, ready for JSON; `version` is of the program that has looked."""
    return {
        "version": version("millsight"),
        "well": not any(is_bad(findings) for findings in found.values()),
        "checks": {
            name: [{"level": one.level, "text": one.text, "mend": one.mend} for one in findings]
            for name, findings in found.items()
        },
    }
