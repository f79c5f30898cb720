"""What `millsight device status` shows: the store, read."""

import shutil
import time
from typing import Any

from config.recipes import load_recipes
from config.settings import Settings
from device.machine.latency import as_json as latency_json
from device.machine.latency import latest
from device.models.models_in_use import in_force
from device.models.race import variant_of
from device.store.answers import waiting
from device.store.database import STORE_FILE, explain_errors, get_state, open_store_of
from device.store.live import live_path, read_live


def device_status(settings: Settings) -> dict[str, Any]:
    """The state of a device, ready for JSON.

    Raises:
        UserError: the store cannot be opened.
    """
    data = settings.device.data
    db = open_store_of(settings)
    with explain_errors(data / STORE_FILE):
        now = in_force(db)
        model = db.execute(
            "SELECT json_extract(metadata, '$.labels'), json_extract(metadata, '$.created_at'), "
            "size FROM models WHERE id = ?",
            [now.model_id],
        ).fetchone()
        today = db.execute(
            "SELECT verdict, sum(frames) FROM counters WHERE minute > ? GROUP BY verdict",
            [time.time_ns() // 60_000_000_000 - 24 * 60],
        ).fetchall()
        events = db.execute(
            "SELECT wall_ns, kind, text FROM events ORDER BY id DESC LIMIT 5"
        ).fetchall()
        counts = {
            name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608
            for name in ("frames", "patches", "flags", "labels")
        }
        loop = get_state(db, "loop")
        took = latest(db)
        form: str | None = None if now.model_id is None else variant_of(db, now.model_id)
        if form and settings.recipe.shared_maps:
            form += " on shared maps"
        questions = len(waiting(db, load_recipes(settings).quotas))
    db.close()
    if loop and loop["activity"] == "running":
        live = read_live(live_path(settings), watching=False).loop
        if live is None:
            silent = (time.time_ns() - loop["wall_ns"]) / 1e9
            loop["activity"] = f"silent for {silent:.0f} s"
    return {
        "device": settings.device.name,
        "data": str(data),
        "disk_free_bytes": shutil.disk_usage(data).free,
        "loop": loop,
        "model": now.model_id
        and {
            "id": now.model_id,
            "labels": model[0],
            "created_at": model[1],
            "bytes": model[2],
            "form": form,
        },
        "cycle": now.cycle,
        "questions_waiting": questions,
        "frames_last_day": dict(today),
        "parts": latency_json(took, settings.machine.deadline_s) if took.parts else None,
        "stored": counts,
        "events": [
            {"wall_ns": wall_ns, "kind": kind, "text": text} for wall_ns, kind, text in events
        ],
    }


def status_lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    loop, model, stored = found["loop"], found["model"], found["stored"]
    verdicts = ", ".join(f"{k} {v}" for k, v in sorted(found["frames_last_day"].items()))
    lines = [
        f"device     {found['device']}, data in {found['data']} "
        f"({found['disk_free_bytes'] / 1e9:.1f} GB free)",
        f"loop       {loop['activity']}, {loop['frames']} frames, "
        f"{loop['frames_per_second']} frames/s from {loop['source']}, recipe {loop['recipe']}"
        if loop
        else "loop       never ran; start it with: millsight device run",
        f"model      {model['id'][:12]}, {model['labels']} labels, {model['bytes']} bytes, "
        f"judges in {model['form']}, made {model['created_at']}"
        if model
        else "model      none yet: cold start, label the questions and train",
        f"last day   {verdicts or 'no frames'}",
        f"questions  {found['questions_waiting']} waiting (cycle {found['cycle']})",
        *([_parts_line(found["parts"])] if found["parts"] else []),
        f"stored     {stored['patches']} patches, {stored['flags']} flags, "
        f"{stored['labels']} labels",
    ]
    for event in reversed(found["events"]):
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["wall_ns"] / 1e9))
        lines.append(f"{moment}  {event['kind']}: {event['text']}")
    return lines


def _parts_line(parts: dict[str, Any]) -> str:
    total = parts["total_ms"]
    if total is None:
        return f"parts      {parts['parts']}, none judged"
    return (
        f"parts      trigger to result {total['median']:.0f} ms (median), {total['p99']:.0f} ms "
        f"(99th), {total['worst']:.0f} ms (worst) of {parts['deadline_ms']:.0f}; "
        f"{parts['missed']} of the last {parts['parts']} without a verdict in time"
    )
