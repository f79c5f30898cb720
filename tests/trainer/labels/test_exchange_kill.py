"""kill -9 of a push and of a merge: whenever it comes, the next run completes, and nothing is lost
or counted twice."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from config.settings import Settings
from device.exchange.may_go import patches_that_may_go
from device.exchange.push import push
from device.store.answers import UNDONE, add_answer
from device.store.database import STORE_FILE, open_store
from tests.filled import answer, config_file, device_settings, fill, last_answers
from trainer.labels.merge import merge

KILLS = [3, pytest.param(20, marks=pytest.mark.slow)]
PROGRAM = """
import sys
from pathlib import Path
from config.load import load_settings
from {module} import {name}
settings = load_settings(Path(sys.argv[1]))
print("ready", flush=True)
{name}(settings)
print("done", flush=True)
"""
UNCUT = 4
"""Runs that are not killed, and tell how long one takes."""
# What the command does, after its imports: a kill while Python starts would prove little.
PUSH = PROGRAM.format(module="device.exchange.push", name="push")
MERGE = PROGRAM.format(module="trainer.labels.merge", name="merge")

# Kills itself before its n-th operation on files: every gap between two of them is met for certain.
STOPS = """
import os, signal
left = int(sys.argv[2])
def before(event, _arguments):
    global left
    if event in {"open", "os.rename", "os.remove", "os.mkdir", "sqlite3.connect"}:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(before)
"""


def killed(program: str, config: Path, after_s: float | None) -> tuple[bool, float]:
    """Run a program and kill it so long after it began, or not at all.

    Whether it had done its work, and the time that the work took.
    """
    command = [sys.executable, "-c", program, str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        if after_s is not None:
            time.sleep(after_s)
            process.send_signal(signal.SIGKILL)
        ended = process.stdout.readline() == "done\n"
        return ended, time.monotonic() - began


def kill_often(
    kills: int, program: str, config: Path, prepare: Callable[[int], None], look: Callable[[], str]
) -> Counter[str]:
    """Kill a program at moments spread over its run; how often it was found in which state."""
    times = []
    for number in range(UNCUT):  # the first run makes the store, and takes longer
        prepare(number)
        times.append(killed(program, config, after_s=None)[1])
    duration = median(times[1:])
    rng = random.Random(0)
    states: Counter[str] = Counter()
    for kill in range(UNCUT, kills + UNCUT):
        prepare(kill)
        ended, _ = killed(program, config, rng.uniform(0, duration))
        states["ended" if ended else look()] += 1
    assert kills < 20 or states["ended"] < kills / 2, "hardly any kill came in time"
    print(f"{kills} kills of {duration:.2f} s: {dict(states)}")
    return states


def sound(folder: Path) -> None:
    db = sqlite3.connect(folder / STORE_FILE)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()


def check_all_arrived(box: Settings, answered: int) -> None:
    """Every answer is in the trainer exactly once, and says there what it says here."""
    sound(box.device.data)
    sound(box.trainer.data)
    here, there = open_store(box.device.data), open_store(box.trainer.data)
    query = "SELECT id, patch_id, answer, class FROM labels ORDER BY id"
    labels = [tuple(row) for row in here.execute(query)]
    assert len(labels) == answered
    assert [tuple(row) for row in there.execute(query)] == labels
    assert last_answers(there) == last_answers(here)
    query = "SELECT minute, sum(frames) FROM {} GROUP BY minute"
    counted = [tuple(row) for row in here.execute(query.format("counters"))]
    assert [tuple(row) for row in there.execute(query.format("fleet_counters"))] == counted
    labelled = {row[0] for row in here.execute("SELECT DISTINCT patch_id FROM labels")}
    assert set(patches_that_may_go(here)) == labelled
    here.close()
    there.close()


def answer_some(box: Settings, number: int) -> None:
    """New patches and answers, and a change of mind about each of them."""
    ids = fill(box, 6, first=10 * number)
    answer(box, ids)
    db = open_store(box.device.data)
    for identity in ids:
        add_answer(db, identity, UNDONE, None, "anna")
    db.conn.commit()
    db.close()
    answer(box, ids, "clean")


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.timeout(1500)
def test_a_push_killed_at_any_moment(kills: int, tmp_path: Path) -> None:
    box = device_settings(tmp_path, "box 1")
    config = config_file(box, tmp_path)

    def look() -> str:
        db = open_store(box.device.data)
        found = db.execute("SELECT state FROM batches ORDER BY sequence DESC LIMIT 1").fetchone()
        db.close()
        # Whatever it says, nothing that was not merged may be deleted.
        assert not set(deletable(box)) - set(merged(box))
        merge(box)  # what has no manifest is no batch
        return str(found[0])

    kill_often(kills, PUSH, config, lambda number: answer_some(box, number), look)
    push(box)
    merge(box)
    push(box)
    check_all_arrived(box, 18 * (kills + UNCUT))
    assert not list((box.device.data / "outbox").iterdir())


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.timeout(1500)
def test_a_merge_killed_at_any_moment(kills: int, tmp_path: Path) -> None:
    box = device_settings(tmp_path, "box 1")
    config = config_file(box, tmp_path)

    def prepare(number: int) -> None:
        answer_some(box, number)
        push(box)

    def look() -> str:
        sound(box.trainer.data)
        db = open_store(box.trainer.data)
        batches = db.execute("SELECT count(*) FROM merges").fetchone()[0]
        labels = db.execute("SELECT count(*) FROM labels").fetchone()[0]
        db.close()
        assert labels == 18 * batches  # a batch is merged whole, or not at all
        done = push(box).acknowledged
        assert not set(deletable(box)) - set(merged(box))
        return "acknowledged" if done else "not acknowledged"

    kill_often(kills, MERGE, config, prepare, look)
    merge(box)
    push(box)
    check_all_arrived(box, 18 * (kills + UNCUT))


@pytest.mark.parametrize("program", [PUSH, MERGE], ids=["push", "merge"])
@pytest.mark.parametrize("step", [50, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.timeout(1500)
def test_killed_between_any_two_file_operations(program: str, step: int, tmp_path: Path) -> None:
    box = device_settings(tmp_path, "box 1")
    config = config_file(box, tmp_path)
    stopping = program.replace('print("ready"', STOPS + 'print("ready"')
    number, done = 0, False
    while not done:
        answer_some(box, number)
        if program is MERGE:
            push(box)
        number += 1
        # Whatever the n-th operation is, it comes within the next run, or that one ends.
        command = [sys.executable, "-c", stopping, str(config), str(1 + step * (number - 1))]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        done = "done" in result.stdout
        assert done or result.returncode == -signal.SIGKILL, result.stderr
        if program is PUSH:
            merge(box)
        assert not set(deletable(box)) - set(merged(box))
    print(f"killed before {number - 1} operations on files")
    assert number > 1
    push(box)
    merge(box)
    push(box)
    check_all_arrived(box, 18 * number)
    assert not list((box.device.data / "outbox").iterdir())


def deletable(box: Settings) -> list[str]:
    db = open_store(box.device.data)
    found = patches_that_may_go(db)
    db.close()
    return found


def merged(box: Settings) -> list[str]:
    db = open_store(box.trainer.data)
    found = [row[0] for row in db.execute("SELECT id FROM patches")]
    db.close()
    return found
