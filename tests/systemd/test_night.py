"""A night in its sandbox: the package with torch, in a booted Debian, from answers to a new model.

The simulated platform mills, an operator answers on the touch pages, the timers' own units carry
the answers up, train, publish and take the model in. Nothing is put in by other ways.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from camera.milled_steel import CLASSES
from config.document import to_toml
from config.settings import (
    Asking,
    Camera,
    Device,
    Exchange,
    Recipe,
    Review,
    Settings,
    Trainer,
    Vmc220Source,
)
from systemd.bundle import EXTRAS, write_bundle
from tests.systemd.booted import Booted, booted, make_root
from tests.systemd.sources import ROOT, source_tree
from tests.trainer.night.night_site import FREE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
DATA = Path("/var/lib/millsight")
NIGHT, TIMER, SYNC = "millsight-trainer.service", "millsight-trainer.timer", "millsight-sync"
ANSWERS = 160
NIGHT_S = 1800


def site() -> Settings:
    """A box that is device and trainer, with a short training and a lenient judge."""
    return Settings(
        device=Device(name="box-7", data=DATA),
        camera=Camera(source="vmc220", vmc220=Vmc220Source(rate_fps=10)),
        recipe=Recipe(classes=list(CLASSES), pass_classes=["clean"]),
        asking=Asking(cold_start=2 * ANSWERS, labels_per_shift=0),
        exchange=Exchange(url=str(DATA / "exchange")),
        review=Review(operators=["Anna"]),
        trainer=Trainer.model_validate(
            FREE | {"data": DATA / "trainer", "golden": DATA / "golden", "most_steps": 60}
        ),
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare Debian."""
    return make_root(tmp_path_factory.mktemp("debian"))


