"""Frames written to a folder, with what was known of each, so that they can be played again."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2

from camera.source import Frame, KnownDefect, Piece
from config.errors import UserError

INDEX = "recording.jsonl"
"""A line for each frame of a recording: JSON, see `record`."""


def record(frames: Iterable[Frame], folder: Path, settings: dict[str, Any]) -> int:
    """Write frames as PNG files until they end; returns how many.

    A line of the index is written after its picture, so an interrupted recording is whole up to
    there. Its first line holds the camera's settings; each other line `file`, `sequence`,
    `wall_ns`, `monotonic_ns` (when it was taken), `origin`, `fault`, `place_mm`, `piece`, `truth`
    and `defects`.

    Raises:
        UserError: the folder holds something already, or cannot be made.
        OSError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"{folder}: not empty; name a new folder")
    except OSError as error:
        raise UserError(f"{folder}: cannot be made: {error.strerror}") from None
    count = 0
    with (folder / INDEX).open("x", encoding="utf-8") as index:
        index.write(json.dumps({"camera": settings}) + "\n")
        for frame in frames:
            file = f"{count:06}.png"
            quick = [cv2.IMWRITE_PNG_COMPRESSION, 1]
            (folder / file).write_bytes(cv2.imencode(".png", frame.image, quick)[1].tobytes())
            line = {
                "file": file,
                "sequence": frame.sequence,
                "wall_ns": frame.wall_ns,
                "monotonic_ns": frame.monotonic_ns,
                "origin": frame.origin,
                "fault": frame.fault,
                "place_mm": frame.place_mm,
                "piece": frame.piece,
                "truth": frame.truth,
                "defects": [[defect.name, list(defect.box)] for defect in frame.defects],
            }
            index.write(json.dumps(line) + "\n")
            index.flush()
            count += 1
    return count


def read_index(folder: Path) -> dict[Path, dict[str, Any]]:
    """What is known of the frames of a recording, by file; empty where a folder is none.

    Raises:
        UserError: the index cannot be read.
    """
    path = folder / INDEX
    if not path.is_file():
        return {}
    known = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if "file" in entry:
                entry["defects"] = tuple(KnownDefect(n, tuple(box)) for n, box in entry["defects"])
                entry["place_mm"] = None if entry["place_mm"] is None else tuple(entry["place_mm"])
                piece = entry.get("piece")  # recordings of older versions do not have it
                entry["piece"] = None if piece is None else Piece(*piece)
                known[folder / entry["file"]] = entry
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the index of a recording: {error}") from None
    return known
