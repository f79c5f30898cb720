"""Two recipes the whole way, as separate programs: both are asked about on one review server, learn
in one night, come down in one sync, and judge by turns."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from camera.milled_steel import CLASSES
from config.document import to_toml
from config.load import load_settings
from config.recipes import load_recipes
from config.settings import FolderSource, Settings
from device.models.models_in_use import in_force
from device.store.answers import truth_of
from device.store.database import open_store
from tests.device.review.conftest import serving
from tests.device.update.conftest import Site
from tests.trainer.night.night_site import golden_folder, plates
from tests.trainer.night.test_night_whole import millsight, site_on_disk
from trainer.publishing.publish import releases

RING = """[recipe]
index = 1
classes = ["fine", "burr"]
pass_classes = ["fine"]
regions = [{ x = 0, y = 0, width = 150, height = 150 }]
[trainer]
golden = "ring-golden"
"""
RING_CLASS = {"clean": "fine", "patch": "burr", "pitted_surface": "burr", "scratch": "burr"}


def answer_all(settings: Settings) -> dict[str, set[str]]:
    """Answer what waits by the review server's API, rightly; which answers each recipe got."""
    given: dict[str, set[str]] = {}
    db = open_store(settings.device.data)
    with serving(settings) as server:
        page = server.client()
        page.open("operator")
        number = 0
        while (reply := page.questions())["questions"]:
            for question in reply["questions"]:
                number += 1
                recipe, patch = question["recipe"], question["patch"]
                truth = str(truth_of(db, patch))
                name = truth if recipe == "default" else RING_CLASS[truth]
                assert name in reply["recipes"][recipe]["classes"]
                tapped = page.tap(f"answer-{number:04}", patch, name=name, operator="operator")
                assert tapped.status_code == 200, tapped.text
                given.setdefault(recipe, set()).add(name)
    db.close()
    return given


def in_use(settings: Settings) -> dict[str, str | None]:
    """The model in use of each recipe."""
    db = open_store(settings.device.data)
    found = {u.name: in_force(db, u.key).model_id for u in load_recipes(settings).each()}
    db.close()
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_recipes_from_the_first_question_to_the_verdict(tmp_path: Path) -> None:
    config = site_on_disk(tmp_path, 24)
    settings = load_settings(config)
    update = settings.update.model_copy(update={"largest_slowdown": 100.0})  # on a busy machine
    settings = settings.model_copy(update={"update": update})
    config.write_text(to_toml(settings))
    settings.device.recipes.mkdir()
    (settings.device.recipes / "ring.toml").write_text(RING)
    images, names = plates(6000, 32)
    golden_folder(
        settings.device.recipes / "ring-golden", images, [RING_CLASS[name] for name in names]
    )
    with_config = ("-c", str(config))
    millsight("trainer", "keys", "init", *with_config, "--offline", str(tmp_path / "stick"))
    millsight("device", "run", *with_config)
    millsight("recipe", "select", "ring", *with_config, "--operator", "anna")
    millsight("device", "run", *with_config)

    assert answer_all(settings) == {"default": set(CLASSES), "ring": {"fine", "burr"}}
    config.write_text(to_toml(settings))
    assert "48 answers" in millsight("device", "sync", *with_config)
    said = millsight("trainer", "night", *with_config)
    assert "default: published " in said
    assert "ring: published " in said
    said = millsight("device", "sync", *with_config)
    first = in_use(settings)
    both = load_recipes(settings).all()
    published = {name: releases(under)[-1].model for name, under in both.items()}
    assert first == published
    assert first["default"] != first["ring"]
    for name, model in first.items():
        assert f"models: recipe {name}: {str(model)[:12]} in use" in said

    judged = run_and_switch(settings, config)
    assert judged == {"default": {first["default"]}, "ring": {first["ring"]}}

    # What is bad in one channel does not hurt the other.
    site = Site(config, both["default"], tmp_path / "stick", images, lambda *_: (0, ""))
    site.sign_anything(b"no model at all")
    newer = tmp_path / "newer.onnx"
    millsight("trainer", "train", str(newer), *with_config, "--recipe", "ring", "--seed", "7")
    millsight("trainer", "publish", str(newer), *with_config, "--recipe", "ring")
    said = millsight("device", "sync", *with_config, ok=False)
    assert "millsight: recipe default: " in said
    second = in_use(settings)
    assert second["default"] == first["default"]
    assert second["ring"] == releases(both["ring"])[-1].model != first["ring"]


def run_and_switch(settings: Settings, config: Path) -> dict[str, set[str | None]]:
    """Let a loop run while recipes are selected; which models judged for each of them."""
    folder = FolderSource(path=settings.camera.folder.path, repeat=True, rate_fps=20)
    camera = settings.camera.model_copy(update={"folder": folder})
    config.write_text(to_toml(settings.model_copy(update={"camera": camera})))
    db = open_store(settings.device.data)
    before = judged_frames(db)
    command = [sys.executable, "-m", "millsight", "device", "run", "--verdicts", "-c", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or []))
    reader.start()

    def verdicts() -> list[dict[str, Any]]:
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait_for(what: Any) -> None:
        end = time.monotonic() + 120
        while not what():
            assert time.monotonic() < end, "".join(lines)
            time.sleep(0.05)

    try:
        for name, passing in (("default", "clean"), ("ring", "fine"), ("default", "clean")):
            millsight("recipe", "select", name, "-c", str(config), "--operator", "anna")
            already = len(verdicts()) + 2  # a frame that was in work may be of the last recipe
            wait_for(lambda already=already: len(verdicts()) > already + 20)
            classes = {v["class"] for v in verdicts()[already + 10 :]} - {None}
            known = {"clean": set(CLASSES), "fine": {"fine", "burr"}}[passing]
            assert classes <= known
    finally:
        process.terminate()
        process.wait()
        reader.join()
        process.stdout.close()
    assert process.returncode == 0
    numbers = [verdict["sequence"] for verdict in verdicts()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))  # none was dropped
    after = judged_frames(db)
    db.close()
    config.write_text(to_toml(settings))
    found: dict[str, set[str | None]] = {}
    for (recipe, model), frames in after.items():
        if frames > before.get((recipe, model), 0):
            found.setdefault(recipe, set()).add(model)
    return found


def judged_frames(db: Database) -> dict[tuple[str, str], int]:
    """Frames by recipe and model, those without a model left out."""
    rows = db.execute(
        "SELECT recipe, model_id, sum(frames) FROM counters WHERE model_id != '' GROUP BY 1, 2"
    )
    return {(recipe, model): frames for recipe, model, frames in rows}
