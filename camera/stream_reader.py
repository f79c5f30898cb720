"""The process that reads a USB camera or a network stream through OpenCV."""

from pathlib import Path

import cv2

from camera.outbox import LostError, Outbox, Picture, run

MJPG = cv2.VideoWriter.fourcc(*"MJPG")


def read(outbox: Outbox) -> None:
    """Frames until the camera is lost.

    Raises:
        LostError: it cannot be opened.
    """
    settings = outbox.settings
    address = settings["address"]
    if settings["is_device"]:
        if not address.isdecimal() and not Path(address).exists():
            raise LostError("no picture")  # V4L2 would print a warning of its own
        device = int(address) if address.isdecimal() else address
        capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        # The driver's queue holds pictures of the past; not every driver obeys.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    else:
        # Without these two a dead server blocks for half a minute.
        timeouts = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            int(settings["open_timeout_s"] * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            int(settings["read_timeout_s"] * 1000),
        ]
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, timeouts)
    if not capture.isOpened():
        raise LostError("no picture")
    # A picture of another size in the middle of a stream OpenCV scales to the size of the first,
    # and says nothing. Motion JPEG it also hands over as it came.
    as_jpeg = int(capture.get(cv2.CAP_PROP_FOURCC)) == MJPG and not settings["is_device"]
    as_jpeg = as_jpeg and capture.set(cv2.CAP_PROP_FORMAT, -1)
    width, height = (
        int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    outbox.say("opened", "picture is there")
    while not outbox.closing.is_set():
        good, image = capture.read()
        if not good or image is None:
            raise LostError("no picture")
        if as_jpeg:
            decoded = cv2.imdecode(image, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
            if decoded is None:  # damaged on its way
                outbox.put(Picture(bytes(width * height), width, height, "Mono8", "incomplete"))
                continue
            image = decoded
        elif image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        height, width = image.shape
        outbox.put(Picture(image, width, height, "Mono8"))


if __name__ == "__main__":
    run(read)
