"""Are the services enabled and running?"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from device.doctor.finding import Box, Finding

NEEDED = ("millsight.target", "millsight-device.service", "millsight-review.service",
          "millsight-sync.timer", "millsight-tidy.timer")  # fmt: skip
INSTALLED = Path("/usr/local/lib/systemd/system")
OF_THE_VERSION = Path("/opt/millsight/current/share/systemd")
WHERE_WANTED = (
    "millsight-trainer.timer", "millsight-plant.service", "millsight-kiosk.service",
    "millsight-sync.service", "millsight-tidy.service", "millsight-trainer.service",
)  # fmt: skip


def look(_box: Box) -> Iterator[Finding]:
    """A line for each unit that is not as it should be, or one for all."""
    if not Path("/run/systemd/system").is_dir():
        yield Finding.ok("systemd does not run here")
        return
    wrong = [found for unit in (*NEEDED, *WHERE_WANTED) if (found := _state(unit)) is not None]
    wrong += [
        Finding.warning(f"{name}: not the unit of the version in use", "run the upgrade again")
        for name in of_another_version(INSTALLED, OF_THE_VERSION)
    ]
    yield from wrong or [Finding.ok(f"{', '.join(NEEDED)} run")]


def of_another_version(installed: Path, of_the_version: Path) -> list[str]:
    """Units that are not those of the version in use, as where the power went in its last step."""
    if not of_the_version.is_dir():
        return []
    names = {path.name for folder in (installed, of_the_version) for path in
             folder.glob("millsight*") if path.suffix != ".new"}  # fmt: skip
    return sorted(name for name in names if _content(installed / name) !=
                  _content(of_the_version / name))  # fmt: skip


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _state(unit: str) -> Finding | None:
    """What is wrong with a unit."""
    names = "LoadState,ActiveState,SubState,UnitFileState,Result,StatusText"
    command = ["/usr/bin/systemctl", "show", unit, f"--property={names}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Finding.fault(f"{unit}: systemd does not answer", "restart the box")
    said = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if said.get("ActiveState") == "failed" or said.get("SubState") == "auto-restart":
        return Finding.fault(
            f"{unit}: failed ({said.get('Result')})", f"journalctl -u {unit} -n 50"
        )
    if unit not in NEEDED:
        return None
    wrong = (
        (said.get("LoadState") != "loaded", "not installed", "install millsight again"),
        (said.get("ActiveState") == "activating", "still starting", f"journalctl -u {unit} -n 50"),
        (said.get("ActiveState") != "active", "stopped", f"systemctl start {unit}"),
    )
    for is_so, text, mend in wrong:
        if is_so:
            return Finding.fault(f"{unit}: {text}", mend)
    if said.get("UnitFileState") != "enabled":
        return Finding.warning(f"{unit}: does not start with the box", f"systemctl enable {unit}")
    return None
