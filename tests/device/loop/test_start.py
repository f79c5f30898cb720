"""What the services cost: from their start to the first verdict, and the memory they hold."""

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from camera.milled_steel import CLASSES
from config.document import to_toml
from config.settings import Camera, Device, Recipe, Settings, Vmc220Source
from device.models.activation import activate
from device.store.database import open_store
from tests.device.conftest import MakeModel
from tests.servers import descendants, free_port

RUNS = 5
LONGEST_START_S = 2.0
MOST_DEVICE_MB, MOST_REVIEW_MB = 200.0, 120.0
IDLE_LOAD = 0.7
"""A machine with more to do than this is no judge of seconds."""


@pytest.fixture
def device(tmp_path: Path, make_model: MakeModel) -> Path:
    """The settings file of a device with a model in use and a camera of 25 frames a second."""
    settings = Settings(
        device=Device(data=tmp_path / "data"),
        camera=Camera(vmc220=Vmc220Source(rate_fps=25)),
        recipe=Recipe(classes=list(CLASSES), pass_classes=["clean"]),
    )
    db = open_store(settings.device.data)
    activate(db, make_model(), settings, "test")
    db.close()
    file = tmp_path / "millsight.toml"
    file.write_text(to_toml(settings))
    return file


def resident_mb(pid: int) -> float:
    """Memory that a process and its children hold, in MB; shared pages count for each."""
    total = 0.0
    for one in (pid, *descendants(pid)):
        for line in Path(f"/proc/{one}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) / 1000
    return total


def first_verdict(file: Path, folder: Path, run_s: float) -> tuple[float, float]:
    """Seconds from the start of the service to its first verdict, and its memory after a while."""
    address = folder / "notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(60)
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "millsight", "device", "run", "-c", str(file)],
            env=os.environ | {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "4000000"},
            stdout=subprocess.DEVNULL,
        )
        try:
            while b"STATUS=judging" not in manager.recv(4096):
                pass
            took = time.monotonic() - began
            time.sleep(run_s)
            return took, resident_mb(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def review_mb(file: Path) -> float:
    """Memory of the touch pages after each was looked at."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "millsight", "review", "-c", str(file), "--port", str(port)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        process.stdout.readline()
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, follow_redirects=True, timeout=60
        ) as client:
            for page in ("/", "/live", "/today", "/models", "/people"):
                assert client.get(page).status_code == 200
        return resident_mb(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


@pytest.mark.slow
def test_start_and_memory(device: Path, tmp_path: Path) -> None:
    load = os.getloadavg()[0]
    starts, device_mb = zip(*(first_verdict(device, tmp_path, 5) for _ in range(RUNS)), strict=True)
    pages_mb = [review_mb(device) for _ in range(RUNS)]
    took = statistics.median(starts)
    print(
        f"\nfirst verdict after {took:.2f} s (median of {RUNS}, load {load:.1f}), "
        f"device {statistics.median(device_mb):.0f} MB, "
        f"review {statistics.median(pages_mb):.0f} MB resident"
    )
    assert statistics.median(device_mb) <= MOST_DEVICE_MB
    assert statistics.median(pages_mb) <= MOST_REVIEW_MB
    if load < IDLE_LOAD:
        assert took <= LONGEST_START_S


def test_it_judges_soon_after_its_start(device: Path, tmp_path: Path) -> None:
    _took, memory = first_verdict(device, tmp_path, 0)
    assert memory <= MOST_DEVICE_MB
