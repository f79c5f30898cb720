"""kill -9 of publish, download and switch: afterwards the next run completes, everything is whole.

The killed process has everything imported and says `ready` first, so that the kills fall into the
work and not into Python's start.
"""

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.device.conftest import model_file
from tests.device.update.conftest import Site

KILLS = pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])

PUBLISH = """
import sys, numpy as np
from pathlib import Path
from config.load import load_settings
from trainer.publishing.publish import publish
import device.exchange.folder
settings = load_settings(Path(sys.argv[1]))
patches = np.load(sys.argv[3])
print("ready", flush=True)
publish(settings, Path(sys.argv[2]), patches)
print("done", flush=True)
"""
SYNC = """
import sys, time
from pathlib import Path
from config.load import load_settings
from device.update.sync import models_lines
import device.exchange.folder
settings = load_settings(Path(sys.argv[1]))
wanted = sys.argv[2]
if wanted == "any":
    print("ready", flush=True)
def step(name):
    if name == wanted:
        print("ready", flush=True)
list(models_lines(settings, step))
print("done", flush=True)
"""


def run_and_kill(script: str, arguments: list[str], after_s: float) -> None:
    """Start a script, wait until it is ready, and kill it after a while."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def duration(script: str, arguments: list[str]) -> float:
    """How long the work of a script takes when nobody kills it."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    assert process.stdout.readline() == "done\n"
    took = time.monotonic() - began
    process.communicate()
    assert process.returncode == 0
    return took


def models_of(folder: Path, plates: NDArray[np.uint8], count: int) -> list[Path]:
    """Models that differ in their seed."""
    return [model_file(folder / f"k{i}.onnx", plates[:8], 50 + i) for i in range(count)]


def identity(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@KILLS
def test_a_killed_publish(kills: int, site: Site, tmp_path: Path) -> None:
    rng = random.Random(1)
    patches = tmp_path / "patches.npy"
    np.save(patches, site.plates[:40])
    files = models_of(tmp_path, site.plates, kills + 1)
    took = duration(PUBLISH, [str(site.config), str(files[0]), str(patches)])
    assert site.sync()[0] == 0
    old = site.in_use()
    assert old == identity(files[0])
    published = 0
    for file in files[1:]:
        run_and_kill(PUBLISH, [str(site.config), str(file), str(patches)], rng.uniform(0, took))
        status, said = site.sync()  # the exchange is valid: the old state, or the new one
        assert status == 0, said
        assert site.in_use() in {old, identity(file)}
        published += site.in_use() != old
        site.publish(file)  # done again, and now to its end
        status, said = site.sync()
        assert status == 0, said
        assert site.in_use() in {old, identity(file)}  # or it waits for a probation to end
        end_probation(site)
        assert site.sync()[0] == 0
        assert site.in_use() == identity(file)
        end_probation(site)
        old = identity(file)
    print(f"{kills} kills within {1000 * took:.0f} ms of a publish: {published} were out already")


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("kills", "phase"),
    [
        (3, "any"),
        pytest.param(20, "any", marks=SLOW),
        pytest.param(20, "download", marks=SLOW),
        pytest.param(20, "switch", marks=SLOW),
    ],
)
def test_a_killed_sync(kills: int, phase: str, site: Site, tmp_path: Path) -> None:
    rng = random.Random(2)
    files = models_of(tmp_path, site.plates, kills + 1)
    site.publish(files[0])
    took = duration(SYNC, [str(site.config), phase])
    old, switched = identity(files[0]), 0
    assert site.in_use() == old
    for file in files[1:]:
        end_probation(site)
        site.publish(file)
        run_and_kill(SYNC, [str(site.config), phase], rng.uniform(0, took))
        assert site.in_use() in {old, identity(file)}  # a whole one, whichever
        switched += site.in_use() != old
        status, said = site.sync()
        assert status == 0, said
        assert site.in_use() == identity(file)
        old = identity(file)
    print(f"{kills} kills within {1000 * took:.0f} ms from {phase!r}: {switched} had switched")


def end_probation(site: Site) -> None:
    """As a thousand good frames would."""
    from device.store.database import open_store  # noqa: PLC0415

    db = open_store(site.settings.device.data)
    with db.atomic():
        db.execute("UPDATE probations SET ended = 'passed' WHERE ended IS NULL")
    db.close()
