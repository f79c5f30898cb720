"""The whole appliance in a booted Debian: installed, watched, upgraded, gone back, removed.

What is booted is real: Debian's systemd as process 1 runs the project's units in their sandboxes.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from systemd.bundle import EXTRAS, unpack, write_bundle
from tests.systemd.booted import Booted, booted, make_root
from tests.systemd.sources import ROOT, change, source_tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
LOOP, PAGES = "millsight-device.service", "millsight-review.service"
STORE = "/var/lib/millsight/millsight.db"


def dies_at_its_start(source: Path) -> None:
    change(
        source / "device/loop/loop.py",
        "        self._keeper.start()\n",
        '        raise RuntimeError("deliberately broken")\n        self._keeper.start()\n',
    )


def migrates(source: Path) -> None:
    with (source / "device/store/schema.py").open("a") as file:
        file.write(
            '\n\n@migrations()\ndef m999_test(db: Database) -> None:\n    """A column more."""\n'
            '    db.execute("ALTER TABLE events ADD COLUMN colour TEXT")\n'
        )


def migrates_and_never_judges(source: Path) -> None:
    migrates(source)
    change(
        source / "device/loop/loop.py",
        "        self.summary.frames += 1\n",
        '        raise RuntimeError("deliberately broken")\n',
    )


def lies_about_its_doctor(source: Path) -> None:
    change(source / "device/doctor/cli.py", "    if unknown :=", "    return\n    if unknown :=")


VARIANTS: dict[str, Callable[[Path], None]] = {
    "0.1.0": lambda source: None,
    "0.1.1": lambda source: None,
    "0.1.2": dies_at_its_start,
    "0.1.3": migrates_and_never_judges,
    "0.1.4": lies_about_its_doctor,
    "0.1.5": migrates,
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles of several versions, good ones and broken ones, and the first as a package."""
    out = tmp_path_factory.mktemp("shared")
    wheels = tmp_path_factory.mktemp("wheels")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--dest", wheels,
         "--constraint", ROOT / "requirements.lock", "setuptools>=80", f"{ROOT}[{EXTRAS}]"],
        check=True, capture_output=True,
    )  # fmt: skip
    for version, edit in VARIANTS.items():
        source = source_tree(tmp_path_factory.mktemp("source"), version)
        edit(source)
        bundle = write_bundle(source, out, wheels=wheels)  # from the folder, without a network
        assert unpack(bundle, tmp_path_factory.mktemp("unpacked")) == version
    subprocess.run([ROOT / "systemd/deb.sh", out / "millsight-0.1.0.bundle"], check=True)
    return out


