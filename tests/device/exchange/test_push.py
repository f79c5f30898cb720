"""What a device sends, when, and what it must not lose."""

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from config.document import to_toml
from config.errors import UserError
from config.settings import Settings
from device.exchange import collect as collecting
from device.exchange.batch import TABLES, file_digest
from device.exchange.folder import FolderPlace
from device.exchange.may_go import patches_that_may_go
from device.exchange.place import Unreachable
from device.exchange.push import push
from device.store.answers import UNDONE, add_answer
from device.store.counters import add_counts, add_scores
from device.store.database import STORE_FILE, open_store
from device.store.trail import add_event, record_settings
from device.system.locks import one_at_a_time
from tests.filled import answer, config_file, device_settings, fill, rows
from trainer.labels.merge import merge


@pytest.fixture
def box(tmp_path: Path) -> Settings:
    return device_settings(tmp_path, "box 1")


def batches(box: Settings) -> list[Path]:
    return sorted(Path(box.exchange.url, "labels", box.device.name).glob("*.db"))


def sent(box: Settings, table: str, columns: str = "*") -> list[tuple[object, ...]]:
    """The rows of a table in all batches, in the order of the batches."""
    found: list[tuple[object, ...]] = []
    for path in batches(box):
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            found += db.execute(f"SELECT {columns} FROM {table}").fetchall()
    return found


def may_go(box: Settings) -> set[str]:
    db = open_store(box.device.data)
    found = set(patches_that_may_go(db))
    db.close()
    return found


def test_answers_go_with_all_they_need_and_draws_without_answers_too(box: Settings) -> None:
    ids = fill(box, 9)  # 0, 3, 6 are random draws
    answer(box, ids[:2])
    done = push(box)
    assert (done.batches, done.labels, done.patches, done.waiting) == (1, 2, 4, 1)
    assert {row[0] for row in sent(box, "patches", "id")} == {ids[i] for i in (0, 1, 3, 6)}
    assert [row[0] for row in sent(box, "labels", "patch_id")] == ids[:2]
    flags = sent(box, "flags", "patch_id, reason, draw_probability")
    assert set(flags) == {
        (ids[0], "audit", 0.1), (ids[1], "uncertain", None), (ids[3], "audit", 0.1),
        (ids[6], "audit", 0.1),
    }  # fmt: skip
    assert len(flags) == 4
    frames = sent(box, "frames", "part, lot, device")
    assert frames == [("plate", "L-1", "box 1")] * 4
    assert sent(box, "events", "kind") == [("lost",)]
    assert sum(int(str(row[0])) for row in sent(box, "counters", "frames")) == 9
    assert sent(box, "scores", "patches") == [(9,)]


def test_nothing_new_makes_no_batch(box: Settings) -> None:
    fill(box, 3)
    assert push(box).batches == 1
    assert push(box).batches == 0
    assert push(box)._asdict() | {"waiting": 0} == dict.fromkeys(
        ("batches", "labels", "patches", "bytes", "acknowledged", "waiting"), 0
    ) | {"refused": [], "left_out": []}
    assert len(batches(box)) == 1


def test_the_name_says_device_sequence_and_digest(box: Settings) -> None:
    answer(box, fill(box, 2))
    push(box)
    answer(box, fill(box, 2, first=5))
    push(box)
    for number, path in enumerate(batches(box), start=1):
        assert path.name == f"{number:08}-{file_digest(path)}.db"
        assert path.with_suffix(".json").is_file()
    assert not list((box.device.data / "outbox").iterdir())


def test_undos_repeats_and_later_answers_go_up_in_their_order(box: Settings) -> None:
    ids = fill(box, 2)
    answer(box, ids[:1])
    push(box)
    db = open_store(box.device.data)
    add_answer(db, ids[0], UNDONE, None, "anna")
    add_answer(db, ids[0], "class", "clean", "bert")
    add_answer(db, ids[0], "class", "patch", "carl", repeat=True)
    add_answer(db, ids[1], "can't tell", None, "carl")
    db.conn.commit()
    db.close()
    assert push(box).labels == 4
    labels = sent(box, "labels", "number, patch_id, answer, class, operator, repeat")
    assert [row[0] for row in labels] == [1, 2, 3, 4, 5]
    assert labels[2:4] == [
        (3, ids[0], "class", "clean", "bert", 0), (4, ids[0], "class", "patch", "carl", 1),
    ]  # fmt: skip


