"""The command end to end on a small folder: tables, figures, and going on where it ended."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

import trainer.lab.grid
from config.errors import UserError
from device.system.locks import try_lock
from trainer.lab import beyond, experiments, reports
from trainer.lab.arms import Arm
from trainer.lab.cache import arm_file, load_arm, save_arm
from trainer.lab.cli import experiment, parse_seeds
from trainer.lab.experiments import EVERYTHING, EXPERIMENTS, Experiment, find
from trainer.lab.grid import TRAININGS
from trainer.lab.learners import PaperRecipe
from trainer.lab.protocol import LabData, lab_data, load_folder
from trainer.lab.results import Job, Results, Run, per_round, share_to_reach
from trainer.lab.runner import run_arm
from trainer.lab.speed import race
from trainer.lab.stopping import RULES, apply
from trainer.lab.tables import Cell, Table
from trainer.lab.written import footer
from trainer.learning.memory import Memory
from trainer.learning.training import Progress, Training

ROOT = Path(__file__).parents[3]
SHORT = Training(fewest_steps=2, most_steps=2, batch=4)
ARMS = {
    "KLS": Arm("best", schedule="best", training=SHORT),
    "RS": Arm("best", strategy="rs", schedule="few", training=SHORT),
    "paper": Arm("paper", paper=PaperRecipe(epochs=1, batch=8), trace=True),
}
JOBS: dict[str, Job] = {name: ("", arm) for name, arm in ARMS.items()}


def tiny_tables(results: Results, images: int) -> list[Table]:
    return [
        reports.accuracy_over_labels(results, JOBS, "tiny", images),
        reports.stopping(results, JOBS, images),
        reports.weaknesses(results, JOBS),
    ]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[Experiment]:
    one = Experiment(
        "A tiny experiment",
        list(JOBS.values()),
        tiny_tables,
        lambda results: (
            beyond.figures(results)
            | experiments._traces({"P": JOBS["paper"]}, "tiny-trace", "P")(results)
        ),
    )
    monkeypatch.setitem(EXPERIMENTS, "tiny", one)
    yield one


@pytest.fixture(scope="module")
def folder(two_classes: LabData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images") / "two"
    for number, (patch, label) in enumerate(
        zip(two_classes.patches, two_classes.labels, strict=True)
    ):
        path = root / two_classes.classes[label] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), patch[:180, :170] if number % 2 else patch)  # of any size
    return root


@pytest.fixture(scope="module")
def two_classes(request: pytest.FixtureRequest) -> LabData:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (18, 200, 200), dtype=np.uint8)
    dots = np.where(rng.random((18, 200, 200)) < 0.01, 255, 20).astype(np.uint8)
    labels = np.repeat([0, 1], 18)
    return lab_data("two", np.concatenate([noise, dots]), labels, ["noise", "dots"])


def test_tables_figures_and_arms_are_written(
    tiny: Experiment, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, told = tmp_path / "lab", tmp_path / "tiny.json"
    experiment("tiny", data=folder, seeds="0-1", json_file=told, out=out, threads=1)
    first = capsys.readouterr().out
    assert "6 of 6" in first
    result = json.loads(told.read_text())
    assert result["runs"] == 6
    assert result["threads"] == [1]
    row = result["tables"][0]["rows"]["KLS"]
    assert len(row[0]["values"]) == 2
    assert row[0]["mean"] == pytest.approx(np.mean(row[0]["values"]))
    assert "| KLS |" in (out / "tiny.md").read_text()
    for name in ("beyond", "tiny-trace"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (out / f"{name}.svg").read_text()
    arms = sorted(path.name for path in (out / "arms" / "two").iterdir())
    assert len(arms) == 6, arms
    before = {path: path.stat().st_mtime_ns for path in (out / "arms" / "two").iterdir()}
    experiment("tiny", data=folder, seeds="0-1", json_file=told, out=out, threads=1)
    assert " of 6" not in capsys.readouterr().out  # nothing ran again
    assert before == {path: path.stat().st_mtime_ns for path in (out / "arms" / "two").iterdir()}


def test_a_grid_that_was_interrupted_goes_on(
    tiny: Experiment, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    real = run_arm

    def twice(arm: Arm, *rest: object) -> object:
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(arm.name)
        return real(arm, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer.lab.grid, "run_arm", twice)
    with pytest.raises(KeyboardInterrupt):
        experiment("tiny", data=folder, seeds="0", out=tmp_path, threads=1)

    def noting(arm: Arm, *rest: object) -> object:
        ran.append(arm.name)
        return real(arm, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer.lab.grid, "run_arm", noting)
    experiment("tiny", data=folder, seeds="0", out=tmp_path, threads=1, finished=True)
    assert len(ran) == 2
    experiment("tiny", data=folder, seeds="0", out=tmp_path, threads=1)
    assert ran == [arm.name for arm in ARMS.values()]


def test_results_of_other_images_or_settings_are_not_taken(
    tiny: Experiment, folder: Path, tmp_path: Path
) -> None:
    experiment("tiny", data=folder, seeds="0", out=tmp_path, threads=1)
    data = load_folder(folder)
    arm = ARMS["paper"]
    assert load_arm(tmp_path, data, arm, 0) is not None
    assert load_arm(tmp_path, data, Arm("paper", trace=True), 0) is None
    other = lab_data(data.name, 255 - data.patches, data.labels, data.classes)
    assert load_arm(tmp_path, other, arm, 0) is None
    # The first rounds of a longer arm are the shorter one.
    few = Arm("best", schedule="few", training=SHORT)
    shorter = load_arm(tmp_path, data, few, 0)
    assert shorter is not None
    assert len(shorter["rounds"]) == 2
    arm_file(tmp_path, data, arm, 0).write_text("{}")
    with pytest.raises(UserError, match="not a result"):
        load_arm(tmp_path, data, arm, 0)


def test_finished_arms_of_the_repository_are_those_of_the_experiments() -> None:
    """Else a change of the settings would quietly ask for hours of runs again."""
    arms = {arm.name: arm for name in EVERYTHING for _, arm in EXPERIMENTS[name].jobs}
    files = sorted((ROOT / "docs/results/lab/arms").glob("*/*.json"))
    assert len(files) > 70
    for file in files:
        told = json.loads(file.read_text())
        assert told["settings"] == arms[told["arm"]].settings(), file.name


def test_every_round_of_the_shorter_arm_is_that_of_the_longer(two_classes: LabData) -> None:
    long, few = (Arm("best", schedule=s, training=SHORT) for s in ("best", "few"))
    own = run_arm(few, two_classes, 0)["rounds"]
    beginning = run_arm(long, two_classes, 0)["rounds"][:2]
    for here in own + beginning:
        del here["seconds"]
    assert own == beginning


def test_the_shorter_arm_of_few_images_is_the_beginning_too(
    two_classes: LabData, tmp_path: Path
) -> None:
    """With under 25 images 3 and 6 % are one label, so there is one round and not two."""
    some = np.r_[0:5, 18:23]
    data = lab_data("ten", two_classes.patches[some], two_classes.labels[some], ["a", "b"])
    long, few = (Arm("best", schedule=s, training=SHORT) for s in ("best", "few"))
    save_arm(tmp_path, data, long, 0, run_arm(long, data, 0))
    served = load_arm(tmp_path, data, few, 0)
    assert served is not None
    labels = [here["labels"] for here in served["rounds"]]
    assert labels == [here["labels"] for here in run_arm(few, data, 0)["rounds"]] == [1]


def test_a_trace_changes_nothing_else(
    two_classes: LabData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at the validation images must not turn dropout off; so a traced arm serves twice."""
    monkeypatch.setattr("trainer.lab.runner.TRACED", 1)
    traced = Arm("paper", schedule="all", paper=PaperRecipe(epochs=3, batch=8), trace=True)
    plain = replace(traced, trace=False)
    with_trace, without = (run_arm(arm, two_classes, 0) for arm in (traced, plain))
    assert [point["epoch"] for point in with_trace["trace"]] == [1, 2, 3]
    save_arm(tmp_path, two_classes, traced, 0, with_trace)
    served = load_arm(tmp_path, two_classes, plain, 0)
    assert served is not None
    for here in (with_trace["rounds"][0], without["rounds"][0], served["rounds"][0]):
        del here["seconds"]
    assert with_trace["rounds"] == without["rounds"] == served["rounds"]


