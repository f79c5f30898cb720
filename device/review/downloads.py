"""What can be taken away from the Today page: figures and answers as CSV, pictures as ZIP.

Everything is streamed. Of a ZIP only the numbers of its pictures and its own directory are in
memory; a picture is read, sent and forgotten.
"""

import csv
import io
import re
from array import array
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from sqlite_utils import Database
from starlette.responses import Response, StreamingResponse

from device.reports.day import MINUTE_NS, Choice
from device.review.desk import Desk

CHUNK = 100
"""Lines of the manifest read at once: an operator's tap waits no longer than for these."""
BOM = "\ufeff"
"""Without it spreadsheet programs take UTF-8 for something else."""
ROWS = 1000
"""Lines of a CSV sent at once."""


def counters_csv(desk: Desk, choice: Choice) -> Response:
    """Frames per minute, verdict and class."""
    header = ["minute", "model", "recipe", "verdict", "class", "part", "lot", "frames"]
    return _table(desk, choice, "figures", header, counter_rows)


def answers_csv(desk: Desk, choice: Choice) -> Response:
    """Every answer, also those that were taken back."""
    header = [
        "time", "patch", "answer", "class", "operator", "asked_again", "reason", "predicted",
        "score", "frame", "part", "lot", "model", "taken_back",
    ]  # fmt: skip
    return _table(desk, choice, "answers", header, answer_rows)


