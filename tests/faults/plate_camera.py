"""A network camera that shows plates: motion JPEG over HTTP, with tricks.

`python plate_camera.py PORT FOLDER TRICKS`: serves the pictures that FOLDER/served names. The file
TRICKS may hold `freeze` (the same picture again and again), `small` (another size, in a stream of
its own) or `shrink` (another size in the middle of the stream).
"""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

RATE_FPS = 25
PORT, FOLDER, TRICKS = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])


def _encode(name: str) -> tuple[bytes, bytes]:
    """A picture as JPEG, and a smaller part of it."""
    image = cv2.imread(str(FOLDER / "plates" / name), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    quality = [cv2.IMWRITE_JPEG_QUALITY, 100]
    small = image[:120, :160]
    return cv2.imencode(".jpg", image, quality)[1].tobytes(), cv2.imencode(".jpg", small)[
        1
    ].tobytes()


def _trick() -> str:
    return TRICKS.read_text() if TRICKS.exists() else ""


async def _parts() -> AsyncIterator[bytes]:
    names = (FOLDER / "served").read_text().split()
    last = b""
    size = _trick() == "small"
    for number in itertools.count():
        trick = _trick()
        if (trick == "small") != size:  # a camera that is set up anew ends its streams
            return
        whole, small = _encode(names[number % len(names)])
        jpeg = (
            last if trick == "freeze" and last else small if trick in {"small", "shrink"} else whole
        )
        last = jpeg
        head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
        yield head + jpeg + b"\r\n"
        await asyncio.sleep(1 / RATE_FPS)


async def _video(_request: Request) -> StreamingResponse:
    return StreamingResponse(_parts(), media_type="multipart/x-mixed-replace; boundary=frame")


if __name__ == "__main__":
    app = Starlette(routes=[Route("/video", _video)])
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="error")
