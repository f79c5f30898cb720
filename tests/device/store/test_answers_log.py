"""The second place for answers: what a store lacks is put back, and what is safe is removed."""

import contextlib
import random
from pathlib import Path

import pytest

from config.settings import Settings
from device.store import answers_log
from device.store.answers import CLASS, UNDONE, add_answer, add_label, is_labelled
from device.store.answers_log import FILE, logged_answers, put_back_answers, trim_log
from device.store.database import STORE_FILE, open_store
from device.upkeep.tidy import tidy
from tests.filled import answer, device_settings, fill, rows


@pytest.fixture
def box(tmp_path: Path) -> Settings:
    """A device with twelve patches, of which eight were answered."""
    settings = device_settings(tmp_path, "box")
    answer(settings, fill(settings, 12)[:8])
    return settings


def test_a_store_gets_back_the_answers_that_it_lacks(box: Settings, tmp_path: Path) -> None:
    whole = rows(box.device.data, "SELECT * FROM labels ORDER BY id")
    assert [tuple(row) for row in sorted(logged_answers(box.device.data))] == whole
    empty = open_store(tmp_path / "new")
    assert put_back_answers(empty, box.device.data, "box") == 8
    assert put_back_answers(empty, box.device.data, "box") == 0
    empty.close()
    assert rows(tmp_path / "new", "SELECT * FROM labels ORDER BY id") == whole
    assert rows(tmp_path / "new", "SELECT count(*) FROM patches WHERE png = x''") == [(8,)]


def test_what_is_put_back_does_not_count_again_over_later_answers(box: Settings) -> None:
    db = open_store(box.device.data)
    patch, other = (row[0] for row in db.execute("SELECT patch_id FROM labels LIMIT 2").fetchall())
    first = add_answer(db, patch, CLASS, "patch", "ben")
    add_answer(db, other, CLASS, "clean", "ben")
    add_answer(db, patch, UNDONE, None, "ben")
    before = db.execute("SELECT id FROM labels WHERE patch_id = ? ORDER BY rowid", [patch])
    expected = before.fetchall()
    db.execute("DELETE FROM labels WHERE id = ?", [first])  # as damage does
    db.conn.commit()
    assert put_back_answers(db, box.device.data, "box") == 1
    after = db.execute("SELECT id FROM labels WHERE patch_id = ? ORDER BY rowid", [patch])
    assert after.fetchall() == expected
    assert not is_labelled(db, patch)
    assert is_labelled(db, other)
    assert put_back_answers(db, box.device.data, "box") == 0
    db.close()


@pytest.mark.parametrize("seed", range(5))
def test_a_damaged_log_gives_what_can_be_read(box: Settings, tmp_path: Path, seed: int) -> None:
    path, rng = box.device.data / FILE, random.Random(seed)
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    content[at : at + 30] = rng.randbytes(30)
    path.write_bytes(content[: rng.randrange(at, len(content))])
    db = open_store(box.device.data)
    add_label(db, db.execute("SELECT patch_id FROM labels").fetchone()[0], "patch", "ben")
    db.close()
    last = logged_answers(box.device.data)[-1]
    assert last[3:5] == ["patch", "ben"]  # whatever stood before it
    empty = open_store(tmp_path / "new")
    assert put_back_answers(empty, box.device.data, "box") >= 1
    empty.close()


def test_an_answer_stands_where_the_log_cannot_be_written(box: Settings) -> None:
    (box.device.data / FILE).unlink()
    (box.device.data / FILE).mkdir()
    answer(box, [str(row[0]) for row in rows(box.device.data, "SELECT id FROM patches LIMIT 1")])
    assert rows(box.device.data, "SELECT count(*) FROM labels") == [(9,)]
    tidy(box, lambda _event: None)


def test_what_the_trainer_has_is_removed_from_a_large_log(
    box: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = open_store(box.device.data)
    ids = [row[0] for row in db.execute("SELECT id FROM labels ORDER BY id")]
    with db.atomic():
        db.execute(
            "INSERT INTO batches (sequence, name, state, reason, bytes, labels, patches, "
            "begin, wall_ns, monotonic_ns, boot_id, clock_ok) "
            "VALUES (1, 'b', 'acknowledged', '', 1, 5, 5, '{}', 1, 1, '', 1)"
        )
        for one in ids[:5]:
            db.execute("INSERT INTO sent_labels VALUES (?, 1)", [one])
        assert trim_log(db, box.device.data, 400) == -1  # small enough as it is
        monkeypatch.setattr(answers_log, "TRIM_FROM", 100)
        assert trim_log(db, box.device.data, 400) == 3
    assert sorted(row[0] for row in logged_answers(box.device.data)) == ids[5:]
    with db.atomic():  # a row that the store lost without anybody knowing yet
        db.execute("DELETE FROM labels WHERE id = ?", [ids[7]])
        assert trim_log(db, box.device.data, 400) == 3
        assert trim_log(db, box.device.data, -1) == 2
    db.close()


def test_a_large_log_on_a_full_disk_is_trimmed_later(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_disk / "ballast").unlink()
    box = device_settings(small_disk, "box", keeping={"floor_mb": 1})
    answer(box, fill(box, 4))
    before = logged_answers(box.device.data)
    monkeypatch.setattr(answers_log, "TRIM_FROM", 100)
    db = open_store(box.device.data)
    with db.atomic():
        db.execute("SELECT 1 FROM labels").fetchone()
        with (
            (small_disk / "ballast").open("wb", buffering=0) as stream,
            contextlib.suppress(OSError),
        ):
            while True:
                stream.write(bytes(4096))
        assert trim_log(db, box.device.data, 400) == -1
        (small_disk / "ballast").unlink()
        assert trim_log(db, box.device.data, 400) == 4
    db.close()
    assert logged_answers(box.device.data) == before


def test_a_store_that_is_all_noise_gives_back_every_answer(box: Settings) -> None:
    path = box.device.data / STORE_FILE
    path.write_bytes(random.Random(0).randbytes(path.stat().st_size))
    kinds: list[str] = []
    tidy(box, lambda event: kinds.append(event.kind))
    assert "store-mended" in kinds
    assert rows(box.device.data, "SELECT count(*) FROM labels") == [(8,)]
