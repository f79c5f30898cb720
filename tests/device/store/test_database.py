"""The store: what it refuses, and what it never loses."""

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from config.document import to_toml, without_passwords
from config.errors import UserError
from config.settings import Asking, Camera, OpencvSource, Settings
from device.judging.model import load_model
from device.models.activation import activate
from device.models.models_in_use import in_force
from device.store import schema
from device.store.answers import add_label, labelled_patches, waiting
from device.store.counters import add_counts
from device.store.database import STORE_FILE, explain_errors, get_state, open_store, set_state
from device.store.pictures import decode_png, encode_png
from device.store.trail import record_settings
from device.system.clock import CLOCK_OK_FROM_NS, stamp
from tests.device.conftest import MakeModel


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        open_store(folder)
    text = str(error.value)
    assert str(folder) in text
    assert "\n" not in text
    return text


def test_a_new_store_is_durable_and_empty(tmp_path: Path) -> None:
    db = open_store(tmp_path / "made")
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert in_force(db) == (0, None, 1, "", "")
    assert waiting(db, {"": (9, 54)}) == []
    assert len(labelled_patches(db).ids) == 0
    db.close()


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    db = open_store(tmp_path)
    assert in_force(db).cycle == 1
    db.close()


def test_a_store_of_a_newer_program_is_refused_and_untouched(tmp_path: Path) -> None:
    db = open_store(tmp_path)
    db.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
        "VALUES ('millsight', 'm999_future', 'later')"
    )
    db.close()
    before = (tmp_path / STORE_FILE).read_bytes()
    text = refusal(tmp_path)
    assert "newer millsight (m999_future)" in text
    assert "update this program" in text
    assert (tmp_path / STORE_FILE).read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / STORE_FILE).write_text("not a database, but somebody's file" * 100)
    assert "damaged" in refusal(tmp_path)
    assert (tmp_path / STORE_FILE).read_text().startswith("not a database, but")


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    path = tmp_path / STORE_FILE
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 200_000)
    assert "damaged" in refusal(tmp_path)


def test_a_data_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "data folder cannot be made" in refusal(tmp_path / "file" / "data")


@pytest.mark.parametrize("made_before", [False, True])
def test_a_read_only_disk_is_named_and_nothing_is_lost(small_disk: Path, made_before: bool) -> None:
    data = small_disk / "data"
    if made_before:
        db = open_store(data)
        set_state(db, "dear", 1)
        db.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        with pytest.raises(UserError, match=r"device\.data|data folder") as error:
            open_store(data)
        assert str(data) in str(error.value)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    if made_before:
        db = open_store(data)
        assert get_state(db, "dear") == 1
        db.close()


def test_a_store_held_by_another_program_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(tmp_path).close()
    monkeypatch.setattr("device.store.database.BUSY_TIMEOUT_S", 0.1)
    other = sqlite3.connect(tmp_path / STORE_FILE)
    other.execute("BEGIN IMMEDIATE")
    db = open_store(tmp_path)  # reading is possible all the time
    with pytest.raises(UserError, match="locked: another program"), explain_errors(tmp_path):
        set_state(db, "key", 1)
    db.close()
    other.close()


def test_every_migration_is_recorded(tmp_path: Path) -> None:
    db = open_store(tmp_path)
    applied = [m.name for m in schema.migrations.applied(db)]
    assert applied == [m.name for m in schema.migrations._migrations]
    db.close()


def test_counters_add_up_and_state_is_replaced(tmp_path: Path) -> None:
    db = open_store(tmp_path)
    key = (1, "m", "r", "pass", "clean", "", "")
    add_counts(db, [(key, 2), ((1, "m", "r", "fail", "scratch", "", ""), 1)])
    add_counts(db, [(key, 3)])
    counts = db.execute("SELECT verdict, frames FROM counters ORDER BY verdict").fetchall()
    assert counts == [("fail", 1), ("pass", 5)]
    set_state(db, "loop", {"frames": 1})
    set_state(db, "loop", {"frames": 2})
    assert get_state(db, "loop") == {"frames": 2}
    assert get_state(db, "other") is None
    db.close()


def test_a_label_for_an_unknown_patch_is_refused(tmp_path: Path) -> None:
    db = open_store(tmp_path)
    with pytest.raises(UserError, match="not in the store"):
        add_label(db, "0" * 64, "scratch", "anna")
    db.close()


def test_pixels_survive_storage(plates: np.ndarray) -> None:
    for plate in (*plates[:8], np.zeros((200, 200), np.uint8)):
        np.testing.assert_array_equal(decode_png(encode_png(plate), "id"), plate)
    with pytest.raises(UserError, match="patch id: its stored picture is damaged"):
        decode_png(b"\x89PNG", "id")


