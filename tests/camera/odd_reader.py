"""A camera's reader that misbehaves as its settings say; the tests have it started.

Each frame is 64 × 48, all over of its own number modulo 251.
"""

import os
import signal
import time

from camera.outbox import LostError, Outbox, Picture, SetUpError, run

FRAME = 64 * 48


def picture(number: int, fault: str = "") -> Picture:
    return Picture(bytes([number % 251]) * FRAME, 64, 48, "Mono8", fault)


def read(outbox: Outbox) -> None:
    how = outbox.settings["how"]
    if how == "refuse":
        raise SetUpError("gain_db: found 99; the camera has 0 to 10")
    if how == "on-trigger":
        numbers = iter(range(10**9))
        outbox.on_trigger = lambda: outbox.put(picture(next(numbers)))
        while not outbox.closing.is_set():
            outbox.alive()
            time.sleep(0.1)
        return
    fault = "incomplete" if how == "incomplete" else ""
    outbox.put(picture(0, fault))
    if how == "lose":
        raise LostError("gone fishing")
    if how == "raise":
        1 / 0  # noqa: B018
    if how == "exit":
        os._exit(3)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "hang":
        time.sleep(10**6)
    number = 0
    while not outbox.closing.is_set():
        number += 1
        outbox.put(picture(number, fault))
        time.sleep(0.005)


if __name__ == "__main__":
    run(read)
