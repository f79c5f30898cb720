"""A network camera for the tests: motion JPEG over HTTP, as cheap IP cameras speak it.

Run as a program: `python mjpeg_server.py PORT [odd]`. Frame n is grey all over, see `grey_of`;
`odd`: every third is larger than the first, every third is damaged.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import cv2
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

RATE_FPS = 50


def grey_of(number: int) -> int:
    """The grey value of a frame: neighbours differ by more than JPEG blurs."""
    return 20 + number * 10 % 200


async def _parts() -> AsyncIterator[bytes]:
    number = 0
    while True:
        odd = number % 3 if "odd" in sys.argv else 0
        image = np.full((96, 128) if odd == 1 else (48, 64), grey_of(number), np.uint8)
        jpeg = cv2.imencode(".jpg", image)[1].tobytes()
        if odd == 2:
            jpeg = jpeg[:2] + bytes(len(jpeg) - 4) + jpeg[-2:]
        yield (
            b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
            + jpeg
            + b"\r\n"
        )
        number += 1
        await asyncio.sleep(1 / RATE_FPS)


async def _video(request: Request) -> StreamingResponse:
    return StreamingResponse(_parts(), media_type="multipart/x-mixed-replace; boundary=frame")


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[Route("/video", _video)]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
    )
