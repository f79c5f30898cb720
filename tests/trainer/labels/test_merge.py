"""Batches are merged exactly once whatever happens, in the everyday order of things."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from config.errors import UserError
from config.settings import Exchange, Settings
from device.exchange.push import push
from device.store.answers import add_label, labelled_patches
from device.store.database import open_store
from device.system.locks import one_at_a_time
from tests.filled import answer, config_file, device_settings, fill, last_answers, rows
from tests.servers import S3Server, Server, SftpServer, running
from tests.trainer.labels.merge_site import acknowledged, dump
from trainer.labels import merge as merging
from trainer.labels.merge import merge


def test_two_devices_over_one_exchange(tmp_path: Path) -> None:
    one, two = (device_settings(tmp_path, name) for name in ("box 1", "box 2"))
    ids = {}
    for box in (one, two):  # the same plates before both cameras
        ids[box.device.name] = fill(box, 6)
        answer(box, ids[box.device.name][:4], "scratch" if box is one else "patch")
        push(box)
    assert not set(ids["box 1"]) & set(ids["box 2"])
    done = merge(one)
    assert [(batch.device, batch.labels, batch.refused) for batch in done.batches] == [
        ("box 1", 4, ""), ("box 2", 4, ""),
    ]  # fmt: skip
    db = open_store(one.trainer.data)
    labelled = labelled_patches(db)
    assert sorted(labelled.ids) == sorted(ids["box 1"][:4] + ids["box 2"][:4])
    assert sorted(labelled.classes) == ["patch"] * 4 + ["scratch"] * 4
    assert db.execute("SELECT count(*) FROM flags WHERE draw_probability = 0.1").fetchone() == (4,)
    counted = db.execute("SELECT device, sum(frames) FROM fleet_counters GROUP BY device")
    assert [tuple(row) for row in counted] == [("box 1", 6), ("box 2", 6)]
    assert db.execute("SELECT count(*) FROM activations").fetchone() == (0,)  # not the trainer's
    db.close()
    for box in (one, two):
        assert len(acknowledged(box).merged) == 1
        assert push(box).acknowledged == 1


def test_merging_again_changes_nothing(tmp_path: Path) -> None:
    box = device_settings(tmp_path, "box 1")
    answer(box, fill(box, 4))
    push(box)
    merge(box)
    before = dump(box.trainer.data)
    said = (tmp_path / "exchange/acknowledged/box 1.json").read_bytes()
    again = merge(box)
    assert (again.batches, again.known) == ([], 1)
    assert dump(box.trainer.data) == before
    assert (tmp_path / "exchange/acknowledged/box 1.json").read_bytes() == said


def test_a_merge_that_died_before_it_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = device_settings(tmp_path, "box 1")
    answer(box, fill(box, 4))
    push(box)
    with monkeypatch.context() as patched:
        patched.setattr(merging, "acknowledge", dies)
        with pytest.raises(KeyboardInterrupt):
            merge(box)
    assert push(box).acknowledged == 0
    assert merge(box).batches == []
    assert push(box).acknowledged == 1


def dies(*_arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_of_the_trainer_refuses_no_batch(
    site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not the batch that is wrong: it is merged as soon as there is room."""

    def full(folder: Path) -> Database:
        db = open_store(folder)
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
        return db

    with monkeypatch.context() as patched:
        patched.setattr(merging, "open_store", full)
        with pytest.raises(UserError, match="the disk is full; free some space"):
            merge(site)
    assert rows(site.trainer.data, "SELECT * FROM merges") == []
    assert merge(site).new_labels == 8


