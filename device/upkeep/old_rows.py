"""Rows and model files that would grow for ever: what is older than `keeping.rows_days` goes."""

from pathlib import Path

from sqlite_utils import Database

from config.settings import Settings
from device.exchange.may_go import MAY_GO
from device.store.database import exclusive
from device.system.clock import CLOCK_OK_FROM_NS, stamp
from device.upkeep.retention import NEWEST_FLAGGED, remove_answered

ROWS = 2000
"""Most rows removed in one transaction."""
SKIPS_KEPT = 10_000
MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS

OLD = {
    "parts": "clock_ok AND wall_ns < :ns",
    "events": "clock_ok AND wall_ns < :ns",
    "drift_blocks": "clock_ok AND wall_ns < :ns AND NOT frames_reference AND NOT scores_reference "
    "AND id NOT IN (SELECT block FROM drift_alarms) "
    "AND id NOT IN (SELECT block FROM drift_pictures)",
}
"""Condition on the rows of tables with an id that are old."""
OLD_COUNTS = {
    "counters": f"minute BETWEEN {CLOCK_OK_FROM_NS // MINUTE_NS} AND :ns / {MINUTE_NS}",
    "scores": f"hour BETWEEN {CLOCK_OK_FROM_NS // HOUR_NS} AND :ns / {HOUR_NS}",
}
"""The same for counts; those of a clock that was surely wrong stay: nobody knows their age."""


def remove_old_rows(db: Database, settings: Settings) -> int:
    """Remove rows that are older than the settings say; how many. Only while ages are believed."""
    before = stamp().wall_ns - settings.keeping.rows_days * 86_400 * 10**9
    removed = 0
    for table, old in OLD.items():
        statement = (
            f"DELETE FROM {table} WHERE id IN "  # noqa: S608 - our own words
            # Never the last one: its number would come again, and whoever follows the table by
            # its numbers (exchange, plant) took what is new for known.
            f"(SELECT id FROM {table} WHERE {old} AND id < (SELECT max(id) FROM {table}) "
            f"LIMIT {ROWS})"
        )
        removed += _repeat(db, statement, before)
    for table, old in OLD_COUNTS.items():
        removed += _repeat(db, f"DELETE FROM {table} WHERE {old}", before)  # noqa: S608
    removed += _remove_old_answers(db, before)
    # A doubt that nobody has answered for so long holds its picture no more.
    old = "clock_ok AND wall_ns < :ns"
    removed += _repeat(db, f"DELETE FROM second_looks WHERE {old}", before)  # noqa: S608
    with exclusive(db):
        removed += db.execute(
            "DELETE FROM skips WHERE rowid <= (SELECT max(rowid) FROM skips) - ?", [SKIPS_KEPT]
        ).rowcount
    return removed


def release_stale_claims(db: Database) -> None:
    """Forget leases of questions that have run out: their patches may go."""
    now = stamp()
    with exclusive(db):
        db.execute(
            "DELETE FROM claims WHERE NOT repeat AND (boot_id != ? OR expires_ns < ?)",
            [now.boot_id, now.monotonic_ns - 3600 * 10**9],
        )


def _repeat(db: Database, statement: str, before_ns: int) -> int:
    """Carry out a deletion until it finds nothing more; rows removed."""
    removed = 0
    while True:
        with exclusive(db):
            count = db.execute(statement, {"ns": before_ns}).rowcount
        removed += count
        if count < ROWS:
            return removed


def _remove_old_answers(db: Database, before_ns: int) -> int:
    """Remove patches whose picture went so long ago, with the answers that the trainer has."""
    removed = 0
    while True:
        with exclusive(db):
            rows = db.execute(
                "SELECT p.id FROM pictures_gone g JOIN patches p ON p.id = g.patch_id "  # noqa: S608
                "WHERE g.clock_ok AND g.wall_ns < ?1 "
                "AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.patch_id = g.patch_id "
                "AND NOT (l.clock_ok AND l.wall_ns < ?1)) "
                # Where damage took the picture, the trainer may not have the answer.
                f"AND {MAY_GO} AND p.id IS NOT {NEWEST_FLAGGED} LIMIT 100",
                [before_ns],
            ).fetchall()
            for (patch_id,) in rows:
                remove_answered(db, patch_id)
        removed += len(rows)
        if len(rows) < 100:
            return removed


def remove_old_models(db: Database, settings: Settings) -> list[Path]:
    """Remove files of models that nothing goes back to by itself; which.

    The models in use, the ones before them, those of probations, and the latest others stay.
    """
    with exclusive(db):  # none of them comes into use meanwhile
        gone = _old_models(db, settings)
        for path in gone:
            path.unlink(missing_ok=True)
    return gone


def _old_models(db: Database, settings: Settings) -> list[Path]:
    folder = settings.device.data / "models"
    kept: set[str] = set()
    for (recipe,) in db.execute("SELECT DISTINCT recipe FROM activations").fetchall():
        rows = db.execute(
            "SELECT model_id FROM activations WHERE recipe = ? "
            "GROUP BY model_id ORDER BY max(id) DESC LIMIT 2",
            [recipe],
        )
        kept.update(row[0] for row in rows)
    rows = db.execute("SELECT model_id, before_id FROM probations WHERE ended IS NULL")
    kept.update(model for row in rows.fetchall() for model in row)
    files = [(path.stem, path) for path in folder.glob("*.onnx") if not path.name.startswith(".")]
    order = {
        row[0]: number
        for number, row in enumerate(db.execute("SELECT id FROM models ORDER BY rowid DESC"))
    }
    others = sorted(
        ((order[i], path) for i, path in files if i in order and i not in kept),
        key=lambda pair: pair[0],
    )
    return [path for _, path in others[max(0, settings.keeping.models - len(kept)) :]]
