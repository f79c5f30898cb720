"""A stage (GRBL 1.1) or a light controller on a pty: keeps its state and misbehaves on demand.

Run as a program: `python platform_simulator.py stage|gardasoft|ascii LINK`. LINK becomes the name
of its serial port. Lines on standard input change how it behaves: `late SECONDS`, `garbled`,
`silent`, `good`, `unplug` (the port vanishes), `plug`, `alarm`; `state` prints what it knows as
JSON, `journal` what it did, in order.
"""

import contextlib
import json
import math
import os
import pty
import re
import select
import sys
import threading
import time
import tty
from pathlib import Path

SPEED_MM_S = 400.0
STATUS_DECIMALS = 3


class Stage:
    """Moves at `SPEED_MM_S`; `ok` comes at once, as GRBL only queues a move."""

    def __init__(self) -> None:
        self.start = self.target = (12.0, 7.0)  # where it was left
        self.began = time.monotonic()
        self.homed = False
        self.alarm = False
        self.journal: list[str] = []

    def at(self) -> tuple[float, float]:
        way = math.dist(self.start, self.target)
        share = 1.0 if way == 0 else min(1.0, (time.monotonic() - self.began) * SPEED_MM_S / way)
        x, y = (a + (b - a) * share for a, b in zip(self.start, self.target, strict=True))
        return x, y

    def answer(self, command: str) -> str:
        if command == "?":
            x, y = self.at()
            state = "Alarm" if self.alarm else "Idle" if (x, y) == self.target else "Run"
            return f"<{state}|MPos:{x:.3f},{y:.3f},0.000|FS:0,0>\r\n"
        if command == "$H":
            self.start = self.target = (0.0, 0.0)
            self.homed, self.alarm = True, False
            self.journal.append("home")
            return "ok\r\n"
        if self.alarm:
            return "error:9\r\n"
        if move := re.fullmatch(r"G0 X(-?[\d.]+) Y(-?[\d.]+)", command):
            self.start, self.began = self.at(), time.monotonic()
            self.target = (float(move[1]), float(move[2]))
            self.journal.append(f"move {float(move[1]):g} {float(move[2]):g}")
            return "ok\r\n"
        return "ok\r\n" if re.fullmatch(r"(G\d+ ?)*", command) else "error:20\r\n"

    def state(self) -> dict[str, object]:
        return {"at": self.at(), "homed": self.homed}


class Light:
    """One brightness for each channel; refuses more than two channels."""

    def __init__(self, words: str) -> None:
        gardasoft = words == "gardasoft"
        self.pattern = r"RS(\d+),(\d+)" if gardasoft else r"SET (\d+) (\d+)"
        self.good, self.bad = (">", "Err 3\r\n") if gardasoft else ("OK\r\n", "ERR channel\r\n")
        self.percent = {1: 100, 2: 100}
        self.journal: list[str] = []

    def answer(self, command: str) -> str:
        told = re.fullmatch(self.pattern, command)
        if told is None or int(told[1]) not in self.percent:
            return self.bad
        self.percent[int(told[1])] = int(told[2])
        self.journal.append(f"light {told[1]} {told[2]}")
        return self.good

    def state(self) -> dict[str, object]:
        return {"percent": self.percent}


class Port:
    """The pty, and how answers go out on it."""

    def __init__(self, device: Stage | Light, link: Path) -> None:
        self.device = device
        self.link = link
        self.mood = "good"
        self.delay_s = 0.0
        self.plug()

    def plug(self) -> None:
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        name = os.ttyname(slave)
        os.close(slave)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(name)
        threading.Thread(target=self.serve, args=[self.master], daemon=True).start()

    def unplug(self) -> None:
        self.link.unlink(missing_ok=True)
        master, self.master = self.master, -1
        os.close(master)

    def serve(self, master: int) -> None:
        heard = b""
        with contextlib.suppress(OSError, ValueError):
            while self.master == master:
                if not select.select([master], [], [], 0.05)[0]:
                    continue
                try:
                    heard += os.read(master, 1000)
                except OSError:  # nobody has it open
                    time.sleep(0.01)
                    continue
                while heard.startswith(b"?"):
                    self.say(master, self.device.answer("?"))
                    heard = heard[1:]
                while found := re.match(rb"([^\r\n]*)[\r\n]+", heard):
                    heard = heard[found.end() :]
                    if found[1]:
                        self.say(master, self.device.answer(found[1].decode("ascii", "replace")))

    def say(self, master: int, text: str) -> None:
        data = text.encode()
        if self.mood == "silent":
            return
        if self.mood == "garbled":
            data = bytes(byte ^ 0x15 for byte in data)
        if self.mood == "late":
            time.sleep(self.delay_s)
        os.write(master, data)


def main() -> None:
    """Serve until standard input ends."""
    device = Stage() if sys.argv[1] == "stage" else Light(sys.argv[1])
    port = Port(device, Path(sys.argv[2]))
    print("up", flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "state":
            print(json.dumps(device.state()), flush=True)
        elif word == "journal":
            print(json.dumps(device.journal), flush=True)
        elif word == "unplug":
            port.unplug()
        elif word == "plug":
            port.plug()
        elif word == "alarm" and isinstance(device, Stage):
            device.alarm = True
        else:
            port.mood, port.delay_s = word, float(rest[0]) if rest else 0.0
        if word not in {"state", "journal"}:
            print("done", flush=True)


if __name__ == "__main__":
    main()
