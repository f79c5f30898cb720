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

import pytest

from config.settings import Settings
from device.exchange.push import patches_that_may_go, push
from device.store import STORE_FILE, UNDONE, add_answer, open_store
from tests.filled import answer, config_file, device_settings, fill, last_answers
from trainer.merge import merge

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
# What the command does, after its imports: a kill while Python starts would prove little.
PUSH = PROGRAM.format(module="device.exchange.push", name="push")
MERGE = PROGRAM.format(module="trainer.merge", name="merge")


def killed(program: str, config: Path, after_s: float) -> tuple[bool, float]:
    """Run a program and kill it so long after it began; whether it had ended, and its time."""
    command = [sys.executable, "-c", program, str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        if after_s < 60:
            time.sleep(after_s)
            process.send_signal(signal.SIGKILL)
        ended = "done" in process.stdout.read()
        return ended, time.monotonic() - began


def kill_often(
    kills: int, program: str, config: Path, prepare: Callable[[int], None], look: Callable[[], str]
) -> Counter[str]:
    """Kill a program at moments spread over its run; how often it was found in which state."""
    for number in (0, 1):  # the first run makes the store, and takes longer
        prepare(number)
        _, duration = killed(program, config, after_s=99)
    rng = random.Random(0)
    states: Counter[str] = Counter()
    for kill in range(2, kills + 2):
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
    check_all_arrived(box, 18 * (kills + 2))
    assert not list((box.device.data / "outbox").iterdir())


@pytest.mark.parametrize("kills", KILLS)
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
    check_all_arrived(box, 18 * (kills + 2))


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
