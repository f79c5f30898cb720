"""The map of a scanned plate: every picture, verdict and warm spot at its place in millimetres."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from camera.raster import plan_raster
from camera.source import Event, Frame, Piece
from config.settings import Camera, FolderSource, Light, Quality, Scan, Settings, Stage
from device.judging.model import Model, load_model
from device.judging.patches import Cutter
from device.judging.plate import MOSAIC_PX, PlateMaps, Rect, Shown, heat_of, plate_of
from device.judging.verdict import judge
from device.loop.loop import InspectionLoop
from device.models.activation import activate
from device.store.database import open_store
from device.store.plate_log import add_plate, count_plates, find_plate, plate_picture
from device.store.plate_log import plates as plates_of
from tests.camera.test_platform import Simulated
from tests.device.conftest import MakeModel

sides = st.floats(5, 400)


def scan_all(image: NDArray[np.uint8], scan: Scan, pixels_per_mm: float) -> Iterator[Frame]:
    """The pictures of a plate whose whole picture this is, its lower left corner at 0, 0 mm."""
    places = plan_raster(scan)
    for number, (x_mm, y_mm) in enumerate(places):
        left = round((x_mm - scan.field_width_mm / 2) * pixels_per_mm)
        bottom = image.shape[0] - round((y_mm - scan.field_height_mm / 2) * pixels_per_mm)
        width = round(scan.field_width_mm * pixels_per_mm)
        height = round(scan.field_height_mm * pixels_per_mm)
        part = image[bottom - height : bottom, left : left + width]
        yield Frame(part, number, number + 1, number + 1, place_mm=(x_mm, y_mm),
                    piece=Piece(0, number, len(places)))  # fmt: skip


def test_the_mosaic_is_the_plate() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (16, 24), dtype=np.uint8)
    whole = np.asarray(cv2.resize(coarse, (1200, 800), interpolation=cv2.INTER_CUBIC), np.uint8)
    scan = Scan(width_mm=120, height_mm=80, field_width_mm=30, field_height_mm=20, overlap_mm=5)
    maps = PlateMaps()
    found = [maps.see(f, scan, None, Shown("unsure", "")) for f in scan_all(whole, scan, 10)]
    assert found[:-1] == [None] * (len(found) - 1)
    canvas = found[-1]
    assert canvas is not None
    assert canvas.area == Rect(0, 0, 120, 80)
    assert canvas.mosaic.shape == whole.shape
    difference = np.abs(canvas.mosaic.astype(int) - whole)
    assert difference.mean() < 1
    assert difference.max() < 60  # at a seam a pixel may be another


@given(sides, sides, st.floats(-50, 50), st.floats(0.01, 0.5))
def test_every_patch_lies_where_it_was_seen(
    width: float, height: float, x: float, overlap: float
) -> None:
    scan = Scan(
        x_mm=x, y_mm=-x, width_mm=width, height_mm=height, field_width_mm=40, field_height_mm=20,
        overlap_mm=20 * overlap,
    )  # fmt: skip
    if width * height > 40000:
        return
    maps, places = PlateMaps(), plan_raster(scan)
    canvas = None
    for number, place in enumerate(places):
        frame = Frame(np.full((100, 200), 7, np.uint8), number, 1, 1, place_mm=place,
                      piece=Piece(3, number, len(places)))  # fmt: skip
        canvas = maps.see(frame, scan, None, Shown("fault", "dark"))
    assert canvas is not None
    assert max(canvas.mosaic.shape) <= MOSAIC_PX + 1
    assert (canvas.mosaic == 7).all(), "no place of the plate is without a picture"
    assert canvas.worst == ("fault", "dark")
    area = canvas.area
    for patch, place in zip(canvas.patches, places, strict=True):
        assert patch.x_mm + 20 == pytest.approx(place.x_mm)
        assert patch.y_mm + 10 == pytest.approx(place.y_mm)
        assert patch.x_mm >= area.x_mm - 1e-6
        assert patch.x_mm + 40 <= area.x_mm + area.width_mm + 1e-6


def test_a_plate_that_broke_off_is_given_up() -> None:
    scan = Scan(width_mm=40, height_mm=10, field_width_mm=20, field_height_mm=20)
    count = len(plan_raster(scan))
    assert count == 3
    image = np.zeros((20, 20), np.uint8)

    def see(plate: int, number: int) -> bool:
        place = plan_raster(scan)[number]
        frame = Frame(image, 0, 1, 1, place_mm=place, piece=Piece(plate, number, count))
        return maps.see(frame, scan, None, Shown("pass", "")) is not None

    maps = PlateMaps()
    pieces = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 2), (3, 1), (3, 2)]
    assert [see(*piece) for piece in pieces] == [False] * 4 + [True] + [False] * 4


def test_warm_is_what_speaks_for_a_defect() -> None:
    maps = np.zeros((3, 3, 13, 13), np.float32)
    maps[:, 0, 0, 0] = 9  # of the good class: cold
    maps[:, 1, 5, 6] = 4
    maps[:, 2, 1, 1] = 4
    log_p = np.log(np.array([[0.9, 0.08, 0.02], [0.1, 0.85, 0.05], [0.2, 0.1, 0.7]], np.float32))
    heat = heat_of(log_p, maps, [True, False, False])
    warmest = [np.unravel_index(h.argmax(), h.shape) for h in heat]
    assert warmest == [(5, 6), (5, 6), (1, 1)]
    assert heat.max(axis=(1, 2)) == pytest.approx([0.08, 0.85, 0.7])
    assert heat_of(log_p, maps, [True, True, True]).max() == 0


@pytest.fixture
def model(make_model: MakeModel) -> Model:
    return load_model(make_model(thresholds=[1e9] * 4))


def test_a_stored_plate_is_read_back_and_old_ones_go(
    settings: Settings, model: Model, plates: NDArray[np.uint8], tmp_path: Path
) -> None:
    scan = Scan(width_mm=40, height_mm=20, field_width_mm=20, field_height_mm=20, overlap_mm=0,
                keep_plates=2)  # fmt: skip
    recipe = settings.recipe.model_copy(update={"regions": "grid"})
    db = open_store(tmp_path / "plates")
    for number in range(4):
        maps = PlateMaps()
        for piece in range(2):
            image = np.hstack([plates[4 * number + 2 * piece], plates[4 * number + 2 * piece + 1]])
            frame = Frame(image, piece, 1, 1, place_mm=(10 + 20 * piece, 10),
                          piece=Piece(number, piece, 2))  # fmt: skip
            cut = Cutter(recipe).cut(image)
            judged = judge(model, cut.patches, maps=True)
            canvas = maps.see(frame, scan, model, Shown("fail", "scratch", cut.regions, judged))
        assert canvas is not None
        assert canvas.heat.any()
        of = "r" if number else "another"
        facts = {"part": f"P{number}", "lot": "L", "recipe": of, "model_id": model.id}
        add_plate(db, plate_of(canvas, frame, **facts))
    assert count_plates(db) == 3
    lines = plates_of(db, 10)
    assert [line.part for line in lines] == ["P3", "P2", "P0"]
    found = find_plate(db, lines[0].id)
    assert found is not None
    assert (found.before, found.after) == (lines[1].id, None)
    assert [(p.x_mm, p.y_mm, p.width_mm, p.height_mm) for p in found.patches] == [
        (x, 0, 10, 20) for x in (0, 10, 20, 30)
    ]
    expected = judge(model, plates[12:16]).predicted
    assert [p.name for p in found.patches] == [model.metadata.classes[c] for c in expected]
    for heat in (False, True):
        picture = plate_picture(db, lines[0].id, heat=heat)
        assert picture is not None
        decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        assert decoded.shape[:2] == (400, 800)
    assert find_plate(db, 2) is None
    assert plate_picture(db, 2, heat=True) is None
    db.close()


def test_a_scanned_plate_is_stored_with_its_map(
    settings: Settings, make_model: MakeModel, tmp_path: Path
) -> None:
    """The running loop with stage and light, processes of their own behind ptys."""
    stage, ring = Simulated("stage", tmp_path), Simulated("gardasoft", tmp_path)
    scan = Scan(width_mm=38, height_mm=20, field_width_mm=20, field_height_mm=20, overlap_mm=2)
    camera = Camera(
        source="folder",
        folder=FolderSource(path=settings.camera.folder.path, repeat=True),
        stage=Stage(port=stage.port, settle_s=0, reply_timeout_s=5),
        light=Light(port=ring.port, reply_timeout_s=5, warm_up_s=0),
        scan=scan,
        quality=Quality(min_contrast=0, min_sharpness=0, frozen_after=0),
    )
    settings = settings.model_copy(update={"camera": camera})
    db = open_store(settings.device.data)
    activate(db, make_model(thresholds=[1e9] * 4), settings, "test")
    events: list[Event] = []
    frames = []

    def stop_after_two_plates(result: object) -> None:
        frames.append(result)
        if len(frames) == 4:
            loop.stop()

    loop = InspectionLoop(settings, events.append, on_frame=stop_after_two_plates)
    loop.run()
    found = [find_plate(db, line.id) for line in plates_of(db, 9)]
    stage.end()
    ring.end()
    assert len(found) == 2
    for plate in found:
        assert plate is not None
        assert plate.area == Rect(0, 0, 38, 20)
        assert [(p.x_mm, p.y_mm) for p in plate.patches] == [(0, 0), (18, 0)]
        fails = [p for p in plate.patches if p.verdict == "fail"]
        assert plate.line.verdict == ("fail" if fails else "pass")
    row = db.execute("SELECT patches FROM plates").fetchone()
    assert len(json.loads(row[0])) == 2
    db.close()
