"""A machine that mills parts and has them judged: LinuxCNC, its Modbus master, a serial line.

    python -m tests.device.machine.rig --minutes 60 --json rig.json

LinuxCNC (Debian: linuxcnc-uspace, no screen, simulated mill) runs a part program: cut, a line over
a serial port that names the part, part in place over Modbus, wait for the verdict, acknowledge, go
on or put aside. millsight runs as its own program. The pictures are simulated plates, served by
Aravis' fake camera over GigE Vision, which says which of them it showed when. In a network of its
own other cameras and brokers are not in the way: unshare -n sh -c 'ip link set lo up; …'.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from camera.milled_steel import CLASSES, random_patch
from config.document import to_toml
from config.machine import Machine, MachineLine, Modbus, Mqtt, Plant
from config.settings import Asking, Camera, Device, GenicamSource, Light, Live, Recipe, Settings
from device.judging.model import Model
from device.judging.patches import Patches
from device.judging.verdict import judge
from device.machine.latency import as_json, latency_of
from device.models.activation import activate
from device.store.database import open_store
from device.store.parts import Part, parts_after
from tests.camera import gige_camera
from tests.camera.test_platform import Simulated
from tests.device.conftest import model_file
from tests.device.machine.cable import Cable

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TEMPLATES = ("mill.ini", "handshake.hal", "mb2hal.ini", "part.ngc")
NOBODY = 65534
FRAMES = 4
"""Most good, and most bad, pictures."""
FRAME = (1024, 1280)
"""Rows and columns of the camera's picture: 30 patches of 200 pixels."""


def missing() -> str | None:
    """What is not installed; None: the rig can run."""
    if shutil.which("linuxcnc") is None:
        return "needs LinuxCNC: apt install linuxcnc-uspace"
    if mosquitto() is None:
        return "needs mosquitto: apt install mosquitto"
    return gige_camera.missing()


def mosquitto() -> str | None:
    """Debian's broker; its folder is not on everybody's path."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def pictures(folder: Path, model: Model, plates: Patches) -> None:
    """Frames of 30 patches: in turn one that the model passes, and one that it fails.

    So a verdict on the picture of the part before is a wrong one.
    """
    predicted = judge(model, plates).predicted
    clean = [i for i, c in enumerate(predicted) if model.passes[c]][:FRAMES]
    rest = [i for i, c in enumerate(predicted) if not model.passes[c]][:FRAMES]
    rng = np.random.default_rng(0)
    for number, i in enumerate(i for pair in zip(clean, rest, strict=False) for i in pair):
        frame = np.tile(plates[i], (6, 7))[: FRAME[0], : FRAME[1]]
        if number % 2:  # one bad patch among good ones
            frame = np.tile(plates[clean[0]], (6, 7))[: FRAME[0], : FRAME[1]].copy()
            y, x = 200 * int(rng.integers(5)), 200 * int(rng.integers(6))
            frame[y : y + 200, x : x + 200] = plates[i]
        cv2.imwrite(str(folder / f"{number:03}.png"), frame)


def free_port() -> int:
    """A TCP port of the loopback that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def settings_for(folder: Path, port: int, line: str, deadline_s: float) -> Settings:
    """A box beside the mill: server to its Modbus master, listening to its line, with a ring light.

    Its pictures are lit for each part; the plant's broker hears of them.
    """
    return Settings(
        device=Device(name="box", data=folder / "data", recipes=folder / "recipes"),
        camera=Camera(
            source="genicam",
            genicam=GenicamSource(
                device="127.0.0.1",
                trigger="software",
                width_px=FRAME[1],
                height_px=FRAME[0],
                packet_size=8000,
                frame_timeout_s=1,
            ),
            light=Light(port=str(folder / "tty-gardasoft"), reply_timeout_s=0.2),
            live=Live(retry_first_s=0.1, retry_longest_s=0.5),
        ),
        recipe=Recipe(
            classes=list(CLASSES),
            pass_classes=["clean"],
            fail_classes=list(CLASSES[1:]),
            regions="grid",
            index=1,
        ),
        asking=Asking(k=5, audit_share=0),
        plant=Plant(look_s=0.1, mqtt=Mqtt(host="127.0.0.1", port=free_port())),
        machine=Machine(
            trigger="modbus",
            deadline_s=deadline_s,
            modbus=Modbus(role="server", tcp_port=port, silent_s=1),
            line=MachineLine(port=line),
        ),
    )


