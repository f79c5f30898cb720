"""What is taken away while the store makes room under it."""

import asyncio
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlite_utils import Database
from starlette.responses import StreamingResponse

from config.settings import Settings
from device.reports.day import Choice
from device.review import queue
from device.review.desk import Desk
from device.review.downloads import answer_rows, kept, manifest_rows, pictures_zip
from device.store.shifts import Shift
from tests.device.review.conftest import HOLDER, copied, fill

ALWAYS = Choice(Shift(0, 2**62), None, None)


def test_an_answer_that_was_taken_back_is_told_by_itself(db: Database) -> None:
    """Where one class is chosen, the line that took it back is not there to tell it."""
    patches = fill(db, 2)
    for number, patch in enumerate(patches):
        queue.answer(db, f"tap-{number}", patch, HOLDER, "class", "scratch", "anna")
    assert queue.undo(db, "undo-1", HOLDER, "anna") == patches[1]
    rows = answer_rows(db, ALWAYS._replace(class_name="scratch"))
    assert [(row[1], row[-1]) for row in rows] == [(patches[0], 0), (patches[1], 1)]
    assert len(answer_rows(db, ALWAYS)) == 3


def test_what_goes_to_make_room_during_a_download_is_left_out(
    asked: Settings, tmp_path: Path
) -> None:
    desk = Desk(copied(asked, tmp_path))

    def make_room(db: Database) -> None:
        with db.atomic():
            db.execute("DELETE FROM flags WHERE id = (SELECT max(id) FROM flags)")

    async def take() -> bytes:
        reply = pictures_zip(desk, ALWAYS)
        assert isinstance(reply, StreamingResponse)
        content = b""
        async for piece in reply.body_iterator:
            assert isinstance(piece, bytes)
            if not content:  # the first piece of the manifest is on its way
                await desk.work(make_room)
            content += piece
        return content

    try:
        before = kept(desk._db, ALWAYS)
        assert before
        with ThreadPoolExecutor(1) as alone:  # the browser's driver keeps a loop in this thread
            content = alone.submit(asyncio.run, take()).result()
        left = len(manifest_rows(desk._db, before))
    finally:
        desk.close()
    assert left == len(before) - 1
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
