"""Devices with something to send: a real store, filled by the device's own keeper."""

import time
from collections import Counter
from pathlib import Path

from sqlite_utils import Database

from camera.milled_steel import CLASSES, random_patch
from camera.source import Event, Frame
from config.document import to_toml
from config.load import parse_settings
from config.settings import Exchange, Region, Settings
from device.judging.patches import patch_id
from device.loop.keeper import Counts, Keeper, KeptFrame, KeptPatch
from device.store.answers import add_label
from device.store.database import open_store

WHOLE = Region(x=0, y=0, width=200, height=200)


def device_settings(
    folder: Path, name: str, exchange: Exchange | None = None, **sections: object
) -> Settings:
    """A device with its folder; its exchange and trainer stand beside it."""
    settings = parse_settings(
        {
            "device": {"name": name, "data": f"{name}"},
            "exchange": {"url": str(folder / "exchange")},
            "trainer": {"data": str(folder / "trainer")},
            **sections,
        },
        folder / f"{name}.toml",
    )
    return settings if exchange is None else settings.model_copy(update={"exchange": exchange})


def config_file(settings: Settings, folder: Path) -> Path:
    """The settings as a file, for commands."""
    path = folder / f"{settings.device.name}.toml"
    path.write_text(to_toml(settings))
    return path


def fill(
    settings: Settings, patches: int, first: int = 0, audits: int = 3, origin: str = "seed"
) -> list[str]:
    """Keep patches as the loop does; every `audits`-th one is a random draw. Their ids."""
    ids = []
    name = settings.device.name
    keeper = Keeper(settings, lambda _event: None)
    keeper.start()
    counted: Counter[tuple[int, str, str, str, str, str, str]] = Counter()
    for i in range(first, first + patches):
        pixels = random_patch(i, CLASSES[i % 4]).image
        identity = patch_id(pixels, name, WHOLE)
        ids.append(identity)
        draw = i % audits == 0
        patch = KeptPatch(
            identity,
            pixels,
            WHOLE,
            "audit" if draw else "uncertain",
            0.5 + i,
            CLASSES[i % 4],
            draw_probability=0.1 if draw else None,
            log_probabilities=[-0.1, -2.5, -4.0, -6.0],
        )
        frame = Frame(pixels, i, time.monotonic_ns(), time.time_ns(), origin)
        keeper.put(
            KeptFrame(frame, "default", "plate", "L-1", 1, None, "unsure", CLASSES[i % 4], [patch])
        )
        counted[29_000_000 + i // 5, "", "default", "unsure", "", "plate", "L-1"] += 1
    scores = Counter({(480_000, "", CLASSES[0], "plate", 3): patches})
    keeper.put(Counts(counted, scores, {"activity": "stopped"}))
    keeper.put(Event("lost", "camera: no picture"))
    keeper.close()
    return ids


def answer(settings: Settings, ids: list[str], name: str = "scratch") -> None:
    """An operator answers."""
    db = open_store(settings.device.data)
    for identity in ids:
        add_label(db, identity, name, "anna")
    db.conn.commit()
    db.close()


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    """What a store says."""
    db = open_store(folder)
    found = [tuple(row) for row in db.execute(query)]
    db.close()
    return found


def last_answers(db: Database) -> dict[str, str]:
    """Of every patch the class of its last answer, as a night reads it."""
    return dict(
        db.execute(
            "SELECT patch_id, coalesce(class, answer) FROM labels l WHERE rowid = "
            "(SELECT max(rowid) FROM labels WHERE patch_id = l.patch_id AND NOT repeat)"
        ).fetchall()
    )