@pytest.mark.parametrize("kind", [None, S3Server, SftpServer])
def test_no_room_for_a_batch_is_told(kind: type[Server] | None, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        server = None if kind is None else stack.enter_context(running(kind, tmp_path / "server"))
        box = device_settings(tmp_path, "box", None if server is None else server.exchange())
        answer(box, fill(box, 4))
        push(box)
        box.trainer.data.mkdir()
        (box.trainer.data / ".batch").symlink_to("/dev/full")
        with pytest.raises(UserError, match=r"trainer/\.batch: cannot be written: No space left"):
            merge(box)
        assert merge(box).new_labels == 4


def test_what_else_lies_on_the_exchanges_disk_is_not_looked_at(
    site: Settings, tmp_path: Path
) -> None:
    """A disk of its own has a folder `lost+found` that only root may read."""
    found = Path(site.exchange.url, "lost+found")
    found.mkdir(mode=0)
    command = [sys.executable, "-m", "millsight", "trainer", "merge", "-c"]
    command.append(str(config_file(site, tmp_path)))
    if os.geteuid() == 0:  # who may read everything has to give that up
        without = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={without}", f"--inh-caps={without}", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found.chmod(0o700)
    assert (done.returncode, done.stderr) == (0, "")
    assert "merged 2 batches: 8 new answers" in done.stdout


def test_the_exchange_builds_a_lost_trainer_anew(tmp_path: Path) -> None:
    box = device_settings(tmp_path, "box 1")
    for first in (0, 10):
        answer(box, fill(box, 3, first))
        push(box)
        merge(box)
    before = dump(box.trainer.data)
    shutil.rmtree(box.trainer.data)
    assert merge(box).new_labels == 6
    assert dump(box.trainer.data) == before


@pytest.mark.parametrize("kind", [S3Server, SftpServer])
def test_over_a_server(kind: type[Server], tmp_path: Path) -> None:
    with running(kind, tmp_path / "server") as server:
        boxes = [device_settings(tmp_path, f"box {i}", server.exchange()) for i in (1, 2)]
        for box in boxes:
            answer(box, fill(box, 5))
            assert push(box).batches == 1
        assert merge(boxes[0]).new_labels == 10
        for box in boxes:
            assert push(box).acknowledged == 1


def test_two_merges_at_once(tmp_path: Path) -> None:
    box = device_settings(tmp_path, "box 1")
    with (
        one_at_a_time(box.trainer.data / "merge.lock", "a merge is running"),
        pytest.raises(UserError, match="another merge is running; wait"),
    ):
        merge(box)


def test_a_clock_that_is_wrong_is_measured_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = device_settings(tmp_path, "box 1")
    answer(box, fill(box, 2))
    push(box)
    name = next(Path(box.exchange.url, "labels/box 1").glob("*.json"))
    manifest = json.loads(name.read_bytes())
    manifest["written_ns"] += 3_600 * 10**9
    name.write_text(json.dumps(manifest))
    done = merge(box)
    assert done.skew_s["box 1"] == pytest.approx(3600, abs=30)
    assert "clock of box 1: 3600 s ahead" in done.lines()[-1].replace("3599", "3600")
    assert rows(box.trainer.data, "SELECT kind FROM events") == [("clock-skew",)]
    assert rows(box.trainer.data, "SELECT skew_s > 3500 FROM merges") == [(1,)]


def test_a_clock_that_is_right_is_not_told(tmp_path: Path) -> None:
    box = device_settings(tmp_path, "box 1")
    answer(box, fill(box, 2))
    push(box)
    assert abs(merge(box).skew_s["box 1"]) < 30
    assert rows(box.trainer.data, "SELECT kind FROM events") == []


@pytest.fixture
def full_store(site: Settings) -> Iterator[Database]:
    db = open_store(site.trainer.data)
    yield db
    db.close()


def test_a_label_of_the_trainers_own_stays(site: Settings, full_store: Database) -> None:
    merge(site)
    patch = full_store.execute("SELECT id FROM patches ORDER BY id").fetchone()[0]
    add_label(full_store, patch, "clean", "somebody at the trainer")
    full_store.conn.commit()
    merge(site)
    assert last_answers(full_store)[patch] == "clean"


def test_the_exchange_may_be_any_url(tmp_path: Path) -> None:
    box = device_settings(tmp_path, "box 1", Exchange(url=f"file://{tmp_path}/elsewhere"))
    answer(box, fill(box, 1))
    push(box)
    assert merge(box).new_labels == 1
    assert (tmp_path / "elsewhere/acknowledged/box 1.json").is_file()
