"""The gate on real patches, through the real command: of these nights only the honest one goes out.

Slow: every night trains for minutes.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from config.document import to_toml
from config.load import load_settings, parse_settings
from config.settings import Settings
from device.store.answers import LabelledPatches, add_label
from device.store.database import open_store
from tests.trainer.night.night_site import golden_folder, store
from trainer.learning.dataset import class_folders, split
from trainer.publishing.keys import make_keys
from trainer.publishing.publish import releases


def command_night(folder: Path) -> tuple[str, dict[str, Any]]:
    """Run a night of the site in a folder; what it printed, and its report."""
    config = folder / "millsight.toml"
    command = [sys.executable, "-m", "millsight", "trainer", "night", "-c", str(config)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
    page = Path(result.stdout.split("report: ")[1].splitlines()[0])
    return result.stdout, json.loads(page.with_suffix(".json").read_text())


def make_neu_site(folder: Path, neu_cls: Path, labels: int) -> tuple[Settings, LabelledPatches]:
    """A trainer with 20 % of the real patches as golden ones, and labelled patches of the rest."""
    dataset = class_folders(neu_cls)
    pool, test = split(dataset.labels, 0.2, 0)
    chosen = np.random.default_rng(0).permutation(pool)[:labels]
    held, part = dataset.part(test), dataset.part(chosen)
    names = [dataset.classes[c] for c in held.labels]
    file = folder / "millsight.toml"
    settings = parse_settings(
        {
            "device": {"name": "box", "data": "data"},
            "recipe": {"classes": dataset.classes, "pass_classes": []},
            "trainer": {"golden": str(golden_folder(folder / "golden", held.patches(), names))},
        },
        file,
    )
    file.write_text(to_toml(settings))
    make_keys(settings, folder / "stick")
    names = [dataset.classes[c] for c in part.labels]
    return settings, LabelledPatches(part.patches(), names, [])


@pytest.fixture(scope="module")
def neu_site(tmp_path_factory: pytest.TempPathFactory, neu_cls: Path) -> Path:
    """Real patches: 20 % golden, 216 labelled, and a champion from the first 108 of these."""
    folder = tmp_path_factory.mktemp("neu")
    settings, labelled = make_neu_site(folder, neu_cls, 216)
    db = open_store(settings.trainer.data)
    store(db, labelled.patches[:108], labelled.classes[:108], "cold-start")
    said, _ = command_night(folder)
    assert "published " in said.splitlines()[-1], said
    store(db, labelled.patches[108:], labelled.classes[108:], "uncertain")
    db.close()
    return folder


def spoil(settings: Settings, fault: str) -> None:
    """Bring a fault into the labels of a trainer's store."""
    db = open_store(settings.trainer.data)
    rows = db.execute("SELECT patch_id, class FROM labels ORDER BY rowid").fetchall()
    classes = settings.recipe.classes
    rng = np.random.default_rng(1)
    if fault == "flipped":
        for i in rng.permutation(len(rows))[: len(rows) // 5]:
            patch, name = rows[i]
            other = classes[(classes.index(name) + 1 + int(rng.integers(5))) % 6]
            add_label(db, patch, other, "mallory")
    if fault == "class left out":
        db.execute("DELETE FROM labels WHERE class = ?", [classes[3]])
    if fault == "inverted pictures":  # what is learnt from is not what the device sees
        for patch, name in rows:
            png = db.execute("SELECT png FROM patches WHERE id = ?", [patch]).fetchone()[0]
            image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
            assert image is not None
            db.execute("DELETE FROM labels WHERE patch_id = ?", [patch])
            store(db, np.asarray(255 - image, np.uint8)[None], [name], "uncertain")
    db.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", ["none", "flipped", "class left out", "inverted pictures"])
def test_only_the_honest_night_goes_out(neu_site: Path, tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "site"
    shutil.copytree(neu_site, folder)
    config = folder / "millsight.toml"
    config.write_text(config.read_text().replace(str(neu_site), str(folder)))
    settings = load_settings(config)
    spoil(settings, fault)
    before = releases(settings)
    said, report = command_night(folder)
    print(f"\n{fault}:\n{said}{json.dumps(report['metrics'])}\n{json.dumps(report['seconds'])}")
    assert report["publish"] == (fault == "none")
    assert len(releases(settings)) - len(before) == (fault == "none")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_where_the_time_of_a_night_of_1000_labels_goes(tmp_path: Path, neu_cls: Path) -> None:
    settings, labelled = make_neu_site(tmp_path, neu_cls, 1000)
    db = open_store(settings.trainer.data)
    store(db, labelled.patches, labelled.classes)
    db.close()
    began = time.monotonic()
    said, report = command_night(tmp_path)
    print(f"\n{time.monotonic() - began:.0f} s in all: {json.dumps(report['seconds'])}")
    assert report["labels"] > 990  # a few look exactly like golden ones
    assert "published " in said.splitlines()[-1], said
