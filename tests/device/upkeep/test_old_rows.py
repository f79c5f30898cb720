"""What is older than its days goes, and does not come back."""

import json

from config.settings import Settings
from device.store import answers_log
from device.store.database import exclusive, open_store
from device.system.clock import stamp
from device.upkeep.tidy import tidy
from tests.device.loop.test_loop import change


def acknowledged_and_old(settings: Settings) -> str:
    """Make an answered patch one whose picture and answers are to go for their age; its id."""
    old = stamp(stamp().wall_ns - 200 * 86_400 * 10**9)
    db = open_store(settings.device.data)
    patch = str(db.execute("SELECT patch_id FROM labels LIMIT 1").fetchone()[0])
    with exclusive(db):
        db.execute("UPDATE patches SET png = x'' WHERE id = ?", [patch])
        db.execute("INSERT INTO pictures_gone VALUES (?, ?, ?, ?, ?)", [patch, *old])
        db.execute("UPDATE labels SET wall_ns = ? WHERE patch_id = ?", [old.wall_ns, patch])
        db.execute(
            "INSERT INTO batches (sequence, name, state, reason, bytes, labels, patches, begin, "
            "wall_ns, monotonic_ns, boot_id, clock_ok) "
            "VALUES (1, 'b', 'acknowledged', '', 1, 5, 5, '{}', ?, ?, ?, ?)",
            [*old],
        )
        db.execute("INSERT INTO sent_labels SELECT id, 1 FROM labels WHERE patch_id = ?", [patch])
        db.execute(  # of a trainer in one
            "INSERT INTO merged_labels (label_id, device, number) "
            "SELECT id, 'box', 1 FROM labels WHERE patch_id = ?",
            [patch],
        )
    db.close()
    path = settings.device.data / answers_log.FILE
    rows = [json.loads(line) for line in path.read_text().splitlines() if line]
    for row in rows:
        if row[answers_log.PATCH] == patch:
            row[answers_log.WALL_NS] = old.wall_ns
    path.write_text("".join(f"\n{json.dumps(row)}" for row in rows))
    return patch


def test_answers_that_went_for_their_age_do_not_come_back(filled: Settings) -> None:
    settings = change(filled, "keeping", rows_days=100)
    patch = acknowledged_and_old(settings)
    tidy(settings, lambda _event: None)
    db = open_store(settings.device.data)
    row = "SELECT count(*) FROM labels WHERE patch_id = ?"
    assert db.execute(row, [patch]).fetchone() == (0,)
    answers_log.put_back_answers(db, settings.device.data, "box")
    assert db.execute(row, [patch]).fetchone() == (0,)
    assert db.execute("SELECT count(*) FROM labels").fetchone()[0] > 0
    db.close()
