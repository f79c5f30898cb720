"""kill -9 at random moments under load: whatever was reported is there, and whole."""

import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from camera.milled_steel import CLASSES
from config.document import to_toml
from config.settings import Asking, Camera, Device, Recipe, Settings, Vmc220Source
from device.models.activation import activate
from device.store.database import STORE_FILE, open_store
from device.store.pictures import decode_png
from tests.device.conftest import MakeModel


def device_run(settings: Settings, make_model: MakeModel) -> list[str]:
    """The command that runs a device with these settings and a model in use."""
    data = settings.device.data
    db = open_store(data)
    activate(db, make_model(), settings, "test")
    db.close()
    config = data / "millsight.toml"
    config.write_text(to_toml(settings))
    return [sys.executable, "-m", "millsight", "device", "run", "-c", str(config)]


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_every_reported_flag_survives_kill_9(
    kills: int, tmp_path: Path, make_model: MakeModel
) -> None:
    settings = Settings(
        device=Device(name="box", data=tmp_path),
        recipe=Recipe(classes=list(CLASSES), pass_classes=["clean"]),
        asking=Asking(k=50, audit_share=0.3),  # some hundred flags a second
    )
    command = device_run(settings, make_model)
    rng = random.Random(0)
    reported: set[str] = set()
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()  # the model is in use: frames are being judged
        assert first.startswith("model: ")
        second = process.stdout.readline()  # from the second life on: that the first was cut off
        assert second.startswith(("flagged: ", "cut-off: "))
        flagged = second if second.startswith("flagged: ") else process.stdout.readline()
        reported.add(flagged.split()[1])
        time.sleep(rng.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate()
        # A line cut off by the kill was not reported to anybody.
        lines = output.split("\n")[:-1]
        reported |= {line.split()[1] for line in lines if line.startswith("flagged: ")}
        check(tmp_path, reported)
    assert len(reported) > kills
    print(f"{kills} kills, {len(reported)} reported patches, all stored")


def check(folder: Path, reported: set[str]) -> None:
    db = sqlite3.connect(folder / STORE_FILE)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    rows = db.execute(
        "SELECT p.id, p.png FROM flags f JOIN patches p ON p.id = f.patch_id "
        "JOIN frames r ON r.id = f.frame_id"
    ).fetchall()
    db.close()
    assert reported <= {row[0] for row in rows}
    for identity, png in rows[-20:]:
        assert decode_png(png, identity).shape == (200, 200)


def test_ctrl_c_ends_cleanly_with_everything_counted(tmp_path: Path, make_model: MakeModel) -> None:
    settings = Settings(device=Device(data=tmp_path))
    command = device_run(settings, make_model)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == ""
    last = output.strip().split("\n")[-1]
    assert last.startswith("ended: ")
    db = open_store(tmp_path)
    counted = db.execute("SELECT sum(frames) FROM counters").fetchone()[0]
    stored = db.execute("SELECT count(*) FROM flags").fetchone()[0]
    db.close()
    assert counted == int(last.split()[1])
    assert stored == output.count("flagged: ")


def test_inspection_goes_on_when_nobody_reads_its_lines(
    tmp_path: Path, make_model: MakeModel
) -> None:
    settings = Settings(
        device=Device(data=tmp_path),
        camera=Camera(vmc220=Vmc220Source(frames=150)),
        asking=Asking(audit_share=1),
    )
    command = [*device_run(settings, make_model), "--verdicts"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
    assert errors == ""
    db = open_store(tmp_path)
    assert db.execute("SELECT sum(frames) FROM counters").fetchone()[0] == 150
    assert db.execute("SELECT count(*) FROM flags WHERE reason = 'audit'").fetchone()[0] == 150
    db.close()


def test_lines_of_two_threads_are_never_mixed(tmp_path: Path, make_model: MakeModel) -> None:
    settings = Settings(
        device=Device(data=tmp_path),
        camera=Camera(vmc220=Vmc220Source(frames=200)),
        asking=Asking(audit_share=1),
    )
    command = [*device_run(settings, make_model), "--verdicts"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = output.splitlines()
    assert sum(1 for line in lines if line.startswith("{") and json.loads(line)) == 200
    assert all(re.match(r"\{|flagged: [0-9a-f]{64} |model: |ended: ", line) for line in lines)
