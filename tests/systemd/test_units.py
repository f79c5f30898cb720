"""The units: what systemd itself says of them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("millsight-*.service"))
LARGEST_EXPOSURE = 2.5
OF_DEBIAN = Path("/usr/lib/systemd/system")
NEEDED = (
    "opt/millsight/current/bin/millsight", "usr/bin/cage", "usr/bin/chromium", "usr/bin/sleep",
    "usr/bin/systemctl",
)  # fmt: skip

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd: apt install systemd"
)


def verify(root: Path, units: Path) -> str:
    """What `systemd-analyze verify` has to say of units, in a root that has all they name."""
    for name in NEEDED:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    for name in ("lib", "bin", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    folder = root / "usr/lib/systemd/system"
    folder.mkdir(parents=True)
    for kind in ("target", "socket", "slice"):
        for path in OF_DEBIAN.glob(f"*.{kind}"):
            shutil.copy(path, folder)
    for path in units.glob("millsight*"):
        shutil.copy(path, folder)
    names = [path.name.replace("@.", "@x.") for path in units.glob("millsight*")]
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", "--man=no", *names],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr + (f"exit {done.returncode}" if done.returncode else "")


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    assert verify(tmp_path, UNITS) == ""


@pytest.mark.parametrize(
    ("what", "instead"),
    [("WatchdogSec=", "WatchDogSecs="), ("bin/millsight device", "bin/milsight device")],
)
def test_systemd_would_find_what_is_wrong(what: str, instead: str, tmp_path: Path) -> None:
    units = tmp_path / "units"
    shutil.copytree(UNITS, units)
    unit = units / "millsight-device.service"
    assert what in unit.read_text()
    unit.write_text(unit.read_text().replace(what, instead))
    assert "millsight-device.service" in verify(tmp_path / "root", units)


def exposure(unit: str) -> float:
    """The exposure that `systemd-analyze security` gives a unit, 0 (none) to 10."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", UNITS / unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"exposure level for .*: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


@pytest.mark.parametrize("unit", SERVICES)
def test_services_are_shut_in(unit: str) -> None:
    level = exposure(unit)
    documented = re.search(
        rf"`{re.escape(unit)}`.*\| ([\d.]+) \|", (UNITS.parent / "docs/install.md").read_text()
    )
    assert documented, f"{unit} is not in the table of docs/install.md"
    assert level == float(documented[1])
    if unit != "millsight-kiosk.service":
        assert level <= LARGEST_EXPOSURE


def test_every_service_that_goes_on_is_started_again_and_not_in_a_storm() -> None:
    for name in SERVICES:
        text = (UNITS / name).read_text()
        if "Type=oneshot" in text:
            continue
        assert "Restart=always" in text, name
        burst = re.search(r"^StartLimitBurst=(\d+)$", text, re.MULTILINE)
        assert "StartLimitIntervalSec=60" in text, name
        assert burst, name
        assert int(burst[1]) < 5, name
        assert "OnFailure=millsight-again@%n.service" in text, name


def test_no_unit_uses_what_debian_12_does_not_have() -> None:
    for path in UNITS.glob("millsight*"):
        assert "RestartSteps" not in path.read_text()  # since systemd 254