class Rig:
    """The mill and the box, each with its processes."""

    def __init__(self, parts: int, deadline_s: float = 2.0) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="millsight-rig-"))
        self.folder.chmod(0o777)
        (self.folder / "frames").mkdir()
        self._parts = parts
        port = free_port()
        line = self.folder / "ttyBox"
        self.settings = settings_for(self.folder, port, str(line), deadline_s)
        self._fill(port, deadline_s)
        plates = np.stack([random_patch(i, CLASSES[i % 4]).image for i in range(40)])
        file = model_file(self.folder / "model.onnx", plates, thresholds=[1e9] * 4)
        db = open_store(self.settings.device.data)
        model = activate(db, file, self.settings, "rig")
        db.close()
        pictures(self.folder / "frames", model, plates)
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.on_line: Callable[[], None] | None = None
        """Called for every line of the mill."""

    def _fill(self, port: int, deadline_s: float) -> None:
        words = {
            "folder": self.folder, "screen": self.folder / "screen.py", "port": port,
            "parts": self._parts, "patience": deadline_s + 2, "line": self.folder / "ttyMill",
        }  # fmt: skip
        for name in TEMPLATES:
            text = (HERE / "linuxcnc" / name).read_text()
            for word, value in words.items():
                text = text.replace("{" + word + "}", str(value))
            (self.folder / name).write_text(text)
        shutil.copy(HERE / "linuxcnc" / "screen.py", self.folder / "screen.py")
        (self.folder / "screen.py").chmod(0o755)
        (self.folder / "millsight.toml").write_text(to_toml(self.settings))

    def start(self) -> None:
        """Cable, camera, box, mill."""
        self.cable = Cable(self.folder / "ttyMill", self.folder / "ttyBox", self._line_comes)
        self.ring = Simulated("gardasoft", self.folder)
        self.start_camera()
        self.start_broker()
        command = [sys.executable, "-m", "millsight", "device", "run"]
        self._run("box", [*command, "--config", str(self.folder / "millsight.toml")])
        self._wait(self._box_listens)
        command = [sys.executable, "-m", "millsight", "plant"]
        self._run("plant", [*command, "--config", str(self.folder / "millsight.toml")])
        command = ["linuxcnc", "-r", str(self.folder / "mill.ini")]
        if os.getuid() == 0:  # LinuxCNC refuses to run as root
            drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            command = [*drop, *command]
        self._run("mill", command, HOME=str(self.folder))

    def start_camera(self) -> None:
        """Switch the camera on."""
        command = [sys.executable, "-m", "tests.camera.gige_camera", "--still"]
        command += ["--folder", str(self.folder / "frames"), "--log", str(self.folder / "shown")]
        self._run("camera", command)
        out = self.folder / "camera.out"
        self._wait(lambda: "up" in out.read_text())

    def start_broker(self) -> None:
        """Start the plant's broker."""
        conf = self.folder / "mosquitto.conf"
        port = self.settings.plant.mqtt.port
        conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        self._run("broker", [mosquitto() or "mosquitto", "-c", str(conf)])

    def _line_comes(self) -> None:
        """A line begins to come from the mill."""
        if self.on_line is not None:
            self.on_line()

    def _run(self, name: str, command: list[str], **environment: str) -> None:
        with (self.folder / f"{name}.out").open("w") as out:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.folder if name == "mill" else ROOT,
                env=os.environ | environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def _box_listens(self) -> bool:
        modbus = self.settings.machine.modbus
        with socket.socket() as one:
            return one.connect_ex((modbus.host, modbus.tcp_port)) == 0

    def _wait(self, good: Any, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not good():
            if time.monotonic() > end:
                raise TimeoutError(f"the rig does not start; see {self.folder}")
            time.sleep(0.05)

    def seen(self) -> list[list[str]]:
        """What the part program wrote down: number, `answered` and the bits, or what else."""
        log = self.folder / "parts.log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the part program; False: it has not come."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if ["end"] in self.seen():
                return True
            if self.processes["mill"].poll() is not None:
                return False
            time.sleep(0.2)
        return False

    def master_pid(self) -> int:
        """The process of the mill's Modbus master."""
        mine = f"config={self.folder / 'mb2hal.ini'}"
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().decode(errors="replace").split("\0")
                if words[0].endswith("mb2hal") and mine in words:
                    return int(path.parent.name)
        raise ProcessLookupError("the mill's Modbus master does not run")

    def stop(self) -> None:
        """End everything."""
        (self.folder / "stop").touch()
        for name in ("mill", "box", "camera", "plant", "broker"):
            process = self.processes.get(name)
            if process is None:
                continue
            if name != "mill":
                process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.cable.close()
        self.ring.end()

    def shown(self) -> list[tuple[int, bool]]:
        """When the camera took a picture, and whether it was one that passes."""
        lines = (self.folder / "shown").read_text().splitlines()
        return [(int(ns), int(number) % 2 == 0) for ns, number in map(str.split, lines)]

    def parts(self) -> list[Part]:
        """What the box recorded."""
        db = open_store(self.settings.device.data)
        found = [one.part for one in parts_after(db, 0, 10**6)]
        db.close()
        return found


def pictures_of(shown: list[tuple[int, bool]], part: Part) -> list[bool]:
    """The pictures that the camera took between a part's trigger and its answer."""
    end = part.monotonic_ns + round(part.took_ms * 1e6)
    return [passes for ns, passes in shown if part.monotonic_ns <= ns <= end]


def table(rig: Rig) -> dict[str, Any]:
    """Both sides of every part, and what does not agree.

    While the mill goes on the box may be some parts ahead.
    """
    seen = [row for row in rig.seen() if row != ["end"]]
    answered = {int(row[0]): (row[2], row[3]) for row in seen if row[1] == "answered"}
    parts = {int(p.part): p for p in rig.parts() if p.part}
    nameless = [p for p in rig.parts() if not p.part]
    shown = {n: pictures_of(rig.shown(), p) for n, p in parts.items()}
    false_ok = [
        n
        for n, (ok, ng) in answered.items()
        if ok == "1"
        and (ng == "1" or n not in parts or parts[n].verdict != "pass" or True not in shown[n])
    ]
    false_ng = [n for n, p in parts.items() if p.verdict == "fail" and False not in shown[n]]
    twice = [n for n, count in Counter(p.part for p in rig.parts() if p.part).items() if count > 1]
    codes = Counter(p.code for p in rig.parts() if p.code)
    return {
        "parts": len(seen),
        "answered": len(answered),
        "not_answered": len(seen) - len(answered),
        "ok": sum(ok == "1" for ok, _ in answered.values()),
        "ng": sum(ng == "1" for _, ng in answered.values()),
        "verdicts": dict(Counter(p.verdict for p in rig.parts())),
        "codes": dict(codes),
        "faults": dict(Counter(p.name for p in rig.parts() if p.verdict == "fault" and p.name)),
        "nameless": len(nameless),
        "false_ok": false_ok,
        "false_ng": false_ng,
        "of_one_picture": sum(len(of) == 1 for of in shown.values()),
        "twice": twice,
        "latency": as_json(latency_of(rig.parts()), rig.settings.machine.deadline_s),
    }


def main() -> None:
    """Run the rig for so many parts or minutes, and print the table; written every minute."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--deadline-s", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if (why := missing()) is not None:
        sys.exit(why)
    rig = Rig(asked.parts or 10**6, asked.deadline_s)
    began = time.monotonic()
    end = began + (60 * asked.minutes if asked.minutes else 10 * asked.parts + 60)

    def tell() -> dict[str, Any]:
        found = {"minutes": round((time.monotonic() - began) / 60, 1)} | table(rig)
        if asked.json:
            asked.json.write_text(json.dumps(found, indent=2))
        return found

    rig.start()
    try:
        while (left := end - time.monotonic()) > 0 and not rig.wait(min(60, left)):
            tell()  # what there is, should the rest not come
            if rig.processes["mill"].poll() is not None:
                sys.exit(f"the mill stopped; see {rig.folder}")
    finally:
        rig.stop()
    found = tell()
    print(json.dumps(found, indent=2))
    shutil.rmtree(rig.folder)
    if found["false_ok"] or found["false_ng"] or found["twice"] or not found["parts"]:
        sys.exit("the rig found what must never be")


if __name__ == "__main__":
    main()
