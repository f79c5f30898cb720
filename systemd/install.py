"""Installs millsight from a bundle, and removes it: `python3 -m systemd.install`.

An installed version is a folder of its own; nothing of it changes afterwards. Settings and data
belong to the site: they are made once and never overwritten.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from systemd.bundle import BundleError
from systemd.layout import KIOSK_USER, USER, Layout
from systemd.upgrade import UpgradeError, bring_into_use
from systemd.versions import InstallError, lay_down, link, run, switch, systemd_runs

GROUPS = ("video", "dialout", "plugdev")
UNITS_AT_START = (
    "millsight.target", "millsight-device.service", "millsight-review.service",
    "millsight-sync.timer", "millsight-tidy.timer", "millsight-trainer.timer",
)  # fmt: skip


def make_users(*, kiosk: bool) -> None:
    """The users that the services run as: nobody can log in as them."""
    there = [group for group in GROUPS if _exists("group", group)]
    for user in (USER, *([KIOSK_USER] if kiosk else [])):
        if not _exists("passwd", user):
            run(
                *("useradd", "--system", "--user-group", "--shell", "/usr/sbin/nologin"),
                *("--home-dir", "/var/lib/millsight", "--no-create-home", user),
            )
    run("usermod", "--append", "--groups", ",".join(there), USER)


def _exists(database: str, name: str) -> bool:
    return not subprocess.run(
        ["/usr/bin/getent", database, name], stdout=subprocess.DEVNULL, check=False
    ).returncode


def make_site(layout: Layout) -> None:
    """Settings and data of the site, where there are none yet."""
    for folder in (layout.settings.parent, layout.settings.parent / "recipes", layout.data):
        if not folder.exists():
            folder.mkdir(parents=True, mode=0o750)
            shutil.chown(folder, USER, USER)
    if not layout.settings.exists():
        made = layout.settings.with_name("made.toml")
        made.unlink(missing_ok=True)
        run(layout.current / "bin/millsight", "config", "init", made)
        text = made.read_text(encoding="utf-8")
        text = text.replace('\ndata = "data"\n', '\ndata = "/var/lib/millsight"\n', 1)
        made.write_text(text, encoding="utf-8")
        made.chmod(0o640)
        shutil.chown(made, USER, USER)
        os.sync()
        made.rename(layout.settings)  # a half one would never be overwritten


def make_commands(layout: Layout) -> None:
    """`millsight`, and `millsight-upgrade` for root."""
    link(layout.command, Path("/opt/millsight/current/bin/millsight"))
    layout.upgrade_command.parent.mkdir(parents=True, exist_ok=True)
    layout.upgrade_command.write_text(
        "#!/bin/sh\n# Upgrade millsight from a bundle, or go back: millsight-upgrade --help\n"
        "PYTHONPATH=/opt/millsight/current/share exec /usr/bin/python3 -B -m systemd.upgrade "
        '"$@"\n'
    )
    layout.upgrade_command.chmod(0o755)


def make_kiosk(layout: Layout) -> None:
    """The touchscreen's session, and what Chromium lets nobody do on this box."""
    share = layout.current / "share/systemd"
    for name, place in (("kiosk.pam", layout.pam), ("kiosk.json", layout.browser_policy)):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(share / name, place)
    run("systemctl", "enable", "millsight-kiosk.service")


def install(bundle: Path, layout: Layout, *, kiosk: bool = False) -> str:
    """Install the version of a bundle, or upgrade to it where another one is in use.

    Raises:
        BundleError, InstallError: see there.
        UpgradeError: the new version is not well, and the old one runs again.
    """
    make_users(kiosk=kiosk)
    version = lay_down(bundle, layout)
    if layout.version_of(layout.current) in (None, version) and not layout.previous.is_symlink():
        switch(version, layout)  # all of it can be done again, where it was cut off
        make_commands(layout)
        make_site(layout)
        run("systemctl", "enable", *UNITS_AT_START)
        if systemd_runs():
            run("systemctl", "start", "millsight.target")
        said = f"millsight {version} is installed; the settings are in {layout.settings}"
    else:
        said = bring_into_use(version, layout)
    if kiosk:
        make_kiosk(layout)
        if systemd_runs():
            run("systemctl", "start", "millsight-kiosk.service")
    return said


def uninstall(layout: Layout, *, purge: bool = False) -> None:
    """Remove the program; settings and data only where `purge` says so."""
    there = [path.name for path in layout.units.glob("millsight*")]
    units = [name for name in there if "@" not in name and not name.endswith(".new")]
    if units and systemd_runs():
        run("systemctl", "stop", *units)
    if units:
        run("systemctl", "disable", "--quiet", *units)
    for path in layout.units.glob("millsight*"):
        path.unlink()
    for path in (layout.command, layout.upgrade_command, layout.pam, layout.browser_policy):
        path.unlink(missing_ok=True)
    shutil.rmtree(layout.versions, ignore_errors=True)
    if systemd_runs():
        run("systemctl", "daemon-reload")
    if purge:
        shutil.rmtree(layout.data, ignore_errors=True)
        shutil.rmtree(layout.settings.parent, ignore_errors=True)
        for user in (USER, KIOSK_USER):
            if _exists("passwd", user):
                run("userdel", user)


def main() -> None:
    """Read the command line; what cannot be done is one line and exit status 1."""
    parser = argparse.ArgumentParser(prog="millsight-install", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("install", help="install, or upgrade what is installed")
    one.add_argument("bundle", type=Path)
    one.add_argument("--kiosk", action="store_true", help="show the pages on a touchscreen")
    one = commands.add_parser("uninstall", help="remove the program; settings and data stay")
    one.add_argument("--purge", action="store_true", help="remove settings and data too")
    asked = parser.parse_args()
    if os.geteuid():
        sys.exit("millsight-install: must be root; put sudo in front")
    layout = Layout()
    try:
        if asked.command == "install":
            print(install(asked.bundle, layout, kiosk=asked.kiosk))
        else:
            uninstall(layout, purge=asked.purge)
            print("removed" if asked.purge else f"removed; {layout.data} and settings are kept")
    except (BundleError, InstallError, UpgradeError, OSError) as error:
        sys.exit(f"millsight-install: {error}")


if __name__ == "__main__":
    main()
