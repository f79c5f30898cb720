"""`/health` and `/metrics`: how the device is, for programs that watch it.

They hold no pictures, answers or names of people. This machine may always ask; others only where
`review.watchers` names their address, for who watches cannot log in.
"""

import asyncio
import ipaddress

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from device.review.desk import Desk
from device.watching.health import Health, health_of
from device.watching.metrics import CONTENT_TYPE, metrics_of


def outside_routes(desk: Desk) -> list[BaseRoute]:
    """Both."""
    settings = desk.settings
    networks = [ipaddress.ip_network(one) for one in settings.review.watchers]

    def admit(request: Request) -> None:
        host = request.client.host if request.client else ""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if address is None or not (
            address.is_loopback or any(address in network for network in networks)
        ):
            raise HTTPException(403, "watcher")

    async def health(request: Request) -> Response:
        admit(request)
        found = await _health(desk)
        return JSONResponse(found.object(), 200 if found.ok else 503)

    async def metrics(request: Request) -> Response:
        admit(request)
        try:
            text = await desk.work(lambda db: metrics_of(settings, db))
        except HTTPException:
            text = await asyncio.to_thread(metrics_of, settings, None)
        return Response(text, media_type=CONTENT_TYPE)

    return [Route("/health", health), Route("/metrics", metrics)]


async def _health(desk: Desk) -> Health:
    try:
        return await desk.work(lambda db: health_of(desk.settings, db))
    except HTTPException as error:
        found = await asyncio.to_thread(health_of, desk.settings, None)
        return found._replace(store=str(error.detail))
