"""The power goes during an upgrade: the box runs the old version or the new one, and all of it.

Everyday: the process is killed before one change of the disk after the other. `-m slow`: real
bundles on a real ext4, which is shut down without a flush at random moments.
"""

import base64
import contextlib
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.document import to_toml
from config.settings import Settings
from systemd.bundle import EXTRAS, write_bundle
from systemd.layout import Layout
from systemd.upgrade import UpgradeError, go_back, upgrade, version_before
from systemd.versions import DONE, InstallError, lay_down, switch
from tests.filled import answer, device_settings, fill
from tests.systemd.disk import Disk, cannot_mount
from tests.systemd.sources import ROOT, source_tree
from tests.systemd.test_bundle import tar_of

OLD, NEW = "0.1.0", "0.1.1"
ANSWERS = 5
CUTS = 20


def command(layout: Layout, bundle: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "tests.systemd.upgrading", str(layout.root), str(bundle), *more]


def make_data(layout: Layout) -> Settings:
    """Settings and a store with answers, where an appliance has them."""
    layout.data.parent.mkdir(parents=True)
    settings = device_settings(layout.data.parent, "millsight")
    answer(settings, fill(settings, ANSWERS))
    layout.settings.parent.mkdir(parents=True)
    layout.settings.write_text(to_toml(settings))
    return settings


