"""The project's own rules: format, lint, types, import directions, generated docs, start-up."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sysconfig.get_path("scripts"))


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["mypy"],
        ["lint-imports"],
    ],
    ids=" ".join,
)
def test_checkers_are_content(command: list[str]) -> None:
    result = subprocess.run(
        [SCRIPTS / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_generated_docs_are_up_to_date() -> None:
    command = [sys.executable, "docs/build.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_device_starts_without_torch_onnx_or_the_trainer() -> None:
    code = (
        "import sys, millsight\n"
        "millsight.app(['device', '--help'], result_action='return_value')\n"
        "import device.loop.loop, device.watching.status, device.inspect_images\n"
        "import device.review.app, device.review.cli\n"
        "heavy = {'torch', 'onnx', 'trainer', 'export', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, millsight\n"
        "millsight.app(['--help'], result_action='return_value')\n"
        "heavy = {'numpy', 'cv2', 'onnxruntime', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_command_has_help() -> None:
    sections = (ROOT / "docs" / "cli.md").read_text().split("\n### ")
    commands = [section for section in sections if "```console" in section.split("\n\n")[1]]
    assert len(commands) >= 10
    for section in commands:
        help_text = section.split("```\n\n")[1].split("\n")[0]
        assert len(help_text) > 20, section
        for line in section.splitlines():
            if line.startswith("* `"):  # an option: its meaning follows its name
                assert len(line.split("`: ")[1]) > 10, line


def test_lock_pins_every_dependency_of_pyproject() -> None:
    import tomllib  # noqa: PLC0415

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(name for extra in extras for name in extra)]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
    }
    for requirement in wanted:
        name = requirement.split(">")[0].split("=")[0].split("[")[0]
        assert name.lower() in pinned, f"{name} is not in requirements.lock; run: make lock"
    assert not any("@" in line for line in (ROOT / "requirements.lock").read_text().splitlines())