def test_a_labelled_patch_may_go_only_once_it_is_acknowledged(box: Settings) -> None:
    ids = fill(box, 6)
    answer(box, ids[:3])
    assert may_go(box) == set()
    push(box)
    assert may_go(box) == set()  # sent is not merged
    merge(box)
    assert may_go(box) == set()  # merged is not known here yet
    done = push(box)
    assert (done.acknowledged, done.waiting) == (1, 0)
    assert may_go(box) == set(ids[:3])
    answer(box, ids[:1], "clean")  # a new answer: the trainer does not have it
    assert may_go(box) == set(ids[1:3])
    db = open_store(box.device.data)
    db.execute("INSERT INTO claims VALUES (?, 'page', 0, '', 1)", [ids[1]])  # on a screen
    db.conn.commit()
    db.close()
    assert may_go(box) == {ids[2]}
    push(box)
    merge(box)
    push(box)
    assert may_go(box) == {ids[0], ids[2]}


def test_a_refused_batch_goes_again_and_again_until_it_is_merged(box: Settings) -> None:
    ids = fill(box, 4)
    answer(box, ids)
    push(box)
    (first,) = batches(box)
    first.write_bytes(first.read_bytes()[:-1] + b"\xff")  # a disk that rots
    assert merge(box).refused
    done = push(box)
    assert (done.batches, done.labels) == (1, 4)
    assert "digest" in done.refused[0]
    assert may_go(box) == set()
    assert merge(box).new_labels == 4
    push(box)
    assert may_go(box) == set(ids)
    assert rows(box.device.data, "SELECT kind FROM events WHERE kind = 'batch-refused'")
    counted = rows(box.trainer.data, "SELECT sum(frames) FROM fleet_counters")
    assert counted == [(4,)]  # what came with the refused one is there too
    assert rows(box.trainer.data, "SELECT count(*) FROM fleet_events WHERE kind = 'lost'") == [(1,)]


def test_what_the_exchange_has_lost_goes_again(box: Settings) -> None:
    ids = fill(box, 4)
    answer(box, ids)
    push(box)
    shutil.rmtree(box.exchange.url)
    done = push(box)
    assert (done.batches, done.labels) == (1, 4)
    assert "has lost it" in done.refused[0]
    assert merge(box).new_labels == 4


def test_a_batch_that_was_damaged_before_it_went_is_made_anew(box: Settings) -> None:
    answer(box, fill(box, 2))
    url = Path(box.exchange.url)
    url.parent.mkdir(exist_ok=True)
    url.write_text("")  # in the way: nothing can be sent
    with pytest.raises(Unreachable):
        push(box)
    url.unlink()
    push(box)
    answer(box, fill(box, 2, first=10))
    db = open_store(box.device.data)
    db.execute("UPDATE batches SET state = 'made'")  # as if it had died before sending
    db.conn.commit()
    db.close()
    (box.device.data / "outbox").mkdir(exist_ok=True)
    assert push(box).labels == 4
    assert merge(box).new_labels == 4


def test_an_exchange_that_is_away_loses_nothing(box: Settings) -> None:
    ids = fill(box, 3)
    answer(box, ids)
    away = box.model_copy(
        update={"exchange": box.exchange.model_copy(update={"url": "/proc/nothing/here"})}
    )
    with pytest.raises(UserError):
        push(away)
    assert may_go(box) == set()
    assert push(box).labels == 3


def test_two_pushes_at_once(box: Settings) -> None:
    answer(box, fill(box, 2))
    with (
        one_at_a_time(box.device.data / "push.lock", "a push is running"),
        pytest.raises(UserError, match="another push is running; wait"),
    ):
        push(box)
    assert push(box).labels == 2


