"""A night, from labels in the trainer's store to a model that is published or kept back."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from camera.milled_steel import CLASSES
from config.document import to_toml
from config.errors import UserError
from config.settings import Settings
from device.judging.model import load_model
from device.models.activation import model_path
from device.models.models_in_use import in_force
from device.store.answers import add_answer
from device.store.database import open_store
from device.system.locks import one_at_a_time
from tests.trainer.night.night_site import changed, golden_folder, make_site, plates, store
from trainer.labels.golden import freeze, golden_set
from trainer.learning.networks import make_network
from trainer.learning.training import Trained, Training
from trainer.night.history import Unfinished, nights_folder, past_nights
from trainer.night.material import prepare
from trainer.night.night import Idle, Night, run_night
from trainer.publishing.publish import releases


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    return make_site(tmp_path)


def night(settings: Settings) -> Night:
    done = run_night(settings)
    assert isinstance(done, Night), done
    return done


def test_the_first_golden_folder_comes_from_answers_that_were_drawn_by_chance(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path, labels=0, golden=4)
    db = open_store(site.trainer.data)
    drawn, _ = plates(0, 12), store(db, *plates(0, 12), "cold-start")
    store(db, *plates(500, 12), "uncertain")
    store(db, *plates(900, 12), "cold-start", recipe="another")
    file = tmp_path / "site.toml"
    file.write_text(to_toml(site))
    command = [sys.executable, "-m", "millsight", "trainer", "golden", "-c", str(file)]
    out = tmp_path / "golden patches"

    def golden(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*command, *words], capture_output=True, text=True, check=False)

    done = golden(str(out), "--per-class", "2")
    assert done.stdout.splitlines()[0] == f"{out}: " + ", ".join(f"2 {n}" for n in sorted(CLASSES))
    named = changed(site, golden=out)
    taken = golden_set(db, named)
    assert sorted(taken.classes) == sorted([*CLASSES, *CLASSES])
    pixels = {patch.tobytes(): name for patch, name in zip(*drawn, strict=True)}
    found = [pixels[patch.tobytes()] for patch in taken.patches]
    assert found == taken.classes
    assert golden(str(out)).stderr == f"millsight: {out}: not empty; name another folder\n"
    assert len(prepare(db, named, Training()).learnt.ids) == 24 - 8
    db.execute("DELETE FROM labels")
    db.close()
    assert "no labelled patch that was drawn by chance" in golden(str(tmp_path / "new")).stderr


def failed(done: Night) -> set[str]:
    return {c.name for c in done.judgement.criteria if not c.passed}


def test_an_honest_night_publishes_and_the_next_is_compared_with_it(site: Settings) -> None:
    stages: list[str] = []
    first = run_night(site, on_stage=stages.append)
    assert isinstance(first, Night)
    assert failed(first) == set()
    assert stages == [
        "merge", "check labels", "train model", "train fold 1 of 2", "train fold 2 of 2",
        "baselines and thresholds", "export", "judge", "report", "publish", "record", "end",
    ]  # fmt: skip
    assert [r.model for r in releases(site)] == [first.model_id]
    again = run_night(site)
    assert isinstance(again, Idle)
    assert "has changed since the last night" in again.reason
    db = open_store(site.trainer.data)
    assert in_force(db, "default").model_id == first.model_id
    assert [n.model_id for n in past_nights(db, "default")] == [first.model_id]
    store(db, *plates(9000, 8), "audit")
    store(db, *plates(9100, 4), "uncertain")
    db.close()
    assert (first.labels, first.judgement.patches) == (24, 32)
    second = night(site)
    assert second.champion_id == first.model_id
    assert second.labels == 28  # the audits judge tonight, and teach tomorrow
    assert second.judgement.patches == 40
    names = {c.name for c in second.judgement.criteria}
    assert {
        "not significantly worse", "not significantly worse on audits", "latency", "unsure share",
        "recall of scratch", "forecast of unsure patches", "file equals network", "size",
    } <= names  # fmt: skip
    report = json.loads(second.report.with_suffix(".json").read_text())
    assert report["publish"] == second.published
    assert len(report["nights"]) == 1
    page = second.report.read_text()
    assert all(c.name in page for c in second.judgement.criteria)
    assert page.count("<svg") == 3  # learning curve, KLS of both models
    assert "http" not in page.replace("http-equiv", "")
    assert len(page) < 2_000_000
    db = open_store(site.trainer.data)
    learnt = prepare(db, site, Training()).learnt.ids
    assert len(learnt) == (36 if second.published else 28)
    db.close()
    assert not list(nights_folder(site).glob("unfinished*"))


def test_without_labels_a_night_waits(tmp_path: Path) -> None:
    done = run_night(make_site(tmp_path, labels=0))
    assert isinstance(done, Idle)
    assert "0 labels of 0 classes" in done.reason


def test_a_model_that_is_not_good_enough_is_kept_back_and_the_champion_stays(
    site: Settings,
) -> None:
    first = night(site)
    second = night(changed(site, least_accuracy=1.0))
    assert failed(second) == {"accuracy"}
    assert not second.published
    assert [r.model for r in releases(site)] == [first.model_id]
    db = open_store(site.trainer.data)
    assert in_force(db, "default").model_id == first.model_id
    assert db.execute("SELECT kind FROM events").fetchall() == [("model-kept",)]
    db.close()
    assert "Kept back" in second.report.read_text()


@pytest.mark.parametrize("run", ["model", "fold 2 of 2"])
def test_a_night_that_was_stopped_by_hand_is_done_by_the_next(site: Settings, run: str) -> None:
    def on_step(name: str, _progress: object) -> bool:
        return name == run

    stopped = run_night(site, on_step=on_step)
    assert isinstance(stopped, Night)
    assert (stopped.stopped, stopped.published) == (True, False)
    done = night(site)
    assert done.published, failed(done)
    assert isinstance(run_night(site), Idle)


def test_without_golden_patches_nothing_goes_out(site: Settings) -> None:
    done = night(changed(site, golden=None))
    assert failed(done) == {"golden patches"}
    assert releases(site) == []
    assert done.report.is_file()


def test_golden_patches_are_frozen_in_versions_and_never_learnt_from(site: Settings) -> None:
    folder = site.trainer.golden
    assert folder is not None
    db = open_store(site.trainer.data)
    store(db, *plates(5000, 3), "uncertain")  # three golden plates were labelled, too
    first = golden_set(db, site)
    assert (first.version, len(first.classes)) == (1, 32)
    assert len(prepare(db, site, Training()).learnt.ids) == 24
    golden_folder(folder, *plates(7000, 1))  # one picture was replaced
    assert golden_set(db, site).digest == first.digest
    done = freeze(db, site)
    assert (done.version, done.patches, done.added, done.ended) == (2, 32, 1, 1)
    assert freeze(db, site).version == 2
    second = golden_set(db, site)
    assert second.digest != first.digest
    kept = db.execute("SELECT id FROM golden WHERE since <= 1 AND (until IS NULL OR until > 1)")
    assert len(kept.fetchall()) == 32  # version 1 is what it was
    golden_folder(folder / "rust", *plates(1, 1))
    with pytest.raises(UserError, match="has a folder 'rust', which is no class of recipe"):
        freeze(db, site)
    db.close()


def test_a_golden_picture_of_two_classes_is_refused(site: Settings) -> None:
    folder = site.trainer.golden
    assert folder is not None
    picture, name = plates(5000, 1)
    (other,) = plates(0, 2)[1][1:]
    golden_folder(folder / "again", picture, [other])
    (folder / "again" / other / "000.png").rename(folder / other / "again.png")
    shutil.rmtree(folder / "again")
    db = open_store(site.trainer.data)
    with pytest.raises(UserError, match=rf"{other}/again\.png: the same .*/{name[0]}/000\.png"):
        freeze(db, site)
    db.close()


def test_a_new_class_grows_the_head_and_stays(site: Settings) -> None:
    site = changed(site, least_new_class=6)
    db = open_store(site.trainer.data)
    stripes = np.stack([
        np.tile(np.uint8(40 * (np.arange(200) // (i + 3) % 6)), (200, 1)) for i in range(9)
    ])  # fmt: skip
    store(db, stripes[:5], ["Chatter mark"] * 5, "uncertain", answer="something new")
    db.close()
    first = night(changed(site, most_steps=1))  # a champion that is hard to be worse than
    assert first.classes.names == list(CLASSES)
    assert first.classes.named == {"Chatter mark": 5}
    db = open_store(site.trainer.data)
    store(db, stripes[5:], ["chatter  mark"] * 4, "uncertain", answer="something new")
    db.close()
    second = night(site)
    assert second.classes.names == [*CLASSES, "Chatter mark"]
    assert (second.classes.grown, second.labels) == (["Chatter mark"], first.labels + 9)
    report = json.loads(second.report.with_suffix(".json").read_text())
    assert report["classes_grown"] == ["Chatter mark"]
    assert "The list of classes has changed; new: Chatter mark" in second.report.read_text()
    assert second.published, failed(second)
    (model,) = (site.trainer.data / "models").glob(f"{second.model_id}.onnx")
    metadata = load_model(model).metadata
    assert metadata.classes == [*CLASSES, "Chatter mark"]
    assert metadata.pass_classes == ["clean"]
    db = open_store(site.trainer.data)
    for identity in [row[0] for row in db.execute("SELECT patch_id FROM labels "
                     "WHERE answer = 'something new'").fetchall()[1:]]:  # fmt: skip
        add_answer(db, identity, "class", "scratch", "ben")  # all but one were something else
    assert prepare(db, site, Training()).classes.names == [*CLASSES, "Chatter mark"]
    db.close()


def test_labels_of_other_recipes_are_not_learnt_from(site: Settings) -> None:
    db = open_store(site.trainer.data)
    store(db, *plates(800, 4), recipe="other")
    assert len(prepare(db, site, Training()).learnt.ids) == 24
    db.close()


def test_one_night_at_a_time(site: Settings) -> None:
    lock = site.trainer.data / "night-default.lock"
    with (
        one_at_a_time(lock, "."),
        pytest.raises(UserError, match="another night of this recipe is running"),
    ):
        run_night(site)


def test_the_command_tells_every_criterion_and_ends_well(site: Settings, tmp_path: Path) -> None:
    config = tmp_path / "millsight.toml"
    config.write_text(to_toml(changed(site, least_golden=100)))
    run = [sys.executable, "-m", "millsight", "trainer", "night", "-c", str(config)]
    result = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "NOT MET golden patches: 32 (must be at least 100" in result.stdout
    assert result.stdout.startswith("merge ...\ncheck labels ...\ntrain model ...\n")
    assert "kept back" in result.stdout.splitlines()[-1]
    again = subprocess.run(run, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1].startswith("nothing to do: ")
    config.write_text(to_toml(site).replace("most_steps = 12", "most_steps = 0"))
    wrong = subprocess.run(run, capture_output=True, text=True, check=False)
    assert wrong.returncode != 0
    assert wrong.stderr.count("\n") == 1


@pytest.mark.parametrize("harm", ["gone", "empty", "a byte"])
def test_a_damaged_champion_is_made_good_from_what_was_published(site: Settings, harm: str) -> None:
    first = night(site)
    path = model_path(site.trainer.data, first.model_id)
    whole = path.read_bytes()
    hurt(path, harm)
    db = open_store(site.trainer.data)
    store(db, *plates(9000, 4))
    db.close()
    second = night(site)
    assert second.champion_id == first.model_id
    assert second.notes == []
    assert path.read_bytes() == whole


def hurt(path: Path, harm: str) -> None:
    """Damage a model file; with another byte in its weights it can still be loaded."""
    content = bytearray(path.read_bytes())
    if harm == "a byte":
        content[100_000] ^= 1
        path.write_bytes(content)
        assert load_model(path).id != path.stem
    elif harm == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()


def test_without_any_copy_of_the_champion_the_floors_count_and_it_is_told(
    site: Settings, tmp_path: Path
) -> None:
    first = night(site)
    for path in site.trainer.data.rglob(f"*{first.model_id}.onnx"):
        path.write_bytes(b"damaged")
    db = open_store(site.trainer.data)
    store(db, *plates(9000, 4))
    db.close()
    file = tmp_path / "site.toml"
    file.write_text(to_toml(site))
    command = [sys.executable, "-m", "millsight", "trainer"]
    done = subprocess.run(
        [*command, "freeze", "-c", str(file)], capture_output=True, text=True, check=True
    )
    assert "version 1" in done.stdout
    done = subprocess.run(
        [*command, "night", "-c", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lost = f"the file of the model in use, {first.model_id[:12]}, is lost or damaged"
    assert f"note: {lost}: only the floors counted\n" in done.stdout
    assert "not significantly worse" not in done.stdout


@pytest.mark.parametrize("harm", ["empty", "half", "a byte"])
def test_what_a_killed_night_left_damaged_is_done_anew(tmp_path: Path, harm: str) -> None:
    left = Unfinished(tmp_path, "the same")
    left.keep("judgement", 1, {"publish": True})
    network = make_network("gapc", 2)
    left.memory.keep("run", Trained(network, 12, stopped=False, seconds=1.0))
    assert left.recall("judgement", 1) == {"publish": True}
    assert left.memory.recall("run", Training(), 2) is not None
    for path in tmp_path.iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        kept = {"empty": 0, "half": len(content) // 2, "a byte": len(content)}[harm]
        path.write_bytes(content[:kept])
    assert left.recall("judgement", 1) is None
    assert left.memory.recall("run", Training(), 2) is None
    assert Unfinished(tmp_path, "the same").recall("judgement", 1) is None
