"""A night, from labels in the store to a model that is published or kept back."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sqlite_utils import Database

from camera.milled_steel import CLASSES, random_patch
from config.document import to_toml
from config.errors import UserError
from config.settings import Device, Recipe, Region, Settings, Trainer
from device.clock import stamp
from device.model import load_model
from device.patches import patch_id
from device.store import add_answer, add_label, encode_png, in_force, open_store
from trainer.checks import check_labels, count_kinds, suspicious
from trainer.dataset import class_folders, split
from trainer.golden import freeze, golden_set
from trainer.night import Night, one_at_a_time, run_night
from trainer.training import Training

QUICK = Training(fewest_steps=150, most_steps=150)
WHOLE = Region(x=0, y=0, width=200, height=200)


def store(db: Database, patches: NDArray[np.uint8], names: list[str], reason: str) -> list[str]:
    """Store labelled patches as a device and its operator do; their ids."""
    ids = []
    with db.atomic():
        db.execute(
            "INSERT OR IGNORE INTO frames VALUES ('f', 'box', 0, ?, ?, ?, ?, '', 200, 200, 'r', "
            "NULL, 'unsure', NULL, NULL, '', '')",
            [*stamp()],
        )
        for patch, name in zip(patches, names, strict=True):
            ids.append(patch_id(patch, "box", WHOLE))
            db.execute(
                "INSERT OR IGNORE INTO patches VALUES (?, 'box', 0, 0, 200, 200, ?, NULL, NULL)",
                [ids[-1], encode_png(patch)],
            )
            db.execute(
                "INSERT OR IGNORE INTO flags (patch_id, frame_id, cycle, reason, score) "
                "VALUES (?, 'f', 1, ?, 1)",
                [ids[-1], reason],
            )
            add_label(db, ids[-1], name, "anna")
    return ids


def plates(first: int, count: int) -> tuple[NDArray[np.uint8], list[str]]:
    names = [CLASSES[i % 4] for i in range(count)]
    return np.stack([random_patch(first + i, n).image for i, n in enumerate(names)]), names


def golden_folder(folder: Path, patches: NDArray[np.uint8], names: list[str]) -> Path:
    for i, (patch, name) in enumerate(zip(patches, names, strict=True)):
        file = folder / name / f"{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cv2.imencode(".png", patch)[1].tobytes())
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    """A device with 64 labels, and 40 golden plates beside it."""
    settings = Settings(
        device=Device(name="box", data=tmp_path / "data"),
        recipe=Recipe(classes=list(CLASSES), pass_classes=["clean"]),
        trainer=Trainer(
            golden=golden_folder(tmp_path / "golden", *plates(5000, 40)),
            threads=1, most_wrong=0.9, least_accuracy=0.3, least_recall=0,
        ),
    )  # fmt: skip
    db = open_store(settings.device.data)
    store(db, *plates(0, 64), "cold-start")
    db.close()
    return settings


def trainer(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"trainer": settings.trainer.model_copy(update=changes)})


def failed(night: Night) -> set[str]:
    return {c.name for c in night.judgement.criteria if not c.passed}


def test_an_honest_night_publishes_and_the_next_is_compared_with_it(
    site: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "published"
    first = run_night(site, out, in_use_at_once=True, training=QUICK)
    assert failed(first) == set()
    assert first.published is not None
    assert load_model(first.published).id == first.model_id
    latest = json.loads((out / "default" / "latest.json").read_text())
    assert latest["model"] == first.model_id
    db = open_store(site.device.data)
    assert in_force(db).model_id == first.model_id
    audits = store(db, *plates(9000, 8), "audit")
    db.close()
    assert first.labels == 64
    assert first.judgement.patches == 40
    time.sleep(1.1)  # audits are new if they came in a later second than the model
    db = open_store(site.device.data)
    db.execute("UPDATE labels SET wall_ns = wall_ns + 2000000000 WHERE patch_id IN "
               f"({','.join('?' * len(audits))})", audits)  # fmt: skip
    db.close()
    second = run_night(trainer(site, seed=1), out, training=QUICK)
    assert second.champion_id == first.model_id
    assert second.labels == 64  # the audits judge tonight, and teach tomorrow
    assert second.judgement.patches == 48
    names = {c.name for c in second.judgement.criteria}
    assert {"not significantly worse", "latency", "unsure share", "recall of scratch"} <= names
    report = json.loads(second.report.with_suffix(".json").read_text())
    assert report["publish"] == second.judgement.publish
    page = second.report.read_text()
    assert all(c.name in page for c in second.judgement.criteria)
    assert len(page) < 2_000_000
    assert "http" not in page.replace("http-equiv", "")


def test_a_worse_model_is_kept_back_and_the_champion_stays(site: Settings, tmp_path: Path) -> None:
    out = tmp_path / "published"
    first = run_night(site, out, in_use_at_once=True, training=QUICK)
    bad = Training(fewest_steps=2, most_steps=2)
    second = run_night(site, out, in_use_at_once=True, training=bad)
    assert failed(second) & {"not significantly worse", "accuracy"}
    assert second.published is None
    assert [p.name for p in (out / "default").glob("*.onnx")] == [f"{first.model_id}.onnx"]
    db = open_store(site.device.data)
    assert in_force(db).model_id == first.model_id
    kinds = [row[0] for row in db.execute("SELECT kind FROM events")]
    assert kinds == ["model-kept"]
    db.close()
    assert "Kept back" in second.report.read_text()


def test_without_golden_patches_nothing_goes_out(site: Settings, tmp_path: Path) -> None:
    night = run_night(trainer(site, golden=None), tmp_path / "out", training=QUICK)
    assert "golden patches" in failed(night)
    assert not (tmp_path / "out").exists()


def test_golden_patches_are_frozen_and_never_learnt_from(site: Settings, tmp_path: Path) -> None:
    assert site.trainer.golden is not None
    db = open_store(site.device.data)
    store(db, *plates(5000, 3), "uncertain")  # three golden plates were labelled, too
    assert len(golden_set(db, site).labels) == 40
    night = run_night(site, tmp_path / "out", training=QUICK)
    assert night.labels == 64
    golden_folder(site.trainer.golden, *plates(7000, 1))
    with pytest.raises(UserError, match="has changed since it was frozen with 40 patches"):
        run_night(site, tmp_path / "out", training=QUICK)
    assert freeze(db, site) == 40  # one picture was replaced
    assert len(golden_set(db, site).labels) == 40
    db.close()


def test_bad_labels_are_found_left_out_and_told(site: Settings) -> None:
    db = open_store(site.device.data)
    ids = [row[0] for row in db.execute("SELECT id FROM patches ORDER BY rowid LIMIT 5")]
    db.execute("UPDATE patches SET png = x'00' WHERE id = ?", [ids[0]])
    other = encode_png(plates(1, 1)[0][0])
    db.execute("UPDATE patches SET png = ? WHERE id = ?", [other, ids[1]])
    add_label(db, ids[2], "rust", "anna")
    add_answer(db, ids[3], "class", "patch", "ben", repeat=True)
    add_answer(db, ids[4], "class", "clean", "ben", repeat=True)
    add_label(db, ids[4], "clean", "anna")  # they agree
    labelled, findings = check_labels(db, site.recipe.classes)
    assert [f.patch_id for f in sorted(findings, key=lambda f: ids.index(f.patch_id))] == ids[:4]
    assert count_kinds(findings) == {
        "unreadable": 1, "changed": 1, "unknown class": 1, "disputed": 1,
    }  # fmt: skip
    assert len(labelled.ids) == 60
    assert ids[4] in labelled.ids
    assert "ben patch" in next(f.text for f in findings if f.kind == "disputed")
    db.close()


def test_confident_learning_finds_the_flipped_labels(site: Settings) -> None:
    db = open_store(site.device.data)
    labelled, _ = check_labels(db, site.recipe.classes)
    db.close()
    labels = np.array([CLASSES.index(name) for name in labelled.classes])
    p = np.full((64, 4), 0.05)
    p[np.arange(64), labels] = 0.85
    flipped = [3, 17, 40]
    p[flipped, labels[flipped]] = 0.9
    wrong = labels.copy()
    wrong[flipped] = (wrong[flipped] + 1) % 4
    named = labelled._replace(classes=[CLASSES[c] for c in wrong])
    found = suspicious(named, wrong, np.log(p).astype(np.float32))
    assert {f.patch_id for f in found} == {labelled.ids[i] for i in flipped}
    assert not any(f.left_out for f in found)


def test_one_night_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "night.lock"
    with (
        one_at_a_time(lock),
        pytest.raises(UserError, match="another night of this recipe is running"),
        one_at_a_time(lock),
    ):
        pass
    with one_at_a_time(lock):  # it was let go
        pass


def command(settings: Settings, tmp_path: Path) -> list[str]:
    config = tmp_path / "millsight.toml"
    config.write_text(to_toml(settings))
    return [sys.executable, "-m", "millsight", "trainer", "night", "-c", str(config)]


def test_the_command_tells_every_criterion(site: Settings, tmp_path: Path) -> None:
    result = subprocess.run(
        [*command(trainer(site, least_golden=100), tmp_path), "--use"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "NOT MET golden patches: 40 (must be at least 100" in result.stdout
    assert result.stderr.endswith("not published; the model in use stays\n")
    assert result.stderr.count("\n") == 1


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_night_leaves_the_champion_and_is_begun_again(
    site: Settings, tmp_path: Path, kills: int
) -> None:
    out = site.device.data / "published" / "default"
    first = run_night(site, out.parent, in_use_at_once=True, training=QUICK)
    rng = random.Random(0)
    run = [*command(site, tmp_path), "--use"]
    for _ in range(kills):
        process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(1, 20))
        process.send_signal(signal.SIGKILL)
        process.wait()
        db = open_store(site.device.data)
        in_use = in_force(db).model_id
        db.close()
        assert in_use is not None
        for file in out.glob("*.onnx"):
            assert load_model(file).id == file.stem
        latest = json.loads((out / "latest.json").read_text())["model"]
        assert load_model(out / f"{latest}.onnx").id == latest
        assert (site.device.data / "models" / f"{in_use}.onnx").is_file()
    last = run_night(site, out.parent, training=QUICK)
    assert last.champion_id in {first.model_id, *(file.stem for file in out.glob("*.onnx"))}
    assert not list((site.device.data / "nights").glob("candidate*"))


@pytest.fixture(scope="module")
def neu_site(tmp_path_factory: pytest.TempPathFactory, neu_cls: Path) -> Settings:
    """Real patches: 20 % golden, 216 labelled, and a champion from the first 108 of these."""
    folder = tmp_path_factory.mktemp("neu")
    dataset = class_folders(neu_cls)
    pool, test = split(dataset.labels, 0.2, 0)
    chosen = np.random.default_rng(0).permutation(pool)[:216]
    held = dataset.part(test)
    settings = Settings(
        device=Device(name="box", data=folder / "data"),
        recipe=Recipe(classes=dataset.classes, pass_classes=[]),
        trainer=Trainer(
            golden=golden_folder(
                folder / "golden", held.patches(), [dataset.classes[c] for c in held.labels]
            )
        ),
    )
    part = dataset.part(chosen)
    db = open_store(settings.device.data)
    names = [dataset.classes[c] for c in part.labels]
    store(db, part.patches()[:108], names[:108], "cold-start")
    first = run_night(settings, folder / "out", in_use_at_once=True)
    assert first.published is not None, first.judgement.reasons
    store(db, part.patches()[108:], names[108:], "uncertain")
    db.close()
    return settings


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", ["none", "flipped", "class left out", "dark pictures"])
def test_the_gate_on_real_patches(neu_site: Settings, tmp_path: Path, fault: str) -> None:
    """Of these nights only the honest one goes out."""
    shutil.copytree(neu_site.device.data, tmp_path / "data")
    settings = neu_site.model_copy(update={"device": Device(name="box", data=tmp_path / "data")})
    db = open_store(settings.device.data)
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
    if fault == "dark pictures":  # the trainer's camera software inverts what the device sees
        for patch, name in rows:
            png = db.execute("SELECT png FROM patches WHERE id = ?", [patch]).fetchone()[0]
            image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
            assert image is not None
            turned = np.asarray(255 - image, np.uint8)
            db.execute("DELETE FROM labels WHERE patch_id = ?", [patch])
            store(db, turned[None], [name], "uncertain")
    db.close()
    night = run_night(settings, tmp_path / "out")
    print(f"\n{fault}: {'published' if night.published else 'kept back'}, {night.seconds}")
    for criterion in night.judgement.criteria:
        print("  met" if criterion.passed else "  NOT", criterion.name, criterion.found, sep=": ")
    assert (night.published is not None) == (fault == "none")
    assert (tmp_path / "out").exists() == (fault == "none")