def data_is_kept(layout: Layout) -> None:
    with closing(sqlite3.connect(layout.data / "millsight.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM labels").fetchone() == (ANSWERS,)
    assert layout.settings.read_text().startswith("# Settings of one millsight device")


def wholly(layout: Layout) -> str:
    """The version in use, once program and units are seen to be all of it."""
    version = layout.version_of(layout.current)
    assert version is not None
    place = layout.versions / version
    assert (place / DONE).exists()
    assert units_in(layout.units) == units_in(place / "share/systemd")
    data_is_kept(layout)
    return version


def units_in(folder: Path) -> dict[str, bytes]:
    """The units that systemd sees in a folder; a `.new` that was left is none."""
    units = (path for path in folder.glob("millsight*") if path.suffix != ".new")
    return {path.name: path.read_bytes() for path in units}


# --- every change of the disk ---


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder where a flush costs nothing; a killed process loses nothing that it has written."""
    place = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=place if Path(place).is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def two_laid_down(memory: Path) -> tuple[Layout, Path]:
    """An appliance with two versions on the disk, the first in use, and a bundle of the second."""
    layout = Layout(memory / "template")
    for version in (OLD, NEW):
        place = layout.versions / version
        shutil.copytree(ROOT / "systemd", place / "share/systemd")
        (place / "bin").mkdir()
        (place / "bin/python").write_text("#!/bin/sh\nexit 1\n")
        (place / "bin/python").chmod(0o755)
        (place / "share/systemd/millsight.target").write_text(f"# of {version}\n")
        (place / f"share/systemd/millsight-only-{version}.timer").touch()
        (place / DONE).touch()
    switch(OLD, layout)
    make_data(layout)
    bundle = tar_of(memory / "b", {"VERSION": f"{NEW}\n".encode(), "EXTRAS": b"plant\n"})
    return layout, bundle


def cut_before_each(
    template: Layout, bundle: Path, folder: Path, most: int, seed: int
) -> dict[str, int]:
    """Cut an upgrade before changes of the disk, and try again; how often which version ran."""

    def copy(name: str) -> Layout:
        shutil.copytree(template.root, folder / name, symlinks=True)
        return Layout(folder / name)

    said = subprocess.run(
        command(copy("whole"), bundle), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    count = int(said[-1])
    assert count > 30
    found: dict[str, int] = {OLD: 0, NEW: 0}
    moments = sorted(random.Random(seed).sample(range(1, count + 1), min(most, count)))
    for moment in moments:
        layout = copy(f"cut-{moment}")
        done = subprocess.run(command(layout, bundle, str(moment)), check=False)
        assert done.returncode == -9
        version = layout.version_of(layout.current)
        assert version in found
        found[version] += 1
        data_is_kept(layout)
        parts = [units_in(layout.versions / one / "share/systemd").items() for one in found]
        mixed = units_in(layout.units).items()  # for less than a millisecond, but none by halves
        assert parts[0] & parts[1] <= mixed <= parts[0] | parts[1]
        if version == NEW:  # the way back is there
            assert version_before(layout) == OLD
        subprocess.run(command(layout, bundle), check=True, capture_output=True)
        assert wholly(layout) == NEW
        assert version_before(layout) == OLD
        shutil.rmtree(layout.root)
    return found


def test_with_a_damaged_store_the_old_version_runs_again(
    two_laid_down: tuple[Layout, Path],
) -> None:
    layout, bundle = two_laid_down
    for version in (OLD, NEW):  # one that can say which stores it knows
        says = '#!/bin/sh\ncase "$3" in *migrations*) echo m001 ;; *) exit 1 ;; esac\n'
        (layout.versions / version / "bin/python").write_text(says)
    for left in ("", "-wal", "-shm"):
        (layout.data / f"millsight.db{left}").unlink(missing_ok=True)
    (layout.data / "millsight.db").write_bytes(b"no database " * 1000)
    with pytest.raises(UpgradeError, match=f"not a database; {OLD} runs again"):
        upgrade(bundle, layout)
    assert layout.version_of(layout.current) == OLD
    assert units_in(layout.units) == units_in(layout.versions / OLD / "share/systemd")


def test_a_lost_connection_while_services_stand_still_ends_nothing(
    two_laid_down: tuple[Layout, Path],
) -> None:
    layout, bundle = two_laid_down
    python = layout.versions / NEW / "bin/python"  # is asked once the services have stopped
    python.write_text("#!/bin/sh\nfor one in HUP INT TERM; do kill -$one $PPID; done\nexit 1\n")
    done = subprocess.run(command(layout, bundle), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert wholly(layout) == NEW


@pytest.mark.parametrize("cut", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_lost_connection_while_a_version_is_laid_down_leaves_nothing_of_it(
    two_laid_down: tuple[Layout, Path], memory: Path, cut: signal.Signals
) -> None:
    layout, _ = two_laid_down
    other = tar_of(memory / "c", {"VERSION": b"9.9.9\n", "EXTRAS": b"plant\n"})
    before = sorted(layout.versions.iterdir())
    with subprocess.Popen(
        command(layout, other), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as upgrading:
        while not (layout.versions / "9.9.9").exists():
            assert upgrading.poll() is None
            time.sleep(0.005)
        os.kill(upgrading.pid, cut)
        assert "nothing in use has changed" in upgrading.communicate()[1].splitlines()[-1]
    assert sorted(layout.versions.iterdir()) == before


def test_a_version_that_pip_refuses_leaves_nothing_of_it(
    two_laid_down: tuple[Layout, Path], memory: Path
) -> None:
    layout, _ = two_laid_down
    other = tar_of(memory / "c", {"VERSION": b"9.9.9\n", "EXTRAS": b"plant\n"})
    before = sorted(layout.versions.iterdir())
    with pytest.raises(InstallError, match="No matching distribution"):
        lay_down(other, layout)
    assert sorted(layout.versions.iterdir()) == before


def test_cut_off_before_a_change_of_the_disk(
    two_laid_down: tuple[Layout, Path], memory: Path
) -> None:
    cut_before_each(*two_laid_down, memory, most=5, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cut_off_before_every_change_of_the_disk(
    two_laid_down: tuple[Layout, Path], memory: Path
) -> None:
    found = cut_before_each(*two_laid_down, memory, most=1000, seed=0)
    print(f"\ncut before every change of the disk: {found}")
    assert min(found.values()) > 0


# --- real bundles on a disk that loses what was not flushed ---


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("bundles")
    found = {}
    for version in (OLD, NEW):
        source = source_tree(tmp_path_factory.mktemp("source"), version)
        found[version] = write_bundle(source, out, EXTRAS)
    return found


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if reason := cannot_mount():
        pytest.skip(reason)
    # In memory where there is room: the disk below it is not what is tried.
    place, image = Path("/dev/shm"), tmp_path / "disk.img"
    if place.is_dir() and shutil.disk_usage(place).free > 6e9:
        image = place / f"millsight-{os.getpid()}.img"
    with Disk(image, megabytes=4000) as disk:
        yield disk


def every_file_is_right(place: Path) -> int:
    """Compare all files of all packages of a version with the digests that pip noted; how many."""
    count = 0
    for record in place.glob("lib/python3*/site-packages/*.dist-info/RECORD"):
        with record.open(newline="") as stream:
            for name, digest, _size in csv.reader(stream):
                if digest:
                    content = (record.parent.parent / name).read_bytes()
                    found = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
                    assert f"sha256={found.decode().rstrip('=')}" == digest, name
                    count += 1
    return count


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_plug_is_pulled_while_real_bundles_are_laid_down_and_switched(
    bundles: dict[str, Path], disk: Disk, tmp_path: Path
) -> None:
    log_file = tmp_path / "upgrades.log"
    layout, rng = Layout(disk.place), random.Random(0)
    lay_down(bundles[OLD], layout)
    switch(OLD, layout)
    make_data(layout)
    lasts_s = switch_s = 0.0
    rows = []
    for cut in range(CUTS + 1):
        old = wholly(layout)
        new = NEW if old == OLD else OLD
        shutil.rmtree(layout.versions / new, ignore_errors=True)
        layout.previous.unlink(missing_ok=True)
        disk.flush()
        log = log_file.open("w")
        with log, subprocess.Popen(
            command(layout, bundles[new]), stdout=log, stderr=log, start_new_session=True
        ) as upgrading:  # fmt: skip
            try:
                began = time.monotonic()
                if cut == 0:  # not cut: how long it takes
                    laid_down(layout, new)
                    lasts_s = time.monotonic() - began
                    assert upgrading.wait() == 0
                    switch_s = time.monotonic() - began - lasts_s
                    assert wholly(layout) == new
                    continue
                if cut % 2:
                    wait_s = rng.uniform(0, lasts_s)
                else:
                    laid_down(layout, new)
                    wait_s = rng.uniform(0, 1.2 * switch_s)
                time.sleep(wait_s)
                passed = time.monotonic() - began
                disk.pull_the_plug(upgrading.pid)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(upgrading.pid, signal.SIGKILL)
        version = wholly(layout)
        every_file_is_right(layout.versions / version)
        doctor = str(layout.versions / version / "bin/millsight"), "doctor", "settings", "database"
        done = subprocess.run(
            [*doctor, "--json", "--config", str(layout.settings)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = json.loads(done.stdout)
        assert (said["version"], said["well"]) == (version, True), said
        rows.append((round(passed, 1), version == new))
        print(f"cut {cut} after {passed:.1f} s: {version} ({'new' if version == new else 'old'})")
        subprocess.run(command(layout, bundles[new]), check=True, capture_output=True)
        assert wholly(layout) == new
        assert every_file_is_right(layout.versions / new) > 1000
        assert sorted(path.name for path in layout.versions.iterdir()) == sorted(
            {old, new, "current", "previous"}
        )
    assert go_back(layout).startswith(f"{old} is in use again")
    print(f"{CUTS} cuts, {sum(new for _, new in rows)} with the new version in use: {rows}")


def laid_down(layout: Layout, version: str) -> None:
    """Wait until the files of a version are there."""
    while not (layout.versions / version / DONE).exists():
        time.sleep(0.01)
