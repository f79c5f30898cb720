"""Tests of `millsight config` as a user runs it: a process of its own."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from config.settings import Settings

pytestmark = pytest.mark.timeout(120)


def millsight(
    folder: Path, *arguments: str, variable: str | None = None
) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "MILLSIGHT_CONFIG"}
    if variable is not None:
        env["MILLSIGHT_CONFIG"] = variable
    return subprocess.run(
        [sys.executable, "-m", "millsight", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def assert_one_clear_line(run: subprocess.CompletedProcess[str], *texts: str) -> None:
    assert run.returncode == 1, run
    assert "Traceback" not in run.stderr + run.stdout
    (line,) = run.stderr.splitlines()
    assert line.startswith("millsight: ")
    assert all(text in line for text in texts), line


def test_init_writes_the_defaults_and_check_finds_them_good(tmp_path: Path) -> None:
    run = millsight(tmp_path, "config", "init")
    assert (run.returncode, run.stdout, run.stderr) == (0, "wrote millsight.toml\n", "")
    text = (tmp_path / "millsight.toml").read_text(encoding="utf-8")
    assert Settings.model_validate(tomllib.loads(text)) == Settings()
    check = millsight(tmp_path, "config", "check")
    assert (check.returncode, check.stdout) == (0, "millsight.toml: good\n")


def test_init_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text("# mine\n")
    run = millsight(tmp_path, "config", "init", "site.toml")
    assert_one_clear_line(run, "site.toml: exists already")
    assert (tmp_path / "site.toml").read_text() == "# mine\n"


def test_init_where_nothing_can_be_written_is_one_line(tmp_path: Path) -> None:
    run = millsight(tmp_path, "config", "init", "nowhere/site.toml")
    assert_one_clear_line(run, "nowhere/site.toml: cannot be written: No such file or directory")


def test_show_prints_what_is_in_force_and_can_be_read_back(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[recipe]\nname = "Gehäuse"\n[camera.folder]\nrate_fps = 12.34567891\n')
    run = millsight(tmp_path, "config", "show", variable=str(site))
    assert run.returncode == 0, run.stderr
    shown = Settings.model_validate(tomllib.loads(run.stdout))
    assert shown.recipe.name == "Gehäuse"
    assert shown.camera.folder.rate_fps == 12.34567891
    assert shown.device.data == tmp_path / "data"


def test_the_file_given_goes_before_the_variable(tmp_path: Path) -> None:
    (tmp_path / "given.toml").write_text("")
    run = millsight(tmp_path, "config", "check", "-c", "given.toml", variable="gone.toml")
    assert (run.returncode, run.stdout) == (0, "given.toml: good\n")
    run = millsight(tmp_path, "config", "check", variable="gone.toml")
    assert_one_clear_line(run, "gone.toml: no such settings file")


FOLDER = "[camera]\nsource = 'folder'\n"
OPENCV = "[camera]\nsource = 'opencv'\n"
MISTAKES = [
    ("[camera.folder]\nrate_hz = 5\n", ["camera.folder.rate_hz", "'rate_fps'"]),
    ("[camera]\nsource = 'usb'\n", ["camera.source", "found 'usb'", "'folder', 'opencv'"]),
    ("not toml", ["not valid TOML"]),
    (FOLDER, ["camera.folder.path: not set"]),
    (FOLDER + "[camera.folder]\npath = 'gone'\n", ["camera.folder.path", "/gone: no such folder"]),
    (
        OPENCV + "[camera.opencv]\naddress = 'gone.avi'\n",
        ["camera.opencv.address", "/gone.avi: no such file"],
    ),
    ("[device]\ndata = 'site.toml'\n", ["device.data", "site.toml: is a file; name a folder"]),
    ("[device]\ndata = 'site.toml/deep/down'\n", ["device.data", "site.toml: is a file"]),
]


@pytest.mark.parametrize(("text", "texts"), MISTAKES)
def test_check_refuses_with_one_line_and_status_1(
    tmp_path: Path, text: str, texts: list[str]
) -> None:
    (tmp_path / "site.toml").write_text(text)
    run = millsight(tmp_path, "config", "check", "--config", "site.toml")
    assert_one_clear_line(run, "site.toml: ", *texts)
    assert run.stdout == ""


def test_check_finds_paths_that_exist_good(tmp_path: Path) -> None:
    (tmp_path / "line").mkdir()
    (tmp_path / "line/pictures").mkdir()
    (tmp_path / "line/site.toml").write_text(FOLDER + "[camera.folder]\npath = 'pictures'\n")
    run = millsight(tmp_path, "config", "check", "-c", "line/site.toml")
    assert (run.returncode, run.stdout) == (0, "line/site.toml: good\n"), run.stderr
    text = OPENCV + "[camera.opencv]\naddress = '/dev/video99'\n[device]\ndata = 'not/yet'\n"
    (tmp_path / "line/site.toml").write_text(text)
    run = millsight(tmp_path, "config", "check", "-c", "line/site.toml")
    assert run.returncode == 0, "a device may be plugged in later"
