"""Merges what the devices have pushed into the trainer's own store, each batch exactly once.

A batch is merged in one transaction together with the record that it was; then it is
acknowledged. Whatever dies in between is made good by merging again. A batch that cannot be
trusted is refused, told, and stops no other.
"""

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from securesystemslib.signer import Signer
from sqlite_utils import Database

from config.errors import UserError
from config.settings import Settings
from device.exchange.acknowledgement import (
    LARGEST_ACKNOWLEDGEMENT,
    Acknowledgement,
    Doubted,
    NotTrusted,
    Refusal,
    acknowledgement_name,
    seal,
    signed_by,
    unseal,
)
from device.exchange.batch import (
    BATCH_NAME,
    FORMAT,
    LARGEST_BATCH,
    LARGEST_MANIFEST,
    TABLES,
    Manifest,
    file_digest,
    insert_statement,
)
from device.exchange.collect import reason_of
from device.exchange.opening import open_place
from device.exchange.place import NAME, Entry, Missing, Place, TooLarge
from device.store.database import STORE_FILE, exclusive, explain_errors, open_store
from device.store.second_look import open_doubts
from device.store.trail import add_event
from device.system.clock import stamp
from device.system.locks import one_at_a_time
from trainer.labels.open_batch import BatchRefused, open_batch, rows_of
from trainer.publishing.keys import signers

SKEW_TOLD_S = 60.0
"""A device's clock that is wrong by more is told."""
CLOCK = "acknowledged/clock"
"""Put to see the time of the place, in a folder of the trainer's: beside it may lie what only the
disk's owner can read."""
MANY_BATCHES = 10_000
"""Batches of a device that an acknowledgement tells of: the last ones."""


@dataclass(frozen=True, slots=True)
class MergedBatch:
    """What came of one batch."""

    name: str
    device: str
    labels: int
    new_labels: int
    refused: str
    """Why it was not merged; empty: it was."""


@dataclass(slots=True)
class Merged:
    """What a merge did."""

    batches: list[MergedBatch] = field(default_factory=list)
    """Those that were new."""
    known: int = 0
    """Batches that were merged or refused before."""
    waiting: list[str] = field(default_factory=list)
    """What could not be decided now, a line each: it is looked at again next time."""
    skew_s: dict[str, float] = field(default_factory=dict)
    """Clock of each device less that of this machine, in seconds, from its last new batch."""

    @property
    def refused(self) -> list[MergedBatch]:
        """The new batches that were not merged."""
        return [batch for batch in self.batches if batch.refused]

    @property
    def new_labels(self) -> int:
        """Answers that came."""
        return sum(batch.new_labels for batch in self.batches)

    def lines(self) -> list[str]:
        """For people."""
        merged = len(self.batches) - len(self.refused)
        return [
            f"merged {merged} batches: {self.new_labels} new answers; {self.known} known before",
            *(f"refused {batch.name}: {batch.refused}" for batch in self.refused),
            *(f"not yet {line}" for line in self.waiting),
            *(
                f"clock of {device}: {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
                for device, skew in self.skew_s.items()
                if abs(skew) > SKEW_TOLD_S
            ),
        ]

    def as_json(self) -> dict[str, Any]:
        """For the night's report."""
        return asdict(self) | {"new_labels": self.new_labels}


def merge(settings: Settings) -> Merged:
    """Merge all batches of the exchange into the trainer's store, and acknowledge them.

    Raises:
        UserError: another merge is running, the exchange cannot be reached, or the store cannot be
            written. Running it again goes on where this one ended.
    """
    folder = settings.trainer.data
    with one_at_a_time(folder / "merge.lock", "another merge is running; wait until it has ended"):
        db = open_store(folder)
        try:
            with open_place(settings.exchange) as place, explain_errors(folder / STORE_FILE):
                return merge_from(place, db, folder, signers(settings)("timestamp"))
        finally:
            db.close()


def merge_from(place: Place, db: Database, folder: Path, keys: Sequence[Signer]) -> Merged:
    """`merge`, from a place into a store that are open; the caller holds the lock.

    `folder` takes the file of one batch at a time; `keys` sign the acknowledgements.
    """
    done = Merged()
    decided = {row[0] for row in db.execute("SELECT name FROM merges")}
    entries = {entry.name: entry for entry in place.list("labels")}
    names = {name.removesuffix(".json") for name in entries if name.endswith(".json")}
    done.known = len(names & decided)
    ours = _clock_behind(place) if names - decided else 0.0
    for name in sorted(names - decided):
        skew: float | None = None
        try:
            manifest = _read_manifest(place, name)
            if (found := entries.get(f"{name}.db")) is None:
                done.waiting.append(f"{name}: its manifest is there and it is not")
                continue
            skew = manifest.written_ns / 1e9 - entries[f"{name}.json"].modified + ours
            batch = _merge_one(place, db, folder, manifest, found, skew)
        except _NotYet as reason:
            done.waiting.append(f"{name}: {reason}")
            continue
        except BatchRefused as reason:
            batch = _record_refusal(db, name, str(reason))
        done.batches.append(batch)
        if skew is not None and not batch.refused:
            done.skew_s[batch.device] = skew
    acknowledge_all(place, db, keys)
    return done


def acknowledge_all(place: Place, db: Database, keys: Sequence[Signer]) -> None:
    """Tell every device what it has not been told yet, signed with the `timestamp` keys."""
    for (device,) in db.execute("SELECT DISTINCT device FROM merges ORDER BY device").fetchall():
        if NAME.fullmatch(device):  # else it is none: a folder that somebody made by hand
            acknowledge(place, db, device, keys)


def acknowledge(place: Place, db: Database, device: str, keys: Sequence[Signer]) -> None:
    """Tell a device what came of its batches and which of its labels to ask again, where it has
    not been told yet, or with keys that are no longer in use."""
    rows = db.execute(
        "SELECT name, outcome, reason FROM merges WHERE device = ? ORDER BY rowid DESC LIMIT ?",
        [device, MANY_BATCHES],
    ).fetchall()[::-1]
    said = Acknowledgement(
        format=FORMAT,
        device=device,
        merged=[name for name, outcome, _ in rows if outcome == "merged"],
        refused=[
            Refusal(name=n, reason=reason) for n, outcome, reason in rows if outcome != "merged"
        ],
        doubts=[Doubted(**doubt._asdict()) for doubt in open_doubts(db, device)],
        written_ns=stamp().wall_ns,
    )
    name = acknowledgement_name(device)
    with contextlib.suppress(Missing, TooLarge, NotTrusted):
        content = place.get(name, LARGEST_ACKNOWLEDGEMENT)
        there = unseal(content, [key.public_key for key in keys] if keys else None)
        if there.model_copy(update={"written_ns": said.written_ns}) == said and (
            signed_by(content) == {key.public_key.keyid for key in keys}
        ):
            return
    place.put(name, seal(said, keys))


class _NotYet(Exception):
    """A batch that this trainer cannot judge, and a later one may."""


def _clock_behind(place: Place) -> float:
    """The clock of the place less that of this machine, in seconds; stores tell whole ones."""
    before = time.time()
    place.put(CLOCK, b"")
    middle = (before + time.time()) / 2
    there = next((e for e in place.list("acknowledged") if e.name == CLOCK), None)
    return 0.0 if there is None else there.modified - middle


