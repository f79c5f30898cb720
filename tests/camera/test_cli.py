"""Tests of `millsight camera` as a user runs it: a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from camera.folder import FolderSource
from camera.listing import _v4l2
from camera.recording import record as write_recording
from camera.source import Frame
from camera.vmc220 import render_frame
from config.errors import UserError
from config.settings import FolderSource as FolderSettings
from config.settings import Vmc220Source as Vmc220Settings

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
    assert run.returncode == 2
    assert "--frames. Must be >= 1" in run.stderr + run.stdout


def write_settings(folder: Path, text: str) -> None:
    (folder / "millsight.toml").write_text(text)


PLATFORM = '[camera]\nsource = "vmc220"\n[camera.vmc220]\nrate_fps = 20\nwidth_px = 400\n'


def test_focus_shows_the_figure_of_each_frame_and_what_to_set(tmp_path: Path) -> None:
    write_settings(tmp_path, PLATFORM)
    run = millsight(tmp_path, "camera", "focus", "-n", "4")
    assert run.returncode == 0, run.stderr
    *lines, best, advice = run.stdout.splitlines()
    shown = [float(line.split()[1]) for line in lines]
    assert len(shown) == 4 and max(shown) > 0.01
    assert best == f"sharpest: {max(shown):.4f}"
    assert lines[0].endswith("█" * 40 + " ") or "█" * 40 in lines[0], "the first is the best so far"
    key, value = advice.split(" = ")
    assert key == "camera.quality.min_sharpness"
    assert float(value.split()[0]) == pytest.approx(max(shown) / 2, rel=0.1)


def test_what_is_recorded_plays_again_with_all_that_was_known(tmp_path: Path) -> None:
    write_settings(tmp_path, PLATFORM)
    run = millsight(tmp_path, "camera", "record", "film", "-n", "6")
    assert run.returncode == 0, run.stderr
    assert run.stdout == "wrote 6 frames to film\n"
    first, *lines = (tmp_path / "film/recording.jsonl").read_text().splitlines()
    assert json.loads(first)["camera"]["vmc220"]["width_px"] == 400
    taken = [json.loads(line) for line in lines]
    assert [entry["file"] for entry in taken] == [f"{i:06}.png" for i in range(6)]
    times = [entry["monotonic_ns"] for entry in taken]
    assert times == sorted(set(times))

    settings = FolderSettings(path=tmp_path / "film", recorded_pace=True)
    start = time.monotonic()
    played = list(FolderSource(settings, ["clean", "scratch"], print).frames())
    assert time.monotonic() - start >= (times[-1] - times[0]) / 1e9 - 0.01
    shown = [render_frame(Vmc220Settings(width_px=400), i) for i in range(6)]
    for frame, plate, entry in zip(played, shown, taken, strict=True):
        assert np.array_equal(frame.image, plate.image)
        assert frame.truth == "clean"
        assert [d.box for d in frame.defects] == [d.box for d in plate.defects]
        assert frame.fault is None and entry["fault"] is None
    assert any(frame.defects for frame in played)


def test_a_recorded_fault_is_a_fault_again(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
    frames = [Frame(image, 0, 0, 0, fault="incomplete"), Frame(image, 1, 0, 0)]
    assert write_recording(frames, tmp_path / "film", {}) == 2
    played = FolderSource(FolderSettings(path=tmp_path / "film"), [], print).frames()
    assert [frame.fault for frame in played] == ["incomplete", None]


def test_a_recording_never_mixes_with_what_is_there_and_a_broken_index_is_named(
    tmp_path: Path,
) -> None:
    write_settings(tmp_path, PLATFORM)
    write_noise(tmp_path / "film/a.png")
    run = millsight(tmp_path, "camera", "record", "film")
    assert_one_clear_line(run, "film", "not empty")
    (tmp_path / "film/recording.jsonl").write_text("no json")
    with pytest.raises(UserError, match=r"recording\.jsonl: not the index of a recording"):
        FolderSource(FolderSettings(path=tmp_path / "film"), [], print)


def test_preview_saves_a_picture(tmp_path: Path) -> None:
    write_settings(tmp_path, PLATFORM)
    run = millsight(tmp_path, "camera", "preview", "--save", "now.png")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "wrote now.png"
    saved = cv2.imread(str(tmp_path / "now.png"), cv2.IMREAD_GRAYSCALE)
    assert saved is not None
    assert np.array_equal(saved, render_frame(Vmc220Settings(width_px=400), 0).image)
    run = millsight(tmp_path, "camera", "preview", "--save", "now.txt")
    assert_one_clear_line(run, "now.txt", "ends in .png or .jpg")


def test_preview_serves_a_moving_picture_and_its_figures_to_this_machine_only(
    tmp_path: Path,
) -> None:
    write_settings(tmp_path, PLATFORM)
    command = [sys.executable, "-m", "millsight", "camera", "preview", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("camera preview: http://127.0.0.1:")
            address = line.split()[-1]
            page = httpx.get(address)
            assert page.status_code == 200 and "stream" in page.text
            assert httpx.get(address, headers={"Host": "evil.example"}).status_code == 400
            pictures = cv2.VideoCapture(address + "stream", cv2.CAP_FFMPEG)
            shown = [pictures.read()[1] for _ in range(3)]
            pictures.release()
            assert all(picture.shape == (200, 400, 3) for picture in shown)
            assert not np.array_equal(shown[0], shown[2])
            figures = httpx.get(address + "figures").json()
            assert figures["fault"] == "good" and figures["sharpness"] > 0.01
        finally:
            process.terminate()
            process.wait(30)


def test_a_camera_that_never_gives_a_picture_ends_the_test(tmp_path: Path) -> None:
    write_settings(
        tmp_path,
        '[camera]\nsource = "opencv"\n[camera.opencv]\naddress = "/dev/video99"\n'
        "[camera.live]\nretry_first_s = 0.1\n",
    )
    run = millsight(tmp_path, "camera", "test", "--wait", "1")
    assert run.stdout.startswith("lost: /dev/video99: no picture; next try in 0.1 s\n")
    assert_one_clear_line(run, "no picture for 1 s", "millsight camera list")


def test_list_says_what_to_write_into_the_settings_or_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "by-id").mkdir()
    (tmp_path / "dev").mkdir()
    for name in ("video0", "video1", "video2"):
        (tmp_path / "dev" / name).touch()
    (tmp_path / "by-id/usb-Maker_Camera_7-video-index0").symlink_to(tmp_path / "dev/video0")
    assert _v4l2(tmp_path / "by-id", tmp_path / "dev") == [
        f'opencv: camera.opencv.address = "{tmp_path}/by-id/usb-Maker_Camera_7-video-index0"',
        f'opencv: camera.opencv.address = "{tmp_path}/dev/video1"',
        f'opencv: camera.opencv.address = "{tmp_path}/dev/video2"',
    ]
    assert _v4l2(tmp_path / "none", tmp_path / "by-id")[0].startswith("opencv: no camera")


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
