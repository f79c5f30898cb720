"""What systemd hears of the loop: the service's own command, with the test in systemd's place."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from config.document import to_toml
from config.settings import Camera, Device, FolderSource, Settings
from device.system.notify import PATIENCE, ServiceManager

USEC = 2_000_000


class Manager:
    """The side of systemd: a socket, and what came."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.heard: list[str] = []

    def listen(self, until: Callable[[list[str]], bool], timeout_s: float = 60) -> list[str]:
        """Take what comes until it is enough, or the time is up; returns what came now."""
        new: list[str] = []
        ends = time.monotonic() + timeout_s
        while not until(new) and (left := ends - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                new += self.socket.recv(4096).decode().split("\n")
            except TimeoutError:
                break
        self.heard += new
        return new


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    heard = Manager(tmp_path / "notify")
    yield heard
    heard.socket.close()


def start(settings: Settings, manager: Manager) -> "subprocess.Popen[str]":
    """`millsight device run` as millsight-device.service starts it, with a short watchdog."""
    config = settings.device.data / "millsight.toml"
    config.parent.mkdir(exist_ok=True)
    config.write_text(to_toml(settings))
    environment = os.environ | {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": str(USEC)}
    return subprocess.Popen(
        [sys.executable, "-m", "millsight", "device", "run", "--config", str(config)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def test_a_loop_that_judges_is_ready_feeds_and_says_when_it_ends(
    tmp_path: Path, manager: Manager
) -> None:
    process = start(Settings(device=Device(data=tmp_path / "data")), manager)
    try:
        heard = manager.listen(lambda lines: lines.count("WATCHDOG=1") >= 3)
        assert heard[0] == "READY=1"
        assert heard.count("WATCHDOG=1") == 3
        assert "STATUS=judging" in heard
        assert not [line for line in heard if line.startswith("WATCHDOG_USEC")]
    finally:
        end(process)
    assert "STOPPING=1" in manager.listen(lambda lines: "STOPPING=1" in lines, 5)


def test_frames_that_cannot_be_judged_do_not_feed(tmp_path: Path, manager: Manager) -> None:
    folder = tmp_path / "dark"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), np.zeros((200, 200), np.uint8))
    camera = Camera(source="folder", folder=FolderSource(path=folder, rate_fps=50, repeat=True))
    process = start(Settings(device=Device(data=tmp_path / "data"), camera=camera), manager)
    try:
        patience = f"WATCHDOG_USEC={PATIENCE * USEC}"
        heard = manager.listen(lambda lines: patience in lines)
        assert heard[0] == "READY=1"
        assert any("dark" in line for line in heard if line.startswith("STATUS="))
        assert "WATCHDOG=1" not in heard + manager.listen(lambda _lines: False, 3)
    finally:
        end(process)


def test_a_stopped_process_does_not_feed(tmp_path: Path, manager: Manager) -> None:
    process = start(Settings(device=Device(data=tmp_path / "data")), manager)
    try:
        manager.listen(lambda lines: "WATCHDOG=1" in lines)
        process.send_signal(signal.SIGSTOP)
        manager.listen(lambda _lines: False, 0.5)  # what was under way
        assert manager.listen(lambda _lines: False, 2.5) == []
        process.send_signal(signal.SIGCONT)
        assert "WATCHDOG=1" in manager.listen(lambda lines: "WATCHDOG=1" in lines)
    finally:
        process.send_signal(signal.SIGCONT)
        end(process)


def heard_of(
    monkeypatch: pytest.MonkeyPatch, manager: Manager, usec: str = str(USEC), pid: str = ""
) -> ServiceManager:
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    return ServiceManager()


def test_a_machine_that_has_not_triggered_is_owed_no_verdict(
    monkeypatch: pytest.MonkeyPatch, manager: Manager
) -> None:
    service = heard_of(monkeypatch, manager)
    service.tick(10, owed=False)
    assert manager.listen(lambda lines: len(lines) >= 2, 5) == ["WATCHDOG=1", "STATUS=ready"]
    service.tick(20, owed=True)  # now one is due, and none came
    assert manager.listen(lambda _lines: False, 0.2) == []


def test_patience_ends_with_the_fault(monkeypatch: pytest.MonkeyPatch, manager: Manager) -> None:
    service = heard_of(monkeypatch, manager)
    service.fault("camera lost: cable")
    service.tick(1)
    service.tick(2)
    service.judged()
    service.tick(3)
    service.tick(3.01)
    assert manager.listen(lambda lines: "STATUS=judging" in lines, 5) == [
        f"WATCHDOG_USEC={PATIENCE * USEC}",
        "STATUS=camera lost: cable",
        f"WATCHDOG_USEC={USEC}",
        "WATCHDOG=1",
        "STATUS=judging",
    ]


def test_without_a_watchdog_there_is_only_a_status(
    monkeypatch: pytest.MonkeyPatch, manager: Manager
) -> None:
    service = heard_of(monkeypatch, manager, usec="0")
    service.judged()
    service.tick(10)
    assert manager.listen(bool, 5) == ["STATUS=judging"]


def test_another_process_s_watchdog_is_not_fed(
    monkeypatch: pytest.MonkeyPatch, manager: Manager
) -> None:
    service = heard_of(monkeypatch, manager, pid="1")
    service.judged()
    service.tick(10)
    assert manager.listen(bool, 5) == ["STATUS=judging"]


def test_nothing_is_sent_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    service = ServiceManager()
    service.ready()
    service.judged()
    service.tick(10)
    service.stopping()
