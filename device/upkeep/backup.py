"""Copies of the store in a second place, made while everything runs, and brought back.

A copy is a folder: the store, the files of the models that may be gone back to, and a list of
SHA-256 sums that is written last. What is not listed, or not as listed, is no copy.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from camera.source import Event
from config.errors import UserError
from config.settings import Settings
from device.exchange.collect import number_anew
from device.models.activation import model_path
from device.models.models_in_use import models_in_force
from device.store.answers_log import put_back_answers
from device.store.carry_over import carry_over_answers
from device.store.database import STORE_FILE, exclusive, open_store, set_state
from device.store.live import live_path, read_live
from device.store.swap import LOCK, finish_swap, put_in_place, verify_store
from device.store.trail import add_action
from device.system.clock import stamp
from device.system.disk import MB, free_bytes, need_disk
from device.system.durable import flush_folder, write_durably
from device.system.locks import one_at_a_time

LIST = "SHA256.json"
STATE = "backup"
STEP_PAGES = 256
"""Pages copied at once: others write between two steps."""


class Copy(NamedTuple):
    """A copy that is whole by its list."""

    folder: Path
    wall_ns: int
    labels: int
    bytes: int


def copies(settings: Settings) -> list[Copy]:
    """The copies there are, the latest first; none where no folder is set or it is away.

    Last come those of a moment that is still to come: the clock was wrong then.
    """
    folder = settings.backup.folder
    found = []
    for path in folder.glob("millsight-*") if folder is not None and folder.is_dir() else ():
        try:
            said = json.loads((path / LIST).read_text(encoding="utf-8"))
            found.append(Copy(path, said["wall_ns"], said["labels"], said["bytes"]))
        except (OSError, ValueError, KeyError):
            continue  # one that was not finished
    now = time.time_ns()
    return sorted(found, key=lambda c: (c.wall_ns <= now, c.wall_ns, c.folder.name), reverse=True)


def back_up(settings: Settings, db: Database) -> Copy:
    """Make a copy now, and remove the oldest over `backup.keep`.

    Raises:
        UserError: no folder is set, its disk is missing, has no room, or fails, or the store is
            damaged: a damaged one takes no good copy's place.
    """
    folder = _folder_of(settings)
    with one_at_a_time(settings.device.data / "backup.lock", "another copy is being made; wait"):
        try:
            _drop_parts(folder)  # first: it may be what takes the room
            copy = _copy(settings, db, folder)
            for old in [*copies(settings)[settings.backup.keep :]]:
                shutil.rmtree(old.folder)
        except sqlite3.OperationalError as error:  # SQLite's words for a disk that fails
            with contextlib.suppress(OSError):
                _drop_parts(folder)
            raise UserError(f"{folder}: no copy was made: {error}") from None
        except OSError as error:
            where = error.filename or folder
            raise UserError(f"{where}: no copy was made: {error.strerror}") from None
    with exclusive(db):
        set_state(db, STATE, {"wall_ns": copy.wall_ns, "bytes": copy.bytes})
    return copy


def restore(settings: Settings, copy: Path | None, who: str) -> str:
    """Put a copy in the place of the store; what was done, in a line.

    Answers that are in the present store and not in the copy are carried over, as far as the
    present store can be read. It is set aside, not deleted.

    Raises:
        UserError: the inspection runs, there is no such copy, it is damaged, or there is no room.
    """
    need_disk(settings)
    data = settings.device.data
    found = next(iter(copies(settings)), None)
    folder = copy or (found.folder if found else None)
    if folder is None:
        raise UserError(f"{settings.backup.folder or 'backup.folder'}: no copy is there")
    if (loop := read_live(live_path(settings), watching=False).loop) and loop["running"]:
        raise UserError("the inspection is running; stop it first: systemctl stop millsight.target")
    _verify(folder)
    fresh = data / "restoring" / STORE_FILE
    with one_at_a_time(data / LOCK, "the store is being mended; wait until it is"):
        try:
            finish_swap(data)  # that a power cut interrupted: what it left here is the store
            shutil.rmtree(fresh.parent, ignore_errors=True)
            fresh.parent.mkdir()
            shutil.copyfile(folder / STORE_FILE, fresh)
            for file in (folder / "models").glob("*.onnx"):
                write_durably(model_path(data, file.stem), file.read_bytes())
        except OSError as error:
            raise UserError(f"{fresh.parent}: not restored: {error.strerror}") from None
        if (wrong := verify_store(fresh)) is not None:
            raise UserError(f"{folder / STORE_FILE}: damaged ({wrong}); take another copy")
        open_store(fresh.parent).close()  # an earlier program's: it gets the tables of this one
        carried = carry_over_answers(fresh, data / STORE_FILE)
        db = open_store(fresh.parent)
        carried += put_back_answers(db, data, settings.device.name)
        with exclusive(db):  # before it is in place: a power cut after that leaves nothing undone
            number_anew(db)
            add_action(db, who, "restored a copy", str(folder))
        db.close()
        aside = put_in_place(data, fresh, "before-restore")
        _give_to_owner(data)
    kept = f"; the store before is {aside.name}" if aside else ""
    return f"{folder.name} is in place, {carried} answers carried over{kept}"


def _give_to_owner(data: Path) -> None:
    """Of root, who restores: what lies in the data folder is for the user that the services are."""
    if os.geteuid() == 0:
        owner = data.stat()
        for path in data.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # somebody's file of a moment
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _drop_parts(folder: Path) -> None:
    """Remove what there is of copies that were not finished."""
    for part in folder.glob(".millsight-*"):
        shutil.rmtree(part)


def _folder_of(settings: Settings) -> Path:
    folder = settings.backup.folder
    if folder is None:
        raise UserError("backup.folder: not set; name a folder on another disk")
    if settings.backup.must_be_mount and not _is_on_a_mount(folder):
        raise UserError(
            f"{folder}: no disk is mounted there, and backup.must_be_mount says that one must be"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: no copy was made: {error.strerror}") from None
    return folder


def _is_on_a_mount(folder: Path) -> bool:
    """Whether a disk other than the root disk is mounted on a folder or above it."""
    return any(one.is_mount() for one in [folder, *folder.parents][:-1])


def _copy(settings: Settings, db: Database, folder: Path) -> Copy:
    data = settings.device.data
    needed = (data / STORE_FILE).stat().st_size
    if free_bytes(folder) < needed * 1.1:
        raise UserError(
            f"{folder}: {free_bytes(folder) // MB} MB free, a copy needs {needed // MB} MB; free "
            "some space, or lower backup.keep"
        )
    now = stamp()
    name = time.strftime("millsight-%Y%m%d-%H%M%S", time.gmtime(now.wall_ns / 1e9))
    part = folder / f".{name}"
    shutil.rmtree(part, ignore_errors=True)
    (part / "models").mkdir(parents=True)
    with closing(sqlite3.connect(part / STORE_FILE)) as target:
        with _one_moment(db):
            db.conn.backup(target, pages=STEP_PAGES, sleep=0.005)
        target.execute("PRAGMA journal_mode = DELETE")  # a copy is one file
        labels = target.execute("SELECT count(*) FROM labels").fetchone()[0]
    if (wrong := verify_store(part / STORE_FILE)) is not None:
        shutil.rmtree(part)
        raise UserError(f"{data / STORE_FILE}: damaged ({wrong}), so no copy was made of it")
    for model_id in set(models_in_force(db).values()):
        file = model_path(data, model_id)
        if file.is_file():
            shutil.copyfile(file, part / "models" / file.name)
    sums = {str(file.relative_to(part)): _digest(file) for file in sorted(_files(part))}
    size = sum(file.stat().st_size for file in _files(part))
    said = {"wall_ns": now.wall_ns, "labels": labels, "bytes": size, "sha256": sums}
    for file in _files(part):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    write_durably(part / LIST, json.dumps(said, indent=1).encode())
    flush_folder(part / "models")
    whole = folder / name
    number = 2
    while whole.exists():  # two within a second, or a clock that went back
        whole = folder / f"{name}-{number}"
        number += 1
    part.rename(whole)
    flush_folder(folder)
    return Copy(whole, now.wall_ns, labels, size)


@contextmanager
def _one_moment(db: Database) -> Iterator[None]:
    """Read the store as it is now, whatever is written meanwhile.

    Without it SQLite begins the copy again whenever somebody else has written between two steps,
    so that of a large store or at full speed it would never end.
    """
    db.execute("BEGIN")
    try:
        db.execute("SELECT 1 FROM state").fetchone()  # from here on
        yield
    finally:
        db.execute("ROLLBACK")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _verify(folder: Path) -> None:
    """Refuse a copy that is not as its list says.

    Raises:
        UserError: it has no list, or a file is missing or was changed.
    """
    try:
        sums = json.loads((folder / LIST).read_text(encoding="utf-8"))["sha256"]
        wrong = [name for name, digest in sums.items() if _digest(folder / name) != digest]
        if STORE_FILE not in sums:
            wrong.append(STORE_FILE)
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder}: no whole copy; `millsight device backup --list`") from None
    if wrong:
        raise UserError(f"{folder}: {wrong[0]} is damaged; take another copy")


def event_of(copy: Copy) -> Event:
    """What to report of a copy."""
    return Event("backup", f"{copy.folder}: {copy.bytes / 1e6:.1f} MB, {copy.labels} answers")
