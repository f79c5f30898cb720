"""`python -m tests.faults.power_cut --times 200 --json FILE`: the plug is pulled, again and again.

A device and an operator work under the shim, which notes what every write to the data overwrites
until it is flushed. All processes are killed at once at a random moment, mostly during writes; then
what was not flushed is taken back, from a random moment on for each file and here and there before
it, as a disk does that loses power. What the device reported and acknowledged must be there, and
the store whole.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from camera.milled_steel import CLASSES
from config.document import to_toml
from config.settings import Asking, Camera, Device, Keeping, Recipe, Settings, Vmc220Source
from device.models.activation import activate, model_path
from device.store.database import STORE_FILE, open_store
from tests.device.conftest import model_file
from tests.faults.bench import build_shim
from tests.faults.plates import sample_plates

ENTRY = struct.Struct("=QIIqqqq")
WRITE, FLUSH, CUT = range(3)


class Entry(NamedTuple):
    """Something that a process did to a file."""

    when: int
    kind: int
    path: str
    at: int
    size: int
    before: bytes
    file_size: int


def read_journal(folder: Path) -> list[Entry]:
    """What all processes did, in its order; a last entry that the kill cut short is left out."""
    found = []
    for file in folder.iterdir():
        content, at = file.read_bytes(), 0
        while at + ENTRY.size <= len(content):
            when, kind, length, where, size, before, file_size = ENTRY.unpack_from(content, at)
            at += ENTRY.size
            path, at = content[at : at + length].decode(), at + length
            old, at = content[at : at + before], at + before
            if len(old) == before:
                found.append(Entry(when, kind, path, where, size, old, file_size))
    return sorted(found)


def pull_the_plug(entries: list[Entry], rng: random.Random) -> int:
    """Take back what a disk that lost power may have lost; how many writes."""
    flushed: dict[str, int] = {}
    for entry in entries:
        if entry.kind == FLUSH:
            flushed[entry.path] = entry.when
    loose: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.kind != FLUSH and entry.when > flushed.get(entry.path, 0):
            loose.setdefault(entry.path, []).append(entry)
    lost = 0
    for path, writes in loose.items():
        if not os.path.exists(path):  # noqa: PTH110 - removed since, as temporary files are
            continue
        cut = rng.randrange(len(writes) + 1)
        back = writes[cut:]
        kept = writes[:cut]
        # Before the cut, some are lost on their own, where no later write touched the place.
        apart = [
            one for one in kept
            if one.kind == WRITE and rng.random() < 0.3
            and not any(o is not one and _overlap(one, o) for o in writes)
        ]  # fmt: skip
        with open(path, "r+b") as stream:  # noqa: PTH123
            for entry in [*reversed(back), *apart]:
                stream.seek(entry.at)
                stream.write(entry.before)
                missing = entry.size - len(entry.before)
                if entry.kind == WRITE and missing > 0 and entry in apart:
                    stream.write(bytes(missing))  # a hole: the file's length was kept
            if back:
                stream.truncate(back[0].file_size)
        lost += len(back) + len(apart)
    return lost


def _overlap(one: Entry, other: Entry) -> bool:
    return other.kind == CUT or (one.at < other.at + other.size and other.at < one.at + one.size)


def site(data: Path) -> Settings:
    """A device that flags nearly everything."""
    return Settings(
        device=Device(name="box", data=data, live=data.parent / "live" / "live.db"),
        camera=Camera(vmc220=Vmc220Source(rate_fps=50)),
        recipe=Recipe(classes=list(CLASSES), pass_classes=["clean"]),
        asking=Asking(k=200, audit_share=0.3, labels_per_shift=0),
        keeping=Keeping(tidy_s=1, floor_mb=0),
    )


def cut_once(settings: Settings, folder: Path, shim: Path, rng: random.Random) -> dict[str, Any]:
    """Work, pull the plug, look."""
    data = settings.device.data
    journal = folder / "journal"
    journal.mkdir()
    config = folder / "millsight.toml"
    plates = Vmc220Source(rate_fps=50, seed=rng.randrange(10**6))  # others in every life
    camera = settings.camera.model_copy(update={"vmc220": plates})
    config.write_text(to_toml(settings.model_copy(update={"camera": camera})))
    environment = os.environ | {
        "LD_PRELOAD": str(shim), "FAULT_FOLDER": str(data), "FAULT_JOURNAL": str(journal),
    }  # fmt: skip
    output = (folder / "output").open("w+b")
    group: dict[str, Any] = {"stdout": output, "stderr": subprocess.DEVNULL, "env": environment}
    device = subprocess.Popen(
        [sys.executable, "-m", "millsight", "device", "run", "-c", str(config)],
        start_new_session=True, **group,
    )  # fmt: skip
    operator = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.answering", str(data)],
        start_new_session=True, **group,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while b"flagged: " not in (folder / "output").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 1.5))
    for one in (device, operator):
        os.killpg(one.pid, signal.SIGKILL)
    for one in (device, operator):
        one.wait()
    output.close()
    lines = (folder / "output").read_text(errors="replace").split("\n")[:-1]
    flagged = {line.split()[1] for line in lines if line.startswith("flagged: ")}
    answered = {line.split()[1] for line in lines if line.startswith("answered: ")}
    entries = read_journal(journal)
    lost = pull_the_plug(entries, rng)
    (data / f"{STORE_FILE}-shm").unlink(missing_ok=True)  # it is memory, shared
    for file in [*journal.iterdir(), folder / "output"]:
        file.unlink()
    journal.rmdir()
    with closing(sqlite3.connect(data / STORE_FILE)) as db:
        whole = db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        linked = db.execute("PRAGMA foreign_key_check").fetchall() == []
        labels = {row[0] for row in db.execute("SELECT id FROM labels")}
        flags = {row[0] for row in db.execute("SELECT patch_id FROM flags")}
        model = db.execute("SELECT model_id FROM activations ORDER BY id DESC LIMIT 1").fetchone()
    return {
        "whole": whole and linked,
        "flagged": len(flagged), "answered": len(answered),
        "answers_lost": len(answered - labels),
        "flags_lost": len(flagged - flags),
        "model": model is not None and model_path(data, model[0]).is_file(),
        "writes": sum(entry.kind == WRITE for entry in entries),
        "writes_lost": lost,
    }  # fmt: skip


def power_cuts(times: int, seed: int, folder: Path) -> dict[str, Any]:
    """So many of them, on one store that grows."""
    rng = random.Random(seed)
    data = folder / "data"
    data.mkdir()
    settings = site(data)
    shim = build_shim(folder)
    db = open_store(data)
    activate(db, model_file(folder / "model.onnx", sample_plates()), settings, "test")
    db.close()
    cuts = [cut_once(settings, folder, shim, rng) for _ in range(times)]
    return {
        "times": times,
        "whole": sum(cut["whole"] for cut in cuts),
        "with_writes_lost": sum(cut["writes_lost"] > 0 for cut in cuts),
        "with_the_model": sum(cut["model"] for cut in cuts),
        **{
            key: sum(cut[key] for cut in cuts)
            for key in (
                "flagged", "flags_lost", "answered", "answers_lost", "writes", "writes_lost"
            )
        },
    }  # fmt: skip


def passed(result: dict[str, Any]) -> bool:
    """Whether nothing that was acknowledged or reported was lost, and every store was whole."""
    return bool(
        result["whole"] == result["with_the_model"] == result["times"]
        and not result["answers_lost"] + result["flags_lost"]
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = power_cuts(args.times, args.seed, Path(folder))
    text = json.dumps(result, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return int(not passed(result))


if __name__ == "__main__":
    sys.exit(main())