def test_an_arm_that_was_killed_goes_on_with_its_finished_trainings(
    two_classes: LabData, tmp_path: Path
) -> None:
    arm, memory = ARMS["RS"], Memory(tmp_path)
    told: list[int] = []
    whole = run_arm(arm, two_classes, 0, lambda _name, step: told.append(step.step))
    half, left = len(told) // 2, []

    def killed_in_the_second_round(_name: str, step: Progress) -> None:
        left.append(step.step)
        if len(left) > half:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_arm(arm, two_classes, 0, killed_in_the_second_round, memory)
    left.clear()
    again = run_arm(arm, two_classes, 0, lambda _name, step: left.append(step.step), memory)
    assert left == told[half:]
    for here in again["rounds"] + whole["rounds"]:
        del here["seconds"]
    assert again["rounds"] == whole["rounds"]


@pytest.mark.parametrize(
    ("text", "numbers"), [("0-4", [0, 1, 2, 3, 4]), ("3", [3]), ("0,2,5", [0, 2, 5])]
)
def test_seeds(text: str, numbers: list[int]) -> None:
    assert parse_seeds(text) == numbers


@pytest.mark.parametrize("text", ["", "4-0", "a", "1,", "-1", "0,1,0", "4294967296", "²"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--seeds"):
        parse_seeds(text)


def test_everything_is_every_experiment_once() -> None:
    assert sorted(find("everything")) == sorted(EXPERIMENTS)
    assert list(find("table2")) == ["table2"]


def test_what_another_process_runs_is_left_to_it(
    tiny: Experiment, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / TRAININGS / f"two-{ARMS['KLS'].name}-seed0.lock"
    with try_lock(lock) as held:
        assert held
        experiment("tiny", data=folder, seeds="0", out=tmp_path, threads=1)
    assert "another process is at it" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "arms" / "two").iterdir()}
    assert names == {f"{ARMS[name].name}-seed0.json" for name in ("RS", "paper")}


def few_images(folder: Path, each: int) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            image = rng.integers(0, 256, (20 + number, 33), dtype=np.uint8)
            cv2.imwrite(str(folder / name / f"{number}.png"), image)
    return folder


def test_a_folder_with_few_images_is_enough(tiny: Experiment, tmp_path: Path) -> None:
    data = few_images(tmp_path / "few", 4)
    experiment("tiny", data=data, seeds="0", out=tmp_path / "lab", threads=1)
    assert len(list((tmp_path / "lab" / "arms" / "few").iterdir())) == len(ARMS)


def test_a_folder_without_an_image_for_each_part_is_refused(
    tiny: Experiment, tmp_path: Path
) -> None:
    data = few_images(tmp_path / "few", 3)
    with pytest.raises(UserError, match="few: 6 images are too few"):
        experiment("tiny", data=data, seeds="0", out=tmp_path / "lab", threads=1)


def test_unknown_experiments_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="table2"):
        find("table6")
    with pytest.raises(UserError, match="no such folder"):
        experiment("table2", data=tmp_path / "none")
    with pytest.raises(UserError, match="keeps no arms"):
        experiment("fig9", data=tmp_path, finished=True)
    with pytest.raises(UserError, match="folder does not exist"):
        experiment("table2", data=tmp_path, json_file=tmp_path / "none" / "x.json")


