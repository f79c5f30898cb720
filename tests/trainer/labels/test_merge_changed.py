"""Batches that were changed on the exchange, came late or by halves, or are of another time."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from device.exchange.batch import APPLICATION_ID, LARGEST_BATCH
from tests.trainer.labels.merge_site import acknowledged, refused
from trainer.labels.merge import merge
from trainer.labels.open_batch import open_batch


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
        lambda path, m: one_byte(path), "bytes are not those of its digest",
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


def one_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:5000] + b"x" + content[5001:])


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


def test_what_somebody_copies_on_a_share_stops_no_merge(site: Settings) -> None:
    """Names that no object has, as copying by hand makes them: told once, and passed over."""
    folder = Path(site.exchange.url, "labels")
    shutil.copytree(folder / "box 1", folder / "box 1 (copy)")
    (folder / "notes (1).json").write_text("{}")
    done = merge(site)
    assert done.new_labels == 8
    assert {batch.refused for batch in done.refused} == {"its name is not that of a batch"}
    assert len(done.refused) == 2
    again = merge(site)
    assert (again.batches, again.known) == ([], 4)
    assert len(acknowledged(site).merged) == 1


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
