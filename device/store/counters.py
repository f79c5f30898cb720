"""What the loop counts: frames by their verdict, patches by their score."""

from collections.abc import Iterable

from sqlite_utils import Database

Counted = tuple[int, str, str, str, str, str, str]
"""Key of a counter: minute, model id, recipe, verdict, class, part, lot."""
Scored = tuple[int, str, str, str, int]
"""Key of a count of scores: hour, model id, predicted class, part, bin
(`device.judging.kls.score_bin`)."""


def add_counts(db: Database, counts: Iterable[tuple[Counted, int]]) -> None:
    """Add frames to the per-minute counters."""
    for key, frames in counts:
        db.execute(
            "INSERT INTO counters VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET frames = frames + excluded.frames",
            [*key, frames],
        )


def add_scores(db: Database, counts: Iterable[tuple[Scored, int]]) -> None:
    """Add patches to the per-hour counts of scores."""
    for key, patches in counts:
        db.execute(
            "INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET patches = patches + excluded.patches",
            [*key, patches],
        )
