"""The faults: each is injected for real, ends, and is over when plates are judged again."""

import contextlib
import errno
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from device.models.activation import model_path
from device.store.database import STORE_FILE
from tests.faults.bench import Bench

YEARS_10 = 315_360_000


class Outcome(NamedTuple):
    """One time of a fault."""

    judging_s: float
    """From the end of the cause to the next verdict."""
    keeping_s: float | None
    """To the next reported flag, where keeping stopped."""
    gap_s: float
    """Longest time without a verdict while the cause lasted."""
    said: bool
    """Whether the event that belongs to it was reported."""


class Fault(NamedTuple):
    """A fault by its name."""

    what: str
    inject: Callable[[Bench, random.Random], Outcome]
    network_camera: bool = False
    own_disk: bool = False
    check_hours: float = 24
    """Between two checks of the whole store: what nobody reads is found by them alone."""
    flags_may_go: bool = False
    """What was on a destroyed page is gone, if it is no answer."""


def _outcome(
    bench: Bench, began: float, ended: float, event: str | None, *, keeping: bool = False
) -> Outcome:
    judging = bench.until_judged(ended)
    kept = bench.until_kept(ended) if keeping else None
    said = event is None or bench.saw(event, began)
    return Outcome(judging, kept, bench.most_between(began, ended), said)


def camera_killed(bench: Bench, rng: random.Random) -> Outcome:
    """The camera's program is killed, and comes back after a moment."""
    began = time.monotonic()
    bench.stop_camera()
    time.sleep(rng.uniform(0.3, 1.0))
    bench.start_camera()
    return _outcome(bench, began, time.monotonic(), "lost")


def camera_hangs(bench: Bench, rng: random.Random) -> Outcome:
    """The camera answers nothing for longer than anybody waits, and goes on."""
    began = time.monotonic()
    bench.signal_camera(signal.SIGSTOP)
    time.sleep(rng.uniform(3.5, 4.5))
    bench.signal_camera(signal.SIGCONT)
    return _outcome(bench, began, time.monotonic(), "lost")


def _trick(bench: Bench, trick: str, seconds: float, fault: str) -> Outcome:
    began = time.monotonic()
    bench.tricks.write_text(trick)
    time.sleep(seconds)
    bench.tricks.unlink()
    ended = time.monotonic()
    said = any(v.name == fault for v in bench.verdicts if v.at > began)
    return _outcome(bench, began, ended, None)._replace(said=said)


def camera_frozen(bench: Bench, rng: random.Random) -> Outcome:
    """The camera sends the same picture again and again."""
    return _trick(bench, "freeze", rng.uniform(1, 1.5), "frozen")


def camera_wrong_size(bench: Bench, rng: random.Random) -> Outcome:
    """The camera is set to another size: its stream ends, and the next one has it."""
    return _trick(bench, "small", rng.uniform(2.5, 3.5), "size")


def camera_shrinks(bench: Bench, rng: random.Random) -> Outcome:
    """The camera sends another size in the middle of its stream, and then the right one again."""
    return _trick(bench, "shrink", rng.uniform(2.5, 3.5), "size")


def killed(bench: Bench, rng: random.Random) -> Outcome:
    """SIGKILL, as the kernel sends it for want of memory."""
    time.sleep(rng.uniform(0, 0.5))
    began = time.monotonic()
    bench.kill()
    return _outcome(bench, began, began, "cut-off", keeping=True)


