"""Drift through the store, the loop and the command: blocks in, alarms and pictures out."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sqlite_utils import Database

from camera.source import Event, Frame
from config.document import to_toml
from config.settings import Device, Drift, Settings
from device.drift.detection import BINS, NEW_SURFACE, Block
from device.drift.log import (
    PICTURES,
    EndedBlock,
    add_block,
    alarms,
    picture,
    progress,
    reset,
    say,
)
from device.loop.loop import InspectionLoop
from device.models.activation import activate
from device.store.database import open_store
from tests.device.conftest import MakeModel

QUICK = Drift(block_s=0, block_frames=10, reference_blocks=60, quiet_blocks=30)
IMAGE = np.full((200, 200), 90, np.uint8)
M1, M2 = "1" * 64, "2" * 64


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    store = open_store(tmp_path / "data")
    yield store
    store.close()


class Shop:
    """Blocks of a stream that is as ever, unless told otherwise."""

    def __init__(self, db: Database, seed: int = 0) -> None:
        self.db = db
        self._rng = np.random.default_rng(seed)

    def work(
        self,
        blocks: int,
        *,
        light: float = 1.0,
        unusual: float = 0.0,
        part: str = "",
        model: str = M1,
        settings: Drift = QUICK,
    ) -> list[Event]:
        """Add blocks; what was reported."""
        said = []
        for _ in range(blocks):
            looks = np.log([100 * light, 0.2, 0.1]) + self._rng.normal(0, 0.01, 3)
            scores = np.zeros((2, BINS), np.int64)
            scores[:, 10] = self._rng.poisson(50, 2)
            scores[0, 25] = self._rng.poisson(100 * unusual) if unusual else 0
            ended = EndedBlock(
                Block(10, looks, scores), "default", part, model, ["a", "b"], IMAGE, IMAGE // 2
            )
            with self.db.atomic():
                said += add_block(self.db, ended, settings)
        return said


@pytest.fixture
def shop(db: Database) -> Shop:
    return Shop(db)


def test_an_alarm_names_what_moved_and_keeps_pictures(shop: Shop, db: Database) -> None:
    assert shop.work(80) == []
    said = shop.work(10, light=0.75)
    assert [event.kind for event in said] == ["drift"]
    (alarm,) = alarms(db, ["default"], lasting=True)
    assert alarm.kind == "light"
    assert alarm.moved[0].before == pytest.approx(100, rel=0.02)
    assert "darker, grey value 100 to " in said[0].text
    assert say(alarm) == "the light has changed: 25% darker, grey value 100 to 75"  # by now
    assert len(alarm.before) == len(alarm.after) == PICTURES
    assert max(alarm.before) < 10
    assert min(alarm.after) > 77
    shop.work(60, light=0.75)
    for block in [*alarm.before, *alarm.after]:
        jpeg = picture(db, block, alarm.kind)
        assert jpeg is not None
        grey = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert grey is not None
        assert abs(int(grey[0, 0]) - 90) <= 1  # the usual frame
    kept = db.execute("SELECT count(DISTINCT block) FROM drift_pictures").fetchone()[0]
    assert kept <= 14 + 3 * PICTURES


def test_pictures_of_a_new_surface_are_the_odd_ones(shop: Shop, db: Database) -> None:
    shop.work(80)
    shop.work(15, unusual=0.1)
    (alarm,) = alarms(db, ["default"])
    assert alarm.kind == "new surface"
    jpeg = picture(db, alarm.after[-1], alarm.kind)
    assert jpeg is not None
    grey = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    assert abs(int(grey[0, 0]) - 45) <= 1


def test_an_alarm_is_said_once_and_ends_by_itself(shop: Shop, db: Database) -> None:
    shop.work(80)
    assert len(shop.work(200, light=0.75)) == 1  # and the reference does not follow
    assert [event.kind for event in shop.work(14)] == ["drift-ended"]
    assert alarms(db, ["default"], lasting=True) == []
    assert [event.kind for event in shop.work(30)] == []
    assert [event.kind for event in shop.work(10, light=0.75)] == ["drift"]


def test_the_same_alarm_is_not_repeated_within_the_quiet_time(shop: Shop, db: Database) -> None:
    shop.work(80)
    shop.work(5, light=0.75)
    shop.work(14)
    assert "drift" not in {event.kind for event in shop.work(5, light=0.75)}
    assert len(alarms(db, ["default"])) == 1


def test_changed_pictures_explain_changed_scores(shop: Shop, db: Database) -> None:
    shop.work(80)
    shop.work(5, light=0.75)
    assert shop.work(30, light=0.75, unusual=0.1) == []


def test_a_reset_makes_the_present_the_reference(shop: Shop, db: Database) -> None:
    shop.work(80)
    shop.work(10, light=0.75)
    reset(db, "default", None, "Anna")
    assert alarms(db, ["default"], lasting=True) == []
    assert shop.work(80, light=0.75) == []
    assert [event.kind for event in shop.work(10)] == ["drift"]  # brighter again
    trail = db.execute("SELECT who, action, subject FROM actions").fetchall()
    assert [tuple(row) for row in trail] == [("Anna", "reset drift", "every part")]


def test_a_new_model_resets_scores_and_keeps_pictures(shop: Shop, db: Database) -> None:
    shop.work(80)
    assert shop.work(80, unusual=0.1, model=M2) == []
    assert [one.scores_reference for one in progress(db, "default", M2)] == [60]
    (event,) = shop.work(10, light=0.75, unusual=0.1, model=M2)
    assert event.kind == "drift"


def test_every_part_has_a_reference_of_its_own(shop: Shop, db: Database) -> None:
    shop.work(80)
    assert shop.work(80, light=0.7, part="P") == []
    assert {event.kind for event in shop.work(10, light=0.7)} == {"drift"}
    reset(db, "default", "", "Anna")
    assert [(one.part, one.blocks > 0) for one in progress(db, "default", M1)] == [
        ("", False), ("P", True),
    ]  # fmt: skip


def test_the_reference_stops_growing(shop: Shop, db: Database) -> None:
    shop.work(100)
    assert progress(db, "default", M1)[0][1:] == (100, 60, 60)


def test_other_classes_than_before_are_no_error(shop: Shop, db: Database) -> None:
    shop.work(80)
    ended = EndedBlock(
        Block(10, np.log([100, 0.2, 0.1]), np.zeros((3, BINS), np.int64)),
        "default", "", M1, ["a", "b", "c"], IMAGE, None,
    )  # fmt: skip
    with db.atomic():
        add_block(db, ended, QUICK)


# --- the running loop -------------------------------------------------------------------------


def stream_of(
    plates: NDArray[np.uint8], frames: int, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> type:
    """A source of plates in random order, changed after three quarters."""

    class Plates:
        live = False

        def frames(self) -> Iterator[Frame]:
            rng = np.random.default_rng(2)
            for number in range(frames):
                image = plates[rng.integers(len(plates))]
                if number >= frames * 3 // 4:
                    image = change(image)
                yield Frame(image, number, number, 10**18 + number)

        def close(self) -> None:
            pass

    return Plates


def dimmed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(image * 0.7, np.uint8)


def blurred(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5), np.uint8)


def brushed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same plates of a coarser steel."""
    stripes = 1 + 0.45 * np.sin(np.arange(200) * 2.1)[:, None]
    return np.asarray(np.clip(image * stripes, 0, 255), np.uint8)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param(dimmed, "light", id="light"),
        pytest.param(blurred, "lens", id="lens", marks=pytest.mark.slow),
        pytest.param(brushed, "material", id="material", marks=pytest.mark.slow),
        pytest.param(lambda image: image, None, id="nothing"),
    ],
)
def test_a_running_loop_notices(
    settings: Settings,
    make_model: MakeModel,
    plates: NDArray[np.uint8],
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    kind: str | None,
) -> None:
    quick = Drift(block_s=0, block_frames=10, reference_blocks=60)
    settings = settings.model_copy(update={"drift": quick})
    db = open_store(settings.device.data)
    activate(db, make_model(), settings, "test")
    said: list[Event] = []
    InspectionLoop(settings, said.append, lambda _: stream_of(plates, 800, change)()).run()
    found = alarms(db, ["default"])
    kinds = [alarm.kind for alarm in found]
    assert kinds[:1] == ([] if kind is None else [kind])
    # Scores may move in the first block of a change, and pictures no sooner than in the next.
    assert set(kinds[1:]) <= {NEW_SURFACE}
    told = [event.text for event in said if event.kind == "drift"]
    assert len(told) == len(found)
    stored = db.execute("SELECT text FROM events WHERE kind = 'drift' ORDER BY id").fetchall()
    assert [row[0] for row in stored] == told
    block = db.execute("SELECT * FROM drift_blocks ORDER BY id LIMIT 1").fetchone()
    assert block is not None
    frames, patches = db.execute(
        "SELECT sum(frames), (SELECT sum(json_extract(pair.value, '$[1]')) FROM drift_blocks b, "
        "json_each(b.scores) c, json_each(c.value) pair) FROM drift_blocks"
    ).fetchone()
    assert frames == patches  # one patch a frame
    db.close()


# --- the command ------------------------------------------------------------------------------


def test_the_command(shop: Shop, db: Database, tmp_path: Path) -> None:
    config = tmp_path / "millsight.toml"
    settings = Settings(device=Device(data=tmp_path / "data"))
    config.write_text(to_toml(settings), encoding="utf-8")

    def drift(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "millsight", "device", "drift", "-c", str(config)]
        return subprocess.run([*command, *options], capture_output=True, text=True, check=False)

    assert "nothing compared yet" in drift().stdout
    shop.work(80)
    shop.work(10, light=0.75)
    said = drift().stdout
    assert "part -: 90 blocks since the last reset; reference 60 of 288 for pictures" in said
    assert "the light has changed: 25% darker, grey value 100 to 75\n" in said
    found = json.loads(drift("--json").stdout)
    assert found["alarms"][0]["kind"] == "light"
    assert math.isclose(found["alarms"][0]["moved"][0]["after"], 75, rel_tol=0.05)
    assert drift("--reset").stderr.startswith("millsight: --who: missing")
    assert drift("--part", "P").returncode == 1
    assert "(over since " in drift("--reset", "--who", "Anna").stdout
    assert alarms(db, ["default"], lasting=True) == []
