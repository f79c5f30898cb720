"""A Debian that is really booted: systemd as process 1 of a container of its own, no network."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,libpam-systemd,udev"
TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter")


def why_not() -> str:
    """Why no Debian can be booted here; empty: it can."""
    if os.geteuid():
        return "booting a Debian needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"{missing[0]} is not installed" if missing else ""


def make_root(folder: Path) -> Path:
    """A bare Debian 12 in a folder, by Debian's own mirror."""
    if reason := why_not():
        pytest.skip(f"{reason}: apt install mmdebstrap systemd-container")
    done = subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", SUITE, folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no Debian to boot: {done.stderr.strip().splitlines()[-1]}")
    return folder


class Booted:
    """A running Debian."""

    def __init__(self, root: Path, shared: Path) -> None:
        """Boot the Debian of `root`; it sees the folder `shared` as /mnt, only to read."""
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--directory", root, "--boot", "--register=no",
             "--keep-unit", f"--machine=millsight-{os.getpid()}", "--private-network",
             f"--bind-ro={shared}:/mnt", "--console=pipe"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._output = self._nspawn.stdout
        self.leader = self._find_leader()
        state = ""
        for _ in range(300):
            state = self.say("systemctl is-system-running", check=False)
            if state in {"running", "degraded"}:
                # A container has a boot id of its own, laid over the kernel's, which a service
                # with a /proc of its own does not see: a machine has one.
                self.say("umount /proc/sys/kernel/random/boot_id")
                return
            time.sleep(0.2)
        raise AssertionError(f"not booted: {state}")

    def _find_leader(self) -> int:
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        for _ in range(300):
            assert self._nspawn.poll() is None, self._output and self._output.read().decode()
            for pid in children.read_text().split():
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                        return int(pid)
            time.sleep(0.1)
        raise AssertionError("no process 1")

    def run(self, command: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a line of shell as root in there."""
        inside = ["nsenter", "--target", str(self.leader), "--all", "/bin/sh", "-c", command]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            inside, capture_output=True, text=True, check=False, timeout=timeout_s,
            env={"PATH": path, "LANG": "C.UTF-8"},
        )  # fmt: skip

    def say(self, command: str, *, check: bool = True) -> str:
        """What a line of shell prints."""
        done = self.run(command)
        journal = "journalctl --no-pager -n 60 -o cat"
        if check and done.returncode:
            raise AssertionError(
                f"{command}: {done.returncode}\n{done.stdout}{done.stderr}\n"
                f"{self.run(journal).stdout}"
            )
        return done.stdout.strip()

    def shut_down(self) -> None:
        """Pull the plug."""
        self._nspawn.send_signal(signal.SIGTERM)
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        if self._output is not None:
            self._output.close()


@contextlib.contextmanager
def booted(root: Path, shared: Path) -> Iterator[Booted]:
    """A Debian that runs for a while."""
    box = Booted(root, shared)
    try:
        yield box
    finally:
        box.shut_down()