def out_of_memory(bench: Bench, rng: random.Random) -> Outcome:
    """A memory limit far below what the device holds: the kernel kills it."""
    group = Path("/sys/fs/cgroup/memory") / f"millsight-{bench.port}-{bench.pid}"
    try:
        group.mkdir()
        (group / "cgroup.procs").write_text(str(bench.pid))
    except OSError:
        return killed(bench, rng)
    pid, began = bench.pid, time.monotonic()
    with contextlib.suppress(OSError):
        (group / "memory.limit_in_bytes").write_text(str(1 << 20))
    while _lives(pid) and time.monotonic() < began + 15:
        time.sleep(0.02)
    if _lives(pid):  # what it held before counts for another group: then as the kernel would
        bench.kill()
    with contextlib.suppress(OSError):
        group.rmdir()
    ended = time.monotonic()
    return _outcome(bench, began, ended, "cut-off", keeping=True)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def disk_full(bench: Bench, rng: random.Random) -> Outcome:
    """Something else fills the disk of the data to its last byte, and goes."""
    ballast = bench.data.parent / "ballast"
    began = time.monotonic()
    try:
        with ballast.open("wb", buffering=0) as stream:
            while time.monotonic() < began + 10:
                stream.write(bytes(1 << 16))
    except OSError as error:
        assert error.errno == errno.ENOSPC
    bench.saw("not-keeping", began, 10)
    time.sleep(rng.uniform(0, 0.5))
    ballast.unlink()
    return _outcome(bench, began, time.monotonic(), "not-keeping", keeping=True)


def _errno(bench: Bench, rng: random.Random, code: int) -> Outcome:
    began = time.monotonic()
    bench.control.write_text(str(code))
    bench.saw("not-keeping", began, 10)
    time.sleep(rng.uniform(0, 0.5))
    bench.control.unlink()
    return _outcome(bench, began, time.monotonic(), "not-keeping", keeping=True)


def disk_read_only(bench: Bench, rng: random.Random) -> Outcome:
    """Every write, flush and cut fails: read-only file system (EROFS)."""
    return _errno(bench, rng, errno.EROFS)


def disk_failing(bench: Bench, rng: random.Random) -> Outcome:
    """Every write, flush and cut fails: input/output error (EIO)."""
    return _errno(bench, rng, errno.EIO)


def store_locked(bench: Bench, rng: random.Random) -> Outcome:
    """Another process holds the write lock of the store."""
    began = time.monotonic()
    with closing(sqlite3.connect(bench.data / STORE_FILE, timeout=30)) as db:
        db.execute("BEGIN IMMEDIATE")
        time.sleep(rng.uniform(1, 2))
        db.execute("ROLLBACK")
    return _outcome(bench, began, time.monotonic(), None, keeping=True)


def _clock(bench: Bench, seconds: int) -> Outcome:
    began = time.monotonic()
    bench.clock.write_text(str(seconds))
    said = bench.saw("clock", began, 15)
    bench.clock.write_text("0")
    ended = time.monotonic()
    said = said and bench.saw("clock", ended, 15)
    return _outcome(bench, began, ended, None)._replace(said=said)


def clock_ten_years(bench: Bench, rng: random.Random) -> Outcome:
    """The clock is ten years ahead, then right again."""
    return _clock(bench, YEARS_10 + rng.randrange(1000))


def clock_backwards(bench: Bench, rng: random.Random) -> Outcome:
    """The clock goes back by hours, then is right again."""
    return _clock(bench, -rng.randrange(3600, 7200))


def model_damaged(bench: Bench, rng: random.Random) -> Outcome:
    """The file of the model in use is damaged and the device starts anew."""
    bench.copy()
    path = model_path(bench.data, bench.models[-1])
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    content[at] ^= 0xFF
    path.write_bytes(content if rng.random() < 0.5 else content[:at])
    began = time.monotonic()
    bench.kill()
    outcome = _outcome(bench, began, began, "model-mended")
    assert path.stat().st_size == len(content)
    return outcome


PAGE = 4096
MEND_S = 90.0
"""Longest wait for damage to be found: a check is due every 36 s, and its turn comes within 5 s."""


