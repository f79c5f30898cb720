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
from device.review.desk import Desk
from device.review.downloads import kept, manifest_rows, pictures_zip
from device.store.shifts import Shift
from tests.device.review.conftest import copied

ALWAYS = Choice(Shift(0, 2**62), None, None)


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
