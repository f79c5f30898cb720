"""What the plant may know: state, counters, last part and model, read from files of the loop.

The plant's program reads; it writes nothing, so that neither it nor its broker can hold up a
verdict.
"""

import time
from typing import Any

from sqlite_utils import Database

from config.settings import Settings
from device.machine.codes import Code
from device.store.live import live_path, read_live
from device.store.parts import Numbered
from device.store.shifts import shift_at
from device.system.clock import stamp

VERDICTS = ("pass", "fail", "unsure", "fault")
STATES = ("halted", "initialized", "continuous execution", "error")
"""Words of the state machine of OPC 40100-1 (Machine Vision), as far as they fit."""


def state_of(settings: Settings) -> dict[str, Any]:
    """What the loop is doing, ready for JSON."""
    loop = read_live(live_path(settings), watching=False).loop
    if loop is None or not loop["running"]:
        state = "halted"
    elif loop["camera"] == "lost":
        state = "error"
    elif loop.get("model") is None:
        state = "initialized"
    else:
        state = "continuous execution"
    loop = loop or {}
    vision_state, vision_mode = vision_state_of(state, loop.get("machine"))
    return {
        "state": state,
        "vision_state": vision_state,
        "vision_mode": vision_mode,
        "camera": loop.get("camera", ""),
        "recipe": loop.get("recipe", ""),
        "part": loop.get("part", ""),
        "lot": loop.get("lot", ""),
        "storing": bool(loop.get("keeping", False)),
    }


def vision_state_of(state: str, machine: str | None) -> tuple[str, str]:
    """The state of OPC 40100-1, and under Operational that of its automatic mode, else ''.

    `machine` is what `device.machine.machine.Machine.doing` says; None: no machine triggers.
    """
    if state in {"halted", "error"}:
        return state.capitalize(), ""
    if state == "initialized":  # no model yet: no recipe is prepared
        return "Operational", "Initialized"
    modes = {
        None: "ContinuousExecution",
        "judging": "SingleExecution",
        "editing": "Initialized",
        "blocked": "Initialized",
    }
    return "Operational", modes.get(machine, "Ready")


def counters_of(db: Database, settings: Settings) -> dict[str, int]:
    """Frames and parts of the present shift, by verdict."""
    shift = shift_at(settings.review.shifts, time.time_ns())
    found = {"shift_began_ns": shift.begin_ns}
    found |= {f"{k}_{v}": 0 for k in ("frames", "parts") for v in VERDICTS}
    for kind, verdict, count in db.execute(
        "SELECT 'frames', verdict, sum(frames) FROM counters WHERE minute >= ? GROUP BY verdict "
        "UNION ALL SELECT 'parts', verdict, count(*) FROM parts WHERE wall_ns >= ? "
        "GROUP BY verdict",
        [shift.begin_ns // 60_000_000_000, shift.begin_ns],
    ):
        found[f"{kind}_{verdict}"] = int(count)
    return found


def model_of(db: Database, settings: Settings) -> dict[str, Any]:
    """The model in use for the settings file's recipe."""
    row = db.execute(
        "SELECT m.id, json_extract(m.metadata, '$.labels'), "
        "json_extract(m.metadata, '$.created_at') FROM activations a "
        "JOIN models m ON m.id = a.model_id WHERE a.recipe = '' ORDER BY a.id DESC LIMIT 1"
    ).fetchone()
    found = row or ("", 0, "")
    return {
        "id": found[0],
        "labels": int(found[1] or 0),
        "created_at": found[2],
        "recipe": settings.recipe.name,
    }


def result_of(one: Numbered) -> dict[str, Any]:
    """The answer of a part."""
    part = one.part
    return {
        "id": one.id,
        "number": part.number,
        "part": part.part,
        "lot": part.lot,
        "tool": part.tool,
        "recipe": part.recipe,
        "model": part.model_id,
        "verdict": part.verdict,
        "ok": part.verdict == "pass",
        "class": part.name,
        "code": part.code,
        "error": Code(part.code).name.lower() if part.code else "",
        "took_ms": round(part.took_ms, 1),
        **{
            f"{step}_ms": round(value, 1)
            for step, value in part.split._asdict().items()
            if value is not None
        },
        "wall_ns": part.wall_ns,
        "clock_ok": bool(stamp(part.wall_ns, part.monotonic_ns).clock_ok),
    }