def counter_rows(db: Database, choice: Choice) -> list[tuple[Any, ...]]:
    """The lines of the figures."""
    rows = db.execute(
        """
        SELECT minute, model_id, recipe, verdict, class, part, lot, frames FROM counters
        WHERE minute >= :begin AND minute < :end
            AND (:part IS NULL OR part = :part) AND (:class IS NULL OR class = :class)
        """,
        choice.values()
        | {"begin": choice.shift.begin_ns // MINUTE_NS, "end": choice.shift.end_ns // MINUTE_NS},
    )
    return [(local(row[0] * MINUTE_NS), *row[1:]) for row in rows]


def answer_rows(db: Database, choice: Choice) -> list[tuple[Any, ...]]:
    """The lines of the answers; the question is the last one about the patch."""
    rows = db.execute(
        """
        SELECT l.wall_ns, l.patch_id, l.answer, l.class, l.operator, l.repeat,
            f.reason, f.predicted, f.score, f.frame_id, r.part, r.lot, r.model_id,
            EXISTS (SELECT 1 FROM answers a JOIN answers u ON u.undoes = a.id
                WHERE a.label_id = l.id)
        FROM labels l
        LEFT JOIN flags f ON f.id = (SELECT max(id) FROM flags WHERE patch_id = l.patch_id)
        LEFT JOIN frames r INDEXED BY frames_facts ON r.id = f.frame_id
        WHERE l.wall_ns >= :begin AND l.wall_ns < :end
            AND (:part IS NULL OR r.part = :part) AND (:class IS NULL OR l.class = :class)
        ORDER BY l.wall_ns, l.rowid
        """,
        choice.values(),
    )
    return [(local(row[0]), *row[1:]) for row in rows]


def _table(
    desk: Desk,
    choice: Choice,
    name: str,
    header: list[str],
    rows_of: Any,
) -> Response:
    async def lines() -> AsyncIterator[bytes]:
        rows = await desk.work(lambda db: rows_of(db, choice))
        yield (BOM + csv_lines([header])).encode()
        for i in range(0, len(rows), ROWS):
            yield csv_lines(rows[i : i + ROWS]).encode()

    return _attached(lines(), f"{name}.csv", choice, "text/csv; charset=utf-8")


def _attached(
    content: AsyncIterator[bytes], name: str, choice: Choice, media_type: str
) -> StreamingResponse:
    begin = datetime.fromtimestamp(choice.shift.begin_ns / 1e9)
    file = f"millsight-{begin:%Y-%m-%d-%H%M}-{name}"
    headers = {"Content-Disposition": f'attachment; filename="{file}"'}
    return StreamingResponse(content, media_type=media_type, headers=headers)


def local(ns: int) -> str:
    """A moment in local time, with its distance from UTC."""
    return datetime.fromtimestamp(ns / 1e9).astimezone().isoformat(" ", "seconds")


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV in which no spreadsheet finds a formula."""
    stream = io.StringIO()
    csv.writer(stream).writerows([harmless(value) for value in row] for row in rows)
    return stream.getvalue()


def harmless(value: Any) -> Any:
    """A text that begins like a formula gets an apostrophe in front."""
    if isinstance(value, str) and re.match(r"\s*[=+\-@]|[\t\r\n]", value):
        return "'" + value
    return value


# --- pictures -------------------------------------------------------------------------------


def pictures_zip(desk: Desk, choice: Choice) -> Response:
    """Every kept patch and its frame, with a manifest."""
    return _attached(_zip(desk, choice), "pictures.zip", choice, "application/zip")


async def _zip(desk: Desk, choice: Choice) -> AsyncIterator[bytes]:
    numbers = await desk.work(lambda db: kept(db, choice))
    sink = Sink()
    with ZipFile(sink, "w", ZIP_STORED) as archive:
        with archive.open("manifest.csv", "w", force_zip64=True) as manifest:
            manifest.write((BOM + csv_lines([MANIFEST])).encode())
            for i in range(0, len(numbers), CHUNK):
                some = numbers[i : i + CHUNK]
                lines = await desk.work(partial(manifest_rows, numbers=some))
                manifest.write(csv_lines(lines).encode())
                yield sink.take()
        for number in numbers:
            for one in await desk.work(partial(pictures, number=number)):
                if one.name in archive.NameToInfo:
                    continue
                content = await desk.work(one.read)
                if content is None:
                    continue
                moment = datetime.fromtimestamp(max(one.wall_ns / 1e9, 4e8))  # ZIP knows no 1970
                archive.writestr(ZipInfo(one.name, moment.timetuple()[:6]), content)
                yield sink.take()
    yield sink.take()


class Sink(io.RawIOBase):
    """Holds what a ZIP writes until it is taken away to be sent."""

    def __init__(self) -> None:
        self._content = bytearray()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, content: Any) -> int:
        """Hold it."""
        self._content += content
        return len(content)

    def take(self) -> bytes:
        """What was written since the last time."""
        content = bytes(self._content)
        self._content.clear()
        return content


MANIFEST = [
    "patch", "frame", "time", "device", "part", "lot", "verdict", "class", "reason", "predicted",
    "score", "model", "alike", "answers", "patch_file", "frame_file",
]  # fmt: skip


def kept(db: Database, choice: Choice) -> "array[int]":
    """The numbers of the flags of the shift, by time."""
    rows = db.execute(
        """
        SELECT f.id FROM frames r CROSS JOIN flags f ON f.frame_id = r.id
        WHERE r.wall_ns >= :begin AND r.wall_ns < :end
            AND (:part IS NULL OR r.part = :part) AND (:class IS NULL OR f.predicted = :class)
        ORDER BY r.wall_ns, f.id
        """,
        choice.values(),
    )
    return array("q", (row[0] for row in rows))


def manifest_rows(db: Database, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    """The lines of the manifest for these flags, in their order; some may have gone meanwhile."""
    blanks = ",".join("?" * len(numbers))
    rows = db.execute(
        f"""
        SELECT f.id, f.patch_id, f.frame_id, r.wall_ns, r.device, x.part, x.lot, r.verdict,
            r.verdict_class, f.reason, f.predicted, f.score, r.model_id, f.alike
        FROM flags f JOIN frames r ON r.id = f.frame_id
        JOIN frames x INDEXED BY frames_facts ON x.id = f.frame_id
        WHERE f.id IN ({blanks})
        """,  # noqa: S608 - question marks
        [*numbers],
    ).fetchall()
    answers = defaultdict(list)
    for patch, answer, name, who, repeat in db.execute(
        f"SELECT patch_id, answer, class, operator, repeat FROM labels WHERE patch_id IN "  # noqa: S608 - question marks
        f"({','.join('?' * len(rows))}) ORDER BY rowid",
        [row[1] for row in rows],
    ):
        again = " (asked again)" if repeat else ""
        answers[patch].append(f"{who}: {answer}{f' {name}' if name else ''}{again}")
    by_number = {
        number: (
            patch, frame, local(wall_ns), *facts,
            "; ".join(answers[patch]), patch_file(patch), frame_file(frame),
        )
        for number, patch, frame, wall_ns, *facts in rows
    }  # fmt: skip
    return [by_number[number] for number in numbers if number in by_number]


class Picture(NamedTuple):
    """A file of the ZIP."""

    name: str
    wall_ns: int
    table: str
    column: str
    id: str

    def read(self, db: Database) -> bytes | None:
        """Its content; None: the frame is no more than its patch, or the picture has gone."""
        row = db.execute(
            f"SELECT {self.column} FROM {self.table} WHERE id = ?",  # noqa: S608 - our own words
            [self.id],
        ).fetchone()
        return row[0] or None if row else None


def pictures(db: Database, number: int) -> list[Picture]:
    """The patch of a flag and its frame; none where the flag has gone meanwhile."""
    row = db.execute(
        "SELECT f.patch_id, f.frame_id, r.wall_ns FROM flags f JOIN frames r ON r.id = f.frame_id "
        "WHERE f.id = ?",
        [number],
    ).fetchone()
    if row is None:
        return []
    patch, frame, wall_ns = row
    return [
        Picture(patch_file(patch), wall_ns, "patches", "png", patch),
        Picture(frame_file(frame), wall_ns, "frames", "jpeg", frame),
    ]


def patch_file(patch: str) -> str:
    """The name of a patch's picture."""
    return f"patches/{_safe(patch)}.png"


def frame_file(frame: str) -> str:
    """The name of a frame's picture."""
    return f"frames/{_safe(frame)}.jpg"


def _safe(words: str) -> str:
    return re.sub(r"[^0-9A-Za-z_-]", "_", words)
