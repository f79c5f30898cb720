"""From labels to a model file, and the commands around it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from camera.milled_steel import CLASSES, random_patch
from config.document import to_toml
from config.errors import UserError
from config.settings import Asking, Device, Recipe, Settings, Trainer
from device.judging.kls import fit_baselines
from device.judging.levelling import level
from device.judging.model import load_model
from device.judging.patches import Shared
from device.models.activation import check_recipe
from device.store.answers import LabelledPatches
from trainer.learning.retrain import labels_digest, retrain
from trainer.learning.training import Progress, Training

QUICK = Training(fewest_steps=30, most_steps=30)


@pytest.fixture(scope="module")
def labelled() -> LabelledPatches:
    patches = np.stack([random_patch(i, CLASSES[i % 4]).image for i in range(40)])
    return LabelledPatches(
        patches, [CLASSES[i % 4] for i in range(40)], [f"{i:02}" for i in range(40)]
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        device=Device(data=tmp_path / "data"),
        recipe=Recipe(classes=list(CLASSES), pass_classes=["clean"]),
        trainer=Trainer(threads=1, seed=4, most_wrong=0.9),
    )


def test_levelled_pictures_make_a_model_for_shared_maps(
    labelled: LabelledPatches, settings: Settings, tmp_path: Path
) -> None:
    values = {"regions": "grid", "grid_overlap_px": 104, "shared_maps": True}
    recipe = settings.recipe.model_copy(update=values)
    trainer = settings.trainer.model_copy(update={"most_steps": 30, "folds": 2})
    settings = settings.model_copy(update={"recipe": recipe, "trainer": trainer})
    levelled = labelled._replace(patches=np.stack([level(one) for one in labelled.patches]))
    result = retrain(levelled, settings, tmp_path / "m.onnx")
    assert result.parity.good
    model = load_model(tmp_path / "m.onnx")
    check_recipe(model.metadata, recipe, "m")
    brighter = levelled.patches[:4] // 2 + 90  # the model does not standardise by itself
    said, other = (model.log_probabilities(some) for some in (levelled.patches[:4], brighter))
    assert np.abs(said - other).max() > 1e-3
    frame = Shared(levelled.patches[0], 1)
    alone = model.log_probabilities(levelled.patches[:1])
    assert np.abs(model.shared_log_probabilities(frame) - alone).max() < 1e-4


def test_the_model_carries_all_a_device_needs(
    labelled: LabelledPatches, settings: Settings, tmp_path: Path
) -> None:
    seen: list[str] = []

    def note(name: str, _progress: Progress) -> None:
        if name not in seen:
            seen.append(name)

    out = tmp_path / "m.onnx"
    result = retrain(labelled, settings, out, parent="p", training=QUICK, on_step=note)
    assert seen == ["model", "fold 1 of 2", "fold 2 of 2"]
    assert result.parity.good
    assert result.parity.patches == 40
    model = load_model(out)
    metadata = model.metadata
    assert metadata == result.model.metadata
    assert (metadata.labels, metadata.parent, metadata.seed) == (40, "p", 4)
    assert metadata.labels_digest == labels_digest(labelled)
    fitted = fit_baselines(model.log_probabilities(labelled.patches))
    np.testing.assert_allclose(model.baselines.pdc, fitted.pdc, atol=1e-4)
    assert metadata.baseline_counts == fitted.counts.tolist()
    assert 0 <= metadata.metrics["held_out_accuracy"] <= 1
    assert any(t is not None for t in metadata.thresholds)


def test_the_floored_strategy_travels_with_the_model(
    labelled: LabelledPatches, settings: Settings, tmp_path: Path
) -> None:
    asking = Asking(strategy="kls_floor")
    changed = settings.model_copy(update={"asking": asking, "trainer": Trainer(threads=1, folds=0)})
    retrain(labelled, changed, tmp_path / "m.onnx", training=QUICK)
    metadata = load_model(tmp_path / "m.onnx").metadata
    assert metadata.strategy == "kls_floor"
    assert metadata.thresholds == [None] * 4  # no folds, no threshold: everything is unsure


def test_labels_that_cannot_teach_are_refused(
    labelled: LabelledPatches, settings: Settings, tmp_path: Path
) -> None:
    one = LabelledPatches(labelled.patches[:4], ["clean"] * 4, labelled.ids[:4])
    with pytest.raises(UserError, match="4 labels of 1 classes: training needs at least two"):
        retrain(one, settings, tmp_path / "m.onnx")
    odd = labelled._replace(classes=["rust", *labelled.classes[1:]])
    with pytest.raises(UserError, match="class 'rust', which recipe 'default' does not have"):
        retrain(odd, settings, tmp_path / "m.onnx")
    none = LabelledPatches(np.empty((0, 200, 200), np.uint8), [], [])
    with pytest.raises(UserError, match="0 labels"):
        retrain(none, settings, tmp_path / "m.onnx")


def test_a_stopped_training_gives_a_model_that_is_sure_of_nothing(
    labelled: LabelledPatches, settings: Settings, tmp_path: Path
) -> None:
    result = retrain(
        labelled, settings, tmp_path / "m.onnx", training=QUICK,
        on_step=lambda _name, progress: progress.step == 5,
    )  # fmt: skip
    assert result.trained.stopped
    assert load_model(tmp_path / "m.onnx").metadata.thresholds == [None] * 4


def test_the_digest_knows_labels_not_their_order(labelled: LabelledPatches) -> None:
    order = np.random.default_rng(0).permutation(40)
    turned = LabelledPatches(
        labelled.patches[order],
        [labelled.classes[i] for i in order],
        [labelled.ids[i] for i in order],
    )
    assert labels_digest(turned) == labels_digest(labelled)
    changed = labelled._replace(classes=["scratch", *labelled.classes[1:]])
    assert labels_digest(changed) != labels_digest(labelled)


def millsight(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "millsight", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_train_activate_inspect_from_the_command_line(
    labelled: LabelledPatches, settings: Settings, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    for patch, name, identity in zip(*labelled, strict=True):
        (images / name).mkdir(parents=True, exist_ok=True)
        (images / name / f"{identity}.png").write_bytes(cv2.imencode(".png", patch)[1].tobytes())
    config = tmp_path / "millsight.toml"
    trainer = Trainer(threads=1, folds=0)
    config.write_text(to_toml(settings.model_copy(update={"trainer": trainer})))
    out = tmp_path / "m.onnx"
    command = ["trainer", "train", str(out), "-c", str(config), "--frames", str(images)]
    process = subprocess.Popen(
        [sys.executable, "-m", "millsight", *command], stdout=subprocess.PIPE, text=True
    )
    time.sleep(12)
    process.send_signal(signal.SIGINT)  # the rest of its 344 steps would only take time
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    assert f"wrote {out}: " in output

    assert "in use" in millsight("device", "activate", str(out), "-c", str(config)).stdout
    status = json.loads(millsight("device", "status", "--json", "-c", str(config)).stdout)
    assert status["model"]["labels"] == 40
    picture, wrong = images / "scratch" / "03.png", tmp_path / "text.png"
    wrong.write_text("no picture")
    shown = millsight(
        "device", "inspect", str(picture), str(wrong), "-c", str(config),
        "--out", str(tmp_path / "maps"), "--json",
    )  # fmt: skip
    assert shown.returncode == 1
    assert f"{wrong}: not an image" in shown.stderr
    result = json.loads(shown.stdout)
    (patch,) = result["patches"]
    assert sum(patch["pdc"].values()) == pytest.approx(1, abs=1e-4)
    assert patch["kls"] >= 0
    overlay = cv2.imread(result["overlay"])
    assert overlay is not None
    assert overlay.shape == (200, 200, 3)
    assert (overlay[..., 0] != overlay[..., 2]).any()  # it has colour
    listing = millsight("export", "inspect", str(out)).stdout
    assert "from 40 labels" in listing
    assert "scratch" in listing
