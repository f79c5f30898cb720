"""`millsight bench` as a command: a fresh clone, JSON by its schema, names, errors."""

import importlib.util
from functools import partial
from pathlib import Path

import pytest

import device.bench
import trainer.bench
from config.errors import UserError
from config.settings import Recipe
from device.bench.row import Result
from device.judging.kls import predicted_classes
from device.judging.model import load_model
from millsight import app
from trainer.bench import cli
from trainer.bench.inputs import make_inputs

choose = partial(cli.choose, of_device=device.bench.ROWS, of_trainer=trainer.bench.ROWS)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MILLSIGHT_CONFIG", raising=False)
    return tmp_path


def test_it_measures_with_nothing_set_up(fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = fresh / "bench.json"
    app(
        ["bench", "loop", "--quick", "--runs", "2", "--json", str(file)],
        result_action="return_value",
    )
    result = Result.model_validate_json(file.read_text())
    assert result.rows[0].name.startswith("loop")
    for row in result.rows:
        assert len(row.runs) == 2
        assert 0 < row.ratio < 3
        assert row.value > 1
    said = capsys.readouterr().out
    assert "simulated" in said and "untrained" in said
    assert not list(fresh.glob("data*"))


def test_an_untrained_network_has_every_class_and_doubts_some(fresh: Path) -> None:
    (fresh / "scratch").mkdir()
    inputs, _what = make_inputs(None, None, None, 1, fresh / "scratch", quick=True)
    model = load_model(inputs.model_file)
    assert model.id == inputs.model.id
    assert set(predicted_classes(model.log_probabilities(inputs.patches))) == {0, 1, 2, 3}
    assert inputs.settings.recipe == Recipe(
        classes=model.metadata.classes, pass_classes=model.metadata.pass_classes
    )


def test_an_unknown_row_is_one_line() -> None:
    with pytest.raises(UserError, match="no row 'lop'; there are: loop"):
        choose(["lop"])


def test_without_torch_the_trainers_rows_are_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else found(name)
    )
    assert "night" not in choose([])
    assert "trainer` extra: training_step night overlap" in capsys.readouterr().err
    with pytest.raises(UserError, match="night"):
        choose(["night"])


def test_a_folder_without_good_pictures_is_one_line(fresh: Path) -> None:
    (fresh / "empty").mkdir()
    with pytest.raises(UserError, match="no image in it"):
        cli.bench("loop", frames=fresh / "empty")
