"""Which labelled patches are safe with the trainer, so that the device need not keep them."""

from sqlite_utils import Database

from device.store.second_look import OPEN

MAY_GO = f"""
    EXISTS (SELECT 1 FROM labels l WHERE l.patch_id = p.id)
    AND NOT EXISTS (
        SELECT 1 FROM labels l
        LEFT JOIN sent_labels s ON s.label_id = l.id
        LEFT JOIN batches b ON b.sequence = s.batch AND b.state = 'acknowledged'
        WHERE l.patch_id = p.id AND b.sequence IS NULL
    )
    AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.patch_id = p.id)
    AND NOT EXISTS (
        SELECT 1 FROM second_looks s JOIN labels l ON l.patch_id = s.patch_id
        WHERE s.patch_id = p.id AND {OPEN}
    )
"""  # noqa: S608 - our own words
"""Condition on a row `p` of patches: it has answers, the trainer has all of them, nobody is being
asked about it, and the trainer doubts none of them."""


def patches_that_may_go(db: Database, limit: int = -1) -> list[str]:
    """Labelled patches that the trainer has with all their answers, oldest first; -1: no limit.

    Whoever deletes one does so in the transaction that asked, for somebody may answer meanwhile.
    """
    rows = db.execute(
        f"SELECT p.id FROM patches p WHERE {MAY_GO} ORDER BY p.rowid LIMIT ?",  # noqa: S608
        [limit],
    )
    return [row[0] for row in rows]
