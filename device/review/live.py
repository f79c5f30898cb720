"""The live page: the verdict of now, large; the last frames; and how machine and box are."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

from sqlite_utils import Database
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from config.recipes import Recipes
from config.settings import Settings
from device.drift.log import alarms
from device.models.models_in_use import in_force
from device.review import people
from device.review.alerts import free_space_mb
from device.review.desk import Desk
from device.review.guard import session_of
from device.review.shell import Shell
from device.store.clock_watch import clock_is_doubtful
from device.store.database import get_state
from device.store.live import LiveState, live_path, read_frame, read_live
from device.store.parts import recipe_in_force
from device.system.disk import missing_disk

LOOK_EVERY_S = 0.25
FACTS_EVERY_S = 3.0
PING_EVERY_S = 10.0
MOST_WATCHERS = 16
SAID_FOR_S = 86_400.0
"""So long the page says that the store was mended."""


class Facts(NamedTuple):
    """What the store knows of the present."""

    model: str | None
    """Id of the model in use, of the recipe in force."""
    labels: int
    """Labels it was trained with."""
    questions: int
    recipe: str
    """Name of the recipe in force."""
    part: str
    lot: str
    free_mb: int
    """Free space of the disk that holds the store."""
    low: bool
    """Whether that is too little."""
    drift: str | None = None
    """Kind of the latest alarm that lasts."""
    trouble: str | None = None
    """What else is wrong with the box: `disk` (not mounted), `mended` (the store, lately), or
    `clock` (not to be believed)."""


def facts_of(db: Database, recipes: Recipes, questions: int) -> Facts:
    """What stands beside the verdict; `questions` wait."""
    settings = recipes.site
    recipe = recipe_in_force(db, recipes)
    now = in_force(db, recipe.key)
    row = db.execute(
        "SELECT json_extract(metadata, '$.labels') FROM models WHERE id = ?", [now.model_id]
    ).fetchone()
    free_mb = free_space_mb(settings)
    lasting = alarms(db, list(recipes.all()), lasting=True, limit=1)
    return Facts(
        model=now.model_id,
        labels=row[0] if row else 0,
        questions=questions,
        recipe=recipe.name,
        part=now.part,
        lot=now.lot,
        free_mb=free_mb,
        low=free_mb < settings.keeping.low_disk_mb,
        drift=lasting[0].kind if lasting else None,
        trouble=trouble_of(db, settings),
    )


def trouble_of(db: Database, settings: Settings) -> str | None:
    """The end of the key of the text that says what is wrong with the box; None: nothing is."""
    if missing_disk(settings) is not None:
        return "disk"
    mended = get_state(db, "mended")
    if mended is not None and abs(time.time_ns() - mended["wall_ns"]) < SAID_FOR_S * 1e9:
        return "mended"
    return "clock" if clock_is_doubtful(db) else None


def routes(desk: Desk, shell: Shell) -> list[BaseRoute]:
    """The live page and what keeps it alive."""
    settings = desk.settings
    path = live_path(settings)
    watchers = 0

    def view(request: Request, state: LiveState, facts: Facts) -> str:
        return shell.fragment(
            request, "live_view.html", now=state.loop, frames=state.frames, facts=facts
        )

    async def look() -> tuple[LiveState, Facts]:
        state = await asyncio.to_thread(read_live, path)
        facts = await desk.work(lambda db: facts_of(db, desk.recipes, len(desk.waits(db))))
        return state, facts

    async def live(request: Request) -> Response:
        state, facts = await look()
        return shell.render(request, "live.html", tab="live", view=view(request, state, facts))

    async def events(request: Request) -> Response:
        if watchers >= MOST_WATCHERS:
            raise HTTPException(503, "busy")
        return StreamingResponse(stream(request), media_type="text/event-stream")

    async def stream(request: Request) -> AsyncIterator[str]:
        nonlocal watchers
        watchers += 1
        cookie = session_of(request)
        try:
            by_password = await desk.work(lambda db: people.gave_password(db, cookie))
            yield f"event: edition\ndata: {shell.edition}\n\n"
            last, since_facts, since_word = "", 0.0, 0.0
            state, facts = await look()
            while True:
                if since_facts >= FACTS_EVERY_S:
                    state, facts = await look()
                    since_facts = 0.0
                    if by_password and not await desk.work(
                        lambda db: people.gave_password(db, cookie)
                    ):
                        return  # it was changed: the page connects again, and is asked
                else:
                    state = await asyncio.to_thread(read_live, path)
                now = view(request, state, facts)
                if now != last:
                    lines = "".join(f"data: {line}\n" for line in now.splitlines() if line.strip())
                    yield lines + "\n"
                    last, since_word = now, 0.0
                elif since_word >= PING_EVERY_S:
                    yield ": still here\n\n"
                    since_word = 0.0
                await asyncio.sleep(LOOK_EVERY_S)
                since_facts += LOOK_EVERY_S
                since_word += LOOK_EVERY_S
        except HTTPException:
            return  # the store is locked: the page connects again
        finally:
            watchers -= 1

    async def frame(request: Request) -> Response:
        jpeg = await asyncio.to_thread(read_frame, path, request.path_params["frame"])
        if jpeg is None:
            raise HTTPException(404)
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    return [
        Route("/live", live),
        Route("/live/events", events),
        Route("/live/frames/{frame:row}.jpg", frame),
    ]
