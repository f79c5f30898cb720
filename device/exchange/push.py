"""The device's side of the exchange: push what is new, take in what was acknowledged.

A batch is made in the outbox, recorded in the store, sent, and followed by its manifest; whatever
dies in between is found by the next push and gone on with. Only what the trainer has acknowledged
counts as safe.
"""

import os
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from config.settings import Settings
from device.exchange.acknowledgement import (
    LARGEST_ACKNOWLEDGEMENT,
    NotTrusted,
    acknowledgement_name,
    trusted_keys,
    unseal,
)
from device.exchange.batch import (
    FORMAT,
    Manifest,
    batch_name,
    file_digest,
)
from device.exchange.collect import Collected, Marks, collect, marks, set_marks
from device.exchange.opening import open_place
from device.exchange.place import Missing, Place, TooLarge
from device.store.database import exclusive, open_store
from device.store.second_look import Doubt, add_doubts
from device.store.trail import add_event
from device.system.clock import stamp
from device.system.disk import need_disk
from device.system.durable import flush_folder
from device.system.locks import one_at_a_time
from device.system.owner import make_folder


class Pushed(NamedTuple):
    """What a push did."""

    batches: int
    """Sent now."""
    labels: int
    """In them."""
    patches: int
    bytes: int
    acknowledged: int
    """Batches that the trainer has merged since the last push."""
    refused: list[str]
    """Reasons of those it has refused since; what was in them is sent again."""
    waiting: int
    """Batches sent and not acknowledged yet, those of now included."""
    left_out: list[str]
    """What cannot be sent and why, a line each."""

    def lines(self) -> list[str]:
        """The same for people."""
        return [
            f"sent {self.batches} batches: {self.labels} answers, {self.patches} patches, "
            f"{self.bytes} bytes; {self.acknowledged} acknowledged, {self.waiting} waiting",
            *(f"refused, goes again: {reason}" for reason in self.refused),
            *(f"cannot be sent: {line}" for line in self.left_out),
        ]


def push(settings: Settings) -> Pushed:
    """Send everything new to the exchange.

    Raises:
        UserError: another push is running, the exchange cannot be reached or refuses, or the store
            cannot be opened. Running it again goes on where this one ended.
    """
    need_disk(settings)
    data = settings.device.data
    with one_at_a_time(data / "push.lock", "another push is running; wait until it has ended"):
        db = open_store(data)
        try:
            with open_place(settings.exchange) as place:
                return push_to(place, db, settings)
        finally:
            db.close()


def push_to(place: Place, db: Database, settings: Settings) -> Pushed:
    """`push`, over a place and a store that are open; the caller holds the lock."""
    outbox = settings.device.data / "outbox"
    acknowledged, refused = _take_in(place, db, settings)
    refused += _find_lost(place, db)
    make_folder(outbox)
    sent = _send_made(place, db, settings, outbox)
    left_out: list[str] = []
    full = True
    while full:  # and not until nothing is new: over a slow line something always is
        made = _make(db, settings, outbox)
        left_out += made.left_out
        new = _send_made(place, db, settings, outbox)
        sent += new
        full = made.full and bool(new)
    left_out = list(dict.fromkeys(left_out))
    with exclusive(db):
        for reason in refused:
            add_event(db, "batch-refused", reason)
        for line in left_out:
            told = "SELECT 1 FROM events WHERE kind = 'not-sent' AND text = ?"
            if db.execute(told, [line]).fetchone() is None:  # every push finds it again
                add_event(db, "not-sent", line)
    waiting = db.execute("SELECT count(*) FROM batches WHERE state = 'sent'").fetchone()[0]
    return Pushed(
        len(sent), sum(b.labels for b in sent), sum(b.patches for b in sent),
        sum(b.bytes for b in sent), acknowledged, refused, waiting, left_out,
    )  # fmt: skip


class _Batch(NamedTuple):
    """A row of `batches`, as far as it is needed."""

    sequence: int
    name: str
    bytes: int
    labels: int
    patches: int


def _batches(db: Database, state: str) -> list[_Batch]:
    rows = db.execute(
        "SELECT sequence, name, bytes, labels, patches FROM batches WHERE state = ? "
        "ORDER BY sequence",
        [state],
    ).fetchall()
    return [_Batch(*row) for row in rows]