@pytest.fixture(scope="module")
def box(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """The Debian with the package that trains, as `make deb EXTRAS=…,trainer` makes it."""
    out = tmp_path_factory.mktemp("shared")
    source = source_tree(tmp_path_factory.mktemp("source"), "0.1.0")
    bundle = write_bundle(source, out, f"{EXTRAS},trainer")
    subprocess.run([ROOT / "systemd/deb.sh", bundle], check=True)
    bundle.unlink()
    with booted(root, out) as debian:
        debian.say("dpkg --install /mnt/millsight_0.1.0_*.deb")
        yield debian


def as_owner(box: Booted, command: str) -> str:
    return box.say(f"runuser -u millsight -- millsight {command}")


def journal(box: Booted, unit: str) -> str:
    return box.say(f"journalctl --no-pager -o cat -u {unit}")


def show(box: Booted, unit: str) -> dict[str, str]:
    said = box.say(f"systemctl show {unit} --property=ActiveState,MainPID,Result")
    return dict(line.split("=", 1) for line in said.splitlines())


def sleep_through(box: Booted) -> str:
    """Let the timer start the night, and wait for its end; what the kernel said of it, for people.

    While it runs its sandbox is tried.
    """
    drop_in = f"/run/systemd/system/{TIMER}.d"
    box.say(
        f"mkdir -p {drop_in} && printf '[Timer]\\nOnCalendar=\\nOnActiveSec=1\\n"
        f"RandomizedDelaySec=0\\n' > {drop_in}/test.conf "
        f"&& systemctl daemon-reload && systemctl restart {TIMER}"
    )
    began, peak_kb, cpu_s, tried = time.monotonic(), 0, 0.0, False
    while time.monotonic() - began < NIGHT_S:
        now = show(box, NIGHT)
        pid = now["MainPID"]
        if now["ActiveState"] == "inactive" and peak_kb:
            box.say(f"rm -r {drop_in} && systemctl daemon-reload")
            wall_s = time.monotonic() - began
            return f"{wall_s:.0f} s, {cpu_s:.0f} s of a core, {peak_kb / 1024:.0f} MiB at the most"
        assert now["ActiveState"] != "failed", journal(box, NIGHT)
        if pid != "0" and not tried and now["ActiveState"] == "activating":
            tried = try_sandbox(box, pid)
        held = box.run(f"cat /proc/{pid}/stat /proc/{pid}/status").stdout
        if found := re.search(r"VmHWM:\s+(\d+)", held):
            peak_kb = max(peak_kb, int(found[1]))
            user, system = held[held.rindex(")") + 2 :].split()[11:13]
            cpu_s = (int(user) + int(system)) / 100
        time.sleep(0.5)
    raise AssertionError(f"no end after {NIGHT_S} s: {journal(box, NIGHT)}")


def try_sandbox(box: Booted, pid: str) -> bool:
    """What the night must not do it cannot; False: it had not begun, or was over."""
    status = box.run(f"cat /proc/{pid}/status").stdout
    if "NoNewPrivs:\t1" not in status:
        return False
    assert "Seccomp:\t2" in status
    assert re.search(r"CapBnd:\s+0+\n", status)
    for path in ("/usr/evil", "/opt/millsight/evil", "/etc/millsight/evil", "/root/evil"):
        assert box.run(f"nsenter -m -t {pid} touch {path}").returncode, path
    box.say(f"nsenter -m -t {pid} sh -c 'touch /tmp/own && test ! -e /dev/kmsg'")
    assert box.run("test -e /tmp/own").returncode  # its /tmp is its own
    return True


def test_from_answers_to_a_model_in_use(box: Booted, root: Path) -> None:
    # As it comes out of the package it judges under a name of its own; then it gets its settings.
    box.say("millsight doctor judging pages --wait 60")
    (root / "etc/millsight/millsight.toml").write_text(to_toml(site()))
    box.say("millsight config check && systemctl restart millsight-device millsight-review")
    box.say("millsight doctor settings judging pages --wait 60")

    command = [
        *("nsenter", "--target", str(box.leader), "--net", sys.executable),
        *("-m", "tests.systemd.answering", str(root / DATA.relative_to("/") / "millsight.db")),
    ]
    answered = subprocess.run(
        [*command, str(ANSWERS)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answered.stdout.strip() == str(ANSWERS), answered.stderr

    box.say("install -d -o millsight -m 700 /run/stick")
    as_owner(box, "trainer keys init --offline /run/stick")
    box.say(f"systemctl start {SYNC}")
    assert "frames holds a row" not in as_owner(box, "trainer merge")
    as_owner(box, f"trainer golden {DATA}/golden --per-class 10")

    told = sleep_through(box)
    said = journal(box, NIGHT)
    published = re.search(r"^published ([0-9a-f]{12}), from \d+ labels$", said, re.MULTILINE)
    assert published, said
    assert f"{NIGHT}: Deactivated successfully." in said
    print(f"\nthe night in its sandbox: {told}\n{said}")

    box.say(f"systemctl start {SYNC}")
    assert f"models: {published[1]} in use" in journal(box, SYNC)
    before = int(frames_of(box, published[1]))
    for _ in range(60):
        if int(frames_of(box, published[1])) > before + 20:
            break
        time.sleep(1)
    else:
        raise AssertionError("the device does not judge with it")
    assert published[1] in box.say("millsight doctor model judging units --wait 60")
    assert show(box, "millsight-device.service")["Result"] == "success"
    assert box.say("systemctl show millsight-device --property=NRestarts --value") == "0"


def frames_of(box: Booted, model: str) -> str:
    """Frames that a model has judged, as the store counts them."""
    code = (
        "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT coalesce(sum("
        "frames), 0) FROM counters WHERE model_id LIKE ?', [sys.argv[2]]).fetchone()[0])"
    )
    return box.say(f'python3 -c "{code}" {DATA}/millsight.db {model}%')


def test_a_night_without_anything_new_ends_well(box: Booted) -> None:
    box.say(f"systemctl start {NIGHT}")
    assert "nothing to do" in journal(box, NIGHT).splitlines()[-3]
    assert show(box, NIGHT)["Result"] == "success"
