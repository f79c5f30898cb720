"""The soak: inspection and pages at full speed for hours; memory, files, threads and store watched.

`python -m tests.soak --hours 2 --json FILE`. A device inspects simulated plates as fast as it can,
keeps thousands of pictures within a small budget, its pages are looked at, questions are answered,
pushed, merged and acknowledged. Every few seconds the kernel says what each process holds.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camera.milled_steel import CLASSES, random_patch
from config.document import to_toml
from config.errors import UserError
from config.settings import (
    Asking,
    Backup,
    Camera,
    Device,
    Exchange,
    FolderSource,
    Keeping,
    Recipe,
    Settings,
    Trainer,
)
from device.activation import activate
from device.exchange.push import push
from device.store import STORE_FILE, add_label, encode_png, open_store, start_cycle, waiting
from tests.device.conftest import model_file
from trainer.merge import merge

SAMPLE_S = 5.0
BUDGET_MB = 60
MIB = 1024 * 1024


def site(folder: Path) -> Settings:
    """A device with a small budget, on which a tenth of all plates are kept."""
    data = folder / "data"
    return Settings(
        device=Device(name="box", data=data),
        # Read from files: rendering plates would take most of the time.
        camera=Camera(source="folder", folder=FolderSource(path=folder / "plates", repeat=True)),
        recipe=Recipe(classes=list(CLASSES), pass_classes=["clean"]),
        asking=Asking(k=50, audit_share=0.1, labels_per_shift=0),
        keeping=Keeping(
            budget_mb=BUDGET_MB, floor_mb=100, tidy_s=20, check_hours=0.25, defects_per_minute=600
        ),
        backup=Backup(folder=folder / "copies", hours=0.25),
        exchange=Exchange(url=str(folder / "exchange")),
        trainer=Trainer(data=folder / "trainer"),
    )


def write_plates(folder: Path, plates: NDArray[np.uint8]) -> None:
    """Fifty shifts of each plate, as many different pictures."""
    folder.mkdir(parents=True)
    for i, plate in enumerate(plates):
        for shift in range(50):
            moved = np.roll(plate, (shift * 31, shift * 17), axis=(0, 1))
            (folder / f"{shift:02}-{i:03}.png").write_bytes(encode_png(moved))


def held(pid: int) -> dict[str, float]:
    """What a process holds: resident memory in MiB, of it without files; descriptors; threads."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = {
        name: int(value)
        for name, value in re.findall(r"^(VmRSS|RssAnon|Threads):\s+(\d+)", status, re.MULTILINE)
    }
    return {
        "rss_mib": found["VmRSS"] / 1024,
        "anonymous_mib": found["RssAnon"] / 1024,
        "threads": found["Threads"],
        "fds": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


def slope_per_hour(samples: list[dict[str, float]], name: str) -> float:
    """How fast a figure grows: least squares over the samples."""
    hours = np.array([sample["s"] / 3600 for sample in samples])
    values = np.array([sample[name] for sample in samples])
    return float(np.polyfit(hours, values, 1)[0])


def summary(samples: list[dict[str, float]], warm_up_s: float) -> dict[str, Any]:
    """Slopes and extremes of one process after its warm-up."""
    warm = [sample for sample in samples if sample["s"] >= warm_up_s]
    half = len(warm) // 2
    found: dict[str, Any] = {"samples": len(warm)}
    for name in ("rss_mib", "anonymous_mib", "threads", "fds"):
        values = [sample[name] for sample in warm]
        found[name] = {
            "first_half_median": round(float(np.median(values[:half])), 2),
            "second_half_median": round(float(np.median(values[half:])), 2),
            "least": round(min(values), 2),
            "most": round(max(values), 2),
            "slope_per_hour": round(slope_per_hour(warm, name), 3),
        }
    return found


def answer_and_push(settings: Settings, most: int) -> int:
    """Answer some questions as an operator would, push them, and let the trainer acknowledge."""
    db = open_store(settings.device.data)
    asked = waiting(db, {"": (settings.asking.k, settings.asking.cold_start)})[:most]
    for question in asked:
        with contextlib.suppress(UserError):  # it went meanwhile, to make room
            add_label(db, question.patch_id, question.predicted or CLASSES[0], "anna")
    start_cycle(db, "soak")
    db.close()
    push(settings)
    merge(settings)
    push(settings)
    return len(asked)


def soak(hours: float, folder: Path, show: Any = print) -> dict[str, Any]:
    """Run it; everything that was seen."""
    settings = site(folder)
    data = settings.device.data
    plates = np.stack([random_patch(i, CLASSES[i % 4]).image for i in range(120)])
    write_plates(folder / "plates", plates)
    file = model_file(folder / "model.onnx", plates)
    db = open_store(data)
    activate(db, file, settings, "soak")
    db.close()
    config = folder / "millsight.toml"
    config.write_text(to_toml(settings))
    front = [sys.executable, "-m", "millsight"]
    log = (folder / "device.log").open("w")
    device = subprocess.Popen([*front, "device", "run", "-c", str(config)], stdout=log, stderr=log)
    review = subprocess.Popen(
        [*front, "review", "-c", str(config), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert review.stdout is not None
    address = review.stdout.readline().split()[-1].rstrip("/")
    began = time.monotonic()
    samples: dict[str, list[dict[str, float]]] = {"device": [], "review": []}
    stores: list[dict[str, float]] = []
    answered, answer_at = 0, 30.0
    try:
        while (passed := time.monotonic() - began) < hours * 3600:
            for path in ("/live", "/today", "/health", "/metrics"):
                try:
                    urllib.request.urlopen(address + path, timeout=20).read()
                except urllib.error.HTTPError as error:
                    error.close()
            for name, process in (("device", device), ("review", review)):
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with {process.returncode}")
                samples[name].append({"s": passed} | held(process.pid))
            sizes = {
                suffix or "file": (data / (STORE_FILE + suffix)).stat().st_size / 1e6
                for suffix in ("", "-wal")
            }
            stores.append({"s": passed} | sizes)
            if passed > answer_at:
                answered += answer_and_push(settings, 40)
                answer_at = passed + 60
            if len(stores) % 60 == 2:
                show(f"{passed:.0f} s: {samples['device'][-1]}, {sizes}", flush=True)
            time.sleep(SAMPLE_S)
    finally:
        device.send_signal(signal.SIGTERM)
        review.send_signal(signal.SIGTERM)
        device.wait(60)
        review.wait(60)
        log.close()
    warm_up_s = min(900.0, hours * 3600 / 4)
    warm = [one for one in stores if one["s"] >= warm_up_s]
    last = (folder / "device.log").read_text().strip().splitlines()[-1]
    db = open_store(data)
    state = {
        row[0]: json.loads(row[1])
        for row in db.execute("SELECT key, value FROM state WHERE key IN ('tidy', 'loop')")
    }
    whole = db.execute("PRAGMA integrity_check").fetchone()[0]
    events = dict(db.execute("SELECT kind, count(*) FROM events GROUP BY kind").fetchall())
    db.close()
    return {
        "hours": round((time.monotonic() - began) / 3600, 3),
        "warm_up_s": warm_up_s,
        "cpus": os.cpu_count(),
        "device": summary(samples["device"], warm_up_s),
        "review": summary(samples["review"], warm_up_s),
        "store_mb": {
            "budget": BUDGET_MB,
            "file_most": round(max(one["file"] for one in warm), 1),
            "file_last": round(warm[-1]["file"], 1),
            "log_most": round(max(one["-wal"] for one in warm), 1),
        },
        "answered": answered,
        "removed": state.get("tidy"),
        "loop": state.get("loop"),
        "events": events,
        "integrity": whole,
        "ended": last,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(args.hours, Path(folder))
    text = json.dumps(found, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
