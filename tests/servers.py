"""Real servers on loopback for the exchange: S3 by rclone, SFTP by OpenSSH."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.settings import Exchange

KEY_ID, SECRET = "box-1", "a-secret-of-the-tests"
SSHD = Path("/usr/sbin/sshd")
BUCKET = "plant"


class Server:
    """A server process over a folder, which can be killed and started again at its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def exchange(self, **changes: object) -> Exchange:
        raise NotImplementedError

    def start(self) -> None:
        log = self.folder / "log"
        with log.open("ab") as stream:
            self.process = subprocess.Popen(self.command(), stdout=stream, stderr=stream)
        for _ in range(600):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.05)
        raise AssertionError(log.read_text())

    def kill(self) -> None:
        if self.process is not None:
            for pid in [self.process.pid, *descendants(self.process.pid)]:
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class S3Server(Server):
    def command(self) -> list[str]:
        (self.folder / "objects" / BUCKET).mkdir(parents=True, exist_ok=True)
        rclone = Path(sysconfig.get_path("scripts")) / "rclone"
        return [
            str(rclone), "serve", "s3", str(self.folder / "objects"),
            "--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{KEY_ID},{SECRET}",
            "--config", str(self.folder / "rclone.conf"), "--cache-dir", str(self.folder / "cache"),
        ]  # fmt: skip

    def exchange(self, **changes: object) -> Exchange:
        credentials = write_secret(self.folder / "credentials", f"{KEY_ID}\n{SECRET}\n")
        values: dict[str, object] = {
            "url": f"s3://{BUCKET}/line 3",
            "s3_endpoint": f"http://127.0.0.1:{self.port}",
            "s3_credentials": credentials,
            "timeout_s": 10,
        }
        return Exchange.model_validate(values | changes)


class SftpServer(Server):
    def command(self) -> list[str]:
        folder = self.folder
        if not (folder / "host").exists():
            for name in ("host", "key", "other"):
                command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
                subprocess.run(command, check=True)
            shutil.copy(folder / "key.pub", folder / "authorized_keys")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # Debian's place; made at boot
        (folder / "objects").mkdir(exist_ok=True)
        config = folder / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
            "MaxStartups 100\nPerSourceMaxStartups none\n"
        )
        return [str(SSHD), "-D", "-e", "-f", str(config)]

    def exchange(self, **changes: object) -> Exchange:
        kind, key = (self.folder / "host.pub").read_text().split()[:2]
        known = self.folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        user = getpass.getuser()
        values: dict[str, object] = {
            "url": f"sftp://{user}@127.0.0.1:{self.port}{self.folder}/objects/line 3",
            "sftp_key": self.folder / "key",
            "sftp_known_hosts": known,
            "timeout_s": 10,
        }
        return Exchange.model_validate(values | changes)


@contextmanager
def running(kind: type[Server], folder: Path) -> Iterator[Server]:
    """A server that is up, and gone afterwards."""
    if kind is SftpServer and not (SSHD.exists() and shutil.which("ssh-keygen")):
        pytest.skip("needs OpenSSH's server: apt install openssh-server")
    folder.mkdir(parents=True, exist_ok=True)
    server = kind(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def descendants(pid: int) -> list[int]:
    """The processes below one: sshd has one for each connection."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [p for child in map(int, children) for p in (child, *descendants(child))]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def write_secret(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path
