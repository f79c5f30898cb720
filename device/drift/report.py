"""What `millsight device drift` prints, for programs and for people."""

from datetime import datetime
from typing import Any

from sqlite_utils import Database

from config.settings import Settings
from device.drift.log import alarm_object, alarms, progress

SHOWN = 20


def report_object(db: Database, settings: Settings, model_id: str) -> dict[str, Any]:
    """The references of every part and the latest alarms, ready for JSON."""
    recipe = settings.recipe.name
    return {
        "recipe": recipe,
        "reference_blocks": settings.drift.reference_blocks,
        "parts": [one._asdict() for one in progress(db, recipe, model_id)],
        "alarms": [alarm_object(alarm) for alarm in alarms(db, [recipe], limit=SHOWN)],
    }


def report_lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    full = found["reference_blocks"]
    lines = [
        f"part {one['part'] or '-'}: {one['blocks']} blocks since the last reset; reference "
        f"{one['frames_reference']} of {full} for pictures, {one['scores_reference']} of {full} "
        "for scores of the model in use"
        for one in found["parts"]
    ] or ["nothing compared yet: blocks of frames come with `millsight device run`"]
    for alarm in found["alarms"]:
        came = datetime.fromtimestamp(alarm["wall_ns"] / 1e9)
        over = ""
        if alarm["ended_ns"] is not None:
            over = f" (over since {datetime.fromtimestamp(alarm['ended_ns'] / 1e9):%m-%d %H:%M})"
        lines.append(f"{came:%Y-%m-%d %H:%M}  {alarm['text']}{over}")
    if found["parts"] and not found["alarms"]:
        lines.append("no change noticed")
    return lines