def _take_in(place: Place, db: Database, settings: Settings) -> tuple[int, list[str]]:
    """Record what the trainer says; how many it has merged, and the reasons of those refused."""
    device = settings.device.name
    name = acknowledgement_name(device)
    try:
        said = unseal(place.get(name, LARGEST_ACKNOWLEDGEMENT), trusted_keys(settings))
    except Missing:
        return 0, []
    except TooLarge:
        return 0, [f"{place.where}: {name} is too large; nothing counts as merged by it"]
    except NotTrusted as error:
        return 0, [f"{place.where}: {name} {error}; nothing counts as merged by it"]
    if said.device != device or said.format != FORMAT:
        return 0, [f"{place.where}: {name} is for {said.device!r}, format {said.format}; ignored"]
    reasons = {refusal.name: refusal.reason for refusal in said.refused}
    count, refused = 0, []
    with exclusive(db):
        add_doubts(db, (Doubt(d.patch_id, d.label_id, d.reason) for d in said.doubts))
        for name in said.merged:
            count += db.execute(
                "UPDATE batches SET state = 'acknowledged', reason = '' "
                "WHERE name = ? AND state != 'acknowledged'",
                [name],
            ).rowcount
        for batch in [*_batches(db, "made"), *_batches(db, "sent")]:
            if batch.name in reasons:
                _send_again(db, batch, reasons[batch.name])
                refused.append(f"batch {batch.sequence}: {reasons[batch.name]}")
    return count, refused


def _find_lost(place: Place, db: Database) -> list[str]:
    """Batches that were sent, are not acknowledged, and are gone: what was in them goes again."""
    lost = []
    for batch in _batches(db, "sent"):
        if place.size(f"{batch.name}.json") is None or (
            place.size(f"{batch.name}.db") != batch.bytes
        ):
            reason = f"{place.where} has lost it"
            with exclusive(db):
                _send_again(db, batch, reason)
            lost.append(f"batch {batch.sequence}: {reason}")
    return lost


def _send_again(db: Database, batch: _Batch, reason: str) -> None:
    """What was in a batch goes with the next one; in the caller's transaction."""
    begin = Marks.model_validate_json(
        db.execute("SELECT begin FROM batches WHERE sequence = ?", [batch.sequence]).fetchone()[0]
    )
    db.execute("DELETE FROM sent_labels WHERE batch = ?", [batch.sequence])
    db.execute(
        "UPDATE batches SET state = 'refused', reason = ? WHERE sequence = ?",
        [reason, batch.sequence],
    )
    set_marks(db, marks(db).earlier(begin))


def _make(db: Database, settings: Settings, outbox: Path) -> Collected:
    """Make a batch of what is new, if anything is; what it holds.

    The file is on the disk before the store knows of it, and a file that it does not know of was
    left by a push that died: it is removed.
    """
    device = settings.device.name
    known = {f"{Path(batch.name).name}.db" for batch in _batches(db, "made")}
    for file in outbox.iterdir():
        if file.name not in known:
            file.unlink()
    making = outbox / ".making"
    collected = collect(db, making, device)
    if not collected.rows:
        making.unlink()
        return collected
    sequence = db.execute("SELECT coalesce(max(sequence), 0) + 1 FROM batches").fetchone()[0]
    name = batch_name(device, sequence, file_digest(making))
    _settle(making, outbox / f"{Path(name).name}.db")
    with exclusive(db):
        db.execute(
            "INSERT INTO batches VALUES (?, ?, 'made', '', ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                sequence, name, (outbox / f"{Path(name).name}.db").stat().st_size,
                len(collected.labels), collected.patches, marks(db).model_dump_json(), *stamp(),
            ],
        )  # fmt: skip
        db.conn.executemany(
            "INSERT INTO sent_labels VALUES (?, ?)", [(i, sequence) for i in collected.labels]
        )
        set_marks(db, collected.until)
    return collected


def _settle(made: Path, file: Path) -> None:
    """Bring a finished file to its name, so that it survives a power cut."""
    with made.open("rb") as stream:
        os.fsync(stream.fileno())
    made.replace(file)
    flush_folder(file.parent)


def _send_made(place: Place, db: Database, settings: Settings, outbox: Path) -> list[_Batch]:
    """Send the batches that were made: the file, then its manifest."""
    sent = []
    for batch in _batches(db, "made"):
        file = outbox / f"{Path(batch.name).name}.db"
        sha256 = batch.name.rpartition("-")[2]
        if not file.is_file() or file_digest(file) != sha256:
            with exclusive(db):
                _send_again(db, batch, f"{file} is damaged")
            continue
        place.put(f"{batch.name}.db", file)
        manifest = Manifest(
            format=FORMAT,
            device=settings.device.name,
            sequence=batch.sequence,
            sha256=sha256,
            bytes=batch.bytes,
            labels=batch.labels,
            patches=batch.patches,
            written_ns=stamp().wall_ns,
            code_version=version("millsight"),
        )
        place.put(f"{batch.name}.json", manifest.model_dump_json().encode())
        with exclusive(db):
            db.execute("UPDATE batches SET state = 'sent' WHERE sequence = ?", [batch.sequence])
        file.unlink()
        sent.append(batch)
    return sent
