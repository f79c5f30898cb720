"""`python -m tests.systemd.answering STORE COUNT`: answer so many questions on the touch pages.

Run in the network of a booted box (`nsenter --net`), it speaks to the pages as a browser does. It
knows what the simulated platform really milled, and so answers rightly.
"""

import contextlib
import sqlite3
import sys
import time
from pathlib import Path
from uuid import uuid4

from sqlite_utils import Database

from camera.milled_steel import CLASSES
from device.store.answers import truth_of
from tests.device.review.conftest import Client

PATIENCE_S = 120


def answer(store: Path, count: int, url: str = "http://127.0.0.1:8080") -> int:
    """Answer `count` questions, or as many as come; how many were acknowledged."""
    client = Client(url, "page-of-anna")
    client.open()
    done, last = 0, time.monotonic()
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        db = Database(connection)
        while done < count and time.monotonic() - last < PATIENCE_S:
            questions = client.questions()["questions"]
            for question in questions[: count - done]:
                patch = question["patch"]
                name = truth_of(db, patch) or CLASSES[0]
                if client.tap(uuid4().hex * 2, patch, name=name).status_code == 200:
                    done, last = done + 1, time.monotonic()
            if not questions:
                time.sleep(1)
    client.http.close()
    return done


if __name__ == "__main__":
    print(answer(Path(sys.argv[1]), int(sys.argv[2])))