def test_what_cannot_run_on_a_folder_keeps_nothing_else_back(folder: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    with pytest.raises(UserError) as refusal:
        experiment(
            "everything", data=folder, seeds="0", out=tmp_path, json_file=told, finished=True
        )
    lines = str(refusal.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["table7", "fig12", "fig13"]
    assert all("no class 'pitted_surface'" in line for line in lines)
    assert list(json.loads(told.read_text())) == [
        n for n in EVERYTHING if f"{n}:" not in str(lines)
    ]


def test_what_would_fail_in_the_end_is_refused_at_the_beginning(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        experiment("table2", data=folder, json_file=tmp_path)
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(UserError, match="needs skimage: pip install"):
        experiment("table2", data=folder)


def test_shared_maps_need_a_frame_of_test_images(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="8 test images, a fifth of all, make no frame: 25 are"):
        experiment("overlap", data=folder, seeds="0", out=tmp_path, threads=1)


def test_a_folder_is_called_what_it_is_called(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "dots")
    assert load_folder(Path("..")).name == "two"


def test_where_nothing_is_finished_nothing_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lab"
    experiment("table2", data=folder, seeds="0", out=out, threads=1, finished=True)
    assert "table2: no arm is finished" in capsys.readouterr().out
    assert not list(out.glob("table2*"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_tell_that_nothing_is_finished(name: str, folder: Path) -> None:
    results = Results()
    for table in EXPERIMENTS[name].tables(results, 1800):
        assert table.title in table.markdown()
        json.dumps(table.as_dict())
    EXPERIMENTS[name].figures(results)
    assert EXPERIMENTS[name].jobs


def test_arms_of_one_experiment_have_names_of_their_own() -> None:
    for one in EXPERIMENTS.values():
        names = [(variant, arm.name) for variant, arm in one.jobs]
        different = {(v, arm.name, json.dumps(arm.settings())) for v, arm in one.jobs}
        assert len(set(names)) == len(different)


def rounds_of(*accuracies: float) -> Run:
    return {
        "rounds": [
            {
                "labels": 54 * (n + 1),
                "share": 0.2 + 0.03 * (n + 1),
                "accuracy": a,
                "validation_accuracy": a - 0.01,
                "small_validation_accuracy": a,
                "agreement": None if n == 0 else 0.9 + 0.04 * n,
            }
            for n, a in enumerate(accuracies)
        ]
    }


def test_stopping_rules_by_hand() -> None:
    run = rounds_of(0.8, 0.93, 0.965, 0.985, 0.984)
    va, small, agree = (apply(rule, run, 1800) for rule in RULES.values())
    assert (va.labels, va.accuracy, va.late) == (162 + 360, 0.965, -1)
    assert small.labels == 162 + 60
    assert (agree.labels, agree.late, agree.stopped) == (216, 0, True)
    never = apply(next(iter(RULES.values())), rounds_of(0.5, 0.6), 1800)
    assert not never.stopped
    assert never.accuracy == 0.6


def test_reading_runs() -> None:
    run = rounds_of(0.8, 0.93, 0.965)
    assert share_to_reach(run, "accuracy", 0.9) == pytest.approx(0.26)
    assert share_to_reach(run, "accuracy", 0.99) is None
    curve = per_round([run, rounds_of(0.9, 0.95)], "accuracy")
    assert list(curve) == pytest.approx([23, 26, 29])
    assert curve[23.0] == pytest.approx([80, 90])


def test_cells() -> None:
    assert Cell([97.0, 98.0], 97.8).text() == "97.5 ± 0.7 (97.8)"
    assert Cell([]).text() == "–"
    assert Cell([], 3).text() == "– (3)"
    assert Cell([1.234], places=2).text() == "1.23"
    exact = Cell([100.0], images=360)
    assert exact.interval == pytest.approx((100 * 0.025 ** (1 / 360), 100))
    assert exact.text() == "100.0 [99.0, 100.0]"
    assert Cell([], images=360).text() == "–"


def test_rows_without_figures_are_named_below_the_table() -> None:
    rows = {"ran": [Cell([90.0])], "printed": [Cell([], 80)], "idle": [Cell([])]}
    text = Table("T", ["x"], rows, {"ran": 1}, "A note.").markdown()
    assert "| ran | 90.0 | 1 |" in text
    assert "| printed | – (80) | 0 |" in text
    assert "| idle" not in text
    assert "A note. Not run yet: idle." in text
    assert Table("T", ["x"], {"idle": [Cell([])]}).markdown() == "**T**\n\nNot run yet.\n"


def test_the_footer_tells_seconds_and_machines() -> None:
    runs = [
        {"seconds": seconds, "machine": {"cpu": "2 × CPU", "threads": 1, "load": load}}
        for seconds, load in ((100.4, 3.0), (1900, 24.5))
    ]
    text = footer(runs)
    assert "2 runs, 2,000 s" in text
    assert "2 × CPU, 1 thread" in text
    assert "3.0 to 24.5" in text
    assert footer([]) == ""


def test_rules_that_need_validation_labels_are_not_applied_without_them() -> None:
    results = Results()
    for job in JOBS.values():
        results.add(job, rounds_of(0.9, 0.95, 0.99))
    rows = reports.stopping(results, JOBS, 1800).rows
    assert sum(name.startswith("paper") for name in rows) == len(RULES)
    assert sum(name.startswith("KLS") for name in rows) == 1


def test_activation_maps_are_drawn_and_need_no_grid(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning = Training(fewest_steps=25, most_steps=25, batch=8)
    monkeypatch.setattr("trainer.lab.maps.Arm", partial(Arm, training=learning))
    monkeypatch.setattr("trainer.lab.maps.SHARES", (0.3, 0.5))
    told = tmp_path / "fig9.json"
    experiment("fig9", data=folder, seeds="1", out=tmp_path, json_file=told, threads=1)
    assert json.loads(told.read_text())["seed"] == 1
    assert (tmp_path / "fig9.png").read_bytes().startswith(b"\x89PNG")


def test_the_race_ends(two_classes: LabData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.lab.speed.EVERY", 2)
    monkeypatch.setattr("trainer.lab.speed.GOAL", 0.4)
    told = race(two_classes, 0)
    for side in ("ours", "plain"):
        assert told[side]["reached"]
        assert told[side]["last"]["processor_s"] > 0
