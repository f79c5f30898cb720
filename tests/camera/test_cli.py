"""Tests of `millsight camera` as a user runs it: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.timeout(120)


def millsight(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "millsight", *arguments],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "MILLSIGHT_CONFIG"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def write_noise(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (30, 40), dtype=np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def assert_one_clear_line(run: subprocess.CompletedProcess[str], *texts: str) -> None:
    assert run.returncode == 1, run
    *noise, line = run.stderr.splitlines()
    assert not noise, run.stderr
    assert all(text in line for text in texts), line


def test_reads_the_platform_and_says_what_each_frame_is_like(tmp_path: Path) -> None:
    (tmp_path / "millsight.toml").write_text("")
    run = millsight(tmp_path, "camera", "test", "-n", "3")
    assert run.returncode == 0, run.stderr
    *frames, summary = run.stdout.splitlines()
    assert summary.startswith("3 frames, 0 with a fault, ")
    assert [line.split()[0] for line in frames] == ["0", "1", "2"]
    assert all("200×200 mean" in line and " good vmc220:0:" in line for line in frames)
    assert run.stderr == ""


def test_counts_faults_and_reports_unreadable_images(tmp_path: Path) -> None:
    write_noise(tmp_path / "pictures/a.png")
    (tmp_path / "pictures/b.png").write_bytes(b"")
    flat = cv2.imencode(".png", np.full((30, 40), 90, np.uint8))[1]
    (tmp_path / "pictures/c.png").write_bytes(flat.tobytes())
    (tmp_path / "site.toml").write_text(
        '[camera]\nsource = "folder"\n[camera.folder]\npath = "pictures"\n'
    )
    run = millsight(tmp_path, "camera", "test", "--config", "site.toml")
    assert run.returncode == 0, run.stderr
    good, unreadable, empty, summary = run.stdout.splitlines()
    assert good.endswith("a.png") and " good " in good
    assert unreadable.startswith("unreadable: ") and "b.png" in unreadable
    assert empty.endswith("c.png") and " empty " in empty
    assert summary.startswith("2 frames, 1 with a fault, ")


def test_opencv_itself_is_quiet_about_what_is_reported(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    bmp = cv2.imencode(".bmp", np.zeros((30, 40), np.uint8))[1].tobytes()
    (tmp_path / "pictures/a.bmp").write_bytes(bmp[:-200])
    (tmp_path / "film.mp4").write_text("no film")
    (tmp_path / "folder.toml").write_text(
        '[camera]\nsource = "folder"\n[camera.folder]\npath = "pictures"\n'
    )
    (tmp_path / "film.toml").write_text(
        '[camera]\nsource = "opencv"\n[camera.opencv]\naddress = "film.mp4"\n'
    )
    run = millsight(tmp_path, "camera", "test", "-c", "folder.toml")
    assert "a.bmp: not an image OpenCV can read" in run.stdout
    assert_one_clear_line(run, "gave no frame")
    run = millsight(tmp_path, "camera", "test", "-c", "film.toml")
    assert_one_clear_line(run, "film.mp4: not a video OpenCV can open")


def test_a_camera_that_gives_no_frame_is_a_failed_test(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.png").write_bytes(b"")
    (tmp_path / "millsight.toml").write_text(
        '[camera]\nsource = "folder"\n[camera.folder]\npath = "pictures"\n'
    )
    run = millsight(tmp_path, "camera", "test")
    assert_one_clear_line(run, "camera.source", "'folder'", "gave no frame")


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        ('[camera]\nsource = "folder"', ["camera.folder.path", "not set"]),
        (
            '[camera]\nsource = "folder"\n[camera.folder]\npath = "gone"',
            ["gone", "no such folder"],
        ),
        (
            '[camera]\nsource = "opencv"\n[camera.opencv]\naddress = "gone.avi"',
            ["camera.opencv.address", "gone.avi", "no such file"],
        ),
    ],
)
def test_a_camera_that_cannot_work_is_one_line(
    tmp_path: Path, settings: str, texts: list[str]
) -> None:
    (tmp_path / "millsight.toml").write_text(settings)
    assert_one_clear_line(millsight(tmp_path, "camera", "test"), *texts)


def test_reading_no_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "millsight.toml").write_text("")
    run = millsight(tmp_path, "camera", "test", "--frames", "0")
    assert_one_clear_line(run, "--frames", "found 0", "1 or more")


def test_the_contact_sheet_is_a_picture_with_a_row_for_each_class(tmp_path: Path) -> None:
    run = millsight(tmp_path, "camera", "contact-sheet", "sheet.png", "--seed", "4")
    assert run.returncode == 0, run.stderr
    assert run.stdout == "wrote sheet.png\n"
    sheet = cv2.imread(str(tmp_path / "sheet.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    assert sheet.shape == (4 * 224, 8 * 204)
    assert float(np.std(sheet)) > 20


def test_a_contact_sheet_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    run = millsight(tmp_path, "camera", "contact-sheet", "nowhere/sheet.png")
    assert_one_clear_line(run, "nowhere/sheet.png", "cannot be written", "No such file")
