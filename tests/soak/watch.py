"""What processes hold over time, how fast it grows, and whether that is within the bounds."""

import contextlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_SLOPE_MB = 1.0
"""Growth of resident memory after the warm-up, megabytes per hour: issue of the appliance."""
LEAST_HOURS = 0.5
"""A slope over less than this says nothing: memory comes and goes by megabytes."""
COLUMNS = ("s", "rss_mb", "anonymous_mb", "threads", "fds")
Sample = tuple[float, float, float, int, int]
"""Seconds, resident memory, of it without files, threads, descriptors; megabytes are 10⁶ bytes."""


class Criterion(NamedTuple):
    """One thing that must hold."""

    name: str
    found: object
    limit: str
    met: bool | None
    """None: cannot be said."""

    def line(self) -> str:
        """For people."""
        mark = {True: "met    ", False: "NOT MET", None: "unknown"}[self.met]
        return f"{mark} {self.name}: {self.found} (must be {self.limit})"


def held(pid: int, at_s: float) -> Sample:
    """What a process holds now.

    Raises:
        OSError: it has ended.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    found = {
        name: int(value)
        for name, value in re.findall(r"^(VmRSS|RssAnon|Threads):\s+(\d+)", status, re.MULTILINE)
    }
    if "VmRSS" not in found:
        raise ProcessLookupError(f"{pid} has ended")
    return (
        round(at_s, 1),
        round(found["VmRSS"] * 1024e-6, 2),
        round(found["RssAnon"] * 1024e-6, 2),
        found["Threads"],
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
    )


def run_and_weigh(command: Sequence[str], **options: Any) -> tuple[int, float, float, str]:
    """Run a command to its end: (exit status, most resident memory in MB, seconds, what it said).

    `VmHWM`, read every tenth of a second: `wait4` would count what the one who started it held.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, **options)
        peak = 0.0
        try:
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    if "python" in Path(f"/proc/{process.pid}/comm").read_text():
                        found = re.search(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)
                        peak = max(peak, int(found[1]) * 1024e-6) if found else peak
                time.sleep(0.1)
        finally:  # Ctrl-C
            if process.poll() is None:
                process.terminate()
                process.wait()
        out.seek(0)
        said = out.read()
    return process.returncode, round(peak, 2), round(time.monotonic() - began, 2), said


def summary(samples: Sequence[Sample], warm_up_s: float) -> dict[str, Any]:
    """Slopes and extremes of one process after its warm-up.

    `slope_per_hour` is the median of the slopes between all pairs of samples (Theil and Sen):
    the clean-up's and the copies' moments of more memory do not bend it. The least squares are
    beside it.
    """
    warm = np.array([sample for sample in samples if sample[0] >= warm_up_s])
    if len(warm) < 4:
        return {"samples": len(warm)}
    hours, half = warm[:, 0] / 3600, len(warm) // 2
    found: dict[str, Any] = {
        "samples": len(warm),
        "hours": round(float(hours[-1] - hours[0]), 3),
    }
    thin = np.linspace(0, len(warm) - 1, min(len(warm), 800)).astype(int)
    for column, name in enumerate(COLUMNS[1:], 1):
        values = warm[:, column]
        found[name] = {
            "first_half_median": round(float(np.median(values[:half])), 2),
            "second_half_median": round(float(np.median(values[half:])), 2),
            "first_half_least": round(float(values[:half].min()), 2),
            "second_half_least": round(float(values[half:].min()), 2),
            "least": round(float(values.min()), 2),
            "most": round(float(values.max()), 2),
            "slope_per_hour": round(median_slope(hours[thin], values[thin]), 3),
            "least_squares_per_hour": round(float(np.polyfit(hours, values, 1)[0]), 3),
        }
    return found


def median_slope(at: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The median of the slopes between all pairs (Theil 1950, Sen 1968)."""
    first, second = np.triu_indices(len(at), 1)
    apart = at[second] > at[first]  # a busy machine takes two samples at once
    rise, time = (values[second] - values[first])[apart], (at[second] - at[first])[apart]
    return float(np.median(rise / time)) if len(time) else 0.0


def criteria_of(name: str, found: dict[str, Any]) -> list[Criterion]:
    """What must hold of a process, by its `summary`."""
    if "hours" not in found:
        return [Criterion(f"{name}: samples", found["samples"], "at least 4 after warm-up", None)]
    long_enough = found["hours"] >= LEAST_HOURS
    memory = found["rss_mb"]["slope_per_hour"]
    criteria = [
        Criterion(
            f"{name}: memory, MB per hour",
            memory if long_enough else f"{memory} over {found['hours']} h only",
            f"at most {MOST_SLOPE_MB}",
            memory <= MOST_SLOPE_MB if long_enough else None,
        )
    ]
    for what, words in (("fds", "descriptors"), ("threads", "threads")):
        if what not in found:  # of a command only the most memory is known
            continue
        # The clean-up opens files while it runs: what is held at the least is what leaks.
        first, second = (found[what][f"{half}_half_least"] for half in ("first", "second"))
        criteria.append(Criterion(
            f"{name}: {words}, least of the halves", f"{first:g}, {second:g}",
            "no more than one more", second <= first + 1,
        ))  # fmt: skip
    return criteria


def write_json(file: Path, found: dict[str, Any]) -> None:
    """Write it, so that whoever ends in between leaves the last one whole; samples one a line."""
    text = json.dumps(found, indent=1)
    # Rows of numbers on one line each.
    text = re.sub(r"\[\s+(-?[\d.]+(?:,\s+(?:-?[\d.]+|null))*)\s+\]",
                  lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text)  # fmt: skip
    partial = file.with_suffix(file.suffix + ".partial")
    partial.write_text(text + "\n")
    partial.replace(file)
