"""The trainer's rows: they run, and a slower step shows in them."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device.bench.row import Inputs
from trainer.bench import night, training_step
from trainer.bench.inputs import make_inputs
from trainer.lab import speed
from trainer.learning.training import optimise


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("bench")
        patch.chdir(folder)
        patch.delenv("MILLSIGHT_CONFIG", raising=False)
        return make_inputs(None, None, None, 1, folder, quick=True)[0]


def test_a_step_is_measured_in_every_format(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_step, "has_bfloat16", lambda: True)
    rows = training_step.measure(inputs)
    names = ["bfloat16", "float32"]
    assert [row.name for row in rows] == [f"training step, {n}, one core" for n in names]
    assert [row.aim for row in rows] == ["≥ 0.7", "none"]
    assert all(0 < row.ratio < 10 and row.value > 0.1 for row in rows)


def test_a_step_that_burns_time_lowers_the_ratio(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = training_step.steps(inputs, half_precision=False, clock=time.process_time)()
    usual = optimise

    def slower(*arguments: Any, **named: Any) -> Iterator[float]:
        for loss in usual(*arguments, **named):
            end = time.process_time() + 0.6
            while time.process_time() < end:
                pass
            yield loss

    monkeypatch.setattr(training_step, "optimise", slower)
    spoilt = training_step.steps(inputs, half_precision=False, clock=time.process_time)()
    assert spoilt < honest / 2


def test_a_night_is_held_against_the_plain_loop(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "EVERY", 2)
    monkeypatch.setattr(night, "QUICK_LABELS", 64)
    monkeypatch.setattr(night, "QUICK_TESTED", 20)
    (row,) = night.measure(inputs)
    assert row.name == "63 labels of simulated plates to 30.0%, 1 core"
    assert row.unit == "s" and row.value > 0 and row.ratio > 0


def test_labelled_folders_are_what_it_learns_from(inputs: Inputs, tmp_path: Path) -> None:
    files = [tmp_path / "set" / "ab"[i % 2] / file.name for i, file in enumerate(inputs.files)]
    real = Inputs(**{**vars(inputs), "files": files, "quick": False})
    data, goal = night.material(real)
    assert (data.name, data.classes, goal) == ("set", ["a", "b"], 0.978)
    assert data.labels.tolist() == [i % 2 for i in range(len(files))]
    course = night.course_of(data, goal, real)
    assert len(course.patches) == 90  # three of four: thirty are left to test
    assert course.most_epochs == 183  # as long as ours: 516 steps of 32