def test_much_is_sent_in_several_batches(box: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = fill(box, 20)
    answer(box, ids[:10])
    monkeypatch.setattr(collecting, "MOST_ROWS", 3)
    monkeypatch.setattr(collecting, "MOST_COUNTS", 3)
    done = push(box)
    assert done.labels == 10
    assert done.batches >= 4
    assert merge(box).new_labels == 10
    wanted = set(ids[:10]) | {ids[i] for i in range(0, 20, 3)}
    assert {row[0] for row in rows(box.trainer.data, "SELECT id FROM patches")} == wanted
    assert rows(box.trainer.data, "SELECT sum(frames) FROM fleet_counters") == [(20,)]


def test_large_pictures_end_a_batch(box: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(box, fill(box, 12))
    monkeypatch.setattr(collecting, "MOST_BYTES", 60_000)
    done = push(box)
    assert (done.batches >= 3, done.labels) == (True, 12)
    assert merge(box).new_labels == 12


def test_a_damaged_picture_is_told_and_holds_up_nothing(box: Settings) -> None:
    ids = fill(box, 4)
    answer(box, ids)
    db = open_store(box.device.data)
    png = db.execute("SELECT png FROM patches WHERE id = ?", [ids[2]]).fetchone()[0]
    db.execute("UPDATE patches SET png = ? WHERE id = ?", [png[:60] + png[61:], ids[2]])
    db.execute("UPDATE patches SET png = x'00' WHERE id = ?", [ids[3]])
    db.conn.commit()
    db.close()
    done = push(box)
    assert done.labels == 2
    assert sorted(line.split(":")[0] for line in done.left_out) == sorted(
        f"patch {ids[i][:12]}" for i in (2, 3)
    )
    assert merge(box).new_labels == 2
    push(box)
    assert may_go(box) == set(ids[:2])


def test_a_device_with_a_new_name_sends_what_it_sees_under_it(box: Settings) -> None:
    old = fill(box, 4)
    answer(box, old)
    renamed = box.model_copy(update={"device": box.device.model_copy(update={"name": "box 9"})})
    new = fill(renamed, 3, first=10)
    answer(renamed, new)
    for _ in range(2):  # told once, however often it is pushed
        done = push(renamed)
        assert [line.split(":")[0] for line in done.left_out] == [
            f"pictures and answers of the time when this device was called {box.device.name!r}"
        ]
        merged = merge(renamed)
        assert merged.refused == []
    assert len(rows(box.device.data, "SELECT 1 FROM events WHERE kind = 'not-sent'")) == 1
    assert {row[0] for row in rows(box.trainer.data, "SELECT patch_id FROM labels")} == set(new)
    push(renamed)
    assert may_go(box) == set(new)  # what has not gone stays on the disk
    assert push(box).labels == 4  # called so once more
    assert merge(box).new_labels == 4
    push(box)
    assert may_go(box) == {*old, *new}


def test_words_that_could_forge_lines_or_hold_passwords_are_cleaned(box: Settings) -> None:
    answer(box, fill(box, 2, origin="rtsp://user:hush@camera/\nx" + "y" * 5000))
    db = open_store(box.device.data)
    add_event(db, "lost", "http://user:hush@camera: \0 gone")
    db.conn.commit()
    db.close()
    assert push(box).left_out == []
    (origin,) = sent(box, "frames", "origin")[0]
    assert str(origin).startswith("rtsp://***@camera/ xyyy")
    assert sent(box, "events", "text")[1] == ("http://***@camera:   gone",)


def test_counters_that_go_on_are_sent_again(box: Settings) -> None:
    fill(box, 5)
    push(box)
    db = open_store(box.device.data)
    key = (29_000_000, "", "default", "unsure", "", "plate", "L-1")
    add_counts(db, [(key, 7)])
    db.conn.commit()
    db.close()
    assert push(box).batches == 1
    merge(box)
    assert rows(box.trainer.data, "SELECT frames FROM fleet_counters") == [(12,)]


def test_counters_go_up_again_after_a_clock_was_ahead(
    box: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody sets the wrong year, and it is put right the next day."""
    fill(box, 5)
    push(box)
    minute, ahead = time.time_ns() // 60 // 10**9, 10 * 365 * 24 * 60
    key = ("", "default", "unsure", "", "plate", "L-1")

    def count(at: int, frames: int) -> None:
        db = open_store(box.device.data)
        add_counts(db, [((at, *key), frames)])
        add_scores(db, [((at // 60, "", "scratch", "plate", 3), frames)])
        db.conn.commit()
        db.close()

    count(minute + ahead, 7)
    with monkeypatch.context() as wrong:
        now = time.time_ns
        wrong.setattr(time, "time_ns", lambda: now() + ahead * 60 * 10**9)
        push(box)
    for _ in range(2):
        count(minute, 20)
        push(box)
    assert push(box).batches == 0
    merge(box)
    assert rows(box.trainer.data, "SELECT sum(frames) FROM fleet_counters") == [(5 + 7 + 40,)]
    assert rows(box.trainer.data, "SELECT sum(patches) FROM fleet_scores") == [(5 + 7 + 40,)]


def test_a_push_over_a_slow_line_ends_while_the_machine_goes_on(
    box: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted while a batch is on its way is for the next push."""
    answer(box, fill(box, 5))
    key = (29_000_000, "", "default", "unsure", "", "plate", "L-1")
    put, puts = FolderPlace.put, []

    def slow(place: FolderPlace, name: str, content: bytes | Path) -> None:
        puts.append(name)
        assert len(puts) < 20, "it never ends"
        put(place, name, content)
        db = open_store(box.device.data)
        add_counts(db, [(key, 1)])
        db.conn.commit()
        db.close()

    with monkeypatch.context() as patched:
        patched.setattr(FolderPlace, "put", slow)
        assert push(box).batches == 1
    assert push(box).batches == 1
    merge(box)
    assert rows(box.trainer.data, "SELECT sum(frames) FROM fleet_counters") == [(5 + len(puts),)]


def test_the_tables_of_a_batch_are_those_of_the_store(box: Settings) -> None:
    db = open_store(box.device.data)
    for table, row in TABLES.items():
        known = {c.name: (c.type, bool(c.notnull)) for c in db[table].columns}
        with closing(sqlite3.connect(":memory:")) as batch:
            from device.exchange.batch import statements  # noqa: PLC0415

            for statement in statements():
                batch.execute(statement)
            found = {
                name: (kind, bool(notnull))
                for _, name, kind, notnull, *_ in batch.execute(f"PRAGMA table_info({table})")
            }
        found.pop("number", None)
        assert set(found) == set(row.columns()) - {"number"}
        for name, (kind, notnull) in found.items():
            assert known[name][0] == kind, f"{table}.{name}"
            assert name == "id" or known[name][1] == notnull or name in row.columns()
    db.close()


def test_no_secret_gets_into_the_store_or_the_settings_record(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.touch(mode=0o600)
    credentials.write_text("box-1\nhush-hush\n")
    box = device_settings(tmp_path, "box 1")
    values = {"url": "sftp://millsight@nas/x", "s3_credentials": credentials}
    box = box.model_copy(update={"exchange": box.exchange.model_copy(update=values)})
    db = open_store(box.device.data)
    record_settings(db, box)
    text = "".join(db.conn.iterdump())
    db.close()
    assert "hush" not in text
    assert "s3_credentials" in text


def test_a_password_in_the_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    box = device_settings(tmp_path, "box 1")
    config = tmp_path / "millsight.toml"
    config.write_text(to_toml(box).replace(str(tmp_path / "exchange"), "sftp://me:hush@nas/x"))
    command = [sys.executable, "-m", "millsight", "device", "push", "-c", str(config)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "exchange: url holds a password" in result.stderr
    assert "hush" not in result.stderr + result.stdout


def test_from_the_command_line(box: Settings, tmp_path: Path) -> None:
    answer(box, fill(box, 3))
    config = str(config_file(box, tmp_path))

    def millsight(*words: str) -> str:
        command = [sys.executable, "-m", "millsight", *words, "-c", config]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert result.stderr == ""
        return result.stdout

    assert millsight("device", "push").startswith("sent 1 batches: 3 answers, 3 patches, ")
    assert millsight("trainer", "merge") == "merged 1 batches: 3 new answers; 0 known before\n"
    assert '"acknowledged": 1' in millsight("device", "push", "--json")
    assert '"known": 1' in millsight("trainer", "merge", "--json")


def test_the_live_database_is_never_what_is_sent(box: Settings) -> None:
    answer(box, fill(box, 3))
    push(box)
    (path,) = batches(box)
    with closing(sqlite3.connect(path)) as db:
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    assert tables == set(TABLES)
    assert (box.device.data / STORE_FILE).is_file()