def test_a_clock_before_2026_is_marked() -> None:
    assert stamp(wall_ns=0).clock_ok == 0
    assert stamp(wall_ns=CLOCK_OK_FROM_NS).clock_ok == 1
    assert stamp().clock_ok == 1


def test_activation_keeps_the_file_records_baselines_and_begins_a_cycle(
    settings: Settings, make_model: MakeModel
) -> None:
    db = open_store(settings.device.data)
    file = make_model(thresholds=[0.5, None, 0.5, 0.5])
    model = activate(db, file, settings, "test")
    assert in_force(db) == (1, model.id, 2, "", "")
    kept = settings.device.data / "models" / f"{model.id}.onnx"
    assert kept.read_bytes() == file.read_bytes()
    rows = db.execute(
        "SELECT class, count, threshold FROM baselines WHERE model_id = ? ORDER BY class_index",
        [model.id],
    ).fetchall()
    assert [row[0] for row in rows] == settings.recipe.classes
    assert [row[2] for row in rows] == [0.5, None, 0.5, 0.5]
    assert sum(row[1] for row in rows) == 120
    activate(db, file, settings, "again")
    assert in_force(db) == (2, model.id, 3, "", "")
    assert load_model(kept).id == model.id
    db.close()


def test_a_model_for_other_classes_is_not_activated(
    settings: Settings, make_model: MakeModel
) -> None:
    db = open_store(settings.device.data)
    file = make_model(pass_classes=["clean", "patch"])
    with pytest.raises(UserError, match="use the matching model, or retrain"):
        activate(db, file, settings, "test")
    assert in_force(db) == (0, None, 1, "", "")
    assert not (settings.device.data / "models").exists()
    db.close()


def test_a_command_on_a_full_disk_ends_in_one_line(
    small_disk: Path, plates: np.ndarray, settings: Settings
) -> None:
    config = small_disk / "millsight.toml"
    device = settings.device.model_copy(update={"data": small_disk / "data"})
    config.write_text(to_toml(settings.model_copy(update={"device": device})))
    db = open_store(small_disk / "data")
    db.execute(
        "INSERT INTO patches VALUES ('p', 'box', 0, 0, 200, 200, ?, NULL, NULL)",
        [encode_png(plates[0])],
    )
    db.close()
    with (small_disk / "more").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(4096))
    command = ["device", "label", "p", "scratch", "--operator", "anna", "-c", str(config)]
    result = subprocess.run(
        [sys.executable, "-m", "millsight", *command], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "full" in result.stderr
    assert "what is stored is safe" in result.stderr


def test_settings_recorded_with_comments_by_an_older_version_are_the_same(tmp_path: Path) -> None:
    db = open_store(tmp_path)
    settings = Settings(asking=Asking(k=7))
    old = to_toml(settings)
    db.execute(
        "INSERT INTO settings_in_force (digest, toml, wall_ns, monotonic_ns, boot_id, clock_ok) "
        "VALUES ('old', ?, 0, 0, '', 1)",
        [old],
    )
    record_settings(db, settings)
    assert db.execute("SELECT count(*) FROM settings_in_force").fetchone()[0] == 1
    record_settings(db, Settings(asking=Asking(k=8)))
    acts = db.execute("SELECT action, subject FROM audit_trail").fetchall()
    assert acts == [("changed settings", "k = 8")]
    db.close()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:s3same@camera/1", "rtsp://***@camera/1"),
        ("http://camera/v?user=me&pwd=s3same&n=1", "http://camera/v?user=me&pwd=***&n=1"),
        ("http://camera/v?Password=s3same", "http://camera/v?Password=***"),
        ("http://camera/v?access_token=s3same'", "http://camera/v?access_token=***'"),
        ("http://camera/v?channel=1&width=640", "http://camera/v?channel=1&width=640"),
    ],
)
def test_the_password_of_an_address_is_not_shown(address: str, shown: str) -> None:
    assert without_passwords(f"address = {address}") == f"address = {shown}"


def test_settings_are_recorded_when_they_change_and_without_passwords(tmp_path: Path) -> None:
    db = open_store(tmp_path)
    before = Settings(camera=Camera(opencv=OpencvSource(address="rtsp://me:s3same@camera/1")))
    after = before.model_copy(update={"asking": Asking(k=7)})
    for settings in (before, before, after, after):
        record_settings(db, settings)
    texts = [row[0] for row in db.execute("SELECT toml FROM settings_in_force ORDER BY id")]
    assert len(texts) == 2
    assert "k = 7" in texts[1]
    acts = db.execute("SELECT action, subject FROM audit_trail").fetchall()
    assert acts == [("changed settings", "k = 7")]
    assert "rtsp://***@camera/1" in texts[0]
    assert not [text for text in texts if "s3same" in text]
    db.close()
