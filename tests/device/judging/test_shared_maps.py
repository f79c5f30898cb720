"""Overlapping patches judged on feature maps that they share."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import ValidationError

from camera.source import Event
from config.errors import UserError
from config.settings import PATCH_SIZE, Recipe, Settings
from device.inspect_images import inspect_image
from device.judging import model as model_module
from device.judging.levelling import level
from device.judging.model import Model, load_model, load_model_bytes, tiles
from device.judging.patches import Cutter, Shared
from device.judging.verdict import judge
from device.loop.loop import InspectionLoop, Summary
from device.loop.recipe_book import RecipeBook
from device.models.activation import activate, check_recipe
from device.store.database import open_store
from device.store.pictures import decode_png
from export.graph import build_onnx
from tests.device.conftest import MakeModel, metadata
from tests.device.loop.test_loop import Listed, change
from trainer.learning.networks import GlobalPoolingNet, weights_of

OVERLAP: dict[str, Any] = {"regions": "grid", "grid_overlap_px": 104, "shared_maps": True}


@pytest.fixture
def frame(plates: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Twelve plates side by side, 600 × 800 pixels."""
    rows = [np.hstack(list(plates[row : row + 4])) for row in (0, 4, 8)]
    return np.vstack(rows)


@pytest.fixture
def network() -> GlobalPoolingNet:
    torch.manual_seed(3)
    return GlobalPoolingNet("gapc", 4, levelled=True).eval()


def model_of(network: GlobalPoolingNet) -> Model:
    said = metadata(network=network.kind, levelled=True)
    return load_model_bytes(build_onnx(weights_of(network), said), "made")


@pytest.mark.parametrize("kind", ["gapc", "gmpc"])
@pytest.mark.parametrize("overlap", [8, 104, 168])
def test_it_says_what_the_network_says_of_the_whole_frame(
    frame: NDArray[np.uint8], kind: str, overlap: int
) -> None:
    torch.manual_seed(1)
    network = GlobalPoolingNet(kind, 4, levelled=True).eval()  # type: ignore[arg-type]
    cut = Cutter(Recipe(**OVERLAP | {"grid_overlap_px": overlap})).cut(frame)
    assert cut.shared is not None
    found = model_of(network).shared_log_probabilities(cut.shared)
    with torch.inference_mode():
        grey = torch.from_numpy(level(frame))[None]
        maps = F.max_pool2d(network.base(network.standardise(grey)), 2)[0]
        for said, region in zip(found, cut.regions, strict=True):
            y, x = region.y // 32, region.x // 32
            own = maps[:, y : y + 6, x : x + 6]
            features = own.mean((1, 2)) if kind == "gapc" else own.amax((1, 2))
            expected = F.log_softmax(network.dense(features), dim=0)
            assert np.abs(said - expected.numpy()).max() < 1e-4


def test_a_patch_that_is_the_whole_frame_is_judged_as_alone(
    plates: NDArray[np.uint8], network: GlobalPoolingNet
) -> None:
    model = model_of(network)
    patch = level(plates[0])
    alone = model.log_probabilities([patch])
    shared = model.shared_log_probabilities(Shared(patch, 3))
    assert np.abs(alone - shared).max() < 1e-5