def _damage(
    bench: Bench, rng: random.Random, overwrite: Callable[[Bench, random.Random], None]
) -> Outcome:
    """Damage the store while it is written; a copy was made some answers ago."""
    bench.copy()
    time.sleep(rng.uniform(0, 3))  # answers and flags that no copy has
    began = time.monotonic()
    overwrite(bench, rng)
    ended = time.monotonic()
    judging = bench.until_judged(ended)
    while not bench.saw("store-mended", began, 3):
        if bench.is_whole() and not bench.saw("store-mended", began, 3):
            # What was right was written over it, from memory or the log, before anybody read it.
            return Outcome(judging, bench.until_kept(ended), 0.0, said=True)
        if time.monotonic() > ended + MEND_S:
            return Outcome(judging, None, bench.most_between(began, ended), said=False)
    mended = bench.last("store-mended")
    kept = mended - ended + bench.until_kept(mended)
    return Outcome(judging, kept, bench.most_between(began, mended), said=True)


def _overwrite(path: Path, places: list[int], rng: random.Random, size: int = PAGE) -> None:
    with path.open("r+b", buffering=0) as stream:
        for place in places:
            stream.seek(place)
            stream.write(rng.randbytes(size))


def store_pages(bench: Bench, rng: random.Random) -> None:
    """Eight pages anywhere in the file hold noise, as on a disk whose cells die."""
    path = bench.data / STORE_FILE
    pages = path.stat().st_size // PAGE
    _overwrite(path, [PAGE * page for page in rng.sample(range(1, pages), 8)], rng)


def store_header(bench: Bench, rng: random.Random) -> None:
    """The log is folded in, then the first page of the file holds noise: no database any more."""
    with (
        contextlib.suppress(sqlite3.Error),
        closing(sqlite3.connect(bench.data / STORE_FILE)) as db,
    ):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _overwrite(bench.data / STORE_FILE, [0], rng)


def store_log(bench: Bench, rng: random.Random) -> None:
    """Eight frames of the log hold noise."""
    path = bench.data / (STORE_FILE + "-wal")
    frames = max(0, path.stat().st_size - 32) // (PAGE + 24)
    chosen = rng.sample(range(frames), min(8, frames))
    _overwrite(path, [32 + (PAGE + 24) * frame + 24 for frame in chosen], rng)


def _damaged(what: str, overwrite: Callable[[Bench, random.Random], None]) -> Fault:
    def inject(bench: Bench, rng: random.Random) -> Outcome:
        return _damage(bench, rng, overwrite)

    return Fault(what, inject, check_hours=0.01, flags_may_go=True)


FAULTS = {
    "camera-killed": Fault("camera's program killed", camera_killed, network_camera=True),
    "camera-hangs": Fault("camera hangs (SIGSTOP)", camera_hangs, network_camera=True),
    "camera-frozen": Fault("camera repeats a picture", camera_frozen, network_camera=True),
    "camera-wrong-size": Fault(
        "camera set to another size", camera_wrong_size, network_camera=True
    ),
    "camera-shrinks": Fault(
        "camera changes its size within a stream", camera_shrinks, network_camera=True
    ),
    "killed": Fault("device killed (SIGKILL)", killed),
    "out-of-memory": Fault("out of memory (cgroup limit)", out_of_memory),
    "disk-full": Fault("disk full (tmpfs to its last byte)", disk_full, own_disk=True),
    "disk-read-only": Fault("disk read-only (EROFS)", disk_read_only),
    "disk-failing": Fault("disk failing (EIO)", disk_failing),
    "store-locked": Fault("store locked by another process", store_locked),
    "clock-ten-years": Fault("clock + 10 years and back", clock_ten_years),
    "clock-backwards": Fault("clock back by hours", clock_backwards),
    "model-damaged": Fault("model file damaged, restart", model_damaged),
    "store-pages": _damaged("store: eight pages overwritten with noise", store_pages),
    "store-header": _damaged("store: first page overwritten with noise", store_header),
    "store-log": _damaged("store: eight frames of its log overwritten", store_log),
}
