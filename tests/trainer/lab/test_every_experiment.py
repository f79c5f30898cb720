"""Every experiment from its arms to its tables and figures, on a tiny set with tiny trainings."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from trainer.lab.arms import Arm
from trainer.lab.consistency import Consistency
from trainer.lab.experiments import EXPERIMENTS
from trainer.lab.grid import run_grid
from trainer.lab.learners import PaperRecipe
from trainer.lab.protocol import LabData, lab_data
from trainer.lab.written import write_report
from trainer.learning.training import Training

QUICK = {"table2", "table5", "fig8", "fig12", "stopping"}
"""Those with few arms; the rest is slow, for there are many."""
ROUGH = {"table3", "table4", "table5", "beyond", "unlabelled"}
"""Tables of given shares of labels, which so few images do not have (none is Table 4's 44 %); no
tiny training reaches Table 3's 90 % for sure."""
DRAWN = {
    "fig6": ["fig6"],
    "fig7": ["fig7"],
    "fig8": ["fig8"],
    "fig12": ["fig12"],
    "fig13": ["fig13-milling-leaking", "fig13-milling-neu", "fig13-milling-simulated"],
    "beyond": ["beyond"],
}
SIZE = 200
"""Of the patches: TRC takes no other, nor does the simulated platform make any."""


def tiny(arm: Arm) -> Arm:
    """The same arm with next to no training."""
    return replace(
        arm,
        paper=PaperRecipe(epochs=1, batch=64),
        training=Training(fewest_steps=1, most_steps=1, batch=4),
        consistency=Consistency(batch=2, after=0, confidence=0),
    )


@pytest.fixture(scope="module")
def steel() -> LabData:
    """24 patches of the three classes that the milling set is cut out of."""
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (24, SIZE, SIZE), dtype=np.uint8)
    noise[8:16] //= 4
    noise[16:, :, ::9] = 255
    names = ["patches", "pitted_surface", "scratches"]
    return lab_data("steel", noise, np.repeat([0, 1, 2], 8), names)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiments share their arms."""
    return tmp_path_factory.mktemp("lab")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in EXPERIMENTS]
)
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_from_arms_to_tables_and_figures(
    name: str, steel: LabData, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"pitted_surface": 4, "scratch": 4, "patch": 3}
    monkeypatch.setattr("trainer.lab.milling.ORIGINALS", few)
    monkeypatch.setattr("trainer.lab.milling.AMPLIFIED", 6)
    experiment = EXPERIMENTS[name]
    jobs = [(variant, tiny(arm)) for variant, arm in experiment.jobs]
    console = Console(quiet=True)
    results = run_grid(jobs, steel, [0], out, console)
    assert all(results.of(job) for job in jobs)
    told = write_report(name, experiment, results, len(steel.labels), out, console)
    assert told["runs"] == len({(variant, arm.name) for variant, arm in jobs})
    found = {
        (table["title"], row): any(cell["values"] for cell in cells)
        for table in told["tables"]
        for row, cells in table["rows"].items()
        if "(as printed)" not in row
    }
    if name in ROUGH:
        assert any(found.values()) or name in ("table3", "table4")
    else:
        assert all(found.values()), found
    if told["tables"]:
        assert json.loads((out / f"{name}.json").read_text())["tables"]
        assert (out / f"{name}.md").read_text().startswith("**")
    for drawn in DRAWN.get(name, []):
        assert (out / f"{drawn}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (out / f"{drawn}.svg").read_text()
