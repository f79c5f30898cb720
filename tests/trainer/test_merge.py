"""Batches are merged exactly once whatever happens, and bad ones get no further than the door."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from sqlite_utils import Database

from config.errors import UserError
from config.settings import Exchange, Settings
from device.exchange.acknowledgement import Acknowledgement, unseal
from device.exchange.batch import APPLICATION_ID, LARGEST_BATCH, batch_name
from device.exchange.push import push
from device.locks import one_at_a_time
from device.store import UNDONE, add_answer, add_label, labelled_patches, open_store
from tests.filled import answer, device_settings, fill, last_answers, rows
from tests.servers import S3Server, Server, SftpServer, running
from trainer import merge as merging
from trainer.merge import merge


def acknowledged(settings: Settings) -> Acknowledgement:
    path = Path(settings.exchange.url, "acknowledged", f"{settings.device.name}.json")
    return unseal(path.read_bytes(), None)


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


# --- any order gives the same store -----------------------------------------------------------


def dump(folder: Path) -> dict[str, list[Any]]:
    """What a trainer knows, however it came to know it; answers in the order that counts."""
    db = open_store(folder)
    tables = {
        "frames": "*", "patches": "*", "merged_labels": "*", "fleet_events": "*",
        "fleet_activations": "*", "fleet_counters": "*", "fleet_scores": "*",
        "flags": "patch_id, frame_id, cycle, reason, predicted, score, draw_probability, alike",
        "labels": "patch_id, (SELECT count(*) FROM labels e WHERE e.patch_id = labels.patch_id "
        "AND e.rowid < labels.rowid), id, answer, class, operator, repeat",
    }  # fmt: skip
    found = {
        table: sorted(tuple(row) for row in db.execute(f"SELECT {columns} FROM {table}"))
        for table, columns in tables.items()
    }
    found["last"] = sorted(last_answers(db).items())
    db.close()
    return found


Operation = tuple[str, int, int]


def live(box: Settings, ids: list[str], operations: list[Operation]) -> None:
    """A device's life: answers, undos, repeats, pushes, and pushes that got lost."""
    for what, patch, said in operations:
        if what == "push":
            push(box)
            continue
        db = open_store(box.device.data)
        if what == "lost":  # what was sent and not acknowledged goes once more
            db.execute("DELETE FROM sent_labels")
            db.execute("UPDATE batches SET state = 'refused'")
            db.execute("DELETE FROM state WHERE key = 'exchange marks'")
        elif what == "undo":
            add_answer(db, ids[patch], UNDONE, None, "anna")
        else:
            name = ["clean", "patch", "scratch"][said]
            add_answer(db, ids[patch], "class", name, "anna", repeat=what == "repeat")
        db.conn.commit()
        db.close()
    push(box)


@pytest.fixture(scope="module")
def two_boxes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """Two devices with patches and no answers, to be copied."""
    folder = tmp_path_factory.mktemp("boxes")
    ids = {name: fill(device_settings(folder, name), 4) for name in ("box 1", "box 2")}
    return folder, ids


operations = st.lists(
    st.tuples(
        st.sampled_from(["answer", "answer", "undo", "repeat", "push", "push", "lost"]),
        st.integers(0, 3),
        st.integers(0, 2),
    ),
    max_size=10,
)


