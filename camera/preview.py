"""The picture of the camera in a browser of this machine: motion JPEG, and figures beside it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import cv2
import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.routing import Route

from camera.source import Frame, GreyImage
from camera.watching import Figures
from config.errors import UserError

LARGEST = 1280
"""Longest side of the picture shown, in pixels."""
LOOK_EVERY_S = 0.04
"""How often a page is given a new picture, at most."""

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>millsight camera</title>
<meta name="viewport" content="width=device-width">
<style>body{margin:0;background:#111;color:#eee;font:1.2rem/1.5 system-ui}
img{display:block;max-width:100vw;max-height:85vh;margin:auto}
p{margin:.5rem 1rem;font-variant-numeric:tabular-nums}</style>
<img src="stream" alt="What the camera sees"><p id="figures" role="status">…</p>
<script>setInterval(async () => {
  const p = document.getElementById("figures");
  try { p.textContent = (await (await fetch("figures")).json()).text }
  catch { p.textContent = "No connection" }
}, 500)</script></html>"""


class Preview:
    """Reads frames on a thread and keeps the latest."""

    def __init__(self, frames: Iterator[tuple[Frame, Figures]]) -> None:
        self._frames = frames
        self.latest: tuple[Frame, Figures] | None = None
        self.count = 0
        self.error = ""
        self._thread = threading.Thread(target=self._read, name="preview", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the frames, whose source was closed, have ended."""
        self._thread.join(10)

    def _read(self) -> None:
        try:
            for seen in self._frames:
                self.latest = seen
                self.count += 1
        except UserError as error:
            self.error = str(error)
        else:
            self.error = "no more frames"

    def facts(self) -> dict[str, Any]:
        """What the page shows beside the picture."""
        if self.error or self.latest is None:
            return {"text": self.error or "waiting for a picture", "frames": self.count}
        figures = self.latest[1]
        return {"text": figures.line(), "frames": self.count} | figures._asdict()


def jpeg_of(image: GreyImage) -> bytes:
    """A JPEG of an image, uint8 [height, width], made smaller where it is too large to look at."""
    scale = LARGEST / max(image.shape)
    if scale < 1:
        image = np.asarray(
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def make_app(preview: Preview) -> Starlette:
    """The page at `/`, its picture at `/stream`, its figures at `/figures`."""

    async def parts() -> AsyncIterator[bytes]:
        shown = -1
        while not preview.error:
            latest = preview.latest
            if latest is not None and preview.count != shown:
                shown = preview.count
                jpeg = await asyncio.to_thread(jpeg_of, latest[0].image)
                head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
                yield head % len(jpeg) + jpeg + b"\r\n"
            await asyncio.sleep(LOOK_EVERY_S)

    async def stream(_request: Request) -> StreamingResponse:
        return StreamingResponse(parts(), media_type="multipart/x-mixed-replace; boundary=frame")

    async def page(_request: Request) -> HTMLResponse:
        return HTMLResponse(PAGE)

    async def figures(_request: Request) -> JSONResponse:
        return JSONResponse(preview.facts())

    return Starlette(
        routes=[Route("/", page), Route("/stream", stream), Route("/figures", figures)],
        # A page elsewhere must not read the camera by giving its own name our address.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )
