"""What every long run does: programs are started, watched, ended, and judged."""

import json
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from tests.soak.watch import Criterion, Sample, write_json


class Run(ABC):
    """The running programs, and all that is seen of them."""

    def __init__(self, folder: Path, file: Path | None, series: tuple[str, ...]) -> None:
        """Begin to watch; `file` is written as the run goes, `series` are what has samples."""
        self.folder, self.file = folder, file
        self.began = time.monotonic()
        self.samples: dict[str, list[Sample]] = {name: [] for name in series}
        self.store: list[tuple[float, ...]] = []
        self.restarts: list[str] = []
        self.refused: list[str] = []
        """Pages that did not answer, and commands that failed."""
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.address = ""

    @abstractmethod
    def moment(self) -> str:
        """How far it is, for people."""

    @abstractmethod
    def prepare(self) -> None:
        """Everything that is not watched yet."""

    @abstractmethod
    def live(self) -> None:
        """The run itself."""

    @abstractmethod
    def result(self) -> dict[str, Any]:
        """All that is known by now."""

    @abstractmethod
    def close(self) -> tuple[dict[str, Any], list[Criterion]]:
        """After the programs have ended: all that is known, and what must hold."""

    @property
    def passed(self) -> float:
        """Real seconds since the start."""
        return time.monotonic() - self.began

    def note(self, what: str) -> None:
        """Something that should not have been."""
        self.refused.append(f"{self.moment()}: {what}")
        print(self.refused[-1], flush=True)

    def stop(self) -> None:
        """End the programs as systemd does."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in self.processes.items():
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                self.note(f"{name} did not end within 60 s")
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()

    def save(self, found: dict[str, Any] | None = None) -> None:
        """Write what is known by now, with the samples."""
        if self.file is not None:
            rows = {"samples": self.samples, "store": self.store}
            write_json(self.file, (found or self.result() | {"verdict": "still runs"}) | rows)

    def to_the_end(self) -> int:
        """Run, and tell; 0: everything is within its bounds.

        Ended by Ctrl-C or SIGTERM it tells what it has seen until then.
        """
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self.prepare()
            self.began = time.monotonic()
            self.live()
        except KeyboardInterrupt:
            print(f"ended early, at {self.moment()}", flush=True)
        finally:
            self.stop()
        found, criteria = self.close()
        good = all(one.met is not False for one in criteria)
        found["criteria"] = [one._asdict() for one in criteria]
        found["verdict"] = "as it must be" if good else "NOT as it must be"
        print("\n".join(one.line() for one in criteria))
        self.save(found)
        print(json.dumps(found, indent=1))
        return int(not good)