@given_settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), lives=st.tuples(operations, operations))
def test_batches_in_any_order_give_the_same_store(
    data: st.DataObject,
    lives: tuple[list[Operation], list[Operation]],
    two_boxes: tuple[Path, dict[str, list[str]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    template, ids = two_boxes
    folder = tmp_path_factory.mktemp("any-order")
    answers: dict[str, str] = {}
    for name, operations in zip(ids, lives, strict=True):
        box = device_settings(folder, name)
        shutil.copytree(template / name, box.device.data)
        live(box, ids[name], operations)
        db = open_store(box.device.data)
        answers |= last_answers(db)
        db.close()
    in_order = device_settings(folder, "box 1")
    merge(in_order)
    expected = dump(in_order.trainer.data)
    assert dict(expected["last"]) == answers  # what the devices themselves say

    manifests = sorted(Path(in_order.exchange.url, "labels").rglob("*.json"))
    shuffled = data.draw(st.permutations(manifests))
    other = device_settings(folder / "other", "box 1")
    for manifest in shuffled:
        there = Path(other.exchange.url) / manifest.relative_to(in_order.exchange.url)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(manifest.with_suffix(".db"), there.with_suffix(".db"))
        shutil.copy(manifest, there)
        for _ in range(data.draw(st.integers(0, 2))):  # not merged yet, merged, merged twice
            merge(other)
    merge(other)
    assert dump(other.trainer.data) == expected
    shutil.rmtree(folder)


def test_the_last_answer_counts_whichever_batch_comes_first(tmp_path: Path) -> None:
    box = device_settings(tmp_path, "box 1")
    (patch,) = fill(box, 1)
    for name in ("scratch", "patch", "clean"):
        answer(box, [patch], name)
        push(box)
    labels, away = Path(box.exchange.url, "labels/box 1"), tmp_path / "away"
    shutil.move(labels, away)
    for manifest in sorted(away.glob("*.json"), reverse=True):
        labels.mkdir(exist_ok=True)
        for path in (manifest, manifest.with_suffix(".db")):
            shutil.copy(path, labels)
        assert merge(box).new_labels == 1
        db = open_store(box.trainer.data)
        assert last_answers(db) == {patch: "clean"}
        db.close()
    said = rows(box.trainer.data, "SELECT class FROM labels ORDER BY rowid")
    assert said == [("scratch",), ("patch",), ("clean",)]


# --- bad batches ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exchange with a good batch of box 1, and one of box 2 that is attacked."""
    folder = tmp_path_factory.mktemp("pushed")
    for name in ("box 1", "box 2"):
        box = device_settings(folder, name)
        answer(box, fill(box, 4))
        push(box)
    return folder / "exchange"


@pytest.fixture
def site(tmp_path: Path, pushed: Path) -> Settings:
    """A trainer that has merged nothing yet; the exchange is its own copy."""
    shutil.copytree(pushed, tmp_path / "exchange")
    return device_settings(tmp_path, "box 1")


Attack = Callable[[Path], object]


def sql(*statements: str) -> Attack:
    """Change the batch by SQL, as somebody who can write the file would."""

    def attack(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            for statement in statements:
                db.execute(statement)

    return attack


def schema(change: str) -> Attack:
    """Change the text of the schema itself."""
    return sql("PRAGMA writable_schema = ON", f"UPDATE sqlite_master SET {change}")


def bytes_at(position: int, content: bytes) -> Attack:
    def attack(path: Path) -> None:
        old = path.read_bytes()
        path.write_bytes(old[:position] + content + old[position + len(content) :])

    return attack


def other_pixels(path: Path) -> None:
    png = cv2.imencode(".png", np.full((200, 200), 7, np.uint8))[1].tobytes()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE patches SET png = ? WHERE rowid = 1", [png])


def bomb(path: Path) -> None:
    """A PNG whose header asks for 100 GB of memory."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        png = bytearray(db.execute("SELECT png FROM patches").fetchone()[0])
        png[16:24] = (300_000).to_bytes(4) * 2
        db.execute("UPDATE patches SET png = ? WHERE rowid = 1", [bytes(png)])


def forged_label(path: Path) -> None:
    """Somebody else's answer under the id of a true one."""
    sql("UPDATE labels SET class = 'clean' WHERE rowid = 1")(path)


def wrong_type(path: Path) -> None:
    """Text in a column of whole numbers, past SQLite's own check."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        sound = db.execute("SELECT sql FROM sqlite_master WHERE name = 'flags'").fetchone()[0]
        loose = sound.replace("cycle INTEGER", "cycle TEXT")
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'flags'", [loose])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE flags SET cycle = 'one'")
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'flags'", [sound])


# What is changed inside the file: the name and the manifest are then made to fit it again, as a
# device that is in the wrong hands would. The words are those of the reason.
INSIDE: dict[str, tuple[Attack, str]] = {
    "not SQLite": (lambda path: path.write_bytes(b"PK\3\4" * 1000), "is not SQLite"),
    "empty": (lambda path: path.write_bytes(b""), "is not SQLite"),
    "zeros": (lambda path: path.write_bytes(bytes(100_000)), "is not SQLite"),
    "only a header": (
        lambda path: path.write_bytes(b"SQLite format 3\0"),
        "damaged|another schema",
    ),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:8192]), "damaged"),
    "a torn page": (bytes_at(8192, b"\xee" * 600), "damaged|another schema"),
    "random pages": (
        lambda path: path.write_bytes(
            path.read_bytes()[:100] + np.random.default_rng(0).bytes(90_000)
        ),
        "damaged|schema",
    ),
    "an extra table": (sql("CREATE TABLE more (x)"), "holds a table 'more'"),
    "a trigger": (
        sql("CREATE TRIGGER t AFTER INSERT ON labels BEGIN SELECT 1; END"),
        "holds a trigger 't'",
    ),
    "a view": (sql("CREATE VIEW v AS SELECT * FROM labels"), "holds a view 'v'"),
    "a view in place of a table": (
        sql("DROP TABLE scores", "CREATE VIEW scores AS SELECT 1 AS hour"),
        "holds a view 'scores'",
    ),
    "an index": (sql("CREATE INDEX i ON labels (id)"), "holds a index 'i'"),
    "a missing table": (sql("DROP TABLE events"), "another schema"),
    "a renamed column": (sql("ALTER TABLE labels RENAME operator TO who"), "another schema"),
    "a further column": (sql("ALTER TABLE labels ADD COLUMN x INTEGER"), "another schema"),
    "a looser table": (
        schema("sql = replace(sql, 'NOT NULL', '') WHERE name = 'labels'"),
        "another schema",
    ),
    "a generated column": (
        schema("sql = replace(sql, 'repeat INTEGER NOT NULL', 'repeat AS (1)')"),
        "damaged|another schema",
    ),
    "a virtual table": (
        schema("sql = 'CREATE VIRTUAL TABLE events USING fts5(x)' WHERE name = 'events'"),
        "damaged|another schema",
    ),
    "another kind of database": (sql("PRAGMA application_id = 7"), "is marked as format"),
    "another version of the format": (sql("PRAGMA user_version = 9"), "is marked as format 9"),
    "pixels of another patch": (other_pixels, "patches: its id is not that of its pixels"),
    "a picture of gigabytes": (bomb, "no grey PNG of 200"),
    "a picture that is none": (sql("UPDATE patches SET png = x'00'"), "no grey PNG of 200"),
    "an answer that was changed": (forged_label, "labels: its id is not its own"),
    "a frame that was changed": (sql("UPDATE frames SET sequence = 77"), "frames: its id is not"),
    "the batch of another device": (
        lambda path: shutil.copy(next(path.parent.parent.glob("box 1/*.db")), path),
        "holds a row of device 'box 1'",
    ),
    "rows of another device": (sql("UPDATE patches SET device = 'box 1'"), "its id is not that"),
    "text where numbers belong": (wrong_type, "damaged|flags: cycle"),
    "a NUL in a text": (
        sql("UPDATE events SET text = 'a' || char(0) || 'b'"),
        "events: text",
    ),
    "a line feed in a name": (
        sql("UPDATE flags SET predicted = 'a' || char(10) || 'b'"),
        "flags: predicted",
    ),
    "text that is no UTF-8": (
        sql("UPDATE events SET text = CAST(x'ff41fe' AS TEXT)"),
        "damaged",
    ),
    "an endless text": (sql("UPDATE events SET text = hex(zeroblob(1500000))"), "damaged|text"),
    "infinity": (sql("UPDATE flags SET score = 9e999"), "flags: score"),
    "a negative count": (sql("UPDATE counters SET frames = -1"), "counters: frames"),
    "an impossible probability": (
        sql("UPDATE flags SET draw_probability = 7 WHERE reason = 'audit'"),
        "flags: draw_probability",
    ),
    "an unknown reason": (sql("UPDATE flags SET reason = 'magic'"), "flags: reason"),
    "an unknown kind of answer": (sql("UPDATE labels SET answer = 'maybe'"), "labels: answer"),
    "JSON that goes in circles": (
        sql("UPDATE flags SET log_probabilities = replace(hex(zeroblob(9000)), '0', '[')"),
        "log_probabilities",
    ),
    "a flag of no patch": (sql("DELETE FROM patches WHERE rowid = 1"), "not in its patches"),
    "an answer of no patch": (
        sql("DELETE FROM flags", "DELETE FROM patches"), "labels names .*not in its patches",
    ),
    "a flag of no frame": (sql("DELETE FROM frames"), "flags names .*not in its frames"),
    "answers the manifest does not count": (sql("DELETE FROM labels"), "counts other answers"),
}  # fmt: skip


@pytest.mark.parametrize("name", INSIDE)
def test_a_batch_that_was_made_to_look_right(name: str, site: Settings) -> None:
    attack, reason = INSIDE[name]
    path = next(Path(site.exchange.url, "labels/box 2").glob("*.db"))
    old = path.with_suffix(".json")
    before = path.read_bytes()
    attack(path)
    assert path.read_bytes() != before
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = json.loads(old.read_bytes()) | {
        "sha256": sha256, "bytes": path.stat().st_size,
    }  # fmt: skip
    there = Path(site.exchange.url, batch_name("box 2", 1, sha256))
    path.rename(there.with_name(there.name + ".db"))
    there.with_name(there.name + ".json").write_text(json.dumps(manifest))
    old.unlink()
    refused(site, reason)


def zeros_and_manifest(path: Path, said: dict[str, Any]) -> None:
    zeros(path, 10 * 1024**3)
    manifest_of(path, said | {"bytes": 10 * 1024**3})


# What is changed on the exchange, by somebody who does not make the rest fit.
OUTSIDE: dict[str, tuple[Callable[[Path, dict[str, Any]], object], str]] = {
    "10 GB of zeros": (
        zeros_and_manifest,
        f"is of 10737418240 bytes; {LARGEST_BATCH} is the most",
    ),
    "10 GB of zeros behind a small batch": (
        lambda path, m: zeros(path, 10 * 1024**3),
        "is of 10737418240 bytes",
    ),
    "another digest": (
        lambda path, m: bytes_at(5000, b"x")(path), "bytes are not those of its digest",
    ),
    "truncated": (
        lambda path, m: path.write_bytes(path.read_bytes()[:-1]), "and its manifest says",
    ),
    "an endless manifest": (
        lambda path, m: zeros(path.with_suffix(".json"), 10**9), "manifest is larger than",
    ),
    "a manifest that is none": (
        lambda path, m: path.with_suffix(".json").write_text("<html>"), "is no manifest",
    ),
    "a manifest of brackets": (
        lambda path, m: path.with_suffix(".json").write_text("[" * 9000),
        "is no manifest",
    ),
    "a manifest with more": (
        lambda path, m: manifest_of(path, m | {"run": "rm"}), "its manifest is wrong: run",
    ),
    "another device in the manifest": (
        lambda path, m: manifest_of(path, m | {"device": "box 1"}), "is of device 'box 1'",
    ),
    "another sequence in the manifest": (
        lambda path, m: manifest_of(path, m | {"sequence": 2}), "is that of another batch",
    ),
    "a key that forges a line": (
        lambda path, m: manifest_of(path, m | {"x\nmerged": 1}), "its manifest is wrong: x merged",
    ),
    "a size that is no number": (
        lambda path, m: manifest_of(path, m | {"bytes": "many"}), "manifest is wrong: bytes",
    ),
}  # fmt: skip


def zeros(path: Path, size: int) -> None:
    with path.open("wb") as stream:
        stream.truncate(size)


def manifest_of(path: Path, said: dict[str, Any]) -> None:
    path.with_suffix(".json").write_text(json.dumps(said))


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_batch_that_was_changed_on_the_exchange(name: str, site: Settings) -> None:
    attack, reason = OUTSIDE[name]
    path = next(Path(site.exchange.url, "labels/box 2").glob("*.db"))
    attack(path, json.loads(path.with_suffix(".json").read_bytes()))
    refused(site, reason)


def refused(site: Settings, reason: str) -> None:
    """The batch of box 2 is refused for this reason and told; that of box 1 is merged."""
    done = merge(site)
    (batch,) = done.refused
    assert batch.device == "box 2"
    found = pytest.raises(AssertionError, match=reason)
    with found:
        raise AssertionError(batch.refused)
    assert "\n" not in batch.refused
    assert done.new_labels == 4
    assert rows(site.trainer.data, "SELECT DISTINCT device FROM patches") == [("box 1",)]
    assert rows(site.trainer.data, "SELECT DISTINCT device FROM fleet_counters") == [("box 1",)]
    events = rows(site.trainer.data, "SELECT kind, text FROM events")
    assert [kind for kind, _ in events] == ["batch-refused"]
    assert batch.refused in str(events[0][1])
    said = acknowledged(site.model_copy(update={"device": device_of(site, "box 2")}))
    assert (said.merged, [r.reason for r in said.refused]) == ([], [batch.refused])
    again = merge(site)  # decided once
    assert (again.batches, again.known) == ([], 2)
    assert not (site.trainer.data / ".batch").exists()


def device_of(site: Settings, name: str) -> Any:
    return site.device.model_copy(update={"name": name})


def test_names_that_are_none(site: Settings) -> None:
    folder = Path(site.exchange.url, "labels")
    for name in ("readme.json", "box 1/latest.json", "box 1/x/00000001-00.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    (folder / "box 1/orphan.db").write_bytes(b"its push died, and it was not committed")
    done = merge(site)
    assert done.new_labels == 8
    assert {batch.refused for batch in done.refused} == {"its name is not that of a batch"}
    assert len(done.refused) == 3


def test_what_a_newer_device_sends_waits_for_a_newer_trainer(site: Settings) -> None:
    path = next(Path(site.exchange.url, "labels/box 2").glob("*.json"))
    manifest = json.loads(path.read_bytes())
    path.write_text(json.dumps(manifest | {"format": 2, "colour": "blue"}))
    for _ in range(2):
        done = merge(site)
        assert "is of format 2: update this trainer" in done.waiting[0]
        assert not done.refused
    path.write_text(json.dumps(manifest))
    assert merge(site).new_labels == 4


def test_a_manifest_whose_batch_is_late_waits(site: Settings) -> None:
    path = next(Path(site.exchange.url, "labels/box 2").glob("*.db"))
    content = path.read_bytes()
    path.unlink()
    assert len(merge(site).waiting) == 1
    path.write_bytes(content)
    done = merge(site)
    assert (done.new_labels, done.waiting) == (4, [])


def test_a_batch_is_opened_without_believing_it(site: Settings) -> None:
    from trainer.open_batch import open_batch  # noqa: PLC0415

    path = next(Path(site.exchange.url, "labels/box 2").glob("*.db"))
    with open_batch(path) as batch:
        assert batch.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        for statement in (
            "ATTACH '/tmp/x' AS x", "INSERT INTO labels DEFAULT VALUES", "CREATE TABLE x (y)",
            "PRAGMA writable_schema = ON", "PRAGMA user_version = 9", "PRAGMA trusted_schema = ON",
            "SELECT load_extension('x')",
        ):  # fmt: skip
            with pytest.raises(sqlite3.DatabaseError):
                batch.execute(statement)


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