@pytest.mark.parametrize("side", [512, 520, 700])
def test_tiles_say_the_same_as_the_whole_frame(
    frame: NDArray[np.uint8],
    network: GlobalPoolingNet,
    side: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, shared = model_of(network), Shared(level(np.tile(frame, (2, 2))[:1111]), 1)
    whole = model.shared_log_probabilities(shared)
    monkeypatch.setattr(model_module, "TILE", side)
    assert len(tiles(1111)) > 1
    assert np.abs(model.shared_log_probabilities(shared) - whole).max() < 1e-5


@pytest.mark.parametrize("side", [200, 231, 232, 1536, 1537, 5472])
def test_tiles_hold_every_patch_once(side: int) -> None:
    found = [
        tile.pixels.start + 32 * window
        for tile in tiles(side)
        for window in range(tile.windows.start, tile.windows.stop)
    ]
    assert found == list(range(0, side - PATCH_SIZE + 1, 32))


def site(settings: Settings, **changes: object) -> Settings:
    return change(settings, "recipe", **OVERLAP | changes)


def run(settings: Settings, frames: list[NDArray[np.uint8]], before: int = 0) -> Summary:
    """Judge frames, the first of them the camera's frame number `before`."""
    black = np.zeros((1, 1), np.uint8)
    source = Listed([black] * before + frames)
    return InspectionLoop(settings, lambda _event: None, lambda _report: source).run()


def test_the_loop_judges_by_shared_maps_and_keeps_levelled_pictures(
    settings: Settings, frame: NDArray[np.uint8], network: GlobalPoolingNet, tmp_path: Path
) -> None:
    settings = site(settings)
    file = tmp_path / "levelled.onnx"
    file.write_bytes(build_onnx(weights_of(network), metadata(levelled=True)))
    db = open_store(settings.device.data)
    model = activate(db, file, settings, "test")
    frames = [frame, np.ascontiguousarray(frame[::-1])]
    assert run(settings, frames).verdicts.total() == 2
    rows = db.execute(
        "SELECT p.x, p.y, p.png, f.log_probabilities, f.variant, fr.sequence FROM flags f "
        "JOIN patches p ON p.id = f.patch_id JOIN frames fr ON fr.id = f.frame_id"
    ).fetchall()
    assert rows
    for x, y, png, said, variant, number in rows:
        levelled = level(frames[number])
        picture = decode_png(png, "")
        assert np.array_equal(picture, levelled[y : y + PATCH_SIZE, x : x + PATCH_SIZE])
        cut = Cutter(settings.recipe).cut(frames[number])
        assert cut.shared is not None
        i = [(r.x, r.y) for r in cut.regions].index((x, y))
        expected = model.shared_log_probabilities(cut.shared)[i]
        assert np.abs(np.array(json.loads(said)) - expected).max() < 1e-5
        assert variant == "shared"


def test_inspect_judges_as_the_loop_does(
    frame: NDArray[np.uint8], network: GlobalPoolingNet, tmp_path: Path
) -> None:
    recipe, model = Recipe(**OVERLAP), model_of(network)
    path = tmp_path / "plate.png"
    cv2.imwrite(str(path), frame)
    said = inspect_image(path, model, recipe, tmp_path / "out")["patches"]
    cut = Cutter(recipe).cut(frame)
    assert cut.shared is not None
    judged = judge(model, cut.patches, shared=[cut.shared])
    expected = [model.metadata.classes[c] for c in judged.predicted]
    assert [patch["predicted"] for patch in said] == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"regions": "whole"}, 'needs regions = "grid"'),
        ({"grid_overlap_px": 100}, "one of 8, 40, 72"),
    ],
)
def test_maps_that_cannot_be_shared_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Recipe(**OVERLAP | changes)


def test_model_and_recipe_must_agree(network: GlobalPoolingNet, make_model: MakeModel) -> None:
    plain, levelled = load_model(make_model()), model_of(network)
    shared = Recipe(**OVERLAP)
    check_recipe(levelled.metadata, shared, "m")
    for model, recipe in ((plain, shared), (levelled, Recipe())):
        with pytest.raises(UserError, match="shared_maps = "):
            check_recipe(model.metadata, recipe, "m")


def test_files_of_plain_models_are_as_they_were(network: GlobalPoolingNet) -> None:
    content = build_onnx(weights_of(GlobalPoolingNet("gapc", 4)), metadata())
    assert b"levelled" not in content
    outputs = onnx.load_from_string(content).graph.output
    assert [one.name for one in outputs] == ["log_probabilities", "features", "activation_maps"]


def test_a_recipe_does_not_mix_its_pictures(settings: Settings, frame: NDArray[np.uint8]) -> None:
    run(settings, [frame])
    with pytest.raises(UserError, match="has kept pictures with shared_maps = false"):
        run(site(settings), [frame])
    other = site(settings, name="other")
    run(other, [frame], before=1)
    with pytest.raises(UserError, match="has kept pictures with shared_maps = true"):
        run(change(other, "recipe", shared_maps=False), [frame], before=2)
    run(other, [frame], before=3)
    run(settings, [frame], before=4)


def test_a_recipe_beside_others_is_refused_alone(
    settings: Settings, frame: NDArray[np.uint8]
) -> None:
    run(settings, [frame])
    other = np.ascontiguousarray(frame[::-1])  # the same picture is kept once
    run(change(settings, "recipe", name="thin"), [other], before=1)
    folder = settings.device.recipes
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "thin.toml").write_text(
        '[recipe]\nname = "thin"\nregions = "grid"\ngrid_overlap_px = 104\nshared_maps = true\n'
    )
    events: list[Event] = []
    db = open_store(settings.device.data)
    book = RecipeBook(settings, events.append)
    book.follow(db)
    book.close()
    assert book.named("thin") is None
    assert book.now.name == settings.recipe.name
    assert any("shared_maps" in event.text for event in events if event.kind == "recipe-refused")


def test_what_is_stored_of_plain_models_is_what_earlier_versions_know(
    settings: Settings, make_model: MakeModel
) -> None:
    db = open_store(settings.device.data)
    activate(db, make_model(), settings, "test")
    assert "levelled" not in json.loads(db.execute("SELECT metadata FROM models").fetchone()[0])
