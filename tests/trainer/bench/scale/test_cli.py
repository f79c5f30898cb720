"""`millsight bench scale` as a command."""

from pathlib import Path

import pytest

from config.errors import UserError
from device.bench.growth import Growth, Scale, growth_of
from device.bench.row import Inputs
from millsight import app
from trainer.bench.scale_cli import plot, scale

NAMES = {"patches": 1, "devices": 2, "cameras": 1, "stored": 2, "labels": 2}


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MILLSIGHT_CONFIG", raising=False)
    return tmp_path


def measured(folder: Path, *names: str) -> Scale:
    file = folder / "scale.json"
    command = ["bench", "scale", *names, "--quick", "--cache", str(folder / "cache")]
    app([*command, "--out", str(folder), "--json", str(file)], result_action="return_value")
    found = Scale.model_validate_json(file.read_text())
    for name in names:
        assert (folder / f"scale-{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (folder / f"scale-{name}.svg").read_text()
    assert len(found.growths) == sum(NAMES[name] for name in names)
    for growth in found.growths:
        assert all(cost > 0 for point in growth.points for cost in point.runs)
        assert growth.low <= growth.exponent <= growth.high
    return found


def test_two_dimensions_are_measured_drawn_and_written(
    fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured(fresh, "patches", "devices")
    said = capsys.readouterr().out
    assert all(growth.name[:15] in said for growth in found.growths)
    assert found.growths[0].exponent > 0.3  # eight patches cost more than one


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_others_too(fresh: Path) -> None:
    measured(fresh, "cameras", "stored", "labels")


def test_an_unknown_dimension_is_one_line() -> None:
    with pytest.raises(UserError, match="no row 'plates'; there are: patches"):
        scale("plates")


def test_what_grows_too_fast_is_said(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def quadratic(_inputs: Inputs) -> list[Growth]:
        costs = {size: [float(size) ** 2] for size in (1, 2, 4)}
        return [growth_of("plates", "plates", "all pairs", "s", costs)]

    monkeypatch.setattr("device.bench.scale.patches.measure", quadratic)
    file = fresh / "scale.json"
    scale("patches", quick=True, json_file=file)
    (growth,) = Scale.model_validate_json(file.read_text()).growths
    assert (growth.met, round(growth.exponent, 6)) == (False, 2)


def test_a_plot_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    growth = growth_of("plates", "plates", "cost", "s", {1: [1.0, 2.0], 2: [3.0], 4: [5.0]})
    axes = plot([growth]).axes[0]
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_xlabel()) == ("log", "log", "plates")
