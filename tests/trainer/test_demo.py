"""The demo: a whole life in small."""

import itertools
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from camera.milled_steel import CLASSES, random_patch
from config.errors import UserError
from device.store import add_label, get_state, open_store, waiting
from trainer import demo
from trainer.retrain import retrain
from trainer.training import Training


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training runs that are short and learn little."""

    def short(*arguments: object, **options: object) -> object:
        options["training"] = Training(fewest_steps=12, most_steps=12)
        return retrain(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(demo, "retrain", short)


def some_folders(folder: Path) -> Path:
    for i in range(90):
        size = (200, 200) if i % 2 else (220, 260)  # any image size
        path = folder / ["good one", "bad", "worse"][i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = cv2.resize(random_patch(i, CLASSES[i % 3]).image, size[::-1])
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return folder


def test_a_life_on_any_folder_of_class_folders(quick: None, tmp_path: Path) -> None:
    frames, out = some_folders(tmp_path / "frames"), tmp_path / "out.json"
    demo.demo(headless=True, nights=2, frames=frames, data=tmp_path / "demo", json_file=out)
    nights = json.loads(out.read_text())["nights"]
    assert [night["night"] for night in nights] == [0, 1, 2]
    assert set(nights[0]) >= {
        "night", "labels", "labelled_share", "accuracy", "flags", "frames_per_second", "model",
        "model_bytes", "train_seconds",
    }  # fmt: skip
    flags = [night["flags"] for night in nights]
    assert flags[0] == 3  # 3 % of 90, evenly drawn
    assert all(1 <= count <= 3 for count in flags)  # then one of each class that is predicted
    assert [night["labels"] for night in nights] == np.cumsum(flags).tolist()
    assert nights[2]["labelled_share"] == pytest.approx(sum(flags) / 90)
    assert all(night["model_bytes"] < 578_700 for night in nights)
    assert len({night["model"] for night in nights}) == 3
    db = open_store(tmp_path / "demo")
    assert db.execute("SELECT count(*) FROM activations").fetchone()[0] == 3
    # What was asked and learnt from is never what tests it: 18 of 90 are held out.
    assert db.execute("SELECT sum(frames) FROM counters").fetchone()[0] == 3 * 72
    db.close()


def test_the_same_seed_asks_the_same_questions(quick: None, tmp_path: Path) -> None:
    frames = some_folders(tmp_path / "frames")

    def asked(data: Path, seed: int) -> list[tuple[str, str]]:
        demo.demo(headless=True, nights=1, frames=frames, data=data, seed=seed)
        db = open_store(data)
        rows = db.execute("SELECT patch_id, class FROM labels ORDER BY patch_id").fetchall()
        db.close()
        return [tuple(row) for row in rows]

    first = asked(tmp_path / "a", 5)
    assert first == asked(tmp_path / "b", 5)
    assert first != asked(tmp_path / "c", 6)


def test_what_people_answer_counts_and_the_ground_truth_gives_the_rest(
    quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "PATIENCE_S", 3.0)
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    monkeypatch.setenv("DISPLAY", ":9")
    frames = some_folders(tmp_path / "frames")

    def answer_one() -> None:
        while not (tmp_path / "demo" / "millsight.db").exists():
            time.sleep(0.1)
        db = open_store(tmp_path / "demo")
        while (get_state(db, "loop") or {}).get("activity") != "stopped":  # the day goes on
            time.sleep(0.1)
        add_label(db, waiting(db, 1, 3)[0].patch_id, "worse", "anna")
        db.close()

    person = threading.Thread(target=answer_one)
    person.start()
    demo.demo(nights=0, frames=frames, data=tmp_path / "demo")
    person.join()
    said = capsys.readouterr().out
    assert "review page: http://127.0.0.1:" in said
    assert opened.read_text().strip() in said
    db = open_store(tmp_path / "demo")
    operators = [row[0] for row in db.execute("SELECT operator FROM labels ORDER BY rowid")]
    db.close()
    assert operators == ["anna", "ground truth", "ground truth"]


def test_an_earlier_demo_is_replaced_but_nothing_else(quick: None, tmp_path: Path) -> None:
    frames = some_folders(tmp_path / "frames")
    for _ in range(2):
        demo.demo(headless=True, nights=0, frames=frames, data=tmp_path / "demo")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.jpg").write_text("dear")
    with pytest.raises(UserError, match="not empty, and not a demo's"):
        demo.demo(headless=True, nights=0, frames=frames, data=mine)
    assert (mine / "photo.jpg").read_text() == "dear"


def test_a_class_folder_with_an_impossible_name_is_one_clear_line(tmp_path: Path) -> None:
    frames = some_folders(tmp_path / "frames")
    (frames / "bad").rename(frames / "a,b;c")
    with pytest.raises(UserError, match=r"recipe\.classes") as error:
        demo.demo(headless=True, nights=0, frames=frames, data=tmp_path / "demo")
    assert "a,b;c" in str(error.value)


def test_the_simulated_world_is_fresh_every_day_and_apart_from_its_test() -> None:
    world = demo.simulated_world(1, seed=0)
    days = [
        {frame.image.tobytes() for frame in itertools.islice(world.day(d)(print).frames(), 5)}
        for d in (0, 1)
    ]
    assert not days[0] & days[1]
    assert set(np.bincount(world.test_labels, minlength=4) > 30) == {True}


def test_missing_folders_are_one_clear_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "millsight", "demo", "--headless", "--frames", "nowhere"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert result.stderr == "millsight: nowhere: no such folder\n"
    command[-2:] = ["--json", "nowhere/out.json"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.stderr.startswith("millsight: nowhere/out.json: its folder does not exist")


@pytest.mark.slow
def test_on_neu_a_few_labels_beat_the_papers_44_percent(neu_cls: Path, tmp_path: Path) -> None:
    """One real life: 97.8 % is what the paper needs 44 % of all labels for."""
    out = tmp_path / "out.json"
    demo.demo(headless=True, nights=2, frames=neu_cls, data=tmp_path / "demo", json_file=out)
    last = json.loads(out.read_text())["nights"][-1]
    assert last["labelled_share"] == pytest.approx(0.09)
    assert last["accuracy"] >= 0.978
