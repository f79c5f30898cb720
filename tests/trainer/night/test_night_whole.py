"""The whole way, as separate programs over one exchange folder: answers up, a model down, and back
to the operators what looks wrong; and nights that are killed."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from sqlite_utils import Database

from camera.milled_steel import CLASSES
from config.document import to_toml
from config.load import load_settings, parse_settings
from config.settings import Settings
from device.exchange.push import push
from device.judging.model import load_model
from device.models.models_in_use import in_force
from device.store.answers import add_answer, add_label, truth_of, waiting
from device.store.database import open_store
from tests.trainer.night.night_site import FREE, golden_folder, plates
from trainer.night.history import past_nights
from trainer.night.night import Idle, Night, run_night
from trainer.publishing.publish import releases

STAGES = ("merge", "train model", "export", "judge", "publish")


def site_on_disk(folder: Path, frames: int = 40) -> Path:
    """The settings file of a device and its trainer on one machine; nothing has run yet."""
    images, names = plates(0, frames)
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        file = folder / "steel" / name / f"{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    file = folder / "millsight.toml"
    settings = parse_settings(
        {
            "device": {"name": "box", "data": "data"},
            "camera": {"source": "folder", "folder": {"path": "steel"}},
            "recipe": {"classes": list(CLASSES), "pass_classes": ["clean"]},
            "asking": {"cold_start": frames, "audit_share": 0.0},
            "keeping": {"alike": 1000},
            "trainer": {"golden": str(golden_folder(folder / "golden", *plates(5000, 32))), **FREE},
        },
        file,
    )
    file.write_text(to_toml(settings))
    return file


def millsight(*arguments: str, ok: bool = True) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "millsight", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not ok or result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def answer(settings: Settings, count: int, who: str = "anna") -> int:
    """Answer so many of the questions that wait, rightly; how many there were."""
    db = open_store(settings.device.data)
    asking = settings.asking
    questions = waiting(db, {"": (asking.k, asking.cold_start)})[:count]
    for question in questions:
        truth = truth_of(db, question.patch_id)
        assert truth is not None
        add_label(db, question.patch_id, truth, who)
    db.close()
    return len(questions)


def labelled(db: Database) -> int:
    """Patches whose last answer is a class."""
    row = db.execute(
        "SELECT count(*) FROM patches p JOIN labels l ON l.rowid = (SELECT max(rowid) FROM labels "
        "WHERE patch_id = p.id AND NOT repeat) WHERE l.answer = 'class'"
    ).fetchone()
    return int(row[0])


def test_answers_go_up_a_model_comes_down_and_doubts_come_back(tmp_path: Path) -> None:
    config = site_on_disk(tmp_path)
    settings = load_settings(config)
    with_config = ("-c", str(config))
    millsight("trainer", "keys", "init", *with_config, "--offline", str(tmp_path / "stick"))
    millsight("device", "run", *with_config)
    assert answer(settings, 24) == 24
    assert "24 answers" in millsight("device", "sync", *with_config)
    said = millsight("trainer", "night", *with_config)
    assert "published " in said.splitlines()[-1]
    assert "from 24 labels" in said.splitlines()[-1]
    said = millsight("device", "sync", *with_config)
    db, theirs = open_store(settings.device.data), open_store(settings.trainer.data)
    in_use = in_force(db).model_id
    assert in_use == in_force(theirs, "default").model_id
    assert f"{str(in_use)[:12]} in use" in said

    # Somebody who was asked again says something else: the patch comes back as a question.
    patch, before = db.execute("SELECT patch_id, class FROM labels LIMIT 1").fetchone()
    other = next(name for name in CLASSES if name != before)
    add_answer(db, patch, "class", other, "ben", repeat=True)
    asking = settings.asking
    assert patch not in {q.patch_id for q in waiting(db, {"": (asking.k, asking.cold_start)})}
    millsight("device", "sync", *with_config)
    assert "1 labels are disputed" in millsight("trainer", "night", *with_config)
    millsight("device", "sync", *with_config)
    assert patch in {q.patch_id for q in waiting(db, {"": (asking.k, asking.cold_start)})}
    add_label(db, patch, other, "carla")
    assert patch not in {q.patch_id for q in waiting(db, {"": (asking.k, asking.cold_start)})}
    push(settings)
    done = run_night(settings)
    assert isinstance(done, Night)
    assert done.labels == 24
    assert not [f for f in done.findings if f.patch_id == patch and f.kind == "disputed"]
    push(settings)  # told of again or not, what was answered stays answered
    assert patch not in {q.patch_id for q in waiting(db, {"": (asking.k, asking.cold_start)})}
    for each in (db, theirs):
        each.close()


def test_a_night_that_stops_goes_on_where_it_was(tmp_path: Path) -> None:
    config = site_on_disk(tmp_path, 16)
    settings = load_settings(config)
    millsight("trainer", "keys", "init", "-c", str(config), "--offline", str(tmp_path / "stick"))
    millsight("device", "run", "-c", str(config))
    answer(settings, 16)
    push(settings)

    class PowerCut(BaseException):
        pass

    def cut_at(stage: str) -> object:
        def on_stage(name: str) -> None:
            if name == stage:
                raise PowerCut

        return on_stage

    runs: set[str] = set()

    def on_step(name: str, _progress: object) -> None:
        runs.add(name)

    for stage, trained in (
        ("train fold 2 of 2", {"model", "fold 1 of 2"}),
        ("export", {"fold 2 of 2"}),
        ("publish", set()),
        ("record", set()),
    ):
        runs.clear()
        with pytest.raises(PowerCut):
            run_night(settings, on_step=on_step, on_stage=cut_at(stage))  # type: ignore[arg-type]
        assert runs == trained
    (released,) = releases(settings)  # it was published, and not recorded yet
    runs.clear()
    done = run_night(settings, on_step=on_step)
    assert isinstance(done, Night)
    assert runs == set()
    assert done.model_id == released.model
    assert [r.model for r in releases(settings)] == [done.model_id]
    db = open_store(settings.trainer.data)
    assert in_force(db, "default").model_id == done.model_id
    assert len(past_nights(db, "default")) == 1
    db.close()


def killed_at(command: list[str], stage: str, wait: float) -> None:
    """Run a night and kill it so long after a stage began."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == f"{stage} ...":
                time.sleep(wait)
                break
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_every_label_counts_once_whenever_a_night_is_killed(tmp_path: Path, kills: int) -> None:
    config = site_on_disk(tmp_path, 17 + 5 * kills)
    settings = load_settings(config)
    millsight("trainer", "keys", "init", "-c", str(config), "--offline", str(tmp_path / "stick"))
    millsight("device", "run", "-c", str(config))
    answer(settings, 16)
    push(settings)
    first = run_night(settings)
    assert isinstance(first, Night)
    command = [sys.executable, "-m", "millsight", "trainer", "night", "-c", str(config)]
    rng = random.Random(kills)
    stages = [stage for stage in STAGES for _ in range(kills)] if kills > 1 else ["publish"]
    rng.shuffle(stages)
    ours = settings.device.data
    for stage in stages:
        if not kills - 1 or rng.random() < 0.5:  # else it goes on with what the last one left
            answer(settings, 1)
            push(settings)
        killed_at(command, stage, rng.uniform(0, 1.5 * first.seconds[stage]))
        db = open_store(settings.trainer.data)
        champion = in_force(db, "default").model_id
        assert load_model(settings.trainer.data / "models" / f"{champion}.onnx").id == champion
        assert champion in {r.model for r in releases(settings)}
        db.close()
    answer(settings, 1)
    push(settings)
    done = run_night(settings)
    assert isinstance(done, (Night, Idle))
    db, device = open_store(settings.trainer.data), open_store(ours)
    count = labelled(device)
    assert labelled(db) == count
    assert db.execute("SELECT count(*) FROM labels").fetchone() == (
        device.execute("SELECT count(*) FROM labels").fetchone()
    )
    assert past_nights(db, "default")[-1].report["labels"] == count
    for each in (db, device):
        each.close()
    assert not list((settings.trainer.data / "nights").rglob("unfinished"))
    assert "in use" in millsight("device", "sync", "-c", str(config))