def _read_manifest(place: Place, name: str) -> Manifest:
    """The manifest of a batch, which agrees with its name."""
    if (said := BATCH_NAME.fullmatch(name)) is None or not NAME.fullmatch(name):
        raise BatchRefused("its name is not that of a batch")
    try:
        content = place.get(f"{name}.json", LARGEST_MANIFEST)
    except TooLarge:
        raise BatchRefused(f"its manifest is larger than {LARGEST_MANIFEST} bytes") from None
    try:
        version = json.loads(content)["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BatchRefused("its manifest is no manifest") from None
    if type(version) is int and version > FORMAT:
        raise _NotYet(f"is of format {version}: update this trainer, it knows format {FORMAT}")
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise BatchRefused(f"its manifest is wrong: {reason_of(error)}") from None
    if manifest.device != said["device"]:
        raise BatchRefused(f"its manifest is of device {manifest.device!r}")
    if manifest.name != name:
        raise BatchRefused("its manifest is that of another batch")
    return manifest


def _merge_one(
    place: Place, db: Database, folder: Path, manifest: Manifest, found: Entry, skew_s: float
) -> MergedBatch:
    """Fetch, check and merge one batch.

    Raises:
        BatchRefused: it cannot be trusted.
    """
    if found.size > LARGEST_BATCH:
        raise BatchRefused(f"is of {found.size} bytes; {LARGEST_BATCH} is the most")
    if found.size != manifest.bytes:
        raise BatchRefused(f"is of {found.size} bytes, and its manifest says {manifest.bytes}")
    path = folder / ".batch"
    try:
        place.get_file(found.name, path, manifest.bytes)
        if file_digest(path) != manifest.sha256:
            raise BatchRefused("its bytes are not those of its digest")
        with open_batch(path) as batch, exclusive(db):
            return _copy(db, batch, manifest, skew_s)
    except Missing:
        raise _NotYet("its manifest is there and it is not") from None
    except TooLarge:
        raise BatchRefused("is larger than its manifest says") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        path.unlink(missing_ok=True)


def _copy(
    db: Database, batch: sqlite3.Connection, manifest: Manifest, skew_s: float
) -> MergedBatch:
    """Copy the rows of a batch, and the record that it is merged; in the caller's transaction."""
    device = manifest.device
    ids: dict[str, set[str]] = {"patches": set(), "frames": set()}
    count, new = 0, 0
    for table in TABLES:
        for row in rows_of(batch, table):
            _check_links(table, row, device, ids)
            if table == "labels":
                count += 1
                new += _add_label(db, row, device)
            elif table in {"frames", "patches", "flags"}:
                _insert(db, table, row)
            elif table in {"events", "activations"}:
                identity = json.dumps([device, *row.values()])
                key = hashlib.sha256(identity.encode()).hexdigest()
                _insert(db, f"fleet_{table}", {"id": key, "device": device} | row)
            else:
                _add_count(db, f"fleet_{table}", {"device": device} | row)
    if (count, len(ids["patches"])) != (manifest.labels, manifest.patches):
        raise BatchRefused("its manifest counts other answers or patches")
    if abs(skew_s) > SKEW_TOLD_S:
        text = f"{device}: its clock is {abs(skew_s):.0f} s {'ahead' if skew_s > 0 else 'behind'}"
        add_event(db, "clock-skew", text)
    _record(db, manifest.name, device, "merged", "", count, new, skew_s)
    return MergedBatch(manifest.name, device, count, new, "")


def _check_links(table: str, row: dict[str, Any], device: str, ids: dict[str, set[str]]) -> None:
    """Refuse rows of other devices, and rows that point out of the batch."""
    if row.get("device", device) != device:
        raise BatchRefused(f"{table} holds a row of device {row['device']!r}")
    if table in ids:
        ids[table].add(row["id"])
    for column, target in (("patch_id", "patches"), ("alike", "patches"), ("frame_id", "frames")):
        wanted = row.get(column)
        if wanted is not None and wanted not in ids[target]:
            raise BatchRefused(f"{table} names {wanted[:12]}, which is not in its {target}")


def _insert(db: Database, table: str, row: dict[str, Any]) -> int:
    """Insert a row unless it is there; 1 if it was not."""
    return db.execute(insert_statement(table, tuple(row)), list(row.values())).rowcount


def _add_label(db: Database, row: dict[str, Any], device: str) -> int:
    """Insert an answer in the order in which the device got it; 1 if it is new.

    The last answer of a patch is the one with the largest rowid. Batches may be merged in any
    order, so the rowids of a patch's answers are dealt out anew where they came out of order.
    """
    number = row["number"]
    new = _insert(db, "labels", {name: row[name] for name in row if name != "number"})
    if not new:
        return 0
    _insert(db, "merged_labels", {"label_id": row["id"], "device": device, "number": number})
    rows = db.execute(
        "SELECT l.rowid, m.number FROM labels l JOIN merged_labels m ON m.label_id = l.id "
        "WHERE l.patch_id = ? ORDER BY m.number, l.id",
        [row["patch_id"]],
    ).fetchall()
    rowids = [r for r, _ in rows]
    if rowids != sorted(rowids):
        for old in rowids:
            db.execute("UPDATE labels SET rowid = ? WHERE rowid = ?", [-old, old])
        for old, rowid in zip(rowids, sorted(rowids), strict=True):
            db.execute("UPDATE labels SET rowid = ? WHERE rowid = ?", [rowid, -old])
    return 1


def _add_count(db: Database, table: str, row: dict[str, Any]) -> None:
    """Counters only grow: of two counts of the same minute the larger one is the later one."""
    what = list(row)[-1]
    db.execute(
        f"{insert_statement(table, tuple(row)).replace(' OR IGNORE', '')} "
        f"ON CONFLICT DO UPDATE SET {what} = max({what}, excluded.{what})",
        list(row.values()),
    )


def _record_refusal(db: Database, name: str, reason: str) -> MergedBatch:
    device = name.split("/")[1] if name.count("/") else ""
    with exclusive(db):
        add_event(db, "batch-refused", f"{name}: {reason}")
        _record(db, name, device, "refused", reason, 0, 0, None)
    return MergedBatch(name, device, 0, 0, reason)


def _record(
    db: Database, name: str, device: str, outcome: str, reason: str, labels: int, new: int,
    skew_s: float | None,
) -> None:  # fmt: skip
    db.execute(
        "INSERT INTO merges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [name, device, outcome, reason, labels, new, skew_s, *stamp()],
    )