@pytest.fixture(scope="module")
def box(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """A booted Debian with the package installed as a technician does it, without a network."""
    root = make_root(tmp_path_factory.mktemp("debian"))
    with booted(root, shared) as debian:
        debian.say("dpkg --install /mnt/millsight_0.1.0_*.deb")
        yield debian


def upgraded(box: Booted, version: str) -> "subprocess.CompletedProcess[str]":
    return box.run(f"millsight-upgrade /mnt/millsight-{version}.bundle", timeout_s=600)


def well(box: Booted) -> None:
    box.say("millsight doctor settings permissions database units judging pages --wait 60")


def in_use(box: Booted) -> str:
    return box.say("readlink /opt/millsight/current")


def count(box: Booted, sql: str) -> int:
    code = (
        "import sqlite3, sys; "
        "print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])"
    )
    return int(box.say(f'python3 -c "{code}" {STORE} "{sql}"'))


def test_installed_it_judges_and_serves(box: Booted) -> None:
    well(box)
    assert box.say("systemctl is-enabled millsight.target millsight-trainer.timer").split() == [
        "enabled",
        "enabled",
    ]
    assert box.say("stat -c %U:%a /var/lib/millsight /etc/millsight").split() == [
        "millsight:750",
        "millsight:750",
    ]
    main = box.say(f"systemctl show {LOOP} --property=MainPID --value")
    assert box.say(f"ps -o user= -p {main} 2>/dev/null || stat -c %U /proc/{main}") == "millsight"
    assert "torch" not in box.say("ls /opt/millsight/current/lib/python3*/site-packages")
    # The sandbox is not only written down.
    assert "NoNewPrivs:\t1" in box.say(f"cat /proc/{main}/status")
    assert "Seccomp:\t2" in box.say(f"cat /proc/{main}/status")
    assert box.run(f"nsenter -m -t {main} touch /usr/evil").returncode
    box.say("systemctl disable millsight-tidy.timer")  # it runs on, until the box is switched off
    assert "millsight-tidy.timer: does not start with the box" in box.say("millsight doctor units")
    box.say("systemctl enable millsight-tidy.timer")
    assert "does not start" not in box.say("millsight doctor units")


def test_installed_once_more_it_is_the_same(box: Booted) -> None:
    settings = box.say("sha256sum /etc/millsight/millsight.toml")
    box.say("rm /usr/local/bin/millsight")  # as where the power went during the installation
    box.say("dpkg --install /mnt/millsight_0.1.0_*.deb")
    well(box)
    assert box.say("sha256sum /etc/millsight/millsight.toml") == settings
    assert in_use(box) == "0.1.0"


def test_a_loop_that_stands_still_is_started_again_by_the_watchdog(box: Booted) -> None:
    box.say(
        f"mkdir -p /run/systemd/system/{LOOP}.d && printf '[Service]\\nWatchdogSec=4\\n' "
        f"> /run/systemd/system/{LOOP}.d/test.conf && systemctl daemon-reload "
        f"&& systemctl restart {LOOP}"
    )
    well(box)
    time.sleep(10)  # it feeds: nothing happens
    assert box.say(f"systemctl show {LOOP} --property=NRestarts --value") == "0"
    box.say(f"kill -STOP $(systemctl show {LOOP} --property=MainPID --value)")
    for _ in range(240):
        if box.say(f"systemctl show {LOOP} --property=NRestarts --value") == "1":
            break
        time.sleep(0.5)
    assert "watchdog" in box.say(f"journalctl --no-pager -u {LOOP} -o cat").lower()
    box.say(f"rm -r /run/systemd/system/{LOOP}.d && systemctl daemon-reload")
    box.say(f"systemctl reset-failed {LOOP}; systemctl restart {LOOP}")
    well(box)


RESTORE = """
import http.cookiejar, re, urllib.parse, urllib.request
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
page = opener.open("http://127.0.0.1:8080/").read().decode()
token = re.search(r'name="token" value="([0-9a-f]{64})"', page)[1]
form = urllib.parse.urlencode({"token": token}).encode()
print("nonsense" in page, opener.open("http://127.0.0.1:8080/restore", form).status)
"""


def test_a_loop_that_keeps_failing_rests_and_the_touch_page_mends_it(box: Booted) -> None:
    good = box.say("sha256sum /etc/millsight/millsight.toml")
    box.say("printf '\\n[nonsense]\\n' >> /etc/millsight/millsight.toml")
    box.run(f"systemctl reset-failed {LOOP}; systemctl restart {LOOP}; systemctl restart {PAGES}")
    again = f"systemctl show millsight-again@{LOOP}.service --property=ActiveState"
    for _ in range(240):
        if "=activating" in box.run(again).stdout:
            break
        time.sleep(0.5)
    failures = f"journalctl --no-pager -u {LOOP} -o cat | grep -c 'nonsense: unknown key'"
    assert 1 <= int(box.say(failures)) <= 4
    told = "SELECT count(*) FROM events WHERE kind = 'restarts'"
    for _ in range(60):  # it pauses for half a minute after it
        if count(box, told):
            break
        time.sleep(0.3)
    assert count(box, told) == 1, box.say(f"journalctl --no-pager -u millsight-again@{LOOP}")
    assert box.say(f"python3 - <<'END'\n{RESTORE}\nEND") == "True 200"
    box.say("millsight doctor settings judging pages --wait 90")  # by itself
    assert box.say("sha256sum /etc/millsight/millsight.toml") == good
    assert count(box, "SELECT count(*) FROM actions WHERE action = 'put back settings'") == 1


def test_upgrades(box: Booted) -> None:
    before = box.say("sha256sum /etc/millsight/millsight.toml")
    labels = "SELECT count(*) FROM flags"
    flags = count(box, labels)

    for _ in range(2):  # again, as after a power cut
        done = upgraded(box, "0.1.1")
        assert done.returncode == 0, done.stderr
        assert "0.1.1 is in use; 0.1.0 is kept" in done.stdout
        assert in_use(box) == "0.1.1"
        well(box)

    for version, reason in (
        ("0.1.2", "millsight-device.service"),
        ("0.1.3", "judging"),
        ("0.1.4", "doctor of 0.1.4"),
    ):
        done = upgraded(box, version)
        assert done.returncode == 1, version
        assert reason in done.stderr, done.stderr
        assert "0.1.1 runs again" in done.stderr
        assert in_use(box) == "0.1.1"
        well(box)

    done = upgraded(box, "0.1.5")
    assert done.returncode == 0, done.stderr
    well(box)
    migrated = "SELECT count(*) FROM _sqlite_migrations WHERE name = 'm999_test'"
    assert count(box, migrated) == 1
    box.say("millsight device note 'said by 0.1.5'")

    box.say("millsight-upgrade --back")
    assert in_use(box) == "0.1.1"
    well(box)
    assert count(box, migrated) == 0
    assert count(box, "SELECT count(*) FROM events WHERE text = 'said by 0.1.5'") == 1
    assert count(box, labels) >= flags
    assert box.say("sha256sum /etc/millsight/millsight.toml") == before


def test_a_bundle_that_is_damaged_changes_nothing(box: Booted) -> None:
    now = in_use(box)
    box.say("head -c 50000000 /mnt/millsight-0.1.5.bundle > /root/cut.bundle")
    done = box.run("millsight-upgrade /root/cut.bundle")
    assert done.returncode == 1
    assert "copy it again" in done.stderr
    assert in_use(box) == now
    well(box)


def test_power_cut_and_on_again(box: Booted) -> None:
    said = json.loads(box.say("millsight doctor judging --json --wait 60"))
    assert said["well"]
    box.say(f"systemctl kill --signal=KILL {LOOP} {PAGES}")
    box.say("millsight doctor units judging pages --wait 60")


def test_removed_the_data_stay_until_they_are_purged(box: Booted) -> None:
    box.say("touch /usr/local/lib/systemd/system/millsight-device.service.new")  # of a power cut
    box.say("dpkg --remove millsight")
    assert box.run("ls /opt/millsight /usr/local/bin/millsight").returncode
    assert box.say("systemctl list-units --all --no-legend 'millsight*'") == ""
    assert count(box, "SELECT count(*) FROM flags") > 0
    box.say("test -f /etc/millsight/millsight.toml")
    box.say("dpkg --purge millsight")
    assert box.run("ls /var/lib/millsight || ls /etc/millsight || id millsight").returncode
