"""Without the disk that the data must lie on, no command makes anything in its place."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import millsight
from config.document import to_toml
from config.settings import Settings
from tests.device.conftest import MakeModel
from tests.device.loop.test_loop import change

COMMANDS = [
    "device status", "device latency", "device inspect PICTURE",
    "device note broom", "device questions",
    "device label 0123 scratch --operator anna", "device lot P L --operator anna", "device push",
    "device models", "device activate MODEL", "device rollback 0123 --who anna", "device sync",
    "device trust MODEL", "device accuracy", "device drift", "device tidy", "device check",
    "device backup", "device restore COPY --who anna", "doctor", "plant",
    "recipe list", "recipe select default --operator anna", "people list", "people trail",
    "people unpin operator",
]  # fmt: skip


@pytest.fixture
def config(settings: Settings, tmp_path: Path) -> Path:
    """Settings whose data lie on a disk that is not mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    settings = change(settings, "device", data=disk, must_be_mount=disk)
    settings = change(settings, "exchange", url=str(tmp_path / "exchange"))
    opcua = settings.plant.opcua.model_copy(update={"listen": True})
    path = tmp_path / "millsight.toml"
    path.write_text(to_toml(change(settings, "plant", opcua=opcua)))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_makes_nothing(
    config: Path,
    plate_folder: Path,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    names = {"PICTURE": plate_folder, "MODEL": make_model(), "COPY": config.parent}
    words = [str(names.get(word, word)) for word in command.split()]
    monkeypatch.setattr(sys, "argv", ["millsight", *words, "-c", str(config)])
    with warnings.catch_warnings():  # cyclopts thinks a test forgot its arguments
        warnings.filterwarnings("ignore", "Cyclopts application invoked")
        with pytest.raises(SystemExit) as end:
            millsight.main()
    assert list((config.parent / "disk").iterdir()) == []
    said = end.value.code if isinstance(end.value.code, str) else capsys.readouterr().out
    assert "no disk is mounted there" in said


@pytest.mark.parametrize("command", ["device run", "review --port 0"])
def test_a_service_makes_nothing(config: Path, command: str) -> None:
    words = [sys.executable, "-m", "millsight", *command.split(), "-c", str(config)]
    root = Path(__file__).parents[3]
    said = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False, timeout=60)
    assert list((config.parent / "disk").iterdir()) == []
    assert (said.returncode, "no disk is mounted there" in said.stderr) == (1, True)
