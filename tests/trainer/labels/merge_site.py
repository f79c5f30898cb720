"""A trainer that merges: what it knows, what it told its devices, and how it refuses a batch."""

import re
from pathlib import Path
from typing import Any

from config.settings import Settings
from device.exchange.acknowledgement import Acknowledgement, unseal
from device.store.database import open_store
from tests.filled import last_answers, rows
from trainer.labels.merge import merge


def acknowledged(settings: Settings) -> Acknowledgement:
    path = Path(settings.exchange.url, "acknowledged", f"{settings.device.name}.json")
    return unseal(path.read_bytes(), None)


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


def refused(site: Settings, reason: str) -> None:
    """The batch of box 2 is refused for this reason and told; that of box 1 is merged."""
    done = merge(site)
    (batch,) = done.refused
    assert batch.device == "box 2"
    assert re.search(reason, batch.refused)
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
